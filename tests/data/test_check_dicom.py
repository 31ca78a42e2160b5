"""Checking data sets of DICOM series: their faults, and labels as DICOM SEG and NIfTI, real and generated."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from pipeline.data import check_data_set, index_data_set
from pipeline.formats import (
    SegmentDescription,
    SnomedCode,
    read_dicom_series,
    write_dicom_seg,
    write_dicom_series,
    write_nifti,
)

SHAPE = (12, 16, 5)
AFFINE = np.array([[0, -0.8, 0, 20.0], [-0.7, 0, 0, 30.0], [0, 0, 2.5, -40.0], [0, 0, 0, 1]])  # axial
BODY = SnomedCode("123037004", "Body structure")
SEGMENTS = (
    SegmentDescription(1, "Liver", BODY, SnomedCode("10200004", "Liver")),
    SegmentDescription(2, "Spleen", BODY, SnomedCode("78961009", "Spleen")),
)


def masks() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 3, SHAPE).astype(np.uint8)


def make_series(folder: Path, number: int, affine: np.ndarray = AFFINE) -> Path:
    voxels = np.random.default_rng(number).integers(-900, 900, SHAPE).astype(np.int16)
    write_dicom_series(folder / f"ct{number}", voxels, affine)
    return folder / f"ct{number}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three series of three patients with DICOM SEG labels."""
    for number in (1, 2, 3):
        source = read_dicom_series(make_series(tmp_path, number))
        write_dicom_seg(tmp_path / f"seg{number}.dcm", masks(), source, SEGMENTS, algorithm=None)
    return tmp_path


def index(folder: Path, labels: Mapping[str, str | None] | None = None, patient: str | None = None) -> dict[str, str]:
    """Write a manifest without digests, put in other labels by image, and return the case ids by image."""
    classes = None if any(folder.glob("*.dcm")) else {"background": 0, "liver": 1, "spleen": 2}
    fields, _ = index_data_set(folder, patient_pattern=patient, classes=classes)
    for case in fields["cases"]:
        case |= {"image_sha256": None, "label_sha256": None}
        case["label"] = (labels or {}).get(case["image"], case["label"])
    (folder / "set.json").write_text(json.dumps(fields))
    return {case["image"]: case["id"] for case in fields["cases"]}


def problems(folder: Path) -> list[str]:
    return [str(problem).replace(str(folder), "DATA") for problem in check_data_set(folder / "set.json", folder)]


def change(path: Path, **values: Any) -> None:
    path.chmod(0o644)
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_good_series_with_their_segmentations_have_no_problem(folder: Path):
    index(folder)
    assert problems(folder) == []


def test_each_fault_of_a_series_is_a_problem_of_its_case(folder: Path):
    ids = index(folder)
    (folder / "ct1/00003.dcm").unlink()
    z = float(pydicom.dcmread(folder / "ct2/00002.dcm").ImagePositionPatient[2])
    change(folder / "ct2/00003.dcm", ImagePositionPatient=[-20, -30, z])
    path = folder / "ct3/00002.dcm"
    path.write_bytes(path.read_bytes()[:-40])
    found = problems(folder)
    assert [problem.split(":")[0] for problem in found] == [f"case '{ids[name]}'" for name in sorted(ids)]
    gap, double, short = found
    assert "DATA/ct1: " in gap
    assert "missing" in gap
    assert "00002.dcm" in double
    assert "00003.dcm" in double
    assert "00002.dcm" in short
    assert not [problem for problem in found if "\n" in problem]


def test_a_segmentation_of_another_series_is_found(folder: Path):
    ids = index(folder, {"ct1": "seg2.dcm", "ct2": "seg1.dcm"})
    found = problems(folder)
    assert len(found) == 2
    for problem, series, label in zip(found, ("ct1", "ct2"), ("seg2", "seg1"), strict=True):
        assert problem.startswith(f"case '{ids[series]}': segmentation DATA/{label}.dcm ")
        assert "another series" in problem or "another frame of reference" in problem


def test_a_segment_without_a_number_is_found(folder: Path):
    ids = index(folder)
    segments = pydicom.dcmread(folder / "seg1.dcm").SegmentSequence
    del segments[0].SegmentNumber
    change(folder / "seg1.dcm", SegmentSequence=segments)
    (problem,) = problems(folder)
    assert problem.startswith(f"case '{ids['ct1']}': label DATA/seg1.dcm has a segment without a number (0062,0004)")


def test_a_segmentation_that_lies_beside_the_voxels_is_found(folder: Path):
    ids = index(folder)
    dataset = pydicom.dcmread(folder / "seg2.dcm")
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        x, y, z = groups.PlanePositionSequence[0].ImagePositionPatient
        groups.PlanePositionSequence[0].ImagePositionPatient = [x + 0.4, y, z]
    dataset.save_as(folder / "seg2.dcm")
    (problem,) = problems(folder)
    assert problem.startswith(f"case '{ids['ct2']}': frame 1 of segmentation DATA/seg2.dcm does not lie on the voxels")


def test_a_segment_that_is_no_class_and_segments_that_overlap_are_found(folder: Path):
    ids = index(folder)
    fields = json.loads((folder / "set.json").read_text())
    fields["classes"] = fields["classes"][:2]
    (folder / "set.json").write_text(json.dumps(fields))
    (folder / "seg3.dcm").unlink()
    both = np.stack([masks() > 0, masks() > 1])
    write_dicom_seg(folder / "seg3.dcm", both, read_dicom_series(folder / "ct3"), SEGMENTS, algorithm=None)
    first, second, overlap = problems(folder)
    for name, problem in (("ct1", first), ("ct2", second)):
        assert problem.startswith(f"case '{ids[name]}': label DATA/seg{name[2]}.dcm holds the values 2, which stand")
    assert overlap.startswith(f"case '{ids['ct3']}': segments 1 and 2 of segmentation DATA/seg3.dcm overlap")


