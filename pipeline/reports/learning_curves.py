"""How the loss fell from step to step, from TensorBoard's files, and from epoch to epoch, from the run record."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .run_folder import RunFolder

_MOST_POINTS = 240  # of a line in a plot that is some 300 px wide


@dataclass(frozen=True)
class StepLosses:
    """Means of the loss over equal numbers of steps.

    Attributes:
        epochs: (n,) where they lie, in epochs.
        losses: (n,) the means.
        steps_each: Over how many steps each is.
    """

    epochs: NDArray[np.float64]
    losses: NDArray[np.float64]
    steps_each: int


def step_losses(run: RunFolder) -> StepLosses | None:
    """Return the losses of the steps of a run, or None where TensorBoard's files or the steps of an epoch are missing.

    Of a step that was done twice, because a run was stopped and resumed, the later counts.
    """
    steps_per_epoch = run.record.get("steps_per_epoch") if run.record is not None else None
    found = _scalars(run.log / "tensorboard", "loss") if steps_per_epoch else {}
    found = {step: loss for step, loss in found.items() if np.isfinite(loss)}
    if not found or not steps_per_epoch:
        return None
    steps = np.array(sorted(found), np.float64)
    losses = np.array([found[int(step)] for step in steps])
    each = int(np.ceil(steps.size / _MOST_POINTS))
    starts = np.arange(0, steps.size, each)
    sizes = np.diff(np.append(starts, steps.size))
    epochs, means = (np.add.reduceat(values, starts) / sizes for values in (steps / steps_per_epoch, losses))
    return StepLosses(epochs, means, each)


def _scalars(folder: Path, tag: str) -> dict[int, float]:
    """Return the values of a tag by step."""
    if not any(folder.glob("*tfevents*")):
        return {}
    from tensorboard.backend.event_processing import event_accumulator

    # It reports on standard error that it meets several files, as every resumed run leaves.
    level = logging.getLogger("tensorboard").level
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    try:
        events = event_accumulator.EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    finally:
        logging.getLogger("tensorboard").setLevel(level)
    if tag not in events.Tags()["scalars"]:
        return {}
    return {event.step: event.value for event in events.Scalars(tag)}
