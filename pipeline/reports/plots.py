"""Plots of a report as SVG that stands in the page: its colours are the page's, in light and dark, its text is text."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any, Final
from xml.etree import ElementTree

from markupsafe import Markup
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from .evaluation import Reliability
from .learning_curves import StepLosses
from .run_folder import RunFolder
from .score_names import score_name, written

# Colours that stand for variables of the page's style sheet, see `templates/report.css`.
_INK: Final = "#000001"
_GRID: Final = "#000002"
_RUNS: Final = ("#000011", "#000012", "#000013", "#000014")
_VARIABLES: Final = {_INK: "var(--ink)", _GRID: "var(--line)"} | {
    colour: f"var(--run{number})" for number, colour in enumerate(_RUNS, 1)
}
# Runs differ in line and mark as well: colour alone would not tell them apart in print.
_LINES: Final = ("-", "--", ":", "-.")
_MARKS: Final = ("o", "s", "^", "D")
_SIZE_IN: Final = (4.6, 2.9)
_SVG: Final = "http://www.w3.org/2000/svg"
_SETTINGS: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",  # ids are random without
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "axes.edgecolor": _GRID,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Plot:
    """A plot.

    Attributes:
        svg: An `<svg>` element with a title and a description.
        title: What it shows.
        said: What is to be seen in it, in words.
    """

    svg: Markup
    title: str
    said: str


def loss_plot(runs: Sequence[tuple[RunFolder, StepLosses | None]]) -> Plot | None:
    """Draw the training loss, by steps where they are known and by epochs; None without any."""
    shown = [(run, steps, [epoch for epoch in run.epochs if epoch.loss is not None]) for run, steps in runs]
    shown = [(run, steps, epochs) for run, steps, epochs in shown if steps is not None or epochs]
    if not shown:
        return None

    def draw(axes: Axes) -> None:
        for run, steps, epochs in shown:
            colour, line, mark = _look(run)
            if steps is not None:
                axes.plot(steps.epochs, steps.losses, color=colour, linewidth=0.8, alpha=0.55)
            losses = [epoch.loss or 0.0 for epoch in epochs]
            axes.plot(
                [epoch.number for epoch in epochs], losses, line, marker=mark, markersize=4, color=colour,
                label=run.letter,
            )  # fmt: skip
        if _span_a_decade(shown):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel("loss")
        _over_epochs(axes)

    ends = [(run, epochs[0], epochs[-1]) for run, _, epochs in shown if epochs]
    said = _said([(run, _from_to(first.number, first.loss, last.number, last.loss)) for run, first, last in ends])
    return _plot("Training loss", said, draw, "loss", len(shown) > 1)


def score_plot(score: str, runs: Sequence[RunFolder], number: int) -> Plot | None:
    """Draw a validation score over the epochs; None where no run has it."""
    by_run = [
        (run, {epoch.number: epoch.scores[score] for epoch in run.epochs if score in epoch.scores}) for run in runs
    ]
    shown = [(run, values) for run, values in by_run if values]
    if not shown:
        return None
    name = score_name(score)

    def draw(axes: Axes) -> None:
        for run, values in shown:
            colour, line, mark = _look(run)
            axes.plot([*values], [*values.values()], line, marker=mark, markersize=4, color=colour, label=run.letter)
            best = run.best_epoch.number if run.best_epoch is not None and run.record is not None else None
            if best in values and run.record is not None and "best_epoch" in run.record:
                axes.plot([best], [values[best]], marker="o", markersize=11, markerfacecolor="none", color=colour)
        axes.set_ylabel(name.text)
        _over_epochs(axes)

    ends = [(run, min(values), max(values), values) for run, values in shown]
    said = _said([(run, _from_to(first, values[first], last, values[last])) for run, first, last, values in ends])
    better = f" ({name.better} is better)" if name.better else ""
    return _plot(f"Validation: {name.text}{better}", said, draw, f"score{number}", len(shown) > 1)


def cases_plot(score: str, by_run: Sequence[tuple[RunFolder, Mapping[str, float]]], added: str = "") -> Plot:
    """Draw a score of every case, the cases in the order of the first run's values; `added` to the score's name."""
    name = score_name(score)
    cases = list(dict.fromkeys(case for _, values in by_run for case in values))
    places = {case: place for place, case in enumerate(cases, 1)}

    def draw(axes: Axes) -> None:
        for run, values in by_run:
            colour, _, mark = _look(run)
            axes.plot(
                [places[case] for case in values],
                [*values.values()],
                mark,
                markersize=6,
                color=colour,
                label=run.letter,
            )
        axes.set_xlim(0.5, len(cases) + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("case, from the worst to the best" + (f" of {by_run[0][0].letter}" if len(by_run) > 1 else ""))
        axes.set_ylabel(name.text)

    said = _said(
        [
            (run, f"{written(min(values.values()))} to {written(max(values.values()))} over {len(values)} cases")
            for run, values in by_run
        ]
    )
    better = f" ({name.better} is better)" if name.better else ""
    return _plot(f"{name.text} of every case{added}{better}", said, draw, "cases", len(by_run) > 1)


def calibration_plot(by_run: Sequence[tuple[RunFolder, Reliability]]) -> Plot:
    """Draw how often a class is there where it is given a probability."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=0.8, linestyle=(0, (2, 3)), label="perfect")
        for run, calibration in by_run:
            colour, line, mark = _look(run)
            points = [(bin_.mean_probability, bin_.positive_fraction) for bin_ in calibration.bins if bin_.count]
            axes.plot(
                *zip(*points, strict=True),
                line,
                marker=mark,
                markersize=5,
                color=colour,
                label=run.letter if len(by_run) > 1 else "network",
            )
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
        axes.set_xlabel("probability that the network gave")
        axes.set_ylabel("how often it was so")

    errors = [(run, calibration.expected_error, calibration.greatest_error) for run, calibration in by_run]
    said = _said(
        [
            (run, f"expected calibration error {written(mean)}, greatest in a bin {written(greatest)}")
            for run, mean, greatest in errors
        ]
    )
    return _plot("Reliability of the probabilities", said, draw, "calibration", True)


