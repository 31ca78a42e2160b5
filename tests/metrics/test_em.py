"""The membrane scores of the ISBI 2012 challenge: worked values, laws, counted pixel pairs, scikit-image, real data.

What the warping error itself is made of is in `test_warping.py`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import watershed

from pipeline.errors import ConfigError, ImageError, LabelError, PipelineError
from pipeline.metrics import EM_THRESHOLDS, em_scores, em_stack_scores, warping_errors
from pipeline.metrics.em import _segment_scores
from pipeline.transforms.instances import interior_instances

Mask = NDArray[np.bool_]


def mask(*rows: str) -> Mask:
    """Return a mask of interiors drawn with `#` for membrane and `.` for interior."""
    return np.array([[pixel == "." for pixel in row] for row in rows])


def pair_loop(truth: NDArray[np.int32], pred: NDArray[np.int32]) -> float:
    """Return V_rand by its meaning: agreement over ordered pairs of pixels, a pixel with itself included."""
    pixels = [(r, c) for r, c in np.ndindex(truth.shape) if truth[r, c] > 0]
    same_truth = same_pred = same_both = 0
    for one, other in product(pixels, pixels):
        together_truth = bool(truth[one] == truth[other])
        together_pred = one == other or bool(pred[one] == pred[other] and pred[one] > 0)
        same_truth += together_truth
        same_pred += together_pred
        same_both += together_truth and together_pred
    return 2 * same_both / (same_truth + same_pred)


def information_loop(truth: NDArray[np.int32], pred: NDArray[np.int32]) -> float:
    """Return V_info by its meaning: every predicted-membrane pixel is a segment with a name of its own."""
    pixels = [(r, c) for r, c in np.ndindex(truth.shape) if truth[r, c] > 0]
    named = [(int(truth[p]), int(pred[p]) if pred[p] > 0 else p) for p in pixels]

    def entropy(names: list[object]) -> float:
        return -sum(k / len(names) * math.log(k / len(names)) for k in Counter(names).values())

    of_truth, of_pred = entropy([t for t, _ in named]), entropy([p for _, p in named])
    if of_truth + of_pred == 0:
        return 1.0
    return 2 * (of_truth + of_pred - entropy(list(named))) / (of_truth + of_pred)


# Worked values. A row of nine pixels has room for two cells of four.


def test_a_perfect_proposal_scores_1_1_and_0_at_every_threshold_but_0() -> None:
    truth = mask("....#....", "....#....")
    scores = em_scores((~truth).astype(np.float32), truth)
    assert (scores.v_rand, scores.v_info, scores.pixel_error) == (1.0, 1.0, 0.0)
    assert (scores.rand_error, scores.warping_error) == (0.0, 0.0)
    assert scores.v_rand_curve[1:] == scores.v_info_curve[1:] == (1.0,) * 10
    assert scores.pixel_error_curve[1:] == scores.rand_error_curve[1:] == (0.0,) * 10
    assert scores.v_rand_threshold == scores.v_info_threshold == scores.pixel_error_threshold == 0.1


def test_a_split_cell() -> None:
    # Truth: one cell of 9, 81 pairs. Proposal: 4 + 4 and a lone pixel, 16 + 16 + 1 = 33 pairs, all of them right.
    scores = em_scores(~mask("....#...."), mask("........."))
    assert scores.v_rand == pytest.approx(2 * 33 / (81 + 33))
    assert scores.v_info == 0.0  # the truth has no information to share
    assert scores.pixel_error == pytest.approx(1 / 17)
    assert scores.rand_error == pytest.approx(1 - scores.v_rand)  # there is nothing to thin
    assert scores.warping_error == 1 / 9


def test_merged_cells() -> None:
    # Truth: 4 + 4, 32 pairs. Proposal: one segment of 8, 64 pairs, of which 32 are right.
    scores = em_scores(~mask("........."), mask("....#...."), thresholds=(0.5,))
    assert scores.v_rand == pytest.approx(2 * 32 / (32 + 64))
    assert scores.v_info == 0.0  # the proposal has none
    assert scores.pixel_error == pytest.approx(1 / 17)
    assert scores.rand_error == pytest.approx(1 / 3)
    assert scores.warping_error == 1 / 9


def test_a_border_shifted_by_one_pixel() -> None:
    # Of the 8 true interior pixels the proposal has 4 left, the next on its membrane, 3 right: 16 + 1 + 9 pairs.
    scores = em_scores(~mask(".....#..."), mask("....#...."))
    assert scores.v_rand == pytest.approx(2 * 26 / (32 + 26))
    entropy_pred = -(1 / 2 * math.log(1 / 2) + 3 / 8 * math.log(3 / 8) + 1 / 8 * math.log(1 / 8))
    assert scores.v_info == pytest.approx(2 * math.log(2) / (math.log(2) + entropy_pred))
    assert scores.pixel_error == pytest.approx(2 / 16)
    assert scores.rand_error == pytest.approx(1 - 52 / 58)
    assert scores.warping_error == 0.0


def test_a_proposal_that_is_all_membrane_is_scored_as_single_pixels() -> None:
    scores = em_scores(np.ones((1, 9)), mask("....#...."))
    assert scores.v_rand_curve == pytest.approx((2 * 8 / (32 + 8),) * 11)
    assert scores.v_info == pytest.approx(2 * math.log(2) / (math.log(2) + math.log(8)))
    assert scores.rand_error == pytest.approx(1 - 16 / 40)
    assert (scores.pixel_error, scores.warping_error) == (1.0, 1.0)


def test_a_membrane_that_is_too_thick_costs_pixels_but_is_thinned_for_the_segments() -> None:
    scores = em_scores(~mask("...###..."), mask("....#...."))
    assert (scores.v_rand, scores.v_info, scores.warping_error) == (1.0, 1.0, 0.0)
    assert scores.pixel_error == pytest.approx(2 / (8 + 6))
    # Not thinned: 3 + 3 and two lone pixels, 9 + 9 + 2 = 20 pairs, all right, of 32.
    assert scores.rand_error == pytest.approx(1 - 2 * 20 / (32 + 20))


def test_where_most_of_the_interior_has_gone_the_warping_error_is_1() -> None:
    # Of eight interior pixels four are left, then three; neither proposal splits or merges anything.
    truth = mask("....#....")
    assert em_scores(~mask("..##.##.."), truth, thresholds=(0.5,)).warping_error == 0.0
    assert em_scores(~mask("..#####.#"), truth, thresholds=(0.5,)).warping_error == 1.0


def test_a_warping_error_that_was_not_asked_for_is_refused_and_the_others_are_the_same() -> None:
    truth = mask("....#....")
    scores = em_scores(~mask("........."), truth, warping=False)
    assert scores.warping_error_curve is None
    assert scores.score_names == ("v_rand", "v_info", "rand_error", "pixel_error")
    with pytest.raises(ConfigError, match="score with warping=True"):
        _ = scores.warping_error
    asked = em_scores(~mask("........."), truth)
    assert asked.score_names == (*scores.score_names, "warping_error")
    for name in scores.score_names:
        assert asked.curve(name) == scores.curve(name)


def test_a_membrane_that_parts_nothing_costs_pixels_only() -> None:
    scores = em_scores(~mask(".....", ".##..", "....."), mask(".....", ".....", "....."))
    assert (scores.v_rand, scores.v_info) == (1.0, 1.0)
    assert scores.pixel_error == pytest.approx(2 / (15 + 13))


def test_a_truth_and_a_proposal_without_membrane_agree() -> None:
    scores = em_scores(np.zeros((3, 4)), np.ones((3, 4), np.bool_))
    assert (scores.v_rand, scores.v_info, scores.pixel_error) == (1.0, 1.0, 0.0)


def test_interior_is_what_lies_below_the_threshold() -> None:
    truth = mask("..#..")
    scores = em_scores(np.array([[0.0, 0.0, 0.5, 0.0, 0.0]]), truth, thresholds=(0.0, 0.25, 0.5, 0.75))
    merged, single = 2 * 8 / (8 + 16), 2 * 4 / (8 + 4)
    assert scores.v_rand_curve == pytest.approx((single, 1.0, 1.0, merged))
    assert scores.pixel_error_curve == pytest.approx((1.0, 0.0, 0.0, 1 / 9))


def test_at_threshold_1_only_what_is_membrane_for_certain_is_membrane() -> None:
    scores = em_scores(np.array([[0.99, 0.0, 1.0, 0.0, 0.99]]), mask("..#.."), thresholds=(1.0,))
    assert scores.v_rand == 1.0


def test_a_float32_probability_is_not_below_the_same_number_as_a_threshold() -> None:
    # 0.3 as float32 is 0.30000001; 0.7 as float32 is 0.69999999, below the float64 of 0.7.
    for number in (0.3, 0.7):
        probability = np.full((1, 3), number, np.float32)
        probability[0, 1] = 0
        assert em_scores(probability, mask("#.#"), thresholds=(number,)).pixel_error == 0.0


def test_the_default_thresholds_are_0_to_1_in_steps_of_a_tenth() -> None:
    assert EM_THRESHOLDS == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def test_each_score_has_its_own_best_threshold() -> None:
    # At 0.2 the walls of the left cell are too thick, but nothing is merged; at 0.6 two cells are.
    probability = np.array([[0.0, 0.3, 0.5, 0.3, 0.0, 0.9, 0.0, 0.0, 0.0]])
    scores = em_scores(probability, mask("..#..#..."), thresholds=(0.2, 0.4, 0.6))
    assert (scores.v_rand, scores.v_rand_threshold) == (1.0, 0.2)
    assert (scores.pixel_error, scores.pixel_error_threshold) == (0.0, 0.4)
    assert scores.v_rand_curve[2] < 1


# Laws.

slices = st.tuples(
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7), st.integers(0, 2**32 - 1), st.floats(0.1, 0.9)
)


def drawn(shape: tuple[int, int], seed: int, share: float) -> tuple[NDArray[np.float64], Mask]:
    rng = np.random.default_rng(seed)
    truth = rng.random(shape) < share
    truth.flat[rng.integers(truth.size)] = True
    # Some multiples of a tenth, so that values meet thresholds.
    return np.round(rng.random(shape), rng.integers(1, 4)), truth


@given(slices)
@settings(deadline=None, max_examples=60)
def test_scores_equal_a_count_of_pixel_pairs(drawing: tuple[tuple[int, int], int, float]) -> None:
    probability, truth = drawn(*drawing)
    scores = em_scores(probability, truth)
    segments = interior_instances(truth)
    for index, threshold in enumerate(scores.thresholds):
        interior = probability < threshold
        pred = interior_instances(interior, thinned=True)
        assert scores.v_rand_curve[index] == pytest.approx(pair_loop(segments, pred), abs=1e-12)
        assert scores.v_info_curve[index] == pytest.approx(information_loop(segments, pred), abs=1e-12)
        not_thinned = interior_instances(interior)
        assert scores.rand_error_curve[index] == pytest.approx(1 - pair_loop(segments, not_thinned), abs=1e-12)
        hits = sum(t and p for t, p in zip(truth.flat, interior.flat, strict=True))
        assert scores.pixel_error_curve[index] == pytest.approx(1 - 2 * hits / (truth.sum() + interior.sum()))


@given(slices)
@settings(deadline=None)
def test_scores_lie_in_0_to_1_and_the_truth_itself_scores_1(drawing: tuple[tuple[int, int], int, float]) -> None:
    probability, truth = drawn(*drawing)
    scores = em_scores(probability, truth)
    assert scores.score_names == ("v_rand", "v_info", "rand_error", "pixel_error", "warping_error")
    for name in scores.score_names:
        assert all(0 <= value <= 1 for value in scores.curve(name))
    perfect = em_scores(~truth, truth)
    assert [perfect.best(name) for name in perfect.score_names] == [1.0, 1.0, 0.0, 0.0, 0.0]


@given(slices)
@settings(deadline=None)
def test_best_values_and_thresholds_are_those_of_the_curves(drawing: tuple[tuple[int, int], int, float]) -> None:
    scores = em_scores(*drawn(*drawing))
    assert scores.v_rand == max(scores.v_rand_curve) == scores.best("v_rand")
    assert scores.v_info == max(scores.v_info_curve) == scores.best("v_info")
    assert scores.rand_error == min(scores.rand_error_curve) == scores.best("rand_error")
    assert scores.pixel_error == min(scores.pixel_error_curve) == scores.best("pixel_error")
    assert scores.warping_error_curve is not None
    assert scores.warping_error == min(scores.warping_error_curve) == scores.best("warping_error")
    assert scores.rand_error_threshold == scores.best_threshold("rand_error")
    assert scores.warping_error_threshold == scores.best_threshold("warping_error")
    for score in scores.score_names:
        at = scores.thresholds.index(scores.best_threshold(score))
        assert scores.curve(score)[at] == scores.best(score)
        assert scores.best(score) not in scores.curve(score)[:at]


def test_scores_at_a_threshold_do_not_depend_on_the_other_thresholds() -> None:
    probability, truth = drawn((20, 30), 3, 0.7)
    together = em_scores(probability, truth)
    assert em_scores(probability, truth, EM_THRESHOLDS[::-1]).v_rand_curve == together.v_rand_curve[::-1]
    for index, threshold in enumerate(EM_THRESHOLDS):
        alone = em_scores(probability, truth, [threshold])
        assert alone.v_info_curve == (together.v_info_curve[index],)
        assert alone.pixel_error_curve == (together.pixel_error_curve[index],)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_the_names_of_segments_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, pred = rng.integers(1, 7, 200).astype(np.int32), rng.integers(0, 9, 200).astype(np.int32)
    new_truth, new_pred = rng.permutation(50)[:7] + 1, np.concatenate([[0], rng.permutation(50)[:8] + 1])
    renamed = _segment_scores(new_truth[truth].astype(np.int32), new_pred[pred].astype(np.int32))
    assert renamed == _segment_scores(truth, pred)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_truth_and_proposal_can_change_places_where_no_membrane_is_proposed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one, other = rng.integers(1, 7, 200).astype(np.int32), rng.integers(1, 9, 200).astype(np.int32)
    assert _segment_scores(one, other) == _segment_scores(other, one)


def test_large_segments_do_not_overflow() -> None:
    truth = np.ones(3_000_000, np.int32)
    assert _segment_scores(truth, truth) == (1.0, 1.0)


@given(slices)
@settings(deadline=None)
def test_the_warping_error_is_that_of_the_interior_below_each_threshold(
    drawing: tuple[tuple[int, int], int, float],
) -> None:
    probability, truth = drawn(*drawing)
    scores = em_scores(probability, truth)
    for threshold, error in zip(scores.thresholds, scores.curve("warping_error"), strict=True):
        interior = probability < threshold
        enough = interior[truth].mean() >= 0.5
        assert error == (warping_errors(truth, interior).error if enough else 1.0)


# References.


def room_walls(seed: int) -> tuple[Mask, Mask]:
    """Return the interiors of a grid of rooms, and the same with some walls taken out."""
    rng = np.random.default_rng(seed)
    truth = np.ones((29, 41), np.bool_)
    truth[4::6], truth[:, 4::6] = False, False
    pred = truth.copy()
    for row in range(0, 29, 6):
        for column in range(4, 41, 6):
            if rng.random() < 0.3:
                pred[row : row + 4, column] = True
    return truth, pred


@pytest.mark.parametrize("seed", range(5))
def test_merged_rooms_score_as_in_scikit_image(seed: int) -> None:
    truth, pred = room_walls(seed)
    scores = em_scores(~pred, truth, thresholds=(0.5,))
    truth_segments, pred_segments = interior_instances(truth), interior_instances(pred)
    error, _, _ = adapted_rand_error(truth_segments, pred_segments, ignore_labels=(0,))
    assert 0 < error < 1
    # scikit-image leaves out the pairs of a pixel with itself, n in each of the two sums of squares.
    pairs = sum(int(k) ** 2 for names in (truth_segments, pred_segments) for k in np.bincount(names[truth])[1:])
    with_itself = ((1 - error) * (pairs - 2 * truth.sum()) + 2 * truth.sum()) / pairs
    assert scores.v_rand == pytest.approx(with_itself)
    split, merge = variation_of_information(truth_segments, pred_segments, ignore_labels=(0,))
    one = np.ones_like(truth_segments)
    entropy_truth = sum(variation_of_information(truth_segments, one, ignore_labels=(0,)))
    mutual = entropy_truth - max(split, merge)  # every pair that parts is a merger here: the other term is 0
    assert min(split, merge) == pytest.approx(0)
    assert scores.v_info == pytest.approx(2 * mutual / (entropy_truth + mutual))


@pytest.mark.parametrize("seed", range(5))
def test_the_rand_error_is_scikit_images_once_each_membrane_pixel_is_a_segment(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, _ = room_walls(seed)
    pred = ndimage.gaussian_filter(rng.standard_normal(truth.shape), 1.5) + 0.3 * truth > 0.1
    truth_segments, pred_segments = interior_instances(truth), interior_instances(pred)
    alone = np.arange(1, pred.size + 1).reshape(pred.shape) + pred_segments.max()
    pred_segments = np.where(pred, pred_segments, alone)
    error, _, _ = adapted_rand_error(truth_segments, pred_segments, ignore_labels=(0,))
    # It leaves out the pairs of a pixel with itself.
    pairs = sum(int(k) ** 2 for names in (truth_segments, pred_segments) for k in np.unique_counts(names[truth]).counts)
    with_itself = ((1 - error) * (pairs - 2 * truth.sum()) + 2 * truth.sum()) / pairs
    assert em_scores(~pred, truth, thresholds=(0.5,)).rand_error == pytest.approx(1 - with_itself)
    assert 0.05 < error < 1


# Real files.


@pytest.fixture(scope="module")
def stack(real_data: Callable[[str], Path]) -> list[tuple[NDArray[np.uint8], Mask]]:
    """Images and interiors of every fourth slice of the ISBI 2012 training stack."""
    folder = real_data("isbi2012-em") / "train"

    def read(kind: str, number: int) -> NDArray[np.uint8]:
        with Image.open(folder / kind / f"{number}.png") as file:
            return np.asarray(file)

    return [(read("image", number), read("label", number) == 255) for number in range(0, 24, 4)]


def smoothed(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return darkness after smoothing, stretched to 0..1: a proposal as poor as one without learning can be."""
    dark: NDArray[np.float32] = -ndimage.gaussian_filter(image.astype(np.float32), 1.5)
    stretched: NDArray[np.float32] = (dark - dark.min()) / (dark.max() - dark.min())
    return stretched


