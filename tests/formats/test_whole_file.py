"""`whole_file` against exceptions, full disks and kills, the last two in real processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import ImageError, OutputError
from pipeline.formats import whole_file


def _write(path: Path | str, text: str, *, overwrite: bool = False, then_raise: BaseException | None = None) -> None:
    with whole_file(path, overwrite=overwrite) as partial:
        partial.write_text(text)
        if then_raise is not None:
            raise then_raise


def _entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_the_new_content_is_in_place_and_nothing_else_is_left(tmp_path: Path) -> None:
    with whole_file(tmp_path / "a.json") as partial:
        partial.write_text("new")
    assert (tmp_path / "a.json").read_text() == "new"
    assert _entries(tmp_path) == ["a.json"]


def test_the_target_does_not_change_before_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with whole_file(target, overwrite=True) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("name", ["mask.nii.gz", "model.pt", "no_suffix", "Slide 1.2 of 3.tif"])
def test_the_temporary_file_is_hidden_lies_beside_the_target_and_ends_alike(tmp_path: Path, name: str) -> None:
    with whole_file(tmp_path / name) as partial:
        assert partial.parent == tmp_path.resolve()
        assert partial.name.startswith(".partial-")
        assert partial.suffixes[-2:] == Path(name).suffixes[-2:] or partial.suffix == Path(name).suffix


def test_the_longest_name_the_file_system_takes_can_be_written(tmp_path: Path) -> None:
    name = "n" * 251 + ".png"
    with whole_file(tmp_path / name) as partial:
        partial.write_bytes(b"x")
    assert _entries(tmp_path) == [name]


@pytest.mark.parametrize(
    "error", [ValueError("no"), KeyboardInterrupt(), ImageError("no")], ids=lambda e: type(e).__name__
)
def test_an_exception_passes_and_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(type(error)):
        _write(target, "half", overwrite=True, then_raise=error)
    assert target.read_text() == "old"
    assert _entries(tmp_path) == ["a.json"]


def test_of_an_error_that_a_library_wraps_the_systems_own_words_are_said(tmp_path: Path) -> None:
    error = OSError(errno.ENOSPC, "No space left on device")
    for tag in ("7fe0,0010", "5200,9230"):
        wrapped = OSError(f"With tag ({tag}) got exception: ...\nTraceback ...")
        wrapped.__cause__ = error
        error = wrapped
    with pytest.raises(OutputError) as failure:
        _write(tmp_path / "a.dcm", "half", then_raise=error)
    assert "a.dcm: No space left on device; check the free space" in str(failure.value)
    assert _entries(tmp_path) == []


def test_an_operating_system_error_becomes_one_line_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*a\.json: several lines; check the free space") as caught:
        _write(tmp_path / "a.json", "half", then_raise=OSError("several\nlines"))
    assert "\n" not in str(caught.value)
    assert _entries(tmp_path) == []


def test_an_existing_file_is_kept_and_force_is_named(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with pytest.raises(OutputError, match=r"a\.json already exists; pass --force"):
        _write(target, "new")
    assert target.read_text() == "old"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"folder .*results does not exist; create it"):
        _write(tmp_path / "results" / "a.json", "new")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a folder or a device"):
        _write(tmp_path, "new", overwrite=True)


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OutputError, match="/dev/full: it is a folder or a device"):
        _write("/dev/full", "new", overwrite=True)
    assert Path("/dev/full").is_char_device()


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "latest.pt").symlink_to(tmp_path / "real" / "epoch_3.pt")
    with whole_file(tmp_path / "latest.pt") as partial:
        partial.write_text("weights")
    assert (tmp_path / "latest.pt").is_symlink()
    assert (tmp_path / "real" / "epoch_3.pt").read_text() == "weights"


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        with whole_file(tmp_path / "a.json") as partial:
            partial.write_text("x")
    finally:
        os.umask(previous)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o640


_WRITE_ONE_MEGABYTE = """
import sys
from pipeline.errors import OutputError
from pipeline.formats import whole_file
try:
    with whole_file(sys.argv[1], overwrite=True) as partial:
        partial.write_bytes(bytes(1_000_000))
except OutputError as error:
    print(error)
    sys.exit(2)
"""


def test_a_limit_on_the_file_size_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_text("old")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))\n" + _WRITE_ONE_MEGABYTE
    run = subprocess.run([sys.executable, "-c", limited, str(target)], capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert run.stdout.startswith(f"cannot write {target}: File too large; check the free space")
    assert target.read_text() == "old"
    assert _entries(tmp_path) == ["a.bin"]


def test_a_full_disk_leaves_the_old_file(
    small_disk: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    disk, program = tmp_path / "disk", tmp_path / "write.py"
    disk.mkdir()
    program.write_text(_WRITE_ONE_MEGABYTE)
    write = f"{sys.executable} '{program}' '{disk}/a.bin'"
    run = small_disk(
        disk, "64k", f"echo old > '{disk}/a.bin'; {write} || echo rc $?; ls -A '{disk}'; cat '{disk}/a.bin'"
    )
    message, status, *listing = run.stdout.splitlines()
    assert message.startswith(f"cannot write {disk}/a.bin: No space left on device; check the free space")
    assert status == "rc 2"
    assert listing == ["a.bin", "old"]


def test_a_kill_in_the_middle_leaves_the_old_file_and_the_next_write_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    target.write_text("old")
    program = """
import sys, time
from pipeline.formats import whole_file
with whole_file(sys.argv[1], overwrite=True) as partial, partial.open("wb") as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program, str(target)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert target.read_text() == "old"
    with whole_file(target, overwrite=True) as partial:
        partial.write_text("new")
    assert target.read_text() == "new"
