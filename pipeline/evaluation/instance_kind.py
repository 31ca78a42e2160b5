"""Scores of instances: panoptic quality, F1 at thresholds of IoU, and the Cell Tracking Challenge's SEG and DET."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from ..data import Manifest
from ..metrics import (
    CTCDetections,
    CTCSeg,
    InstanceScores,
    ctc_det,
    ctc_detections,
    ctc_seg,
    ctc_seg_sequence,
    instance_scores,
)
from .settings import PANOPTIC_IOU, ScoreSettings
from .summary import Summary, known_mean


@dataclass(frozen=True)
class InstanceValues:
    """The scores of one case.

    Attributes:
        panoptic: At the IoU of the published panoptic quality.
        at_thresholds: At each of the thresholds of F1.
        seg: SEG of the frame.
        detections: What DET is counted from.
    """

    panoptic: InstanceScores
    at_thresholds: tuple[InstanceScores, ...]
    seg: CTCSeg
    detections: CTCDetections


def score_instance_case(truth: NDArray[Any], pred: NDArray[Any], settings: ScoreSettings) -> InstanceValues:
    """Score one case.

    Args:
        truth: (row, column) or (row, column, slice) whole numbers, one for each object, 0 is background.
        pred: The same on the same grid.
        settings: Thresholds, border of the field of interest and rule for images without objects count.

    Raises:
        LabelError: If the arrays do not fit each other or hold what is no instance.
        ConfigError: If the border leaves nothing of the image.
    """
    panoptic, *at_thresholds = instance_scores(
        truth, pred, (PANOPTIC_IOU, *settings.iou_thresholds), empty=settings.empty
    )
    return InstanceValues(
        panoptic,
        tuple(at_thresholds),
        ctc_seg(truth, pred, settings.border_px, settings.empty),
        ctc_detections(truth, pred, settings.border_px),
    )


def summarise_instances(cases: Mapping[str, InstanceValues], manifest: Manifest, settings: ScoreSettings) -> Summary:
    """Return means over cases, but SEG and DET over the objects of all cases, as the challenge defines them.

    Args:
        cases: What `score_instance_case` gave, by case.
        manifest: Names class 1 for the table.
        settings: Those of the cases.
    """
    cases = dict(sorted(cases.items()))
    of_case = {case: _values(values, settings) for case, values in cases.items()}
    by_case = {name: {case: of_case[case][name] for case in cases} for name in next(iter(of_case.values()))}
    scores = {name: known_mean(values.values()) for name, values in by_case.items()}
    scores["seg"] = ctc_seg_sequence([values.seg for values in cases.values()]).value
    scores["det"] = ctc_det([values.detections for values in cases.values()], settings.empty)
    name = manifest.classes[1].name
    return Summary(
        scores, by_case, {case: {name: values} for case, values in of_case.items()}, key_score="panoptic_quality"
    )


def _values(values: InstanceValues, settings: ScoreSettings) -> dict[str, float]:
    return {
        "panoptic_quality": values.panoptic.panoptic_quality,
        "segmentation_quality": values.panoptic.segmentation_quality,
        **{f"f1_iou_{scores.iou_threshold:g}": scores.f1 for scores in values.at_thresholds},
        "seg": values.seg.value,
        "det": ctc_det([values.detections], settings.empty),
    }
