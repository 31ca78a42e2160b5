"""The membrane scores of `em.py` over many slices: each under its case id, and what is quoted for a stack."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from numpy.typing import ArrayLike
from tqdm.auto import tqdm

from ..errors import ConfigError, ImageError, LabelError
from .em import EM_SCORE_NAMES, EM_THRESHOLDS, EMCurves, em_scores


def em_scores_by_case(
    slices: Iterable[tuple[str, ArrayLike, ArrayLike]],
    thresholds: Sequence[float] = EM_THRESHOLDS,
    *,
    warping: bool = True,
    progress: bool = False,
) -> dict[str, EMCurves]:
    """Score slices, each under its case id; `em_stack_scores` of the values is the score of the stack.

    Args:
        slices: Case id, membrane probability (H, W) and interior truth (H, W) of each slice, as `em_scores` takes them.
            One is asked for when the one before is scored, so that a generator may read them from files.
        thresholds: Where to cut the probability, in [0, 1].
        warping: Whether to compute the warping error too.
        progress: Whether to show a progress bar.

    Returns:
        Scores by case id, in the order of the slices.

    Raises:
        ImageError: If a probability is none; the case is named.
        LabelError: If a truth does not fit or has no interior; the case is named.
        ConfigError: If a case id comes twice or a threshold lies outside [0, 1].
    """
    scores: dict[str, EMCurves] = {}
    for case, probability, truth in tqdm(slices, desc="scoring", unit="slice", disable=not progress, leave=False):
        if case in scores:
            raise ConfigError(f"case {case!r} comes twice; give each slice a case id of its own")
        try:
            scores[case] = em_scores(probability, truth, thresholds, warping=warping)
        except (ImageError, LabelError) as error:
            msg = f"case {case!r}: {error}"
            raise type(error)(msg) from error
    return scores


def em_stack_scores(slices: Iterable[EMCurves]) -> EMCurves:
    """Return the score that is quoted for a stack: the mean over its slices at each threshold, best over thresholds.

    The best threshold is common to all slices: the mean of each slice's own best would be at least as good and could
    not be reached by a method that does not know the truth.

    Args:
        slices: What `em_scores` gave for each slice, all with the same thresholds, and with a warping error either all
            or none. Their order changes nothing.

    Returns:
        Mean curves; `v_rand`, `rand_error` and so on are their best values.

    Raises:
        ConfigError: If there are no slices, their thresholds differ, or only some have a warping error.

    Source:
        Arganda-Carreras et al. 2015; the ISBI 2012 challenge ranks by `v_rand` of this mean.
    """
    slices = list(slices)
    thresholds = {scores.thresholds for scores in slices}
    if len(thresholds) != 1:
        msg = f"a stack needs slices with the same thresholds; got {len(slices)} slices with {len(thresholds)} sets"
        raise ConfigError(msg)
    if len({scores.score_names for scores in slices}) != 1:
        count = sum("warping_error" in scores.score_names for scores in slices)
        raise ConfigError(f"{count} of {len(slices)} slices have a warping error; score all of them alike")
    curves = (
        _mean_curve([scores.curve(name) for scores in slices])
        for name in EM_SCORE_NAMES
        if name in slices[0].score_names
    )
    return EMCurves(thresholds.pop(), *curves)


def _mean_curve(curves: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    # `fsum` rounds once, so that the order of slices, and with it the number of ranks, cannot change the last digit.
    return tuple(math.fsum(values) / len(curves) for values in zip(*curves, strict=True))
