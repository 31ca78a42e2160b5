"""How the process of a bundle run ends, in real processes: one line and a status, or a traceback for a bug of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

RAISE = """
import errno
import sys
import threading
from tqdm import tqdm
from pipeline.engines import report_errors_in_one_line
from pipeline.errors import LabelError

def user_error():
    raise LabelError("label 'case_07' holds values [0, 1, 255]")

def wrapped():
    try:
        try:
            user_error()
        except LabelError as error:
            raise RuntimeError("applying transform") from error
    except RuntimeError as error:
        raise RuntimeError("Failed to evaluate ConfigExpression") from error

def interrupt():
    raise KeyboardInterrupt

def full_disk():
    raise OSError(errno.ENOSPC, "No space left on device", "events.out.tfevents")

def full_disk_in_a_thread():
    thread = threading.Thread(target=full_disk)
    thread.start()
    thread.join()
    full_disk()

def bug():
    return {}["no such key"]

def bug_in_a_thread():
    thread = threading.Thread(target=bug)
    thread.start()
    thread.join()

def behind_a_bar():
    for _ in tqdm(range(3), desc="training"):
        user_error()

report_errors_in_one_line()
globals()[sys.argv[1]]()
"""

FULL_DISK = (
    "error: cannot use events.out.tfevents: No space left on device; "
    "check the free space and the permissions, or write elsewhere\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one_line_errors")
    (folder / "raise_something.py").write_text(RAISE)
    return folder


@pytest.mark.parametrize(
    ("what", "status", "line"),
    [
        ("user_error", 2, "error: label 'case_07' holds values [0, 1, 255]\n"),
        ("wrapped", 2, "error: label 'case_07' holds values [0, 1, 255]\n"),
        ("interrupt", 130, "interrupted; what was complete is kept\n"),
        (
            "full_disk",
            2,
            FULL_DISK,
        ),
        (
            "full_disk_in_a_thread",
            2,
            FULL_DISK,
        ),
    ],
)
def test_what_the_user_can_mend_is_one_line(folder: Path, processes: Any, what: str, status: int, line: str) -> None:
    finished = processes.start("raise_something", [what], folder).wait()
    assert (finished.status, finished.stderr) == (status, line)
    assert finished.stdout == ""


def test_a_bug_keeps_its_traceback(folder: Path, processes: Any) -> None:
    finished = processes.start("raise_something", ["bug"], folder).wait()
    assert finished.status == 1
    assert "Traceback (most recent call last)" in finished.stderr
    assert finished.last_line == "KeyError: 'no such key'"


def test_a_bug_in_a_thread_keeps_its_traceback(folder: Path, processes: Any) -> None:
    finished = processes.start("raise_something", ["bug_in_a_thread"], folder).wait()
    assert "Exception in thread" in finished.stderr
    assert finished.last_line == "KeyError: 'no such key'"


def test_the_line_stands_alone_below_an_open_bar(folder: Path, processes: Any) -> None:
    finished = processes.start("raise_something", ["behind_a_bar"], folder).wait()
    assert finished.status == 2
    assert finished.stderr.endswith("\nerror: label 'case_07' holds values [0, 1, 255]\n")
    assert "training:   0%" in finished.stderr
