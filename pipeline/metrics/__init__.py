"""Scores: plain NumPy functions, and the MONAI and Ignite metrics that call them."""

from .calibration import Calibration as Calibration
from .calibration import calibration as calibration
from .calibration import pooled_calibration as pooled_calibration
from .class_scores import CLASS_SCORE_NAMES as CLASS_SCORE_NAMES
from .class_scores import class_scores as class_scores
from .ctc import CTCDetections as CTCDetections
from .ctc import CTCSeg as CTCSeg
from .ctc import ctc_det as ctc_det
from .ctc import ctc_detections as ctc_detections
from .ctc import ctc_seg as ctc_seg
from .ctc import ctc_seg_sequence as ctc_seg_sequence
from .em import EM_THRESHOLDS as EM_THRESHOLDS
from .em import EMCurves as EMCurves
from .em import em_scores as em_scores
from .em_metric import EMScores as EMScores
from .em_metric import EMSlices as EMSlices
from .em_stack import em_scores_by_case as em_scores_by_case
from .em_stack import em_stack_scores as em_stack_scores
from .empty import EmptyRule as EmptyRule
from .instances import InstanceScores as InstanceScores
from .instances import instance_scores as instance_scores
from .intervals import BootstrapMethod as BootstrapMethod
from .intervals import Interval as Interval
from .intervals import bootstrap_interval as bootstrap_interval
from .intervals import patient_means as patient_means
from .overlap import VolumeDifference as VolumeDifference
from .overlap import dice as dice
from .overlap import iou as iou
from .overlap import volume_difference as volume_difference
from .paired_comparison import PairedComparison as PairedComparison
from .paired_comparison import PairedTest as PairedTest
from .paired_comparison import paired_comparison as paired_comparison
from .score_table import CaseScore as CaseScore
from .score_table import ClassScore as ClassScore
from .score_table import PatientScore as PatientScore
from .score_table import ScoreTable as ScoreTable
from .surface import SurfaceScores as SurfaceScores
from .surface import surface_scores as surface_scores
from .volume_dice import DiceScore as DiceScore
from .volume_dice import VolumeDice as VolumeDice
from .warping import WarpingErrors as WarpingErrors
from .warping import relaxed_truth as relaxed_truth
from .warping import warping_errors as warping_errors

__all__ = [
    "CLASS_SCORE_NAMES",
    "EM_THRESHOLDS",
    "BootstrapMethod",
    "CTCDetections",
    "CTCSeg",
    "Calibration",
    "CaseScore",
    "ClassScore",
    "DiceScore",
    "EMCurves",
    "EMScores",
    "EMSlices",
    "EmptyRule",
    "InstanceScores",
    "Interval",
    "PairedComparison",
    "PairedTest",
    "PatientScore",
    "ScoreTable",
    "SurfaceScores",
    "VolumeDice",
    "VolumeDifference",
    "WarpingErrors",
    "bootstrap_interval",
    "calibration",
    "class_scores",
    "ctc_det",
    "ctc_detections",
    "ctc_seg",
    "ctc_seg_sequence",
    "dice",
    "em_scores",
    "em_scores_by_case",
    "em_stack_scores",
    "instance_scores",
    "iou",
    "paired_comparison",
    "patient_means",
    "pooled_calibration",
    "relaxed_truth",
    "surface_scores",
    "volume_difference",
    "warping_errors",
]
