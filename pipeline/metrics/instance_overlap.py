"""How many pixels each instance of a truth shares with each instance of a prediction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class InstanceOverlap:
    """Sizes of all instances, and the pairs that share pixels.

    Attributes:
        truth_px: (T,) sizes of the truth's instances, in the order of their numbers.
        pred_px: (P,) sizes of the predicted ones.
        truth_index: (K,) which of the truth's instances each pair has, from 0.
        pred_index: (K,) which of the predicted ones.
        shared_px: (K,) pixels that the two share, at least 1.
    """

    truth_px: NDArray[np.int64]
    pred_px: NDArray[np.int64]
    truth_index: NDArray[np.int64]
    pred_index: NDArray[np.int64]
    shared_px: NDArray[np.int64]

    @property
    def iou(self) -> NDArray[np.float64]:
        """Return the intersection over union of each pair, (K,)."""
        union_px = self.truth_px[self.truth_index] + self.pred_px[self.pred_index] - self.shared_px
        return self.shared_px / union_px


def instance_overlap(truth: NDArray[np.int64], pred: NDArray[np.int64]) -> InstanceOverlap:
    """Count shared pixels, in one pass over the image, whatever the numbers of the instances.

    Args:
        truth: Instance of each pixel, 0 is background; at least one pixel.
        pred: The same on the same grid.
    """
    truth_names, truth_of_px = np.unique(truth, return_inverse=True)
    pred_names, pred_of_px = np.unique(pred, return_inverse=True)
    pairs, pair_px = np.unique(truth_of_px.ravel() * len(pred_names) + pred_of_px.ravel(), return_counts=True)
    truth_index, pred_index = np.divmod(pairs, len(pred_names))
    truth_px = np.bincount(truth_index, weights=pair_px, minlength=len(truth_names)).astype(np.int64)
    pred_px = np.bincount(pred_index, weights=pair_px, minlength=len(pred_names)).astype(np.int64)
    # Names are sorted, and so background is the first of them where there is any.
    first_truth, first_pred = int(0 in truth_names), int(0 in pred_names)
    objects = (truth_index >= first_truth) & (pred_index >= first_pred)
    return InstanceOverlap(
        truth_px[first_truth:],
        pred_px[first_pred:],
        truth_index[objects] - first_truth,
        pred_index[objects] - first_pred,
        pair_px[objects].astype(np.int64),
    )
