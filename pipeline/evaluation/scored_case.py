"""One case, scored: by the command that reads files and by the evaluator of a bundle alike, from arrays on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import Manifest
from ..errors import ConfigError, ImageError, LabelError
from ..inferers import class_mask
from ..metrics import Calibration, EMCurves, calibration, pooled_calibration
from .case_picture import case_picture
from .class_kind import ClassValues, score_class_case
from .instance_kind import InstanceValues, score_instance_case
from .membrane_kind import score_membrane_case
from .settings import ScoreKind, ScoreSettings

# What interpolation back to the grid of a volume leaves of probabilities of 0 and 1.
_ROUNDING = 1e-5


@dataclass(frozen=True, eq=False)
class CaseArrays:
    """A case as it is scored.

    Attributes:
        truth: (row, column) or (row, column, slice): class indices, or instances where these are scored.
        pred: The same of the prediction; None where `probability` says it.
        probability: (class, row, column[, slice]) in [0, 1], or None where it is not known.
        spacing_mm: Spacing of each axis in mm; None where it is not known.
        image: The image to draw, (row, column), (row, column, slice), or either with channels in front; None for no
            picture.
    """

    truth: NDArray[Any]
    pred: NDArray[Any] | None
    probability: NDArray[np.floating[Any]] | None
    spacing_mm: Sequence[float] | None
    image: NDArray[Any] | None = None


@dataclass(frozen=True)
class ScoredCase:
    """What is kept of a case.

    Attributes:
        values: Its scores, in the form of its kind.
        calibration: Of the object classes, each against the rest, pooled; None without probabilities.
        picture: Truth and prediction on the image as PNG, or None.
    """

    values: ClassValues | EMCurves | InstanceValues
    calibration: Calibration | None
    picture: bytes | None


def score_case(
    case: str,
    arrays: CaseArrays,
    kind: ScoreKind,
    manifest: Manifest,
    settings: ScoreSettings,
    curves: EMCurves | None = None,
) -> ScoredCase:
    """Score one case.

    Args:
        case: Its id, which messages and the picture name.
        arrays: Truth and prediction.
        kind: What is scored.
        manifest: Names the classes.
        settings: How it is scored.
        curves: The scores of its membranes, where they are known already.

    Raises:
        ImageError: If a probability is outside [0, 1] or not a number; the case is named.
        LabelError: If truth and prediction are not on one grid, or hold values that are no class; the case is named.
        ConfigError: If the spacing is needed and not known.
    """
    try:
        probability = None if arrays.probability is None else _checked(arrays.probability, manifest)
        pred = arrays.pred
        if pred is None:
            if arrays.probability is None:
                raise LabelError("prediction has neither classes nor probabilities; give one of them")
            # As `predict` takes them: before what rounding left beyond 0 and 1 is cut off.
            pred = class_mask(arrays.probability).astype(np.uint8)
        if kind == "membranes":
            values: ClassValues | EMCurves | InstanceValues = curves or score_membrane_case(
                arrays.truth, pred == 0 if probability is None else probability[0], settings
            )
        elif kind == "instances":
            values = score_instance_case(arrays.truth, pred, settings)
        else:
            values = score_class_case(arrays.truth, pred, manifest, _known_spacing(arrays, manifest), settings)
        return ScoredCase(
            values,
            None if probability is None or kind == "instances" else _calibration(probability, arrays.truth, settings),
            None if arrays.image is None else case_picture(case, arrays.image, arrays.truth, pred),
        )
    except (ImageError, LabelError) as error:
        raise type(error)(f"case {case!r}: {error}") from error


def _checked(probability: NDArray[np.floating[Any]], manifest: Manifest) -> NDArray[np.floating[Any]]:
    """Return the probability of every class, in [0, 1]."""
    if len(probability) == 1 and len(manifest.classes) == 2:
        probability = np.concatenate([1 - probability, probability])
    if len(probability) != len(manifest.classes):
        raise ImageError(
            f"probability has {len(probability)} channels; expected one for each of the {len(manifest.classes)} "
            "classes of the manifest"
        )
    lowest, highest = float(probability.min()), float(probability.max())
    if not (lowest >= -_ROUNDING and highest <= 1 + _ROUNDING):  # a NaN fails it too
        values = "NaN" if np.isnan(probability).any() else f"values from {lowest:.6g} to {highest:.6g}"
        raise ImageError(f"probability holds {values}; expected 0 to 1; apply the network's activation first")
    return probability.clip(0, 1)


def _known_spacing(arrays: CaseArrays, manifest: Manifest) -> Sequence[float]:
    if arrays.spacing_mm is None:
        raise ConfigError(
            f"neither the files nor manifest {manifest.path} say the spacing in mm, which surface distances and "
            "volumes need; add spacing_mm (and slice_spacing_mm for stacks) to the manifest"
        )
    return arrays.spacing_mm


def _calibration(probability: NDArray[np.floating[Any]], truth: NDArray[Any], settings: ScoreSettings) -> Calibration:
    """Return the calibration of the object classes: background, which is most of a volume, would drown them."""
    return pooled_calibration(
        calibration(probability[index], truth == index, settings.calibration_bins)
        for index in range(1, len(probability))
    )
