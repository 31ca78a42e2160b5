"""Integer fields against slow loops, SciPy and the functions that the look-up tables stand for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from pipeline.data import integer_fields as fields
from pipeline.data.integer_fields import RawStream


def test_sines_and_cosines_of_all_directions_are_right_to_half_a_unit():
    for direction in range(-64, 128):
        angle = 2 * math.pi * direction / fields.DIRECTIONS
        assert abs(fields.sine_q10(direction) - 1024 * math.sin(angle)) <= 0.51
        assert abs(fields.cosine_q10(direction) - 1024 * math.cos(angle)) <= 0.51


def test_bell_falls_as_the_exponential_does():
    square = np.arange(0, 400, dtype=np.int64)
    bell = fields.bell_q16(square, 64)
    assert bell[0] == 65536
    np.testing.assert_allclose(bell / 65536, np.exp(-square / 64), atol=0.032)
    assert fields.bell_q16(np.array([10**9]), 1)[0] == 0


def test_roots_are_cut_to_the_integer_below():
    squares = np.arange(4096, dtype=np.int64)
    np.testing.assert_array_equal(fields.root_q4(squares), [math.isqrt(256 * int(square)) for square in squares])
    np.testing.assert_array_equal(fields.root_q8(np.array([0, 256, 1024, 10**6])), [0, 256, 512, 2047])


@pytest.mark.parametrize("radius_px", [0, 1, 2, 5])
def test_box_sum_equals_a_loop(radius_px: int):
    field = RawStream(1, radius_px).bells(13, 17)
    rows, columns = 13 - 2 * radius_px, 17 - 2 * radius_px
    slow = [
        [field[r : r + 2 * radius_px + 1, c : c + 2 * radius_px + 1].sum() for c in range(columns)] for r in range(rows)
    ]
    np.testing.assert_array_equal(fields.box_sum(field, radius_px), slow)


def test_binomial_sum_equals_scipy():
    field = RawStream(1, 0).bells(13, 17)
    weights = np.outer([1, 2, 1], [1, 2, 1])
    np.testing.assert_array_equal(fields.binomial_sum(field), ndimage.correlate(field, weights)[1:-1, 1:-1])


@pytest.mark.parametrize("shape", [(40, 40), (9, 31), (33, 5)], ids=str)
@pytest.mark.parametrize("cap_px", [1, 4, 12])
def test_square_distance_equals_scipy_up_to_the_cap(shape: tuple[int, int], cap_px: int):
    target = RawStream(3, cap_px).integers(0, 60, shape[0] * shape[1]).reshape(shape) == 0
    target[0, 0] = True
    exact = np.rint(ndimage.distance_transform_edt(~target) ** 2)
    np.testing.assert_array_equal(fields.capped_square_distance(target, cap_px), np.minimum(exact, cap_px**2))


def test_square_distance_to_nothing_is_the_cap_everywhere():
    nothing = np.zeros((5, 7), dtype=np.bool_)
    assert (fields.capped_square_distance(nothing, 3) == 9).all()


@pytest.mark.parametrize(("radius_px", "pitch_px"), [(1, 1), (8, 4), (64, 16)])
def test_smooth_noise_has_mean_0_and_standard_deviation_1(radius_px: int, pitch_px: int):
    draws = [
        fields.smooth_noise_q8(RawStream(5, index), (256, 200), radius_px=radius_px, pitch_px=pitch_px)
        for index in range(30)
    ]
    assert {draw.shape for draw in draws} == {(256, 200)}
    assert abs(np.mean(draws)) < 0.25 * 256
    assert 0.85 * 256 < np.std(draws) < 1.15 * 256


def test_bells_are_nearly_normal():
    bells = RawStream(7, 0).bells(300, 300) / 209
    assert abs(bells.mean()) < 0.02
    assert abs(bells.std() - 1) < 0.02
    assert abs((np.abs(bells) < 1).mean() - 0.683) < 0.01


def test_integers_fill_their_range_evenly():
    counts = np.bincount(RawStream(9, 0).integers(3, 13, 20_000), minlength=13)
    assert counts[:3].sum() == 0
    assert counts.size == 13
    assert (np.abs(counts[3:] - 2000) < 200).all()


def test_the_raw_stream_of_seed_2015_begins_with_these_numbers():
    stream = RawStream(2015, 0)
    assert stream.integers(0, 1_000_000, 4).tolist() == [504072, 222395, 771427, 967279]
    assert stream.bells(1, 4).tolist() == [[12, -374, -63, -7]]
