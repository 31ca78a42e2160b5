"""What a run was and what came of it, as `run.json`: enough to tell two runs apart and to do one again."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from monai.engines import Evaluator

from .. import __version__
from ..data import Manifest
from ..errors import CheckpointError, OutputError
from ..formats import whole_file
from .checkpoint import TrainingCheckpoint
from .json_record import json_text
from .recorded_settings import RECORD_NAME
from .running_config import resolved, running_parser

_PLACES = ("bundle_root", "manifest_file", "dataset_dir", "output_dir", "ckpt_dir", "log_dir", "_meta_")
_PACKAGES = ("monai", "torch", "pytorch-ignite", "numpy", "scipy")

logger = logging.getLogger("unet_pipeline")


class RunRecord:
    """Handler that keeps `run.json` during training, and says at the end what came out and where it is.

    The file is written when training starts, after every epoch and validation and at the end, each time whole; the
    record of an earlier run in the same folder stays until the first epoch of this one is over. Its `status` is
    `"running"`, `"completed"`, `"interrupted"` or `"failed"`. `config` is the merged config but for folders of the
    machine; `bundle` has name and version of the bundle's `metadata.json`, or is null where there is none. A score that
    does not exist is null. No patients are named.

    Args:
        folder: Where the record goes.
        evaluator: The evaluator whose scores are kept.
        checkpoint: The handler that writes the checkpoints.
        manifest: The manifest of the data.
        seed: The seed of the run.
        picture: Path of the overlay picture, to be named at the end.
    """

    def __init__(
        self,
        folder: str | Path,
        evaluator: Evaluator,
        checkpoint: TrainingCheckpoint,
        manifest: Manifest,
        seed: int,
        picture: str | Path,
    ) -> None:
        self.path = Path(folder) / RECORD_NAME
        self.evaluator = evaluator
        self.checkpoint = checkpoint
        self.manifest = manifest
        self.seed = seed
        self.picture = Path(picture)
        self._record: dict[str, Any] = {}
        self._started_s = 0.0
        self._earlier_s = 0.0
        self._losses: list[float] = []
        self._is_kept_back = False

    def attach(self, trainer: Engine) -> None:
        """Attach to the trainer, and to the evaluator."""
        if idist.get_rank() != 0:
            return
        trainer.add_event_handler(Events.STARTED, self._start)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._step)
        trainer.add_event_handler(Events.COMPLETED, self._finish)
        trainer.add_event_handler(Events.EXCEPTION_RAISED, self._fail)
        self.evaluator.add_event_handler(Events.COMPLETED, self._score)

    def _start(self, trainer: Engine) -> None:
        self._started_s = time.monotonic()
        # The parser is read now, while the expression that runs the trainer is still on the call stack.
        parser = running_parser()
        config = {} if parser is None else dict(parser.get())
        epochs = _epochs_before(self.path, trainer.state.epoch) if self.checkpoint.resume else []
        self._is_kept_back = not self.checkpoint.resume and self.checkpoint.best_path.exists()
        self._earlier_s = epochs[-1]["wall_time_s"] if epochs else 0.0
        self._record = {
            "status": "running",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "config": _without_places(config),
            "config_sha256": _digest(_without_places(config)),
            "bundle": None if parser is None else _bundle(parser.get("_meta_")),
            "network_def": None if parser is None else resolved(parser, parser.get("network_def")),
            "manifest": {"name": self.manifest.name, "version": self.manifest.version, "sha256": self.manifest.digest},
            "seed": self.seed,
            "resumed_at_epoch": trainer.state.epoch if self.checkpoint.resume else None,
            "processes": idist.get_world_size(),
            "device": _device_name(trainer.state.device),
            "threads": torch.get_num_threads(),
            "versions": _versions(),
            "commit": _commit(),
            "max_epochs": trainer.state.max_epochs,
            "steps_per_epoch": trainer.state.epoch_length,
            "epochs": epochs,
        }
        self._write()

    def _step(self, trainer: Engine) -> None:
        self._losses.append(trainer.state.output["loss"])
        if trainer.state.iteration % trainer.state.epoch_length == 0:
            # Until the first epoch is over, the record in the folder is about the network in the folder.
            self._is_kept_back = False
            # Now and not when the epoch is completed: a checkpoint of this epoch may be all that a resume will find.
            entry = self._entry(trainer.state.epoch)
            entry["loss"] = sum(self._losses) / len(self._losses)
            entry["wall_time_s"] = self._wall_time_s()
            self._losses.clear()
            self._write()

    def _score(self, evaluator: Engine) -> None:
        if self._record:
            entry = self._entry(evaluator.state.epoch)
            entry["scores"] = {name: float(value) for name, value in evaluator.state.metrics.items()}
            entry["scores_by_case"] = {
                name: {str(case): float(value) for case, value in by_case.items()}
                for name, by_case in evaluator.state.metric_details.items()
                if isinstance(by_case, Mapping)
            }
            entry["wall_time_s"] = self._wall_time_s()
            self._write()

    def _finish(self, trainer: Engine) -> None:
        self._close("completed")
        best_epoch = self.evaluator.state.best_metric_epoch
        if best_epoch > 0:
            # A resumed run whose earlier record is gone knows of that epoch no more than its key metric.
            known: dict[str, Any] = next(
                (entry for entry in self._record["epochs"] if entry["epoch"] == best_epoch), {}
            )
            best = known.get("scores", self._record["best_metric"])
            scores = ", ".join(f"{name} {math.nan if value is None else value:.4f}" for name, value in best.items())
            logger.info("validation scores of the best epoch (%s): %s", best_epoch, scores)
            logger.info("checkpoint: %s", self.checkpoint.best_path)
            logger.info("overlay picture: %s", self.picture)
        logger.info("record: %s (%.0f s)", self.path, self._record["wall_time_s"])

    def _fail(self, trainer: Engine, error: BaseException) -> None:
        interrupted = isinstance(error, KeyboardInterrupt)
        if self._record:
            # A disk that is full stops the record, too; what stopped the run is the error to report.
            with contextlib.suppress(OutputError):
                self._close("interrupted" if interrupted else "failed")
        if interrupted and self.checkpoint.last_path.is_file():
            logger.info("last checkpoint: %s; go on from it with resume set to True", self.checkpoint.last_path)
        raise error

    def _close(self, status: str) -> None:
        self._record["status"] = status
        self._record["best_epoch"] = self.evaluator.state.best_metric_epoch
        self._record["best_metric"] = {self.evaluator.state.key_metric_name: float(self.evaluator.state.best_metric)}
        self._write()

    def _entry(self, epoch: int) -> dict[str, Any]:
        epochs: list[dict[str, Any]] = self._record["epochs"]
        if not epochs or epochs[-1]["epoch"] != epoch:
            epochs.append({"epoch": epoch})
        return epochs[-1]

    def _wall_time_s(self) -> float:
        return round(self._earlier_s + time.monotonic() - self._started_s, 1)

    def _write(self) -> None:
        if self._is_kept_back:
            return
        self._record["wall_time_s"] = self._wall_time_s()
        self._record["peak_memory_mb"] = _peak_memory_mb()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path, overwrite=True) as partial:
            partial.write_text(json_text(self._record), encoding="utf-8")


def _epochs_before(path: Path, epoch: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return [entry for entry in record["epochs"] if entry["epoch"] <= epoch]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"record {path} is damaged; expected the run.json of the run that is resumed; remove it to go on without it"
        ) from error


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out where files lie on this machine, which is no part of what the run was."""
    content = {name: value for name, value in config.items() if name not in _PLACES}
    return dict(json.loads(json.dumps(content, default=str)))


def _bundle(metadata: Any) -> dict[str, str] | None:
    """Return name and version in the `metadata.json` that MONAI read beside the configs; None where it has none."""
    if not isinstance(metadata, Mapping):
        return None
    name, version = metadata.get("name"), metadata.get("version")
    return {"name": name, "version": version} if isinstance(name, str) and isinstance(version, str) else None


def _digest(config: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    versions = {"unet-pipeline": __version__, "python": platform.python_version()}
    return versions | {name: metadata.version(name) for name in _PACKAGES}


def _commit() -> str | None:
    """Return the commit of the source tree that this package runs from, with a plus if it was changed since."""
    try:
        # A package that was installed may lie inside a repository that is somebody else's.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.backends.cpu.get_cpu_capability()}"


def _peak_memory_mb() -> dict[str, float]:
    peak: dict[str, float] = {}
    if sys.platform != "win32":
        import resource

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        # Linux counts in kB, macOS in bytes.
        peak["process"] = round(used / (2**20 if sys.platform == "darwin" else 2**10), 1)
    if torch.cuda.is_available():
        peak["gpu"] = round(torch.cuda.max_memory_allocated() / 2**20, 1)
    return peak
