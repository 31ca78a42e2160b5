"""Scores: plain NumPy functions, and the MONAI and Ignite metrics that call them."""

from .em import EM_THRESHOLDS as EM_THRESHOLDS
from .em import EMCurves as EMCurves
from .em import em_scores as em_scores
from .em import em_stack_scores as em_stack_scores
from .em_metric import EMScores as EMScores
from .em_metric import EMSlices as EMSlices
from .volume_dice import DiceScore as DiceScore
from .volume_dice import VolumeDice as VolumeDice

__all__ = [
    "EM_THRESHOLDS",
    "DiceScore",
    "EMCurves",
    "EMScores",
    "EMSlices",
    "VolumeDice",
    "em_scores",
    "em_stack_scores",
]
