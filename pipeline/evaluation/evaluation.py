"""The scores of a split with all that they depend on, and the files that keep them: `evaluation.json`, `scores.csv`."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

from ..data import Manifest
from ..errors import LabelError, OutputError
from ..formats import checked_target, whole_file
from ..metrics import Calibration, EMCurves, ScoreTable, pooled_calibration
from .class_kind import ClassValues, summarise_classes
from .instance_kind import InstanceValues, summarise_instances
from .membrane_kind import summarise_membranes
from .scored_case import ScoredCase
from .settings import ScoreKind, ScoreSettings, units_of
from .summary import Summary

RECORD_FILE: Final = "evaluation.json"
TABLE_FILE: Final = "scores.csv"
PICTURE_FOLDER: Final = "cases"
# How many of the best cases are drawn, and of the worst.
_DRAWN: Final = 3


@dataclass(frozen=True)
class SkippedCase:
    """A case that was left out, and why; no file is named."""

    case: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """The scores of the cases of a split.

    Attributes:
        manifest: The data set.
        split: Name of the split.
        kind: What was scored.
        settings: How.
        cases: The scored cases.
        skipped: The cases that were left out.
        checkpoint_sha256: SHA-256 of the weights, where they are known.
        predictions: What is known of the files of predictions, folders left out; None where there were no files.

    Raises:
        LabelError: If no case was scored.
    """

    manifest: Manifest
    split: str
    kind: ScoreKind
    settings: ScoreSettings
    cases: Mapping[str, ScoredCase]
    skipped: tuple[SkippedCase, ...] = ()
    checkpoint_sha256: str | None = None
    predictions: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.cases:
            why = f"; the first was skipped: {self.skipped[0].reason}" if self.skipped else ""
            raise LabelError(f"no case of the split {self.split!r} could be scored{why}")

    @cached_property
    def summary(self) -> Summary:
        """The means, and the scores by case."""
        values = {case: scored.values for case, scored in self.cases.items()}
        if self.kind == "membranes":
            return summarise_membranes(cast(Mapping[str, EMCurves], values), self.manifest)
        if self.kind == "instances":
            return summarise_instances(cast(Mapping[str, InstanceValues], values), self.manifest, self.settings)
        return summarise_classes(cast(Mapping[str, ClassValues], values))

    @cached_property
    def table(self) -> ScoreTable:
        """The tables by case, by patient (or by block, where splits go by block) and by class."""
        return ScoreTable.of(self.summary.table, units_of(self.manifest), self.split, self.manifest.digest)

    @property
    def calibration(self) -> Calibration | None:
        """The calibration over all pixels of the cases; None unless all of them have probabilities."""
        parts = [self.cases[case].calibration for case in sorted(self.cases)]
        known = [part for part in parts if part is not None]
        return pooled_calibration(known) if len(known) == len(parts) else None

    @property
    def drawn_cases(self) -> list[str]:
        """The best and the worst cases by the key score, in the order of their ids."""
        ranked = self.summary.ranked_cases()
        return sorted({*ranked[:_DRAWN], *ranked[-_DRAWN:]})

    def record(self) -> dict[str, Any]:
        """Return what `evaluation.json` holds: no folders, no NaN (a score that is not there is None)."""
        pictures = [case for case in self.drawn_cases if self.cases[case].picture is not None]
        unit = self.manifest.split_unit
        return {
            "manifest": {
                "name": self.manifest.name,
                "version": self.manifest.version,
                "sha256": self.manifest.digest,
            },
            "split": self.split,
            "split_sha256": split_digest(self.manifest, self.split),
            "split_unit": self.manifest.split_unit,
            "checkpoint_sha256": self.checkpoint_sha256,
            "predictions": None if self.predictions is None else dict(self.predictions),
            "kind": self.kind,
            "key_score": self.summary.key_score,
            "settings": self.settings.of_kind(self.kind),
            "means": {"scores": "over cases", "table": f"over the cases of a {unit}, then over {unit}s"},
            "scores": _without_nan(self.summary.scores),
            "scores_by_case": {name: _without_nan(values) for name, values in self.summary.scores_by_case.items()},
            "table": self.table.content(seed=self.settings.seed),
            "skipped": [{"case": skipped.case, "reason": skipped.reason} for skipped in self.skipped],
            "calibration": _calibration_fields(self.calibration),
            "pictures": {case: f"{PICTURE_FOLDER}/{case}.png" for case in pictures},
        }

    def write(self, folder: str | Path, *, overwrite: bool = False, more: Mapping[str, Any] | None = None) -> Path:
        """Write `evaluation.json`, `scores.csv` and the pictures: no file takes its name before all are complete.

        Args:
            folder: Where to; it is made.
            overwrite: Replace files of an earlier evaluation.
            more: Further fields of `evaluation.json`.

        Returns:
            The path of `evaluation.json`.

        Raises:
            OutputError: If a file cannot be written, or is there already.
        """
        folder = Path(folder)
        record = self.record() | dict(more or {})
        text = json.dumps(record, indent=1, allow_nan=False) + "\n"
        made = [path for path in (folder / PICTURE_FOLDER, folder) if not path.exists()]
        try:
            if record["pictures"]:
                (folder / PICTURE_FOLDER).mkdir(parents=True, exist_ok=True)
            folder.mkdir(parents=True, exist_ok=True)
            self._write_files(folder, record, text, overwrite)
        except BaseException:
            for path in made:
                with suppress(OSError):  # a folder that holds something stays
                    path.rmdir()
            raise
        return folder / RECORD_FILE

    def _write_files(self, folder: Path, record: Mapping[str, Any], text: str, overwrite: bool) -> None:
        with ExitStack() as files:
            # The record is entered first and so gets its name last: it names only what is there.
            partial = files.enter_context(whole_file(folder / RECORD_FILE, overwrite=overwrite))
            partial.write_text(text, encoding="utf-8")
            partial = files.enter_context(whole_file(folder / TABLE_FILE, overwrite=overwrite))
            self.table.write_csv(partial, seed=self.settings.seed, overwrite=True)
            for case, name in record["pictures"].items():
                partial = files.enter_context(whole_file(folder / name, overwrite=overwrite))
                partial.write_bytes(self.cases[case].picture or b"")


def check_output(
    folder: str | Path, cases: Iterable[str] = (), *, overwrite: bool = False, sources: Iterable[Path] = ()
) -> None:
    """Refuse a folder of results before long work.

    Args:
        folder: Where results will go; it need not be there.
        cases: Ids of the cases that may be drawn.
        overwrite: Whether files of an earlier evaluation may be replaced.
        sources: Files that are read, which are not replaced in any case.

    Raises:
        OutputError: If it holds an evaluation or such pictures already, one of them is a source, or it is a file or
            lies below one.
    """
    folder = Path(folder)
    for path in (folder / PICTURE_FOLDER, folder, *folder.parents):
        if path.exists() and not path.is_dir():
            raise OutputError(f"cannot write results to {folder}: {path} is not a folder; choose another folder")
    sources = [source for source in sources if source.exists()]
    for name in (RECORD_FILE, TABLE_FILE, *(f"{PICTURE_FOLDER}/{case}.png" for case in cases)):
        target = folder / name
        if target.exists():
            if any(target.samefile(source) for source in sources):
                raise OutputError(
                    f"cannot write results to {folder}: {target} is one of the files that are read; choose another "
                    "folder, these are never replaced"
                )
            checked_target(target, overwrite)


def split_digest(manifest: Manifest, split: str) -> str:
    """Return the SHA-256 of the ids of a split's cases, sorted, each with the digest of its label (null if not known).

    Raises:
        ManifestError: If there is no such split.
    """
    cases = sorted([case.id, case.label_sha256] for case in manifest.cases_of(split))
    return hashlib.sha256(json.dumps(cases).encode()).hexdigest()


def _without_nan(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


def _calibration_fields(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    edges = found.edges
    bins = [
        {
            "low": low,
            "high": high,
            "count": count,
            "mean_probability": None if math.isnan(mean) else mean,
            "positive_fraction": None if math.isnan(fraction) else fraction,
        }
        for low, high, count, mean, fraction in zip(
            edges[:-1], edges[1:], found.counts, found.mean_probability, found.positive_fraction, strict=True
        )
    ]
    return {
        "of": "object classes, each against the rest",
        "bins": bins,
        "ece": found.expected_calibration_error,
        "mce": found.maximum_calibration_error,
    }
