"""Best and worst cases, held to what sorting by hand gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.reports.evaluation import Evaluation
from pipeline.reports.ranked_cases import RankedCases, ranked_cases


def evaluation_of(path: Path) -> Evaluation:
    return Evaluation.read(path / "log" / "evaluation.json")


@pytest.mark.parametrize(
    ("score", "wanted"),
    [("dice", ["b", "a", "c"]), ("hd95_mm", ["c", "a", "b"]), ("volume_difference_mm3", ["d", "c", "a", "b"])],
)
def test_the_worst_comes_first_whichever_way_is_better(
    changed: Callable[..., Path], score: str, wanted: list[str]
) -> None:
    values = {"a": 0.5, "b": 0.2, "c": 0.9}
    if score == "volume_difference_mm3":
        values["d"] = -3.0
    found = ranked_cases(evaluation_of(changed("evaluation", {"table": ..., "scores_by_case": {score: values}})))
    assert found is not None
    assert list(found.values) == wanted


def test_cases_without_the_score_are_told_apart(changed: Callable[..., Path]) -> None:
    by_case = {"threshold": {"a": 0.5}, "dice": {"a": 0.5, "b": None}}
    found = ranked_cases(evaluation_of(changed("evaluation", {"table": ..., "scores_by_case": by_case})))
    assert found == RankedCases("dice", {"a": 0.5}, ("b",))


def test_nothing_is_ranked_by_what_is_no_score(changed: Callable[..., Path]) -> None:
    by_case = {"threshold": {"a": 0.5}, "mystery": {"a": 1.0}}
    assert ranked_cases(evaluation_of(changed("evaluation", {"table": ..., "scores_by_case": by_case}))) is None


def test_classes_count_alike(changed: Callable[..., Path]) -> None:
    rows = [
        {"case": case, "patient": case, "class": name, "score": "dice", "value": value}
        for case, values in {"a": (0.9, 0.1), "b": (0.6, 0.6), "c": (None, 0.4)}.items()
        for name, value in zip(("anterior", "posterior"), values, strict=True)
    ]
    table = {"split": "validation", "manifest_sha256": "0", "seed": 0, "cases": rows, "classes": []}
    found = ranked_cases(evaluation_of(changed("evaluation", {"table": table})))
    assert found is not None
    assert found.values == pytest.approx({"c": 0.4, "a": 0.5, "b": 0.6})
    assert list(found.values) == ["c", "a", "b"]


@pytest.mark.parametrize("count", range(12))
def test_extremes_take_each_case_once_and_all_of_few(count: int) -> None:
    draw = np.random.default_rng(count)
    values = dict(sorted(((f"case {n}", float(draw.random())) for n in range(count)), key=lambda item: item[1]))
    worst, best = RankedCases("dice", values, ()).extremes(3)
    assert len({*worst, *best}) == len(worst) + len(best) == min(count, 6)
    if worst and best:
        assert max(values[case] for case in worst) <= min(values[case] for case in best)
        assert values[best[0]] == max(values.values())
