"""Slices of several acquisitions in one series, which must not become one volume unless somebody says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from pipeline.formats import REPAIRS, read_dicom_series

from .faulty_series import AXIAL, VOXELS, edit, put, refused
from .generated_series import ORIENTATIONS, Geometry, make_multiframe

_EVERYTHING = sorted(set(REPAIRS) - {"monochrome1-keep"})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ConvolutionKernel", ("B30f", "B80f")),
        ("EchoTime", (10, 80)),
        ("TemporalPositionIdentifier", (1, 2)),
        ("TriggerTime", (0, 400)),
        ("DiffusionBValue", (0.0, 1000.0)),
        ("SliceThickness", (2, 5)),
        ("AcquisitionNumber", (1, 2)),
        ("ImageType", (["DERIVED", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "AXIAL"])),
    ],
)
def test_acquisitions_that_take_turns_are_refused_and_blocks_pass(folder: Path, name: str, values: tuple) -> None:
    paths = sorted(folder.iterdir())
    for index, path in enumerate(paths):
        edit(path, put(**{name: values[index // 3]}))
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)
    for index, path in enumerate(paths):
        edit(path, put(**{name: values[index % 2]}))
    message = refused(folder, allow=sorted(set(_EVERYTHING) - {"interleaved"}))
    assert message.startswith(f"slices of 2 values of {name} take turns along the normal, such as 0000")
    assert "put each of these into a folder of its own, or allow the repair 'interleaved'" in message
    series = read_dicom_series(folder, allow=["interleaved"])
    np.testing.assert_array_equal(series.voxels, VOXELS)
    assert series.repairs == (f"interleaved: slices kept that take turns in {name}",)


def test_a_value_of_each_slice_is_no_turn(folder: Path) -> None:
    for path, number in zip(sorted(folder.iterdir()), (3, 1, 6, 2, 5, 4), strict=True):
        edit(path, put(AcquisitionNumber=number, TriggerTime=10 * number))
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)


def test_two_files_with_one_instance_uid_are_refused(folder: Path) -> None:
    uid = pydicom.dcmread(folder / "00002.dcm").SOPInstanceUID
    edit(folder / "00005.dcm", put(SOPInstanceUID=uid))
    message = refused(folder, allow=_EVERYTHING)
    assert message.startswith("00002.dcm, 00005.dcm lie apart and have one SOP Instance UID")


def test_equal_slices_beside_each_other_are_no_copies(folder: Path) -> None:
    """At one height and with equal values, but not at one position."""
    (folder / "beside.dcm").write_bytes((folder / "00003.dcm").read_bytes())
    edit(folder / "beside.dcm", put(ImagePositionPatient=[500, 500, float(AXIAL[2, 3]) + 4]))
    assert "slices at one position differ: 00003.dcm, beside.dcm" in refused(folder, allow=["duplicate"])


def test_an_outermost_slice_beside_the_line_is_named(folder: Path) -> None:
    edit(folder / "00006.dcm", put(ImagePositionPatient=[40, -20.25, float(AXIAL[2, 3]) + 10]))
    message = refused(folder)
    assert "beside the line of the others: 00001.dcm, 00006.dcm;" in message


@pytest.mark.parametrize(("off_by", "is_refused"), [(0.0005, False), (0.002, True), (0.02, True)])
def test_orientations_agree_within_a_thousandth(folder: Path, off_by: float, is_refused: bool) -> None:
    edit(folder / "00004.dcm", put(ImageOrientationPatient=[1, off_by, 0, -off_by, 1, 0]))
    if is_refused:
        assert refused(folder).startswith("mixed Image Orientation (Patient)")
    else:
        np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)


def test_the_grid_is_that_of_the_first_slice_whatever_the_names(folder: Path) -> None:
    edit(folder / "00001.dcm", put(ImageOrientationPatient=[1, 0.0005, 0, -0.0005, 1, 0]))
    before = read_dicom_series(folder).affine
    (folder / "00001.dcm").rename(folder / "99999.dcm")
    np.testing.assert_array_equal(read_dicom_series(folder).affine, before)


def test_phases_in_one_enhanced_file_are_told_apart(tmp_path: Path) -> None:
    make_multiframe(tmp_path, Geometry((8, 9, 3), ORIENTATIONS["axial"]))

    def number(dataset: pydicom.FileDataset) -> None:
        for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            content = pydicom.Dataset()
            content.TemporalPositionIndex = 1 + index % 2
            groups.FrameContentSequence = [content]
            for item in groups.PlanePositionSequence:
                item.ImagePositionPatient = [0, 0, index // 2]

    edit(tmp_path / "enhanced.dcm", number)
    message = refused(tmp_path / "enhanced.dcm", allow=["rescale"])
    assert "they differ in TemporalPositionIdentifier: export each of these as a series of its own" in message

    def localize(dataset: pydicom.FileDataset) -> None:
        for index, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
            frame = pydicom.Dataset()
            frame.FrameType = ["ORIGINAL", "PRIMARY", "AXIAL" if index % 2 else "LOCALIZER", "NONE"]
            groups.CTImageFrameTypeSequence = [frame]

    edit(tmp_path / "enhanced.dcm", localize)
    series = read_dicom_series(tmp_path / "enhanced.dcm", allow=["rescale", "localizer"])
    assert [frame and frame.frame_number for frame in series.frames] == [2, 4, 6]
