"""What the scores of all cases come to: means, scores by case, and what a table is made of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """The scores of a split.

    Attributes:
        scores: What is quoted, by name: means over cases, or what the kind of score defines over all of them.
        scores_by_case: By name, the value of each case; NaN where a case has none.
        table: By case, class and score: what `ScoreTable.of` takes.
        key_score: Name of the score by which cases are called best and worst; more is better.
    """

    scores: Mapping[str, float]
    scores_by_case: Mapping[str, Mapping[str, float]]
    table: Mapping[str, Mapping[str, Mapping[str, float]]]
    key_score: str

    def ranked_cases(self) -> list[str]:
        """Return the cases that have the key score, the best first; equal ones in the order of their ids."""
        by_case = self.scores_by_case[self.key_score]
        known = [case for case in sorted(by_case) if not math.isnan(by_case[case])]
        return sorted(known, key=lambda case: -by_case[case])


def known_mean(values: Iterable[float]) -> float:
    """Return the mean of the values that are not NaN, rounded once whatever their order; NaN without any."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def as_key(name: str) -> str:
    """Return a name as a part of the name of a score.

    Examples:
        >>> as_key("right kidney")
        'right_kidney'
    """
    return re.sub(r"\W+", "_", name.strip())
