"""The README says what is true: its commands name files that are there, and do what they say."""

import argparse
import ast
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.cli import command_line_parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.strip()
    for block in re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]


def commands_of(program: str) -> list[str]:
    return [command for command in COMMANDS if re.search(rf"(^|/|\s){re.escape(program)}\s", f"{command} ")]


def test_there_are_commands_of_each_kind() -> None:
    for program in ("make", "unet-pipeline", "monai.bundle"):
        assert commands_of(program), program


@pytest.mark.parametrize("command", commands_of("make"))
def test_make_knows_the_target(command: str) -> None:
    found = subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("command", commands_of("unet-pipeline"))
def test_the_command_line_is_understood(command: str) -> None:
    words = shlex.split(command)
    options, rest = command_line_parser().parse_known_args(words[1:])
    assert isinstance(options, argparse.Namespace)
    assert all("=" in word and not word.startswith("-") for word in rest)
    if words[1] in ("train", "preview", "predict"):
        assert (ROOT / options.bundle / "configs").is_dir()
        for overlay in options.overlay:
            assert (ROOT / options.bundle / "configs" / f"{overlay}.yaml").is_file()


@pytest.mark.parametrize("command", commands_of("monai.bundle"))
def test_the_bundle_run_names_configs_that_are_there(command: str) -> None:
    words = shlex.split(command)
    named = words[words.index("--config_file") + 1]
    files = ast.literal_eval(named) if named.startswith("[") else [named]
    for file in files:
        assert (ROOT / file).is_file()
    assert words[words.index("run") + 1] in {"training", "evaluating", "inferring"}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(((?!http)[^)#]+)\)", README))))
def test_linked_files_are_there(target: str) -> None:
    assert (ROOT / target).exists()


def test_only_programs_that_an_installation_gives_are_called() -> None:
    programs = {shlex.split(command)[0].rpartition("/")[2] for command in COMMANDS}
    assert programs <= {"make", "unet-pipeline", "python", "torchrun", "tensorboard", "."}


# --- the commands themselves, one after the other, with settings that make training short ----------------------------

# What installs, what goes on for ever, what needs fetched data, and what tests/bundles runs in several processes.
NOT_RUN = ("make ", ". .venv", "tensorboard ", "torchrun ", "unet-pipeline train bundles/hippocampus")
SHORT = {"max_epochs": 1, "val_interval": 1, "warmup_steps": 2, "device": "cpu"}
SHORT_EM = SHORT | {"tiles_per_case": 1, "tile_px": 188, "network_def::channels": [4, 8, 16, 32, 64]}
SHORT_CT = SHORT | {"tile_px": 140, "pixel_mm": 6.0, "network_def::channels": [4, 8, 12, 16]}


def shortened(command: str, folder: Path, as_options: Callable[..., list[str]]) -> tuple[str, list[str]]:
    """Return the module that a command runs, and its arguments: with short settings, and patterns of files expanded."""
    words = [name for word in shlex.split(command) for name in (in_folder(word, folder) or [word])]
    if words[0] == "python":
        own = {} if "evaluating" in words else SHORT
        return words[2], [*words[3:], *as_options({**SHORT_EM, **own})]
    if words[1] not in ("train", "preview"):
        return "pipeline", words[1:]
    settings = SHORT_CT if "bundles/phantom_ct_segmentation" in words else SHORT_EM
    return "pipeline", [*words[1:], *(f"{name}={json.dumps(value)}" for name, value in settings.items())]


def in_folder(word: str, folder: Path) -> list[str]:
    """Return the files that a shell puts in place of a pattern."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(word)) if word.endswith("].tif") else []


def lay_out(folder: Path, phantom_ct: Path) -> None:
    """Make what the README takes for granted: the repository, and a reader's own files."""
    for name in ("em_membrane_segmentation", "phantom_ct_segmentation"):
        shutil.copytree(ROOT / "bundles" / name / "configs", folder / "bundles" / name / "configs")
        shutil.copytree(ROOT / "bundles" / name / "docs", folder / "bundles" / name / "docs")
    shutil.copytree(ROOT / "data_manifests", folder / "data_manifests")
    shutil.copytree(phantom_ct, folder / "bundles" / "phantom_ct_segmentation" / "datasets" / "phantom_ct")
    shutil.copytree(phantom_ct / "PHANTOM-010", folder / "export")


def own_files(folder: Path) -> None:
    """Make a reader's own images out of the generated ones."""
    generated = folder / "bundles" / "em_membrane_segmentation" / "datasets" / "phantom_em"
    for kind in ("image", "label"):
        (folder / "FOLDER" / kind).mkdir(parents=True)
        for number in range(5):
            Image.open(generated / kind / f"{number:02d}.tif").save(folder / "FOLDER" / kind / f"mouse{number}.png")
    shutil.copy(generated / "image" / "00.tif", folder / "stack.tif")


@pytest.mark.slow
def test_the_commands_do_what_they_say(
    tmp_path: Path, processes: Any, phantom_ct: Path, as_options: Callable[..., list[str]]
) -> None:
    lay_out(tmp_path, phantom_ct)
    # In place of `make train`, which comes first.
    commands = ["unet-pipeline train bundles/em_membrane_segmentation --overlay demo", *COMMANDS]
    commands = [command for command in commands if not f"{command} ".startswith(NOT_RUN)]
    for number, command in enumerate(commands):
        module, arguments = shortened(command, tmp_path, as_options)
        finished = processes.start(module, arguments, tmp_path).wait()
        assert finished.status == 0, f"{command}\n{finished.stderr}"
        if number == 0:
            own_files(tmp_path)
    results = (
        "masks",
        "preview.png",
        "mine.json",
        "scores/evaluation.json",
        "runs/first/report.html",
        "segmented",
        "anonymous",
    )
    assert [name for name in results if not (tmp_path / name).exists()] == []
