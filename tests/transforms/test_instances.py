"""Numbering of interiors, and the thinning watershed that makes them lie wall to wall."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from pipeline.errors import LabelError, PipelineError
from pipeline.transforms.instances import interior_instances

Mask = NDArray[np.bool_]

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))


def mask(*rows: str) -> Mask:
    """Return a mask drawn with `#` for membrane and `.` for interior."""
    return np.array([[pixel == "." for pixel in row] for row in rows])


def neighbours(instances: NDArray[np.int32], row: int, column: int) -> set[int]:
    """Return the instances over the four edges of a pixel."""
    height, width = instances.shape
    around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return {int(instances[r, c]) for r, c in around if 0 <= r < height and 0 <= c < width} - {0}


def distance_loop(interior: Mask, seed: Mask) -> NDArray[np.float64]:
    """Return the least number of steps over edges from the seed to each pixel, over membrane alone."""
    distance = np.where(seed, 0.0, np.inf)
    front = list(zip(*np.nonzero(seed), strict=True))
    while front:
        row, column = front.pop(0)
        for r, c in [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]:
            inside = 0 <= r < interior.shape[0] and 0 <= c < interior.shape[1]
            if inside and not interior[r, c] and distance[r, c] > distance[row, column] + 1:
                distance[r, c] = distance[row, column] + 1
                front.append((r, c))
    return distance


def test_components_are_joined_over_edges_and_not_over_corners() -> None:
    found = interior_instances(mask("..#.", "##..", "...#"))
    np.testing.assert_array_equal(found, [[1, 1, 0, 2], [0, 0, 2, 2], [2, 2, 2, 0]])
    np.testing.assert_array_equal(interior_instances(mask(".#", "#.")), [[1, 0], [0, 2]])


def test_instances_are_int32_and_numbered_in_reading_order() -> None:
    found = interior_instances(mask("#.#.", "####", ".##."))
    assert found.dtype == np.int32
    assert found[found > 0].tolist() == [1, 2, 3, 4]


def test_a_wall_of_odd_width_is_thinned_to_its_middle() -> None:
    found = interior_instances(mask("..###..", "..###.."), thinned=True)
    np.testing.assert_array_equal(found, [[1, 1, 1, 0, 2, 2, 2]] * 2)


def test_a_wall_of_even_width_leaves_its_line_on_the_side_of_the_lower_number() -> None:
    found = interior_instances(mask(".##.", ".##.", ".##."), thinned=True)
    np.testing.assert_array_equal(found, [[1, 0, 2, 2]] * 3)


def test_a_wall_of_one_pixel_stays_as_it_is_but_for_the_pixel_of_a_junction_that_parts_nothing() -> None:
    wall = mask("..#..", "..#..", "...#.", "...#.")
    np.testing.assert_array_equal(interior_instances(wall, thinned=True) > 0, wall)
    junction = interior_instances(mask("..#..", "..#..", "#####", "....."), thinned=True)
    np.testing.assert_array_equal(junction, [[1, 1, 0, 2, 2], [1, 1, 0, 2, 2], [0, 0, 3, 0, 0], [3, 3, 3, 3, 3]])


def test_a_pixel_closed_in_by_lines_stays_line() -> None:
    found = interior_instances(mask("##.", "#.#", ".##"), thinned=True)
    np.testing.assert_array_equal(found, [[0, 0, 1], [0, 2, 0], [3, 0, 0]])


def test_a_membrane_with_one_instance_on_both_sides_vanishes() -> None:
    np.testing.assert_array_equal(interior_instances(mask(".....", ".###.", "....."), thinned=True), np.ones((3, 5)))


@pytest.mark.parametrize("thinned", [False, True])
def test_a_mask_without_interior_gives_zeros_and_one_without_membrane_a_single_instance(thinned: bool) -> None:
    np.testing.assert_array_equal(interior_instances(np.zeros((3, 4), np.bool_), thinned=thinned), np.zeros((3, 4)))
    np.testing.assert_array_equal(interior_instances(np.ones((3, 4), np.bool_), thinned=thinned), np.ones((3, 4)))


def test_an_empty_mask_gives_empty_instances() -> None:
    assert interior_instances(np.zeros((0, 4), np.bool_), thinned=True).shape == (0, 4)


@given(masks)
@settings(deadline=None)
def test_thinning_keeps_every_instance_and_its_pixels(interior: Mask) -> None:
    plain, thinned = interior_instances(interior), interior_instances(interior, thinned=True)
    np.testing.assert_array_equal(thinned[interior], plain[interior])
    assert thinned.dtype == np.int32


@given(masks)
@settings(deadline=None)
def test_thinned_instances_are_connected_and_never_touch_over_an_edge(interior: Mask) -> None:
    thinned = interior_instances(interior, thinned=True)
    components, count = ndimage.label(thinned > 0)
    pairs = {(int(one), int(other)) for one, other in zip(components.ravel(), thinned.ravel(), strict=True)} - {(0, 0)}
    assert len(pairs) == count == interior_instances(interior).max()


@given(masks)
@settings(deadline=None)
def test_a_thinned_line_is_nowhere_wider_than_it_must_be(interior: Mask) -> None:
    thinned = interior_instances(interior, thinned=True)
    for row, column in zip(*np.nonzero(thinned == 0), strict=True):
        assert len(neighbours(thinned, row, column)) != 1


@given(masks)
@settings(deadline=None)
def test_a_pixel_nearer_to_one_instance_than_to_any_other_goes_to_it_or_to_the_line(interior: Mask) -> None:
    plain, thinned = interior_instances(interior), interior_instances(interior, thinned=True)
    count = int(plain.max())
    if count == 0:
        return
    distances = np.stack([distance_loop(interior, plain == number) for number in range(1, count + 1)])
    ordered = np.sort(distances, axis=0)
    alone = np.ones(interior.shape, np.bool_) if count == 1 else ordered[1] > ordered[0] + 1
    nearest = distances.argmin(axis=0) + 1
    taken = alone & (thinned > 0)
    np.testing.assert_array_equal(thinned[taken], nearest[taken])


def test_lines_lie_where_those_of_scikit_image_lie_up_to_ties() -> None:
    rng = np.random.default_rng(20)
    for _ in range(10):
        noise = ndimage.gaussian_filter(rng.random((70, 90)), 3)
        interior = noise > np.quantile(noise, 0.5)
        ours = interior_instances(interior, thinned=True)
        theirs = watershed(~interior, interior_instances(interior), connectivity=1, watershed_line=True)
        differ = ours != theirs
        assert differ.mean() < 0.08
        # Where they differ, a line of one of them is at most two steps away: even widths and corners are ties.
        near_line = ndimage.binary_dilation((ours == 0) & (theirs == 0) | (ours == 0) ^ (theirs == 0), iterations=2)
        assert not (differ & ~near_line).any()


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(np.zeros((2, 3, 4), np.bool_), id="three-dimensional"),
        pytest.param(np.zeros((3, 4), np.uint8), id="not-bool"),
    ],
)
def test_what_is_not_a_mask_is_refused(bad: NDArray[np.generic]) -> None:
    with pytest.raises(LabelError, match="expected \\(row, column\\) and bool") as caught:
        interior_instances(bad)  # type: ignore[arg-type]
    assert isinstance(caught.value, PipelineError)
