"""Whether a mask lies on the voxel grid of its image: the same size, and every voxel at the same place."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import LabelError

GRID_TOLERANCE_VOXELS = 0.1
"""How far a voxel of a mask may lie from that of its image: what headers in float32 and rounded text make of a grid is
a thousandth of a voxel, and a whole voxel is what must never pass."""


def check_same_grid(
    mask: str,
    mask_shape: Sequence[int],
    mask_affine: npt.ArrayLike,
    image: str,
    image_shape: Sequence[int],
    image_affine: npt.ArrayLike,
    tolerance_voxels: float = GRID_TOLERANCE_VOXELS,
) -> None:
    """Refuse a mask that does not lie on the grid of its image.

    Args:
        mask: What the mask is called in the message, such as its path.
        mask_shape: Its voxels along each axis.
        mask_affine: (4, 4), from its voxel indices to RAS mm.
        image: What the image is called.
        image_shape: Its voxels along each axis.
        image_affine: (4, 4), likewise.
        tolerance_voxels: How far the centre of a voxel may lie from where the image has it, along each axis of the
            image, in voxels.

    Raises:
        LabelError: If size or place differ.
    """
    if tuple(mask_shape) != tuple(image_shape):
        raise LabelError(
            f"{mask} has {size_text(mask_shape)} voxels but {image} has {size_text(image_shape)}; a mask must lie on "
            "the grid of its image; resample it there with nearest neighbours"
        )
    off_voxels = greatest_offset_voxels(image_shape, mask_affine, image_affine)
    if not off_voxels <= tolerance_voxels:
        raise LabelError(
            f"{mask} lies up to {off_voxels:.3g} voxels from the grid of {image}; expected at most "
            f"{tolerance_voxels:g}; resample it there with nearest neighbours, or correct its header"
        )


def greatest_offset_voxels(shape: Sequence[int], affine: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return how far apart two affines put the voxels of a grid, at most.

    Args:
        shape: Voxels along each axis, up to three.
        affine: (4, 4), from voxel indices to mm.
        other: (4, 4), likewise; its axes and spacings are what distances are measured in.

    Returns:
        The greatest distance along an axis, in voxels. Where a grid has a single slice, its thickness counts as well.
    """
    # Distances are greatest at the corners. A single slice gets a second one, or a wrong spacing would not show.
    sides = [max(int(length) - 1, 1) for length in shape] + [1] * (3 - len(shape))
    corners = np.array([[*corner, 1] for corner in itertools.product(*((0, side) for side in sides))], dtype=float)
    moved: npt.NDArray[Any] = corners @ np.linalg.solve(np.asarray(other, float), np.asarray(affine, float)).T
    return float(np.abs(moved - corners).max())


def size_text(shape: Sequence[int]) -> str:
    """Return a size as people write it."""
    return " × ".join(str(int(length)) for length in shape)
