"""How far the surfaces of two masks lie apart: NSD at a tolerance, HD95 and ASSD, weighed by area, in mm.

The surface is made of the elements between 2 by 2 (by 2) neighbouring voxels that are not all equal, as marching
squares and cubes lay it; each has the length (2D) or area (3D) that the spacing gives it and sits at the corner that
the voxels share. Beyond the edge of the image is background. The areas are MONAI's table.

MONAI's own scores are used only in tests. Its NSD with `use_subvoxels=True` is this one within float32. Its HD95 counts
edge voxels whatever their area, so that with unequal spacing the densely sampled faces outvote the others, and it
interpolates between distances; and where one mask is empty it gives infinity, where both are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from monai.metrics.utils import ENCODING_KERNEL, get_code_to_measure_table
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from ..errors import ConfigError, LabelError
from .empty import EmptyRule, empty_score
from .score_inputs import checked_masks, checked_spacing_mm

# Three steps of 0.1 mm are 0.30000000000000004 mm, and within a tolerance of 0.3 mm all the same; areas are float32.
_ROUNDING: Final = 1e-6


@dataclass(frozen=True)
class SurfaceScores:
    """Distances between two surfaces.

    Attributes:
        nsd: Normalised surface distance (surface Dice): the share of both surfaces that lies within the tolerance of
            the other; 1 is perfect.
        hd95_mm: 95th percentile of the Hausdorff distance: the greater, over the two directions, of the least distance
            within which at least 95 % of the one surface's area finds the other; 0 is perfect.
        assd_mm: Average symmetric surface distance: mean distance to the other surface over the area of both.
        tolerance_mm: The tolerance of `nsd`.
    """

    nsd: float
    hd95_mm: float
    assd_mm: float
    tolerance_mm: float


def surface_scores(
    truth: ArrayLike,
    pred: ArrayLike,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    empty: EmptyRule = "nan",
) -> SurfaceScores:
    """Compare the surfaces of two masks.

    Args:
        truth: (row, column) or (row, column, slice), bool or 0 and 1.
        pred: Mask on the same grid.
        spacing_mm: Spacing of each axis in mm, in the order of the axes.
        tolerance_mm: Distance that counts as agreement, 0 or more; the variation between human readers is the usual
            choice. A distance equal to it agrees.
        empty: What the scores are where both masks are empty, see `pipeline.metrics.empty`; where only one is, the NSD
            is 0 and distances are the diagonal of the grid.

    Raises:
        LabelError: If the shapes differ, the masks do not have two or three axes, or hold another value.
        ConfigError: If the spacing does not fit the masks, the tolerance is negative or not finite, or `empty` is not
            known.

    Source:
        Maier-Hein, Reinke et al.: Metrics reloaded, Nature Methods 21:195 (2024): NSD, HD95, ASSD. Nikolov et al.:
        Clinically applicable segmentation of head and neck anatomy, JMIR 23(7):e26151 (2021): surface elements.
    """
    truth_mask, pred_mask = checked_masks(truth, pred)
    if truth_mask.ndim not in (2, 3):
        raise LabelError(f"masks have {truth_mask.ndim} axes; surfaces need (row, column) or (row, column, slice)")
    spacing = checked_spacing_mm(spacing_mm, truth_mask.ndim)
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise ConfigError(f"tolerance_mm must be a finite distance of 0 mm or more, got {tolerance_mm}")
    truth_is_empty, pred_is_empty = not truth_mask.any(), not pred_mask.any()
    similarity = empty_score(truth_is_empty, pred_is_empty, empty)
    if similarity is not None:
        diagonal_mm = math.hypot(*(size * step for size, step in zip(truth_mask.shape, spacing, strict=True)))
        distance = empty_score(truth_is_empty, pred_is_empty, empty, best=0.0, worst=diagonal_mm)
        assert distance is not None
        return SurfaceScores(similarity, distance, distance, tolerance_mm)

    truth_mm, truth_areas = _surface(truth_mask, spacing)
    pred_mm, pred_areas = _surface(pred_mask, spacing)
    from_truth_mm = KDTree(pred_mm).query(truth_mm)[0]
    from_pred_mm = KDTree(truth_mm).query(pred_mm)[0]
    distances_mm = np.concatenate([from_truth_mm, from_pred_mm])
    areas = np.concatenate([truth_areas, pred_areas])
    within = distances_mm <= tolerance_mm * (1 + _ROUNDING)
    return SurfaceScores(
        nsd=float(areas[within].sum() / areas.sum()),
        hd95_mm=max(_percentile(from_truth_mm, truth_areas, 0.95), _percentile(from_pred_mm, pred_areas, 0.95)),
        assd_mm=float((distances_mm * areas).sum() / areas.sum()),
        tolerance_mm=tolerance_mm,
    )


def _surface(mask: NDArray[np.bool_], spacing_mm: tuple[float, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where the elements of a surface are, (n, axes) in mm, and their (n,) lengths in mm or areas in mm2."""
    kernel = np.array(ENCODING_KERNEL[mask.ndim], np.uint8)
    padded = np.pad(mask, 1).astype(np.uint8)
    corners = tuple(size + 1 for size in mask.shape)
    code = np.zeros(corners, np.uint8)
    for offset in np.ndindex(kernel.shape):
        window = tuple(slice(start, start + size) for start, size in zip(offset, corners, strict=True))
        code += kernel[offset] * padded[window]
    elements = np.nonzero((code > 0) & (code < kernel.sum()))
    measures = np.asarray(get_code_to_measure_table(spacing_mm)[0], np.float64)
    return np.stack(elements, axis=1) * np.array(spacing_mm), measures[code[elements]]


def _percentile(distances_mm: NDArray[np.float64], areas: NDArray[np.float64], share: float) -> float:
    """Return the least distance within which this share of the area lies."""
    order = np.argsort(distances_mm, kind="stable")
    within = np.cumsum(areas[order])
    enough = within >= share * within[-1] * (1 - _ROUNDING)
    return float(distances_mm[order][np.argmax(enough)])
