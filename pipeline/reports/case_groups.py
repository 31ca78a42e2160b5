"""The worst and the best cases of runs, with their overlays side by side."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .comparison import RunComparison
from .embedded_picture import EmbeddedPicture
from .plots import cases_plot
from .ranked_cases import RankedCases, ranked_cases
from .run_folder import RunFolder
from .score_names import score_name, written

_CASES_SHOWN = 3  # of the worst, and of the best


@dataclass(frozen=True)
class CaseCell:
    """A case in one run: its score, its overlay or why there is none."""

    run: RunFolder
    value: float
    picture: EmbeddedPicture | None
    reason: str | None


@dataclass(frozen=True)
class CaseGroup:
    """The worst or the best cases, each with a cell for each run that they are shown of; `score` as people write it."""

    title: str
    score: str
    rows: Sequence[tuple[str, Sequence[CaseCell]]]


def case_sections(runs: Sequence[RunFolder], comparisons: Sequence[RunComparison]) -> dict[str, object]:
    """Return the worst and best cases: of runs that can be compared the same ones, by the scores of the first."""
    together = [runs[0], *(entry.second for entry in comparisons if entry.reason is None)]
    groups = _case_groups(together, together[0], set())
    for run in together[1:]:
        # An evaluation draws its own best and worst cases, which may be others than those of the first run.
        groups += _case_groups(together, run, {case for group in groups for case, _ in group.rows})
    for run in runs:
        if run not in together:
            groups += _case_groups([run], run, set())
    plotted: list[tuple[RunFolder, Mapping[str, float]]] = []
    first = ranking_of(runs[0])
    for run in together:
        ranking = ranking_of(run, () if first is None else (first.score,))
        if ranking is not None and first is not None and ranking.score == first.score and ranking.values:
            plotted.append((run, ranking.values))
    trained = [
        (run, EmbeddedPicture.read(run.training_picture, _overlay_text("the first validation case", run, None)))
        for run in runs
        if run.evaluation is None and run.training_picture is not None
    ]
    return {
        "case_groups": groups,
        "cases_plot": cases_plot(first.score, plotted, _over_classes(runs[0])) if first and plotted else None,
        "training_pictures": trained,
    }


def ranking_of(run: RunFolder, also: Sequence[str | None] = ()) -> RankedCases | None:
    """Rank the cases of a run by its key score, or by a score that is preferred to that; None without an evaluation."""
    if run.evaluation is None:
        return None
    return ranked_cases(run.evaluation, (*also, run.evaluation.key_score, run.key_metric))


def _case_groups(runs: Sequence[RunFolder], judge: RunFolder, shown: Collection[str]) -> list[CaseGroup]:
    """Return the cases that are worst and best in one of the runs, but for those that are shown already."""
    ranking = ranking_of(judge)
    if ranking is None:
        return []
    rankings = [ranking_of(run, (ranking.score,)) for run in runs]
    of = f" of {judge.letter}" if len(runs) > 1 or judge.letter != "A" else ""
    titled: Iterable[tuple[str, Sequence[str]]]
    if len(ranking.values) <= 2 * _CASES_SHOWN:
        titled = [("All cases from the worst to the best", list(ranking.values))]
    else:
        titled = zip(("Worst cases", "Best cases"), ranking.extremes(_CASES_SHOWN), strict=True)
    groups = []
    for title, cases in titled:
        rows = [
            (case, [_cell(run, case, of_run) for run, of_run in zip(runs, rankings, strict=True)])
            for case in cases
            if case not in shown
        ]
        if rows:
            groups.append(CaseGroup(title + of, score_name(ranking.score).text + _over_classes(judge), rows))
    return groups


def _over_classes(run: RunFolder) -> str:
    """Return what is said after the name of a score that stands for a whole case."""
    many = run.evaluation is not None and len(run.evaluation.classes) > 1
    return ", mean over classes" if many else ""


def _cell(run: RunFolder, case: str, ranking: RankedCases | None) -> CaseCell:
    value = math.nan if ranking is None else ranking.values.get(case, math.nan)
    path = run.picture_of(case)
    if path is None:
        was_drawn = run.evaluation is not None and case in run.evaluation.pictures
        gone = "The overlay that the evaluation drew is gone; evaluate again for it."
        never = "No overlay of this case: an evaluation draws its own best and worst cases."
        return CaseCell(run, value, None, gone if was_drawn else never)
    score = None if ranking is None else f"{score_name(ranking.score).text} {written(value)}"
    return CaseCell(run, value, EmbeddedPicture.read(path, _overlay_text(f"case {case}", run, score)), None)


def _overlay_text(what: str, run: RunFolder, score: str | None) -> str:
    return f"Overlay of truth and prediction on {what}, run {run.letter}{'' if score is None else f', {score}'}"
