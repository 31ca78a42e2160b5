"""Instances from a mask of cell interiors: pixels that hang together over their four edge neighbours are one cell.

Masks are `(row, column)`, `True` inside cells; instances are numbered from 1 in reading order and 0 is membrane.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import ConfigError, LabelError


def interior_instances(interior: NDArray[np.bool_], *, thinned: bool = False) -> NDArray[np.int32]:
    """Number the 4-connected components of a mask of cell interiors.

    Args:
        interior: (H, W) bool, `True` inside cells, `False` on membranes.
        thinned: Also grow the instances over the membranes, all at the same pace, until only lines of one pixel are
            left between them: a watershed of the binary mask.

    Returns:
        (H, W) int32: instances 1, 2, ... in the order in which a reader meets them in the mask, 0 on membranes. With
        `thinned`, a pixel is 0 only where two instances meet or where lines close it in from all four sides; instances
        stay 4-connected and never touch over an edge; a membrane with the same instance on both sides vanishes. A mask
        without interior gives zeros, one without membrane a single instance, both with and without `thinned`.

    Raises:
        LabelError: If the mask is not a two-dimensional array of bool.

    Examples:
        >>> interior_instances(np.array([[True, False, False, False, True]]))
        array([[1, 0, 0, 0, 2]], dtype=int32)
        >>> interior_instances(np.array([[True, False, False, False, True]]), thinned=True)
        array([[1, 1, 0, 2, 2]], dtype=int32)

    Source:
        Arganda-Carreras et al., Frontiers in Neuroanatomy 9:142 (2015), border thinning; the flooding in order of
        distance is that of Vincent and Soille, IEEE PAMI 13:583 (1991), on a landscape of two levels.
    """
    if interior.ndim != 2 or interior.dtype != np.bool_:
        msg = (
            f"interior mask has shape {interior.shape} and type {interior.dtype}; expected (row, column) and bool;"
            " compare the label with its interior class first"
        )
        raise LabelError(msg)
    instances = np.empty(interior.shape, np.int32)
    count = ndimage.label(interior, output=instances)  # its default structure is the four edge neighbours
    return _thin(instances) if thinned and count and not interior.all() else instances


class InteriorInstancesd(MapTransform):
    """Add the instances of a label of two classes: 1 is the interior of cells, and 0 keeps them apart.

    Args:
        keys: Key of the label, (1, H, W) class indices.
        instances_key: Key to write, (1, H, W) int32, 0 on background.

    Raises:
        ConfigError: If there is more than one key.
    """

    def __init__(self, keys: KeysCollection, instances_key: str = "instances") -> None:
        super().__init__(keys)
        if len(self.keys) != 1:
            raise ConfigError(f"InteriorInstancesd takes one key, the label's, got {list(self.keys)}")
        self.instances_key = instances_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with its instances."""
        interior = np.asarray(data[self.keys[0]])[0] > 0
        return {**data, self.instances_key: torch.from_numpy(interior_instances(interior)[None])}


def _thin(instances: NDArray[np.int32]) -> NDArray[np.int32]:
    """Grow instances over the zeros between them, ring by ring, up to lines of one pixel.

    `skimage.segmentation.watershed(watershed_line=True)` is not used: its line pixels hand labels on, which leaves
    fragments cut off from their instance, and its heap needs about four times as long.
    """
    # A frame of zeros that no ring contains stands in for the edge of the image.
    padded = np.pad(instances, 1)
    width = padded.shape[1]
    edge_neighbours = np.array([[-width], [-1], [1], [width]])
    flat = padded.ravel()
    # The nearest interior pixel in steps over edges is reached over membrane alone: this is the distance of the flood.
    distance_px = np.pad(ndimage.distance_transform_cdt(instances == 0, metric="taxicab"), 1).ravel()
    membrane = np.flatnonzero(distance_px)
    membrane = membrane[np.argsort(distance_px[membrane], kind="stable")]
    starts = np.searchsorted(distance_px[membrane], np.arange(2, distance_px.max() + 1))
    for ring in np.split(membrane, starts):
        _claim(flat, ring, edge_neighbours)
    # Where a later ring ended the contest for a pixel, its only remaining neighbour takes it.
    line = membrane[flat[membrane] == 0]
    settled = False
    while not settled:
        _claim(flat, line, edge_neighbours)
        left = line[flat[line] == 0]
        settled, line = left.size == line.size, left
    return padded[1:-1, 1:-1].copy()


def _claim(flat: NDArray[np.int32], pixels: NDArray[np.intp], edge_neighbours: NDArray[np.intp]) -> None:
    """Give each of the pixels the one instance next to it, or leave it 0 if there is none or more than one.

    The pixels are decided together, so the result does not depend on their order. Where two of them are neighbours
    and would go to different instances, the instance with the higher number gets its pixel and the other stays line.
    """
    around = flat[pixels + edge_neighbours]
    highest = around.max(axis=0)
    lowest = np.where(around == 0, highest, around).min(axis=0)
    flat[pixels] = np.where(lowest == highest, highest, 0)
    outbid = (flat[pixels + edge_neighbours] > flat[pixels]).any(axis=0)
    flat[pixels[outbid]] = 0
