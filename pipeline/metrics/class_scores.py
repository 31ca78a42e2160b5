"""All overlap and surface scores of every class of a case, by name: what a table of scores is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from numpy.typing import ArrayLike

from .empty import EmptyRule
from .overlap import dice, iou, volume_difference
from .score_inputs import checked_classes
from .surface import surface_scores

CLASS_SCORE_NAMES: Final = (
    "dice",
    "iou",
    "nsd",
    "hd95_mm",
    "assd_mm",
    "volume_difference_mm3",
    "relative_volume_difference",
)


def class_scores(
    truth: ArrayLike,
    pred: ArrayLike,
    classes: Mapping[int, str],
    spacing_mm: Sequence[float],
    tolerance_mm: float,
    empty: EmptyRule = "nan",
) -> dict[str, dict[str, float]]:
    """Score every class but background.

    Args:
        truth: (row, column) or (row, column, slice) class indices.
        pred: The same on the same grid.
        classes: Name of each class by its index; 0 is background.
        spacing_mm: Spacing of each axis in mm, in the order of the axes.
        tolerance_mm: Tolerance of the NSD.
        empty: What scores are where neither has the class, see `pipeline.metrics.empty`.

    Returns:
        The scores `CLASS_SCORE_NAMES` by name, for each class by name, in the order of the indices.

    Raises:
        LabelError: If the shapes differ, or there is a value that is no class.
        ConfigError: If spacing, tolerance or `empty` is not possible.
    """
    truth, pred = checked_classes(truth, pred, classes.keys())
    scores = {}
    for index, name in sorted(classes.items()):
        if index == 0:
            continue
        of_truth, of_pred = truth == index, pred == index
        surface = surface_scores(of_truth, of_pred, spacing_mm, tolerance_mm, empty)
        volume = volume_difference(of_truth, of_pred, spacing_mm, empty)
        values = (
            dice(of_truth, of_pred, empty),
            iou(of_truth, of_pred, empty),
            surface.nsd,
            surface.hd95_mm,
            surface.assd_mm,
            *volume,
        )
        scores[name] = dict(zip(CLASS_SCORE_NAMES, values, strict=True))
    return scores
