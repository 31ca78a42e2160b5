"""One rule for what is empty, in every score of the package."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.metrics import (
    EmptyRule,
    class_scores,
    ctc_det,
    ctc_detections,
    ctc_seg,
    dice,
    instance_scores,
    iou,
    surface_scores,
)

Score = Callable[[NDArray[np.int64], NDArray[np.int64], EmptyRule], float]

NOTHING = np.zeros((3, 4), int)
SOMETHING = np.eye(3, 4, dtype=int)

SIMILARITIES: dict[str, Score] = {
    "dice": dice,
    "iou": iou,
    "nsd": lambda truth, pred, empty: surface_scores(truth, pred, (1, 1), 1, empty).nsd,
    "seg": lambda truth, pred, empty: ctc_seg(truth, pred, empty=empty).value,
    "det": lambda truth, pred, empty: ctc_det([ctc_detections(truth, pred)], empty),
    "precision": lambda truth, pred, empty: instance_scores(truth, pred, empty=empty)[0].precision,
    "recall": lambda truth, pred, empty: instance_scores(truth, pred, empty=empty)[0].recall,
    "f1": lambda truth, pred, empty: instance_scores(truth, pred, empty=empty)[0].f1,
    "sq": lambda truth, pred, empty: instance_scores(truth, pred, empty=empty)[0].segmentation_quality,
    "pq": lambda truth, pred, empty: instance_scores(truth, pred, empty=empty)[0].panoptic_quality,
}
DISTANCES: dict[str, Score] = {
    "hd95_mm": lambda truth, pred, empty: surface_scores(truth, pred, (1, 1), 1, empty).hd95_mm,
    "assd_mm": lambda truth, pred, empty: surface_scores(truth, pred, (1, 1), 1, empty).assd_mm,
}
BEST_AND_WORST = [
    *(pytest.param(score, 1.0, 0.0, id=name) for name, score in SIMILARITIES.items()),
    *(pytest.param(score, 0.0, 5.0, id=name) for name, score in DISTANCES.items()),
]


@pytest.mark.parametrize(("score", "best", "worst"), BEST_AND_WORST)
def test_the_rule_holds_for_every_score(score: Score, best: float, worst: float) -> None:
    assert math.isnan(score(NOTHING, NOTHING, "nan"))
    assert score(NOTHING, NOTHING, "perfect") == best
    rules: tuple[EmptyRule, ...] = ("nan", "perfect")
    for rule in rules:
        assert score(SOMETHING, NOTHING, rule) == score(NOTHING, SOMETHING, rule) == worst
        assert score(SOMETHING, SOMETHING, rule) == best
    for pair in ((NOTHING, NOTHING), (SOMETHING, SOMETHING)):
        with pytest.raises(ConfigError, match="empty must be one of nan, perfect, got 'zero'"):
            score(*pair, "zero")  # type: ignore[arg-type]


def test_all_scores_of_a_class_that_is_nowhere() -> None:
    scores = class_scores(SOMETHING, SOMETHING, {0: "background", 1: "one", 2: "two"}, (1, 1), 1)
    assert list(scores) == ["one", "two"]
    assert list(scores["one"].values()) == [1, 1, 1, 0, 0, 0, 0]
    assert all(math.isnan(value) for value in scores["two"].values())
    chosen = class_scores(SOMETHING, SOMETHING, {0: "background", 1: "one", 2: "two"}, (1, 1), 1, "perfect")
    assert chosen["one"] == chosen["two"] == scores["one"]
