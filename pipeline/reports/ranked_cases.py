"""Which cases came out best and worst."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from .evaluation import Evaluation
from .score_names import score_name


@dataclass(frozen=True)
class RankedCases:
    """Cases from the worst to the best.

    Attributes:
        score: The score that ranks them.
        values: Its mean over the classes of each case, the worst case first; cases without it are not there.
        without: Cases without it.
    """

    score: str
    values: dict[str, float]
    without: tuple[str, ...]

    def extremes(self, count: int) -> tuple[list[str], list[str]]:
        """Return the worst cases, worst first, and the best, best first; no case is among both.

        Examples:
            >>> RankedCases("dice", {"a": 0.1, "b": 0.5, "c": 0.9}, ()).extremes(2)
            (['a', 'b'], ['c'])
        """
        cases = list(self.values)
        worst = cases[:count]
        best = [case for case in reversed(cases[-count:]) if case not in worst]
        return worst, best


def ranked_cases(evaluation: Evaluation, preferred: Sequence[str | None] = ()) -> RankedCases | None:
    """Rank cases by the first of the preferred scores that is there, or else by the first score of the evaluation.

    Args:
        evaluation: The evaluation.
        preferred: Names of scores.

    Returns:
        The ranking; equal cases by their ids. None where nothing says which way any score is better.
    """
    scores = list(dict.fromkeys(score for _, score in evaluation.columns if score_name(score).better is not None))
    if not scores:
        return None
    score = next((name for name in preferred if name in scores), scores[0])
    of_case: defaultdict[str, list[float]] = defaultdict(list)
    for column in evaluation.columns:
        if column[1] == score:
            for case, value in evaluation.by_case(column).items():
                if not math.isnan(value):
                    of_case[case].append(value)
    name = score_name(score)
    # What counts of several classes is how far each is off, whichever way.
    badness = {case: math.fsum(map(name.badness, values)) / len(values) for case, values in of_case.items()}
    means = {case: math.fsum(values) / len(values) for case, values in of_case.items()}
    order = sorted(means, key=lambda case: (-badness[case], case))
    without = tuple(case for case in evaluation.cases if case not in means)
    return RankedCases(score, {case: means[case] for case in order}, without)
