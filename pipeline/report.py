"""The report of one run, or of several side by side: a page for people, and the figures as files for programs."""

from __future__ import annotations

import math
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from . import __version__
from .errors import ConfigError, OutputError
from .formats import checked_target, whole_file
from .report_samples import TrainingSamples, training_samples
from .reports.comparison import RunComparison, compare_runs
from .reports.embedded_picture import EmbeddedPicture
from .reports.evaluation import Evaluation
from .reports.learning_curves import step_losses
from .reports.metrics_files import metrics_csv, metrics_json
from .reports.model_card import ModelCard
from .reports.page import rendered_page
from .reports.plots import Plot, calibration_plot, cases_plot, loss_plot, score_plot
from .reports.ranked_cases import RankedCases, ranked_cases
from .reports.run_facts import config_differences, config_text, run_facts, stopped_early
from .reports.run_folder import RunFolder
from .reports.score_names import score_name, written

METRICS_NAMES = ("metrics.csv", "metrics.json")
_CASES_SHOWN = 3  # of the worst, and of the best


@dataclass(frozen=True)
class BundleChoice:
    """Where model cards and training tiles come from.

    Attributes:
        bundles: Folder of the bundle of all runs, or of each in their order; where none is given, a run that lies in
            the folder of its bundle has that one.
        manifest: The manifest for training tiles; that of the bundle by default.
        data: Folder of the data set; where the bundle expects it by default.
        tiles: How many training tiles are drawn; none at 0.
    """

    bundles: Sequence[Path] = ()
    manifest: Path | None = None
    data: Path | None = None
    tiles: int = 3


@dataclass(frozen=True)
class CaseCell:
    """A case in one run: its score, its overlay, and why there is none."""

    run: RunFolder
    value: float
    picture: EmbeddedPicture | None


@dataclass(frozen=True)
class CaseGroup:
    """The worst or the best cases, each with a cell for each run that they are shown of."""

    title: str
    score: str
    rows: Sequence[tuple[str, Sequence[CaseCell]]]


def write_report(
    path: str | Path,
    runs: Sequence[str | Path],
    choice: BundleChoice | None = None,
    *,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Path]:
    """Write a report, and beside it `metrics.csv` and `metrics.json`.

    The page fetches nothing and is the same for the same runs. It names cases by their ids.

    Args:
        path: The HTML file.
        runs: Folders of runs; the first is what others are compared with.
        choice: Where model cards and training tiles come from.
        overwrite: Replace files that are there.
        progress: Show a progress bar.

    Returns:
        The files that were written.

    Raises:
        MissingFileError: If a run or a bundle is not there.
        ConfigError: If a record is damaged, a run comes twice, or the bundles do not go with the runs.
        ImageError: If a picture cannot be read.
        OutputError: If a file cannot be written, or is there already.
    """
    path, choice = Path(path), choice or BundleChoice()
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"report {path} is written as HTML; give it a name that ends in .html")
    targets = [path, *(path.with_name(name) for name in METRICS_NAMES)]
    for target in targets:
        checked_target(target, overwrite)
    if choice.tiles < 0:
        raise ConfigError(f"the number of training tiles must be at least 0, got {choice.tiles}; 0 draws none")
    read = _read_runs(runs)
    bundles = _bundles(read, choice)
    comparisons = [compare_runs(read[0], run) for run in read[1:]]
    with tqdm(total=4, desc="report", disable=not progress, leave=False) as bar:
        content = _scores(read, comparisons)
        bar.update()
        content |= _cases(read, comparisons)
        bar.update()
        content |= _curves(read)
        bar.update()
        content |= _told(read, bundles, choice)
        bar.update()
    texts = [
        rendered_page(title=_title(read), runs=read, version=__version__, **content),
        metrics_csv(read, comparisons),
        metrics_json(read, comparisons),
    ]
    for target, text in zip(targets, texts, strict=True):
        with whole_file(target, overwrite=overwrite) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
    return targets


