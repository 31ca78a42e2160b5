"""Random fields, blurs and distances in integer arithmetic: the same numbers on every machine and library version.

Randomness comes from `PCG64.random_raw` alone, the stream that NumPy promises to keep. A field is an int64 array of one
slice in (row, column) order; `*_q4`, `*_q8` and `*_q16` count in 1/16, 1/256 and 1/65536.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Field: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

ONE_Q8: Final = 256
ONE_Q16: Final = 65536

# 1024 times the sine of 0, 1, ... 16 sixteenths of a right angle.
_QUARTER_SINE: Final = (0, 100, 200, 297, 392, 483, 569, 650, 724, 792, 851, 903, 946, 980, 1004, 1019, 1024)
DIRECTIONS: Final = 64
"""Directions in a full turn: an angle is a whole number of these steps."""

_BELL_STEPS: Final = 32
# 65536 * exp(-1 / 32): one step down the bell curve.
_BELL_STEP_FACTOR_Q16: Final = 63520

_EVEN_OCTETS: Final = np.uint64(0x00FF_00FF_00FF_00FF)
_FOUR_ONES: Final = np.uint64(0x0001_0001_0001_0001)
_OCTET_BITS: Final = np.uint64(8)
_TOP_BITS: Final = np.uint64(48)


class RawStream:
    """Random integers from one PCG64 bit stream, drawn in a fixed order."""

    def __init__(self, seed: int, index: int) -> None:
        """Open the stream of one slice.

        Args:
            seed: Seed of the whole set, at least 0.
            index: Number of the slice; every slice has a stream of its own.
        """
        self._bits = np.random.PCG64([seed, index])

    def integers(self, low: int, high: int, count: int) -> Field:
        """Return `count` integers in `low..high - 1`, evenly spread."""
        high_words = (self._bits.random_raw(count) >> np.uint64(32)).astype(np.int64)
        return low + ((high_words * (high - low)) >> 32)

    def integer(self, low: int, high: int) -> int:
        """Return one integer in `low..high - 1`."""
        return int(self.integers(low, high, 1)[0])

    def is_one_in(self, chances: int) -> bool:
        """Return True once in `chances` calls, on average."""
        return self.integer(0, chances) == 0

    def bells(self, rows: int, columns: int) -> Field:
        """Return a `(rows, columns)` field of independent, nearly normal values: mean 0, standard deviation 209."""
        words = self._bits.random_raw(rows * columns)
        pairs = (words & _EVEN_OCTETS) + ((words >> _OCTET_BITS) & _EVEN_OCTETS)
        sums = (pairs * _FOUR_ONES) >> _TOP_BITS  # the four pairs add up in the top 16 bits
        return sums.astype(np.int64).reshape(rows, columns) - 1020


def sine_q10(direction: int) -> int:
    """Return 1024 times the sine of an angle given in steps of a 64th of a turn."""
    quadrant, step = divmod(direction % DIRECTIONS, 16)
    value = _QUARTER_SINE[step] if quadrant % 2 == 0 else _QUARTER_SINE[16 - step]
    return value if quadrant < 2 else -value


def cosine_q10(direction: int) -> int:
    """Return 1024 times the cosine of an angle given in steps of a 64th of a turn."""
    return sine_q10(direction + 16)


def _bell_table() -> Field:
    table = [ONE_Q16]
    while table[-1] > 0 and len(table) < 12 * _BELL_STEPS:
        table.append((table[-1] * _BELL_STEP_FACTOR_Q16) >> 16)
    return np.array([*table, 0], dtype=np.int64)


_BELL_Q16: Final = _bell_table()
_ROOT_TABLE_Q4: Final = np.array([math.isqrt(value << 8) for value in range(1 << 12)], dtype=np.int64)
_ROOT_TABLE_Q8: Final = np.array([math.isqrt(value << 8) for value in range(1 << 14)], dtype=np.int64)


def bell_q16(square: Field, scale: int | Field) -> Field:
    """Return `65536 * exp(-square / scale)`, for squares of at least 0 and scales above 0."""
    step: Field = np.minimum((square * _BELL_STEPS) // scale, len(_BELL_Q16) - 1)
    return _BELL_Q16[step]


def root_q8(square_q8: Field) -> Field:
    """Return 256 times the square root of `square_q8 / 256`; the root is cut off at 8."""
    return _ROOT_TABLE_Q8[np.minimum(square_q8, len(_ROOT_TABLE_Q8) - 1)]


def root_q4(square: Field) -> Field:
    """Return 16 times the square root of integers below 4096."""
    return _ROOT_TABLE_Q4[square]


def box_sum(field: Field, radius_px: int) -> Field:
    """Return the sum over the square of side `2 * radius_px + 1` about each pixel that has the whole of it."""
    side = 2 * radius_px + 1
    for _ in range(2):
        total = np.cumsum(field, axis=0)
        rows = total[side - 1 :].copy()
        rows[1:] -= total[:-side]
        field = rows.T
    return field


def binomial_sum(field: Field) -> Field:
    """Return 16 times the mean of each pixel's 3 by 3 neighbourhood, weighted 1 2 1 along either axis.

    Unlike a box this leaves no weave at the finest spacing. The border is lost: the result is 2 px smaller.
    """
    rows: Field = field[:-2] + 2 * field[1:-1] + field[2:]
    blurred: Field = rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]
    return blurred


def smooth_noise_q8(stream: RawStream, shape: Sequence[int], *, radius_px: int, pitch_px: int = 1) -> Field:
    """Return a random field of mean 0 and standard deviation 1 (256 in units of the result).

    White noise on a grid of `pitch_px` goes through three box sums, which is nearly a Gaussian blur, and is read off at
    every pixel by linear interpolation.

    Args:
        stream: Where the noise comes from.
        shape: Rows and columns of the result, in pixels.
        radius_px: Radius of each box, in pixels: a multiple of `pitch_px`.
        pitch_px: Spacing of the grid; a coarse one makes wide fields cheap.
    """
    radius = radius_px // pitch_px
    rows, columns = (-(-side // pitch_px) + 1 for side in shape)
    field = stream.bells(rows + 6 * radius, columns + 6 * radius)
    for _ in range(3):
        field = box_sum(field, radius) // (2 * radius + 1)  # keeps the squares below far from 2^63
    mean_square = int((field * field).sum()) // field.size
    field = (field * ONE_Q8) // max(math.isqrt(mean_square), 1)
    if pitch_px > 1:
        field = _between_rows(_between_rows(field, pitch_px).T, pitch_px).T
    return np.ascontiguousarray(field[: shape[0], : shape[1]])


def _between_rows(field: Field, pitch_px: int) -> Field:
    """Return the field at every pixel row, from rows `pitch_px` apart."""
    step = np.arange(pitch_px, dtype=np.int64)[None, :, None]
    mixed = (field[1:, None, :] - field[:-1, None, :]) * step
    mixed //= pitch_px
    mixed += field[:-1, None, :]
    return mixed.reshape(-1, field.shape[1])


def capped_square_distance(target: Mask, cap_px: int) -> Field:
    """Return the squared distance of each pixel to the nearest True one, up to the square of `cap_px`.

    Args:
        target: `(H, W)` mask; all False gives the square of the cap everywhere.
        cap_px: Largest distance of interest, in pixels.
    """
    far = cap_px * cap_px
    along = np.where(target, 0, far).astype(np.int64)
    for axis in (0, 1):
        best = along.copy()
        for step in range(1, cap_px):
            ahead, behind = _shifted(along, step, axis)
            square = step * step
            np.minimum(best[ahead], along[behind] + square, out=best[ahead])
            np.minimum(best[behind], along[ahead] + square, out=best[behind])
        along = best
    return along


def _shifted(field: Field, step: int, axis: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the two views of a field that lie `step` pixels apart along an axis."""
    near, away = slice(None, -step), slice(step, None)
    whole = slice(None)
    return ((near, whole), (away, whole)) if axis == 0 else ((whole, near), (whole, away))
