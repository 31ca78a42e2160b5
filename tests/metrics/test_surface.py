"""NSD, HD95 and ASSD: worked values, a plain loop, DeepMind's surface-distance, and where MONAI's differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import surface_distance
import torch
from monai.metrics import compute_hausdorff_distance, compute_surface_dice
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.errors import ConfigError, LabelError
from pipeline.metrics import SurfaceScores, surface_scores

Mask = NDArray[np.bool_]

# surface-distance 0.1 imports from places that SciPy will drop.
pytestmark = pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")


def box(shape: tuple[int, ...], *corners: tuple[int, int]) -> Mask:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(first, end) for first, end in corners)] = True
    return mask


def blobs(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[Mask, Mask]:
    """Two smooth random masks that resemble each other."""
    noise = ndimage.gaussian_filter(random.standard_normal(shape), 2)
    other = noise + 0.4 * ndimage.gaussian_filter(random.standard_normal(shape), 2)
    return noise > np.quantile(noise, 0.7), other > np.quantile(other, 0.75)


def peer(truth: Mask, pred: Mask, spacing_mm: tuple[float, ...], tolerance_mm: float) -> SurfaceScores:
    distances = surface_distance.compute_surface_distances(truth, pred, spacing_mm)
    of_truth = (distances["distances_gt_to_pred"] * distances["surfel_areas_gt"]).sum()
    of_pred = (distances["distances_pred_to_gt"] * distances["surfel_areas_pred"]).sum()
    area = distances["surfel_areas_gt"].sum() + distances["surfel_areas_pred"].sum()
    return SurfaceScores(
        surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm),
        surface_distance.compute_robust_hausdorff(distances, 95),
        (of_truth + of_pred) / area,
        tolerance_mm,
    )


def assert_equal(ours: SurfaceScores, theirs: SurfaceScores) -> None:
    for name in ("nsd", "hd95_mm", "assd_mm"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-6), name


def plain_contour(mask: Mask, spacing_mm: tuple[float, float]) -> list[tuple[float, float, float]]:
    """Marching squares by hand: place in mm and length of each piece of a contour."""
    padded = np.pad(mask, 1)
    row_mm, column_mm = spacing_mm
    slanted = math.hypot(row_mm, column_mm) / 2
    pieces = []
    for row, column in product(range(mask.shape[0] + 1), range(mask.shape[1] + 1)):
        (a, b), (c, d) = padded[row : row + 2, column : column + 2]
        inside = int(a) + int(b) + int(c) + int(d)
        if inside in (0, 4):
            continue
        if inside in (1, 3):
            length = slanted  # cuts off one corner
        elif a == d:
            length = 2 * slanted  # two opposite corners
        else:
            length = column_mm if a == b else row_mm
        pieces.append((row * row_mm, column * column_mm, length))
    return pieces


def plain_scores(truth: Mask, pred: Mask, spacing_mm: tuple[float, float], tolerance_mm: float) -> SurfaceScores:
    """All three by their definitions."""
    contours = plain_contour(truth, spacing_mm), plain_contour(pred, spacing_mm)
    near = total = weighted = 0.0
    percentiles = []
    for one, other in (contours, contours[::-1]):
        found = sorted((min(math.dist((r, c), (q, d)) for q, d, _ in other), length) for r, c, length in one)
        length = sum(piece for _, piece in found)
        near += sum(piece for distance, piece in found if distance <= tolerance_mm)
        weighted += sum(distance * piece for distance, piece in found)
        total += length
        reached = 0.0
        for distance, piece in found:
            reached += piece
            if reached >= 0.95 * length:
                percentiles.append(distance)
                break
    return SurfaceScores(near / total, max(percentiles), weighted / total, tolerance_mm)


def test_a_pixel_against_its_neighbour_worked_by_hand() -> None:
    # Each contour has four corners of length sqrt(5) / 2; the pixels share two, the others are one column apart.
    truth, pred = box((3, 4), (1, 2), (1, 2)), box((3, 4), (1, 2), (2, 3))
    scores = surface_scores(truth, pred, (1, 2), 1.9)
    assert scores == SurfaceScores(pytest.approx(0.5), pytest.approx(2), pytest.approx(1), 1.9)
    assert surface_scores(truth, pred, (1, 2), 2).nsd == 1


def test_a_shifted_border_counts_in_the_spacing_of_its_axis() -> None:
    truth = box((12, 12, 12), (2, 10), (2, 10), (2, 10))
    for axis, step_mm in enumerate((0.5, 1.0, 7.5)):
        # Only the last face moves, by a voxel: 95 % of the surface then lies within that step.
        grown = truth | np.roll(truth, 1, axis)
        scores = surface_scores(truth, grown, (0.5, 1, 7.5), step_mm)
        assert scores.hd95_mm == pytest.approx(step_mm)
        assert scores.nsd == 1
        assert surface_scores(truth, grown, (0.5, 1, 7.5), 0.99 * step_mm).nsd < 0.97


def test_a_distance_of_the_tolerance_agrees_whatever_its_rounding() -> None:
    truth, pred = box((20, 3), (1, 16), (1, 2)), box((20, 3), (4, 16), (1, 2))
    assert 4 * 0.1 - 1 * 0.1 > 0.3
    assert surface_scores(truth, pred, (0.1, 0.1), 0.3).nsd == 1
    assert surface_scores(truth, pred, (0.1, 0.1), 0.2999).nsd < 1


def test_95_percent_of_a_surface_is_enough_whatever_its_rounding() -> None:
    truth = np.zeros((12, 15), bool)
    truth[1::3, 1::3] = True  # twenty pixels that do not touch
    pred = truth.copy()
    pred[10, 13] = False
    for step in range(1, 30):
        assert surface_scores(truth, pred, (0.1 * step, 1.7), 1).hd95_mm == 0
        pred[10, 10] = False
        assert surface_scores(truth, pred, (0.1 * step, 1.7), 1).hd95_mm > 0
        pred[10, 10] = True


def test_perfect_masks_agree_at_a_tolerance_of_0() -> None:
    truth = box((5, 6, 7), (0, 5), (2, 4), (1, 7))  # it touches the edge of the image
    assert surface_scores(truth, truth, (1, 2, 3), 0) == SurfaceScores(1, 0, 0, 0)


def test_the_rule_for_what_is_empty() -> None:
    empty, full = np.zeros((3, 4), bool), box((3, 4), (0, 2), (0, 1))
    for scores in (surface_scores(empty, full, (1, 2), 1), surface_scores(full, empty, (1, 2), 1, "perfect")):
        diagonal_mm = math.sqrt(3**2 + 8**2)
        assert scores == SurfaceScores(0, diagonal_mm, diagonal_mm, 1)
    neither = surface_scores(empty, empty, (1, 2), 1)
    assert math.isnan(neither.nsd)
    assert math.isnan(neither.hd95_mm)
    assert math.isnan(neither.assd_mm)
    assert surface_scores(empty, empty, (1, 2), 1, "perfect") == SurfaceScores(1, 0, 0, 1)


def test_no_distance_exceeds_that_of_an_empty_mask() -> None:
    corners = box((4, 5), (0, 1), (0, 1)), box((4, 5), (3, 4), (4, 5))
    assert surface_scores(*corners, (1, 2), 1).hd95_mm < math.hypot(4, 10)


def test_random_contours_equal_a_plain_loop() -> None:
    random = np.random.default_rng(0)
    for spacing in ((1.0, 1.0), (0.7, 2.3), (3.1, 0.4)):
        truth, pred = blobs(random, (15, 18))
        assert_equal(surface_scores(truth, pred, spacing, 1.05), plain_scores(truth, pred, spacing, 1.05))
        noise = random.random((2, 8, 9)) < 0.4
        assert_equal(surface_scores(*noise, spacing, 0.95), plain_scores(*noise, spacing, 0.95))


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0), (0.7, 2.3), (1.0, 1.0, 1.0), (0.5, 0.9, 7.5), (3.0, 0.4, 1.1)], ids=str
)
def test_random_masks_equal_surface_distance(spacing: tuple[float, ...]) -> None:
    random = np.random.default_rng(len(spacing))
    shape = (40, 50) if len(spacing) == 2 else (20, 24, 16)
    for tolerance_mm in (0.0, 1.05, 2.55):
        truth, pred = blobs(random, shape)
        assert_equal(surface_scores(truth, pred, spacing, tolerance_mm), peer(truth, pred, spacing, tolerance_mm))
        noise = random.random((2, *(size // 3 for size in shape))) < 0.3
        assert_equal(surface_scores(*noise, spacing, tolerance_mm), peer(*noise, spacing, tolerance_mm))


def test_real_volumes_equal_surface_distance(real_data: Callable[[str], Path]) -> None:
    for path in sorted((real_data("msd-hippocampus") / "labelsTr").glob("*.nii*"))[:3]:
        labels = np.asarray(nibabel.load(path).dataobj).astype(int)
        for spacing in ((1.0, 1.0, 1.0), (0.5, 0.5, 7.5)):
            truth = labels == 1
            pred = np.roll(ndimage.binary_opening(truth), (1, 0, -1), (0, 1, 2))
            ours = surface_scores(truth, pred, spacing, 1.05)
            assert_equal(ours, peer(truth, pred, spacing, 1.05))
            assert 0.1 < ours.nsd < 1


def test_scores_do_not_care_which_mask_is_the_truth_nor_for_a_frame_of_background() -> None:
    truth, pred = blobs(np.random.default_rng(4), (14, 15, 9))
    scores = surface_scores(truth, pred, (1, 2, 3), 2)
    assert_equal(surface_scores(pred, truth, (1, 2, 3), 2), scores)
    assert_equal(surface_scores(np.pad(truth, 3), np.pad(pred, 3), (1, 2, 3), 2), scores)
    turned = [mask.transpose(2, 0, 1) for mask in (truth, pred)]
    assert_equal(surface_scores(*turned, (3, 1, 2), 2), scores)


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")  # MONAI's own call
def test_where_monai_agrees_and_where_it_does_not() -> None:
    truth, pred = blobs(np.random.default_rng(7), (30, 34))
    spacing = (0.5, 5.0)
    one_hot = [torch.from_numpy(mask[None, None]) for mask in (pred, truth)]
    theirs = compute_surface_dice(
        *one_hot, class_thresholds=[1.05], include_background=True, spacing=spacing, use_subvoxels=True
    )
    assert surface_scores(truth, pred, spacing, 1.05).nsd == pytest.approx(float(theirs), abs=1e-6)
    # A plate of 2 by 40 pixels, of which one long side is right and the other 5 mm off: of its contour, most is 0.5 mm
    # steps. MONAI counts pixels, so that the few far ones vanish below the percentile.
    truth = box((60, 6), (2, 58), (2, 4))
    pred = truth.copy()
    pred[28:30, 4] = True
    by_area = surface_scores(truth, pred, spacing, 1).hd95_mm
    one_hot = [torch.from_numpy(mask[None, None]) for mask in (pred, truth)]
    by_count = float(compute_hausdorff_distance(*one_hot, True, percentile=95, spacing=spacing))
    assert by_area == pytest.approx(peer(truth, pred, spacing, 1).hd95_mm)
    assert by_area == pytest.approx(5)
    assert by_count < 1


def test_what_cannot_be_scored_is_refused() -> None:
    mask = box((3, 4), (0, 2), (0, 1))
    with pytest.raises(LabelError, match=r"truth is \(3, 4\) but pred is \(4, 3\)"):
        surface_scores(mask, mask.T, (1, 1), 1)
    with pytest.raises(LabelError, match="masks have 1 axes; surfaces need"):
        surface_scores(mask[0], mask[0], (1,), 1)
    with pytest.raises(LabelError, match=r"pred holds the values \[2\]"):
        surface_scores(mask, mask * 2, (1, 1), 1)
    for tolerance_mm in (-1, math.nan, math.inf):
        with pytest.raises(ConfigError, match="tolerance_mm must be a finite distance"):
            surface_scores(mask, mask, (1, 1), tolerance_mm)
    with pytest.raises(ConfigError, match="spacing_mm must be 2 positive numbers"):
        surface_scores(mask, mask, (1, 1, 1), 1)
