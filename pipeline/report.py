"""The report of one run, or of several side by side: a page for people, and the figures as files for programs."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm.auto import tqdm

from . import __version__
from .counted import counted
from .errors import ConfigError, OutputError
from .formats import checked_target, whole_file
from .metrics import Interval
from .report_samples import TrainingSamples, training_samples
from .reports.case_groups import case_sections, ranking_of
from .reports.comparison import RunComparison, compare_runs
from .reports.embedded_picture import EmbeddedPicture
from .reports.evaluation import Evaluation
from .reports.learning_curves import step_losses
from .reports.metrics_files import metrics_csv, metrics_json
from .reports.model_card import ModelCard
from .reports.notices import notices
from .reports.page import rendered_page
from .reports.plots import Plot, calibration_plot, loss_plot, score_plot
from .reports.run_facts import config_differences, config_text, run_facts
from .reports.run_folder import RunFolder
from .reports.score_names import score_name, written
from .reports.score_notes import score_notes

METRICS_NAMES = ("metrics.csv", "metrics.json")
_CLASSES_AHEAD = 4  # that have a figure each in the head of a report


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
        ConfigError: If a record is damaged, a run comes twice, or a bundle is not the one that a run was trained with.
        ImageError: If a picture cannot be read.
        OutputError: If a file cannot be written, or is there already.
    """
    path, choice = Path(path), choice or BundleChoice()
    if path.suffix.lower() not in (".html", ".htm"):
        raise OutputError(f"report {path} is written as HTML; give it a name that ends in .html")
    targets = [path, *(path.with_name(name) for name in METRICS_NAMES)]
    _check_targets(targets, overwrite)
    if choice.tiles < 0:
        raise ConfigError(f"the number of training tiles must be at least 0, got {choice.tiles}; 0 draws none")
    read = _read_runs(runs)
    bundles = _bundles(read, choice)
    cards = _cards(read, bundles)
    # Of a run in the folder of its bundle nobody said which bundle it is of.
    said = [card if choice.bundles or run.bundle else None for run, card in zip(read, cards, strict=True)]
    comparisons = [compare_runs(read[0], run) for run in read[1:]]
    with tqdm(total=4, desc="report", disable=not progress, leave=False) as bar:
        content = _scores(read, comparisons) | {"notices": notices(list(zip(read, said, strict=True)))}
        bar.update()
        content |= case_sections(read, comparisons)
        bar.update()
        content |= _curves(read)
        bar.update()
        content |= _told(read, bundles, cards, choice)
        bar.update()
    texts = [
        rendered_page(title=_title(read), runs=read, version=__version__, **content),
        metrics_csv(read, comparisons),
        metrics_json(read, comparisons),
    ]
    with ExitStack() as files:
        # The page is entered first and so gets its name last: it speaks of the files beside it.
        for target, text in zip(targets, texts, strict=True):
            partial = files.enter_context(whole_file(target, overwrite=overwrite))
            partial.write_text(text, encoding="utf-8", newline="\n")
    return targets


def _check_targets(targets: Sequence[Path], overwrite: bool) -> None:
    page, *beside = targets
    checked_target(page, overwrite)
    for target in beside:
        if target.exists() and not overwrite:
            raise OutputError(
                f"{target} already exists, perhaps of another report in this folder; give each report a folder of its "
                "own, or pass --force (in Python: overwrite=True) to replace it"
            )
        checked_target(target, overwrite)


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


def _cards(runs: Sequence[RunFolder], bundles: Sequence[Path | None]) -> list[ModelCard | None]:
    """Return the model card of each run; a report must not state the intended use of another bundle."""
    cards = [None if bundle is None else ModelCard.read(bundle) for bundle in bundles]
    for run, card in zip(runs, cards, strict=True):
        if card is not None and run.bundle is not None and card.name != run.bundle.name:
            raise ConfigError(
                f"run {run.folder} is of the bundle {run.bundle.name!r}, and {card.name!r} was given for it; "
                "pass the bundle of each run with --bundle"
            )
    return cards


def _title(runs: Sequence[RunFolder]) -> str:
    return " and ".join(run.name if len(runs) == 1 else f"{run.letter}: {run.name}" for run in runs)


