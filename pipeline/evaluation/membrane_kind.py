"""The EM challenge's scores of membranes over the slices of a split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from ..data import Manifest
from ..metrics import EMCurves, em_scores, em_stack_scores
from .settings import ScoreSettings
from .summary import Summary


def score_membrane_case(truth: NDArray[Any], membrane_probability: NDArray[Any], settings: ScoreSettings) -> EMCurves:
    """Score one slice.

    Args:
        truth: (row, column) class indices, 0 is membrane and 1 cell interior.
        membrane_probability: (row, column) in [0, 1], or a bool mask of membranes.
        settings: Thresholds and whether there is a warping error count.

    Raises:
        ImageError: If the probability is none.
        LabelError: If the truth does not fit or has no interior.
    """
    return em_scores(membrane_probability, truth, tuple(settings.thresholds), warping=settings.warping)


def summarise_membranes(cases: Mapping[str, EMCurves], manifest: Manifest) -> Summary:
    """Return the scores of the stack: the mean over slices at each threshold, best over thresholds.

    The score of a case is its score at the threshold that is best for the stack, so that its mean is what is quoted.

    Args:
        cases: What `score_membrane_case` gave, by case.
        manifest: Names class 0 for the table.
    """
    cases = dict(sorted(cases.items()))
    stack = em_stack_scores(cases.values())
    scores: dict[str, float] = {}
    by_case: dict[str, dict[str, float]] = {}
    for name in stack.score_names:
        best = stack.index_of_best(name)
        scores |= {name: stack.best(name), f"{name}_threshold": stack.best_threshold(name)}
        by_case[name] = {case: curves.curve(name)[best] for case, curves in cases.items()}
    membrane = manifest.classes[0].name
    table = {case: {membrane: {name: values[case] for name, values in by_case.items()}} for case in cases}
    return Summary(scores, by_case, table, key_score="v_rand")
