"""How far two masks share their voxels: Dice, IoU and the difference of volumes. Masks may have any number of axes.

Counted in whole numbers and divided once in float64. MONAI's `compute_dice` and `compute_iou` agree within float32, in
which they count; its `compute_absolute_volume_difference` counts voxels and knows no spacing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .empty import EmptyRule, empty_score
from .score_inputs import checked_masks, checked_spacing_mm


class VolumeDifference(NamedTuple):
    """How much the volume of a prediction differs from that of the truth; negative where it is smaller.

    Attributes:
        mm3: Volume of the prediction minus that of the truth, in mm3 (mm2 of masks with two axes).
        relative: The same divided by the volume of the truth.
    """

    mm3: float
    relative: float


def dice(truth: ArrayLike, pred: ArrayLike, empty: EmptyRule = "nan") -> float:
    """Return the Dice coefficient 2 |T and P| / (|T| + |P|) of two masks: 1 is perfect.

    Args:
        truth: Mask, bool or 0 and 1.
        pred: Mask on the same grid.
        empty: What it is where both masks are empty, see `pipeline.metrics.empty`; where only one is, it is 0.

    Raises:
        LabelError: If the shapes differ, or a mask holds another value.
        ConfigError: If `empty` is not known.

    Source:
        Maier-Hein, Reinke et al.: Metrics reloaded, Nature Methods 21:195 (2024), DSC.
    """
    shared, in_truth, in_pred = _counts(truth, pred)
    special = empty_score(in_truth == 0, in_pred == 0, empty)
    return 2 * shared / (in_truth + in_pred) if special is None else special


def iou(truth: ArrayLike, pred: ArrayLike, empty: EmptyRule = "nan") -> float:
    """Return the intersection over union (Jaccard index) of two masks: 1 is perfect.

    Args and errors are those of `dice`.
    """
    shared, in_truth, in_pred = _counts(truth, pred)
    special = empty_score(in_truth == 0, in_pred == 0, empty)
    return shared / (in_truth + in_pred - shared) if special is None else special


def volume_difference(
    truth: ArrayLike, pred: ArrayLike, spacing_mm: Sequence[float], empty: EmptyRule = "nan"
) -> VolumeDifference:
    """Return by how much the volume of a prediction differs: 0 is perfect.

    Args:
        truth: Mask, bool or 0 and 1.
        pred: Mask on the same grid.
        spacing_mm: Spacing of each axis in mm, in the order of the axes.
        empty: What both numbers are where both masks are empty: NaN, or 0 for `"perfect"`. Where only the truth is, the
            relative difference is NaN; where only the prediction is, it is -1.

    Raises:
        LabelError: If the shapes differ, or a mask holds another value.
        ConfigError: If the spacing does not fit the masks or `empty` is not known.
    """
    _, in_truth, in_pred = _counts(truth, pred)
    voxel_mm3 = math.prod(checked_spacing_mm(spacing_mm, np.ndim(truth)))
    difference = (in_pred - in_truth) * voxel_mm3
    relative = (in_pred - in_truth) / in_truth if in_truth else math.nan
    special_mm3 = empty_score(in_truth == 0, in_pred == 0, empty, best=0.0, worst=difference)
    special_relative = empty_score(in_truth == 0, in_pred == 0, empty, best=0.0, worst=relative)
    return VolumeDifference(
        difference if special_mm3 is None else special_mm3, relative if special_relative is None else special_relative
    )


def _counts(truth: ArrayLike, pred: ArrayLike) -> tuple[int, int, int]:
    """Return the number of voxels in both masks, in the truth and in the prediction."""
    truth, pred = checked_masks(truth, pred)
    return int(np.count_nonzero(truth & pred)), int(np.count_nonzero(truth)), int(np.count_nonzero(pred))
