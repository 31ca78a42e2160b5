"""Calibration: whether what a network calls 80 % probable is there in 80 % of the pixels.

One class against the rest. For the calibration of the winning class, give its probability and whether it was right.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..errors import ConfigError, LabelError
from .score_inputs import checked_mask, checked_probability


@dataclass(frozen=True)
class Calibration:
    """Reliability bins of equal width over [0, 1]: a bin holds its upper edge but not its lower one, the first both.

    Attributes:
        counts: Pixels in each bin.
        probability_sums: Sum of their probabilities.
        positives: How many of them are in the truth.
    """

    counts: tuple[int, ...]
    probability_sums: tuple[float, ...]
    positives: tuple[int, ...]

    @property
    def edges(self) -> tuple[float, ...]:
        """Edges of the bins, one more than there are bins."""
        return tuple(np.linspace(0.0, 1.0, len(self.counts) + 1).tolist())

    @property
    def mean_probability(self) -> tuple[float, ...]:
        """Mean probability in each bin, NaN in an empty one."""
        return tuple(map(_ratio, self.probability_sums, self.counts))

    @property
    def positive_fraction(self) -> tuple[float, ...]:
        """Share of each bin that is in the truth, NaN in an empty one."""
        return tuple(map(_ratio, self.positives, self.counts))

    @property
    def expected_calibration_error(self) -> float:
        """Mean over the pixels of the distance between the two in their bin; 0 is perfect."""
        gaps = (abs(total - positives) for total, positives in zip(self.probability_sums, self.positives, strict=True))
        return math.fsum(gaps) / sum(self.counts)

    @property
    def maximum_calibration_error(self) -> float:
        """The greatest of these distances over the bins that are not empty."""
        pairs = zip(self.mean_probability, self.positive_fraction, self.counts, strict=True)
        return max(abs(mean - fraction) for mean, fraction, count in pairs if count)


def calibration(probability: ArrayLike, truth: ArrayLike, bins: int = 10) -> Calibration:
    """Bin the probabilities of one image.

    Args:
        probability: Any number of axes, from 0 to 1: of the class at each pixel.
        truth: Mask on the same grid, bool or 0 and 1.
        bins: Number of bins.

    Raises:
        ImageError: If there is no probability, or one is outside [0, 1] or not a number.
        LabelError: If the shapes differ, or the truth holds another value.
        ConfigError: If there is no bin.

    Source:
        Naeini et al.: Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015; Guo et al.: On
        calibration of modern neural networks, ICML 2017.
    """
    if bins < 1:
        raise ConfigError(f"bins must be at least 1, got {bins}")
    values = checked_probability(probability)
    if values.shape != np.shape(truth):
        raise LabelError(f"truth is {np.shape(truth)} but probability is {values.shape}; bring both to one grid first")
    is_true = checked_mask(truth, "truth").ravel()
    edges = np.linspace(0.0, 1.0, bins + 1)
    flat = values.ravel()
    of_bin = np.searchsorted(edges[1:-1], flat)
    return Calibration(
        tuple(np.bincount(of_bin, minlength=bins).tolist()),
        tuple(np.bincount(of_bin, weights=flat, minlength=bins).tolist()),
        tuple(np.bincount(of_bin[is_true], minlength=bins).tolist()),
    )


def pooled_calibration(parts: Iterable[Calibration]) -> Calibration:
    """Return the calibration over the pixels of several images.

    Raises:
        ConfigError: If there is none, or their numbers of bins differ.
    """
    parts = list(parts)
    bins = {len(part.counts) for part in parts}
    if len(bins) != 1:
        raise ConfigError(f"calibrations can be pooled with the same number of bins; got {sorted(bins) or 'none'}")
    return Calibration(
        tuple(map(sum, zip(*(part.counts for part in parts), strict=True))),
        tuple(map(math.fsum, zip(*(part.probability_sums for part in parts), strict=True))),
        tuple(map(sum, zip(*(part.positives for part in parts), strict=True))),
    )


def _ratio(total: float, count: int) -> float:
    return total / count if count else math.nan
