"""Reliability bins and expected calibration error: worked values, scikit-learn, laws over random probabilities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from pipeline.errors import ConfigError, ImageError, LabelError
from pipeline.metrics import calibration, pooled_calibration


def test_values_worked_by_hand() -> None:
    found = calibration([[0.0, 0.1, 0.5], [0.9, 1.0, 0.8]], [[0, 1, 0], [1, 1, 0]], bins=2)
    # 0, 0.1 and 0.5 in the first bin, an edge belongs to the bin below it.
    assert found.counts == (3, 3)
    assert found.edges == (0, 0.5, 1)
    assert found.mean_probability == pytest.approx((0.2, 0.9))
    assert found.positive_fraction == pytest.approx((1 / 3, 2 / 3))
    assert found.expected_calibration_error == pytest.approx((0.4 + 0.7) / 6)
    assert found.maximum_calibration_error == pytest.approx(0.9 - 2 / 3)


def test_an_empty_bin_has_no_mean_and_no_weight() -> None:
    found = calibration([0.05, 0.95], [0, 1], bins=10)
    assert found.counts == (1, *(0,) * 8, 1)
    assert math.isnan(found.mean_probability[4])
    assert math.isnan(found.positive_fraction[4])
    assert found.expected_calibration_error == pytest.approx(0.05)
    assert found.maximum_calibration_error == pytest.approx(0.05)


@pytest.mark.parametrize("bins", [1, 7, 10])
def test_random_probabilities_equal_scikit_learn(bins: int) -> None:
    random = np.random.default_rng(bins)
    for probability in (random.random(500), random.integers(0, 11, 500) / 10, random.beta(0.2, 0.2, 500)):
        truth = random.random(500) < probability**2
        found = calibration(probability.reshape(20, 25), truth.reshape(20, 25), bins)
        fraction, mean = calibration_curve(truth, probability, n_bins=bins)
        filled = np.array(found.counts) > 0
        assert np.array(found.positive_fraction)[filled] == pytest.approx(fraction)
        assert np.array(found.mean_probability)[filled] == pytest.approx(mean)
        weights = np.array(found.counts)[filled] / 500
        assert found.expected_calibration_error == pytest.approx(weights @ np.abs(fraction - mean))


def test_probabilities_that_are_right_have_a_small_error_and_overconfident_ones_a_large_one() -> None:
    random = np.random.default_rng(0)
    probability = random.random(100_000)
    truth = random.random(100_000) < probability
    assert calibration(probability, truth).expected_calibration_error < 0.01
    confident = np.where(probability > 0.5, 0.99, 0.01)
    assert calibration(confident, truth).expected_calibration_error == pytest.approx(0.24, abs=0.01)


def test_pooled_images_are_one_image() -> None:
    random = np.random.default_rng(3)
    probability = random.random((3, 8, 9))
    truth = random.random((3, 8, 9)) < 0.4
    parts = [calibration(*pair) for pair in zip(probability, truth, strict=True)]
    whole, pooled = calibration(probability, truth), pooled_calibration(parts)
    assert pooled.counts == whole.counts
    assert pooled.positives == whole.positives
    assert pooled.probability_sums == pytest.approx(whole.probability_sums)
    assert pooled == pooled_calibration(parts[::-1])


def test_what_cannot_be_binned_is_refused() -> None:
    with pytest.raises(ImageError, match=r"probability holds values from -0\.5 to 1"):
        calibration([-0.5, 1.0], [0, 1])
    with pytest.raises(ImageError, match=r"probability holds values from 0\.5 to 1\.5; expected 0 to 1; apply the act"):
        calibration([0.5, 1.5], [0, 1])
    with pytest.raises(ImageError, match="not a number"):
        calibration([0.5, math.nan], [0, 1])
    with pytest.raises(ImageError, match=r"shape \(0,\)"):
        calibration([], [])
    with pytest.raises(LabelError, match=r"truth is \(3,\) but probability is \(2,\)"):
        calibration([0.5, 1.0], [0, 1, 1])
    with pytest.raises(LabelError, match=r"truth holds the values \[2\]"):
        calibration([0.5, 1.0], [0, 2])
    with pytest.raises(ConfigError, match="bins must be at least 1"):
        calibration([0.5], [1], bins=0)
    with pytest.raises(ConfigError, match="same number of bins; got none"):
        pooled_calibration([])
    with pytest.raises(ConfigError, match=r"same number of bins; got \[2, 3\]"):
        pooled_calibration([calibration([0.5], [1], bins=bins) for bins in (2, 3)])
