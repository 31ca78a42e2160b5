"""Scores of classes, each against the rest: Dice, IoU, NSD, HD95, ASSD and the difference of volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ..data import Manifest
from ..metrics import CLASS_SCORE_NAMES, class_scores
from .settings import ScoreSettings
from .summary import Summary, as_key, known_mean

ClassValues = Mapping[str, Mapping[str, float]]


def score_class_case(
    truth: NDArray[Any],
    pred: NDArray[Any],
    manifest: Manifest,
    spacing_mm: Sequence[float],
    settings: ScoreSettings,
) -> ClassValues:
    """Score one case.

    Args:
        truth: (row, column) or (row, column, slice) class indices.
        pred: The same on the same grid.
        manifest: Names the classes.
        spacing_mm: Spacing of each axis in mm.
        settings: Tolerance and rule for empty classes count.

    Returns:
        The scores `CLASS_SCORE_NAMES` of each class but background.

    Raises:
        LabelError: If the arrays do not fit each other or hold a value that is no class.
    """
    names = {label_class.index: label_class.name for label_class in manifest.classes}
    return class_scores(truth, pred, names, spacing_mm, settings.tolerance_mm, settings.empty)


def summarise_classes(cases: Mapping[str, ClassValues]) -> Summary:
    """Return the means over cases: `dice_<class>` of each class, and `dice` as the mean over the classes of these.

    A case counts for a class where it has the score: where neither truth nor prediction has the class it may have none.
    Of class names that differ in more than letters and digits only, each gets its place among the classes as well.

    Args:
        cases: What `score_class_case` gave, by case.
    """
    cases = dict(sorted(cases.items()))
    keys = _keys(list(next(iter(cases.values()))))
    scores: dict[str, float] = {}
    by_case: dict[str, dict[str, float]] = {}
    for score in CLASS_SCORE_NAMES:
        of_class = {
            f"{score}_{key}": {case: values[name][score] for case, values in cases.items()}
            for name, key in keys.items()
        }
        means = {name: known_mean(values.values()) for name, values in of_class.items()}
        scores |= {score: known_mean(means.values()), **means}
        by_case[score] = {case: known_mean(values[name][score] for name in keys) for case, values in cases.items()}
        by_case |= of_class
    return Summary(scores, by_case, cases, key_score="dice")


def _keys(class_names: Sequence[str]) -> dict[str, str]:
    """Return what each class is called in the names of scores: no two alike."""
    counts = Counter(map(as_key, class_names))
    taken = {key for key, count in counts.items() if count == 1}
    keys = {}
    for number, name in enumerate(class_names, 1):
        key = as_key(name)
        if counts[key] > 1:
            key = f"{key}_{number}"
            while key in taken:
                key += "_"
            taken.add(key)
        keys[name] = key
    return keys
