"""The Cell Tracking Challenge's SEG and DET, frame by frame and over a sequence, with its field of interest.

An object of the truth is matched by the predicted object that covers more than half of it; there is at most one, and
one predicted object may match several. Frames are (row, column), volumes (row, column, slice); 0 is background.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, LabelError
from .empty import EmptyRule, empty_score
from .instance_overlap import InstanceOverlap, instance_overlap
from .score_inputs import checked_instances

# AOGM-D: what it costs to split an object, to add a missing one and to delete a false one (Matula et al. 2015).
_SPLIT_COST: Final = 5
_MISSED_COST: Final = 10
_FALSE_COST: Final = 1


class CTCSeg(NamedTuple):
    """SEG of a frame or a sequence.

    Attributes:
        value: Mean over the truth's objects of their Jaccard index with their match, 0 for those without one.
        truth_objects: How many objects that is a mean of.
    """

    value: float
    truth_objects: int


class CTCDetections(NamedTuple):
    """What it takes to make the predicted objects of a frame those of the truth.

    Attributes:
        splits: Cuts through predicted objects that match several objects: one less than these, summed.
        missed: Objects of the truth without a match.
        false: Predicted objects that match nothing.
        truth_objects: Objects of the truth.
    """

    splits: int
    missed: int
    false: int
    truth_objects: int


def ctc_seg(
    truth_instances: ArrayLike, pred_instances: ArrayLike, border_px: int = 0, empty: EmptyRule = "nan"
) -> CTCSeg:
    """Score the segmentation of one frame.

    Predicted objects that match nothing cost nothing: SEG looks at the objects of the truth only, because the challenge
    has masks of but some of them.

    The field of interest is the image without the `border_px` outermost pixels along its rows and columns (not along
    the slices of a volume). An object with no pixel in it is left out, of the truth and of the prediction alike; one
    that reaches into it counts whole, with its pixels in the border. The challenge calls the border E: 50 px for
    DIC-C2DH-HeLa, Fluo-C2DL-Huh7, Fluo-C2DL-MSC, Fluo-C3DH-H157, Fluo-N2DH-GOWT1, Fluo-N3DH-CE, Fluo-N3DH-CHO and
    PhC-C2DH-U373, 25 px for BF-C2DL-HSC, BF-C2DL-MuSC, Fluo-C3DL-MDA231, Fluo-N2DL-HeLa and PhC-C2DL-PSC, else 0.

    Args:
        truth_instances: (row, column) or (row, column, slice) whole numbers, 0 is background.
        pred_instances: The same on the same grid.
        border_px: Width of the border outside the field of interest, in pixels.
        empty: The value of a frame without objects in truth and prediction, see `pipeline.metrics.empty`; it is 0 where
            only the truth has none. Such frames have no weight in a sequence.

    Raises:
        LabelError: If the shapes differ or do not have two or three axes, or values are not instances.
        ConfigError: If the border leaves nothing of the image, is negative, or `empty` is not known.

    Examples:
        >>> truth = [[1, 1, 1, 1, 0, 2]]
        >>> pred = [[7, 7, 7, 0, 0, 0]]
        >>> ctc_seg(truth, pred)
        CTCSeg(value=0.375, truth_objects=2)

    Source:
        Cell Tracking Challenge, evaluation methodology, SEG; naming and file content conventions, field of interest.
        Maška et al., Bioinformatics 30:1609 (2014).
    """
    overlap = _overlap_of_frame(truth_instances, pred_instances, border_px)
    objects = len(overlap.truth_px)
    special = empty_score(objects == 0, len(overlap.pred_px) == 0, empty)
    if special is not None:
        return CTCSeg(special, objects)
    return CTCSeg(math.fsum(overlap.iou[_is_match(overlap)]) / objects, objects)


def ctc_seg_sequence(frames: Iterable[CTCSeg]) -> CTCSeg:
    """Return SEG of a sequence: the mean over all objects of the truth, so that crowded frames weigh more.

    Args:
        frames: What `ctc_seg` gave for each frame that has a truth, with one rule for empty frames.

    Returns:
        SEG and the number of objects. In a sequence without any in the truth it is 0 if a frame has predicted objects;
        otherwise what the rule for empty frames gave.

    Raises:
        LabelError: If there are no frames.
    """
    frames = list(frames)
    if not frames:
        raise LabelError("SEG of a sequence needs at least one frame with a truth; got none")
    objects = sum(frame.truth_objects for frame in frames)
    if objects == 0:
        values = [frame.value for frame in frames if not math.isnan(frame.value)]
        return CTCSeg(min(values, default=math.nan), 0)
    return CTCSeg(math.fsum(value * count for value, count in frames if count) / objects, objects)


def ctc_detections(truth_instances: ArrayLike, pred_instances: ArrayLike, border_px: int = 0) -> CTCDetections:
    """Count what `ctc_det` needs of one frame.

    Args:
        truth_instances: Markers or masks of all objects, as for `ctc_seg`.
        pred_instances: The same on the same grid.
        border_px: Width of the border outside the field of interest, in pixels, as for `ctc_seg`.

    Raises:
        LabelError: If the shapes differ or do not have two or three axes, or values are not instances.
        ConfigError: If the border leaves nothing of the image or is negative.
    """
    overlap = _overlap_of_frame(truth_instances, pred_instances, border_px)
    matches_of_pred = np.bincount(overlap.pred_index[_is_match(overlap)], minlength=len(overlap.pred_px))
    matched = int(matches_of_pred.sum())
    matching = int(np.count_nonzero(matches_of_pred))
    objects = len(overlap.truth_px)
    return CTCDetections(matched - matching, objects - matched, len(overlap.pred_px) - matching, objects)


def ctc_det(frames: Iterable[CTCDetections], empty: EmptyRule = "nan") -> float:
    """Return DET over the frames of a sequence: 1 - min(AOGM-D, AOGM-D0) / AOGM-D0.

    AOGM-D is 5 for each split, 10 for each missed and 1 for each false object; AOGM-D0 that of a prediction without
    objects.

    Args:
        frames: What `ctc_detections` gave for each frame.
        empty: What it is where no frame has objects in truth or prediction; it is 0 where only one of them has.

    Raises:
        LabelError: If there are no frames.
        ConfigError: If `empty` is not known.

    Source:
        Matula et al.: Cell tracking accuracy measurement based on comparison of acyclic oriented graphs, PLoS ONE
        10(12):e0144959 (2015); Cell Tracking Challenge, evaluation methodology, DET.
    """
    frames = list(frames)
    if not frames:
        raise LabelError("DET needs at least one frame; got none")
    splits, missed, false, objects = (sum(counts) for counts in zip(*frames, strict=True))
    # A prediction without objects misses all and has neither splits nor false ones.
    special = empty_score(objects == 0, missed == objects and false == 0, empty)
    if special is not None:
        return special
    from_nothing: int = _MISSED_COST * objects
    cost: int = _SPLIT_COST * splits + _MISSED_COST * missed + _FALSE_COST * false
    return 1 - min(cost, from_nothing) / from_nothing


def _is_match(overlap: InstanceOverlap) -> NDArray[np.bool_]:
    return 2 * overlap.shared_px > overlap.truth_px[overlap.truth_index]


def _overlap_of_frame(truth_instances: ArrayLike, pred_instances: ArrayLike, border_px: int) -> InstanceOverlap:
    truth, pred = checked_instances(truth_instances, pred_instances)
    if truth.ndim not in (2, 3):
        raise LabelError(f"instances have {truth.ndim} axes; expected (row, column) or (row, column, slice)")
    if border_px < 0 or 2 * border_px >= min(truth.shape[:2]):
        raise ConfigError(
            f"border_px {border_px} leaves no field of interest in an image of {truth.shape[0]} by {truth.shape[1]} "
            f"px; it must be 0 to {(min(truth.shape[:2]) - 1) // 2}"
        )
    return instance_overlap(_in_field(truth, border_px), _in_field(pred, border_px))


def _in_field(instances: NDArray[np.int64], border_px: int) -> NDArray[np.int64]:
    """Return the instances without those that have no pixel in the field of interest."""
    if border_px == 0:
        return instances
    rows, columns = (slice(border_px, size - border_px) for size in instances.shape[:2])
    return np.where(np.isin(instances, np.unique(instances[rows, columns])), instances, 0)
