"""DICOM SEG objects that other programs wrote, against what dcmqi's authors made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from pipeline.errors import ImageError, LabelError
from pipeline.formats import (
    DicomSeries,
    SegmentDescription,
    SourceFrame,
    read_dicom_seg,
    read_dicom_series,
    write_dicom_seg,
)

from .generated_series import ORIENTATIONS, Geometry
from .seg_objects import ALGORITHM, BODY, SEGMENTS
from .seg_readers import on_grid, read_by_dcmqi, read_by_hand, read_nrrd


def _real_masks(folder: Path, names: Sequence[str], segments: int, source: DicomSeries) -> NDArray[np.bool_]:
    """Return the masks that dcmqi's authors got from an object."""
    masks = np.zeros((segments, *source.voxels.shape), bool)
    for name in names:
        placed = on_grid(*read_nrrd(folder / f"{name}.nrrd"), source)
        for value in np.unique(placed[placed > 0]):
            masks[value - 1] |= placed == value
    return masks


@pytest.mark.parametrize(
    ("name", "volumes", "count", "voxels"),
    [
        ("liver", ["liver_seg"], 1, [107098]),
        ("partial_overlaps", [f"partial_overlaps-{part}" for part in (1, 2, 3)], 5, [9602, 11888, 10743, 6693, 4713]),
    ],
)
def test_real_objects_equal_what_dcmqi_makes_of_them_and_survive_being_written_again(
    tmp_path: Path,
    real_data: Callable[[str], Path],
    ge_series: DicomSeries,
    dciodvfy: Callable[[Path], list[str]],
    name: str,
    volumes: Sequence[str],
    count: int,
    voxels: Sequence[int],
) -> None:
    folder = real_data("dcmqi-ct-seg")
    expected = _real_masks(folder, volumes, count, ge_series)
    assert expected.sum((1, 2, 3)).tolist() == voxels
    found = read_dicom_seg(folder / f"{name}.dcm", ge_series, layout="segments")
    np.testing.assert_array_equal(found.masks, expected)
    from_folder = read_dicom_seg(folder / f"{name}.dcm", read_dicom_series(folder / "ct-3slice"), layout="segments")
    np.testing.assert_array_equal(from_folder.masks, expected)
    segments = [SegmentDescription(item.number, item.label, BODY, BODY) for item in found.segments]
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, found.masks, ge_series, segments, algorithm=None)
    np.testing.assert_array_equal(read_by_dcmqi(path, ge_series, count), expected)
    np.testing.assert_array_equal(read_by_hand(path, ge_series, count), expected)
    # A single name without a caret is the patient's, as it stands in the source.
    assert dciodvfy(path)[1:] == ["Segmentation"]
    assert dciodvfy(path)[0].startswith("Warning - Value dubious for this VR - (0x0010,0x0010)")
    if name == "liver":
        np.testing.assert_array_equal(read_dicom_seg(folder / "liver.dcm", ge_series).masks, expected[0])
    else:
        with pytest.raises(LabelError, match="overlap in 3017 voxels of frame 2"):
            read_dicom_seg(folder / "partial_overlaps.dcm", ge_series)


def test_a_real_series_without_uids_is_refused(tmp_path: Path, real_data: Callable[[str], Path]) -> None:
    """The Siemens series has empty UIDs."""
    paths = sorted((real_data("totalseg-ct-dicom") / "example_ct_dicom").iterdir())[:1]
    header = pydicom.dcmread(paths[0], stop_before_pixels=True)
    affine = Geometry((512, 512, 1), ORIENTATIONS["axial"], (0.9765625, 0.9765625), 2.0, header.ImagePositionPatient)
    uid = str(header.file_meta.MediaStorageSOPInstanceUID)
    source = DicomSeries(
        np.zeros((512, 512, 1)), affine.affine, (header,), "", (), (SourceFrame(paths[0], uid, None),), None, {}
    )
    with pytest.raises(ImageError, match=r"has no StudyInstanceUID, SeriesInstanceUID, and a DICOM SEG .* write NIfTI"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones((512, 512, 1), int), source, SEGMENTS, algorithm=ALGORITHM)