ORIENTATIONS = {
    "as the series": np.eye(4),
    "x first": np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
    "slices first": np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]),
    "rows upside down": np.array([[-1, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]),
}


@pytest.mark.parametrize("turn", ORIENTATIONS.values(), ids=ORIENTATIONS)
@pytest.mark.parametrize("shift_mm", [0.0, 0.3])
def test_a_nifti_label_lies_on_a_series_however_its_axes_are_stored(tmp_path: Path, turn: np.ndarray, shift_mm: float):
    """`turn` takes voxels of the label to voxels of the series."""
    make_series(tmp_path, 1)
    ids = index(tmp_path, {"ct1": "label.nii.gz"})
    axes = np.abs(turn[:3, :3]).argmax(axis=0)
    voxels = masks().transpose(axes) % 1
    if turn.min() < 0:
        voxels = voxels[::-1]
    affine = read_dicom_series(tmp_path / "ct1").affine @ turn
    affine[0, 3] += shift_mm
    write_nifti(tmp_path / "label.nii.gz", voxels, affine)
    found = problems(tmp_path)
    if shift_mm:
        (problem,) = found
        assert problem.startswith(f"case '{ids['ct1']}': label DATA/label.nii.gz lies up to 0.375 voxels from the grid")
    else:
        assert found == []


def test_a_nifti_label_of_another_size_or_of_other_values_is_found(folder: Path):
    ids = index(folder, {"ct1": "cropped.nii", "ct2": "values.nii"})
    write_nifti(folder / "cropped.nii", masks()[:, 1:], AFFINE)
    write_nifti(folder / "values.nii", masks() + np.uint8(7), AFFINE)
    size, values = problems(folder)
    assert size.startswith(f"case '{ids['ct1']}': label DATA/cropped.nii has ")
    assert values.startswith(f"case '{ids['ct2']}': label DATA/values.nii holds the values 7, 8, 9, which stand for no")


def test_a_segmentation_for_an_image_that_is_no_series_is_found(folder: Path):
    ids = index(folder)
    fields = json.loads((folder / "set.json").read_text())
    fields["cases"][0]["image"] = "image.nii.gz"
    (folder / "set.json").write_text(json.dumps(fields))
    write_nifti(folder / "image.nii.gz", np.zeros(SHAPE, np.int16), AFFINE)
    (problem,) = problems(folder)
    assert problem.startswith(
        f"case '{ids['ct1']}': label DATA/seg1.dcm is a DICOM SEG and its image DATA/image.nii.gz is"
    )


def test_series_that_share_a_folder_are_each_read_on_their_own(tmp_path: Path):
    (tmp_path / "all").mkdir()
    for number in (1, 2):
        for path in sorted(make_series(tmp_path, number).iterdir()):
            path.rename(tmp_path / f"all/{number}-{path.name}")
    index(tmp_path)
    assert len(json.loads((tmp_path / "set.json").read_text())["cases"]) == 2
    assert problems(tmp_path) == []
    (tmp_path / "all/2-00003.dcm").unlink()
    fields = json.loads((tmp_path / "set.json").read_text())
    for case in fields["cases"]:
        case["image_files"] = [name for name in case["image_files"] if name != "2-00003.dcm"]
    (tmp_path / "set.json").write_text(json.dumps(fields))
    (problem,) = problems(tmp_path)
    assert "2-00002.dcm" in problem


def test_the_real_ge_series_passes_with_one_object_and_not_with_the_other(
    real_data: Callable[[str], Path], tmp_path: Path
):
    """Segments of `partial_overlaps.dcm` share 3,017 voxels of a slice: no voxel may have two classes."""
    source = real_data("dcmqi-ct-seg")
    shutil.copytree(source / "ct-3slice", tmp_path / "ct")
    shutil.copy(source / "liver.dcm", tmp_path / "liver.dcm")
    ids = index(tmp_path)
    assert problems(tmp_path) == []
    shutil.copy(source / "partial_overlaps.dcm", tmp_path / "liver.dcm")
    overlap = problems(tmp_path)[0]
    assert overlap.startswith(f"case '{ids['ct']}': segments ")
    assert "overlap in 3017 voxels" in overlap

    shutil.copy(source / "liver.dcm", tmp_path / "liver.dcm")
    for path in (tmp_path / "ct").iterdir():
        change(path, SeriesInstanceUID="1.2.3")
    (problem,) = problems(tmp_path)
    assert "liver.dcm refers to another series" in problem


def test_the_real_siemens_series_and_its_nifti_label_lie_on_one_grid(real_data: Callable[[str], Path], tmp_path: Path):
    source = real_data("totalseg-ct-dicom")
    shutil.copytree(source / "example_ct_dicom", tmp_path / "ct")
    label = nibabel.load(source / "example_seg_dicom.nii.gz")
    values = np.asarray(label.dataobj).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(values, label.affine), tmp_path / "label.nii.gz")
    ids = index(tmp_path, {"ct": "label.nii.gz"}, patient="^([^/]+)/")
    fields = json.loads((tmp_path / "set.json").read_text())
    fields["classes"] = [
        {"index": place, "name": f"class {value}", "stored_value": int(value)}
        for place, value in enumerate(np.unique(values))
    ]
    (tmp_path / "set.json").write_text(json.dumps(fields))
    assert problems(tmp_path) == []
    moved = label.affine.copy()
    moved[:3, 3] += label.affine[:3, 2]
    nibabel.save(nibabel.Nifti1Image(values, moved), tmp_path / "label.nii.gz")
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"case '{ids['ct']}': label DATA/label.nii.gz lies up to 1 voxels from the grid")
