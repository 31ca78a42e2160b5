"""One evaluation against another of the same split: paired differences of every score, with intervals and tests."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data import Manifest
from ..errors import ConfigError, LabelError, MissingFileError
from ..metrics import PairedComparison, paired_comparison
from .evaluation import Evaluation, split_digest
from .settings import ScoreKind, units_of


@dataclass(frozen=True)
class ComparedScore:
    """One score of one class in two evaluations.

    Attributes:
        class_name: The class.
        score: The score.
        comparison: This evaluation minus the other one.
    """

    class_name: str
    score: str
    comparison: PairedComparison


@dataclass(frozen=True)
class OtherEvaluation:
    """An `evaluation.json` that was read.

    Attributes:
        path: Where it was.
        fields: What it holds.
    """

    path: Path
    fields: Mapping[str, Any]

    @classmethod
    def read(cls, path: str | Path) -> OtherEvaluation:
        """Read a record.

        Raises:
            MissingFileError: If there is no such file.
            ConfigError: If it is no record of an evaluation.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"evaluation {path} not found; name the evaluation.json of the other run")
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"evaluation {path} is damaged: it is no JSON; evaluate the other run anew") from error
        lacking = _lacking(fields)
        if lacking:
            raise ConfigError(
                f"evaluation {path} has no {lacking}; expected an evaluation.json of this version; evaluate the other "
                "run anew"
            )
        return cls(path, fields)

    def check_split(self, manifest: Manifest, split: str) -> None:
        """Refuse an evaluation of other cases or other labels.

        Raises:
            LabelError: If the digests of the splits differ.
            ManifestError: If there is no such split.
        """
        ours = split_digest(manifest, split)
        if self.fields["split_sha256"] != ours:
            raise LabelError(
                f"evaluation {self.path} is of another split: its cases and labels have the digest "
                f"{str(self.fields['split_sha256'])[:12]}, those of {split!r} of {manifest.name!r} have {ours[:12]}; "
                "score both on one split"
            )

    def check_scores(self, kind: ScoreKind, settings: Mapping[str, Any]) -> None:
        """Refuse an evaluation that scored in another way.

        Raises:
            ConfigError: If the kind or a setting differs.
        """
        if self.fields["kind"] != kind:
            raise ConfigError(
                f"evaluation {self.path} has scores of {self.fields['kind']}, this one of {kind}; choose with --scores"
            )
        theirs = self.fields["settings"]
        differing = [name for name in settings if theirs.get(name) != settings[name]]
        if differing:
            name = differing[0]
            raise ConfigError(
                f"evaluation {self.path} was made with {name} {theirs.get(name)}, this one with {settings[name]}; "
                "score both with one setting"
            )

    def by_case(self, class_name: str, score: str) -> dict[str, float]:
        """Return a score of a class by case, NaN where there is none.

        Raises:
            ConfigError: If no case has the score.
        """
        rows = [row for row in self.fields["table"]["cases"] if (row["class"], row["score"]) == (class_name, score)]
        if not rows:
            raise ConfigError(
                f"evaluation {self.path} has no score {score!r} of class {class_name!r}; expected those of this one; "
                "score both with one version and one manifest"
            )
        return {row["case"]: math.nan if row["value"] is None else float(row["value"]) for row in rows}


def compare(evaluation: Evaluation, other: OtherEvaluation) -> tuple[ComparedScore, ...]:
    """Compare every score of every class, case by case and patient by patient.

    Args:
        evaluation: This one.
        other: The one that it is compared with.

    Raises:
        LabelError: If the split differs, or the cases that were scored.
        ConfigError: If the other one scored in another way, or lacks a score.
    """
    other.check_split(evaluation.manifest, evaluation.split)
    other.check_scores(evaluation.kind, evaluation.settings.of_kind(evaluation.kind))
    units = units_of(evaluation.manifest)
    return tuple(
        ComparedScore(
            class_name,
            score,
            paired_comparison(
                other.by_case(class_name, score),
                evaluation.table.by_case(class_name, score),
                units,
                seed=evaluation.settings.seed,
            ),
        )
        for class_name, score in evaluation.table.columns
    )


def comparison_fields(compared: tuple[ComparedScore, ...], other: OtherEvaluation) -> dict[str, Any]:
    """Return a comparison as `evaluation.json` holds it; numbers that are not known are None."""
    return {
        "with": {name: other.fields.get(name) for name in ("checkpoint_sha256", "predictions")},
        "rows": [
            {
                "class": row.class_name,
                "score": row.score,
                "difference": _known(row.comparison.difference.mean),
                "low": _known(row.comparison.difference.low),
                "high": _known(row.comparison.difference.high),
                "confidence": row.comparison.difference.confidence,
                "p_value": _known(row.comparison.p_value),
                "test": row.comparison.test,
                "patients": row.comparison.difference.patients,
                "cases": row.comparison.difference.cases,
                "left_out": list(row.comparison.left_out),
            }
            for row in compared
        ],
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _lacking(fields: Any) -> str | None:
    """Return what a record lacks of that which a comparison reads; None if all of it is there."""
    if not isinstance(fields, dict):
        return "fields"
    kinds: dict[str, type] = {"split_sha256": str, "kind": str, "settings": dict, "table": dict}
    for name, kind in kinds.items():
        if not isinstance(fields.get(name), kind):
            return f"{name!r}"
    rows = fields["table"].get("cases")
    if not isinstance(rows, list) or not rows or not all(map(_is_score, rows)):
        return "rows of scores by case in its 'table'"
    names = [(row["case"], row["class"], row["score"]) for row in rows]
    return "single value for each score of a case" if len(set(names)) < len(names) else None


def _is_score(row: Any) -> bool:
    if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in ("case", "class", "score")):
        return False
    value = row.get("value", "")
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value is None or is_number
