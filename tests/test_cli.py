"""The command `unet-pipeline`, and the bad input of which it must say one clear line and leave everything whole."""

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

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline import __version__
from pipeline.engines import read_checkpoint
from pipeline.formats import read_image

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"


def entries_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def command(processes: Any, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Run the command to its end in `tmp_path`; return status, standard output and the last line on standard error."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        finished = processes.start("pipeline", arguments, tmp_path).wait()
        assert "Traceback" not in finished.stderr
        return finished.status, finished.stdout, finished.last_line

    return run


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


# --- what it understands ---------------------------------------------------------------------------------------------


def test_the_version_is_said(command: Callable[..., Any]) -> None:
    assert command("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize("name", ["train", "predict"])
def test_help_shows_an_example_that_parses(command: Callable[..., Any], name: str) -> None:
    status, out, _ = command(name, "--help")
    assert status == 0
    assert f"example: unet-pipeline {name}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], r"unet-pipeline: error: the following arguments are required: COMMAND"),
        (["trian"], r"unet-pipeline: error: argument COMMAND: invalid choice: 'trian' .*"),
        (["predict", "--bundle", "b", "-o", "out"], r".*error: the following arguments are required: INPUT"),
        (["predict", "a.png", "--bundle", "b", "-o", "out", "--pciture"], r".*unrecognized arguments: --pciture"),
        (["train", "b", "--overlay", "demo", "--max_epochs"], r".*unrecognized arguments: --max_epochs"),
    ],
    ids=["nothing", "command", "no input", "option", "option of MONAI"],
)
def test_a_wrong_command_line_is_refused(command: Callable[..., Any], arguments: list[str], line: str) -> None:
    status, _, last = command(*arguments)
    assert status == 2
    assert re.fullmatch(line, last), last


