"""NIfTI files that are refused, in and out, each by its name and the rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from nibabel.testing import data_path

from pipeline.errors import ImageError, MissingFileError, OutputError
from pipeline.formats import read_nifti, write_nifti

RAMP = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)


# --- refusals --------------------------------------------------------------------------------------------------------


def refused(path: Path, expected: str) -> None:
    before = {entry: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()}
    with pytest.raises(ImageError, match=expected) as caught:
        read_nifti(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert {entry: entry.read_bytes() for entry in path.parent.iterdir() if entry.is_file()} == before


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.99])
def test_a_file_cut_short_is_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20), dtype=np.uint8)
    write_nifti(tmp_path / f"whole{suffix}", noise, np.eye(4))
    content = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"cut{suffix}").write_bytes(content[: int(len(content) * kept)])
    refused(tmp_path / f"cut{suffix}", "cut short")


def test_a_damaged_compressed_file_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (20, 20, 20), dtype=np.uint8)
    write_nifti(tmp_path / "a.nii.gz", noise, np.eye(4))
    content = bytearray((tmp_path / "a.nii.gz").read_bytes())
    content[-6] ^= 0xFF  # the checksum
    (tmp_path / "a.nii.gz").write_bytes(bytes(content))
    refused(tmp_path / "a.nii.gz", "cut short, damaged")


@pytest.mark.parametrize("name", ["example4d.nii.gz", "functional.nii", "example_nifti2.nii.gz"])
def test_time_series_are_refused(name: str) -> None:
    refused(Path(data_path) / name, r"has 4 axes \(.*\); expected two or three: one image, no time series")


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    save = nib.save
    save(nib.Nifti1Image(np.zeros((2, 2, 2, 1, 3), np.float32), np.eye(4)), tmp_path / "five.nii")
    refused(tmp_path / "five.nii", "has 5 axes")
    save(nib.Nifti1Image(np.zeros(4, np.float32), np.eye(4)), tmp_path / "one.nii")
    refused(tmp_path / "one.nii", "has 1 axis")
    rgb = np.zeros((2, 2, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "rgb.nii")
    refused(tmp_path / "rgb.nii", r"holds colours \(R, G, B\)")
    save(nib.Nifti1Image(np.zeros((2, 2, 2), np.complex64), np.eye(4)), tmp_path / "complex.nii")
    refused(tmp_path / "complex.nii", "holds complex64 values")
    refused(Path(data_path) / "row_major.dconn.nii", "holds Cifti2Image")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_refused_in_and_out(value: float, tmp_path: Path) -> None:
    voxels = RAMP.astype(np.float32)
    voxels[1, 2, 3] = value
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), tmp_path / "in.nii")
    refused(tmp_path / "in.nii", "holds 1 voxel that is NaN or infinite")
    with pytest.raises(ImageError, match="holds 1 voxel that is NaN or infinite"):
        write_nifti(tmp_path / "out.nii", voxels, np.eye(4))
    assert not (tmp_path / "out.nii").exists()


def test_a_real_file_with_nan_is_refused() -> None:
    refused(Path(data_path) / "resampled_anat_moved.nii", "holds 153 voxels that are NaN")


def test_files_that_are_no_nifti_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.nii").touch()
    refused(tmp_path / "empty.nii", "is empty")
    (tmp_path / "text.nii").write_text("not an image\n" * 100)
    refused(tmp_path / "text.nii", "cannot be read as NIfTI")
    (tmp_path / "text.nii.gz").write_text("not an image\n" * 100)
    refused(tmp_path / "text.nii.gz", "cannot be read as NIfTI")
    (tmp_path / "image.img").touch()
    refused(tmp_path / "image.img", "is not named as NIfTI")
    (tmp_path / "folder.nii").mkdir()
    refused(tmp_path / "folder.nii", "is a folder")
    with pytest.raises(MissingFileError, match="not found"):
        read_nifti(tmp_path / "nothing.nii")


@pytest.mark.parametrize("affine", [np.diag([1, 1, 0, 1]), np.ones((4, 4)) - np.diag([0, 0, 0, 0]), np.eye(3)])
def test_affines_that_place_nothing_are_refused(affine: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="affine"):
        write_nifti(tmp_path / "a.nii", RAMP, affine)
    assert list(tmp_path.iterdir()) == []


def test_a_flat_affine_in_a_file_is_refused(tmp_path: Path) -> None:
    header = nib.Nifti1Header()
    header["sform_code"] = 1
    header["srow_x"], header["srow_y"] = [1, 0, 0, 0], [0, 1, 0, 0]
    nib.save(nib.Nifti1Image(RAMP, None, header), tmp_path / "flat.nii")
    refused(tmp_path / "flat.nii", "flattens its voxels")


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", RAMP, np.eye(4))
    with pytest.raises(OutputError, match="already exists; pass --force"):
        write_nifti(tmp_path / "a.nii", RAMP + 1, np.eye(4))
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").voxels, RAMP)
    write_nifti(tmp_path / "a.nii", RAMP + 1, np.eye(4), overwrite=True)
    np.testing.assert_array_equal(read_nifti(tmp_path / "a.nii").voxels, RAMP + 1)


@pytest.mark.parametrize("dtype", [np.complex64, np.float16, "U1"])
def test_dtypes_that_nifti_cannot_hold_are_not_written(dtype: Any, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="expected integers, float32 or float64"):
        write_nifti(tmp_path / "a.nii", RAMP.astype(dtype), np.eye(4))
