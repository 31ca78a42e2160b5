"""The warping error: simple points by counting pieces, whole-image sweeps, worked values, laws, real slices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from pipeline.errors import LabelError
from pipeline.metrics import relaxed_truth, warping_errors
from pipeline.metrics.warping import simple_points

Mask = NDArray[np.bool_]
CORNERS_TOO = np.ones((3, 3), np.bool_)
AROUND = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def mask(*rows: str) -> Mask:
    """Return a mask of interiors drawn with `#` for membrane and `.` for interior."""
    return np.array([[pixel == "." for pixel in row] for row in rows])


def pieces(interior: Mask) -> tuple[int, int]:
    """Count the cells (4-connected) and the membranes (8-connected, with the outside) of a mask."""
    framed = np.pad(interior, 1)
    return ndimage.label(framed)[1], ndimage.label(~framed, CORNERS_TOO)[1]


def is_simple(interior: Mask, row: int, column: int) -> bool:
    """Tell whether a flip leaves the number of cells and of membranes as they are, in the whole image."""
    flipped = interior.copy()
    flipped[row, column] ^= True
    return pieces(flipped) == pieces(interior)


def relaxed_by_sweeps(truth: Mask, proposal: Mask, flippable: Mask) -> Mask:
    """Relax in the documented order, with the whole image looked at in each step and all pieces counted anew."""
    now, at_start = truth.copy(), None
    while at_start is None or (now != at_start).any():
        at_start = now.copy()
        for growing in (False, True):
            before = None
            while before is None or (now != before).any():
                before = now.copy()
                for first_row, first_column in ((0, 0), (0, 1), (1, 0), (1, 1)):
                    flips = [
                        (row, column)
                        for row in range(first_row, now.shape[0], 2)
                        for column in range(first_column, now.shape[1], 2)
                        if now[row, column] != proposal[row, column] == growing
                        and flippable[row, column]
                        and is_simple(now, row, column)
                    ]
                    for place in flips:
                        now[place] = growing
    return now


def nesting(interior: Mask) -> str:
    """Return what lies within what, from the outside in, in a form that is equal for equal topologies."""
    framed = np.pad(interior, 1)
    cells, count = ndimage.label(framed)
    membranes, _ = ndimage.label(~framed, CORNERS_TOO)
    piece = np.where(framed, cells, membranes + count)
    beside: dict[int, set[int]] = {}
    for one, other in ((piece[1:], piece[:-1]), (piece[:, 1:], piece[:, :-1])):
        for first, second in zip(one[one != other].tolist(), other[one != other].tolist(), strict=True):
            beside.setdefault(first, set()).add(second)
            beside.setdefault(second, set()).add(first)

    def drawn(at: int, outer: int | None) -> str:
        return "(" + "".join(sorted(drawn(inner, at) for inner in beside.get(at, set()) - {outer})) + ")"

    return drawn(int(piece[0, 0]), None)


def bridges_by_cluster(inside: Mask, other: Mask) -> Mask:
    """Return the clusters of `inside` outside `other` that touch two components of `other`, looked at one by one."""
    clusters, count = ndimage.label(inside & ~other)
    parts, _ = ndimage.label(other)
    found = np.zeros_like(inside)
    for number in range(1, count + 1):
        touched = ndimage.binary_dilation(clusters == number) & inside & other
        if np.unique(parts[touched]).size > 1:
            found |= clusters == number
    return found


# Masks of many small pieces, and masks of few large ones, with odd and even sides.
drawings = st.tuples(
    st.integers(1, 9), st.integers(1, 10), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.6, 1.2]), st.booleans()
)


def drawn(height: int, width: int, seed: int, smooth: float, alike: bool) -> tuple[Mask, Mask]:
    rng = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(rng.standard_normal((height, width)), smooth)
    other = ndimage.gaussian_filter(rng.standard_normal((height, width)), smooth)
    truth, other = truth / truth.std() if truth.std() else truth, other / other.std() if other.std() else other
    return truth > -0.3, (truth + 0.7 * other if alike else other) > -0.3


# Simple points.


def test_the_table_is_that_of_pieces_counted_before_and_after_in_each_neighbourhood() -> None:
    table = simple_points()
    assert table.shape == (256,)
    for code in range(256):
        window = np.zeros((3, 3), np.bool_)
        for place, (row, column) in enumerate(AROUND):
            window[1 + row, 1 + column] = code >> place & 1
        counts = set()
        for centre in (False, True):
            window[1, 1] = centre
            counts.add((ndimage.label(window)[1], ndimage.label(~window, CORNERS_TOO)[1]))
        assert table[code] == (len(counts) == 1), f"{code:08b}"


@given(drawings)
@settings(deadline=None, max_examples=60)
def test_the_table_says_of_every_pixel_whether_its_flip_keeps_all_pieces_of_the_image(
    drawing: tuple[int, int, int, float, bool],
) -> None:
    interior, _ = drawn(*drawing)
    framed = np.pad(interior, 1)
    for row, column in np.ndindex(interior.shape):
        code = sum(int(framed[row + 1 + r, column + 1 + c]) << place for place, (r, c) in enumerate(AROUND))
        assert simple_points()[code] == is_simple(interior, row, column)


# Relaxing.


@given(drawings, st.booleans())
@settings(deadline=None, max_examples=80)
def test_relaxing_equals_sweeps_over_the_whole_image(
    drawing: tuple[int, int, int, float, bool], restricted: bool
) -> None:
    truth, proposal = drawn(*drawing)
    flippable = np.random.default_rng(drawing[2]).random(truth.shape) < (0.7 if restricted else 1)
    expected = relaxed_by_sweeps(truth, proposal, flippable)
    assert (relaxed_truth(truth, proposal, flippable if restricted else None) == expected).all()


@given(drawings)
@settings(deadline=None, max_examples=80)
def test_what_is_relaxed_has_the_topology_of_the_truth_and_no_simple_point_that_differs(
    drawing: tuple[int, int, int, float, bool],
) -> None:
    truth, proposal = drawn(*drawing)
    relaxed = relaxed_truth(truth, proposal)
    assert nesting(relaxed) == nesting(truth)
    assert (relaxed == truth)[truth == proposal].all()
    for row, column in np.argwhere(relaxed != proposal).tolist():
        assert not is_simple(relaxed, row, column)


@given(drawings)
@settings(deadline=None)
def test_a_truth_bent_by_simple_flips_is_bent_back_in_full(drawing: tuple[int, int, int, float, bool]) -> None:
    truth, other = drawn(*drawing)
    bent = relaxed_truth(truth, other)
    errors = warping_errors(truth, bent)
    assert (errors.relaxed == bent).all()
    assert errors.error == 0


def test_nothing_flips_outside_the_mask_of_what_may() -> None:
    truth, proposal = mask("....#...."), mask(".....###.")
    assert (relaxed_truth(truth, proposal) == proposal).all()
    assert (relaxed_truth(truth, proposal, np.zeros((1, 9), np.bool_)) == truth).all()
    assert (relaxed_truth(truth, proposal, np.arange(9)[None] < 7) == mask(".....##..")).all()


def test_neither_the_order_in_memory_nor_the_arguments_change() -> None:
    truth, proposal = drawn(9, 10, 3, 0.6, True)
    expected = relaxed_truth(truth, proposal)
    assert (expected != truth).any()
    kept = truth.copy(), proposal.copy()
    in_columns = relaxed_truth(np.asfortranarray(truth), np.asfortranarray(proposal))
    assert (in_columns == expected).all()
    assert (truth == kept[0]).all()
    assert (proposal == kept[1]).all()


# Worked values: split, merger, what costs nothing.


@pytest.mark.parametrize(
    ("truth", "proposal", "split_px", "merged_px"),
    [
        pytest.param(mask("..#.."), mask("..#.."), 0, 0, id="perfect"),
        pytest.param(mask("....#...."), mask(".....#..."), 0, 0, id="shifted-border"),
        pytest.param(mask("..###...."), mask(".....###."), 0, 0, id="border-shifted-by-its-width"),
        # One more, and no flip towards the proposal begins the way: the old border is missing, the new one too many.
        pytest.param(mask("..###...."), mask("......###"), 0, 1, id="border-shifted-to-the-frame"),
        pytest.param(mask("..###....."), mask("......###."), 3, 1, id="border-shifted-by-more-than-its-width"),
        pytest.param(mask("....#...."), mask("..#####.."), 0, 0, id="thick-border"),
        pytest.param(mask("..#####.."), mask("....#...."), 0, 0, id="thin-border"),
        pytest.param(mask("........."), mask("....#...."), 1, 0, id="split"),
        pytest.param(mask("........."), mask("..###...."), 3, 0, id="split-by-a-thick-membrane"),
        pytest.param(mask("........."), mask("..#...#.."), 2, 0, id="split-in-three"),
        pytest.param(mask("....#...."), mask("........."), 0, 1, id="merger"),
        pytest.param(mask("..#####.."), mask("........."), 0, 1, id="merger-over-a-thick-membrane"),
        pytest.param(mask("..#...#.."), mask("........."), 0, 2, id="merger-of-three"),
        pytest.param(mask("....#...."), mask("..#..#..."), 1, 0, id="split-beside-a-border"),
        # The cell at the right has gone: the border and it can be seen as membrane, and nothing is split or merged.
        pytest.param(mask("....#...."), mask("....#####"), 0, 0, id="lost-cell"),
        pytest.param(mask("....#####"), mask("....#.#.#"), 0, 0, id="specks"),
        # Five rows: membranes grow from above and below until one row of three pixels is left between the halves.
        pytest.param(mask(*["........."] * 5), mask(*["...###..."] * 5), 3, 0, id="split-leaves-its-shortest-bridge"),
        # The membrane thins to one pixel in each of the five rows.
        pytest.param(mask(*["...###..."] * 5), mask(*["........."] * 5), 0, 5, id="merger-leaves-its-thinnest-line"),
        # A closed outline inside a cell parts what it encloses: eight pixels. Filled in, it is an island only.
        pytest.param(
            mask(*["....."] * 5), mask(".....", ".###.", ".#.#.", ".###.", "....."), 8, 0, id="outline-in-a-cell"
        ),
        pytest.param(
            mask(*["....."] * 5), mask(".....", ".###.", ".###.", ".###.", "....."), 0, 0, id="island-in-a-cell"
        ),
        pytest.param(mask(".....", ".###.", ".###.", ".###.", "....."), mask(*["....."] * 5), 0, 0, id="island-filled"),
        # A cell around an island, cut at the left and the right: only both cuts part it. Membrane comes in from the
        # frame as far as one pixel from the island.
        pytest.param(mask(".....", "..#..", "....."), mask(".....", "..#.#", "....."), 0, 0, id="ring-cut-once"),
        pytest.param(mask(".....", "..#..", "....."), mask(".....", "#####", "....."), 2, 0, id="ring-cut-in-two"),
        pytest.param(mask("..", ".."), mask("##", "##"), 0, 0, id="all-membrane"),
        pytest.param(mask("##", "##"), mask("..", ".."), 0, 0, id="truth-without-cells"),
    ],
)
def test_worked_values(truth: Mask, proposal: Mask, split_px: int, merged_px: int) -> None:
    errors = warping_errors(truth, proposal)
    assert (errors.splits.sum(), errors.mergers.sum()) == (split_px, merged_px)
    assert errors.error == (split_px + merged_px) / truth.size


def test_a_cell_cut_here_and_joined_there_is_neither_split_nor_merged() -> None:
    truth = mask(".......", "#######", "#######", "#######")
    proposal = mask("...#...", "##.#.##", "##...##", "#######")
    errors = warping_errors(truth, proposal)
    assert (errors.relaxed != proposal).any()  # no flip of a simple point makes the detour
    assert errors.error == 0


# Splits and mergers.


@given(drawings)
@settings(deadline=None)
def test_splits_and_mergers_are_those_of_clusters_looked_at_one_by_one(
    drawing: tuple[int, int, int, float, bool],
) -> None:
    truth, proposal = drawn(*drawing)
    errors = warping_errors(truth, proposal)
    assert (errors.relaxed == relaxed_truth(truth, proposal)).all()
    assert (errors.splits == bridges_by_cluster(errors.relaxed, proposal)).all()
    assert (errors.mergers == bridges_by_cluster(proposal, errors.relaxed)).all()


@given(drawings)
@settings(deadline=None)
def test_there_is_a_split_exactly_if_a_relaxed_cell_overlaps_two_proposed_ones(
    drawing: tuple[int, int, int, float, bool],
) -> None:
    truth, proposal = drawn(*drawing)
    errors = warping_errors(truth, proposal)
    both = errors.relaxed & proposal
    cells, proposed = ndimage.label(errors.relaxed)[0][both], ndimage.label(proposal)[0][both]
    overlaps = set(zip(cells.tolist(), proposed.tolist(), strict=True))
    assert errors.splits.any() == (len(overlaps) > np.unique(cells).size)
    assert errors.mergers.any() == (len(overlaps) > np.unique(proposed).size)


@given(drawings)
@settings(deadline=None)
def test_splits_are_mergers_where_truth_and_proposal_change_places_unrelaxed(
    drawing: tuple[int, int, int, float, bool],
) -> None:
    one, other = drawn(*drawing)
    nowhere = np.zeros_like(one)
    there, back = warping_errors(one, other, nowhere), warping_errors(other, one, nowhere)
    assert (there.splits == back.mergers).all()
    assert (there.mergers == back.splits).all()


# Real files.


@pytest.fixture(scope="module")
def slices(real_data: Callable[[str], Path]) -> list[tuple[Mask, Mask]]:
    """Interiors of three slices of the ISBI 2012 training stack, and those that a threshold of the image gives."""
    folder = real_data("isbi2012-em") / "train"

    def read(kind: str, number: int) -> NDArray[np.uint8]:
        with Image.open(folder / kind / f"{number}.png") as file:
            return np.asarray(file)

    return [
        (read("label", number) == 255, ndimage.gaussian_filter(read("image", number), 1.5) > 110)
        for number in (0, 11, 22)
    ]


def test_real_cells_keep_their_topology_and_leave_no_simple_point(slices: list[tuple[Mask, Mask]]) -> None:
    for truth, proposal in slices:
        relaxed = relaxed_truth(truth, proposal)
        assert (relaxed != proposal).sum() < 0.3 * (truth != proposal).sum()
        assert nesting(relaxed) == nesting(truth)
        framed, differs = np.pad(relaxed, 1), np.argwhere(relaxed != proposal)
        codes = sum(
            framed[differs[:, 0] + 1 + row, differs[:, 1] + 1 + column].astype(int) << place
            for place, (row, column) in enumerate(AROUND)
        )
        assert not simple_points()[codes].any()


def test_real_borders_moved_by_simple_flips_cost_nothing(slices: list[tuple[Mask, Mask]]) -> None:
    for truth, proposal in slices:
        moved = relaxed_truth(truth, proposal)
        assert (moved != truth).mean() > 0.05
        assert warping_errors(truth, moved).error == 0


def test_a_cut_through_a_real_cell_costs_its_width_and_a_joined_border_its_length(
    slices: list[tuple[Mask, Mask]],
) -> None:
    truth, _ = slices[0]
    cells, _ = ndimage.label(truth)
    largest = cells == np.bincount(cells.ravel())[1:].argmax() + 1
    row = int(np.median(np.nonzero(largest)[0]))
    cut = truth.copy()
    cut[row : row + 3][largest[row : row + 3]] = False
    errors = warping_errors(truth, cut)
    assert errors.splits.sum() % 3 == 0
    assert 3 <= errors.splits.sum() <= 9
    assert not errors.mergers.any()
    back = warping_errors(cut, truth)
    assert back.mergers.any()
    assert not back.splits.any()


# Refusals.


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        pytest.param((mask(".#").astype(int), mask(".#")), "truth mask .* int64; expected", id="type"),
        pytest.param((mask(".#"), mask(".#.")), r"proposal mask has shape \(1, 3\)", id="shape"),
        pytest.param((mask(".#"), mask(".#"), mask(".")), "flippable mask", id="flippable"),
        pytest.param((mask(".#")[0], mask(".#")[0]), r"truth mask has shape \(2,\)", id="one-row"),
    ],
)
def test_what_is_not_a_pair_of_masks_is_refused(masks: tuple[Mask, ...], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        warping_errors(*masks)
