"""The folder of unfinished results: it belongs to one run, and leaves when nothing in it is worth keeping."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.errors import OutputError
from pipeline.scratch_folder import ScratchFolder

RUN = {"image": "a", "weights": "b"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".partial-cell"


def interrupted(path: Path, *files: str) -> None:
    """Leave a folder as an error leaves it that strikes while there are such files."""
    with suppress(ZeroDivisionError), ScratchFolder(path, RUN).begun():
        for file in files:
            (path / file).write_text("work")
        raise ZeroDivisionError


def test_what_was_finished_is_there_when_the_run_goes_on(path: Path) -> None:
    interrupted(path, "page-0.raw", "page-1.unfinished")
    scratch = ScratchFolder(path, RUN)
    with scratch.begun():
        assert (scratch / "page-0.raw").read_text() == "work"
    scratch.remove()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("files", [[], ["page-0.unfinished"]])
def test_a_folder_with_nothing_finished_is_removed(path: Path, files: list[str]) -> None:
    interrupted(path, *files)
    assert list(path.parent.iterdir()) == []


def test_another_run_is_refused_and_told_what_differs(path: Path) -> None:
    interrupted(path, "page-0.raw")
    with pytest.raises(OutputError, match=r"\.partial-cell holds .* another run, with other weights; repeat the first"):
        ScratchFolder(path, {**RUN, "weights": "c"})
    assert (path / "page-0.raw").exists()


def test_another_run_starts_anew_on_request_when_it_begins(path: Path) -> None:
    interrupted(path, "page-0.raw")
    scratch = ScratchFolder(path, {**RUN, "weights": "c"}, overwrite=True)
    assert (path / "page-0.raw").exists()
    with scratch.begun():
        assert sorted(entry.name for entry in path.iterdir()) == ["lock", "run.json"]


def test_the_same_run_goes_on_also_with_force(path: Path) -> None:
    interrupted(path, "page-0.raw")
    with ScratchFolder(path, RUN, overwrite=True).begun():
        assert (path / "page-0.raw").exists()


def test_two_runs_are_kept_apart(path: Path) -> None:
    with ScratchFolder(path, RUN).begun():
        (path / "page-0.raw").write_bytes(b"first")
        with pytest.raises(OutputError, match=r"another run is writing to .*; wait for its end"):
            ScratchFolder(path, RUN, overwrite=True).begun().__enter__()
        assert (path / "page-0.raw").read_bytes() == b"first"
    with ScratchFolder(path, RUN).begun():
        assert (path / "page-0.raw").exists()


def test_a_folder_without_a_description_was_never_begun(path: Path) -> None:
    path.mkdir()
    with ScratchFolder(path, RUN).begun():
        assert (path / "run.json").exists()


@pytest.mark.parametrize("text", ["{", "[1, 2]", "3", "null"])
def test_a_damaged_description_is_named(path: Path, text: str) -> None:
    path.mkdir()
    (path / "run.json").write_text(text)
    with pytest.raises(OutputError, match=r"run\.json cannot be read; remove .*\.partial-cell to start anew"):
        ScratchFolder(path, RUN)
