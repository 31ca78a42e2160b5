"""Losses out of TensorBoard's files, against the means that the run record took."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.tensorboard import SummaryWriter

from pipeline.reports.learning_curves import step_losses
from pipeline.reports.run_folder import RunFolder


def test_steps_of_a_real_run_have_the_means_that_its_record_says(runs: Any) -> None:
    run = RunFolder.read(runs.first)
    found = step_losses(run)
    assert found is not None
    assert found.steps_each == 1
    assert found.epochs.tolist() == [0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]
    for epoch in run.epochs:
        of_epoch = found.losses[(found.epochs > epoch.number - 1) & (found.epochs <= epoch.number)]
        assert of_epoch.mean() == pytest.approx(epoch.loss, rel=1e-6)


@pytest.mark.parametrize("steps", [1, 240, 241, 1001])
def test_means_of_many_steps_keep_the_mean(changed: Callable[..., Path], steps: int) -> None:
    folder = changed("run", {"steps_per_epoch": 10})
    shutil.rmtree(folder / "log" / "tensorboard")
    losses = np.random.default_rng(steps).random(steps).astype(np.float32)
    with SummaryWriter(folder / "log" / "tensorboard") as writer:
        for step, loss in enumerate(losses, 1):
            writer.add_scalar("loss", loss, step)
    found = step_losses(RunFolder.read(folder))
    assert found is not None
    assert len(found.losses) <= 240
    assert len(found.losses) == -(-steps // found.steps_each)
    sizes = np.full(len(found.losses), found.steps_each)
    sizes[-1] = steps - sizes[:-1].sum()
    assert (found.losses * sizes).sum() == pytest.approx(losses.sum(dtype=np.float64), rel=1e-9)


def test_of_a_step_done_twice_the_later_counts(changed: Callable[..., Path]) -> None:
    folder = changed("run", {"steps_per_epoch": 2})
    shutil.rmtree(folder / "log" / "tensorboard")
    for suffix, values in ((".1", {1: 5.0, 2: 4.0, 3: 3.0}), (".2", {3: 2.0, 4: 1.0})):
        with SummaryWriter(folder / "log" / "tensorboard", filename_suffix=suffix) as writer:
            for step, loss in values.items():
                writer.add_scalar("loss", loss, step)
    found = step_losses(RunFolder.read(folder))
    assert found is not None
    assert found.losses.tolist() == [5, 4, 2, 1]


def test_without_files_of_tensorboard_there_is_nothing(changed: Callable[..., Path]) -> None:
    folder = changed("run", {})
    shutil.rmtree(folder / "log" / "tensorboard")
    assert step_losses(RunFolder.read(folder)) is None


def test_a_file_that_was_cut_short_gives_what_it_holds(changed: Callable[..., Path]) -> None:
    folder = changed("run", {})
    (file,) = (folder / "log" / "tensorboard").glob("*tfevents*")
    whole = step_losses(RunFolder.read(folder))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    found = step_losses(RunFolder.read(folder))
    assert whole is not None
    assert found is not None
    assert found.losses.tolist() == whole.losses[: len(found.losses)].tolist()
