"""The command `train` in real processes: what a run leaves, and one line for what is wrong."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tifffile

from pipeline.engines import read_checkpoint
from pipeline.formats import read_image

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"


def entries_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def train(processes: Any, small_run: dict[str, Any], tmp_path: Path) -> Callable[..., Any]:
    """Start `unet-pipeline train` with small settings, in an empty folder."""
    (tmp_path / "elsewhere").mkdir()

    def start(*arguments: str | Path, settings: dict[str, Any] | None = None, largest_file_bytes: int = 0) -> Any:
        words = [
            f"{name}={value if isinstance(value, str) else json.dumps(value)}"
            for name, value in {**small_run, **(settings or {})}.items()
        ]
        return processes.start(
            "pipeline",
            ["train", BUNDLE, "-o", tmp_path / "out", *arguments, *words],
            tmp_path / "elsewhere",
            largest_file_bytes=largest_file_bytes,
        )

    return start


# --- train -----------------------------------------------------------------------------------------------------------


def test_train_is_the_run_of_the_bundle(train: Callable[..., Any], trained_run: Any, tmp_path: Path) -> None:
    finished = train().wait()
    assert finished.status == 0, finished.stderr
    assert finished.stdout.splitlines()[-3] == f"checkpoint: {tmp_path / 'out' / 'models' / 'model.pt'}"
    assert "parsing config_file" not in finished.stderr
    found, wanted = (read_checkpoint(run / "models" / "model.pt") for run in (tmp_path / "out", trained_run.bundle))
    assert found.keys() == wanted.keys()
    assert all((found[name] == wanted[name]).all() for name in wanted)
    assert entries_of(tmp_path / "elsewhere") == set()


def test_a_full_disk_leaves_the_last_checkpoint_from_which_the_run_goes_on(
    train: Callable[..., Any], trained_run: Any, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(trained_run.bundle / "models", out / "models")
    before = {path.name: path.read_bytes() for path in (out / "models").iterdir()}
    finished = train(largest_file_bytes=300_000).wait()
    assert finished.status == 2
    assert re.fullmatch(
        r"unet-pipeline: error: cannot write .*out/models/(model|last)\.pt: File too large; check the free space and "
        r"the permissions of .*out/models, or write elsewhere",
        finished.last_line,
    )
    assert "Traceback" not in finished.stderr
    assert {path.name: path.read_bytes() for path in (out / "models").iterdir()} == before
    assert json.loads((out / "log" / "run.json").read_text(encoding="utf-8"))["status"] == "failed"
    resumed = train("resume=True").wait()
    assert resumed.status == 0, resumed.stderr


def test_a_disk_that_tensorboard_finds_full_is_one_line(train: Callable[..., Any], tmp_path: Path) -> None:
    # Of this network the checkpoints are smaller than the pictures.
    settings = {"network_def::channels": [1, 1, 1, 1, 1]}
    finished = train(settings=settings, largest_file_bytes=40_000).wait()
    assert finished.status == 2
    assert finished.last_line == (
        "unet-pipeline: error: cannot use the results: File too large; "
        "check the free space and the permissions, or write elsewhere"
    )
    assert "Traceback" not in finished.stderr
    assert read_checkpoint(tmp_path / "out" / "models" / "last.pt")["epoch"] == 1


def test_a_file_system_that_is_full_stops_training_with_one_line(
    small_disk: Callable[..., subprocess.CompletedProcess[str]], small_run: dict[str, Any], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    words = [f"'{name}={value if isinstance(value, str) else json.dumps(value)}'" for name, value in small_run.items()]
    command = f"{sys.executable} -m pipeline train '{BUNDLE}' -o '{small}' {' '.join(words)}"
    # Room for the best checkpoint, not for both.
    run = small_disk(small, "600k", f"{command} || echo rc $?; cd '{small}'; find . -type f | sort")
    last = run.stderr.rstrip("\n").splitlines()[-1]
    assert re.match(r"unet-pipeline: error: cannot write .*small/\S+: No space left on device; check the free", last), (
        last
    )
    assert "Traceback" not in run.stderr
    assert "rc 2" in run.stdout.splitlines()
    assert ".partial-" not in run.stdout


def changed_manifest(small_data: Any, folder: Path, change: Callable[[Path, dict[str, Any]], None]) -> dict[str, Any]:
    """Settings for a copy of the small data set after a change to its files or its manifest."""
    shutil.copytree(small_data.folder, folder)
    fields = small_data.fields
    change(folder, fields)
    (folder / "small.json").write_text(json.dumps(fields))
    return {"manifest_file": str(folder / "small.json"), "dataset_dir": str(folder)}


def with_new_digest(folder: Path, fields: dict[str, Any], kind: str) -> None:
    """Let the manifest say what the changed file of the second case is."""
    case = fields["cases"][1]
    case[f"{kind}_sha256"] = hashlib.sha256((folder / case[kind]).read_bytes()).hexdigest()


def smaller_label(folder: Path, fields: dict[str, Any]) -> None:
    tifffile.imwrite(folder / "label" / "t1.tif", read_image(folder / "label" / "t1.tif").pixels[0, 0, :-1])
    with_new_digest(folder, fields, "label")


def other_values(folder: Path, fields: dict[str, Any]) -> None:
    label = read_image(folder / "label" / "t1.tif").pixels[0, 0].copy()
    label[3, 4:6] = 1, 128
    tifffile.imwrite(folder / "label" / "t1.tif", label)
    with_new_digest(folder, fields, "label")


def cut_image(folder: Path, fields: dict[str, Any]) -> None:
    path = folder / "image" / "t1.tif"
    path.write_bytes(path.read_bytes()[:500])
    with_new_digest(folder, fields, "image")


def changed_file(folder: Path, fields: dict[str, Any]) -> None:
    with (folder / "image" / "t1.tif").open("ab") as file:
        file.write(b"!")


def missing_file(folder: Path, fields: dict[str, Any]) -> None:
    (folder / "label" / "t1.tif").unlink()


def shared_case(folder: Path, fields: dict[str, Any]) -> None:
    fields["splits"]["validation"].append("t1")


def shared_patient(folder: Path, fields: dict[str, Any]) -> None:
    del fields["split_unit_reason"]
    fields["split_unit"] = "patient"


def case_without_a_label(folder: Path, fields: dict[str, Any]) -> None:
    fields["cases"][1] |= {"label": None, "label_sha256": None}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (smaller_label, r"label of case 't1' is 63 by 96 px but its image is 64 by 96 px; a label must lie on .*"),
        (other_values, r"label of case 't1' holds values \[0, 1, 128, 255\]; expected \[0, 255\] only; correct the .*"),
        (cut_image, r"image .*t1\.tif .*"),
        (changed_file, r"case 't1': image .*t1\.tif has SHA-256 [0-9a-f]{64}, but .*small\.json expects .*; move .*"),
        (missing_file, r"case 't1' of data set 'small': label .*t1\.tif not found; get the data from .*"),
        (
            shared_case,
            r"manifest .*small\.json: case 't1' is in the splits 'training' and 'validation'; keep it in one",
        ),
        (
            shared_patient,
            r"manifest .*small\.json: patient 'phantom' is in the splits 'training' and 'validation'; keep all its .*",
        ),
        (case_without_a_label, r"case 't1' of the split 'training' of data set 'small' has no label; training and .*"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_data_are_one_line_and_nothing_is_written(
    train: Callable[..., Any],
    small_data: Any,
    tmp_path: Path,
    change: Callable[[Path, dict[str, Any]], None],
    line: str,
) -> None:
    finished = train(settings=changed_manifest(small_data, tmp_path / "data", change)).wait()
    assert finished.status == 2, finished.stderr
    assert re.fullmatch(f"unet-pipeline: error: {line}", finished.last_line), finished.last_line
    assert "Traceback" not in finished.stderr
    assert finished.stdout == ""
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["max_epohcs=3"], r"config id 'max_epohcs' is used by nothing in this run; did you mean 'max_epochs'\?"),
        (
            ["trian::dataloader::num_workers=1"],
            r"config id .* lies in no section of the config; did you mean 'train'\?",
        ),
        (["--overlay", "demmo"], r"bundle .* has no config 'demmo'; did you mean 'demo'\?"),
        (["max_epochs"], r"argument 'max_epochs' must be id=value, for example max_epochs=5"),
        (["device=gpu"], r"device 'gpu' is not known; pass cpu, cuda or cuda:N"),
    ],
    ids=["id", "section", "overlay", "no value", "device"],
)
def test_a_mistyped_argument_of_train_is_one_line(
    command: Callable[..., Any], tmp_path: Path, arguments: list[str], line: str
) -> None:
    status, out, last = command("train", BUNDLE, "-o", tmp_path / "out", *arguments)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"unet-pipeline: error: {line}", last), last
    assert not (tmp_path / "out").exists()


def test_ctrl_c_before_training_began_is_one_line(train: Callable[..., Any], tmp_path: Path) -> None:
    run = train(settings={"tiles_per_case": 1000})
    run.wait_for(lambda: run.stderr.exists() and "preparing cases" in run.stderr.read_text(encoding="utf-8"))
    run.interrupt()
    finished = run.wait()
    assert finished.status == 130
    assert finished.last_line == "interrupted; what was complete is kept"
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out" / "models").exists()