# --- predict ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def images(tmp_path: Path, small_data: Any) -> Path:
    """A folder with a PNG, a stack, and something that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    pixels = read_image(small_data.folder / "image" / "v0.tif").pixels[0, 0]
    Image.fromarray(pixels).save(folder / "one.png")
    tifffile.imwrite(folder / "two.tif", np.stack([pixels, pixels[::-1]]), photometric="minisblack")
    (folder / "notes.txt").write_text("not an image")
    return folder


def test_predict_writes_what_it_says_in_a_cold_process(trained_run: Any, images: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    arguments = ["predict", "--bundle", str(trained_run.bundle), str(images), "-o", "masks", "--picture"]
    run = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(r"2 images segmented on cpu in (float32|bfloat16): masks\n", run.stdout)
    assert "nvImageCodec" not in run.stderr
    assert "predicting: 100%" in run.stderr
    assert "1 entry passed over, not PNG or TIFF: notes.txt\n" in run.stderr
    assert entries_of(tmp_path / "elsewhere") == {
        f"masks/{name}"
        for name in (
            *("one_mask.png", "one_instances.png", "one_overlay.png"),
            *("two_mask.tif", "two_instances.tif", "two_overlay.png"),
        )
    }


def test_predict_writes_probabilities_and_replaces_on_request(
    command: Callable[..., Any], trained_run: Any, images: Path, tmp_path: Path
) -> None:
    arguments = ["predict", images / "one.png", "--bundle", trained_run.bundle, "-o", tmp_path / "out", "--probability"]
    status, said, _ = command(*arguments)
    assert status == 0
    assert re.fullmatch(r"1 image segmented on cpu in (float32|bfloat16): .*/out\n", said)
    assert entries_of(tmp_path / "out") == {"one_mask.png", "one_instances.png", "one_probability.tif"}
    status, _, line = command(*arguments)
    assert status == 2
    assert line.startswith(f"unet-pipeline: error: {tmp_path / 'out' / 'one_mask.png'} already exists; pass --force")
    assert command(*arguments, "--force")[0] == 0
    (tmp_path / "out" / "one_probability.tif").unlink()
    arguments.insert(1, images / "two.tif")
    status, said, _ = command(*arguments, "--skip-existing")
    assert status == 0
    assert said.startswith("2 images segmented")
    status, said, _ = command(*arguments, "--skip-existing")
    assert status == 0
    assert said.startswith("0 images segmented on cpu in ")
    assert ", 2 with results skipped: " in said


def damaged(path: Path, damage: str) -> None:
    """Make a bad image."""
    pixels = np.random.default_rng(0).integers(0, 255, (60, 70), np.uint8)
    if path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels)
    whole = path.read_bytes()
    path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "other": b"GIF89a" + whole}[damage])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere.png"], r"input .*nowhere\.png not found or not a file; check the path"),
        (["empty"], r"folder .*empty holds no image \(0 other entries\); expected files ending in .*"),
        (["cut.png"], r"image .*cut\.png .*; .*"),
        (["cut.tif"], r"image .*cut\.tif .*; .*"),
        (
            ["plain.zarr"],
            r"image .*plain\.zarr is no Zarr group: it has no \.zgroup or zarr\.json; name the folder of .*",
        ),
        (["zero.png"], r"image .*zero\.png is empty \(0 bytes\); expected a PNG or TIFF file; copy it again"),
        (["other.tif"], r"image .*other\.tif is named as TIFF but holds GIF; .*"),
        (["images", "--checkpoint", "nowhere.pt"], r"checkpoint .*nowhere\.pt not found; train first.*"),
        (["images", "--checkpoint", "cut.pt"], r"cut\.pt is not a checkpoint that can be read safely: .*; .*"),
        (
            ["images", "--set", "network_def::channels=[2,4]"],
            r"checkpoint .*model\.pt belongs to another network: contract\.0\.0\.weight is \(4, 1, 3, 3\), expected .*",
        ),
        (["images", "--set", "tile_xp=380"], r"config id 'tile_xp' is used by nothing .* did you mean 'tile_px'\?"),
        (["images", "--set", "output_dir=x"], r"config id 'output_dir' has no effect here; use -o instead"),
        (["images", "--set", "batch_size=x"], r"config id 'batch_size' is 'x'; expected a whole number, as in .*"),
        (["images", "--set", "device=5"], r"device '5' .*"),
        (["images", "--overlay", "demo"], r"configs inference \+ demo do not go together: .*"),
        (["images", "--set", "tile_px=381"], r"tile side 381 px does not fit .*; try 380 or 396"),
        (["images", "--set", "tile_px"], r"argument 'tile_px' must be id=value, for example max_epochs=5"),
        (["images", "--overlay", "dmeo"], r"bundle .* has no config 'dmeo'; did you mean 'demo'\?"),
        (
            ["images", "--bundle", "images"],
            r"bundle images not found: a bundle is a folder with a configs folder in it",
        ),
        (["images", "-o", "images/one.png"], r"output folder images/one\.png is a file; name a folder"),
        (["images", "-o", "images/one.png/out"], r"cannot use images/one\.png/out: Not a directory; check .*"),
    ],
    ids=[
        *("missing file", "empty folder", "truncated PNG", "truncated TIFF", "no Zarr", "empty file", "another format"),
        *("missing checkpoint", "truncated checkpoint", "another network", "mistyped id"),
        *(
            "an option's id",
            "text for a number",
            "no device",
            "overlay of train",
            "illegal tile",
            "no value",
            "overlay",
        ),
        *("no bundle", "output is a file", "output below a file"),
    ],
)
def test_bad_input_of_predict_is_one_line_and_nothing_is_written(
    command: Callable[..., Any],
    trained_run: Any,
    images: Path,
    tmp_path: Path,
    arguments: list[str],
    line: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "plain.zarr").mkdir()
    for name, damage in (
        ("cut.png", "truncated"),
        ("cut.tif", "truncated"),
        ("zero.png", "empty"),
        ("other.tif", "other"),
    ):
        damaged(tmp_path / name, damage)
    (tmp_path / "cut.pt").write_bytes(trained_run.checkpoint.read_bytes()[:1000])
    before = entries_of(tmp_path)
    given = ["--bundle", str(trained_run.bundle), "-o", "out", "--set", "device=cpu", *arguments]
    status, out, last = command("predict", *given)
    assert (status, out) == (2, "")
    assert re.fullmatch(f"unet-pipeline: error: {line}", last), last
    assert entries_of(tmp_path) == before


def test_a_full_disk_stops_predict_with_one_line_and_whole_files_only(
    processes: Any, trained_run: Any, images: Path, tmp_path: Path
) -> None:
    arguments = ["predict", "--bundle", trained_run.bundle, images, "-o", tmp_path / "out", "--probability"]
    finished = processes.start("pipeline", arguments, tmp_path, largest_file_bytes=20_000).wait()
    assert finished.status == 2
    assert re.fullmatch(
        r"unet-pipeline: error: cannot write .*one_probability\.tif: File too large; check the free space and the "
        r"permissions of .*out, or write elsewhere",
        finished.last_line,
    )
    assert "Traceback" not in finished.stderr
    assert entries_of(tmp_path / "out") == {"one_mask.png", "one_instances.png"}
    assert read_image(tmp_path / "out" / "one_mask.png").size_px == (80, 112)


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


def test_a_bundle_that_is_not_there_is_refused(command: Callable[..., Any], tmp_path: Path) -> None:
    status, _, last = command("train", tmp_path / "nowhere")
    assert status == 2
    assert last.startswith(f"unet-pipeline: error: bundle {tmp_path / 'nowhere'} not found: a bundle is a folder")


def test_ctrl_c_before_training_began_is_one_line(train: Callable[..., Any], tmp_path: Path) -> None:
    run = train(settings={"tiles_per_case": 1000})
    run.wait_for(lambda: run.stderr.exists() and "preparing cases" in run.stderr.read_text(encoding="utf-8"))
    run.interrupt()
    finished = run.wait()
    assert finished.status == 130
    assert finished.last_line == "interrupted; what was complete is kept"
    assert "Traceback" not in finished.stderr
    assert not (tmp_path / "out" / "models").exists()
