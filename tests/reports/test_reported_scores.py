"""Scores of evaluations as `unet-pipeline evaluate` leaves them, in the page: against values worked out by hand."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_sets import made_up_nuclei, made_up_volumes

from pipeline.evaluation import ScoreSettings, evaluate_predictions
from pipeline.metrics import ScoreTable
from pipeline.report import BundleChoice, write_report


def page_of(tmp_path: Path, *folders: Path) -> str:
    """Return the text of the report of runs, with spaces for what breaks lines."""
    path = tmp_path / "report.html"
    write_report(path, folders, BundleChoice(tiles=0), overwrite=True)
    body = re.sub(r"<(style|script)>.*?</\1>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def table_of(values: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the table of an evaluation from values by score and case; every case is a patient of its own."""
    cases = sorted({case for by_case in values.values() for case in by_case})
    scores = {case: {"liver": {name: by_case[case] for name, by_case in values.items()}} for case in cases}
    return ScoreTable.of(scores, {case: f"p{case}" for case in cases}, "validation", "0").content(seed=0)


def test_classes_of_volumes_have_the_scores_of_their_worked_values(tmp_path: Path) -> None:
    made = made_up_volumes(tmp_path)
    settings = ScoreSettings(tolerance_mm=2.0)
    evaluate_predictions(made.predictions, made.manifest, "validation", made.folder, "classes", settings).write(
        tmp_path / "scores"
    )
    text = page_of(tmp_path, tmp_path / "scores")
    # Patient p1 has 2/3 and 1, p2 has 0: their means' mean, its bootstrap over two, two patients, three cases.
    assert "anterior Dice ↑ 0.4167 0 to 0.8333 2 3" in text
    # In one case alone, which is no interval.
    assert "posterior Dice ↑ 0 no interval 1 1" in text
    assert "anterior: Dice ↑ 0.4167 95% interval 0 to 0.8333; 3 cases" in text
    assert "posterior: Dice ↑ 0 no interval: only one patient; 1 case" in text
    # Of each case its classes; the worst first; by volume 12 of 24 mm³ are missing in a.
    of_cases = text[text.index("The worst case first") : text.index("Means over the cases of a patient")]
    assert re.findall(r"([abc]) p\d anterior ([\d.]+)", of_cases) == [("c", "0"), ("a", "0.6667"), ("b", "1.0000")]
    assert "−12.00 −0.5000" in of_cases
    assert re.findall(r"posterior (\S+)", of_cases) == ["0", "–", "–"]
    of_patients = text[text.index("Means over the cases of a patient") : text.index("Each picture shows")]
    assert re.findall(r"(p\d) anterior ([\d.]+ \(\d\)).*? posterior (\S+ \(\d\))", of_patients) == [
        ("p1", "0.8333 (2)", "– (0)"),
        ("p2", "0 (1)", "0 (1)"),
    ]
    with (tmp_path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["class"], row["score"]) == ("anterior", "dice")]
    assert {(row["case"], row["patient"]) for row in rows if row["level"] == "case"} == {
        ("a", "p1"),
        ("b", "p1"),
        ("c", "p2"),
    }
    of_patients = {row["patient"]: float(row["value"]) for row in rows if row["level"] == "patient"}
    assert of_patients == pytest.approx({"p1": 5 / 6, "p2": 0.0})
    assert "NSD: surfaces that lie no further than 2.0 mm apart agree." in text
    assert "neither truth nor prediction has a class or an object has no score; where only one" in text
    assert "Nothing is recorded of the training" in text
    assert text.count("All cases from the worst to the best, by Dice, mean over classes") == 1
    assert "Worst cases" not in text


def test_instances_have_the_scores_of_their_worked_values(tmp_path: Path) -> None:
    made = made_up_nuclei(tmp_path)
    found = evaluate_predictions(
        made.predictions, made.manifest, "validation", made.folder, "instances", objects="numbers"
    )
    found.write(tmp_path / "scores")
    text = page_of(tmp_path, tmp_path / "scores")
    # In a two of two objects are matched, at IoU 1 and 0.75, and one is extra; b is perfect.
    assert "nucleus PQ ↑ 0.8500" in text
    assert "nucleus F1, IoU 0.5 ↑ 0.9000" in text
    assert "PQ: objects match above an IoU of 0.5; F1: above the one in its name." in text
    assert "Each patient has one case." in text


def test_a_case_that_was_skipped_is_in_the_head_with_its_reason(tmp_path: Path) -> None:
    made = made_up_volumes(tmp_path)
    (made.predictions / "b_mask.nii.gz").unlink()
    found = evaluate_predictions(made.predictions, made.manifest, "validation", made.folder, skip_bad=True)
    found.write(tmp_path / "scores")
    text = page_of(tmp_path, tmp_path / "scores")
    head = text[: text.index("Intended use")]
    (skipped,) = found.skipped
    assert f"The evaluation skipped 1 case: b ({skipped.reason}). Scores are over the 2 that are left" in head


def test_of_many_cases_the_worst_three_come_before_the_best_three(changed: Callable[..., Path], tmp_path: Path) -> None:
    values = {f"case-{number}": number / 10 for number in range(8)}
    folder = changed("evaluation", {"table": table_of({"hd95_mm": values}), "key_score": "hd95_mm", "pictures": {}})
    text = page_of(tmp_path, folder)
    shown = text[text.index("Worst cases, by HD95") : text.index("Whether what the network calls")]
    assert re.findall(r"Case (case-\d)", shown) == ["case-7", "case-6", "case-5", "case-0", "case-1", "case-2"]
    assert shown.index("Case case-5") < shown.index("Best cases, by HD95") < shown.index("Case case-0")


@pytest.mark.parametrize("better", ["A", "B"])
def test_the_better_run_is_named_whichever_way_is_better(
    runs: Any, changed: Callable[..., Path], tmp_path: Path, better: str
) -> None:
    """In every patient one run has more of both scores, of which one is better high and the other low."""
    cases = [f"c{number:02d}" for number in range(12)]
    draw = np.random.default_rng(3).random(12)
    low = {"dice": dict(zip(cases, 0.2 + 0.2 * draw, strict=True)), "hd95_mm": dict(zip(cases, 9 + draw, strict=True))}
    high = {
        "dice": {case: value + 0.3 for case, value in low["dice"].items()},
        "hd95_mm": {case: value - 5 for case, value in low["hd95_mm"].items()},
    }
    first, second = (high, low) if better == "A" else (low, high)
    folders = [
        changed("evaluation", {"table": table_of(table), "pictures": {}}, name=name)
        for name, table in (("one", first), ("two", second))
    ]
    text = page_of(tmp_path, *folders)
    means = [f"{np.mean(list(table['dice'].values())):.4f}" for table in (first, second)]
    # Each run's mean with its own interval around it.
    row = re.search(r"liver Dice ↑ ([\d.]+) ([\d.]+) to ([\d.]+) 12 12 ([\d.]+) ([\d.]+) to ([\d.]+) 12 12", text)
    assert row is not None
    assert [row[1], row[4]] == means
    assert float(row[2]) < float(row[1]) < float(row[3])
    assert float(row[5]) < float(row[4]) < float(row[6])
    sign = "−" if better == "A" else ""
    assert re.search(
        rf"liver Dice ↑ {sign}0\.3000 {sign}0\.3000 to {sign}0\.3000 0\.00\d+ 12 12 {better} is better", text
    )
    other = "" if better == "A" else "−"
    assert re.search(rf"HD95 \(mm\) ↓ {other}5\.0000 .*? 12 12 {better} is better", text)
    assert text.count(f"{better} is better") == 2
