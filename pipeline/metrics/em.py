"""Scores of the ISBI 2012 challenge for membranes in electron microscopy, those of its first years and of its last.

Arrays are `(row, column)`. A proposal is a membrane probability, and its interior at a threshold is where the
probability lies *below* it; the truth is `True` inside cells. Every score is a number in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ConfigError, ImageError, LabelError
from ..transforms.instances import interior_instances
from .warping import warping_errors

EMScoreName = Literal["v_rand", "v_info", "rand_error", "pixel_error", "warping_error"]

EM_SCORE_NAMES: Final[tuple[EMScoreName, ...]] = get_args(EMScoreName)
# The scores of which less is better.
_ERRORS: Final = frozenset[EMScoreName]({"rand_error", "pixel_error", "warping_error"})
# 0, 0.1 ... 1 as the nearest floats: the steps of the challenge, without the drift of adding 0.1 ten times.
EM_THRESHOLDS: Final = tuple(step / 10 for step in range(11))
# With less of the truth's interior left, a proposal has no warping error but the worst; see `em_scores`.
_LEAST_INTERIOR_LEFT: Final = 0.5


@dataclass(frozen=True)
class EMCurves:
    """The scores of one slice at every threshold, or their means over a stack, and the best of each.

    Attributes:
        thresholds: Membrane probabilities below which a pixel counted as interior.
        v_rand_curve: V_rand after thinning, one value a threshold; 1 is perfect.
        v_info_curve: V_info after thinning; 1 is perfect.
        rand_error_curve: 1 - V_rand, without thinning; 0 is perfect.
        pixel_error_curve: 1 - F-score of the interior pixels, without thinning; 0 is perfect.
        warping_error_curve: Pixels of splits and mergers over all pixels; 0 is perfect. `None` if it was not asked for.
    """

    thresholds: tuple[float, ...]
    v_rand_curve: tuple[float, ...]
    v_info_curve: tuple[float, ...]
    rand_error_curve: tuple[float, ...]
    pixel_error_curve: tuple[float, ...]
    warping_error_curve: tuple[float, ...] | None = None

    @property
    def score_names(self) -> tuple[EMScoreName, ...]:
        """The scores that are here: all of them, or all but the warping error."""
        return tuple(name for name in EM_SCORE_NAMES if name != "warping_error" or self.warping_error_curve is not None)

    @property
    def v_rand(self) -> float:
        """Best V_rand over the thresholds."""
        return self.best("v_rand")

    @property
    def v_rand_threshold(self) -> float:
        """The threshold that gave `v_rand`."""
        return self.best_threshold("v_rand")

    @property
    def v_info(self) -> float:
        """Best V_info over the thresholds."""
        return self.best("v_info")

    @property
    def v_info_threshold(self) -> float:
        """The threshold that gave `v_info`."""
        return self.best_threshold("v_info")

    @property
    def rand_error(self) -> float:
        """Least Rand error over the thresholds."""
        return self.best("rand_error")

    @property
    def rand_error_threshold(self) -> float:
        """The threshold that gave `rand_error`."""
        return self.best_threshold("rand_error")

    @property
    def pixel_error(self) -> float:
        """Least pixel error over the thresholds."""
        return self.best("pixel_error")

    @property
    def pixel_error_threshold(self) -> float:
        """The threshold that gave `pixel_error`."""
        return self.best_threshold("pixel_error")

    @property
    def warping_error(self) -> float:
        """Least warping error over the thresholds; a ConfigError if it was not asked for."""
        return self.best("warping_error")

    @property
    def warping_error_threshold(self) -> float:
        """The threshold that gave `warping_error`; a ConfigError if it was not asked for."""
        return self.best_threshold("warping_error")

    def curve(self, score: EMScoreName) -> tuple[float, ...]:
        """Return the named score at every threshold; a ConfigError for a warping error that was not asked for."""
        curves: dict[EMScoreName, tuple[float, ...] | None] = {
            "v_rand": self.v_rand_curve,
            "v_info": self.v_info_curve,
            "rand_error": self.rand_error_curve,
            "pixel_error": self.pixel_error_curve,
            "warping_error": self.warping_error_curve,
        }
        curve = curves[score]
        if curve is None:
            raise ConfigError("these scores hold no warping error: it was not asked for; score with warping=True")
        return curve

    def index_of_best(self, score: EMScoreName) -> int:
        """Return which threshold gave the best value of the named score: the first of several equal ones."""
        curve = self.curve(score)
        return curve.index(min(curve) if score in _ERRORS else max(curve))

    def best(self, score: EMScoreName) -> float:
        """Return the best value of the named score over the thresholds."""
        return self.curve(score)[self.index_of_best(score)]

    def best_threshold(self, score: EMScoreName) -> float:
        """Return the threshold that gave the best value of the named score."""
        return self.thresholds[self.index_of_best(score)]


def em_scores(
    membrane_probability: ArrayLike,
    interior_truth: ArrayLike,
    thresholds: Sequence[float] = EM_THRESHOLDS,
    *,
    warping: bool = True,
) -> EMCurves:
    """Score the proposed membranes of one slice against its truth.

    At a threshold t the proposal's interior is where the membrane probability is below t. Seen from the interior
    probability 1 - p that is the challenge's rule, p' > t' at t' = 1 - t. At t = 0 every pixel is membrane; at t = 1
    all are interior but those that are membrane for certain, so that a proposal of zeros and ones is itself at every
    t > 0. For V_rand and V_info the proposed membranes are thinned first, see `interior_instances`: what counts is
    which cells they part, not how wide they are. Both scores look at the pixels that are interior in the truth, whose
    4-connected components are its cells; those of them on a proposed membrane count as segments of a single pixel.
    The Rand error, one of the three scores of the challenge's first years and of the U-Net paper's table, is
    1 - V_rand of the same pixels by the same count, but the proposal's segments are its 4-connected components as they
    are, not thinned: membranes that are wider than in the truth cost. The warping error is that of `warping_errors`.

    Choices that the challenge's text leaves open. The pixel error takes the *interior* as the foreground, as the
    challenge does, whose images are bright inside cells; it looks at all pixels. V_info is 1 where truth and proposal
    both are one single segment, where its definition is 0/0: they agree. The warping error is 1 at a threshold at
    which less than half of the truth's interior is interior in the proposal: where nothing is left, nothing is split
    or merged, so that without this rule its least value would be 0 for every proposal, at the threshold 0.

    Args:
        membrane_probability: (H, W) floating point, 0 surely interior, 1 surely membrane; a bool mask of membranes is
            taken as zeros and ones.
        interior_truth: (H, W) bool, or numbers that are 0 or 1; `True` inside cells, `False` on membranes.
        thresholds: Where to cut the probability, in [0, 1]. They are rounded to the type of the probability, so that
            a float32 of 0.3 is not below the threshold 0.3.
        warping: Whether to compute the warping error, which adds about half to the time of the others.

    Returns:
        Value and threshold of each score, and the scores at all thresholds.

    Raises:
        ImageError: If the probability is not two-dimensional, is empty, or has values outside [0, 1] or not a number.
        LabelError: If the truth differs in shape, is not binary, or has no interior at all: both Rand and information
            scores speak of interior pixels, so that such a slice has none. It must be left out by name, because a
            value made up for it would move the mean of its stack.
        ConfigError: If there is no threshold or one lies outside [0, 1].

    Examples:
        >>> membrane = np.array([[0.0, 0.0, 0.9, 0.0, 0.0]])
        >>> scores = em_scores(membrane, np.array([[True, True, False, True, True]]))
        >>> scores.v_rand, scores.v_rand_threshold
        (1.0, 0.1)

    Source:
        Arganda-Carreras et al.: Crowdsourcing the creation of image segmentation algorithms for connectomics,
        Frontiers in Neuroanatomy 9:142 (2015), "foreground-restricted" scores "after border thinning". Rand, pixel and
        warping error: http://brainiac2.mit.edu/isbi_challenge/evaluation, "dismissed metrics": 1 - the maximal F-score
        of the foreground-restricted Rand index, without the zero component of the original labels; 1 - the maximal
        F-score of pixel similarity; minimum splits and mergers warping error (Jain et al., CVPR 2010).
    """
    probability = _checked_probability(membrane_probability)
    truth = _checked_truth(interior_truth, probability.shape)
    levels = _checked_thresholds(thresholds)
    truth_segments = interior_instances(truth)[truth]
    # Interiors at growing thresholds contain one another, so that equal sizes are equal masks.
    by_interior_px: dict[int, tuple[float, ...]] = {}
    scores = []
    for threshold in levels:
        interior = probability < threshold
        interior_px = int(np.count_nonzero(interior))
        if interior_px not in by_interior_px:
            thinned_scores = _segment_scores(truth_segments, interior_instances(interior, thinned=True)[truth])
            rand_score, _ = _segment_scores(truth_segments, interior_instances(interior)[truth])
            by_interior_px[interior_px] = (
                *thinned_scores,
                1 - rand_score,
                _pixel_error(truth, interior),
                *([_warping_error(truth, interior)] if warping else []),
            )
        scores.append(by_interior_px[interior_px])
    return EMCurves(levels, *zip(*scores, strict=True))


def _segment_scores(truth: NDArray[np.int32], pred: NDArray[np.int32]) -> tuple[float, float]:
    """Return V_rand and V_info of two segmentations of the same n pixels, given pixel by pixel.

    With p_ij = c_ij / n the factor 1 / n^2 cancels in V_rand = 2 AB / (A + B), which leaves whole numbers:
    A n^2 = sum a_i^2, B n^2 = sum b_j^2 + c_0, AB n^2 = sum c_ij^2 + c_0, over j >= 1, where c_0 counts the pixels on
    predicted membranes (j = 0), each a segment of its own.

    Args:
        truth: (n,) segment of each pixel that is interior in the truth, all at least 1.
        pred: (n,) its predicted segment, 0 on predicted membranes.
    """
    columns = int(pred.max()) + 1
    codes, counts = np.unique(truth.astype(np.int64) * columns + pred, return_counts=True)
    truth_px = np.bincount(truth)
    pred_px = np.bincount(pred)
    truth_px = truth_px[truth_px > 0]
    single_px = int(pred_px[0])
    pred_px = pred_px[1:][pred_px[1:] > 0]
    shared_px = counts[codes % columns > 0]

    pairs_truth = int(truth_px @ truth_px)
    pairs_pred = int(pred_px @ pred_px) + single_px
    pairs_shared = int(shared_px @ shared_px) + single_px
    v_rand = 2 * pairs_shared / (pairs_truth + pairs_pred)

    # A segment of one pixel adds 1 log 1 = 0 to the sum over segments, so the single pixels need no term here.
    entropy_truth = _entropy(truth_px, truth.size)
    entropy_pred = _entropy(pred_px, truth.size)
    mutual = entropy_truth + entropy_pred - _entropy(shared_px, truth.size)
    both = entropy_truth + entropy_pred
    v_info = max(0.0, 2 * mutual / both) if both > 0 else 1.0
    return v_rand, v_info


def _entropy(segment_px: NDArray[np.intp], total_px: int) -> float:
    """Return the entropy, in nats, of segments with these sizes plus single pixels up to the total: exact 0 for one."""
    terms = -segment_px * np.log(segment_px)
    return math.fsum([total_px * np.log(total_px), *terms]) / total_px


def _pixel_error(truth: NDArray[np.bool_], interior: NDArray[np.bool_]) -> float:
    """Return 1 - F-score of the interior pixels; the truth has some."""
    wrong_px = int(np.count_nonzero(truth ^ interior))
    return wrong_px / (int(np.count_nonzero(truth)) + int(np.count_nonzero(interior)))


def _warping_error(truth: NDArray[np.bool_], interior: NDArray[np.bool_]) -> float:
    if np.count_nonzero(truth & interior) < _LEAST_INTERIOR_LEFT * np.count_nonzero(truth):
        return 1.0
    return warping_errors(truth, interior).error


def _checked_probability(membrane_probability: ArrayLike) -> NDArray[np.floating]:
    probability = np.asarray(membrane_probability)
    if probability.ndim != 2 or probability.size == 0:
        msg = f"membrane probability has shape {probability.shape}; expected one slice (row, column) with pixels"
        raise ImageError(msg)
    if not np.issubdtype(probability.dtype, np.floating):
        probability = probability.astype(np.float64)
    lowest, highest = probability.min(), probability.max()
    if not (lowest >= 0 and highest <= 1):  # written so that a NaN fails it too
        if np.isnan(lowest):
            values, way_out = "values that are not a number", "a network whose training diverged gives them: train anew"
        else:
            values, way_out = f"values from {lowest:g} to {highest:g}", "apply the network's activation first"
        raise ImageError(f"membrane probability holds {values}; expected 0 to 1; {way_out}")
    return probability


def _checked_truth(interior_truth: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    truth = np.asarray(interior_truth)
    if truth.shape != shape:
        msg = f"interior truth has shape {truth.shape} and the membrane probability {shape}; they must be equal"
        raise LabelError(msg)
    if truth.dtype != np.bool_:
        if not ((truth == 0) | (truth == 1)).all():
            values = np.unique(truth)
            found = ", ".join(f"{value:g}" for value in values[:5]) + (", ..." if values.size > 5 else "")
            msg = f"interior truth holds values [{found}]; expected bool, or 0 on membranes and 1 inside cells"
            raise LabelError(msg)
        truth = truth == 1
    if not truth.any():
        msg = (
            "interior truth has no interior pixel, and the scores are about those; map the label or leave the slice out"
        )
        raise LabelError(msg)
    return truth


def _checked_thresholds(thresholds: Sequence[float]) -> tuple[float, ...]:
    levels = tuple(float(threshold) for threshold in thresholds)
    if not levels or not all(0 <= threshold <= 1 for threshold in levels):
        msg = f"thresholds {list(levels)} do not fit: at least one is needed, and each must lie in 0..1"
        raise ConfigError(msg)
    return levels
