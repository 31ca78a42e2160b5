"""Two runs on one split: paired differences."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError, LabelError, MissingFileError
from pipeline.evaluation import (
    OtherEvaluation,
    ScoreSettings,
    compare,
    comparison_fields,
    comparison_text,
    evaluate_predictions,
)
from pipeline.metrics import paired_comparison


def evaluated(small: Any, **options: Any) -> Any:
    return evaluate_predictions(small.predictions, small.manifest, "validation", small.folder, **options)


@pytest.fixture
def earlier(volumes: Any, tmp_path: Path) -> Path:
    """The record of the volumes as they are; afterwards a is perfect."""
    path = evaluated(volumes).write(tmp_path / "earlier")
    label = (volumes.folder / "label" / "a.nii.gz").read_bytes()
    (volumes.predictions / "a_mask.nii.gz").write_bytes(label)
    return Path(path)


def test_differences_are_this_run_minus_the_other_by_patient(volumes: Any, earlier: Path) -> None:
    other = OtherEvaluation.read(earlier)
    compared = compare(evaluated(volumes), other)
    by_name = {(row.class_name, row.score): row.comparison for row in compared}
    found = by_name["anterior", "dice"]
    # a went from 2/3 to 1, so its patient of two cases by half of that; the other patient stayed.
    assert found.difference.mean == pytest.approx((1 / 3 / 2 + 0) / 2)
    first, second = {"a": 2 / 3, "b": 1.0, "c": 0.0}, {"a": 1.0, "b": 1.0, "c": 0.0}
    assert found == paired_comparison(first, second, {"a": "p1", "b": "p1", "c": "p2"}, seed=0)
    # Class 2 is in c alone.
    assert by_name["posterior", "dice"].left_out == ("a", "b")
    fields = comparison_fields(compared, other)
    (row,) = (row for row in fields["rows"] if (row["class"], row["score"]) == ("anterior", "dice"))
    assert (row["difference"], row["p_value"]) == (found.difference.mean, found.p_value)
    assert fields["with"]["predictions"]["scored"] == "mask"
    json.dumps(fields, allow_nan=False)
    assert "anterior" in comparison_text(compared)
    assert "0.0833" in comparison_text(compared)


def test_another_split_is_refused(volumes: Any, earlier: Path) -> None:
    volumes.change(splits={"validation": ["a", "b"]})
    with pytest.raises(LabelError, match=r"is of another split: .* score both on one split"):
        OtherEvaluation.read(earlier).check_split(volumes.manifest, "validation")


def test_other_labels_are_refused(volumes: Any, earlier: Path) -> None:
    cases = json.loads(volumes.path.read_text(encoding="utf-8"))["cases"]
    cases[0]["label_sha256"] = "1" * 64
    volumes.change(cases=cases)
    with pytest.raises(LabelError, match="is of another split"):
        OtherEvaluation.read(earlier).check_split(volumes.manifest, "validation")


def test_other_settings_are_refused(volumes: Any, earlier: Path) -> None:
    other = OtherEvaluation.read(earlier)
    with pytest.raises(ConfigError, match=r"made with tolerance_mm 1.0, this one with 2.0"):
        compare(evaluated(volumes, settings=ScoreSettings(tolerance_mm=2)), other)
    with pytest.raises(ConfigError, match=r"made with empty nan, this one with perfect"):
        compare(evaluated(volumes, settings=ScoreSettings(empty="perfect")), other)
    fields = {**other.fields, "kind": "instances"}
    with pytest.raises(ConfigError, match="has scores of instances, this one of classes"):
        compare(evaluated(volumes), OtherEvaluation(earlier, fields))


def test_runs_that_scored_other_cases_are_refused(volumes: Any, earlier: Path) -> None:
    (volumes.predictions / "b_mask.nii.gz").unlink()
    with pytest.raises(LabelError, match=r"the runs do not have the same cases: 'b' in only one of them"):
        compare(evaluated(volumes, skip_bad=True), OtherEvaluation.read(earlier))


def test_a_score_that_the_other_run_lacks_is_told(volumes: Any, earlier: Path) -> None:
    record = json.loads(earlier.read_text(encoding="utf-8"))
    record["table"]["cases"] = [row for row in record["table"]["cases"] if row["score"] != "nsd"]
    earlier.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"evaluation .* has no score 'nsd' of class 'anterior'"):
        compare(evaluated(volumes), OtherEvaluation.read(earlier))


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no table": lambda record: record.update(table=None),
    "no settings": lambda record: record.update(settings=[]),
    "no kind": lambda record: record.update(kind=None),
    "no cases": lambda record: record["table"].pop("cases"),
    "an empty table": lambda record: record["table"]["cases"].clear(),
    "a row that is none": lambda record: record["table"]["cases"].append(3),
    "a row without a class": lambda record: record["table"]["cases"][2].pop("class"),
    "a row without a value": lambda record: record["table"]["cases"][2].pop("value"),
    "text for a number": lambda record: record["table"]["cases"][2].update(value="0.5"),
    "an infinite number": lambda record: record["table"]["cases"][2].update(value=float("inf")),
    "a row twice": lambda record: record["table"]["cases"].append(dict(record["table"]["cases"][0], value=0.25)),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_evaluation_is_refused_when_it_is_read(earlier: Path, name: str) -> None:
    record = json.loads(earlier.read_text(encoding="utf-8"))
    DAMAGE[name](record)
    earlier.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"evaluation .* has no .*; expected an evaluation.json of this version"):
        OtherEvaluation.read(earlier)


@pytest.mark.parametrize(("content", "match"), [("{", "is damaged"), ("[]", "has no"), ('{"kind": "x"}', "has no")])
def test_what_is_no_evaluation_is_refused(tmp_path: Path, content: str, match: str) -> None:
    path = tmp_path / "evaluation.json"
    with pytest.raises(MissingFileError, match="not found"):
        OtherEvaluation.read(path)
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=match):
        OtherEvaluation.read(path)
