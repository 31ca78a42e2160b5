"""Scores of a split as tables: by case, by patient and by class, in an order that does not depend on who scored first.

Cases and patients go by the ids of the manifest, which are pseudonyms; nothing else about them is kept.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import LabelError, ManifestError
from ..formats import whole_file
from .intervals import BootstrapMethod, Interval, bootstrap_interval, patient_means

_COLUMNS: Final = ("level", "case", "patient", "class", "score", "value", "cases", "patients", "low", "high")


@dataclass(frozen=True)
class CaseScore:
    """One score of one class in one case; NaN where it has none."""

    case: str
    patient: str
    class_name: str
    score: str
    value: float


@dataclass(frozen=True)
class PatientScore:
    """Mean of a score of a class over the cases of a patient that have one, and how many these are; NaN without any."""

    patient: str
    class_name: str
    score: str
    value: float
    cases: int


@dataclass(frozen=True)
class ClassScore:
    """Mean of a score of a class over patients, its interval, and how many cases and patients counted."""

    class_name: str
    score: str
    interval: Interval


@dataclass(frozen=True)
class ScoreTable:
    """The scores of the cases of a split. Made by `ScoreTable.of`, which sorts and checks them.

    Attributes:
        rows: Every score of every case: cases sorted by id, classes and scores in the order that they were given in.
        split: Name of the split.
        manifest_digest: SHA-256 of the manifest that says what the split is, in hexadecimal digits.
    """

    rows: tuple[CaseScore, ...]
    split: str
    manifest_digest: str

    @classmethod
    def of(
        cls,
        scores: Mapping[str, Mapping[str, Mapping[str, float]]],
        patients: Mapping[str, str],
        split: str,
        manifest_digest: str,
    ) -> ScoreTable:
        """Make a table.

        Args:
            scores: By case, class and name of the score, as `class_scores` gives them; the same classes and scores in
                every case, NaN where one does not apply.
            patients: Patient of each case by the id of the case.
            split: Name of the split.
            manifest_digest: SHA-256 of the manifest.

        Raises:
            LabelError: If there is no case, or a case has other classes or scores than the first.
            ManifestError: If a case has no patient.
        """
        if not scores:
            raise LabelError(f"no case of the split {split!r} has scores; a table needs at least one")
        first, *others = sorted(scores)
        for case in others:
            if _names(scores[case]) != _names(scores[first]):
                raise LabelError(
                    f"case {case!r} has other classes or scores than case {first!r}; score all cases with one setting"
                )
        for case in (first, *others):
            if case not in patients:
                raise ManifestError(f"case {case!r} has a score but no patient; add the case to the manifest")
        rows = tuple(
            CaseScore(case, patients[case], class_name, score, float(scores[case][class_name][score]))
            for case in (first, *others)
            for class_name, of_class in scores[first].items()
            for score in of_class
        )
        return cls(rows, split, manifest_digest)

    @property
    def patients(self) -> dict[str, str]:
        """Patient of each case, sorted by case."""
        return {row.case: row.patient for row in self.rows}

    @property
    def columns(self) -> tuple[tuple[str, str], ...]:
        """Each class with each of its scores, in the order of the table."""
        return tuple(dict.fromkeys((row.class_name, row.score) for row in self.rows))

    def by_case(self, class_name: str, score: str) -> dict[str, float]:
        """Return a score of a class by case: what `bootstrap_interval` and `paired_comparison` take.

        Raises:
            LabelError: If the table has no such class or score.
        """
        found = {row.case: row.value for row in self.rows if (row.class_name, row.score) == (class_name, score)}
        if not found:
            known = ", ".join(f"{name}/{of}" for name, of in self.columns)
            raise LabelError(f"the table has no score {score!r} of class {class_name!r}; it has {known}")
        return found

    def by_patient(self) -> tuple[PatientScore, ...]:
        """Return the mean of each score of each class for each patient, sorted by patient."""
        patients = self.patients
        means = {}
        counts = {}
        for column in self.columns:
            by_case = self.by_case(*column)
            means[column] = patient_means(by_case, patients)
            counts[column] = [patients[case] for case, value in by_case.items() if not math.isnan(value)]
        return tuple(
            PatientScore(patient, *column, means[column].get(patient, math.nan), counts[column].count(patient))
            for patient in sorted(set(patients.values()))
            for column in self.columns
        )

    def by_class(
        self,
        *,
        seed: int,
        confidence: float = 0.95,
        resamples: int = 9999,
        method: BootstrapMethod = "percentile",
    ) -> tuple[ClassScore, ...]:
        """Return the mean over patients of each score of each class, with its bootstrap interval.

        Args and errors are those of `bootstrap_interval`.
        """
        return tuple(
            ClassScore(
                *column,
                bootstrap_interval(
                    self.by_case(*column),
                    self.patients,
                    seed=seed,
                    confidence=confidence,
                    resamples=resamples,
                    method=method,
                ),
            )
            for column in self.columns
        )

    def write_csv(self, path: str | Path, *, seed: int, overwrite: bool = False) -> None:
        """Write one row for each score of a case, of a patient and of a class (see the column `level`).

        A score that is not there is an empty cell; `cases` and `patients` say how many counted. Numbers are written
        with all their digits.

        Args:
            path: The file.
            seed: Seeds the intervals.
            overwrite: Replace a file that is already there.

        Raises:
            OutputError: If it cannot be written, or is there already.
        """
        by_class = self.by_class(seed=seed)

        def write(file: Any) -> None:
            writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
            writer.writeheader()
            for row in self.rows:
                cells = {"case": row.case, "patient": row.patient, "cases": int(not math.isnan(row.value))}
                writer.writerow(_cells("case", row, row.value) | cells)
            for of_patient in self.by_patient():
                cells = {"patient": of_patient.patient, "cases": of_patient.cases}
                writer.writerow(_cells("patient", of_patient, of_patient.value) | cells)
            for of_class in by_class:
                interval = of_class.interval
                ends = {"low": _number(interval.low), "high": _number(interval.high)}
                cells = {"cases": interval.cases, "patients": interval.patients}
                writer.writerow(_cells("class", of_class, interval.mean) | cells | ends)

        _write(path, overwrite, write)

    def content(self, *, seed: int) -> dict[str, Any]:
        """Return split, digest and the three tables as `write_json` writes them; a score that is not there is None.

        Args:
            seed: Seeds the intervals.
        """
        return {
            "split": self.split,
            "manifest_sha256": self.manifest_digest,
            "seed": seed,
            "cases": [_fields(row) for row in self.rows],
            "patients": [_fields(row) for row in self.by_patient()],
            "classes": [_fields(row) for row in self.by_class(seed=seed)],
        }

    def write_json(self, path: str | Path, *, seed: int, overwrite: bool = False) -> None:
        """Write split, digest and the three tables; a score that is not there is null.

        Args:
            path: The file.
            seed: Seeds the intervals.
            overwrite: Replace a file that is already there.

        Raises:
            OutputError: If it cannot be written, or is there already.
        """
        content = self.content(seed=seed)

        def write(file: Any) -> None:
            json.dump(content, file, indent=2, ensure_ascii=False, allow_nan=False)
            file.write("\n")

        _write(path, overwrite, write)


def _write(path: str | Path, overwrite: bool, write: Callable[[Any], None]) -> None:
    with whole_file(path, overwrite=overwrite) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        write(file)


def _names(of_case: Mapping[str, Mapping[str, float]]) -> dict[str, set[str]]:
    return {class_name: set(of_class) for class_name, of_class in of_case.items()}


def _cells(level: str, row: CaseScore | PatientScore | ClassScore, value: float) -> dict[str, object]:
    return {"level": level, "class": row.class_name, "score": row.score, "value": _number(value)}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _fields(row: CaseScore | PatientScore | ClassScore) -> dict[str, object]:
    """Return the fields of a row for JSON, which has no NaN; those of an interval stand beside the others."""
    fields = asdict(row)
    fields |= fields.pop("interval", {})
    fields = {"class" if name == "class_name" else name: value for name, value in fields.items()}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in fields.items()}
