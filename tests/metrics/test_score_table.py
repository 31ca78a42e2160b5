"""Tables of scores: means by hand, order, and what the files hold."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import LabelError, ManifestError, OutputError
from pipeline.metrics import CaseScore, PatientScore, ScoreTable, bootstrap_interval, paired_comparison

NAN = math.nan
PATIENTS = {"c1": "p2", "c2": "p1", "c3": "p1", "other": "p9"}
SCORES = {
    "c3": {"liver": {"nsd": 0.75, "dice": 0.5}, "lesion": {"nsd": NAN, "dice": NAN}},
    "c1": {"liver": {"nsd": 1.0, "dice": 0.25}, "lesion": {"nsd": NAN, "dice": NAN}},
    "c2": {"liver": {"dice": 1.0, "nsd": NAN}, "lesion": {"nsd": 0.125, "dice": 0.5}},
}


def table() -> ScoreTable:
    return ScoreTable.of(SCORES, PATIENTS, "validation", "ab" * 32)


def test_rows_are_sorted_by_case_and_keep_the_order_of_classes_and_scores() -> None:
    rows = table().rows
    assert [row.case for row in rows] == ["c1"] * 4 + ["c2"] * 4 + ["c3"] * 4
    assert rows[4:6] == (CaseScore("c2", "p1", "liver", "nsd", pytest.approx(NAN, nan_ok=True)), rows[5])
    assert rows[5] == CaseScore("c2", "p1", "liver", "dice", 1.0)
    columns = (("liver", "nsd"), ("liver", "dice"), ("lesion", "nsd"), ("lesion", "dice"))
    assert table().columns == columns
    assert table().patients == {"c1": "p2", "c2": "p1", "c3": "p1"}


def test_means_by_patient_and_by_class_worked_by_hand() -> None:
    of_patients = {(row.patient, row.class_name, row.score): (row.value, row.cases) for row in table().by_patient()}
    assert of_patients["p1", "liver", "dice"] == (0.75, 2)
    assert of_patients["p1", "liver", "nsd"] == (0.75, 1)
    assert of_patients["p2", "lesion", "dice"] == (pytest.approx(NAN, nan_ok=True), 0)
    assert [row.patient for row in table().by_patient()] == ["p1"] * 4 + ["p2"] * 4
    liver_nsd, liver_dice, lesion_nsd, _ = table().by_class(seed=0)
    assert (liver_dice.class_name, liver_dice.score) == ("liver", "dice")
    assert (liver_dice.interval.mean, liver_dice.interval.patients, liver_dice.interval.cases) == (0.5, 2, 3)
    assert (liver_nsd.interval.mean, liver_nsd.interval.cases) == (0.875, 2)
    assert (lesion_nsd.interval.mean, lesion_nsd.interval.patients) == (0.125, 1)
    assert not lesion_nsd.interval.is_known
    assert liver_dice.interval == bootstrap_interval(table().by_case("liver", "dice"), PATIENTS, seed=0)


def test_two_tables_can_be_compared() -> None:
    one, other = table().by_case("liver", "dice"), table().by_case("liver", "nsd")
    found = paired_comparison(one, other, table().patients, seed=0, resamples=99)
    assert found.left_out == ("c2",)
    assert found.difference.mean == (0.75 + 0.25) / 2


def test_the_csv_file_holds_every_row_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    table().write_csv(path, seed=0)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["level"] for row in rows] == ["case"] * 12 + ["patient"] * 8 + ["class"] * 4
    assert rows[5] == {
        "level": "case",
        "case": "c2",
        "patient": "p1",
        "class": "liver",
        "score": "dice",
        "value": "1.0",
        "cases": "1",
        "patients": "",
        "low": "",
        "high": "",
    }
    assert (rows[4]["value"], rows[4]["cases"]) == ("", "0")
    assert (rows[13]["patient"], rows[13]["value"], rows[13]["cases"]) == ("p1", "0.75", "2")
    assert (rows[21]["value"], rows[21]["low"], rows[21]["high"], rows[21]["patients"]) == ("0.5", "0.25", "0.75", "2")
    assert (rows[22]["value"], rows[22]["low"], rows[22]["patients"]) == ("0.125", "", "1")


def test_the_json_file_holds_split_digest_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    table().write_json(path, seed=0)
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert content == table().content(seed=0)
    assert (content["split"], content["manifest_sha256"], content["seed"]) == ("validation", "ab" * 32, 0)
    assert content["cases"][4] == {"case": "c2", "patient": "p1", "class": "liver", "score": "nsd", "value": None}
    assert content["patients"][1] == {"patient": "p1", "class": "liver", "score": "dice", "value": 0.75, "cases": 2}
    assert content["classes"][1] == {
        "class": "liver",
        "score": "dice",
        "mean": 0.5,
        "low": 0.25,
        "high": 0.75,
        "confidence": 0.95,
        "patients": 2,
        "cases": 3,
    }
    assert content["classes"][2]["low"] is None


def test_numbers_are_written_with_all_their_digits_and_files_do_not_depend_on_order(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    scores = {f"c{number}": {"liver": {"dice": float(random.random())}} for number in range(12)}
    patients = {case: f"p{number // 2}" for number, case in enumerate(scores)}
    for name, of_cases in (("one", scores), ("other", dict(reversed(scores.items())))):
        made = ScoreTable.of(of_cases, patients, "test", "0")
        made.write_csv(tmp_path / f"{name}.csv", seed=1)
        made.write_json(tmp_path / f"{name}.json", seed=1)
    for suffix in ("csv", "json"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"other.{suffix}").read_bytes()
    with (tmp_path / "one.csv").open(newline="", encoding="utf-8") as file:
        written = {row["case"]: float(row["value"]) for row in csv.DictReader(file) if row["level"] == "case"}
    assert written == {case: of_case["liver"]["dice"] for case, of_case in scores.items()}


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(OutputError, match="already exists"):
        table().write_csv(path, seed=0)
    assert path.read_text(encoding="utf-8") == "mine"
    table().write_csv(path, seed=0, overwrite=True)
    assert path.read_text(encoding="utf-8").startswith("level,case,patient,class,score,value")


def test_what_makes_no_table_is_refused() -> None:
    with pytest.raises(LabelError, match="no case of the split 'test' has scores"):
        ScoreTable.of({}, PATIENTS, "test", "0")
    with pytest.raises(LabelError, match="case 'c2' has other classes or scores than case 'c1'"):
        ScoreTable.of({"c1": SCORES["c1"], "c2": {"liver": SCORES["c2"]["liver"]}}, PATIENTS, "test", "0")
    other = {"liver": {"dice": 0.5}, "lesion": {"dice": 0.5}}
    with pytest.raises(LabelError, match="case 'c3' has other classes or scores than case 'c1'"):
        ScoreTable.of({"c1": SCORES["c1"], "c3": other}, PATIENTS, "test", "0")
    with pytest.raises(ManifestError, match="case 'new' has a score but no patient"):
        ScoreTable.of({"new": SCORES["c1"]}, PATIENTS, "test", "0")
    with pytest.raises(LabelError, match="no score 'iou' of class 'liver'; it has liver/nsd, liver/dice, lesion/nsd"):
        table().by_case("liver", "iou")


def test_patients_without_any_score_are_listed() -> None:
    lesion = [row for row in table().by_patient() if row.class_name == "lesion" and row.score == "dice"]
    assert lesion[0] == PatientScore("p1", "lesion", "dice", 0.5, 1)
    assert math.isnan(lesion[1].value)
