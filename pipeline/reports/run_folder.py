"""What the folder of a run tells: its record, its evaluation and its pictures, each of which may be missing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import ImageError, MissingFileError
from .evaluation import BundleIdentity, DataIdentity, Evaluation, numbers
from .recorded_json import read_recorded


@dataclass(frozen=True)
class Epoch:
    """What is recorded of an epoch; `loss` is None, and scores are empty, where they were not measured."""

    number: int
    loss: float | None
    scores: Mapping[str, float]
    scores_by_case: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class RunFolder:
    """A run. Made by `RunFolder.read`.

    Attributes:
        name: Name of the folder.
        folder: The folder itself.
        log: The folder of its records.
        record: Content of `run.json`, or None: predictions by anybody have none.
        evaluation: The evaluation, or None.
        letter: A, B, ...: what the report calls it beside others.
    """

    name: str
    folder: Path
    log: Path
    record: Mapping[str, Any] | None
    evaluation: Evaluation | None
    letter: str = "A"

    @classmethod
    def read(cls, folder: str | Path, letter: str = "A") -> RunFolder:
        """Read a run.

        Args:
            folder: What `output_dir` was: `log/run.json`, `log/evaluation.json` and more lie in it. A folder without
                `log` is taken for the folder of the records itself.
            letter: What the report calls it.

        Raises:
            MissingFileError: If the folder is not there, or holds neither record nor evaluation.
            ConfigError: If one of them is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise MissingFileError(f"run {folder} not found; give the folder that a run wrote to")
        log = folder / "log" if (folder / "log").is_dir() else folder
        record, evaluation = log / "run.json", log / "evaluation.json"
        if not (record.is_file() or evaluation.is_file()):
            raise MissingFileError(
                f"run {folder} has neither log/run.json nor log/evaluation.json; give the folder that a run wrote to"
            )
        return cls(
            folder.resolve().name,
            folder,
            log,
            read_recorded(record, "run") if record.is_file() else None,
            Evaluation.read(evaluation) if evaluation.is_file() else None,
            letter,
        )

    @property
    def data(self) -> DataIdentity:
        """The manifest that the run was trained on; where there is no training, that of the evaluation."""
        if self.record is not None:
            return DataIdentity.of(self.record["manifest"])
        assert self.evaluation is not None  # `read` saw to it
        return self.evaluation.data

    @property
    def bundle(self) -> BundleIdentity | None:
        """The bundle that was trained, or else that it was evaluated with; None where neither is recorded."""
        fields = self.record.get("bundle") if self.record is not None else None
        if fields is not None:
            return BundleIdentity(fields["name"], fields["version"])
        return self.evaluation.bundle if self.evaluation is not None else None

    @cached_property
    def epochs(self) -> Sequence[Epoch]:
        """The epochs, in order."""
        entries = self.record["epochs"] if self.record is not None else []
        return [
            Epoch(
                entry["epoch"],
                entry.get("loss"),
                numbers(entry.get("scores", {})),
                {name: numbers(by_case) for name, by_case in entry.get("scores_by_case", {}).items()},
            )
            for entry in sorted(entries, key=lambda entry: int(entry["epoch"]))
        ]

    @property
    def key_metric(self) -> str | None:
        """The score that chose the checkpoint, or None where it is not recorded."""
        return next(iter(self.record.get("best_metric", {})), None) if self.record is not None else None

    @property
    def best_epoch(self) -> Epoch | None:
        """The epoch of the checkpoint; of a run that was killed the last that was validated; None without any."""
        number = self.record.get("best_epoch") if self.record is not None else None
        validated = [epoch for epoch in self.epochs if epoch.scores]
        return next((epoch for epoch in validated if epoch.number == number), validated[-1] if validated else None)

    @cached_property
    def checkpoint_sha256(self) -> str | None:
        """SHA-256 of `models/model.pt`, or None where there is none."""
        path = self.folder / "models" / "model.pt"
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def picture_of(self, case: str) -> Path | None:
        """Return the overlay of a case, or None where none was written or it is gone.

        Raises:
            ImageError: If the evaluation names a file outside the folder of the records, or a link leads out of it.
        """
        name = self.evaluation.pictures.get(case) if self.evaluation is not None else None
        return None if name is None else self._picture(name)

    @property
    def training_picture(self) -> Path | None:
        """The overlay of the first validation case in the best epoch, or None.

        Raises:
            ImageError: If it is a link that leads out of the folder of the records.
        """
        return self._picture("overlay.png")

    def _picture(self, name: str) -> Path | None:
        path = (self.log / name).resolve()
        if not path.is_relative_to(self.log.resolve()):
            raise ImageError(
                f"picture {name} of run {self.folder} lies outside {self.log}; a report shows pictures of the run "
                "alone: evaluate again, or copy it there"
            )
        return path if path.is_file() else None
