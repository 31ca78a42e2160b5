"""How wide the background between objects is: the distances of its pixels to the two nearest different objects.

The nearest object comes out of a distance transform. The second one is looked for around the pixels themselves, as far
as that finds any, and beyond in a window around each object.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from scipy import ndimage

# How far pixels look around themselves before distance transforms are made, in pixels; beyond a usual gap between cells
# only as long as such a share of them finds something at each distance.
_TOUCHING_PX, _GAP_PX, _WORTHWHILE = 14, 5, 0.01
_BLOCK_PX, _CELL_PX = 512, 128

Pixels = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]


def widths_of_gaps(
    numbered: npt.NDArray[np.int32], reach: float, spacing: Sequence[float]
) -> Iterator[tuple[Pixels, npt.NDArray[np.float64]]]:
    """Give the background pixels that lie between two objects, and d1 + d2 of each, block by block.

    Args:
        numbered: (H, W) objects from 1, 0 for background.
        reach: Largest d1 + d2 that counts, in the unit of `spacing`.
        spacing: (row, column) size of a pixel.

    Yields:
        (rows, columns) of pixels of a block, and their distances to the nearest object and to the nearest other one,
        added up; from pixel centre to pixel centre.
    """
    # What is worked on stays in the processor's cache.
    for corner in itertools.product(*(range(0, side, _BLOCK_PX) for side in numbered.shape)):
        # The second object is no nearer than the first: where that is farther than half the reach, nothing is left.
        pixels, nearest, owner = _nearest_objects(numbered, corner, reach / 2, spacing)
        gap = nearest + _distance_to_second(numbered, pixels, nearest, owner, reach, spacing)
        within = gap <= reach
        yield (pixels[0][within], pixels[1][within]), gap[within]


def _nearest_objects(
    numbered: npt.NDArray[np.int32], corner: Sequence[int], farthest: float, spacing: Sequence[float]
) -> tuple[Pixels, npt.NDArray[np.float64], npt.NDArray[np.int32]]:
    """Return the background pixels of a block that are no farther than `farthest` from an object.

    Returns:
        (rows, columns) of the pixels, their distances to the nearest object, and its number.
    """
    margins = [math.ceil(farthest / side) for side in spacing]
    first = [max(start - margin, 0) for start, margin in zip(corner, margins, strict=True)]
    seen = numbered[
        tuple(
            slice(begin, start + _BLOCK_PX + margin)
            for begin, start, margin in zip(first, corner, margins, strict=True)
        )
    ]
    if not seen.any():
        nowhere = np.empty(0, np.intp)
        return (nowhere, nowhere), np.empty(0), np.empty(0, np.int32)
    at = ndimage.distance_transform_edt(seen == 0, sampling=spacing, return_distances=False, return_indices=True)
    inside = tuple(slice(start - begin, start - begin + _BLOCK_PX) for begin, start in zip(first, corner, strict=True))
    rows, columns = (axis + side.start for axis, side in zip(np.nonzero(seen[inside] == 0), inside, strict=True))
    at_rows, at_columns = at[:, rows, columns]
    nearest = np.hypot((rows - at_rows) * spacing[0], (columns - at_columns) * spacing[1])
    near = nearest <= farthest
    owner = seen[at_rows[near], at_columns[near]]
    return (rows[near] + first[0], columns[near] + first[1]), nearest[near], owner


def _distance_to_second(
    numbered: npt.NDArray[np.int32],
    pixels: Pixels,
    nearest: npt.NDArray[np.float64],
    owner: npt.NDArray[np.int32],
    reach: float,
    spacing: Sequence[float],
) -> npt.NDArray[np.float64]:
    """Return how far pixels are from the nearest object but `owner`; inf where none is within reach."""
    second = _distance_of_touching(numbered, pixels, nearest, owner, spacing)
    unresolved = np.flatnonzero(np.isinf(second))
    # By object, and by the part of the image: an object may have parts that lie far from one another.
    rows, columns = (axis[unresolved] // _CELL_PX for axis in pixels)
    order = np.lexsort((columns, rows, owner[unresolved]))
    keys = np.stack([owner[unresolved], rows, columns])[:, order]
    by_owner = unresolved[order]
    for zone in np.split(by_owner, np.flatnonzero(np.diff(keys).any(axis=0)) + 1) if len(by_owner) else ():
        zone_pixels = pixels[0][zone], pixels[1][zone]
        second[zone] = _distance_to_others(numbered, owner[zone[0]], zone_pixels, nearest[zone], reach, spacing)
    return second


def _distance_of_touching(
    numbered: npt.NDArray[np.int32],
    pixels: Pixels,
    nearest: npt.NDArray[np.float64],
    owner: npt.NDArray[np.int32],
    spacing: Sequence[float],
) -> npt.NDArray[np.float64]:
    """Return how far pixels are from the second object where it is a few pixels away, and inf elsewhere.

    All pixels look at their surroundings together, from near to far; between cells that all but touch that is far
    cheaper than any distance transform.

    Args:
        numbered: (H, W) objects from 1, 0 for background.
        pixels: (rows, columns) of the pixels.
        nearest: Their distances to the nearest object.
        owner: Its number.
        spacing: (row, column) size of a pixel.
    """
    radius = _TOUCHING_PX * min(spacing)
    margins = [int(radius // side) for side in spacing]
    if not len(nearest):
        return np.empty(0)
    corner = [int(axis.min()) - margin for axis, margin in zip(pixels, margins, strict=True)]
    padded = _padded_window(
        numbered, corner, [int(axis.max()) + margin + 1 for axis, margin in zip(pixels, margins, strict=True)]
    )
    steps = np.stack(np.meshgrid(*(np.arange(-margin, margin + 1) for margin in margins), indexing="ij"), axis=-1)
    distances = np.hypot(*(steps[..., axis] * side for axis, side in enumerate(spacing)))
    offsets = steps @ [padded.shape[1], 1]

    second = np.full(len(nearest), np.inf)
    looking = np.flatnonzero(nearest <= radius)
    places = (pixels[0][looking] - corner[0]) * padded.shape[1] + pixels[1][looking] - corner[1]
    flat, own = padded.ravel(), owner[looking]
    for distance in np.unique(distances[(distances > 0) & (distances <= radius)]):
        found = np.zeros(len(looking), dtype=bool)
        for offset in offsets[distances == distance]:
            seen = flat[places + offset]
            found |= (seen != 0) & (seen != own)
        second[looking[found]] = distance
        if distance > _GAP_PX * min(spacing) and np.count_nonzero(found) < _WORTHWHILE * len(found):
            break
        looking, places, own = looking[~found], places[~found], own[~found]
    return second


def _padded_window(numbered: npt.NDArray[np.int32], start: Sequence[int], stop: Sequence[int]) -> npt.NDArray[np.int32]:
    """Return a window that may reach beyond the image, where all is background."""
    inside = tuple(slice(max(first, 0), last) for first, last in zip(start, stop, strict=True))
    beyond = [
        (max(-first, 0), max(last - side, 0)) for first, last, side in zip(start, stop, numbered.shape, strict=True)
    ]
    return np.pad(numbered[inside], beyond)


def _distance_to_others(
    numbered: npt.NDArray[np.int32],
    number: int,
    pixels: Pixels,
    nearest: npt.NDArray[np.float64],
    reach: float,
    spacing: Sequence[float],
) -> npt.NDArray[np.float64]:
    """Return how far pixels, to which one object is the nearest, are from all others; inf where none is within reach.

    Looked for in a window that grows until whatever lies outside is farther than what was found, or out of reach.

    Args:
        numbered: (H, W) objects from 1, 0 for background.
        number: The nearest object.
        pixels: (rows, columns) of the pixels.
        nearest: Their distances to it.
        reach: Largest sum of both distances that counts.
        spacing: (row, column) size of a pixel.
    """
    # Half way between two objects the second is as near as the first.
    margin = float(nearest.max()) + 2 * max(spacing)
    while True:
        window, outside = [], np.full(len(nearest), np.inf)
        for position, length, side in zip(pixels, numbered.shape, spacing, strict=True):
            start = max(int(position.min()) - math.ceil(margin / side), 0)
            stop = min(int(position.max()) + 1 + math.ceil(margin / side), length)
            window.append(slice(start, stop))
            if start > 0:
                outside = np.minimum(outside, (position - start + 1) * side)
            if stop < length:
                outside = np.minimum(outside, (stop - position) * side)
        seen = numbered[*window]
        others = (seen != 0) & (seen != number)
        if others.any():
            places = pixels[0] - window[0].start, pixels[1] - window[1].start
            at = ndimage.distance_transform_edt(~others, sampling=spacing, return_distances=False, return_indices=True)
            offsets = (place - axis[places] for place, axis in zip(places, at, strict=True))
            distance = np.hypot(*(offset * side for offset, side in zip(offsets, spacing, strict=True)))
        else:
            distance = np.full(len(nearest), np.inf)
        if margin >= reach or ((distance <= outside) | (nearest + outside > reach)).all():
            return np.asarray(distance)
        margin = min(2 * margin, reach)