def test_the_truth_as_a_proposal_is_perfect_on_real_slices(stack: list[tuple[NDArray[np.uint8], Mask]]) -> None:
    # Thinning moves the proposed cells into the truth's membranes, and those pixels are not looked at.
    scores = em_stack_scores(em_scores(~truth, truth) for _, truth in stack)
    assert [scores.best(name) for name in scores.score_names] == [1.0, 1.0, 0.0, 0.0, 0.0]
    assert {scores.best_threshold(name) for name in scores.score_names} == {0.1}


def test_thicker_membranes_change_the_pixel_error_more_than_the_segments(
    stack: list[tuple[NDArray[np.uint8], Mask]],
) -> None:
    thick = em_stack_scores(em_scores(ndimage.binary_dilation(~truth), truth) for _, truth in stack)
    assert 0.99 < thick.v_rand < 1
    assert 0.98 < thick.v_info < 1
    assert 0.03 < thick.pixel_error < 0.15
    assert 0.03 < thick.rand_error < 0.3
    assert thick.warping_error < 0.001


def test_a_smoothed_image_is_a_poor_but_plausible_proposal(stack: list[tuple[NDArray[np.uint8], Mask]]) -> None:
    slices = [em_scores(smoothed(image), truth) for image, truth in stack]
    scores = em_stack_scores(slices)
    assert 0.55 < scores.v_rand < 0.75
    assert 0.80 < scores.v_info < 0.95
    assert 0.08 < scores.pixel_error < 0.13
    assert scores.rand_error > 1 - scores.v_rand
    assert 0.003 < scores.warping_error < 0.05
    assert scores.v_rand_threshold in (0.4, 0.5, 0.6)
    assert np.mean([one.v_rand for one in slices]) >= scores.v_rand


