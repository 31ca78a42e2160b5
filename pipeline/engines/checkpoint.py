"""Checkpoints that are written whole or not at all, resume to the last bit, and are refused when they do not fit.

`model.pt` holds the bare state dict of the best network so far and is what a bundle ships. `last.pt` holds everything
that training needs to go on. Both are read with `weights_only=True`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator, SupervisedTrainer
from torch import nn

from ..errors import CheckpointError, ConfigError, MissingFileError, TrainingError
from ..formats import whole_file
from .knobs import switch
from .weight_average import WeightAverage

BEST_NAME = "model.pt"
LAST_NAME = "last.pt"


def save_whole(content: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint whole or not at all.

    Raises:
        OutputError: If it cannot be written; what was there before is untouched.
    """
    # torch reports a full disk as an internal error of its zip writer; bytes written here give the plain OSError.
    packed = io.BytesIO()
    torch.save(dict(content), packed)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path, overwrite=True) as partial:
        partial.write_bytes(packed.getbuffer())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU without running any code from it.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If it is not a checkpoint, or holds more than tensors and plain values.
    """
    if not Path(path).is_file():
        raise MissingFileError(
            f"checkpoint {path} not found; train first, or pass --checkpoint (in a bundle run --checkpoint_path)"
        )
    try:
        with warnings.catch_warnings():
            # A file of another pickle protocol is refused below, or is fine.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # which exception comes depends on which byte of a stranger's file is wrong
        raise CheckpointError(
            f"{path} is not a checkpoint that can be read safely: it was not written by torch.save, is cut short, or "
            "holds more than tensors and plain values; expected a state dict, such as the model.pt that training writes"
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}; expected a state dict of a network")
    return content


def load_network(network: nn.Module, path: str | Path) -> nn.Module:
    """Load the weights in `path` into `network` and return it.

    Args:
        network: The network.
        path: A `model.pt`, or a `last.pt`, of which the trained weights are taken and not their average.

    Raises:
        MissingFileError: If there is no such file.
        CheckpointError: If it cannot be read, or belongs to another network; the message names the first difference.
    """
    content = read_checkpoint(path)
    weights = content["network"] if isinstance(content.get("network"), dict) else content
    difference = _first_difference(network.state_dict(), weights)
    if difference:
        raise CheckpointError(
            f"checkpoint {path} belongs to another network: {difference}; "
            f"use the network it was trained with, which is not this {type(network).__name__} (set for example "
            "network_def::channels), or another checkpoint"
        )
    network.load_state_dict(weights)
    return network


class TrainingCheckpoint:
    """Handler of a MONAI trainer: `last.pt` after epochs, `model.pt` whenever the key metric is the best so far.

    Only rank 0 writes.

    Args:
        folder: Where the checkpoints go.
        network: The bare network, not its `DistributedDataParallel` wrapper.
        optimizer: The optimiser.
        lr_scheduler: The learning-rate schedule.
        evaluator: The evaluator whose key metric decides what is best.
        average: The handler that averages weights, where there is one; `model.pt` then holds the average.
        every_epochs: `last.pt` is written after so many epochs, and after the last.
        resume: Go on from `last.pt`; from a command line also as `"true"` or `"false"`.

    Raises:
        ConfigError: If `every_epochs` is below 1, or `resume` is neither true nor false.
        MissingFileError: When training starts, if it is to resume and there is no `last.pt`.
        CheckpointError: When training starts, if `last.pt` belongs to another network or another schedule: other
            epochs, steps an epoch or learning rates, or another averaging of weights.
    """

    def __init__(
        self,
        folder: str | Path,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        lr_scheduler: torch.optim.lr_scheduler.LRScheduler,
        evaluator: Evaluator,
        average: WeightAverage | None = None,
        every_epochs: int = 1,
        resume: bool | str = False,
    ) -> None:
        if every_epochs < 1:
            raise ConfigError(f"every_epochs must be at least 1, got {every_epochs}")
        self.folder = Path(folder)
        self.network = network
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.evaluator = evaluator
        self.average = average
        self.every_epochs = every_epochs
        self.resume = switch("resume", resume)
        self._has_saved = False

    @property
    def best_path(self) -> Path:
        """Where the best network goes."""
        return self.folder / BEST_NAME

    @property
    def last_path(self) -> Path:
        """Where the state of the training goes."""
        return self.folder / LAST_NAME

    def attach(self, trainer: SupervisedTrainer) -> None:
        """Attach to the trainer, and to the evaluator."""
        if self.resume:
            trainer.add_event_handler(Events.STARTED, self._restore)
        if idist.get_rank() == 0:
            trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.every_epochs), self._save_last)
            trainer.add_event_handler(Events.COMPLETED, self._save_last_epoch)
            self.evaluator.add_event_handler(Events.COMPLETED, self._save_best)

    def _save_last_epoch(self, trainer: Engine) -> None:
        if trainer.state.epoch % self.every_epochs or not self._has_saved:
            self._save_last(trainer)

    def _save_last(self, trainer: Engine) -> None:
        broken = next((name for name, tensor in self.network.state_dict().items() if not tensor.isfinite().all()), None)
        if broken is not None:
            raise TrainingError(
                f"training diverged in epoch {trainer.state.epoch}: {broken} holds values that are not finite; lower "
                "learning_rate, or set train::trainer::iteration_update::max_gradient_norm"
            )
        if not self._has_saved and not self.resume:
            # What an earlier run left as its best does not belong to the checkpoints of this one.
            self.best_path.unlink(missing_ok=True)
        self._has_saved = True
        save_whole(
            {
                "network": self.network.state_dict(),
                "average": None if self.average is None else self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "lr_scheduler": self.lr_scheduler.state_dict(),
                "epoch": trainer.state.epoch,
                "epoch_length": trainer.state.epoch_length,
                "max_epochs": trainer.state.max_epochs,
                "best_metric": float(self.evaluator.state.best_metric),
                "best_metric_epoch": self.evaluator.state.best_metric_epoch,
            },
            self.last_path,
        )

    def _save_best(self, evaluator: Engine) -> None:
        if evaluator.state.best_metric_epoch == evaluator.state.epoch:
            best = self.network if self.average is None else self.average.network
            self._has_saved = True
            save_whole(best.state_dict(), self.best_path)

    def _restore(self, trainer: Engine) -> None:
        load_network(self.network, self.last_path)
        content = read_checkpoint(self.last_path)
        self._check_schedule(trainer, content)
        if self.average is not None:
            self.average.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.lr_scheduler.load_state_dict(content["lr_scheduler"])
        trainer.state.epoch = content["epoch"]
        trainer.state.iteration = content["epoch"] * content["epoch_length"]
        self.evaluator.state.best_metric = content["best_metric"]
        self.evaluator.state.best_metric_epoch = content["best_metric_epoch"]

    def _check_schedule(self, trainer: Engine, content: Mapping[str, Any]) -> None:
        """Refuse to go on where the config asks for something that the saved state would silently override."""
        if "optimizer" not in content or "lr_scheduler" not in content:
            raise CheckpointError(f"{self.last_path} holds no state of a training; resume from the last.pt of a run")
        if (self.average is None) != (content.get("average") is None):
            raise CheckpointError(f"{self.last_path} was written with another averaging of weights; resume as it was")
        for what, saved, wanted in (
            ("steps an epoch", content.get("epoch_length"), trainer.state.epoch_length),
            ("max_epochs", content.get("max_epochs"), trainer.state.max_epochs),
            ("learning rates", content["lr_scheduler"].get("base_lrs"), self.lr_scheduler.state_dict().get("base_lrs")),
        ):
            if saved != wanted:
                raise CheckpointError(
                    f"{self.last_path} was written by a run of {what} {saved}, this one has {wanted}; resume with the "
                    "same data, tiles_per_case, batch_size, processes, max_epochs and learning_rate, or start a new run"
                )


def _first_difference(wanted: Mapping[str, torch.Tensor], given: Mapping[str, Any]) -> str | None:
    for name, tensor in wanted.items():
        if name not in given:
            return f"it has no {name}"
        found = given[name]
        if not isinstance(found, torch.Tensor) or found.shape != tensor.shape:
            shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            return f"{name} is {shape}, expected {tuple(tensor.shape)}"
    extra = next((name for name in given if name not in wanted), None)
    return None if extra is None else f"it also has {extra}"
