"""Scores as a person reads them in a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .comparison import ComparedScore
from .evaluation import Evaluation
from .summary import known_mean

_OVER = {
    "classes": "cases, then classes",
    "membranes": "slices, at the best threshold",
    "instances": "cases (seg and det over all objects)",
}
_COMPARED = (
    "this evaluation minus the other one, means over patients (or blocks), p by a permutation test for each row, not "
    "corrected for their number:"
)


def table_text(evaluation: Evaluation) -> str:
    """Return one line for each score of each class: the mean over cases, and that over patients with its interval.

    The first line says which cases were skipped, if any were; else what was scored.
    """
    unit = {"patient": "patients", "block": "blocks"}[evaluation.manifest.split_unit]
    rows = [["class", "score", "mean over cases", f"mean over {unit}", "95 % interval", "cases", unit]]
    for row in evaluation.table.by_class(seed=evaluation.settings.seed):
        by_case = evaluation.table.by_case(row.class_name, row.score)
        found = row.interval
        interval = f"{_number(found.low)} to {_number(found.high)}" if found.is_known else f"needs 2 {unit}"
        counts = [str(found.cases), str(found.patients)]
        rows.append(
            [
                _printable(row.class_name),
                row.score,
                _number(known_mean(by_case.values())),
                _number(found.mean),
                interval,
                *counts,
            ]
        )
    quoted = ", ".join(
        f"{name} {_number(value)}"
        for name, value in evaluation.summary.scores.items()
        if not _is_detail(name, evaluation)
    )
    return "\n".join([*head_lines(evaluation), *_columns(rows), f"over {_OVER[evaluation.kind]}: {quoted}"])


def head_lines(evaluation: Evaluation) -> list[str]:
    """Return what was scored and how; first of all what was skipped."""
    lines = []
    if evaluation.skipped:
        reasons = "; ".join(f"{skipped.case}: {skipped.reason}" for skipped in evaluation.skipped)
        known = {case.id for case in evaluation.manifest.cases_of(evaluation.split)}
        cases = sum(skipped.case in known for skipped in evaluation.skipped)
        strangers = len(evaluation.skipped) - cases
        others = f" and {strangers} other prediction{'s' if strangers > 1 else ''}" if strangers else ""
        lines.append(f"SKIPPED {cases} of {len(known)} cases{others}: {reasons}")
    number = len(evaluation.cases)
    settings = evaluation.settings.of_kind(evaluation.kind)
    said = {
        "classes": f"NSD at a tolerance of {settings.get('tolerance_mm', 0):g} mm; classes that neither truth nor "
        f"prediction has: {settings.get('empty')}",
        "membranes": "by case at the threshold that is best for all slices",
        "instances": f"field of interest without {settings.get('border_px')} px at the border; images without objects: "
        f"{settings.get('empty')}",
    }[evaluation.kind]
    lines.append(
        f"scores of {evaluation.kind} of {number} case{'' if number == 1 else 's'} of the split {evaluation.split!r} "
        f"of {evaluation.manifest.name} {evaluation.manifest.version}; {said}"
    )
    return lines


def comparison_text(compared: Sequence[ComparedScore]) -> str:
    """Return one line for each score of each class: by how much this evaluation differs from the other one."""
    rows = [["class", "score", "difference", "95 % interval", "p", "left out"]]
    for row in compared:
        found = row.comparison.difference
        interval = f"{_number(found.low)} to {_number(found.high)}" if found.is_known else "not known"
        p_value, left_out = _number(row.comparison.p_value), str(len(row.comparison.left_out))
        rows.append([_printable(row.class_name), row.score, _number(found.mean), interval, p_value, left_out])
    return "\n".join([_COMPARED, *_columns(rows)])


def _is_detail(name: str, evaluation: Evaluation) -> bool:
    """Return whether a score is that of one class, which the table shows, or a threshold."""
    return name not in {score for _, score in evaluation.table.columns}


def _printable(name: str) -> str:
    """Return the name of a class on one line, without what would steer a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.6f}" if abs(value) < 0.01 and value else f"{value:.4f}"