def test_a_real_slice_turned_or_mirrored_scores_the_same(stack: list[tuple[NDArray[np.uint8], Mask]]) -> None:
    # Thinning and warping part ties by the order of pixels; the bounds are what that is worth: 26 of 262,144 pixels.
    image, truth = stack[0]
    rng = np.random.default_rng(0)
    noise = ndimage.gaussian_filter(rng.standard_normal(truth.shape), 3)
    probability = ndimage.gaussian_filter(np.where(truth, 0.0, 1.0), 1) * 0.7 + 0.3 * smoothed(image) + noise
    probability = np.clip(probability, 0, 1)
    levels = (0.3, 0.4, 0.5, 0.6)
    expected = em_scores(probability, truth, levels)
    assert 0 < expected.warping_error < 0.01
    for turns in range(4):
        for mirrored in (False, True):
            views = [np.rot90(array, turns) for array in (probability, truth)]
            scores = em_scores(*(view.T if mirrored else view for view in views), levels)
            assert scores.pixel_error_curve == expected.pixel_error_curve
            assert scores.rand_error_curve == expected.rand_error_curve
            assert scores.v_rand_curve == pytest.approx(expected.v_rand_curve, abs=5e-4)
            assert scores.v_info_curve == pytest.approx(expected.v_info_curve, abs=5e-4)
            assert scores.curve("warping_error") == pytest.approx(expected.curve("warping_error"), rel=0.1, abs=1e-4)
            for name in scores.score_names:
                assert scores.best_threshold(name) == expected.best_threshold(name)


