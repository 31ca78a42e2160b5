"""DICOM SEG round trips of generated series, read by dcmqi, DCMTK and plain pydicom, and checked by dciodvfy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_tools import run_tool
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from pipeline.errors import LabelError
from pipeline.formats import (
    read_dicom_seg,
    read_dicom_series,
    write_dicom_seg,
)

from .generated_series import ORIENTATIONS, Geometry, make_multiframe, make_series, random_shape
from .seg_objects import ALGORITHM, SEGMENTS, change_file, label_map
from .seg_readers import read_by_dcmqi, read_by_hand

CASES = [
    pytest.param(orientation, seed, id=f"{orientation}-{seed}") for orientation in ORIENTATIONS for seed in range(4)
]


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize(("orientation", "seed"), CASES)
def test_a_label_map_comes_back_voxel_for_voxel(
    tmp_path: Path, dciodvfy: Callable[[Path], list[str]], orientation: str, seed: int, kind: Any
) -> None:
    geometry = Geometry(random_shape(seed), ORIENTATIONS[orientation])
    source = make_series(tmp_path, geometry, "MR" if seed % 2 else "CT", seed)
    masks = label_map(geometry.shape, seed)
    path = tmp_path / "seg" / "masks.dcm"
    path.parent.mkdir()
    write_dicom_seg(path, masks, source, SEGMENTS, kind=kind, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_dcmqi(path, source, 3), expected)
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)
    np.testing.assert_array_equal(read_dicom_seg(path, source, layout="segments").masks, expected)
    if kind == "binary":  # the dciodvfy of 2022 does not know label maps, which came in 2024
        np.testing.assert_array_equal(read_by_hand(path, source, 3), expected)
        assert dciodvfy(path) == ["Segmentation"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_segments_of_a_multiframe_source_come_back_and_name_its_frames(
    tmp_path: Path, dciodvfy: Callable[[Path], list[str]], orientation: str
) -> None:
    geometry = Geometry((13, 21, 5), ORIENTATIONS[orientation])
    source = make_multiframe(tmp_path, geometry)
    masks = label_map(geometry.shape, 3)
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_dcmqi(path, source, 3), expected)
    np.testing.assert_array_equal(read_by_hand(path, source, 3), expected)
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)
    dataset = pydicom.dcmread(path)
    assert [item.ReferencedSOPInstanceUID for item in dataset.SourceImageSequence] == [source.frames[0][1]]
    assert dataset.SourceImageSequence[0].ReferencedSOPClassUID == EnhancedCTImageStorage
    assert dciodvfy(path) == ["Segmentation"]


@pytest.mark.parametrize("source_kind", ["classic", "multiframe"])
def test_overlapping_segments_come_back(
    tmp_path: Path, dciodvfy: Callable[[Path], list[str]], source_kind: str
) -> None:
    geometry = Geometry((17, 11, 4), ORIENTATIONS["oblique"])
    source = (make_series if source_kind == "classic" else make_multiframe)(tmp_path, geometry)
    masks = np.random.default_rng(5).random((3, *geometry.shape)) < 0.5
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    np.testing.assert_array_equal(read_by_dcmqi(path, source, 3), masks)
    np.testing.assert_array_equal(read_by_hand(path, source, 3), masks)
    np.testing.assert_array_equal(read_dicom_seg(path, source, layout="segments").masks, masks)
    assert pydicom.dcmread(path).SegmentsOverlap == "YES"
    assert dciodvfy(path) == ["Segmentation"]
    with pytest.raises(LabelError, match=r"segments 1 and 2 of segmentation .*seg\.dcm overlap in \d+ voxels of frame"):
        read_dicom_seg(path, source)


@pytest.mark.parametrize("values", [(0, 1, 3), (0, 2), (0,)], ids=["middle-empty", "two-empty", "all-empty"])
@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_an_empty_segment_keeps_its_description(
    tmp_path: Path,
    dciodvfy: Callable[[Path], list[str]],
    caplog: pytest.LogCaptureFixture,
    values: Sequence[int],
    kind: Any,
) -> None:
    geometry = Geometry((9, 14, 3), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    masks = label_map(geometry.shape, 0, values)
    masks[:, :, 1] = 0  # a slice without any
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS, kind=kind, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_dcmqi(path, source, 3), expected)
    found = read_dicom_seg(path, source)
    np.testing.assert_array_equal(found.masks, masks)
    assert [(segment.number, segment.label) for segment in found.segments] == [
        (1, "Liver"),
        (2, "Left kidney"),
        (3, "Spleen"),
    ]
    assert not caplog.records
    if kind == "binary":
        assert dciodvfy(path) == ["Segmentation"]


@pytest.mark.parametrize("masks_dtype", [np.float32, np.float64, np.float16, bool])
def test_fractions_come_back_to_half_a_step(
    tmp_path: Path, dciodvfy: Callable[[Path], list[str]], masks_dtype: type
) -> None:
    geometry = Geometry((19, 23, 4), ORIENTATIONS["coronal"])
    source = make_series(tmp_path, geometry)
    drawn = np.random.default_rng(1).random((2, *geometry.shape))
    drawn[0, 0, 0], drawn[0, 1, 1] = 0, 1
    masks = (drawn < 0.3) if masks_dtype is bool else drawn.astype(masks_dtype)
    path, plain = tmp_path / "seg.dcm", tmp_path / "plain.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS[:2], kind="fractional", algorithm=ALGORITHM)
    assert dciodvfy(path) == ["Segmentation"]
    found = read_dicom_seg(path, source, layout="segments").masks
    assert found.dtype == np.float32
    assert np.abs(found - masks.astype(np.float64)).max() <= (0 if masks_dtype is bool else 0.5 / 255 + 1e-6)
    with pytest.raises(LabelError, match="is fractional, and a label map holds whole segments"):
        read_dicom_seg(path, source)
    dataset = pydicom.dcmread(path)
    assert (dataset.SegmentationFractionalType, dataset.MaximumFractionalValue) == ("PROBABILITY", 255)
    assert run_tool("dcmdrle", path, plain).returncode == 0  # DCMTK undoes the run lengths
    by_hand = read_by_hand(plain, source, 2)
    np.testing.assert_array_equal(by_hand, np.rint(masks.astype(np.float32) * 255).astype(np.uint8))


def test_label_maps_keep_the_numbers_of_classes(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    segments = [replace(SEGMENTS[0], number=5), replace(SEGMENTS[1], number=300), replace(SEGMENTS[2], number=65535)]
    masks = np.random.default_rng(0).choice([0, 5, 300, 65535], size=geometry.shape)
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, segments, kind="labelmap", algorithm=ALGORITHM)
    found = read_dicom_seg(tmp_path / "seg.dcm", source)
    assert found.masks.dtype == np.uint16
    np.testing.assert_array_equal(found.masks, masks)
    assert [segment.number for segment in found.segments] == [5, 300, 65535]


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16, np.int64, np.uint64])
def test_any_integer_type_and_memory_order_gives_the_same_masks(tmp_path: Path, dtype: type) -> None:
    geometry = Geometry((8, 9, 3), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    masks = np.asfortranarray(label_map(geometry.shape, 2, (0, 1))).astype(dtype)[::-1]
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS[:1], algorithm=ALGORITHM)
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm", source).masks, masks.astype(int))


def test_positions_that_were_rounded_still_name_their_images(tmp_path: Path) -> None:
    """Scanners write positions with two or three decimals; frames keep the positions of their images."""
    source = make_series(tmp_path, Geometry((9, 14, 6), ORIENTATIONS["oblique"], step_mm=1.23456))
    headers = copy.deepcopy(source.headers)
    for header in headers:
        header.ImagePositionPatient = [round(float(value), 2) for value in header.ImagePositionPatient]
    source = replace(source, headers=headers)
    masks = label_map(source.voxels.shape, 1)
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_hand(path, source, 3), expected)
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)
    positions = {tuple(header.ImagePositionPatient) for header in headers}
    for groups in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        assert tuple(groups.PlanePositionSequence[0].ImagePositionPatient) in positions


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_series_that_was_read_from_its_folder_is_segmented(tmp_path: Path, orientation: str) -> None:
    (tmp_path / "series").mkdir()
    made = make_series(tmp_path / "series", Geometry((9, 14, 5), ORIENTATIONS[orientation]))
    source = read_dicom_series(tmp_path / "series")
    np.testing.assert_allclose(source.affine, made.affine, atol=1e-6)
    masks = label_map(source.voxels.shape, 1)
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_dcmqi(tmp_path / "seg.dcm", made, 3), expected)
    np.testing.assert_array_equal(read_by_hand(tmp_path / "seg.dcm", made, 3), expected)


def test_masks_of_a_tilted_gantry_lie_where_its_slices_do(
    tmp_path: Path, dciodvfy: Callable[[Path], list[str]]
) -> None:
    """The grid is sheared; each frame states its own position."""
    (tmp_path / "series").mkdir()
    made = make_series(tmp_path / "series", Geometry((9, 14, 5), ORIENTATIONS["axial"]))
    for index, frame in enumerate(made.frames):
        assert frame is not None
        change_file(frame.path, lambda dataset, index=index: _move_back(dataset, index))
    source = read_dicom_series(tmp_path / "series", allow=("tilt",))
    assert abs(source.affine[1, 2]) == pytest.approx(0.9)
    masks = label_map(source.voxels.shape, 1)
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_hand(path, source, 3), expected)
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)
    assert dciodvfy(path) == ["Segmentation"]


def _move_back(dataset: Dataset, index: int) -> None:
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x, y + 0.9 * index, z]
