"""Two runs side by side: the differences of the table, and why there are none."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation import ScoreSettings
from pipeline.metrics import Interval, PairedComparison
from pipeline.reports.comparison import RunComparison, compare_runs
from pipeline.reports.run_folder import RunFolder

SETTINGS = ScoreSettings(seed=3).of_kind("membranes")


def test_differences_are_means_of_the_differences_of_the_cases(runs: Any) -> None:
    first, second = RunFolder.read(runs.first, "A"), RunFolder.read(runs.second, "B")
    found = compare_runs(first, second)
    assert found.reason is None
    assert found.only_in_one == ()
    ours, theirs = (
        json.loads((folder / "log" / "evaluation.json").read_text(encoding="utf-8"))["scores_by_case"]
        for folder in (runs.first, runs.second)
    )
    assert [score for _, score in found.columns] == list(ours)
    for (_, score), compared in found.columns.items():
        differences = [theirs[score][case] - ours[score][case] for case in ("v0", "v1", "v2")]
        assert compared.difference.mean == pytest.approx(sum(differences) / 3, abs=1e-12)
        assert compared.difference.patients == 3
    back = compare_runs(second, first)
    for column, compared in found.columns.items():
        assert back.columns[column].difference.mean == pytest.approx(-compared.difference.mean, abs=1e-12)
        assert back.columns[column].p_value == compared.p_value


def test_cases_of_only_one_run_are_left_out_and_named(runs: Any, changed: Callable[..., Path]) -> None:
    content = json.loads((runs.second / "log" / "evaluation.json").read_text(encoding="utf-8"))
    table = content["table"] | {"cases": [row for row in content["table"]["cases"] if row["case"] != "v1"]}
    other = RunFolder.read(changed("evaluation", {"table": table}, of="second"), "B")
    found = compare_runs(RunFolder.read(runs.first), other)
    assert found.only_in_one == ("v1",)
    assert {compared.difference.cases for compared in found.columns.values()} == {2}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"split_sha256": "0"}, "different cases or labels"),
        ({"settings": SETTINGS | {"warping": False}}, r"other settings \(warping\)"),
        ({"kind": "classes"}, r"other settings \(kind\)"),
        ({"table": ...}, "which patient"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_runs_that_cannot_be_compared_say_why(
    runs: Any, changed: Callable[..., Path], fields: dict[str, Any], reason: str
) -> None:
    found = compare_runs(RunFolder.read(runs.first), RunFolder.read(changed("evaluation", fields, of="second"), "B"))
    assert found.columns == {}
    assert found.reason is not None
    assert re.search(reason, found.reason)


def test_settings_that_no_score_depends_on_hinder_no_comparison(runs: Any, changed: Callable[..., Path]) -> None:
    other = changed("evaluation", {"settings": SETTINGS | {"seed": 4, "calibration_bins": 7}}, of="second")
    assert compare_runs(RunFolder.read(runs.first), RunFolder.read(other, "B")).reason is None


@pytest.mark.parametrize(
    ("score", "low", "high", "p_value", "reading"),
    [
        ("dice", 0.1, 0.3, 0.01, "B is better"),
        ("dice", -0.3, -0.1, 0.01, "A is better"),
        ("hd95_mm", 0.1, 0.3, 0.01, "A is better"),
        ("hd95_mm", -0.3, -0.1, 0.01, "B is better"),
        ("dice", -0.1, 0.3, 0.01, "no clear difference"),
        ("dice", 0.0, 0.3, 0.01, "no clear difference"),
        ("dice", 0.1, 0.3, 0.05, "no clear difference"),
        ("volume_difference_mm3", 0.1, 0.3, 0.01, "they differ"),
        ("mystery", 0.1, 0.3, 0.01, "they differ"),
        ("dice", math.nan, math.nan, math.nan, "too few to tell"),
    ],
)
def test_a_run_is_better_only_if_interval_and_test_say_so(
    runs: Any, score: str, low: float, high: float, p_value: float, reading: str
) -> None:
    first, second = RunFolder.read(runs.first, "A"), RunFolder.read(runs.second, "B")
    found = PairedComparison(Interval((low + high) / 2, low, high, 0.95, 9, 9), p_value, "permutation", ())
    assert RunComparison(first, second, {("liver", score): found}, ()).reading(("liver", score)) == reading


def test_a_run_without_evaluation_is_named(runs: Any) -> None:
    found = compare_runs(RunFolder.read(runs.first, "A"), RunFolder.read(runs.bare, "B"))
    assert found.reason == "no evaluation of B"
