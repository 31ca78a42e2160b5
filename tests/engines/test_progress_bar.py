"""The one progress bar of a training."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from ignite.engine import Events

from pipeline.engines import TrainingProgressBar


def test_the_bar_shows_epoch_loss_score_and_steps(
    small_training: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    training = small_training(scores=(0.5, 0.25), steps_per_epoch=3)
    TrainingProgressBar(training.evaluator).attach(training.trainer)
    training.run()
    shown = capsys.readouterr()
    assert shown.out == ""
    last = shown.err.rstrip("\n").split("\r")[-1]
    assert re.match(r"epoch 2/2 loss \d+\.\d{4}: 100%.* 6/6 \[.*(step/s|s/step).*score 0\.2500 \(best 0\.5000\)", last)
    assert shown.err.endswith("\n")


def test_the_loss_that_is_shown_is_a_running_mean(
    small_training: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    training = small_training(scores=(0.5,), steps_per_epoch=3)
    losses: list[float] = []
    TrainingProgressBar(training.evaluator, smoothing=0.5).attach(training.trainer)
    training.trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"])
    )
    training.run()
    mean = losses[0]
    for loss in losses[1:]:
        mean = 0.5 * mean + 0.5 * loss
    assert f"loss {mean:.4f}" in capsys.readouterr().err.split("\r")[-1]


def test_a_resumed_run_starts_where_it_stopped(
    small_training: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    training = small_training(scores=(0.5, 0.25), steps_per_epoch=3)

    def resume(trainer: Any) -> None:
        trainer.state.epoch, trainer.state.iteration = 1, 3

    training.trainer.add_event_handler(Events.STARTED, resume)
    TrainingProgressBar(training.evaluator).attach(training.trainer)
    training.run()
    shown = capsys.readouterr().err
    assert " 3/6 " in shown
    assert " 0/6 " not in shown
    assert " 6/6 " in shown


def test_other_ranks_show_nothing(
    small_training: Callable[..., Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    training = small_training()
    TrainingProgressBar(training.evaluator).attach(training.trainer)
    training.run()
    assert capsys.readouterr().err == ""
