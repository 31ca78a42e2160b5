"""Panoptic quality and F1: worked values, MONAI above an IoU of 0.5, all one-to-one matchings below."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.metrics import compute_panoptic_quality
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ConfigError, LabelError
from pipeline.metrics import InstanceScores, instance_scores

Instances = NDArray[np.int64]


def row(*values: int) -> Instances:
    return np.array([values])


def boxes(random: np.random.Generator, shape: tuple[int, int], count: int) -> Instances:
    instances = np.zeros(shape, np.int64)
    for number in range(count):
        top, left = random.integers(0, np.array(shape) - 3)
        height, width = random.integers(2, 9, 2)
        instances[top : top + height, left : left + width] = 7 * number + 3
    return instances


def all_matchings(allowed: NDArray[np.bool_], first: int = 0) -> Iterator[tuple[tuple[int, int], ...]]:
    """Every one-to-one matching, one row after the other."""
    if first == len(allowed):
        yield ()
        return
    for rest in all_matchings(allowed, first + 1):
        yield rest
        for column in np.flatnonzero(allowed[first]):
            if column not in {taken for _, taken in rest}:
                yield ((first, int(column)), *rest)


def best_by_trying_all(truth: Instances, pred: Instances, threshold: float) -> tuple[int, float]:
    """The most pairs, and the greatest sum of IoU with so many."""
    names = [[name for name in np.unique(instances) if name] for instances in (truth, pred)]
    iou = np.array(
        [[np.sum((truth == t) & (pred == p)) / np.sum((truth == t) | (pred == p)) for p in names[1]] for t in names[0]]
    )
    return max((len(pairs), math.fsum(iou[pair] for pair in pairs)) for pairs in all_matchings(iou > threshold))


@pytest.mark.parametrize(
    ("truth", "pred", "counts", "quality"),
    [
        pytest.param(row(1, 1, 0, 2), row(4, 4, 0, 9), (2, 0, 0), 1, id="perfect"),
        pytest.param(row(1, 1, 1, 1, 1), row(4, 4, 4, 5, 5), (1, 1, 0), 3 / 5, id="split: the greater part matches"),
        pytest.param(row(1, 1, 1, 2, 2), row(4, 4, 4, 4, 4), (1, 0, 1), 3 / 5, id="merger: the greater cell matches"),
        pytest.param(row(1, 1, 2, 2), row(4, 4, 4, 4), (0, 1, 2), 0, id="merger of equals: 1/2 is not more than 1/2"),
        pytest.param(row(1, 1, 1, 1, 0), row(0, 4, 4, 4, 4), (1, 0, 0), 3 / 5, id="shifted border"),
        pytest.param(row(1, 0, 2), row(0, 0, 0), (0, 0, 2), 0, id="empty prediction"),
        pytest.param(row(0, 0, 0), row(1, 0, 2), (0, 2, 0), 0, id="empty truth"),
    ],
)
def test_worked_values(truth: Instances, pred: Instances, counts: tuple[int, int, int], quality: float) -> None:
    (scores,) = instance_scores(truth, pred)
    assert (scores.matches, scores.false, scores.missed) == counts
    matches, false, missed = counts
    assert scores.precision == (matches / (matches + false) if matches + false else 0)
    assert scores.recall == (matches / (matches + missed) if matches + missed else 0)
    assert scores.f1 == pytest.approx(matches / (matches + false / 2 + missed / 2))
    assert scores.segmentation_quality == pytest.approx(quality)
    assert scores.panoptic_quality == pytest.approx(quality * scores.f1)


def test_nothing_in_truth_and_prediction_is_what_the_caller_chose() -> None:
    nothing = row(0, 0)
    (none,) = instance_scores(nothing, nothing)
    assert (none.matches, none.false, none.missed) == (0, 0, 0)
    assert all(math.isnan(value) for value in (none.precision, none.recall, none.f1, none.panoptic_quality))
    assert instance_scores(nothing, nothing, empty="perfect") == (InstanceScores(0.5, 0, 0, 0, 1, 1, 1, 1, 1),)


def test_random_instances_equal_monai_above_a_half() -> None:
    random = np.random.default_rng(0)
    found = []
    for _ in range(15):
        truth = boxes(random, (30, 34), 8)
        pred = np.roll(truth, random.integers(-1, 2, 2), (0, 1))
        pred[:, random.integers(34)] = 0
        for threshold in (0.5, 0.6, 0.75):
            (ours,) = instance_scores(truth, pred, (threshold,))
            theirs = compute_panoptic_quality(
                torch.from_numpy(pred),
                torch.from_numpy(truth),
                match_iou_threshold=threshold,
                output_confusion_matrix=True,
            )
            assert (ours.matches, ours.false, ours.missed) == tuple(int(count) for count in theirs[:3])
            assert ours.segmentation_quality * ours.matches == pytest.approx(float(theirs[3]), abs=1e-5)
            found.append(ours.panoptic_quality)
    assert min(found) < 0.3
    assert max(found) > 0.6


def test_real_nuclei_equal_monai(real_data: Callable[[str], Path]) -> None:
    for path in sorted((real_data("dsb2018-nuclei") / "labels").glob("*.png"))[:2]:
        truth = np.array(Image.open(path)).astype(np.int64)
        pred = np.roll(truth, (2, -1), (0, 1))
        (ours,) = instance_scores(truth, pred)
        theirs = compute_panoptic_quality(torch.from_numpy(pred), torch.from_numpy(truth), smooth_numerator=0)
        assert ours.panoptic_quality == pytest.approx(float(theirs), abs=1e-5)
        assert 0.3 < ours.panoptic_quality < 1
        assert instance_scores(truth, truth)[0].panoptic_quality == 1


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.3])
def test_matching_below_a_half_is_the_best_of_all(threshold: float) -> None:
    random = np.random.default_rng(1)
    for _ in range(25):
        truth, pred = boxes(random, (14, 15), 6), boxes(random, (14, 15), 6)
        (scores,) = instance_scores(truth, pred, (threshold,))
        matches, iou_sum = best_by_trying_all(truth, pred, threshold)
        assert scores.matches == matches
        assert scores.segmentation_quality * matches == pytest.approx(iou_sum)


def test_an_object_that_covers_two_halves_matches_one_of_them() -> None:
    truth, pred = row(1, 1, 2, 2), row(1, 1, 1, 1)
    (scores,) = instance_scores(truth, pred, (0.45,))
    assert (scores.matches, scores.false, scores.missed) == (1, 0, 1)
    (scores,) = instance_scores(truth, pred, (0.5,))
    assert (scores.matches, scores.false, scores.missed) == (0, 1, 2)


def test_no_pair_is_given_up_for_a_better_one() -> None:
    # IoU: 1 and 4 have 5/9, 1 and 5 have 3/8, 2 and 4 have 1/6. 5/9 alone is more than 3/8 + 1/6, but one match less.
    truth = row(1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 0, 0, 0)
    pred = row(5, 5, 5, 4, 4, 4, 4, 4, 4, 0, 0, 0, 0)
    (scores,) = instance_scores(truth, pred, (0.1,))
    assert scores.matches == best_by_trying_all(truth, pred, 0.1)[0] == 2


def test_more_is_asked_at_a_higher_threshold() -> None:
    random = np.random.default_rng(2)
    truth = boxes(random, (40, 40), 10)
    thresholds = tuple(step / 20 for step in range(20))
    scores = instance_scores(truth, np.roll(truth, 1, 0), thresholds)
    assert [score.iou_threshold for score in scores] == list(thresholds)
    matches = [score.matches for score in scores]
    assert matches == sorted(matches, reverse=True)
    assert matches[0] > matches[-1]


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(LabelError, match=r"truth is \(1, 2\) but pred is \(1, 3\)"):
        instance_scores(row(0, 1), row(0, 1, 1))
    with pytest.raises(LabelError, match="truth is a bool mask"):
        instance_scores(row(0, 1) > 0, row(0, 1))
    with pytest.raises(LabelError, match="pred holds values that are not whole numbers"):
        instance_scores(row(0, 1), np.array([[0, np.nan]]))
    with pytest.raises(LabelError, match="pred holds the instance -2"):
        instance_scores(row(0, 1), row(0, -2))
    for beyond in (np.array([[0, 2**63]], np.uint64), np.array([[0, 1e300]])):
        with pytest.raises(LabelError, match=r"pred holds the instance .*; expected less than 2\^63"):
            instance_scores(row(0, 1), beyond)
    for threshold in (-0.1, 1.0, math.nan):
        with pytest.raises(ConfigError, match="iou_thresholds must be at least 0 and less than 1"):
            instance_scores(row(0, 1), row(0, 1), (threshold,))
