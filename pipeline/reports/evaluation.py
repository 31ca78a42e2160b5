"""The evaluation of a run as its `evaluation.json` tells it; what older ones lack is None or empty."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigError
from ..metrics import CaseScore, ClassScore, Interval, PatientScore, ScoreTable
from .recorded_json import read_recorded

Column = tuple[str, str]

_NO_SCORE_DEPENDS_ON: Final = ("seed", "calibration_bins")


@dataclass(frozen=True)
class DataIdentity:
    """Which data: name, version and SHA-256 of a manifest."""

    name: str
    version: str
    sha256: str

    @classmethod
    def of(cls, fields: Mapping[str, str]) -> DataIdentity:
        """Return it from the fields of a record."""
        return cls(fields["name"], fields["version"], fields["sha256"])


@dataclass(frozen=True)
class BundleIdentity:
    """Name and version of a bundle, as its `metadata.json` has them."""

    name: str
    version: str


@dataclass(frozen=True)
class ReliabilityBin:
    """Pixels whose probability lies between `low` and `high`: their mean probability, and how many are in the truth."""

    low: float
    high: float
    count: int
    mean_probability: float
    positive_fraction: float


@dataclass(frozen=True)
class Reliability:
    """Calibration as the evaluation measured it.

    Attributes:
        of: Of which classes, in words, or None.
        bins: The bins; NaN stands for what an empty one has not.
        expected_error: Expected calibration error.
        greatest_error: Maximum calibration error, NaN where it is not recorded.
    """

    of: str | None
    bins: tuple[ReliabilityBin, ...]
    expected_error: float
    greatest_error: float


@dataclass(frozen=True)
class Evaluation:
    """Scores of a split and what they were measured on.

    Attributes:
        data: The manifest.
        split: Name of the split.
        split_sha256: Digest of the split's cases and labels, or None.
        checkpoint_sha256: Digest of the weights, or None where predictions were evaluated.
        predictions: What is known of them, or None.
        split_unit: `"patient"` or `"block"`: what the table calls a patient.
        kind: `"classes"`, `"membranes"` or `"instances"`, or None.
        key_score: The score by which cases are best and worst, or None.
        settings: Settings of the scores.
        scores: Means over cases, as the evaluation said them.
        scores_by_case: By score and case; NaN where there is none.
        table: Scores by case, patient and class, or None.
        seed: Seed of the intervals.
        intervals: Means over patients with their intervals, for each class and score of the table.
        skipped: Reason for each case that was left out.
        calibration: Reliability of the probabilities, or None.
        pictures: Name of the overlay of each case, relative to the folder of the record.
        bundle: The bundle that it was evaluated with, or None.
    """

    data: DataIdentity
    split: str
    split_sha256: str | None
    checkpoint_sha256: str | None
    predictions: Any
    split_unit: str
    kind: str | None
    key_score: str | None
    settings: Mapping[str, Any]
    scores: Mapping[str, float]
    scores_by_case: Mapping[str, Mapping[str, float]]
    table: ScoreTable | None
    seed: int
    intervals: tuple[ClassScore, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    calibration: Reliability | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)
    bundle: BundleIdentity | None = None

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Read an evaluation.

        Raises:
            ConfigError: If the file is damaged.
        """
        fields = read_recorded(path, "evaluation")
        table = fields.get("table")
        return cls(
            data=DataIdentity.of(fields["manifest"]),
            split=fields["split"],
            split_sha256=fields.get("split_sha256"),
            checkpoint_sha256=fields.get("checkpoint_sha256"),
            predictions=fields.get("predictions"),
            split_unit=fields.get("split_unit") or "patient",
            kind=fields.get("kind"),
            key_score=fields.get("key_score"),
            settings=fields.get("settings") or {},
            scores=numbers(fields["scores"]),
            scores_by_case={name: numbers(by_case) for name, by_case in fields["scores_by_case"].items()},
            table=_table(table, path) if table else None,
            seed=table["seed"] if table else 0,
            intervals=tuple(map(_class_score, table["classes"])) if table else (),
            skipped={entry["case"]: entry["reason"] for entry in fields.get("skipped") or ()},
            calibration=_reliability(fields.get("calibration")),
            pictures=fields.get("pictures") or {},
            bundle=_bundle(fields.get("bundle") or {}),
        )

    @property
    def columns(self) -> tuple[Column, ...]:
        """Each class with each of its scores; the class is empty where there is no table."""
        return tuple(self._by_column)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes; one without a name where there is no table."""
        return tuple(dict.fromkeys(class_name for class_name, _ in self.columns))

    @property
    def score_names(self) -> tuple[str, ...]:
        """The scores of the columns."""
        return tuple(dict.fromkeys(score for _, score in self.columns))

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """The cases that were scored, sorted."""
        return tuple(sorted({case for by_case in self._by_column.values() for case in by_case}))

    def by_case(self, column: Column) -> Mapping[str, float]:
        """Return the values of a column by case, NaN where there is none; nothing of a column that is not there."""
        return self._by_column.get(column, {})

    @cached_property
    def patients(self) -> Mapping[str, str]:
        """Patient of each case; empty where there is no table."""
        return self.table.patients if self.table else {}

    @cached_property
    def by_patient(self) -> Mapping[tuple[str, str, str], PatientScore]:
        """Means over the cases of each patient, by patient, class and score."""
        rows = self.table.by_patient() if self.table else ()
        return {(row.patient, row.class_name, row.score): row for row in rows}

    @cached_property
    def _by_column(self) -> Mapping[Column, Mapping[str, float]]:
        if not self.table:
            return {("", score): by_case for score, by_case in self.scores_by_case.items()}
        columns: dict[Column, dict[str, float]] = {}
        for row in self.table.rows:
            columns.setdefault((row.class_name, row.score), {})[row.case] = row.value
        return columns

    def measures_the_same_as(self, other: Evaluation) -> bool:
        """Return whether both were measured on the same cases of the same labels."""
        if self.split_sha256 and other.split_sha256:
            return self.split_sha256 == other.split_sha256
        return (self.data.sha256, self.split) == (other.data.sha256, other.split)

    def differing_settings(self, other: Evaluation) -> list[str]:
        """Return the names of settings that scores depend on and that are not the same."""
        ours, theirs = ({"kind": found.kind, **found.settings} for found in (self, other))
        names = [name for name in {**ours, **theirs} if name not in _NO_SCORE_DEPENDS_ON]
        return [name for name in names if ours.get(name) != theirs.get(name)]


def numbers(fields: Mapping[str, float | None]) -> dict[str, float]:
    """Return numbers of a record; None is NaN."""
    return {name: math.nan if value is None else float(value) for name, value in fields.items()}


def _bundle(fields: Mapping[str, str | None]) -> BundleIdentity | None:
    name, version = fields.get("name"), fields.get("version")
    return BundleIdentity(name, version) if name and version else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _table(fields: Mapping[str, Any], path: Path) -> ScoreTable:
    rows = tuple(
        CaseScore(row["case"], row["patient"], row["class"], row["score"], _number(row["value"]))
        for row in fields["cases"]
    )
    if len({(row.case, row.class_name, row.score) for row in rows}) != len(rows):
        raise ConfigError(f"record {path} is damaged at table/cases: a score of a case comes twice; evaluate again")
    if len({(row.case, row.patient) for row in rows}) != len({row.case for row in rows}):
        raise ConfigError(f"record {path} is damaged at table/cases: a case has two patients; evaluate again")
    return ScoreTable(rows, fields["split"], fields["manifest_sha256"])


def _class_score(fields: Mapping[str, Any]) -> ClassScore:
    mean, low, high = (_number(fields[name]) for name in ("mean", "low", "high"))
    interval = Interval(mean, low, high, fields["confidence"], fields["patients"], fields["cases"])
    return ClassScore(fields["class"], fields["score"], interval)


def _reliability(fields: Mapping[str, Any] | None) -> Reliability | None:
    if not fields:
        return None
    bins = tuple(
        ReliabilityBin(
            entry["low"],
            entry["high"],
            entry["count"],
            _number(entry["mean_probability"]),
            _number(entry["positive_fraction"]),
        )
        for entry in fields["bins"]
    )
    return Reliability(fields.get("of"), bins, float(fields["ece"]), _number(fields.get("mce")))