def test_a_real_slice_moved_into_more_membrane_scores_the_same(stack: list[tuple[NDArray[np.uint8], Mask]]) -> None:
    image, truth = stack[1]
    probability = smoothed(image)
    levels = (0.5, 0.6)
    expected = em_scores(probability, truth, levels)
    moved = em_scores(np.pad(probability, ((2, 0), (4, 0)), constant_values=1), np.pad(truth, ((2, 0), (4, 0))), levels)
    assert moved.rand_error_curve == expected.rand_error_curve
    assert moved.pixel_error_curve == expected.pixel_error_curve
    larger = 514 * 516 / 512**2
    assert [error * larger for error in moved.curve("warping_error")] == pytest.approx(expected.curve("warping_error"))


def test_thinning_by_scikit_image_gives_nearly_the_same_scores(stack: list[tuple[NDArray[np.uint8], Mask]]) -> None:
    # The two part ties differently; 0.003 is what that is worth on these slices.
    for image, truth in stack[:3]:
        probability = smoothed(image)
        scores = em_scores(probability, truth, (0.5, 0.6))
        for threshold, v_rand, v_info in zip((0.5, 0.6), scores.v_rand_curve, scores.v_info_curve, strict=True):
            interior = probability < threshold
            pred = watershed(~interior, interior_instances(interior), connectivity=1, watershed_line=True)
            expected = _segment_scores(interior_instances(truth)[truth], pred[truth])
            assert (v_rand, v_info) == pytest.approx(expected, abs=0.003)


