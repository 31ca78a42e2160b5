"""The Dice of each class over whole volumes, as Ignite metrics: one that scores, and light ones that report.

A bundle names them in its evaluator::

    volume_dice: {_target_: pipeline.metrics.VolumeDice, num_classes: 3}
    key_val_metric:
      dice: {_target_: pipeline.metrics.DiceScore, volumes: '@validate::volume_dice'}
    additional_metrics:
      dice_anterior: {_target_: pipeline.metrics.DiceScore, volumes: '@validate::volume_dice', class_index: 1}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import ignite.distributed as idist
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric, MetricsLambda
from monai.handlers import from_engine

from ..counted import counted
from ..errors import ConfigError, ImageError, LabelError
from .empty import EmptyRule, check_empty_rule
from .overlap import dice

_PRED_AND_LABEL: Final = from_engine(["pred", "label"])
_CASE: Final = from_engine("case")


class VolumeDice(Metric):
    """The Dice coefficient of each object class in every volume that an evaluator saw in an epoch, over all ranks.

    Volumes are told apart by case id: one that a distributed sampler hands out twice counts once. A class that neither
    label nor prediction has is scored as `empty` says: by default it has no Dice in that volume and counts in no mean.
    A class that only one of them has is a Dice of 0.

    Args:
        num_classes: Classes of the network, background included; at least 2.
        output_transform: Takes `pred` and `label`, a sequence each, out of `engine.state.output`.
        batch_transform: Takes the sequence of case ids out of `engine.state.batch`.
        empty: The Dice of a class that neither has, see `pipeline.metrics.empty`.

    Raises:
        ConfigError: If `num_classes` is less than 2 or `empty` is not known.
    """

    def __init__(
        self,
        num_classes: int,
        output_transform: Callable[[Any], Any] = _PRED_AND_LABEL,
        batch_transform: Callable[[Any], Any] = _CASE,
        empty: EmptyRule = "nan",
    ) -> None:
        if num_classes < 2:
            raise ConfigError(f"num_classes must be at least 2, got {num_classes}; background counts as one")
        self.num_classes = num_classes
        check_empty_rule(empty)
        self._empty = empty
        self._batch_transform = batch_transform
        super().__init__(output_transform)

    def reset(self) -> None:
        """Forget all volumes."""
        self._of_this_rank: dict[str, tuple[float, ...]] = {}

    def update(self, output: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor], Sequence[str]]) -> None:
        """Score the volumes of a batch.

        Args:
            output: `pred`: (num_classes, ...) each, scores or probabilities of the classes, whose greatest is taken;
                `label`: (1, ...) each, class indices on the same grid; the case ids.

        Raises:
            ImageError: If a `pred` has another number of classes.
            LabelError: If a `label` is not on the grid of its `pred`.
        """
        for pred, label, case in zip(*output, strict=True):
            if len(pred) != self.num_classes:
                raise ImageError(
                    f"pred of case '{case}' has {counted(len(pred), 'channel')}; expected one for each of "
                    f"{self.num_classes} classes"
                )
            if label.shape != (1, *pred.shape[1:]):
                raise LabelError(
                    f"label of case '{case}' is {tuple(label.shape)} but its pred is {tuple(pred.shape)}; bring the "
                    "prediction back to the grid of the label first"
                )
            indices = torch.as_tensor(pred).argmax(0)
            truth = torch.as_tensor(label)[0].to(indices).cpu().numpy()
            classes = indices.cpu().numpy()
            self._of_this_rank[case] = tuple(
                dice(truth == index, classes == index, self._empty) for index in range(1, self.num_classes)
            )

    @torch.no_grad()
    def iteration_completed(self, engine: Engine) -> None:
        """Score the batch that the engine has just finished."""
        pred, label = self._output_transform(engine.state.output)
        self.update((pred, label, self._batch_transform(engine.state.batch)))

    def compute(self) -> dict[str, tuple[float, ...]]:
        """Return the Dice of each object class (NaN where it is nowhere) by case, sorted; all ranks must call this.

        Raises:
            NotComputableError: If no rank has seen a volume.
        """
        merged: dict[str, tuple[float, ...]] = {}
        for of_rank in idist.all_gather(self._of_this_rank):
            merged |= of_rank
        if not merged:
            raise NotComputableError("Dice needs at least one volume; run the evaluator or call `update` first")
        return dict(sorted(merged.items()))


class DiceScore(MetricsLambda):
    """The mean Dice of one class over all volumes of a `VolumeDice`, or the mean over its classes of these.

    It leaves the Dice of each case in `engine.state.metric_details[name]`.

    Args:
        volumes: Where the volumes are scored.
        class_index: The class, from 1; None for the mean over all classes but background.

    Raises:
        ConfigError: If there is no such class.
    """

    def __init__(self, volumes: VolumeDice, class_index: int | None = None) -> None:
        if class_index is not None and not 1 <= class_index < volumes.num_classes:
            raise ConfigError(f"class_index must be in 1..{volumes.num_classes - 1} or null, got {class_index}")
        self._volumes = volumes
        self._class_index = class_index
        super().__init__(self._score, volumes)

    def completed(self, engine: Engine, name: str) -> None:
        """Put the score into `engine.state.metrics` and that of each case into `engine.state.metric_details`."""
        super().completed(engine, name)
        by_case = self._volumes.compute()
        details = {case: _mean(self._wanted(scores)) for case, scores in by_case.items()}
        engine.state.metric_details = {**getattr(engine.state, "metric_details", {}), name: details}

    def _score(self, by_case: Mapping[str, tuple[float, ...]]) -> float:
        of_class = zip(*by_case.values(), strict=True)
        return _mean(self._wanted(tuple(_mean(scores) for scores in of_class)))

    def _wanted(self, scores: tuple[float, ...]) -> tuple[float, ...]:
        return scores if self._class_index is None else (scores[self._class_index - 1],)


def _mean(scores: Sequence[float]) -> float:
    known = [score for score in scores if not math.isnan(score)]
    # `fsum` rounds once, so that no order of cases changes the last digit.
    return math.fsum(known) / len(known) if known else math.nan
