"""Warping error: the splits and mergers that remain when the truth may bend towards a proposal but not change topology.

Masks are `(row, column)` bool, `True` inside cells. Cells are 4-connected and membranes 8-connected, and beyond the
image lies membrane.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import LabelError

Mask = NDArray[np.bool_]

# Row and column of the eight neighbours, counter-clockwise from the right: edge neighbours at even places.
_AROUND: Final = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


class WarpingErrors(NamedTuple):
    """What `warping_errors` returns.

    Attributes:
        relaxed: (H, W) bool, the truth as near to the proposal as flips of simple points brought it.
        splits: (H, W) bool, relaxed cell that the proposal cuts: interior here, membrane there.
        mergers: (H, W) bool, relaxed membrane over which the proposal joins cells.
    """

    relaxed: Mask
    splits: Mask
    mergers: Mask

    @property
    def error(self) -> float:
        """Pixels of splits and mergers over pixels of the slice."""
        return (int(np.count_nonzero(self.splits)) + int(np.count_nonzero(self.mergers))) / self.relaxed.size


@cache
def simple_points() -> Mask:
    """Return for each of the 256 neighbourhoods whether its centre is a simple point.

    A pixel is simple if a flip, in either direction, changes neither the number of cells nor that of membranes (each
    connected as this module says). Its eight neighbours tell: they must hold exactly one piece of cell that reaches the
    pixel over an edge, and then there is exactly one piece of membrane beside it.

    Returns:
        (256,) bool by code: the sum of 2^k over the neighbours k that are interior, where k counts them
        counter-clockwise from the right.

    Source:
        The connectivity number of Yokoi, Toriwaki and Fukumura, Computer Graphics and Image Processing 4:63 (1975);
        Kong and Rosenfeld: Digital topology, Computer Vision, Graphics, and Image Processing 48:357 (1989).
    """
    interior = np.arange(256) >> np.arange(8)[:, None] & 1
    edge, corner, next_edge = interior[0::2], interior[1::2], np.roll(interior[0::2], -1, axis=0)
    table: Mask = (edge - edge * corner * next_edge).sum(axis=0) == 1
    table.flags.writeable = False
    return table


def relaxed_truth(truth: Mask, proposal: Mask, flippable: Mask | None = None) -> Mask:
    """Bend the truth towards a proposal by flips of simple points, until no simple point differs.

    The order is fixed. First membranes grow until none can, then cells until none can, and so on until nothing flips.
    Either grows in sweeps of four steps, which take the pixels of even rows and even columns, of even rows and odd
    columns, of odd and even, of odd and odd. A step flips all of its pixels that may and are simple; no two of them are
    neighbours, so that there is no order within a step. Membranes go first because they are thin: a border that has
    moved by its own width is first there and here, and then no longer here; the other way round it would be thinned to
    a line that the new place does not touch.

    Other orders can end in other masks, with a few pixels more or less, and so can the same slice turned or mirrored:
    the nearest mask with the truth's topology is not searched for. As in the algorithm of Jain et al., every flip
    brings the truth nearer to the proposal. A border that lies over the true one or beside it is thus reached; one that
    lies farther off is not, and is both a merger and a split.

    Args:
        truth: (H, W) bool, `True` inside cells.
        proposal: (H, W) bool.
        flippable: (H, W) bool, the mask M of Jain et al.: where pixels may flip at all. `None` is everywhere, as in the
            challenge.

    Returns:
        (H, W) bool with the topology of the truth: as many cells, membranes and holes, in the same places of each
        other. A truth without cells comes back as it is.

    Raises:
        LabelError: If a mask is not (row, column) of bool, or the shapes differ.

    Source:
        Jain et al.: Boundary learning by optimization with topological constraints, CVPR 2010: warping.
    """
    masks = {"truth": truth, "proposal": proposal} | ({} if flippable is None else {"flippable": flippable})
    for name, mask in masks.items():
        if mask.ndim != 2 or mask.dtype != np.bool_ or mask.shape != truth.shape:
            raise LabelError(
                f"{name} mask has shape {mask.shape} and type {mask.dtype}; expected (row, column), bool, and the "
                f"{truth.shape} of the truth"
            )
    framed = np.pad(truth, 1)
    differs = framed != np.pad(proposal, 1)
    if flippable is not None:
        differs &= np.pad(flippable, 1)
    # By rows, whatever the order in memory is.
    now, differs, width = framed.flatten(), differs.flatten(), framed.shape[1]
    before, left = differs.size, int(np.count_nonzero(differs))
    while left < before:
        for interior in (True, False):
            _flip_simple_points(now, differs, np.flatnonzero(differs & (now == interior)), width)
        before, left = left, int(np.count_nonzero(differs))
    return now.reshape(framed.shape)[1:-1, 1:-1].copy()


def warping_errors(truth: Mask, proposal: Mask, flippable: Mask | None = None) -> WarpingErrors:
    """Return the splits and mergers of a proposal, after the truth was relaxed towards it.

    What still differs falls into clusters, 4-connected. A cluster of relaxed cell that is membrane in the proposal is
    a split if it touches, over edges and within its cell, interior that belongs to two cells of the proposal or more.
    A cluster of relaxed membrane that is interior in the proposal is a merger if it touches two relaxed cells or more,
    where they are interior in the proposal too. There is thus a split exactly if a relaxed cell overlaps two proposed
    ones, and a merger exactly if a proposed cell overlaps two relaxed ones. Whatever else differs counts nothing:
    membranes proposed inside a cell that do not part it, specks of interior inside membranes, cells that the proposal
    lacks. Jain et al. count every pixel that differs; the challenge, and with it the paper's table, counted splits
    and mergers only.

    Args:
        truth: (H, W) bool, `True` inside cells.
        proposal: (H, W) bool.
        flippable: As for `relaxed_truth`.

    Raises:
        LabelError: If a mask is not (row, column) of bool, or the shapes differ.

    Examples:
        >>> truth = np.array([[True, True, False, True, True]])
        >>> warping_errors(truth, np.array([[True, False, True, True, True]])).error  # the same, moved
        0.0
        >>> warping_errors(truth, np.ones((1, 5), np.bool_)).error  # merged
        0.2

    Source:
        Jain et al., CVPR 2010; https://imagej.net/Minimum_Splits_and_Mergers_Warping_error, the challenge's score: "the
        number of pixels of each split and merger divided by the total number of pixels". How its software tells
        splits and mergers from other differences is published as GPL code only, which was not consulted.
    """
    relaxed = relaxed_truth(truth, proposal, flippable)
    return WarpingErrors(relaxed, _bridges(relaxed, proposal), _bridges(proposal, relaxed))


def _flip_simple_points(now: Mask, differs: Mask, start: NDArray[np.intp], width: int) -> None:
    """Flip in `now`, and clear in `differs`, pixels of `start` until none of them is simple.

    Both masks are flat, with a frame of one pixel. A pixel found not to be simple is looked at again only after a
    neighbour has flipped: the same flips as by sweeps over the whole image, at a cost that grows with those that flip.
    """
    may_flip = np.zeros_like(differs)
    may_flip[start] = True
    table = simple_points()
    offsets = np.array([row * width + column for row, column in _AROUND])[:, None]
    # Neighbours of a step's pixels by step: left and right, above and below, diagonal.
    by_step = ((1, offsets[[0, 4]]), (2, offsets[[2, 6]]), (3, offsets[1::2]))
    place = np.empty(now.size, np.intp)
    # Row and column are counted from the image's own first pixel, which is at 1, 1 within the frame.
    step_of = (start // width - 1) % 2 * 2 + (start % width - 1) % 2
    waiting = [[start[step_of == step]] for step in range(4)]
    while any(waiting):
        for step in range(4):
            pixels = _distinct(waiting[step], place)
            waiting[step] = []
            codes = np.packbits(now[pixels + offsets], axis=0, bitorder="little")[0]
            flips = pixels[table[codes]]
            if not flips.size:
                continue
            now[flips] ^= True
            may_flip[flips] = differs[flips] = False
            for change, around in by_step:
                touched = (flips + around).ravel()
                waiting[step ^ change].append(touched[may_flip[touched]])


def _distinct(pixels: list[NDArray[np.intp]], place: NDArray[np.intp]) -> NDArray[np.intp]:
    """Join lists of pixels and leave each in once, without sorting; `place` is scratch of the size of the image."""
    joined = np.concatenate(pixels) if pixels else np.empty(0, np.intp)
    order = np.arange(joined.size)
    place[joined] = order
    distinct: NDArray[np.intp] = joined[place[joined] == order]
    return distinct


def _bridges(mask: Mask, other: Mask) -> Mask:
    """Return the 4-connected clusters of `mask` outside `other` that touch two components of `other` within `mask`."""
    clusters, count = ndimage.label(np.pad(mask & ~other, 1))
    if not count:
        return np.zeros_like(mask)
    parts, _ = ndimage.label(np.pad(other, 1))
    parts[~np.pad(mask, 1)] = 0
    flat, width = parts.ravel(), parts.shape[1]
    pixels = np.flatnonzero(clusters)
    cluster = clusters.ravel()[pixels]
    beside = flat[pixels + np.array([[-width], [-1], [1], [width]])]
    highest = np.zeros(count + 1, flat.dtype)
    lowest = np.full(count + 1, flat.size, flat.dtype)
    np.maximum.at(highest, cluster, beside.max(axis=0))
    np.minimum.at(lowest, cluster, np.where(beside == 0, flat.size, beside).min(axis=0))
    bridges: Mask = (highest > lowest)[clusters[1:-1, 1:-1]]
    return bridges
