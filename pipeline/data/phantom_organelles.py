"""What lies inside the phantom's cells and looks like membrane: mitochondria, vesicles, tubules, dark bodies.

Everything is drawn as ink on two canvases, one that darkens and one that brightens, from 0 (untouched) to 65536.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from .integer_fields import (
    DIRECTIONS,
    Field,
    RawStream,
    bell_q16,
    capped_square_distance,
    cosine_q10,
    root_q4,
    sine_q10,
    smooth_noise_q8,
)
from .phantom_tissue import Ellipse

_PAD_PX: Final = 16  # room around the canvas, so that no stamp has to be cut at the border
_ROOM_PITCH_PX: Final = 4  # grid on which mitochondria look for room,
_ROOM_CAP: Final = 16  # up to this many grid steps away
_KINDS: Final = 64  # vesicles and dots are drawn once in so many shapes, then stamped many times


@dataclass(frozen=True)
class Ink:
    """What organelles do to the cytoplasm: `(H, W)` fields from 0 to 65536."""

    dark_q16: Field
    bright_q16: Field


class _Canvas:
    """A slice with room around it, on which stamps keep the strongest ink."""

    def __init__(self, side_px: int) -> None:
        self._side_px = side_px
        self._ink_q16 = np.zeros((side_px + 2 * _PAD_PX, side_px + 2 * _PAD_PX), dtype=np.int64)

    def stamp(self, row: int, column: int, shape_q16: Field) -> None:
        """Put a stamp, at most 33 px wide, on a pixel of the slice."""
        reach = len(shape_q16) // 2
        top, left = row + _PAD_PX - reach, column + _PAD_PX - reach
        window = self._ink_q16[top : top + len(shape_q16), left : left + len(shape_q16)]
        np.maximum(window, shape_q16, out=window)

    def ink_q16(self) -> Field:
        """Return the ink on the slice."""
        return self._ink_q16[_PAD_PX : _PAD_PX + self._side_px, _PAD_PX : _PAD_PX + self._side_px]


def draw_organelles(stream: RawStream, cells: Field, square_distance: Field) -> Ink:
    """Return the ink of all organelles of a slice; none touches a membrane.

    Args:
        stream: Where the randomness comes from.
        cells: `(H, W)` numbers of the cells.
        square_distance: `(H, W)` squared distance to the line between cells, in px², capped.
    """
    side_px = len(cells)
    dark, bright = _Canvas(side_px), _Canvas(side_px)
    _draw_vesicles(stream, cells, square_distance, dark, bright)
    _draw_tubules(stream, square_distance, dark)
    _draw_bodies(stream, square_distance, dark, bright)
    is_clear = square_distance >= 9
    dark_q16 = np.where(is_clear, dark.ink_q16(), 0)
    bright_q16 = np.where(is_clear, bright.ink_q16(), 0)
    _draw_mitochondria(stream, cells, square_distance, dark_q16, bright_q16)
    return Ink(dark_q16, bright_q16)


def draw_smudges(stream: RawStream, square_distance: Field) -> Field:
    """Return the dark ink of the synapses: soft smudges on a few membranes, from 0 to 65536.

    Args:
        stream: Where the randomness comes from.
        square_distance: `(H, W)` squared distance to the line between cells, in px², capped.
    """
    side_px = len(square_distance)
    canvas = _Canvas(side_px)
    lines = np.flatnonzero(square_distance == 0)
    for _ in range(stream.integer(5, 16)):
        middle = divmod(int(lines[stream.integer(0, len(lines))]), side_px)
        strength_q8 = stream.integer(90, 190)
        for _ in range(stream.integer(2, 7)):
            row, column = (min(max(at + stream.integer(-8, 9), 0), side_px - 1) for at in middle)
            canvas.stamp(row, column, _some_disc_q16(stream, (16, 72), (1200, 6000), strength_q8))
    return canvas.ink_q16()


def _some_disc_q16(stream: RawStream, radii_q4: tuple[int, int], scales_q8: tuple[int, int], strength_q8: int) -> Field:
    """Return a stamp of a disc of random size and softness, up to twice as long as wide."""
    radius_q4, scale_q8 = stream.integer(*radii_q4), stream.integer(*scales_q8)
    stretch_q4, direction = stream.integer(16, 23), stream.integer(0, DIRECTIONS)
    return _disc_q16(radius_q4, scale_q8, strength_q8, stretch_q4=stretch_q4, direction=direction)


def _ring_q16(radius_q4: int, scale_q8: int, strength_q8: int, *, stretch_q4: int = 16, direction: int = 0) -> Field:
    """Return a stamp of a ring, or of a soft dot if the radius is 0.

    Args:
        radius_q4: Radius of the ring, in 1/16 px.
        scale_q8: Twice the variance of the line's bell profile, in 1/256 px².
        strength_q8: Ink in the middle of the line; 256 is full.
        stretch_q4: How much longer than wide the ring is; 16 is round.
        direction: Direction of the long side.
    """
    off_q4 = _radius_q4(radius_q4, stretch_q4, direction) - radius_q4
    return bell_q16(off_q4 * off_q4, scale_q8) * strength_q8 >> 8


def _disc_q16(radius_q4: int, scale_q8: int, strength_q8: int, *, stretch_q4: int = 16, direction: int = 0) -> Field:
    """Return a stamp of a filled disc with a soft edge; arguments as for a ring."""
    off_q4 = np.maximum(_radius_q4(radius_q4, stretch_q4, direction) - radius_q4, 0)
    return bell_q16(off_q4 * off_q4, scale_q8) * strength_q8 >> 8


def _radius_q4(radius_q4: int, stretch_q4: int, direction: int) -> Field:
    """Return the distance from the middle of a stamp, in 1/16 px, shrunk along one direction and grown across it."""
    reach_px = min(radius_q4 * stretch_q4 // 256 + 8, _PAD_PX)
    step_q4 = 16 * np.arange(-reach_px, reach_px + 1, dtype=np.int64)
    unit = Ellipse(0, 0, 16 * stretch_q4, 16 * 256 // stretch_q4, direction, 0)
    square_q16 = unit.square_radius_q16(step_q4[:, None], step_q4[None, :])  # 65536 at 16 px
    return root_q4(np.minimum(square_q16 >> 8, 4095))


def _places(stream: RawStream, square_distance: Field, tries: int, room_px: int) -> tuple[list[int], list[int]]:
    """Return rows and columns of those of `tries` random pixels that are `room_px` away from any line between cells."""
    side_px = len(square_distance)
    rows, columns = stream.integers(0, side_px, tries), stream.integers(0, side_px, tries)
    has_room = square_distance[rows, columns] >= room_px * room_px
    return rows[has_room].tolist(), columns[has_room].tolist()


def _draw_vesicles(stream: RawStream, cells: Field, square_distance: Field, dark: _Canvas, bright: _Canvas) -> None:
    """Draw small rings, few in most cells and crowded in some."""
    crowding = stream.integers(0, 100, int(cells.max()) + 1)
    chance = np.where(crowding < 40, 12, np.where(crowding < 75, 40, 110))
    clump = smooth_noise_q8(stream, cells.shape, radius_px=8, pitch_px=4)
    rings, lumens = [], []
    for _ in range(_KINDS):
        radius_q4, strength_q8 = stream.integer(22, 66), stream.integer(80, 235)
        stretch_q4, direction = stream.integer(16, 23), stream.integer(0, DIRECTIONS)
        rings.append(_ring_q16(radius_q4, 300, strength_q8, stretch_q4=stretch_q4, direction=direction))
        lumens.append(_disc_q16(max(radius_q4 - 28, 0), 256, stream.integer(0, 130)))
    rows, columns = _places(stream, square_distance, 4500, 6)
    kinds = stream.integers(0, _KINDS, len(rows)).tolist()
    lots = stream.integers(0, 256, len(rows)).tolist()
    for row, column, kind, lot in zip(rows, columns, kinds, lots, strict=True):
        if lot * 100 < (110 + int(clump[row, column])) * int(chance[cells[row, column]]):
            dark.stamp(row, column, rings[kind])
            bright.stamp(row, column, lumens[kind])


def _draw_tubules(stream: RawStream, square_distance: Field, dark: _Canvas) -> None:
    """Draw microtubules, single short lines, and reticulum, longer lines in pairs."""
    rows, columns = _places(stream, square_distance, 260, 6)
    for number, (row, column) in enumerate(zip(rows, columns, strict=True)):
        is_pair = number % 4 == 0
        heading = stream.integer(0, DIRECTIONS)
        length_px = stream.integer(12, 44) if is_pair else stream.integer(5, 20)
        dot = _ring_q16(0, stream.integer(330, 620), stream.integer(110, 230))
        turns = stream.integers(-1, 2, length_px).tolist()
        row_q10, column_q10 = row << 10, column << 10
        for turn in turns:
            heading += turn
            sine, cosine = sine_q10(heading), cosine_q10(heading)
            row_q10, column_q10 = row_q10 + sine, column_q10 + cosine
            middle = (row_q10 >> 10, column_q10 >> 10)
            if not all(0 <= at < len(square_distance) for at in middle) or square_distance[middle] < 30:
                break
            for side_px in (-2, 2) if is_pair else (0,):
                dark.stamp((row_q10 + side_px * cosine) >> 10, (column_q10 - side_px * sine) >> 10, dot)


def _draw_bodies(stream: RawStream, square_distance: Field, dark: _Canvas, bright: _Canvas) -> None:
    """Draw many dense dots, a few large dark bodies, bright vacuoles, and rings as wide as membrane."""
    dots = [_some_disc_q16(stream, (0, 26), (200, 900), stream.integer(90, 220)) for _ in range(_KINDS)]
    rows, columns = _places(stream, square_distance, 700, 4)
    kinds = stream.integers(0, _KINDS, len(rows)).tolist()
    for row, column, kind in zip(rows, columns, kinds, strict=True):
        dark.stamp(row, column, dots[kind])
    for canvas, tries, radii_q4 in (
        (dark, stream.integer(2, 9), (60, 120)),
        (bright, stream.integer(3, 12), (30, 110)),
    ):
        for row, column in zip(*_places(stream, square_distance, tries, 9), strict=True):
            canvas.stamp(row, column, _some_disc_q16(stream, radii_q4, (200, 900), stream.integer(90, 220)))
    for row, column in zip(*_places(stream, square_distance, stream.integer(6, 24), 11), strict=True):
        radius_q4, scale_q8, strength_q8 = stream.integer(70, 124), stream.integer(450, 800), stream.integer(120, 256)
        stretch_q4, direction = stream.integer(16, 21), stream.integer(0, DIRECTIONS)
        dark.stamp(row, column, _ring_q16(radius_q4, scale_q8, strength_q8, stretch_q4=stretch_q4, direction=direction))


def _draw_mitochondria(
    stream: RawStream, cells: Field, square_distance: Field, dark_q16: Field, bright_q16: Field
) -> None:
    """Draw mitochondria over all else: a double dark rim, a gray matrix, and cristae across it."""
    side_px = len(cells)
    grid = side_px // _ROOM_PITCH_PX
    is_blocked = (square_distance == 0).reshape(grid, _ROOM_PITCH_PX, grid, _ROOM_PITCH_PX).any(axis=(1, 3))
    depth_q4 = root_q4(square_distance)
    wobble = smooth_noise_q8(stream, cells.shape, radius_px=8, pitch_px=4)
    ripple = smooth_noise_q8(stream, cells.shape, radius_px=4, pitch_px=2)
    pixel_q4 = 16 * np.arange(side_px, dtype=np.int64)
    is_taken = np.zeros(cells.shape, dtype=np.bool_)
    for _ in range(stream.integer(6, 15)):
        across_px = stream.integer(8, 26)
        room_px = root_q4(capped_square_distance(is_blocked, _ROOM_CAP)) * _ROOM_PITCH_PX // 16
        places = np.flatnonzero(room_px >= across_px + 5)
        if len(places) == 0:
            continue
        row, column = (place * _ROOM_PITCH_PX for place in divmod(int(places[stream.integer(0, len(places))]), grid))
        along_px = across_px * stream.integer(16, 40) // 16
        direction = _roomiest_direction(stream, room_px, row, column, along_px)
        body = Ellipse(16 * row, 16 * column, 16 * along_px, 16 * across_px, direction, int(cells[row, column]))
        rows, columns = (slice(max(at - along_px - 12, 0), at + along_px + 12) for at in (row, column))
        bend_q4 = wobble[rows, columns] * 40 >> 8
        row_q4, column_q4 = pixel_q4[rows, None] + bend_q4, pixel_q4[None, columns] - bend_q4
        # 512 times the radius in units of the body's own; from there to pixels inside of its edge, and of the cell's.
        radius_q9 = root_q4(np.minimum(body.square_radius_q16(row_q4, column_q4) >> 6, 4095))
        edge_q4 = np.minimum((512 - radius_q9) * across_px >> 5, depth_q4[rows, columns] - 80)
        is_free = (cells[rows, columns] == body.cell) & ~is_taken[rows, columns]
        edge_q4 = np.where(is_free, edge_q4, -160)

        # Across the long side, with a wavy course: where the folds of the inner rim lie.
        sine, cosine = sine_q10(direction), cosine_q10(direction)
        if stream.is_one_in(3):
            sine, cosine = cosine, -sine
        course_q4 = (((column_q4 - body.column_q4) * cosine + (row_q4 - body.row_q4) * sine) >> 10) + 2 * bend_q4
        course_q4 += ripple[rows, columns] * 22 >> 8
        period_q4 = stream.integer(80, 130)
        fold_q4 = abs(course_q4 % period_q4 - period_q4 // 2)
        matrix_q16 = stream.integer(80, 140) << 8
        strength_q8 = stream.integer(200, 256)

        is_inside = edge_q4 > 0
        rims = np.maximum(bell_q16((edge_q4 - 14) ** 2, 500), bell_q16((edge_q4 - 62) ** 2, 500))
        folds = np.where(edge_q4 > 66, bell_q16(fold_q4 * fold_q4, 560), 0)
        lines = np.maximum(rims, folds) * strength_q8 >> 8
        filling = np.where(edge_q4 > 36, matrix_q16, matrix_q16 // 3)
        np.copyto(dark_q16[rows, columns], np.maximum(lines, filling), where=is_inside)
        np.copyto(bright_q16[rows, columns], 0, where=is_inside)
        is_taken[rows, columns] |= is_inside
        is_blocked |= is_taken[::_ROOM_PITCH_PX, ::_ROOM_PITCH_PX]


def _roomiest_direction(stream: RawStream, room_px: Field, row: int, column: int, along_px: int) -> int:
    """Return the direction in which both ends of a body lie farthest from the cell's border."""
    first = stream.integer(0, DIRECTIONS)
    best, best_room_px = first, -1
    for turn in range(0, DIRECTIONS // 2, 4):
        direction = first + turn
        ends = []
        for way in (-1, 1):
            end = (
                (row + way * (along_px * sine_q10(direction) >> 10)) // _ROOM_PITCH_PX,
                (column + way * (along_px * cosine_q10(direction) >> 10)) // _ROOM_PITCH_PX,
            )
            ends.append(int(room_px[end]) if all(0 <= place < len(room_px) for place in end) else 0)
        if min(ends) > best_room_px:
            best, best_room_px = direction, min(ends)
    return best
