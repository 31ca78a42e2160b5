"""Damaged files and folders: whatever happens to a header, there is a volume, or one line that names the file."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import RLELossless, generate_uid

from pipeline.errors import PipelineError
from pipeline.formats import REPAIRS, read_dicom_seg, read_dicom_series, write_dicom_series

from .faulty_series import PLANTED, VOXELS, edit, put, refused, snapshot

_EVERYTHING = sorted(set(REPAIRS) - {"monochrome1-keep"})
_PREFIX_BYTES = 132


def damaged(content: bytes, rng: random.Random, end: int) -> bytes:
    """Change a byte, take some out, or put some in."""
    place, kind = rng.randrange(_PREFIX_BYTES, end), rng.random()
    if kind < 0.6:
        return content[:place] + bytes([rng.randrange(256)]) + content[place + 1 :]
    if kind < 0.8:
        return content[:place] + content[place + rng.randrange(1, 6) :]
    return content[:place] + rng.randbytes(rng.randrange(1, 5)) + content[place:]


def element(content: bytes, tag: int, vr: bytes) -> int:
    """Return where an element of explicit VR begins."""
    return content.index(bytes([tag >> 16 & 255, tag >> 24, tag & 255, tag >> 8 & 255]) + vr)


def check_message(error: PipelineError) -> None:
    message = str(error)
    assert "\n" not in message
    assert not any(secret in message for secret in PLANTED)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_to_a_header_never_ends_in_a_traceback(folder: Path, seed: int) -> None:
    path = folder / "00002.dcm"
    content, rng = path.read_bytes(), random.Random(seed)
    refusals = 0
    for _ in range(60):
        path.write_bytes(damaged(content, rng, len(content) - VOXELS[:, :, 0].nbytes))
        try:
            series = read_dicom_series(folder)
        except PipelineError as error:
            check_message(error)
            refusals += 1
        else:
            assert series.voxels.shape == VOXELS.shape
    assert refusals > 5


@pytest.mark.parametrize("seed", range(2))
def test_random_damage_to_a_segmentation_never_ends_in_a_traceback(written: tuple, seed: int) -> None:
    path, source, masks = written
    content, rng = path.read_bytes(), random.Random(seed)
    refusals = 0
    for _ in range(60):
        path.write_bytes(damaged(content, rng, len(content) - 60))
        try:
            assert read_dicom_seg(path, source).masks.shape == masks.shape
        except PipelineError as error:
            check_message(error)
            refusals += 1
    assert refusals > 5


ROWS, BITS, SERIES, INSTANCE, MODALITY = 0x00280010, 0x00280100, 0x0020000E, 0x00080018, 0x00080060


@pytest.mark.parametrize(
    ("tag", "vr", "changed"),
    [
        (ROWS, b"US", b"US\x04\x00\x07\x00\x07\x00"),
        (ROWS, b"US", b"US\x03\x00\x07\x00\x00"),
        (ROWS, b"US", b"Z?\x02\x00\x07\x00"),
        (BITS, b"US", b"US\x03\x00\x10\x00\x00"),
        (SERIES, b"UI", b"Z?"),
        (INSTANCE, b"UI", b"Z?"),
        (MODALITY, b"CS", b"CS\x02\x00\nC"),
        (0x00020000, b"UL", b"UL\x03\x00\x00\x00\x00"),
    ],
    ids=[
        "two rows",
        "rows of 3 bytes",
        "VR of rows",
        "bits of 3 bytes",
        "VR of series",
        "VR of instance",
        "line end",
        "group length",
    ],
)
def test_elements_that_pydicom_cannot_convert_are_refused_by_name(
    folder: Path, tag: int, vr: bytes, changed: bytes
) -> None:
    path = folder / "00002.dcm"
    content = path.read_bytes()
    start = element(content, tag, vr) + 4
    replaced = 2 if len(changed) == 2 else 4 + int.from_bytes(content[start + 2 : start + 4], "little")
    path.write_bytes(content[:start] + changed + content[start + replaced :])
    assert "00002.dcm" in refused(folder)


def test_a_size_that_the_pixels_do_not_have_takes_no_memory(folder: Path) -> None:
    for path in folder.iterdir():
        edit(path, put(Rows=65535, Columns=65535))
    assert "truncated or damaged pixels" in refused(folder)


# In a process of its own: a long test run keeps memory that it can use again beyond any limit.
_READ_WITHIN_A_LIMIT = """
import resource, sys
import psutil
from pipeline.errors import PipelineError
from pipeline.formats import read_dicom_series

resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**30,) * 2)
try:
    read_dicom_series(sys.argv[1])
except PipelineError as error:
    print(error)
"""


def test_a_volume_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    write_dicom_series(tmp_path, np.zeros((4096, 4096, 1), np.int16), np.diag([1.0, 1, 2, 1]))
    (first,) = tmp_path.iterdir()
    slice_ = pydicom.dcmread(first)
    slice_.compress(RLELossless, encoding_plugin="pydicom")
    for number in range(40):
        slice_.ImagePositionPatient = [0, 0, 2 * number]
        slice_.SOPInstanceUID = slice_.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        slice_.save_as(tmp_path / f"{number}.dcm")
    first.unlink()
    before = snapshot(tmp_path)
    finished = subprocess.run(
        [sys.executable, "-c", _READ_WITHIN_A_LIMIT, tmp_path], capture_output=True, text=True, check=True
    )
    assert ": 40 slices of 4096 × 4096 px do not fit into memory; expected room for 1.2 GiB;" in finished.stdout
    assert finished.stdout.count("\n") == 1
    assert snapshot(tmp_path) == before


# --- files that are not there, or not what they are named ------------------------------------------------------------


def test_a_link_that_leads_nowhere_is_refused(folder: Path, tmp_path: Path) -> None:
    path = folder / "00006.dcm"
    moved = path.rename(tmp_path / "elsewhere")
    path.symlink_to(moved)
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)
    moved.rename(tmp_path / "gone")
    message = refused(folder, allow=_EVERYTHING)
    assert re.match(r"00006\.dcm is named or begins as DICOM files do and cannot be read, or is a link", message)


def test_linked_folders_are_searched_once_even_in_a_circle(folder: Path, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name in ("00005.dcm", "00006.dcm"):
        (folder / name).rename(inner / name)
    for name in ("first", "second"):
        (folder / name).symlink_to(inner, target_is_directory=True)
    (inner / "back").symlink_to(folder, target_is_directory=True)
    series = read_dicom_series(folder)
    np.testing.assert_array_equal(series.voxels, VOXELS)
    assert series.frames[5] is not None
    assert series.frames[5].path == folder / "first" / "00006.dcm"


@pytest.mark.parametrize("content", [b"<html>not found</html>", bytes(range(1, 200))])
def test_a_file_named_as_dicom_that_is_none_is_refused(folder: Path, content: bytes) -> None:
    (folder / "00006.dcm").write_bytes(content)
    assert refused(folder, allow=_EVERYTHING).startswith("00006.dcm is named or begins as DICOM files do")


def test_a_cut_file_without_prefix_is_refused_where_it_is_named_as_dicom(folder: Path) -> None:
    path = folder / "00006.dcm"
    path.write_bytes(path.read_bytes()[_PREFIX_BYTES:][:300])
    assert refused(folder).startswith("00006.dcm is named or begins as DICOM files do")


def test_a_series_uid_may_be_padded(folder: Path) -> None:
    uid = read_dicom_series(folder).series_uid
    np.testing.assert_array_equal(read_dicom_series(folder, f"{uid} ").voxels, VOXELS)
