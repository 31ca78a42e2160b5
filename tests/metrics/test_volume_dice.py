"""Dice of whole volumes, against counting by hand, inside an engine, and with cases that repeat or lack a class."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from monai.metrics import compute_dice

from pipeline.errors import ConfigError, ImageError, LabelError
from pipeline.metrics import DiceScore, VolumeDice, dice


def scores_of(classes: np.ndarray, count: int = 3) -> torch.Tensor:
    """Probabilities whose greatest is at these classes."""
    return torch.from_numpy(np.stack([(classes == index) * 0.6 + 0.1 for index in range(count)]))


def line(*values: int) -> np.ndarray:
    return np.array(values).reshape(1, 2, -1)


def test_dice_worked_by_hand() -> None:
    metric = VolumeDice(num_classes=3)
    truth = line(1, 1, 1, 2, 2, 0, 0, 0)
    pred = line(1, 1, 2, 2, 2, 2, 0, 0)
    metric.update(([scores_of(pred)], [torch.from_numpy(truth[None])], ["a"]))
    # Class 1: 2 * 2 / (3 + 2); class 2: 2 * 2 / (2 + 4).
    assert metric.compute() == {"a": pytest.approx((4 / 5, 4 / 6))}


def test_random_volumes_have_the_dice_that_counting_gives() -> None:
    random = np.random.default_rng(0)
    metric = VolumeDice(num_classes=4)
    wanted = {}
    for case in "bca":
        truth, pred = random.integers(0, 4, (2, 5, 6, 7))
        metric.update(([scores_of(pred, 4)], [torch.from_numpy(truth[None])], [case]))
        wanted[case] = [
            2 * np.sum((truth == index) & (pred == index)) / (np.sum(truth == index) + np.sum(pred == index))
            for index in (1, 2, 3)
        ]
    found = metric.compute()
    assert list(found) == ["a", "b", "c"]
    for case, scores in found.items():
        assert scores == pytest.approx(wanted[case])


def test_random_volumes_have_the_dice_of_monai() -> None:
    random = np.random.default_rng(1)
    metric = VolumeDice(num_classes=3)
    truth, pred = random.integers(0, 3, (2, 5, 6, 7))
    metric.update(([scores_of(pred)], [torch.from_numpy(truth[None])], ["a"]))
    classes, label = (torch.from_numpy(volume[None, None]) for volume in (pred, truth))
    theirs = compute_dice(classes, label, include_background=False, ignore_empty=False, num_classes=3)
    assert metric.compute()["a"] == pytest.approx(theirs[0].tolist(), abs=1e-6)


def test_the_score_is_to_the_last_digit_that_of_the_function() -> None:
    random = np.random.default_rng(2)
    metric = VolumeDice(num_classes=3)
    truth, pred = random.integers(0, 3, (2, 5, 6, 7))
    metric.update(([scores_of(pred)], [torch.from_numpy(truth[None])], ["a"]))
    assert metric.compute()["a"] == tuple(dice(truth == index, pred == index) for index in (1, 2))


def test_a_class_that_is_nowhere_is_scored_as_the_caller_chose() -> None:
    metric = VolumeDice(num_classes=3, empty="perfect")
    metric.update(([scores_of(line(1, 0))], [torch.from_numpy(line(0, 0)[None])], ["a"]))
    assert metric.compute() == {"a": (0, 1)}


def test_a_class_that_is_nowhere_has_no_dice_and_one_that_is_invented_has_0() -> None:
    metric = VolumeDice(num_classes=3)
    empty, one = line(0, 0, 0, 0), line(1, 0, 0, 0)
    metric.update(
        ([scores_of(one), scores_of(one)], [torch.from_numpy(one[None]), torch.from_numpy(empty[None])], ["a", "b"])
    )
    found = metric.compute()
    assert found["a"][0] == 1
    assert found["b"][0] == 0
    assert math.isnan(found["a"][1])
    assert math.isnan(found["b"][1])


def engine_over(batches: list[tuple[str, np.ndarray, np.ndarray]]) -> Engine:
    """An engine that gives the batches as MONAI's evaluators do."""

    def step(engine: Engine, batch: tuple[str, np.ndarray, np.ndarray]) -> list[dict[str, torch.Tensor]]:
        case, pred, truth = batch
        engine.state.batch = [{"case": case}]
        return [{"pred": scores_of(pred), "label": torch.from_numpy(truth[None])}]

    engine = Engine(step)
    volumes = VolumeDice(num_classes=3)
    for name, class_index in (("dice", None), ("first", 1), ("second", 2)):
        DiceScore(volumes, class_index).attach(engine, name)
    engine.run(batches)
    return engine


def test_scores_are_means_over_volumes_and_then_over_classes() -> None:
    a = ("a", line(1, 1, 2, 2), line(1, 1, 2, 0))  # 1 and 2/3
    b = ("b", line(1, 0, 2, 2), line(1, 1, 2, 2))  # 2/3 and 1
    c = ("c", line(1, 0, 0, 0), line(1, 0, 0, 0))  # 1 and none
    engine = engine_over([a, b, c])
    first, second = (1 + 2 / 3 + 1) / 3, (2 / 3 + 1) / 2
    assert engine.state.metrics["first"] == pytest.approx(first)
    assert engine.state.metrics["second"] == pytest.approx(second)
    assert engine.state.metrics["dice"] == pytest.approx((first + second) / 2)
    details = engine.state.metric_details
    assert details["first"] == pytest.approx({"a": 1, "b": 2 / 3, "c": 1})
    assert details["dice"] == pytest.approx({"a": 5 / 6, "b": 5 / 6, "c": 1})


def test_a_volume_that_comes_twice_counts_once() -> None:
    a, b = ("a", line(1, 1, 2, 2), line(1, 1, 2, 0)), ("b", line(1, 0, 2, 2), line(1, 1, 2, 2))
    assert engine_over([a, b, a]).state.metrics == engine_over([a, b]).state.metrics


def test_a_second_epoch_starts_anew() -> None:
    engine = engine_over([("a", line(1, 1, 2, 2), line(0, 0, 1, 1))])
    assert engine.state.metrics["dice"] == 0
    engine.run([("b", line(1, 1, 2, 2), line(1, 1, 2, 2))])
    assert engine.state.metrics["dice"] == 1


def test_what_cannot_be_scored_is_refused() -> None:
    metric = VolumeDice(num_classes=3)
    truth = torch.zeros(1, 1, 2, 2, dtype=torch.int64)
    with pytest.raises(NotComputableError, match="at least one volume"):
        metric.compute()
    with pytest.raises(ImageError, match="pred of case 'a' has 2 channels; expected one for each of 3 classes"):
        metric.update(([torch.zeros(2, 1, 2, 2)], [truth], ["a"]))
    with pytest.raises(LabelError, match="bring the prediction back to the grid of the label"):
        metric.update(([torch.zeros(3, 2, 1, 2)], [truth], ["a"]))
    with pytest.raises(ConfigError, match="num_classes must be at least 2"):
        VolumeDice(num_classes=1)
    with pytest.raises(ConfigError, match="empty must be one of nan, perfect"):
        VolumeDice(num_classes=2, empty="one")  # type: ignore[arg-type]
    for class_index in (0, 3):
        with pytest.raises(ConfigError, match=r"class_index must be in 1\.\.2 or null"):
            DiceScore(metric, class_index)
