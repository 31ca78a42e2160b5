"""The figures of a report as `metrics.json` and `metrics.csv`, with all their digits."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from io import StringIO
from typing import Any, Final

from .comparison import RunComparison
from .run_folder import RunFolder

_COLUMNS: Final = (
    *("run", "name", "source", "split", "epoch", "level", "case", "patient", "class", "score", "value"),
    *("cases", "patients", "low", "high", "p_value"),
)


def metrics_json(runs: Sequence[RunFolder], comparisons: Sequence[RunComparison]) -> str:
    """Return all figures as JSON; what is missing is null."""
    content = {"runs": [_run(run) for run in runs], "comparisons": [_comparison(entry) for entry in comparisons]}
    return json.dumps(_without_nan(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def metrics_csv(runs: Sequence[RunFolder], comparisons: Sequence[RunComparison]) -> str:
    """Return all scores as rows.

    `source` is `training` (loss), `validation` (during training), `evaluation`, or `comparison`, whose `value` is the
    run minus run A. `level` is `case`, `patient` or `class` (the mean over patients) of a table, `mean` over the cases
    without one, or `epoch`. A value that is not there is an empty cell.
    """
    file = StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for run in runs:
        for row in (*_epoch_rows(run), *_evaluation_rows(run)):
            writer.writerow(_without_nan({"run": run.letter, "name": run.name} | row))
    for comparison in comparisons:
        for row in _comparison_rows(comparison):
            writer.writerow(_without_nan(row))
    return file.getvalue()


def _epoch_rows(run: RunFolder) -> Iterator[dict[str, Any]]:
    for epoch in run.epochs:
        at = {"level": "epoch", "epoch": epoch.number}
        if epoch.loss is not None:
            yield at | {"source": "training", "score": "loss", "value": epoch.loss}
        for score, value in epoch.scores.items():
            yield at | {"source": "validation", "split": "validation", "score": score, "value": value}
        for score, by_case in epoch.scores_by_case.items():
            for case, value in by_case.items():
                row = {"source": "validation", "split": "validation", "level": "case", "case": case}
                yield at | row | {"score": score, "value": value}


def _evaluation_rows(run: RunFolder) -> Iterator[dict[str, Any]]:
    evaluation = run.evaluation
    if evaluation is None:
        return
    of = {"source": "evaluation", "split": evaluation.split}
    for score, value in evaluation.scores.items():
        yield of | {"level": "mean", "score": score, "value": value}
    patients = evaluation.table.patients if evaluation.table is not None else {}
    for column in evaluation.columns:
        names = {"class": column[0], "score": column[1]}
        for case, value in evaluation.by_case(column).items():
            yield of | names | {"level": "case", "case": case, "patient": patients.get(case), "value": value}
    if evaluation.table is not None:
        for row in evaluation.table.by_patient():
            names = {"class": row.class_name, "score": row.score}
            yield of | names | {"level": "patient", "patient": row.patient, "value": row.value, "cases": row.cases}
    for mean in evaluation.intervals:
        names = {"class": mean.class_name, "score": mean.score}
        yield of | names | {"level": "class"} | _interval_cells(mean.interval)


def _comparison_rows(comparison: RunComparison) -> Iterator[dict[str, Any]]:
    second = comparison.second
    split = second.evaluation.split if second.evaluation is not None else None
    for column, found in comparison.columns.items():
        yield {
            "run": second.letter, "name": second.name, "source": "comparison", "split": split, "level": "class",
            "class": column[0], "score": column[1], "p_value": found.p_value,
        } | _interval_cells(found.difference)  # fmt: skip


def _interval_cells(interval: Any) -> dict[str, Any]:
    cells = {name: getattr(interval, name) for name in ("low", "high", "patients", "cases")}
    return cells | {"value": interval.mean}


def _run(run: RunFolder) -> dict[str, Any]:
    record = run.record or {}
    evaluation = run.evaluation
    best = run.best_epoch
    return {
        "run": run.letter,
        "name": run.name,
        "status": record.get("status"),
        "manifest": asdict(run.data),
        "config_sha256": record.get("config_sha256"),
        "checkpoint_sha256": run.checkpoint_sha256,
        "best_epoch": None if best is None else best.number,
        "epochs": [
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "scores": dict(epoch.scores),
                "scores_by_case": {name: dict(by_case) for name, by_case in epoch.scores_by_case.items()},
            }
            for epoch in run.epochs
        ],
        "evaluation": None
        if evaluation is None
        else {
            "manifest": asdict(evaluation.data),
            "split": evaluation.split,
            "split_sha256": evaluation.split_sha256,
            "checkpoint_sha256": evaluation.checkpoint_sha256,
            "split_unit": evaluation.split_unit,
            "kind": evaluation.kind,
            "key_score": evaluation.key_score,
            "settings": dict(evaluation.settings),
            "scores": dict(evaluation.scores),
            "classes": [
                {"class": row.class_name, "score": row.score} | asdict(row.interval) for row in evaluation.intervals
            ],
            "patients": []
            if evaluation.table is None
            else [_renamed(asdict(row)) for row in evaluation.table.by_patient()],
            "cases": [
                {"case": case, "class": class_name, "score": score, "value": value}
                for class_name, score in evaluation.columns
                for case, value in evaluation.by_case((class_name, score)).items()
            ],
            "skipped": [{"case": case, "reason": reason} for case, reason in evaluation.skipped.items()],
            "calibration": None if evaluation.calibration is None else asdict(evaluation.calibration),
        },
    }


def _comparison(comparison: RunComparison) -> dict[str, Any]:
    return {
        "first": comparison.first.letter,
        "second": comparison.second.letter,
        "reason_for_none": comparison.reason,
        "only_in_one": list(comparison.only_in_one),
        "differences": [
            {"class": column[0], "score": column[1], "p_value": found.p_value, "test": found.test}
            | asdict(found.difference)
            | {"left_out": list(found.left_out)}
            for column, found in comparison.columns.items()
        ],
    }


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    return {"class" if name == "class_name" else name: value for name, value in fields.items()}


def _without_nan(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _without_nan(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_without_nan(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content