def _read_runs(folders: Sequence[str | Path]) -> list[RunFolder]:
    letters = string.ascii_uppercase
    if not 1 <= len(folders) <= len(letters):
        raise ConfigError(f"a report is about 1 to {len(letters)} runs, got {len(folders)}")
    seen: set[Path] = set()
    for folder in map(Path, folders):
        if folder.resolve() in seen:
            raise ConfigError(f"run {folder} is given twice; give each run once")
        seen.add(folder.resolve())
    return [RunFolder.read(folder, letter) for folder, letter in zip(folders, letters, strict=False)]


def _bundles(runs: Sequence[RunFolder], choice: BundleChoice) -> list[Path | None]:
    """Return the bundle of each run, or None where it is not known."""
    if len(choice.bundles) not in (0, 1, len(runs)):
        raise ConfigError(f"{len(choice.bundles)} bundles for {len(runs)} runs: give one for all, or one for each")
    if choice.bundles:
        return [*choice.bundles] * (len(runs) if len(choice.bundles) == 1 else 1)
    found = [run.folder if (run.folder / "configs" / "metadata.json").is_file() else None for run in runs]
    if (choice.manifest or choice.data) and not any(found):
        raise ConfigError("manifest and data are for training tiles, which need the bundle of the run; pass --bundle")
    return found


def _title(runs: Sequence[RunFolder]) -> str:
    return " and ".join(run.name if len(runs) == 1 else f"{run.letter}: {run.name}" for run in runs)


def _scores(runs: Sequence[RunFolder], comparisons: Sequence[RunComparison]) -> dict[str, object]:
    by_run = [
        {(row.class_name, row.score): row for row in run.evaluation.intervals} if run.evaluation else {} for run in runs
    ]
    columns = list(dict.fromkeys(column for rows in by_run for column in rows))
    return {
        "notices": [(run, text) for run in runs for text in _notices(run)],
        "unit": _unit(runs),
        "quoted": list(dict.fromkeys(score for run in runs if run.evaluation for score in run.evaluation.scores)),
        "score_rows": [(column, [rows.get(column) for rows in by_run]) for column in columns],
        "key_figures": [(run, *figure) for run in runs if (figure := _key_figure(run)) is not None],
        "case_orders": {run.letter: _case_order(run) for run in runs if run.evaluation is not None},
        "comparisons": comparisons,
    }


def _unit(runs: Sequence[RunFolder]) -> str:
    """Return what the tables go by: where runs differ in it, the patient."""
    units = {run.evaluation.split_unit for run in runs if run.evaluation is not None}
    return units.pop() if len(units) == 1 else "patient"


def _notices(run: RunFolder) -> list[str]:
    """Return what a reader must know before any figure."""
    notices = []
    evaluation = run.evaluation
    if evaluation is not None and evaluation.skipped:
        cases = "; ".join(f"{case} ({reason})" for case, reason in evaluation.skipped.items())
        notices.append(
            f"The evaluation skipped {_counted(len(evaluation.skipped))}: {cases}. "
            f"Scores are over the {len(evaluation.cases)} that are left, and may be too good for that reason."
        )
    early = stopped_early(run)
    if early is not None:
        notices.append(early)
    if evaluation is None:
        notices.append(
            "There is no evaluation. Scores are those of the validation during training, "
            "by which the checkpoint was chosen: they are likely too good."
        )
        return notices
    if run.record is not None:
        if evaluation.data.sha256 != run.data.sha256:
            notices.append("The evaluation is on other data, or another version of the manifest, than the training.")
        elif evaluation.split == "training":
            notices.append(
                "The evaluation is on the cases that the network was trained on: scores say nothing of others."
            )
        elif evaluation.split == "validation":
            notices.append(
                "The evaluation is on the validation cases, by which the checkpoint was chosen: "
                "scores are likely somewhat too good."
            )
    if evaluation.checkpoint_sha256 and run.checkpoint_sha256 not in (None, evaluation.checkpoint_sha256):
        notices.append("The evaluation is of other weights than models/model.pt in the folder of the run.")
    return notices


