"""Plots: where their marks lie, and that they can stand in a page."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipeline.reports.evaluation import Reliability, ReliabilityBin
from pipeline.reports.learning_curves import step_losses
from pipeline.reports.plots import Plot, calibration_plot, cases_plot, loss_plot, score_plot
from pipeline.reports.run_folder import RunFolder

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def plots(runs: Any) -> list[Plot]:
    pair = [RunFolder.read(runs.first, "A"), RunFolder.read(runs.second, "B")]
    made = [
        loss_plot([(run, step_losses(run)) for run in pair]),
        score_plot("v_rand", pair, 0),
        cases_plot("v_rand", [(run, run.evaluation.by_case(("membrane", "v_rand"))) for run in pair if run.evaluation]),
        calibration_plot([(run, run.evaluation.calibration) for run in pair if run.evaluation]),
    ]
    return [plot for plot in made if plot is not None]


def test_plots_fetch_nothing_and_share_no_id(plots: list[Plot]) -> None:
    assert len(plots) == 4
    ids = [identity for plot in plots for identity in re.findall(r'\bid="([^"]+)"', plot.svg)]
    assert len(ids) == len(set(ids))
    for plot in plots:
        targets = re.findall(r'href="([^"]*)"|url\(([^)]*)\)|aria-labelledby="([^"]*)"', plot.svg)
        names = {name.lstrip("#") for target in targets for part in target for name in part.split()}
        assert names
        assert names <= set(ids)
        assert plot.svg.startswith("<svg ")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")", plot.svg)


def test_colours_are_those_of_the_page(plots: list[Plot]) -> None:
    for plot in plots:
        # White is what a legend lies on and a ring is filled with: neither is drawn.
        colours = set(re.findall(r"#[0-9a-fA-F]{6}\b", re.sub(r'(href="|url\()#[^")]*', "", plot.svg)))
        assert colours <= {"#ffffff"}
        assert {"var(--run1)", "var(--run2)"} <= set(re.findall(r"var\(--\w+\)", plot.svg))


def test_a_plot_says_in_words_what_is_in_it(plots: list[Plot], runs: Any) -> None:
    losses = [epoch.loss for epoch in RunFolder.read(runs.first).epochs]
    for plot in plots:
        root = ElementTree.fromstring(plot.svg)
        assert root.get("role") == "img"
        assert [root[0].tag, root[1].tag] == [f"{SVG}title", f"{SVG}desc"]
        assert root[1].text == plot.said
    first, second = re.findall(r"A: ([\d.]+) in epoch 1, ([\d.]+) in epoch 2", plots[0].said)[0]
    assert [float(first), float(second)] == pytest.approx(losses, rel=1e-3)


def test_each_run_has_its_own_curves(changed: Callable[..., Path]) -> None:
    """Two values of two runs on one scale: places of the marks are in proportion to what they stand for."""
    values = [[0.1, 0.4], [0.35, 0.2]]
    epochs = [[{"epoch": n, "loss": v, "scores": {"dice": v}} for n, v in enumerate(run, 1)] for run in values]
    pair = [
        RunFolder.read(changed("run", {"epochs": of_run}, name=letter), letter)
        for letter, of_run in zip("AB", epochs, strict=True)
    ]
    for plot in (loss_plot([(run, None) for run in pair]), score_plot("dice", pair, 0)):
        assert plot is not None
        assert plot.said == "A: 0.1000 in epoch 1, 0.4000 in epoch 2; B: 0.3500 in epoch 1, 0.2000 in epoch 2"
        uses = [*ElementTree.fromstring(plot.svg).iter(f"{SVG}use")]
        marks = [
            [float(use.get("y", "")) for use in uses if f"var(--run{number})" in use.get("style", "")][:2]
            for number in (1, 2)
        ]
        per_value = (marks[0][1] - marks[0][0]) / 0.3
        assert [y - marks[0][0] for y in marks[1]] == pytest.approx([per_value * 0.25, per_value * 0.1], abs=0.01)


def test_marks_lie_where_the_scores_are(runs: Any) -> None:
    """Places of marks, from the places of two of them."""
    run = RunFolder.read(runs.first)
    values = {"a": 0.1, "b": 0.15, "c": 0.7, "d": 0.9}
    root = ElementTree.fromstring(cases_plot("dice", [(run, values)]).svg)
    marks = [use for use in root.iter(f"{SVG}use") if "--run1" in use.get("style", "")]
    places = [(float(use.get("x", "")), float(use.get("y", ""))) for use in marks]
    assert len(places) == 4
    (left, bottom), (right, top) = places[0], places[-1]
    assert left < right
    assert top < bottom  # SVG counts downwards
    for number, ((x, y), value) in enumerate(zip(places, values.values(), strict=True)):
        assert (x - left) / (right - left) == pytest.approx(number / 3, abs=1e-3)
        assert (bottom - y) / (bottom - top) == pytest.approx((value - 0.1) / 0.8, abs=1e-3)


def test_the_same_run_gives_the_same_bytes_whatever_the_machine_sets(
    runs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import matplotlib as mpl

    run = RunFolder.read(runs.first)
    first = score_plot("v_rand", [run], 0)
    monkeypatch.setitem(mpl.rcParams, "lines.linewidth", 9.0)
    monkeypatch.setitem(mpl.rcParams, "font.size", 30.0)
    assert score_plot("v_rand", [run], 0) == first


@pytest.mark.parametrize(
    "name", ["dice_海馬", "dice_$x^2$", "dice_<b>&\"'", "dice_\x07"], ids=["cjk", "tex", "html", "bell"]
)
def test_names_of_scores_may_hold_anything(changed: Callable[..., Path], name: str) -> None:
    folder = changed("run", {})
    path = folder / "log" / "run.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for epoch in content["epochs"]:
        epoch["scores"] = {name: 0.5}
    path.write_text(json.dumps(content), encoding="utf-8")
    plot = score_plot(name, [RunFolder.read(folder)], 0)
    assert plot is not None
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(plot.svg).iter(f"{SVG}text")]
    assert f"Dice, {name[5:]}".replace("\x07", " ").strip() in [text.strip() for text in texts]


def test_one_epoch_or_case_has_an_axis_of_whole_numbers(changed: Callable[..., Path]) -> None:
    record = json.loads((changed("run", {}) / "log" / "run.json").read_text(encoding="utf-8"))
    run = RunFolder.read(changed("run", {"epochs": record["epochs"][:1]}, name="short"))
    plots = (loss_plot([(run, None)]), score_plot("v_rand", [run], 0), cases_plot("v_rand", [(run, {"a": 0.5})]))
    for plot, name in zip(plots, ("epoch", "epoch", "case, from the worst to the best"), strict=True):
        assert plot is not None
        texts = said_in(ElementTree.fromstring(plot.svg))
        # The numbers of an axis come before its name.
        assert texts[: texts.index(name)] == ["1"]


def test_reliability_has_what_was_said_across_and_what_was_so_upwards(runs: Any) -> None:
    """Three bins, of which the emptied one has no mark; the perfect line runs from corner to corner."""
    run = RunFolder.read(runs.first)
    bins = (
        ReliabilityBin(0.0, 0.5, 10, 0.2, 0.6),
        ReliabilityBin(0.5, 0.7, 0, math.nan, math.nan),
        ReliabilityBin(0.7, 1.0, 10, 0.8, 0.9),
    )
    plot = calibration_plot([(run, Reliability("class", bins, 0.25, 0.4))])
    root = ElementTree.fromstring(plot.svg)
    marks = [use for use in root.iter(f"{SVG}use") if "--run1" in use.get("style", "")]
    places = [(float(use.get("x", "")), float(use.get("y", ""))) for use in marks][:2]
    (left, low), (right, high) = places
    assert left < right
    assert high < low
    ticks = [(float(use.get("x", "")), float(use.get("y", ""))) for use in root.iter(f"{SVG}use") if use not in marks]
    # Ticks stand every 0.2 in both directions, along the lower and the left side.
    step_x, step_y = (sorted({place[axis] for place in ticks}) for axis in (0, 1))
    per_x, per_y = step_x[-1] - step_x[-2], step_y[1] - step_y[0]
    assert (right - left) / per_x == pytest.approx(0.6 / 0.2, rel=0.01)
    assert (low - high) / per_y == pytest.approx(0.3 / 0.2, rel=0.01)
    texts = said_in(root)
    across, upwards = texts.index("probability that the network gave"), texts.index("how often it was so")
    assert texts[across - 1] == "1.0"
    assert texts[upwards - 1] == "1.0"
    assert across < upwards  # the horizontal axis comes first
    # The line goes on over the bin that has no pixels.
    (line,) = (
        path
        for path in root.iter(f"{SVG}path")
        if "stroke: var(--run1)" in path.get("style", "") and path.get("clip-path")
    )
    assert line.get("d", "").split()[0::3] == ["M", "L"]
    assert plot.said == "expected calibration error 0.2500, greatest in a bin 0.4000"


def said_in(element: ElementTree.Element) -> list[str]:
    return ["".join(text.itertext()).strip() for text in element.iter(f"{SVG}text")]


def test_without_figures_there_is_no_plot(changed: Callable[..., Path]) -> None:
    run = RunFolder.read(changed("run", {"epochs": []}))
    assert loss_plot([(run, None)]) is None
    assert score_plot("v_rand", [run], 0) is None
