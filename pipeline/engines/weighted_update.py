"""One training step: forward, weighted loss, backward, optimiser."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils.enums import CommonKeys

from ..errors import ConfigError, TrainingError
from ..precision import Precision, autocast, check_precision


class WeightedUpdate:
    """The `iteration_update` of a MONAI `SupervisedTrainer` whose loss takes a weight for every pixel.

    MONAI's own step hands the loss no more than prediction and label.

    Args:
        precision: `"fp32"`, `"bf16"` for autocast to bfloat16, or `"auto"` for bfloat16 where the device has it.
        max_gradient_norm: Longer gradients are shortened to this; None leaves them alone.

    Raises:
        ConfigError: If an argument is out of range.
        TrainingError: When called, if the loss is not a finite number; the message names the cases.
    """

    def __init__(self, precision: Precision = "fp32", max_gradient_norm: float | None = None) -> None:
        check_precision(precision)
        if max_gradient_norm is not None and not max_gradient_norm > 0:
            raise ConfigError(f"max_gradient_norm must be positive or null, got {max_gradient_norm}")
        self.precision = precision
        self.max_gradient_norm = max_gradient_norm

    def __call__(self, engine: SupervisedTrainer, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Train on one batch of tiles and return image, label, weight, prediction (B, C, h, w) and loss."""
        image, label, weight = (
            batch[key].to(engine.state.device, non_blocking=engine.non_blocking)
            for key in (CommonKeys.IMAGE, CommonKeys.LABEL, "weight")
        )
        engine.network.train()
        engine.optimizer.zero_grad(set_to_none=True)
        with autocast(image.device, self.precision):
            pred = engine.inferer(image, engine.network)
        engine.fire_event(IterationEvents.FORWARD_COMPLETED)
        loss = engine.loss_function(pred, label, weight)
        engine.fire_event(IterationEvents.LOSS_COMPLETED)
        if not math.isfinite(loss.item()):
            raise TrainingError(
                f"loss is {loss.item()} at step {engine.state.iteration}, on {', '.join(batch['case'])}; "
                "lower learning_rate, or set train::trainer::iteration_update::max_gradient_norm"
            )
        loss.backward()
        engine.fire_event(IterationEvents.BACKWARD_COMPLETED)
        if self.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(engine.network.parameters(), self.max_gradient_norm)
        engine.optimizer.step()
        engine.fire_event(IterationEvents.MODEL_COMPLETED)
        return {
            CommonKeys.IMAGE: image,
            CommonKeys.LABEL: label,
            "weight": weight,
            CommonKeys.PRED: pred.detach(),
            CommonKeys.LOSS: loss.item(),
        }


def step_loss(output: Mapping[str, Any]) -> float:
    """Return the loss out of what `WeightedUpdate` returns: the `output_transform` of handlers that log it."""
    return float(output[CommonKeys.LOSS])