def _ranking(run: RunFolder, also: Sequence[str | None] = ()) -> RankedCases | None:
    return (
        None
        if run.evaluation is None
        else ranked_cases(run.evaluation, (*also, run.evaluation.key_score, run.key_metric))
    )


def _key_figure(run: RunFolder) -> tuple[str, str, str] | None:
    """Return name, value and reach of the figure that stands in the head of a report."""
    evaluation, ranking = run.evaluation, _ranking(run)
    if evaluation is not None and ranking is not None:
        found = [row for row in evaluation.intervals if row.score == ranking.score]
        if len(found) == 1:
            interval = found[0].interval
            reach = f"no interval: only one {evaluation.split_unit}"
            if interval.is_known:
                reach = f"{interval.confidence:.0%} interval {written(interval.low)} to {written(interval.high)}"
            return score_name(ranking.score).heading, written(interval.mean), f"{reach}; {_counted(interval.cases)}"
        mean = math.fsum(ranking.values.values()) / len(ranking.values) if ranking.values else math.nan
        note = "mean over classes and cases" if found else "mean over cases, no interval recorded"
        return score_name(ranking.score).heading, written(mean), f"{note}; {_counted(len(ranking.values))}"
    best = run.best_epoch
    if best is None:
        return None
    score = next((name for name in best.scores if name == run.key_metric), next(iter(best.scores)))
    return score_name(score).heading, written(best.scores[score]), f"validation in epoch {best.number}, no evaluation"


def _counted(cases: int) -> str:
    return f"{cases} case{'' if cases == 1 else 's'}"


def _case_order(run: RunFolder) -> list[str]:
    assert run.evaluation is not None
    ranking = _ranking(run)
    return [*run.evaluation.cases] if ranking is None else [*ranking.values, *ranking.without]


def _cases(runs: Sequence[RunFolder], comparisons: Sequence[RunComparison]) -> dict[str, object]:
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
    first = _ranking(runs[0])
    for run in together:
        ranking = _ranking(run, () if first is None else (first.score,))
        if ranking is not None and first is not None and ranking.score == first.score and ranking.values:
            plotted.append((run, ranking.values))
    trained = [
        (run, EmbeddedPicture.read(run.training_picture, _overlay_text("the first validation case", run, None)))
        for run in runs
        if run.evaluation is None and run.training_picture is not None
    ]
    return {
        "case_groups": groups,
        "cases_plot": cases_plot(first.score, plotted) if first is not None and plotted else None,
        "training_pictures": trained,
    }


def _case_groups(runs: Sequence[RunFolder], judge: RunFolder, shown: Collection[str]) -> list[CaseGroup]:
    """Return the cases that are worst and best in one of the runs, but for those that are shown already."""
    ranking = _ranking(judge)
    if ranking is None:
        return []
    rankings = [_ranking(run, (ranking.score,)) for run in runs]
    of = f" of {judge.letter}" if len(runs) > 1 or judge.letter != "A" else ""
    groups = []
    for title, cases in zip(("Worst cases", "Best cases"), ranking.extremes(_CASES_SHOWN), strict=True):
        rows = [
            (case, [_cell(run, case, of_run) for run, of_run in zip(runs, rankings, strict=True)])
            for case in cases
            if case not in shown
        ]
        if rows:
            groups.append(CaseGroup(title + of, ranking.score, rows))
    return groups


def _cell(run: RunFolder, case: str, ranking: RankedCases | None) -> CaseCell:
    value = math.nan if ranking is None else ranking.values.get(case, math.nan)
    path = run.picture_of(case)
    if path is None:
        return CaseCell(run, value, None)
    score = None if ranking is None else f"{score_name(ranking.score).text} {written(value)}"
    return CaseCell(run, value, EmbeddedPicture.read(path, _overlay_text(f"case {case}", run, score)))


