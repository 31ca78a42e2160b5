"""The README says what is true: its commands exist, parse and name files that are there."""

import argparse
import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

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
    if words[1] == "data":
        return
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
