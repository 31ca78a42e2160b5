"""`unet-pipeline evaluate` as a person runs it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_sets import SmallSet, made_up_volumes, write_png, write_volume

from pipeline.cli import main


@pytest.fixture
def volumes(tmp_path: Path) -> SmallSet:
    """Three volumes of two patients, see `made_up_volumes`."""
    return made_up_volumes(tmp_path)


def arguments_of(small: SmallSet, out: Path, *more: str | Path) -> list[str]:
    words = ["evaluate", "--predictions", small.predictions, "--manifest", small.path, "--split", "validation"]
    return [str(word) for word in (*words, "-o", out, *more)]


def entries_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_table_is_printed_and_files_are_written(
    volumes: SmallSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = entries_of(volumes.folder) | entries_of(volumes.predictions)
    main(arguments_of(volumes, tmp_path / "out"))
    said = capsys.readouterr()
    assert said.out.startswith("scores of classes of 3 cases")
    assert "mean over cases" in said.out
    assert "mean over patients" in said.out
    assert "scoring" in said.err
    assert entries_of(tmp_path / "out").keys() == {
        *("evaluation.json", "scores.csv", "cases/a.png", "cases/b.png", "cases/c.png")
    }
    assert entries_of(volumes.folder) | entries_of(volumes.predictions) == before


def test_skipped_cases_come_first_and_the_rest_is_scored(
    volumes: SmallSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (volumes.predictions / "b_mask.nii.gz").unlink()
    main(arguments_of(volumes, tmp_path / "out", "--skip-bad"))
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "SKIPPED 1 of 3 cases: b: it has no mask among the predictions"
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text(encoding="utf-8"))
    assert record["skipped"] == [{"case": "b", "reason": "it has no mask among the predictions"}]


def test_two_runs_are_compared(volumes: SmallSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments_of(volumes, tmp_path / "first"))
    label = (volumes.folder / "label" / "a.nii.gz").read_bytes()
    (volumes.predictions / "a_mask.nii.gz").write_bytes(label)
    capsys.readouterr()
    main(arguments_of(volumes, tmp_path / "second", "--compare", tmp_path / "first" / "evaluation.json"))
    assert "this evaluation minus the other one" in capsys.readouterr().out
    rows = json.loads((tmp_path / "second" / "evaluation.json").read_text(encoding="utf-8"))["comparison"]["rows"]
    (row,) = (row for row in rows if (row["class"], row["score"]) == ("anterior", "dice"))
    assert row["difference"] == pytest.approx(1 / 12)


def spoil_mask(small: SmallSet, tmp_path: Path) -> list[str]:
    write_volume(small.predictions / "c_mask.nii.gz", np.full((4, 5, 3), 9, np.uint8))
    return []


def no_prediction(small: SmallSet, tmp_path: Path) -> list[str]:
    (small.predictions / "c_mask.nii.gz").unlink()
    return []


def one_too_many(small: SmallSet, tmp_path: Path) -> list[str]:
    (small.predictions / "d.nii.gz").write_bytes(b"")
    return []


def other_split(small: SmallSet, tmp_path: Path) -> list[str]:
    main(arguments_of(small, tmp_path / "first"))
    small.change(splits={"validation": ["a", "b"]})
    (small.predictions / "c_mask.nii.gz").unlink()
    return ["--compare", str(tmp_path / "first" / "evaluation.json")]


def images_in_cases(small: SmallSet, tmp_path: Path) -> list[str]:
    cases = json.loads(small.path.read_text(encoding="utf-8"))["cases"]
    for case in cases:
        path = small.folder / "cases" / f"{case['id']}.png"
        write_png(path, np.zeros((4, 5), np.uint8))
        case["image"] = path.relative_to(small.folder).as_posix()
    small.change(cases=cases)
    return ["-o", str(small.folder)]


def predictions_in_cases(small: SmallSet, tmp_path: Path) -> list[str]:
    folder = tmp_path / "mine" / "cases"
    for case in "abc":
        write_png(folder / f"{case}.png", np.zeros((4, 5), np.uint8))
    return ["--predictions", str(folder), "-o", str(folder.parent), "--force"]


def compared_with_itself(small: SmallSet, tmp_path: Path) -> list[str]:
    main(arguments_of(small, tmp_path / "first"))
    first = tmp_path / "first"
    return ["--compare", str(first / "evaluation.json"), "-o", str(first), "--force"]


BAD = {
    "an unknown value": (spoil_mask, "error: case 'c': prediction"),
    "a missing case": (no_prediction, "error: case 'c' of the split 'validation' has no mask"),
    "one too many": (one_too_many, "belongs to no case of the split 'validation'"),
    "an unknown split": (lambda small, folder: ["--split", "validaton"], "did you mean 'validation'?"),
    "no such folder": (lambda small, folder: ["--predictions", str(folder / "no")], "not found or not a folder"),
    "no such manifest": (lambda small, folder: ["--manifest", str(folder / "no.json")], "not found"),
    "no data": (lambda small, folder: ["--folder", str(folder / "no")], "error: case 'a'"),
    "membranes of three classes": (lambda small, folder: ["--scores", "membranes"], "need two classes"),
    "a tolerance below 0": (lambda small, folder: ["--tolerance-mm=-1"], "tolerance_mm must be"),
    "no such evaluation": (lambda small, folder: ["--compare", str(folder / "no")], "evaluation .* not found"),
    "a comparison with another split": (other_split, "is of another split"),
    "a folder with a file's name": (
        lambda small, folder: ["-o", str(small.path)],
        "manifest.json is not a folder",
    ),
    "a folder below a file": (lambda small, folder: ["-o", str(small.path / "out")], "manifest.json is not a folder"),
    "results in place of images": (
        lambda small, folder: [*images_in_cases(small, folder), "--force"],
        "cases/a.png is one of the files that are read",
    ),
    "results in place of predictions": (
        predictions_in_cases,
        "cases/a.png is one of the files that are read",
    ),
    "results in place of the run to compare with": (
        compared_with_itself,
        "evaluation.json is one of the files that are read",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_status_2_and_leaves_nothing(
    volumes: SmallSet, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    spoil, wanted = BAD[name]
    more = spoil(volumes, tmp_path)
    capsys.readouterr()
    before = entries_of(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(arguments_of(volumes, tmp_path / "out", *more))
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = [line for line in said.err.replace("\r", "\n").splitlines() if line and not line.startswith("scoring")]
    assert line.startswith("unet-pipeline: error: ")
    assert re.search(wanted, line), line
    assert entries_of(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_results_are_replaced_only_with_force(
    volumes: SmallSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments_of(volumes, tmp_path / "out"))
    with pytest.raises(SystemExit) as stopped:
        main(arguments_of(volumes, tmp_path / "out"))
    assert stopped.value.code == 2
    assert "already exists; pass --force" in capsys.readouterr().err
    main(arguments_of(volumes, tmp_path / "out", "--force"))


def test_the_help_says_how_predictions_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for words in ("NAME_mask", "NAME_probability.tif", "the case whose series it refers to", "id of its case"):
        assert words in said
