"""The record of an evaluation and the files that keep it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError, OutputError
from pipeline.evaluation import ScoreSettings, check_kind, check_output, evaluate_predictions, table_text
from pipeline.evaluation.case_picture import case_picture
from pipeline.reports import overlay_picture


@pytest.fixture
def evaluation(volumes: Any) -> Any:
    return evaluate_predictions(volumes.predictions, volumes.manifest, "validation", volumes.folder)


def test_the_record_says_what_was_scored_and_how(evaluation: Any, volumes: Any, tmp_path: Path) -> None:
    path = evaluation.write(tmp_path / "out")
    text = path.read_text(encoding="utf-8")
    record = json.loads(text)
    assert record["manifest"] == {"name": "small", "version": "1.0.0", "sha256": volumes.manifest.digest}
    cases = json.dumps([["a", None], ["b", None], ["c", None]])
    assert record["split_sha256"] == hashlib.sha256(cases.encode()).hexdigest()
    assert (record["split"], record["kind"], record["key_score"]) == ("validation", "classes", "dice")
    assert record["settings"] == {"tolerance_mm": 1.0, "empty": "nan", "calibration_bins": 10, "seed": 0}
    assert record["scores_by_case"]["dice_posterior"] == {"a": None, "b": None, "c": 0.0}
    assert record["predictions"]["files"] == {".nii.gz": 3}
    assert (record["checkpoint_sha256"], record["calibration"], record["skipped"]) == (None, None, [])
    assert str(tmp_path) not in text
    assert "NaN" not in text
    # Numbers are kept to the last digit.
    assert record["scores"] == dict(evaluation.summary.scores)
    table = record["table"]
    assert {(row["case"], row["patient"]) for row in table["cases"]} == {("a", "p1"), ("b", "p1"), ("c", "p2")}
    (row,) = (row for row in table["classes"] if (row["class"], row["score"]) == ("anterior", "dice"))
    assert row["low"] < row["mean"] < row["high"]


def test_the_table_is_written_as_csv(evaluation: Any, tmp_path: Path) -> None:
    evaluation.write(tmp_path / "out")
    with (tmp_path / "out" / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {
        row["case"]: row["value"]
        for row in rows
        if (row["level"], row["class"], row["score"]) == ("case", "posterior", "dice")
    }
    assert found == {"a": "", "b": "", "c": "0.0"}


def test_the_seed_is_that_of_the_settings(volumes: Any) -> None:
    of_seed = evaluate_predictions(
        volumes.predictions, volumes.manifest, "validation", volumes.folder, settings=ScoreSettings(seed=5)
    )
    record = of_seed.record()
    assert (record["settings"]["seed"], record["table"]["seed"]) == (5, 5)


def test_cases_are_ranked_from_best_to_worst(evaluation: Any) -> None:
    assert evaluation.summary.ranked_cases() == ["b", "a", "c"]


def test_the_picture_of_a_volume_is_that_of_the_slice_with_most_of_the_truth() -> None:
    random = np.random.default_rng(0)
    image, truth, pred = random.random((9, 7, 5)), np.zeros((9, 7, 5), np.uint8), np.zeros((9, 7, 5), np.uint8)
    truth[2, 1:3, 1], truth[4:7, 2:5, 3], pred[3:7, 2:5, 3], pred[1:8, 1:6, 2] = 1, 1, 1, 1
    for shown, number in ((truth, 3), (np.zeros_like(truth), 2)):
        with Image.open(io.BytesIO(case_picture("x", image, shown, pred))) as picture:
            drawn = np.asarray(picture)
        wanted = overlay_picture(
            image[..., number], shown[..., number], pred[..., number], caption=f"case x, slice {number}"
        )
        np.testing.assert_array_equal(drawn, wanted)


def test_pictures_are_of_the_best_and_the_worst(evaluation: Any, tmp_path: Path) -> None:
    record = json.loads(evaluation.write(tmp_path / "out").read_text(encoding="utf-8"))
    assert record["pictures"] == {case: f"cases/{case}.png" for case in "abc"}
    for name in record["pictures"].values():
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.format == "PNG"
            assert picture.info == {}
            assert picture.size[0] > 3 * 128


def test_an_earlier_evaluation_is_replaced_only_when_told(evaluation: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    check_output(out)
    evaluation.write(out)
    with pytest.raises(OutputError, match=r"evaluation.json already exists; pass --force"):
        check_output(out)
    with pytest.raises(OutputError, match=r"already exists; pass --force"):
        evaluation.write(out)
    check_output(out, overwrite=True)
    evaluation.write(out, overwrite=True)


def test_pictures_of_others_are_kept_and_nothing_is_left(evaluation: Any, tmp_path: Path) -> None:
    picture = tmp_path / "out" / "cases" / "b.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"an image")
    for refused in (lambda: check_output(tmp_path / "out", "abc"), lambda: evaluation.write(tmp_path / "out")):
        with pytest.raises(OutputError, match=r"cases/b.png already exists; pass --force"):
            refused()
    assert [path.name for path in (tmp_path / "out").rglob("*")] == ["cases", "b.png"]
    assert picture.read_bytes() == b"an image"


def test_what_is_read_is_not_replaced_even_with_force(tmp_path: Path) -> None:
    image = tmp_path / "cases" / "b.png"
    image.parent.mkdir()
    image.write_bytes(b"an image")
    check_output(tmp_path, "abc", overwrite=True)
    link = tmp_path / "link.png"
    link.symlink_to(image)
    for source in (image, link):
        with pytest.raises(OutputError, match=r"cases/b.png is one of the files that are read"):
            check_output(tmp_path, "abc", overwrite=True, sources=[tmp_path / "gone.png", source])


def test_folders_made_for_results_that_cannot_be_written_are_taken_away(
    evaluation: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(evaluation.table), "write_csv", full)
    with pytest.raises(OutputError, match="No space left"):
        evaluation.write(tmp_path / "new" / "out")
    assert not (tmp_path / "new" / "out").exists()


@pytest.mark.parametrize("place", ["file", "file/out", "file/more/out"])
def test_a_file_is_no_place_for_results(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match=r"/file is not a folder; choose another folder"):
        check_output(tmp_path / place)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "cases").write_bytes(b"")
    with pytest.raises(OutputError, match=r"out/cases is not a folder"):
        check_output(tmp_path / "out")


def test_names_of_classes_stay_on_their_line(volumes: Any) -> None:
    classes = [{"index": index, "name": name, "stored_value": index} for index, name in enumerate("abc")]
    classes[1]["name"] = "front\n\x1b[31m part"
    volumes.change(classes=classes)
    found = evaluate_predictions(volumes.predictions, volumes.manifest, "validation", volumes.folder)
    text = table_text(found)
    assert "\x1b" not in text
    assert sum(line.startswith("front [31m part  ") for line in text.splitlines()) == 7


def test_a_table_that_is_in_the_way_leaves_no_record(evaluation: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "scores.csv").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"scores.csv: it is a folder"):
        evaluation.write(out)
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_full_disk_leaves_no_half_of_an_evaluation(volumes: Any, tmp_path: Path, small_disk: Any) -> None:
    """Room for the record, but not for all: nothing takes its name."""
    out = tmp_path / "disk"
    out.mkdir()
    command = (
        f"'{sys.executable}' -m pipeline evaluate --predictions '{volumes.predictions}' --manifest '{volumes.path}' "
        f"--split validation -o '{out}'"
    )
    root = Path(__file__).parents[2]
    done = small_disk(out, "16k", f"cd '{root}'; set +e; {command}; echo status $?; find '{out}' -type f")
    assert done.stdout.splitlines() == ["status 2"]
    assert "No space left on device" in done.stderr.splitlines()[-1]


def test_the_text_says_means_of_cases_and_of_patients(evaluation: Any) -> None:
    lines = table_text(evaluation).splitlines()
    assert lines[0].startswith("scores of classes of 3 cases of the split 'validation' of small")
    assert "NSD at a tolerance of 1 mm" in lines[0]
    assert lines[1].split()[:5] == ["class", "score", "mean", "over", "cases"]
    (row,) = (line for line in lines if line.startswith("anterior") and line.split()[1] == "dice")
    # Over cases 5/9; over patients 5/12.
    assert row.split()[2:4] == ["0.5556", "0.4167"]
    assert row.split()[-2:] == ["3", "2"]


def test_the_first_line_says_what_was_skipped(volumes: Any) -> None:
    (volumes.predictions / "b_mask.nii.gz").write_bytes(b"")
    (volumes.predictions / "z_mask.nii.gz").write_bytes(b"")
    found = evaluate_predictions(volumes.predictions, volumes.manifest, "validation", volumes.folder, skip_bad=True)
    first = table_text(found).splitlines()[0]
    assert first.startswith("SKIPPED 1 of 3 cases and 1 other prediction: b: its prediction is empty")
    assert "unknown-1" in first


@pytest.mark.parametrize(
    ("setting", "value", "match"),
    [
        ("tolerance_mm", -1.0, "tolerance_mm must be a number of at least 0"),
        ("tolerance_mm", float("nan"), "tolerance_mm must be"),
        ("empty", "zero", "empty must be one of nan, perfect"),
        ("thresholds", [0.5, 1.5], "thresholds must lie in 0..1"),
        ("thresholds", [], "one at least"),
        ("iou_thresholds", [1.0], "iou_thresholds must be at least 0 and less than 1"),
        ("iou_thresholds", [0.5, 0.6, 0.50000001], "must differ in their first six digits"),
        ("warping", "false", "warping must be True or False"),
        ("border_px", -1, "border_px must be at least 0"),
        ("calibration_bins", 0, "calibration_bins must be at least 1"),
        ("seed", -1, "seed must be at least 0"),
    ],
)
def test_settings_are_checked_when_they_are_made(setting: str, value: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        ScoreSettings(**{setting: value})


def test_kinds_must_fit_the_classes(volumes: Any) -> None:
    with pytest.raises(ConfigError, match="scores of membranes need two classes"):
        check_kind("membranes", volumes.manifest)
    with pytest.raises(ConfigError, match="scores 'voxels' are not known"):
        check_kind("voxels", volumes.manifest)