def _overlay_text(what: str, run: RunFolder, score: str | None) -> str:
    return f"Overlay of truth and prediction on {what}, run {run.letter}{'' if score is None else f', {score}'}"


def _curves(runs: Sequence[RunFolder]) -> dict[str, object]:
    losses = [(run, step_losses(run)) for run in runs]
    scores = dict.fromkeys(score for run in runs for epoch in run.epochs for score in epoch.scores)
    plots: list[Plot | None] = [loss_plot(losses)]
    plots += [score_plot(score, runs, number) for number, score in enumerate(scores)]
    calibrated = [
        (run, run.evaluation.calibration) for run in runs if run.evaluation is not None and run.evaluation.calibration
    ]
    return {
        "curves": [plot for plot in plots if plot is not None],
        "without_steps": [run for run, steps in losses if steps is None and run.record is not None],
        "steps_each": {run.letter: steps.steps_each for run, steps in losses if steps is not None},
        "epoch_scores": list(scores),
        "calibration_plot": calibration_plot(calibrated) if calibrated else None,
        "calibrations": calibrated,
        "uncalibrated": [run for run in runs if run.evaluation is None or run.evaluation.calibration is None],
    }


def _told(runs: Sequence[RunFolder], bundles: Sequence[Path | None], choice: BundleChoice) -> dict[str, object]:
    cards = [None if bundle is None else ModelCard.read(bundle) for bundle in bundles]
    samples = []
    for run, bundle in zip(runs, bundles, strict=True):
        found = _samples(run, bundle, choice)
        tiles = [
            (case, EmbeddedPicture.of(rgb, f"Augmented training tile of case {case}, run {run.letter}"))
            for case, rgb in found.tiles
        ]
        weights = None
        if found.weights is not None:
            text = f"Case {found.weights[0]}: image, label, and weight map with bright borders between cells that touch"
            weights = (found.weights[0], EmbeddedPicture.of(found.weights[1], text))
        samples.append((run, found, tiles, weights))
    return {
        "model_cards": list(zip(runs, cards, strict=True)),
        "samples": samples,
        "facts": _facts(runs),
        "configs": [(run, config_text(run)) for run in runs],
        "differences": config_differences(runs) if len(runs) > 1 else [],
        "evaluations": [(run, _measured(run.evaluation)) for run in runs if run.evaluation is not None],
    }


def _samples(run: RunFolder, bundle: Path | None, choice: BundleChoice) -> TrainingSamples:
    if run.record is None:
        return TrainingSamples(reason="the folder has no record of a training")
    if choice.tiles == 0:
        return TrainingSamples(reason="none were asked for")
    if bundle is None:
        return TrainingSamples(reason="the bundle of the run is not known; pass it with --bundle")
    return training_samples(run.record, bundle, choice.tiles, choice.manifest, choice.data)


def _facts(runs: Sequence[RunFolder]) -> list[tuple[str, list[str]]]:
    by_run = [dict(run_facts(run)) for run in runs]
    headings = dict.fromkeys(heading for facts in by_run for heading in facts)
    return [(heading, [facts.get(heading, "–") for facts in by_run]) for heading in headings]


def _measured(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Return what an evaluation was measured on."""
    facts = [
        ("Data", f"{evaluation.data.name} {evaluation.data.version}, split {evaluation.split}"),
        ("Cases scored", str(len(evaluation.cases))),
        ("Cases skipped", str(len(evaluation.skipped)) if evaluation.skipped else "none"),
        ("Manifest SHA-256", evaluation.data.sha256),
        ("Split SHA-256", evaluation.split_sha256 or "not recorded"),
        ("Checkpoint SHA-256", evaluation.checkpoint_sha256 or "not recorded: predictions were evaluated as they were"),
        ("Kind", evaluation.kind or "not recorded"),
    ]
    if evaluation.predictions is not None:
        facts.append(("Predictions", str(evaluation.predictions)))
    return facts + [(f"Setting {name}", str(value)) for name, value in evaluation.settings.items()]
