"""Bootstrap confidence intervals over patients: cases of one patient are alike, so patients are what is drawn anew.

The quantity is the mean over patients of each patient's mean over its cases. Scores that are NaN count nowhere. Where a
manifest splits one specimen into blocks, because there are no patients to go by, blocks stand for patients.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import stats

from ..errors import ConfigError, ManifestError

BootstrapMethod = Literal["percentile", "bca"]


@dataclass(frozen=True)
class Interval:
    """A mean over patients and the range in which it would lie with other patients.

    Attributes:
        mean: Mean over the patients that have a score; NaN without any.
        low: Lower end; NaN with fewer than two patients: one patient says nothing about others.
        high: Upper end; NaN with fewer than two patients.
        confidence: Share of samples of patients whose interval would hold the true mean.
        patients: How many patients have a score.
        cases: How many cases have one.
    """

    mean: float
    low: float
    high: float
    confidence: float
    patients: int
    cases: int

    @property
    def is_known(self) -> bool:
        """Whether there were patients enough for an interval."""
        return not math.isnan(self.low)


def patient_means(scores: Mapping[str, float], patients: Mapping[str, str]) -> dict[str, float]:
    """Return the mean score of each patient over its cases, sorted by patient.

    Args:
        scores: Score of each case by its id; cases that are NaN count nowhere.
        patients: Patient of each case by the id of the case; other cases may be among them.

    Returns:
        Means by patient; patients whose cases are all NaN are left out.

    Raises:
        ManifestError: If a case has no patient.
        ConfigError: If a score is infinite.
    """
    by_patient: defaultdict[str, list[float]] = defaultdict(list)
    for case, score in scores.items():
        if case not in patients:
            raise ManifestError(f"case {case!r} has a score but no patient; add the case to the manifest")
        if math.isinf(score):
            raise ConfigError(f"the score of case {case!r} is {score}; means need finite scores")
        if not math.isnan(score):
            by_patient[patients[case]].append(score)
    return {patient: math.fsum(values) / len(values) for patient, values in sorted(by_patient.items())}


def bootstrap_interval(
    scores: Mapping[str, float],
    patients: Mapping[str, str],
    *,
    seed: int,
    confidence: float = 0.95,
    resamples: int = 9999,
    method: BootstrapMethod = "percentile",
) -> Interval:
    """Return the mean over patients and its bootstrap confidence interval.

    With few patients (under about twenty) every bootstrap interval is too narrow; the number of patients is part of the
    result for that reason.

    Args:
        scores: Score of each case by its id; NaN counts nowhere.
        patients: Patient of each case by the id of the case.
        seed: Seeds the resampling; the same seed and scores give the same interval, in whatever order cases come.
        confidence: Between 0 and 1.
        resamples: How often patients are drawn anew.
        method: `"percentile"`, or `"bca"`: corrected for bias and skewness.

    Raises:
        ManifestError: If a case has no patient.
        ConfigError: If a score is infinite, or the confidence, the number of resamples or the method is not possible.

    Source:
        Efron and Tibshirani: An introduction to the bootstrap (1993), chapters 13 and 14; `scipy.stats.bootstrap`.
    """
    check_resampling(confidence, resamples)
    if method not in get_args(BootstrapMethod):
        raise ConfigError(f"method must be one of {', '.join(get_args(BootstrapMethod))}, got {method!r}")
    # In the order of their values: neither that of the cases nor the names of patients can change what is drawn.
    means = np.sort(np.array(list(patient_means(scores, patients).values()), np.float64))
    cases = sum(not math.isnan(score) for score in scores.values())
    mean = math.fsum(means) / means.size if means.size else math.nan
    low = high = math.nan
    if means.size >= 2:
        low, high = _interval(means, seed, confidence, resamples, method)
    return Interval(mean, low, high, confidence, means.size, cases)


def check_resampling(confidence: float, resamples: int) -> None:
    """Check what every interval needs.

    Raises:
        ConfigError: If the confidence is not between 0 and 1, or there are no resamples.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must be between 0 and 1, got {confidence}; 0.95 is usual")
    if resamples < 1:
        raise ConfigError(f"resamples must be at least 1, got {resamples}; 9999 is usual")


def _interval(
    means: np.ndarray[tuple[int], np.dtype[np.float64]],
    seed: int,
    confidence: float,
    resamples: int,
    method: BootstrapMethod,
) -> tuple[float, float]:
    if means[0] == means[-1]:
        return float(means[0]), float(means[0])  # no skewness to correct for: BCa would be 0/0
    found = stats.bootstrap(
        (means,),
        np.mean,
        n_resamples=resamples,
        # Some 16 MB at a time, whatever the number of patients.
        batch=max(1, 2_000_000 // means.size),
        confidence_level=confidence,
        method="BCa" if method == "bca" else "percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(found.low), float(found.high)
