"""Two runs on the same cases: worked values, SciPy's tests, how often nothing is taken for something."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from pipeline.errors import ConfigError, LabelError
from pipeline.metrics import bootstrap_interval, paired_comparison


def runs(differences: np.ndarray | list[float]) -> tuple[dict[str, float], dict[str, float], dict[str, str]]:
    """Two runs with these differences, one case a patient."""
    first = {f"case_{number}": 0.5 + 0.01 * number for number in range(len(differences))}
    second = {case: first[case] + float(step) for case, step in zip(first, differences, strict=True)}
    return first, second, {case: case for case in first}


def test_a_comparison_worked_by_hand() -> None:
    first = {"a": 0.5, "b": 0.75, "c": 0.5, "d": 0.1}
    second = {"a": 0.75, "b": 1.0, "c": 0.5, "d": math.nan}
    patients = {"a": "p", "b": "p", "c": "q", "d": "q"}
    found = paired_comparison(first, second, patients, seed=0)
    assert found.difference.mean == (0.25 + 0) / 2
    assert (found.difference.patients, found.difference.cases) == (2, 3)
    assert (found.difference.low, found.difference.high) == (0, 0.25)
    assert found.left_out == ("d",)
    # Signs of (0.25, 0): two of four give +0.125 and two -0.125: all are as far from 0.
    assert found.p_value == 1


def test_the_permutation_test_counts_all_swaps_of_few_patients() -> None:
    differences = np.array([0.11, 0.07, -0.02, 0.05, 0.08, 0.013])
    found = paired_comparison(*runs(differences), seed=0)
    means = np.array([np.mean(differences * signs) for signs in product((1, -1), repeat=6)])
    assert found.p_value == pytest.approx(np.mean(np.abs(means) >= differences.mean() - 1e-12))
    assert found.test == "permutation"


def test_wilcoxon_is_scipys() -> None:
    differences = np.random.default_rng(0).normal(0.02, 0.05, 18)
    first, second, patients = runs(differences)
    found = paired_comparison(first, second, patients, seed=0, test="wilcoxon", resamples=200)
    theirs = stats.wilcoxon(list(second.values()), list(first.values()))
    assert found.p_value == pytest.approx(theirs.pvalue)
    assert found.test == "wilcoxon"


def test_patients_without_a_difference_keep_their_ranks() -> None:
    differences = [0.0, 0.0, 0.0, -0.03, 0.1, 0.12, -0.05, 0.2, 0.3]
    found = paired_comparison(*runs(differences), seed=0, test="wilcoxon")
    assert found.p_value == pytest.approx(stats.wilcoxon(differences, zero_method="pratt").pvalue, abs=1e-9)
    assert found.p_value != pytest.approx(stats.wilcoxon(differences, zero_method="wilcox").pvalue, abs=0.01)
    assert found.difference.patients == 9


def test_the_interval_is_that_of_the_differences() -> None:
    differences = np.random.default_rng(1).normal(0.02, 0.05, 18)
    first, second, patients = runs(differences)
    found = paired_comparison(first, second, patients, seed=4, resamples=300, method="bca")
    by_case = {case: second[case] - first[case] for case in first}
    assert found.difference == bootstrap_interval(by_case, patients, seed=4, resamples=300, method="bca")


@pytest.mark.parametrize("test", ["permutation", "wilcoxon"])
def test_runs_that_are_alike_are_told_apart_as_seldom_as_the_p_value_says(test: str) -> None:
    random = np.random.default_rng(2)
    found = [
        paired_comparison(*runs(random.normal(0, 0.05, 12)), seed=trial, test=test, resamples=199).p_value  # type: ignore[arg-type]
        for trial in range(200)
    ]
    assert 0.05 < np.mean(np.array(found) < 0.1) < 0.16
    better = paired_comparison(*runs(random.normal(0.1, 0.05, 12)), seed=0, test=test)  # type: ignore[arg-type]
    assert better.p_value < 0.01
    assert better.difference.low > 0


def test_swapping_the_runs_turns_the_sign_and_order_changes_nothing() -> None:
    first, second, patients = runs(np.random.default_rng(3).normal(0.01, 0.05, 15))
    one, other = (paired_comparison(*pair, patients, seed=0) for pair in ((first, second), (second, first)))
    assert other.difference.mean == pytest.approx(-one.difference.mean)
    assert other.p_value == pytest.approx(one.p_value, abs=0.02)
    turned = dict(reversed(first.items()))
    assert paired_comparison(turned, second, patients, seed=0) == one
    renamed = {case: case[::-1] for case in patients}
    assert paired_comparison(first, second, renamed, seed=0) == one


@pytest.mark.parametrize("test", ["permutation", "wilcoxon"])
def test_a_run_against_itself_and_a_single_patient(test: str) -> None:
    first, _, patients = runs([0.0] * 6)
    same = paired_comparison(first, first, patients, seed=0, test=test)  # type: ignore[arg-type]
    assert (same.p_value, same.difference.mean, same.difference.low, same.difference.high) == (1, 0, 0, 0)
    one = paired_comparison({"a": 0.5}, {"a": 0.75}, {"a": "p"}, seed=0, test=test)  # type: ignore[arg-type]
    assert one.difference.mean == 0.25
    assert math.isnan(one.p_value)
    assert not one.difference.is_known


def test_what_cannot_be_compared_is_refused() -> None:
    first, second, patients = runs([0.1, 0.2, 0.3])
    del second["case_1"]
    with pytest.raises(LabelError, match="the runs do not have the same cases: 'case_1' in only one of them"):
        paired_comparison(first, second, patients, seed=0)
    endless = {**first, "case_2": math.inf}
    with pytest.raises(ConfigError, match="the score of case 'case_2' is inf; differences need finite scores"):
        paired_comparison(endless, endless, patients, seed=0)
    with pytest.raises(ConfigError, match="test must be one of permutation, wilcoxon, got 't'"):
        paired_comparison(first, first, patients, seed=0, test="t")  # type: ignore[arg-type]
