"""Bootstrap intervals over patients: SciPy, coverage by simulation, order, and who counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.errors import ConfigError, ManifestError
from pipeline.metrics import bootstrap_interval, patient_means


def named(values: np.ndarray | list[float]) -> tuple[dict[str, float], dict[str, str]]:
    """One case a patient."""
    scores = {f"case_{number}": float(value) for number, value in enumerate(values)}
    return scores, {case: f"patient_{case}" for case in scores}


def test_means_of_patients_worked_by_hand() -> None:
    scores = {"c": 0.4, "a": 1.0, "b": 0.5, "d": math.nan, "e": math.nan}
    patients = {"a": "q", "b": "q", "c": "p", "d": "p", "e": "r", "unused": "s"}
    assert patient_means(scores, patients) == {"p": 0.4, "q": 0.75}
    assert list(patient_means(scores, patients)) == ["p", "q"]
    interval = bootstrap_interval(scores, patients, seed=0, resamples=999)
    assert interval.mean == pytest.approx((0.4 + 0.75) / 2)  # not (1 + 0.5 + 0.4) / 3
    assert (interval.patients, interval.cases) == (2, 3)
    # Half of the samples of two patients hold both, a quarter the one, a quarter the other.
    assert (interval.low, interval.high) == (0.4, 0.75)
    assert interval.is_known


@pytest.mark.parametrize(("method", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
def test_one_case_a_patient_equals_scipy(method: str, theirs: str) -> None:
    values = np.random.default_rng(0).beta(8, 2, 15)
    ours = bootstrap_interval(*named(values), seed=3, confidence=0.9, resamples=2000, method=method)  # type: ignore[arg-type]
    usual = bootstrap_interval(*named(values), seed=3, resamples=2000, method=method)  # type: ignore[arg-type]
    for interval, confidence in ((ours, 0.9), (usual, 0.95)):
        found = stats.bootstrap(
            (np.sort(values),),
            np.mean,
            confidence_level=confidence,
            n_resamples=2000,
            method=theirs,
            rng=np.random.default_rng(3),
        ).confidence_interval
        assert (interval.low, interval.high) == pytest.approx((found.low, found.high), abs=1e-12)
        assert interval.confidence == confidence
    assert ours.mean == pytest.approx(values.mean())
    assert ours.low < ours.mean < ours.high


def test_intervals_of_independent_patients_hold_the_true_mean_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(1)
    held = [
        interval.low <= 0.8 <= interval.high
        for interval in (
            bootstrap_interval(*named(random.beta(8, 2, 30)), seed=trial, confidence=0.9, resamples=400)
            for trial in range(300)
        )
    ]
    assert 0.84 < np.mean(held) < 0.94


def test_patients_are_drawn_and_not_their_cases() -> None:
    # Ten cases of each patient are alike: they say no more than one, and intervals over cases are far too narrow.
    random = np.random.default_rng(2)
    held_by_patient, held_by_case = [], []
    for trial in range(150):
        of_patients = random.normal(0.7, 0.1, 12)
        scores = {f"{p}_{c}": value + random.normal(0, 0.02) for p, value in enumerate(of_patients) for c in range(10)}
        for held, patients in (
            (held_by_patient, {case: case.split("_")[0] for case in scores}),
            (held_by_case, {case: case for case in scores}),
        ):
            interval = bootstrap_interval(scores, patients, seed=trial, confidence=0.9, resamples=300)
            held.append(interval.low <= 0.7 <= interval.high)
    assert np.mean(held_by_patient) > 0.78
    assert np.mean(held_by_case) < 0.6


def test_neither_the_order_of_cases_nor_names_matter() -> None:
    scores, patients = named(np.random.default_rng(5).random(20))
    wanted = bootstrap_interval(scores, patients, seed=0, resamples=500)
    turned = dict(reversed(scores.items()))
    assert bootstrap_interval(turned, patients, seed=0, resamples=500) == wanted
    renamed = {case: case[::-1] for case in patients}
    assert bootstrap_interval(scores, renamed, seed=0, resamples=500) == wanted
    assert bootstrap_interval(scores, patients, seed=1, resamples=500) != wanted


def test_fewer_than_two_patients_have_no_interval() -> None:
    one = bootstrap_interval({"a": 0.5, "b": 0.7}, {"a": "p", "b": "p"}, seed=0)
    assert one.mean == pytest.approx(0.6)
    assert (one.patients, one.cases) == (1, 2)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert not one.is_known
    none = bootstrap_interval({"a": math.nan}, {"a": "p"}, seed=0)
    assert math.isnan(none.mean)
    assert (none.patients, none.cases) == (0, 0)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_equal_scores_have_an_interval_of_one_value(method: str) -> None:
    interval = bootstrap_interval(*named([0.7] * 5), seed=0, method=method)  # type: ignore[arg-type]
    assert (interval.low, interval.high) == (0.7, 0.7)


def test_what_makes_no_interval_is_refused() -> None:
    scores, patients = named([0.1, 0.2])
    with pytest.raises(ManifestError, match="case 'new' has a score but no patient"):
        bootstrap_interval({**scores, "new": 0.5}, patients, seed=0)
    with pytest.raises(ConfigError, match="score of case 'case_0' is inf"):
        bootstrap_interval({**scores, "case_0": math.inf}, patients, seed=0)
    for confidence in (0, 1, 95, math.nan):
        with pytest.raises(ConfigError, match="confidence must be between 0 and 1"):
            bootstrap_interval(scores, patients, seed=0, confidence=confidence)
    with pytest.raises(ConfigError, match="resamples must be at least 1"):
        bootstrap_interval(scores, patients, seed=0, resamples=0)
    with pytest.raises(ConfigError, match="method must be one of percentile, bca, got 'basic'"):
        bootstrap_interval(scores, patients, seed=0, method="basic")  # type: ignore[arg-type]
