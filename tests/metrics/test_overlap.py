"""Dice, IoU and volume difference: worked values, scikit-learn, MONAI, and the rule for what is empty."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.metrics import compute_dice, compute_iou
from sklearn.metrics import f1_score, jaccard_score

from pipeline.errors import ConfigError, LabelError
from pipeline.metrics import dice, iou, volume_difference

NOTHING = np.zeros((2, 3), bool)
ONE = np.array([[1, 0, 0], [0, 0, 0]])


def test_values_worked_by_hand() -> None:
    truth = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]])
    shifted = np.roll(truth, 1, axis=1)
    assert dice(truth, shifted) == 2 * 4 / 12
    assert iou(truth, shifted) == 4 / 8
    assert volume_difference(truth, shifted, (2, 3)) == (0, 0)
    larger = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]])
    assert volume_difference(truth, larger, (2, 3)) == (6, 1 / 6)
    assert volume_difference(larger, truth, (2, 3)) == (-6, -1 / 7)
    assert volume_difference(truth[..., None], larger[..., None], (0.5, 0.5, 7.5))[0] == pytest.approx(1.875)
    assert dice(truth, truth) == iou(truth, truth) == 1


def test_the_rule_for_what_is_empty() -> None:
    for score in (dice, iou):
        assert math.isnan(score(NOTHING, NOTHING))
        assert score(NOTHING, NOTHING, "perfect") == 1
        for rule in ("nan", "perfect"):
            assert score(ONE, NOTHING, rule) == score(NOTHING, ONE, rule) == 0  # type: ignore[arg-type]
    assert all(math.isnan(value) for value in volume_difference(NOTHING, NOTHING, (1, 1)))
    assert volume_difference(NOTHING, NOTHING, (1, 1), "perfect") == (0, 0)
    assert volume_difference(ONE, NOTHING, (2, 2)) == (-4, -1)
    mm3, relative = volume_difference(NOTHING, ONE, (2, 2))
    assert mm3 == 4
    assert math.isnan(relative)


@pytest.mark.parametrize("shape", [(7, 9), (4, 5, 6), (50,)], ids=str)
def test_random_masks_equal_scikit_learn_and_monai(shape: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    for share in (0.02, 0.2, 0.7):
        truth, pred = random.random((2, *shape)) < share
        if not (truth.any() and pred.any()):
            continue
        assert dice(truth, pred) == pytest.approx(f1_score(truth.ravel(), pred.ravel()), abs=1e-15)
        assert iou(truth, pred) == pytest.approx(jaccard_score(truth.ravel(), pred.ravel()), abs=1e-15)
        tensors = [torch.from_numpy(mask[None, None]) for mask in (pred, truth)]
        assert dice(truth, pred) == pytest.approx(float(compute_dice(*tensors)), abs=1e-6)
        assert iou(truth, pred) == pytest.approx(float(compute_iou(*tensors)), abs=1e-6)
        assert iou(truth, pred) == pytest.approx(dice(truth, pred) / (2 - dice(truth, pred)))


def test_real_hippocampi_against_their_neighbours_equal_scikit_learn(real_data: Callable[[str], Path]) -> None:
    path = sorted(real_data("msd-hippocampus").rglob("labels*/**/*.nii*"))[0]
    image = nibabel.load(path)
    truth = np.asarray(image.dataobj).astype(int)
    pred = np.roll(truth, (1, -2, 1), (0, 1, 2))
    for index in (1, 2):
        of_truth, of_pred = truth == index, pred == index
        assert dice(of_truth, of_pred) == pytest.approx(f1_score(of_truth.ravel(), of_pred.ravel()), abs=1e-15)
        assert 0.3 < dice(of_truth, of_pred) < 0.95
        spacing = tuple(float(step) for step in image.header.get_zooms())
        assert volume_difference(of_truth, of_truth | of_pred, spacing)[0] == pytest.approx(
            np.count_nonzero(of_pred & ~of_truth) * math.prod(spacing)
        )


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(LabelError, match=r"truth is \(2, 3\) but pred is \(3, 2\); bring the prediction back"):
        dice(ONE, ONE.reshape(3, 2))
    with pytest.raises(LabelError, match=r"pred holds the values \[2, 255\]; expected \[0, 1\] only"):
        iou(ONE, np.array([[0, 1, 2], [255, 0, 0]]))
    with pytest.raises(LabelError, match=r"truth holds the values \[nan\]"):
        dice(np.where(ONE, np.nan, 0), ONE)
    with pytest.raises(LabelError, match="truth has type <U1"):
        dice(np.array([["a"]]), np.array([[1]]))
    for spacing in ((1,), (1, 0), (1, math.nan), (1, 1, 1)):
        with pytest.raises(ConfigError, match="spacing_mm must be 2 positive numbers"):
            volume_difference(ONE, ONE, spacing)
    with pytest.raises(ConfigError, match="empty must be one of nan, perfect, got 'zero'"):
        dice(ONE, ONE, "zero")  # type: ignore[arg-type]
