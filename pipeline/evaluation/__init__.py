"""Predictions against the truth of a split: from files that anybody made, or inside the evaluator of a bundle."""

from .comparison import ComparedScore as ComparedScore
from .comparison import OtherEvaluation as OtherEvaluation
from .comparison import compare as compare
from .comparison import comparison_fields as comparison_fields
from .evaluate_predictions import evaluate_predictions as evaluate_predictions
from .evaluation import Evaluation as Evaluation
from .evaluation import SkippedCase as SkippedCase
from .evaluation import check_output as check_output
from .evaluation import split_digest as split_digest
from .placed_file import spacing_of as spacing_of
from .predicted_case import Objects as Objects
from .predicted_case import Values as Values
from .score_text import comparison_text as comparison_text
from .score_text import head_lines as head_lines
from .score_text import table_text as table_text
from .scored_case import CaseArrays as CaseArrays
from .scored_case import ScoredCase as ScoredCase
from .scored_case import score_case as score_case
from .settings import SCORE_KINDS as SCORE_KINDS
from .settings import ScoreKind as ScoreKind
from .settings import ScoreSettings as ScoreSettings
from .settings import check_kind as check_kind
from .settings import has_membranes as has_membranes
