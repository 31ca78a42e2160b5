"""Two runs against each other, score by score, on the cases that both were evaluated on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ..metrics import PairedComparison, paired_comparison
from .evaluation import Column
from .run_folder import RunFolder
from .score_names import score_name

_LEVEL: Final = 0.05


@dataclass(frozen=True)
class RunComparison:
    """The second run against the first.

    Attributes:
        first: A run.
        second: The other run.
        columns: Second minus first for each class and score that both have; empty where they cannot be compared.
        only_in_one: Cases that only one of them was scored on, and that were left out therefore.
        reason: Why they cannot be compared, or None.
    """

    first: RunFolder
    second: RunFolder
    columns: dict[Column, PairedComparison]
    only_in_one: tuple[str, ...]
    reason: str | None = None

    def reading(self, column: Column) -> str:
        """Return in words which run a difference speaks for: one is better only if interval and test say so."""
        found, better = self.columns[column], score_name(column[1]).better
        if not found.difference.is_known:
            return "too few to tell"
        if found.difference.low <= 0 <= found.difference.high or found.p_value >= _LEVEL:
            return "no clear difference"
        if better not in ("higher", "lower"):
            return "they differ"
        is_second = (found.difference.low > 0) == (better == "higher")
        return f"{(self.second if is_second else self.first).letter} is better"


def compare_runs(first: RunFolder, second: RunFolder) -> RunComparison:
    """Compare two runs where both were evaluated on one split, with the seed that the first one's intervals have."""

    def because(reason: str) -> RunComparison:
        return RunComparison(first, second, {}, (), reason)

    ours, theirs = first.evaluation, second.evaluation
    if ours is None or theirs is None:
        missing = [run.letter for run in (first, second) if run.evaluation is None]
        return because(f"no evaluation of {' and '.join(missing)}")
    if not ours.measures_the_same_as(theirs):
        return because("they were evaluated on different cases or labels, so that scores differ for that reason alone")
    differing = ours.differing_settings(theirs)
    if differing:
        return because(f"they were scored with other settings ({', '.join(differing)})")
    if ours.table is None or theirs.table is None:
        return because("an evaluation does not say which patient each case belongs to; evaluate again")
    columns = [column for column in ours.columns if column in theirs.columns]
    if not columns:
        return because("they have no score in common")
    common = set(ours.cases) & set(theirs.cases)
    if not common:
        return because("they have no case in common")
    patients = ours.table.patients | theirs.table.patients
    compared = {
        column: paired_comparison(
            {case: value for case, value in ours.by_case(column).items() if case in common},
            {case: value for case, value in theirs.by_case(column).items() if case in common},
            patients,
            seed=ours.seed,
        )
        for column in columns
    }
    return RunComparison(first, second, compared, tuple(sorted(set(ours.cases) ^ set(theirs.cases))))
