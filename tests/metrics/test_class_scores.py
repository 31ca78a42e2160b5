"""All scores of all classes of a case."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.errors import LabelError
from pipeline.metrics import CLASS_SCORE_NAMES, class_scores, dice, iou, surface_scores, volume_difference

CLASSES = {0: "background", 2: "posterior", 1: "anterior"}


def test_each_class_has_the_scores_of_its_masks() -> None:
    random = np.random.default_rng(0)
    truth, pred = random.integers(0, 3, (2, 6, 7, 5))
    scores = class_scores(truth, pred.astype(np.float32), CLASSES, (0.5, 1, 3), 1)
    assert list(scores) == ["anterior", "posterior"]
    for index, name in ((1, "anterior"), (2, "posterior")):
        masks = truth == index, pred == index
        surface = surface_scores(*masks, (0.5, 1, 3), 1)
        mm3, relative = volume_difference(*masks, (0.5, 1, 3))
        wanted = (dice(*masks), iou(*masks), surface.nsd, surface.hd95_mm, surface.assd_mm, mm3, relative)
        assert scores[name] == dict(zip(CLASS_SCORE_NAMES, wanted, strict=True))
        assert 0 < scores[name]["dice"] < 1


def test_an_invented_class_has_a_volume_but_no_relative_one() -> None:
    scores = class_scores(np.zeros((2, 2)), np.array([[0, 1], [0, 0]]), CLASSES, (2, 2), 1)["anterior"]
    assert (scores["dice"], scores["volume_difference_mm3"]) == (0, 4)
    assert math.isnan(scores["relative_volume_difference"])


def test_values_that_are_no_class_are_refused() -> None:
    good = np.array([[0, 1, 2]])
    with pytest.raises(LabelError, match=r"pred holds the values \[3, 255\]; expected \[0, 1, 2\] only; declare"):
        class_scores(good, np.array([[255, 1, 3]]), CLASSES, (1, 1), 1)
    with pytest.raises(LabelError, match=r"truth holds the values \[nan\]"):
        class_scores(np.array([[0, 1, np.nan]]), good, CLASSES, (1, 1), 1)
    with pytest.raises(LabelError, match=r"truth is \(1, 3\) but pred is \(3, 1\)"):
        class_scores(good, good.T, CLASSES, (1, 1), 1)
