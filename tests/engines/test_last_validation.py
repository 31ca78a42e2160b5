"""Validation at intervals and after the last epoch, whatever the interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ignite.engine import Engine, Events
from monai.handlers import ValidationHandler

from pipeline.engines import LastValidation


@pytest.mark.parametrize(
    ("max_epochs", "interval", "validated"),
    [(6, 2, [2, 4, 6]), (5, 2, [2, 4, 5]), (3, 5, [3]), (1, 1, [1])],
    ids=["interval ends with the run", "interval does not", "interval beyond the run", "one epoch"],
)
def test_every_run_ends_with_one_validation_of_its_last_epoch(
    small_training: Callable[..., Any], max_epochs: int, interval: int, validated: list[int]
) -> None:
    evaluator = small_training(scores=(0.5,) * max_epochs).evaluator
    seen: list[int] = []
    evaluator.add_event_handler(Events.COMPLETED, lambda engine: seen.append(engine.state.epoch))
    trainer = Engine(lambda engine, batch: None)
    ValidationHandler(validator=evaluator, interval=interval).attach(trainer)
    LastValidation(evaluator, every_epochs=interval).attach(trainer)
    trainer.run([0], max_epochs=max_epochs)
    assert seen == validated
