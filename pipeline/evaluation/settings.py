"""What is scored, and how: the choices on which numbers depend, written into every record of an evaluation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from ..data import Manifest
from ..errors import ConfigError
from ..metrics import EM_THRESHOLDS, EmptyRule
from ..metrics.empty import check_empty_rule

ScoreKind = Literal["classes", "membranes", "instances"]

SCORE_KINDS: Final[tuple[ScoreKind, ...]] = get_args(ScoreKind)
# The threshold at which panoptic quality is published.
PANOPTIC_IOU: Final = 0.5


@dataclass(frozen=True)
class ScoreSettings:
    """Choices of an evaluation. Sequences may be lists, as configs give them.

    Attributes:
        tolerance_mm: Tolerance of the NSD of classes, in mm.
        empty: What a score is where neither truth nor prediction has the class or an object, see
            `pipeline.metrics.empty`.
        thresholds: Where membrane probabilities are cut, in [0, 1].
        warping: Whether membranes get the warping error, which adds about half to their time.
        iou_thresholds: Where instances match for F1, in [0, 1).
        border_px: Width of the border outside the field of interest of SEG and DET, in pixels.
        calibration_bins: Bins of the calibration.
        seed: Seeds the confidence intervals.

    Raises:
        ConfigError: If one of them is not possible.
    """

    tolerance_mm: float = 1.0
    empty: EmptyRule = "nan"
    thresholds: Sequence[float] = EM_THRESHOLDS
    warping: bool = True
    iou_thresholds: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9)
    border_px: int = 0
    calibration_bins: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.tolerance_mm) and self.tolerance_mm >= 0):
            raise ConfigError(f"tolerance_mm must be a number of at least 0, got {self.tolerance_mm}")
        check_empty_rule(self.empty)
        if not self.thresholds or not all(0 <= threshold <= 1 for threshold in self.thresholds):
            raise ConfigError(f"thresholds must lie in 0..1, one at least, got {list(self.thresholds)}")
        if not self.iou_thresholds or not all(0 <= threshold < 1 for threshold in self.iou_thresholds):
            raise ConfigError(
                f"iou_thresholds must be at least 0 and less than 1, one at least, got {list(self.iou_thresholds)}"
            )
        if len({f"{threshold:g}" for threshold in self.iou_thresholds}) < len(self.iou_thresholds):
            raise ConfigError(
                f"iou_thresholds must differ in their first six digits, which name the scores, got "
                f"{list(self.iou_thresholds)}"
            )
        if not isinstance(self.warping, bool):  # "false" would be taken for true
            raise ConfigError(f"warping must be True or False, got {self.warping!r}")
        if self.border_px < 0:
            raise ConfigError(f"border_px must be at least 0, got {self.border_px}")
        if self.calibration_bins < 1:
            raise ConfigError(f"calibration_bins must be at least 1, got {self.calibration_bins}")
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, got {self.seed}")

    def of_kind(self, kind: ScoreKind) -> dict[str, Any]:
        """Return the settings that scores of a kind depend on, as JSON has them."""
        of_kind: dict[ScoreKind, dict[str, Any]] = {
            "classes": {"tolerance_mm": float(self.tolerance_mm), "empty": self.empty},
            "membranes": {"thresholds": [float(level) for level in self.thresholds], "warping": self.warping},
            "instances": {
                "iou_thresholds": [float(level) for level in self.iou_thresholds],
                "panoptic_iou": PANOPTIC_IOU,
                "border_px": self.border_px,
                "empty": self.empty,
            },
        }
        return {**of_kind[kind], "calibration_bins": self.calibration_bins, "seed": self.seed}


def check_kind(kind: str, manifest: Manifest) -> None:
    """Refuse a kind of scores that is not known, or that the classes of the manifest do not fit.

    Raises:
        ConfigError: If it is so.
    """
    if kind not in SCORE_KINDS:
        raise ConfigError(f"scores {kind!r} are not known; expected one of {', '.join(SCORE_KINDS)}")
    if kind != "classes" and len(manifest.classes) != 2:
        raise ConfigError(
            f"scores of {kind} need two classes, what lies between objects and the objects; data set "
            f"{manifest.name!r} has {len(manifest.classes)}; choose scores of classes"
        )


def has_membranes(manifest: Manifest) -> bool:
    """Return whether a data set is about membranes: of its two classes, class 0 is called so."""
    return len(manifest.classes) == 2 and "membrane" in manifest.classes[0].name.lower()


def units_of(manifest: Manifest) -> dict[str, str]:
    """Return what intervals draw anew, by case: the patient, or the block where splits go by block."""
    by_block = manifest.split_unit == "block"
    return {case.id: (case.block or case.patient) if by_block else case.patient for case in manifest.cases}