# Refusals.

TRUTH = mask("..#..")
CERTAIN = np.zeros((1, 5))


@pytest.mark.parametrize(
    ("probability", "message"),
    [
        pytest.param(np.full((1, 5), 1.5), "values from 1.5 to 1.5; expected 0 to 1", id="above-1"),
        pytest.param(np.full((1, 5), -2.0), "apply the network's activation first", id="logits"),
        pytest.param(np.full((1, 5), 255, np.uint8), "values from 255 to 255", id="bytes"),
        pytest.param(np.array([[0, np.nan, 0, 0, 0]]), "not a number", id="nan"),
        pytest.param(np.full((1, 5), np.inf), "from inf to inf", id="infinite"),
        pytest.param(np.zeros((2, 1, 5)), "expected one slice", id="stack"),
        pytest.param(np.zeros((0, 5)), "with pixels", id="empty"),
    ],
)
def test_what_is_not_a_probability_is_refused(probability: NDArray[np.generic], message: str) -> None:
    with pytest.raises(ImageError, match=message) as caught:
        em_scores(probability, TRUTH)
    assert isinstance(caught.value, PipelineError)


@pytest.mark.parametrize(
    ("truth", "message"),
    [
        pytest.param(mask("..#."), r"shape \(1, 4\) and the membrane probability \(1, 5\)", id="shape"),
        pytest.param(np.full((1, 5), 255), r"holds values \[255\]; expected bool", id="bytes"),
        pytest.param(np.arange(5)[np.newaxis] + 2, r"\[2, 3, 4, 5, 6\]; expected", id="classes"),
        pytest.param(np.zeros((1, 5), np.bool_), "no interior pixel", id="all-membrane"),
    ],
)
def test_a_truth_that_does_not_fit_is_refused(truth: NDArray[np.generic], message: str) -> None:
    with pytest.raises(LabelError, match=message):
        em_scores(CERTAIN, truth)


def test_a_truth_of_zeros_and_ones_is_a_mask() -> None:
    assert em_scores(~TRUTH, TRUTH.astype(np.int64)) == em_scores(~TRUTH, TRUTH)


@pytest.mark.parametrize("thresholds", [(), (0.5, 1.1), (math.nan,)], ids=["none", "above-1", "nan"])
def test_thresholds_outside_0_to_1_are_refused(thresholds: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"each must lie in 0\.\.1"):
        em_scores(CERTAIN, TRUTH, thresholds)
