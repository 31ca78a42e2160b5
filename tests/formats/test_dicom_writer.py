"""Written series are valid by dciodvfy, the same for the same seed, and whole or not there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_tools import run_tool

from pipeline.errors import ImageError, OutputError
from pipeline.formats import MadeUpPatient, read_dicom_series, write_dicom_series

AFFINE = np.array([[0, -0.8, 0, 30.5], [-0.7, 0, 0, 20.25], [0, 0, 2, -100], [0, 0, 0, 1]])
SKEWED = AFFINE + np.outer([0.3, 0, 0, 0], [1, 0, 0, 0])
VOXELS = np.random.default_rng(0).integers(0, 1000, (7, 9, 4), dtype=np.int16)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_dciodvfy_finds_nothing(tmp_path: Path, modality: Any) -> None:
    for path in write_dicom_series(tmp_path / "series", VOXELS, AFFINE, modality=modality):
        found = run_tool("dciodvfy", path)
        lines = [line for line in (found.stdout + found.stderr).splitlines() if line.startswith(("Error", "Warning"))]
        assert lines == []


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_the_same_seed_gives_the_same_files(tmp_path: Path, modality: Any) -> None:
    patient = MadeUpPatient("PHANTOM-07", seed="set 1")
    contents = []
    for name in ("first", "second"):
        paths = write_dicom_series(tmp_path / name, VOXELS, AFFINE, modality=modality, patient=patient)
        contents.append([path.read_bytes() for path in paths])
    assert contents[0] == contents[1]


def test_uids_are_shared_within_a_study_and_by_nothing_else(tmp_path: Path) -> None:
    def headers(name: str, patient: MadeUpPatient | None) -> pydicom.FileDataset:
        write_dicom_series(tmp_path / name, VOXELS, AFFINE, patient=patient)
        return pydicom.dcmread(tmp_path / name / "00001.dcm")

    first = headers("1", MadeUpPatient("A", series=1, seed="s"))
    sibling = headers("2", MadeUpPatient("A", series=2, seed="s"))
    other = headers("3", MadeUpPatient("B", series=1, seed="s"))
    unseeded = [headers(name, None) for name in ("4", "5")]
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert first[name].value == sibling[name].value
        assert len({header[name].value for header in (first, other, *unseeded)}) == 4
    for name in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert len({header[name].value for header in (first, sibling, other, *unseeded)}) == 5


def test_all_slices_of_a_random_patient_are_one_series(tmp_path: Path) -> None:
    paths = write_dicom_series(tmp_path / "series", VOXELS, AFFINE)
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    for name in ("SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert len({header[name].value for header in headers}) == 1
    assert len({header.SOPInstanceUID for header in headers}) == 4
    assert {header.PatientIdentityRemoved for header in headers} == {"YES"}


@pytest.mark.parametrize(("modality", "low", "high"), [("CT", -1024, 31743), ("MR", 0, 65535)])
def test_the_whole_range_is_kept_and_nothing_beyond(tmp_path: Path, modality: Any, low: int, high: int) -> None:
    voxels = np.array([[[low], [high]]])
    write_dicom_series(tmp_path / "ends", voxels, AFFINE, modality=modality)
    np.testing.assert_array_equal(read_dicom_series(tmp_path / "ends").voxels, voxels)
    for beyond in (low - 1, high + 1):
        with pytest.raises(ImageError, match=f"expected whole numbers from {low} to {high}"):
            write_dicom_series(tmp_path / "beyond", np.full((2, 2, 1), beyond), AFFINE, modality=modality)
    assert [path.name for path in tmp_path.iterdir()] == ["ends"]


@pytest.mark.parametrize(
    ("voxels", "affine", "message"),
    [
        (VOXELS + 0.5, AFFINE, "expected whole numbers"),
        (VOXELS[:, :, 0], AFFINE, r"expected \(row, column, slice\)"),
        (VOXELS[:, :, :0], AFFINE, r"expected \(row, column, slice\)"),
        (VOXELS, np.zeros((4, 4)), "finite and invertible"),
        (VOXELS, np.eye(3), "finite and invertible"),
        (VOXELS, SKEWED, "at right angles"),
    ],
    ids=["fractions", "2D", "no slices", "singular", "3 by 3", "skewed"],
)
def test_what_cannot_be_written_is_refused(tmp_path: Path, voxels: Any, affine: Any, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        write_dicom_series(tmp_path / "series", voxels, affine)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("keep", encoding="utf-8")
    with pytest.raises(OutputError, match="not an empty folder"):
        write_dicom_series(tmp_path, VOXELS, AFFINE)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, small_disk: Any) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    script = (
        "import numpy as np; from pipeline.formats import write_dicom_series; "
        f"write_dicom_series('{mount}/series', np.zeros((256, 256, 8), int), np.eye(4)[:, [1, 0, 2, 3]])"
    )
    finished = small_disk(mount, "300k", f"'{sys.executable}' -c \"{script}\" 2>&1 || true; ls -A '{mount}'")
    assert "No space left on device" in finished.stdout
    assert finished.stdout.rstrip().endswith("or write elsewhere")
