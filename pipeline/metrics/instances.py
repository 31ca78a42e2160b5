"""Panoptic quality, and F1, precision and recall of instances at thresholds of IoU.

Held against MONAI's `compute_panoptic_quality`, which is right above an IoU of 0.5 but for a constant that it adds to
the denominator (a perfect prediction scores 0.999999); below, it pairs by the greatest sum of IoU and then drops pairs,
which can lose matches. Here the most matches are found.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

from ..errors import ConfigError
from .empty import EmptyRule, empty_score
from .instance_overlap import InstanceOverlap, instance_overlap
from .score_inputs import checked_instances


@dataclass(frozen=True)
class InstanceScores:
    """Scores of the instances of one image at one threshold.

    Attributes:
        iou_threshold: A pair matches where its IoU is greater.
        matches: Pairs that match (true positives).
        false: Predicted instances without a match (false positives).
        missed: Instances of the truth without one (false negatives).
        precision: matches / (matches + false).
        recall: matches / (matches + missed).
        f1: 2 matches / (2 matches + false + missed); the recognition quality (RQ) of panoptic quality.
        segmentation_quality: Mean IoU of the matches (SQ); 0 where there is none.
        panoptic_quality: SQ times RQ (PQ). The published measure is that at a threshold of 0.5.
    """

    iou_threshold: float
    matches: int
    false: int
    missed: int
    precision: float
    recall: float
    f1: float
    segmentation_quality: float
    panoptic_quality: float


def instance_scores(
    truth_instances: ArrayLike,
    pred_instances: ArrayLike,
    iou_thresholds: Sequence[float] = (0.5,),
    empty: EmptyRule = "nan",
) -> tuple[InstanceScores, ...]:
    """Match the instances of an image one to one, and score them at each threshold.

    Where the IoU of two instances exceeds 0.5, neither can have it with a third, so that the matching is unique. At
    lower thresholds it is that with the most pairs, and among those with the greatest sum of IoU (Hungarian method).

    Args:
        truth_instances: Any number of axes, whole numbers, 0 is background.
        pred_instances: The same on the same grid.
        iou_thresholds: In [0, 1).
        empty: What all five scores are where neither has instances, see `pipeline.metrics.empty`; where only one has,
            they are 0.

    Raises:
        LabelError: If the shapes differ, or values are not instances.
        ConfigError: If a threshold is out of range or `empty` is not known.

    Source:
        Kirillov et al.: Panoptic segmentation, CVPR 2019. Maier-Hein, Reinke et al.: Metrics reloaded, Nature Methods
        21:195 (2024): PQ, F1, assignment by IoU.
    """
    truth, pred = checked_instances(truth_instances, pred_instances)
    for threshold in iou_thresholds:
        if not 0 <= threshold < 1:
            raise ConfigError(f"iou_thresholds must be at least 0 and less than 1, got {threshold}")
    overlap = instance_overlap(truth, pred)
    return tuple(_at_threshold(overlap, threshold, empty) for threshold in iou_thresholds)


def _at_threshold(overlap: InstanceOverlap, threshold: float, empty: EmptyRule) -> InstanceScores:
    matched_iou = overlap.iou[overlap.iou > threshold] if threshold >= 0.5 else _hungarian(overlap, threshold)
    in_truth, in_pred, matches = len(overlap.truth_px), len(overlap.pred_px), len(matched_iou)
    special = empty_score(in_truth == 0, in_pred == 0, empty)
    if special is None:
        f1 = 2 * matches / (in_truth + in_pred)
        quality = math.fsum(matched_iou) / matches if matches else 0.0
        scores = (matches / in_pred, matches / in_truth, f1, quality, quality * f1)
    else:
        scores = (special,) * 5
    return InstanceScores(threshold, matches, in_pred - matches, in_truth - matches, *scores)


def _hungarian(overlap: InstanceOverlap, threshold: float) -> NDArray[np.float64]:
    """Return the IoU of each pair of the one-to-one matching with the most pairs above the threshold."""
    iou = np.zeros((len(overlap.truth_px), len(overlap.pred_px)))
    allowed = overlap.iou > threshold
    iou[overlap.truth_index[allowed], overlap.pred_index[allowed]] = overlap.iou[allowed]
    # A pair is worth more than the IoU of all pairs together, so that none is given up for better ones.
    value = np.where(iou > 0, iou + min(iou.shape) + 1, 0.0)
    found: NDArray[np.float64] = iou[linear_sum_assignment(value, maximize=True)]
    return found[found > 0]
