"""The command `unet-pipeline`, and the bad input of which it must say one clear line and leave everything whole."""

from __future__ import annotations

import re
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
from pipeline.formats import read_image

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "bundles" / "em_membrane_segmentation"


def entries_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


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


def test_a_bundle_that_is_not_there_is_refused(command: Callable[..., Any], tmp_path: Path) -> None:
    status, _, last = command("train", tmp_path / "nowhere")
    assert status == 2
    assert last.startswith(f"unet-pipeline: error: bundle {tmp_path / 'nowhere'} not found: a bundle is a folder")
