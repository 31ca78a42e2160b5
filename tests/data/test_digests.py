"""Digests of folders: against sha256sum, and what they depend on."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.data import content_sha256, folder_sha256


def filled(folder: Path, seed: int) -> Path:
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 12)):
        parts = [f"{draw.choice('aBzé ._-')}{draw.randint(0, 30)}" for _ in range(draw.randint(1, 3))]
        path = folder.joinpath(*[f"d{part}" for part in parts[:-1]], f"f{parts[-1]}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw.randbytes(draw.randint(0, 3000)))
    return folder


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="the command sha256sum is not installed")
@pytest.mark.parametrize("seed", range(8))
def test_the_digest_of_a_folder_is_what_the_documented_command_gives(tmp_path: Path, seed: int):
    folder = filled(tmp_path / "series", seed)
    script = r"find . -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum"
    said = subprocess.run(["sh", "-c", script], cwd=folder, capture_output=True, text=True, check=True).stdout
    assert folder_sha256(folder) == said.split()[0]
    assert content_sha256(folder) == said.split()[0]


def test_the_digest_of_chosen_files_depends_on_them_alone_and_not_on_their_order(tmp_path: Path):
    for name in "abc":
        (tmp_path / name).write_text(name)
    lines = "".join(f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n" for name in "ac")
    assert folder_sha256(tmp_path, ["c", "a"]) == hashlib.sha256(lines.encode()).hexdigest()
    (tmp_path / "b").write_text("changed")
    assert folder_sha256(tmp_path, ["a", "c"]) == hashlib.sha256(lines.encode()).hexdigest()


def test_a_file_that_is_renamed_changes_the_digest_of_its_folder(tmp_path: Path):
    (tmp_path / "a").write_text("x")
    before = folder_sha256(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert folder_sha256(tmp_path) != before
    assert content_sha256(tmp_path / "b") == hashlib.sha256(b"x").hexdigest()
