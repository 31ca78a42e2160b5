"""Whether one run is better than another on the same cases: differences by patient, their interval, a paired test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import stats

from ..errors import ConfigError, LabelError
from .intervals import BootstrapMethod, Interval, bootstrap_interval, patient_means

PairedTest = Literal["permutation", "wilcoxon"]


@dataclass(frozen=True)
class PairedComparison:
    """The second run against the first.

    Attributes:
        difference: Mean over patients of second minus first, with its interval; patients and cases that have both
            scores are counted there.
        p_value: Chance of a difference at least as far from none, either way, if the runs were alike; NaN with fewer
            than two patients.
        test: The test that gave it.
        left_out: Cases in which either score is NaN, sorted.
    """

    difference: Interval
    p_value: float
    test: PairedTest
    left_out: tuple[str, ...]


def paired_comparison(
    first: Mapping[str, float],
    second: Mapping[str, float],
    patients: Mapping[str, str],
    *,
    seed: int,
    test: PairedTest = "permutation",
    confidence: float = 0.95,
    resamples: int = 9999,
    method: BootstrapMethod = "percentile",
) -> PairedComparison:
    """Compare the scores of two runs case by case, and patient by patient.

    Args:
        first: Score of each case by its id; a case that is NaN in either run is left out and named.
        second: The same of the other run; of the same cases.
        patients: Patient of each case by the id of the case.
        seed: Seeds interval and test.
        test: `"permutation"` swaps the runs in patients at random and compares the mean difference: exact where
            `resamples` covers all swaps. `"wilcoxon"` compares ranks (signed-rank test, zeros ranked by Pratt's rule).
        confidence: Of the interval, between 0 and 1.
        resamples: How often patients are drawn anew, and runs swapped at most.
        method: Of the interval, see `bootstrap_interval`.

    Raises:
        LabelError: If the runs do not have the same cases; some are named.
        ManifestError: If a case has no patient.
        ConfigError: If a score is infinite, or an argument is not possible.

    Source:
        Wilcoxon, Biometrics Bulletin 1:80 (1945); Pratt, JASA 54:655 (1959); `scipy.stats.permutation_test`.
    """
    if test not in get_args(PairedTest):
        raise ConfigError(f"test must be one of {', '.join(get_args(PairedTest))}, got {test!r}")
    only_one = sorted(first.keys() ^ second.keys())
    if only_one:
        shown = ", ".join(map(repr, only_one[:4])) + (", ..." if len(only_one) > 4 else "")
        raise LabelError(f"the runs do not have the same cases: {shown} in only one of them; score both on one split")
    for case, score in (*first.items(), *second.items()):
        if math.isinf(score):
            raise ConfigError(f"the score of case {case!r} is {score}; differences need finite scores")
    differences = {case: second[case] - first[case] for case in first}
    interval = bootstrap_interval(
        differences, patients, seed=seed, confidence=confidence, resamples=resamples, method=method
    )
    by_patient = np.sort(np.array(list(patient_means(differences, patients).values()), np.float64))
    p_value = _p_value(by_patient, test, resamples, seed) if by_patient.size >= 2 else math.nan
    left_out = tuple(sorted(case for case, difference in differences.items() if math.isnan(difference)))
    return PairedComparison(interval, p_value, test, left_out)


def _p_value(
    differences: np.ndarray[tuple[int], np.dtype[np.float64]], test: PairedTest, resamples: int, seed: int
) -> float:
    if not differences.any():
        return 1.0  # nothing to rank
    if test == "wilcoxon":
        return float(stats.wilcoxon(differences, zero_method="pratt").pvalue)
    # One sample of differences: SciPy swaps a pair by turning the sign of its difference.
    found = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, 2_000_000 // differences.size),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