def _scores(runs: Sequence[RunFolder], comparisons: Sequence[RunComparison]) -> dict[str, object]:
    by_run = [
        {(row.class_name, row.score): row for row in run.evaluation.intervals} if run.evaluation else {} for run in runs
    ]
    columns = list(dict.fromkeys(column for rows in by_run for column in rows))
    return {
        "score_notes": score_notes(runs),
        "confidences": sorted({f"{row.interval.confidence:.0%}" for rows in by_run for row in rows.values()}),
        "unit": _unit(runs),
        "quoted": list(dict.fromkeys(score for run in runs if run.evaluation for score in run.evaluation.scores)),
        "score_rows": [(column, [rows.get(column) for rows in by_run]) for column in columns],
        "key_figures": [(run, *figure) for run in runs for figure in _key_figures(run)],
        "case_orders": {run.letter: _case_order(run) for run in runs if run.evaluation is not None},
        "comparisons": comparisons,
    }


def _unit(runs: Sequence[RunFolder]) -> str:
    """Return what the tables go by: where runs differ in it, the patient."""
    units = {run.evaluation.split_unit for run in runs if run.evaluation is not None}
    return units.pop() if len(units) == 1 else "patient"


def _key_figures(run: RunFolder) -> list[tuple[str, str, str]]:
    """Return name, value and reach of the figures in the head of a report: one a class where these are few."""
    evaluation, ranking = run.evaluation, ranking_of(run)
    if evaluation is not None and ranking is not None:
        name = score_name(ranking.score).heading
        found = [row for row in evaluation.intervals if row.score == ranking.score]
        if 1 <= len(found) <= _CLASSES_AHEAD:
            names = [name] if len(found) == 1 else [f"{row.class_name}: {name}" for row in found]
            return [(text, *_reach(row.interval, evaluation)) for text, row in zip(names, found, strict=True)]
        mean = math.fsum(ranking.values.values()) / len(ranking.values) if ranking.values else math.nan
        note = f"mean over {len(found)} classes and over cases" if found else "mean over cases, no interval recorded"
        return [(name, written(mean), f"{note}; {counted(len(ranking.values), 'case')}")]
    best = run.best_epoch
    if best is None:
        return []
    score = next((name for name in best.scores if name == run.key_metric), next(iter(best.scores)))
    note = f"validation in epoch {best.number}, no evaluation"
    return [(score_name(score).heading, written(best.scores[score]), note)]


def _reach(interval: Interval, evaluation: Evaluation) -> tuple[str, str]:
    """Return a mean, and its interval with the cases that it is over."""
    cases = counted(interval.cases, "case")
    if interval.is_known:
        reach = f"{interval.confidence:.0%} interval {written(interval.low)} to {written(interval.high)}; {cases}"
    elif interval.patients == 0:
        reach = f"no case has it; {counted(len(evaluation.cases), 'case')} scored"
    else:
        reach = f"no interval: only one {evaluation.split_unit}; {cases}"
    return written(interval.mean), reach


def _case_order(run: RunFolder) -> list[str]:
    assert run.evaluation is not None
    ranking = ranking_of(run)
    return [*run.evaluation.cases] if ranking is None else [*ranking.values, *ranking.without]


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


def _told(
    runs: Sequence[RunFolder],
    bundles: Sequence[Path | None],
    cards: Sequence[ModelCard | None],
    choice: BundleChoice,
) -> dict[str, object]:
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
        "model_cards": _by_card(runs, cards),
        "samples": samples,
        "facts": _facts(runs),
        "configs": [(run, config_text(run)) for run in runs],
        "differences": config_differences(runs) if len(runs) > 1 else [],
        "evaluations": [(run, _measured(run.evaluation)) for run in runs if run.evaluation is not None],
    }


def _by_card(
    runs: Sequence[RunFolder], cards: Sequence[ModelCard | None]
) -> list[tuple[ModelCard | None, list[RunFolder]]]:
    """Return each model card once, with the runs that have it."""
    found: list[tuple[ModelCard | None, list[RunFolder]]] = []
    for run, card in zip(runs, cards, strict=True):
        same = next((of_card for other, of_card in found if other == card), None)
        if same is None:
            found.append((card, [run]))
        else:
            same.append(run)
    return found


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
