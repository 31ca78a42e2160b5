"""Whole reports of real small runs: what they say, what they say is missing, and that they are the same each time."""

from __future__ import annotations

import base64
import csv
import errno
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.errors import ConfigError, ImageError, MissingFileError, OutputError
from pipeline.report import BundleChoice, write_report

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., str]:
    """Write a report into an empty folder and return its text."""

    def write(*folders: Path, **choice: Any) -> str:
        path = tmp_path / "out" / "report.html"
        path.parent.mkdir(exist_ok=True)
        write_report(path, folders, BundleChoice(**choice), overwrite=True)
        return path.read_text(encoding="utf-8")

    return write


def visible(page: str) -> str:
    """Return the text of a page, with spaces for what breaks lines."""
    body = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def pictures_of(page: str) -> dict[str, np.ndarray]:
    """Return the pixels of the pictures in a page by their texts."""
    found = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="([^"]+)"', page)
    return {text: np.asarray(Image.open(io.BytesIO(base64.b64decode(source)))) for source, text in found}


def test_a_run_in_the_folder_of_its_bundle_needs_no_options(trained_run: Any, report: Callable[..., str]) -> None:
    text = visible(report(trained_run.bundle))
    metadata = json.loads((trained_run.bundle / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["intended_use"] in text
    assert "The bundle has no docs/README.md." in text
    assert "Augmented tile of case t" in text
    assert "Border weights of case t" in text
    assert "There is no evaluation." in text


def test_every_figure_of_an_evaluation_is_there(runs: Any, report: Callable[..., str]) -> None:
    text = visible(report(runs.first, bundles=[BUNDLE], manifest=runs.manifest, data=runs.data))
    evaluation = json.loads((runs.first / "log" / "evaluation.json").read_text(encoding="utf-8"))
    record = json.loads((runs.first / "log" / "run.json").read_text(encoding="utf-8"))
    for row in evaluation["table"]["classes"]:
        if row["mean"] >= 0.01:
            assert f"{row['mean']:.4f} {row['low']:.4f} to {row['high']:.4f} 3 3" in text
    for row in evaluation["table"]["cases"]:
        if 0.01 <= row["value"] < 10:
            assert f"{row['value']:.4f}" in text
    for fact in (record["started"][:10], record["manifest"]["sha256"], record["config_sha256"], record["device"]):
        assert fact in text
    for name, version in record["versions"].items():
        assert f"{name} {version}" in text
    for score in ("v_rand", "v_info", "pixel_error"):
        assert f"{record['epochs'][-1]['scores'][score]:.4f}" in text
    assert f"expected calibration error {evaluation['calibration']['ece']:.4f}" in text
    assert "tile_px: 188" in text
    assert "by which the checkpoint was chosen" in text


def test_pictures_of_the_cases_are_those_that_the_evaluation_left(runs: Any, report: Callable[..., str]) -> None:
    pictures = pictures_of(report(runs.first, tiles=0))
    assert len(pictures) == 3
    for case in ("v0", "v1", "v2"):
        (found,) = (pixels for text, pixels in pictures.items() if f"case {case}," in text)
        with Image.open(runs.first / "log" / "cases" / f"{case}.png") as wanted:
            np.testing.assert_array_equal(found, np.asarray(wanted))


def test_texts_hidden_in_a_picture_do_not_come_along(changed: Callable[..., Path], report: Callable[..., str]) -> None:
    folder = changed("evaluation", {})
    hidden = PngImagePlugin.PngInfo()
    hidden.add_text("Patient", "Quastenflosser")
    path = folder / "log" / "cases" / "v0.png"
    with Image.open(path) as picture:
        picture.load()
    picture.save(path, pnginfo=hidden)
    assert b"Quastenflosser" in path.read_bytes()
    page = report(folder, tiles=0)
    assert all(
        b"Quastenflosser" not in base64.b64decode(source) for source in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    )


def test_the_same_runs_give_the_same_bytes(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    choice = {"bundles": [BUNDLE], "manifest": runs.manifest, "data": runs.data, "tiles": 2}
    files = [tmp_path / "out" / name for name in ("report.html", "metrics.csv", "metrics.json")]
    report(runs.first, runs.second, **choice)
    once = [file.read_bytes() for file in files]
    report(runs.first, runs.second, **choice)
    assert [file.read_bytes() for file in files] == once


def test_a_page_names_no_folder_of_the_machine(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    report(runs.first, runs.second, bundles=[BUNDLE], manifest=runs.manifest, data=runs.data)
    for name in ("report.html", "metrics.csv", "metrics.json"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        for place in (runs.first.parent, runs.data, ROOT, Path.home()):
            assert str(place) not in text


def test_two_runs_stand_side_by_side(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    page = report(runs.first, runs.second, tiles=0)
    text = visible(page)
    assert "Report of 2 runs" in text
    assert len(pictures_of(page)) == 6
    assert "seed 1 2" in text  # what the configs differ in
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    (comparison,) = metrics["comparisons"]
    assert len(comparison["differences"]) == 5
    for row in comparison["differences"]:
        ours, theirs = (run["evaluation"]["classes"] for run in metrics["runs"])
        means = [next(entry["mean"] for entry in rows if entry["score"] == row["score"]) for rows in (ours, theirs)]
        assert row["mean"] == pytest.approx(means[1] - means[0], abs=1e-12)
        # Of three blocks no difference can be told from chance: 2 of 8 ways to swap them are as far from none.
        assert row["p_value"] >= 0.25
    assert text.count("no clear difference") == 5
    assert not re.search(r"\b[AB] is better", text)


def test_metrics_files_hold_every_digit(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    report(runs.first, tiles=0)
    evaluation = json.loads((runs.first / "log" / "evaluation.json").read_text(encoding="utf-8"))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    (run,) = metrics["runs"]
    assert run["evaluation"]["scores"] == evaluation["scores"]
    wanted = {(row["case"], row["score"]): row["value"] for row in evaluation["table"]["cases"]}
    assert {(row["case"], row["score"]): row["value"] for row in run["evaluation"]["cases"]} == wanted
    with (tmp_path / "out" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    of_cases = [row for row in rows if (row["source"], row["level"]) == ("evaluation", "case")]
    assert {(row["case"], row["score"]): float(row["value"]) for row in of_cases} == wanted
    of_classes = {row["score"]: row for row in rows if (row["source"], row["level"]) == ("evaluation", "class")}
    for row in evaluation["table"]["classes"]:
        for name, cell in (("mean", "value"), ("low", "low"), ("high", "high")):
            assert float(of_classes[row["score"]][cell]) == row[name]
    losses = [float(row["value"]) for row in rows if row["score"] == "loss"]
    record = json.loads((runs.first / "log" / "run.json").read_text(encoding="utf-8"))
    assert losses == [epoch["loss"] for epoch in record["epochs"]]
    validated = {
        (int(row["epoch"]), row["case"], row["score"]): float(row["value"])
        for row in rows
        if (row["source"], row["level"]) == ("validation", "case")
    }
    assert validated == {
        (epoch["epoch"], case, score): value
        for epoch in record["epochs"]
        for score, by_case in epoch["scores_by_case"].items()
        for case, value in by_case.items()
    }


def test_cases_that_were_not_compared_are_named(
    runs: Any, changed: Callable[..., Path], report: Callable[..., str]
) -> None:
    table = json.loads((runs.second / "log" / "evaluation.json").read_text(encoding="utf-8"))["table"]
    table["cases"] = [row for row in table["cases"] if row["case"] != "v1"]
    text = visible(report(runs.first, changed("evaluation", {"table": table}, of="second"), tiles=0))
    assert "Left out, because only one of the runs was scored on them: v1." in text


def test_metrics_files_hold_the_comparison(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    report(runs.first, runs.second, tiles=0)
    (comparison,) = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["comparisons"]
    assert (comparison["first"], comparison["second"], comparison["reason_for_none"]) == ("A", "B", None)
    with (tmp_path / "out" / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] == "comparison"]
    assert {row["run"] for row in rows} == {"B"}
    cells = {"mean": "value", "low": "low", "high": "high", "p_value": "p_value"}
    for row, wanted in zip(rows, comparison["differences"], strict=True):
        assert row["score"] == wanted["score"]
        assert {name: float(row[cell]) for name, cell in cells.items()} == {name: wanted[name] for name in cells}


def test_each_run_has_its_own_score_beside_its_own_picture(
    changed: Callable[..., Path], report: Callable[..., str]
) -> None:
    """By a score in which the runs differ."""
    key = {"key_score": "v_info"}
    folders = [changed("evaluation", key, of=of, name=f"changed-{of}") for of in ("first", "second")]
    page = report(*folders, tiles=0)
    told = re.findall(r'<img [^>]*alt="[^"]*on case (\w+), run ([AB]), V_info ([\d.]+)"', page)
    wanted = []
    pictures = pictures_of(page)
    for letter, run in zip("AB", folders, strict=True):
        by_case = json.loads((run / "log" / "evaluation.json").read_text(encoding="utf-8"))["scores_by_case"]["v_info"]
        wanted += [(case, letter, f"{value:.4f}") for case, value in by_case.items()]
        (found,) = (pixels for text, pixels in pictures.items() if f"case v1, run {letter}," in text)
        with Image.open(run / "log" / "cases" / "v1.png") as picture:
            np.testing.assert_array_equal(found, np.asarray(picture))
    assert len(set(wanted)) == len({(case, value) for case, _, value in wanted}) == 6
    assert sorted(told) == sorted(wanted)


def test_skipped_cases_stand_in_the_head(changed: Callable[..., Path], report: Callable[..., str]) -> None:
    folder = changed("evaluation", {"skipped": [{"case": "v9", "reason": "its prediction holds NaN"}]})
    page = report(folder, tiles=0)
    head = visible(page[: page.index("</header>")])
    assert "The evaluation skipped 1 case: v9 (its prediction holds NaN). Scores are over the 3 that are left" in head


@pytest.mark.parametrize(
    ("record", "fields", "wanted"),
    [
        ("evaluation", {"checkpoint_sha256": "0" * 64}, "of other weights than models/model.pt"),
        ("evaluation", {"split": "training"}, "cases that the network was trained on"),
        ("evaluation", {"manifest": {"name": "other", "version": "1", "sha256": "0"}}, "is on other data"),
        ("run", {"status": "failed"}, "The training was failed before its end. Its record ends with epoch 2 of 2."),
        ("run", {"status": "running", "best_epoch": ..., "best_metric": ...}, "not over, or killed"),
    ],
    ids=["weights", "training split", "data", "failed", "killed"],
)
def test_what_a_reader_must_know_stands_in_the_head(
    changed: Callable[..., Path], report: Callable[..., str], record: str, fields: dict[str, Any], wanted: str
) -> None:
    page = report(changed(record, fields), tiles=0)
    assert wanted in visible(page[: page.index("</header>")])


def test_what_is_missing_is_said_in_its_place(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(runs.bare, folder)
    shutil.rmtree(folder / "log" / "tensorboard")
    (folder / "log" / "overlay.png").unlink()
    shutil.rmtree(folder / "models")
    text = visible(report(folder))
    for said in (
        "There is no evaluation.",
        "No evaluation: the bundle’s evaluating makes one, or unet-pipeline evaluate with the run’s folder log as -o .",
        "Best and worst cases are known only after an evaluation.",
        "Not known: there is no evaluation.",
        "no TensorBoard files",
        "border weights are not shown: the bundle of the run is not known; pass it with --bundle.",
        "no models/model.pt in the folder",
        "Intended use Not known",
        "not a medical device",
    ):
        assert said in text


def test_an_evaluation_without_a_training_says_so(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    shutil.copytree(runs.first / "log", tmp_path / "scores")
    (tmp_path / "scores" / "run.json").unlink()
    shutil.rmtree(tmp_path / "scores" / "tensorboard")
    text = visible(report(tmp_path / "scores"))
    assert "no log/run.json in the folder: nothing is known of the training" in text
    assert "No epoch is recorded." in text
    assert "No config is recorded." in text
    assert "the folder has no record of a training" in text


def test_an_evaluation_of_an_older_version_has_no_intervals_and_says_so(
    changed: Callable[..., Path], report: Callable[..., str]
) -> None:
    gone = (
        "table",
        "skipped",
        "calibration",
        "pictures",
        "kind",
        "key_score",
        "settings",
        "split_sha256",
        "predictions",
    )
    text = visible(report(changed("evaluation", dict.fromkeys(gone, ...)), tiles=0))
    assert "This evaluation keeps no table by patient, so there are no intervals" in text
    assert "the evaluation had no probabilities to look at" in text
    assert "No overlay of this case" in text


def test_a_stopped_run_is_reported(
    processes: Any, small_run: dict[str, Any], report: Callable[..., str], tmp_path: Path
) -> None:
    words = [
        f"{name}={value if isinstance(value, str) else json.dumps(value)}"
        for name, value in {**small_run, "max_epochs": 2000, "val_interval": 1000}.items()
    ]
    run = processes.start("pipeline", ["train", BUNDLE, "-o", tmp_path / "stopped", *words], tmp_path)
    record = tmp_path / "stopped" / "log" / "run.json"
    run.wait_for(lambda: record.is_file() and len(json.loads(record.read_text(encoding="utf-8"))["epochs"]) > 1)
    run.interrupt()
    assert run.wait().status == 130
    text = visible(report(tmp_path / "stopped", tiles=0))
    epochs = len(json.loads(record.read_text(encoding="utf-8"))["epochs"])
    assert f"The training was stopped by hand before its end. Its record ends with epoch {epochs} of 2000." in text


def test_names_and_reasons_cannot_become_parts_of_the_page(
    changed: Callable[..., Path], report: Callable[..., str]
) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
    fields = {
        "split": evil,
        "skipped": [{"case": evil, "reason": evil}],
        "settings": {evil: evil},
        "predictions": evil,
        "scores": {evil: 0.5, "v_rand": 0.5},
    }
    page = report(changed("evaluation", fields, name="<b>&"), tiles=0)
    assert page.count("<script>") == 1
    assert "<img src=x" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_characters_that_html_has_none_for_are_replaced(
    changed: Callable[..., Path], report: Callable[..., str]
) -> None:
    page = report(changed("evaluation", {"split": "a\x07b\x00c\x85d\x1be"}), tiles=0)
    assert "a\ufffdb\ufffdc\ufffdd\ufffde" in page
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", page)


def test_a_drawn_overlay_that_is_gone_is_told_from_one_that_was_never_drawn(
    changed: Callable[..., Path], report: Callable[..., str]
) -> None:
    folder = changed("evaluation", {"pictures": {"v0": "cases/v0.png", "v1": "cases/v1.png"}})
    (folder / "log" / "cases" / "v1.png").unlink()
    text = visible(report(folder, tiles=0))
    assert text.count("The overlay that the evaluation drew is gone; evaluate again for it.") == 1
    assert text.count("No overlay of this case: an evaluation draws its own best and worst cases.") == 1


def test_a_write_that_fails_leaves_none_of_the_files(
    runs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_text = Path.write_text

    def fail(path: Path, text: str, **options: Any) -> int:
        if text.startswith("{"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_text(path, text, **options)

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(OutputError, match="No space left on device"):
        write_report(tmp_path / "report.html", [runs.first], BundleChoice(tiles=0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"<svg/>", b"JPEG"], ids=["svg", "jpeg"])
def test_a_picture_that_is_none_is_refused(
    changed: Callable[..., Path], report: Callable[..., str], content: bytes
) -> None:
    folder = changed("evaluation", {})
    if content == b"JPEG":
        file = io.BytesIO()
        Image.new("L", (9, 9)).save(file, format="JPEG")
        content = file.getvalue()
    (folder / "log" / "cases" / "v0.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"v0\.png cannot be read as PNG"):
        report(folder)


def test_arguments_that_do_not_go_together_are_refused(runs: Any, report: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        report(runs.first, runs.first / ".." / "first")
    with pytest.raises(ConfigError, match="2 bundles for 1 runs"):
        report(runs.first, bundles=[BUNDLE, BUNDLE])
    with pytest.raises(ConfigError, match="pass --bundle"):
        report(runs.first, data=runs.data)
    with pytest.raises(MissingFileError, match="give the folder of a bundle"):
        report(runs.first, bundles=[tmp_path])
    with pytest.raises(ConfigError, match="tiles"):
        report(runs.first, bundles=[BUNDLE], tiles=-1)
    with pytest.raises(OutputError, match=r"ends in \.html"):
        write_report(tmp_path / "report.pdf", [runs.first])


@pytest.mark.parametrize("name", ["report.html", "metrics.csv", "metrics.json"])
def test_nothing_is_replaced_unless_it_is_said(runs: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine", encoding="utf-8")
    way_out = "; pass" if name == "report.html" else ".*give each report a folder of its own, or pass"
    with pytest.raises(OutputError, match=f"{name} already exists{way_out} --force"):
        write_report(tmp_path / "report.html", [runs.first], BundleChoice(tiles=0))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text(encoding="utf-8") == "mine"
    write_report(tmp_path / "report.html", [runs.first], BundleChoice(tiles=0), overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "metrics.csv", "metrics.json"}


def test_the_command_writes_a_report_and_says_where(runs: Any, processes: Any, tmp_path: Path) -> None:
    finished = processes.start("pipeline", ["report", runs.first, runs.bare, "--tiles", "0"], tmp_path).wait()
    assert (finished.status, finished.stdout) == (0, "report of 2 runs: report.html, metrics.csv, metrics.json\n")
    again = processes.start("pipeline", ["report", runs.first], tmp_path).wait()
    assert again.status == 2
    assert again.last_line.endswith(
        "report.html already exists; pass --force (in Python: overwrite=True) to replace it"
    )
    forced = processes.start("pipeline", ["report", runs.first, "--tiles", "0", "--force"], tmp_path).wait()
    assert forced.status == 0


def test_the_command_refuses_a_missing_run_in_one_line(processes: Any, tmp_path: Path) -> None:
    finished = processes.start("pipeline", ["report", "nowhere"], tmp_path).wait()
    assert finished.status == 2
    assert finished.stderr == ("unet-pipeline: error: run nowhere not found; give the folder that a run wrote to\n")
    assert list(tmp_path.iterdir()) == []


def test_training_does_not_import_what_only_reports_need() -> None:
    """Matplotlib, Jinja2 and markdown-it are no part of a bundle's required packages, though MONAI may import some."""
    code = "import sys, pipeline.engines; print(*sorted(name for name in sys.modules if 'pipeline.reports' in name))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["pipeline.reports", "pipeline.reports.overlay"]