def _look(run: RunFolder) -> tuple[str, str, str]:
    number = (ord(run.letter) - ord("A")) % len(_RUNS)
    return _RUNS[number], _LINES[number], _MARKS[number]


def _span_a_decade(shown: Sequence[tuple[RunFolder, StepLosses | None, Sequence[Any]]]) -> bool:
    losses = [loss for _, steps, _ in shown if steps is not None for loss in steps.losses]
    losses += [epoch.loss for _, _, epochs in shown for epoch in epochs]
    return bool(min(losses) > 0 and max(losses) > 10 * min(losses))


def _said(by_run: Sequence[tuple[RunFolder, str]]) -> str:
    """Return what is said of each run; of one alone without its letter."""
    return "; ".join(text if len(by_run) == 1 else f"{run.letter}: {text}" for run, text in by_run)


def _from_to(first: int, value: float | None, last: int, last_value: float | None) -> str:
    if first == last:
        return f"{written(value)} in epoch {first}"
    return f"{written(value)} in epoch {first}, {written(last_value)} in epoch {last}"


def _over_epochs(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")


def _plot(title: str, said: str, draw: Callable[[Axes], None], name: str, has_legend: bool) -> Plot:
    # Whatever the settings of this machine are, and whatever letters its fonts lack: the browser draws them.
    with style.context(["default", _SETTINGS]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=_SIZE_IN, layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        if has_legend:
            axes.legend(fontsize=9)
        file = StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Plot(_inline(file.getvalue(), name, title, said), title, said)


def _inline(svg: str, name: str, title: str, said: str) -> Markup:
    """Return the element alone, with ids that are its own in the page, and the page's colours."""
    ElementTree.register_namespace("", _SVG)
    root = ElementTree.fromstring(svg)
    for metadata in root.findall(f"{{{_SVG}}}metadata"):
        root.remove(metadata)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    for element in root.iter():
        for attribute, value in list(element.attrib.items()):
            del element.attrib[attribute]
            # A page of HTML knows no namespaces, and links inside SVG need none any more.
            element.set(attribute.rpartition("}")[2], _renamed(attribute, value, name))
        if element.get("id", "").startswith(f"{name}-") and not _is_referred(element.tag):
            del element.attrib["id"]
    root.attrib |= {"role": "img", "class": "plot", "aria-labelledby": f"{name}-title {name}-said"}
    for tag, text in (("desc", said), ("title", title)):
        told = ElementTree.Element(f"{{{_SVG}}}{tag}", {"id": f"{name}-{'said' if tag == 'desc' else tag}"})
        told.text = text
        root.insert(0, told)
    text = ElementTree.tostring(root, encoding="unicode")
    return Markup(re.sub(r"\s*\n\s*", "\n", text))


def _is_referred(tag: str) -> bool:
    """Return whether plots refer to elements of this kind: marks, and what lines are cut at."""
    return tag in (f"{{{_SVG}}}path", f"{{{_SVG}}}clipPath")


def _renamed(attribute: str, value: str, name: str) -> str:
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, variable)
    if attribute == "id":
        return f"{name}-{value}"
    if attribute.endswith("href") and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return value.replace("url(#", f"url(#{name}-")
