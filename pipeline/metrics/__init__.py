"""Scores: plain NumPy functions, and the MONAI and Ignite metrics that call them."""

from .em import EM_THRESHOLDS as EM_THRESHOLDS
from .em import EMCurves as EMCurves
from .em import em_scores as em_scores
from .em import em_stack_scores as em_stack_scores
from .em_metric import EMScores as EMScores
from .em_metric import EMSlices as EMSlices

__all__ = ["EM_THRESHOLDS", "EMCurves", "EMScores", "EMSlices", "em_scores", "em_stack_scores"]
