"""Cells packed wall to wall: where the phantom's cells are, before anything is drawn.

Ellipses and chains of ellipses of widely differing size are thrown into the plane, large ones first, until no gap is
left; each pixel then belongs to the ellipse that is nearest in units of its own radii, seen through a wavy warp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .integer_fields import DIRECTIONS, Field, RawStream, cosine_q10, root_q8, sine_q10, smooth_noise_q8

_BORDER_PX: Final = 48  # cells are thrown this far beyond the slice, so that its border cuts them as a knife would
_PITCH_PX: Final = 4  # grid on which the throwing looks for gaps
_WIDEST_GAP_PX: Final = 9  # a gap of this clearance is left to the cells around it
_FARTHEST_PX: Final = 80  # clearances past this are all the same: the largest cell asks for less

# An ellipse claims no pixel farther than this from its centre, and from its edge. As no place is left that is 10 px
# clear of every ellipse, and none is thinner than 7 px or three times as long as wide, every pixel is claimed.
_REACH_RADII: Final = 3
_REACH_PX: Final = 48


@dataclass(frozen=True)
class Ellipse:
    """One ellipse of a cell, in 1/16 px; the centre counts from the corner of the slice and may lie outside."""

    row_q4: int
    column_q4: int
    along_q4: int
    across_q4: int
    direction: int
    cell: int

    def square_radius_q16(self, row_q4: Field, column_q4: Field) -> Field:
        """Return the squared distance from the centre in units of the radii: 65536 on the ellipse itself."""
        down, right = row_q4 - self.row_q4, column_q4 - self.column_q4
        sine, cosine = sine_q10(self.direction) << 16, cosine_q10(self.direction) << 16
        along = (right * (cosine // self.along_q4) + down * (sine // self.along_q4)) >> 18
        across = (down * (cosine // self.across_q4) - right * (sine // self.across_q4)) >> 18
        return along * along + across * across


def grow_cells(stream: RawStream, side_px: int) -> Field:
    """Return which cell each pixel belongs to, as numbers from 1; no pixel is left over.

    Args:
        stream: Where the randomness comes from.
        side_px: Side of the square slice, in pixels.
    """
    ellipses = _throw(stream, side_px)
    warp_row_q4 = _warp_q4(stream, side_px)
    warp_column_q4 = _warp_q4(stream, side_px)
    slack_px = 1 + int(np.maximum(abs(warp_row_q4), abs(warp_column_q4)).max()) // 16
    pixel_q4 = 16 * np.arange(side_px, dtype=np.int64)
    row_q4, column_q4 = warp_row_q4 + pixel_q4[:, None], warp_column_q4 + pixel_q4[None, :]

    nearest = np.full((side_px, side_px), np.iinfo(np.int64).max, dtype=np.int64)
    cells = np.zeros((side_px, side_px), dtype=np.int64)
    for ellipse in ellipses:
        radius_px = max(ellipse.along_q4, ellipse.across_q4) // 16
        reach_px = min(_REACH_RADII * radius_px, radius_px + _REACH_PX) + slack_px
        window = tuple(
            slice(max(centre // 16 - reach_px, 0), max(centre // 16 + reach_px + 1, 0))
            for centre in (ellipse.row_q4, ellipse.column_q4)
        )
        square = ellipse.square_radius_q16(row_q4[window], column_q4[window])
        is_nearer = square < nearest[window]
        np.copyto(nearest[window], square, where=is_nearer)
        np.copyto(cells[window], ellipse.cell, where=is_nearer)
    return cells


def _warp_q4(stream: RawStream, side_px: int) -> Field:
    """Return a wavy displacement in 1/16 px, at most half the border on either side."""
    shape = (side_px, side_px)
    wide = smooth_noise_q8(stream, shape, radius_px=24, pitch_px=8)
    narrow = smooth_noise_q8(stream, shape, radius_px=8, pitch_px=4)
    fine = smooth_noise_q8(stream, shape, radius_px=4, pitch_px=2)
    warp_q4 = (wide * 7 * 16 + narrow * 42 + fine * 15) >> 8
    limit_q4 = 16 * _BORDER_PX // 2
    return np.asarray(np.clip(warp_q4, -limit_q4, limit_q4))


class _Gaps:
    """How far every point of a grid is from the ellipses thrown so far."""

    def __init__(self, side_px: int) -> None:
        self._low_px = -_BORDER_PX
        self._points_q4 = 16 * np.arange(self._low_px, side_px + _BORDER_PX, _PITCH_PX, dtype=np.int64)
        self.shape = (len(self._points_q4), len(self._points_q4))
        self._clearance_px = np.full(self.shape, _FARTHEST_PX, dtype=np.int64)

    def grid_point(self, row_q4: int, column_q4: int) -> tuple[int, int]:
        """Return the grid point nearest to a place, given in 1/16 px."""
        last = len(self._points_q4) - 1
        row, column = ((at // 16 - self._low_px) // _PITCH_PX for at in (row_q4, column_q4))
        return min(max(row, 0), last), min(max(column, 0), last)

    def clearance_px(self, row_q4: int, column_q4: int) -> int:
        """Return how far a place is from all ellipses, in pixels; negative inside of one."""
        return int(self._clearance_px[self.grid_point(row_q4, column_q4)])

    def fill(self, ellipse: Ellipse) -> None:
        """Take an ellipse into account."""
        reach_px = max(ellipse.along_q4, ellipse.across_q4) // 16 + _FARTHEST_PX
        window = tuple(
            slice(
                max((centre // 16 - reach_px - self._low_px) // _PITCH_PX, 0),
                (centre // 16 + reach_px - self._low_px) // _PITCH_PX + 2,
            )
            for centre in (ellipse.row_q4, ellipse.column_q4)
        )
        rows_q4, columns_q4 = (self._points_q4[side] for side in window)
        square = ellipse.square_radius_q16(rows_q4[:, None], columns_q4[None, :])
        mean_radius_q4 = (ellipse.along_q4 + ellipse.across_q4) // 2
        clearance_px = ((root_q8(square >> 8) - 256) * mean_radius_q4) >> 12
        np.minimum(self._clearance_px[window], clearance_px, out=self._clearance_px[window])

    def somewhere_at_least(self, stream: RawStream, clearance_px: int) -> tuple[int, int] | None:
        """Return a random grid point with that clearance, in 1/16 px, or None if there is none left."""
        places = np.flatnonzero(self._clearance_px >= clearance_px)
        if len(places) == 0:
            return None
        row, column = divmod(int(places[stream.integer(0, len(places))]), len(self._points_q4))
        return int(self._points_q4[row]), int(self._points_q4[column])


def _throw(stream: RawStream, side_px: int) -> list[Ellipse]:
    """Return the ellipses of all cells: large bodies, then winding processes, then whatever the gaps hold."""
    gaps = _Gaps(side_px)
    fibres = smooth_noise_q8(stream, gaps.shape, radius_px=12, pitch_px=2)
    ellipses: list[Ellipse] = []
    cell = 0

    def some_direction(place: tuple[int, int]) -> int:
        """Return the direction that fibres run in about a place, with some scatter."""
        return int(fibres[gaps.grid_point(*place)]) * DIRECTIONS // 8 // 256 + stream.integer(-4, 5)

    for count, radii_px in ((stream.integer(2, 5), (55, 95)), (stream.integer(18, 32), (24, 46))):
        for _ in range(count):
            radius_px = stream.integer(*radii_px)
            place = gaps.somewhere_at_least(stream, radius_px * 3 // 4)
            if place is None:
                continue
            cell += 1
            along_px = radius_px * stream.integer(16, 26) // 16
            across_px = radius_px * radius_px // along_px
            ellipses.append(Ellipse(*place, 16 * along_px, 16 * across_px, some_direction(place), cell))
            gaps.fill(ellipses[-1])

    for _ in range(stream.integer(12, 28)):
        radius_px = stream.integer(7, 17)
        place = gaps.somewhere_at_least(stream, radius_px)
        if place is None:
            continue
        cell += 1
        beads = [
            Ellipse(row_q4, column_q4, 20 * radius_px, 16 * radius_px, direction, cell)
            for row_q4, column_q4, direction in _winding(stream, gaps, place, radius_px, some_direction(place))
        ]
        for bead in beads:
            gaps.fill(bead)
        ellipses += beads

    for radius_px in range(22, _WIDEST_GAP_PX, -1):
        while (place := gaps.somewhere_at_least(stream, radius_px)) is not None:
            cell += 1
            # One in three stays smaller than its gap, so that small profiles come in groups.
            across_px = max(radius_px * 2 // 3, 7) if stream.is_one_in(3) else radius_px
            along_px = across_px * stream.integer(16, 24) // 16
            ellipses.append(Ellipse(*place, 16 * along_px, 16 * across_px, some_direction(place), cell))
            gaps.fill(ellipses[-1])
    return ellipses


def _winding(
    stream: RawStream, gaps: _Gaps, start: tuple[int, int], radius_px: int, direction: int
) -> list[tuple[int, int, int]]:
    """Return the places along a winding process, in 1/16 px, and its direction there; it ends where room ends."""
    places = [(*start, direction)]
    for way in (0, DIRECTIONS // 2):
        row_q4, column_q4 = start
        heading = direction + way
        for _ in range(stream.integer(1, 8)):
            heading += stream.integer(-4, 5)
            row_q4 += radius_px * sine_q10(heading) >> 6
            column_q4 += radius_px * cosine_q10(heading) >> 6
            if gaps.clearance_px(row_q4, column_q4) < radius_px * 3 // 4:
                break
            places.append((row_q4, column_q4, heading))
    return places
