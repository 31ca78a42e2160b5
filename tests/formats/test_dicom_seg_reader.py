"""Reading DICOM SEG: masks that other programs store otherwise, and objects that are refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pipeline.errors import ConfigError, ImageError, LabelError, MissingFileError
from pipeline.formats import (
    DicomSeries,
    read_dicom_seg,
    read_dicom_series,
    write_dicom_seg,
)

from .generated_series import ORIENTATIONS, Geometry, make_series
from .seg_objects import ALGORITHM, AXIAL, SEGMENTS, change_file, label_map


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"segmentation .*none\.dcm not found; check the path"):
        read_dicom_seg(tmp_path / "none.dcm", None)


def test_without_a_series_masks_lie_on_the_grid_of_the_frames(
    tmp_path: Path, written: tuple[Path, DicomSeries, NDArray[np.uint8]]
) -> None:
    path, source, masks = written
    found = read_dicom_seg(path, None)
    np.testing.assert_array_equal(found.masks, masks)
    np.testing.assert_allclose(found.affine, source.affine, atol=1e-6)
    apart = np.where(np.arange(4) % 3 == 1, masks, 0)  # of one slice the spacing cannot be seen in the frames
    write_dicom_seg(tmp_path / "one.dcm", apart, source, SEGMENTS, algorithm=ALGORITHM)
    one = read_dicom_seg(tmp_path / "one.dcm", None)
    np.testing.assert_array_equal(one.masks[:, :, 0], masks[:, :, 1])
    expected = source.affine.copy()
    expected[:3, 3] += source.affine[:3, 2]
    np.testing.assert_allclose(one.affine, expected, atol=1e-6)


@pytest.mark.parametrize("turn", ["mirrored", "turned", "cropped", "shuffled", "per-frame"])
def test_frames_may_be_stored_otherwise(written: tuple[Path, DicomSeries, NDArray[np.uint8]], turn: str) -> None:
    """The same masks as another program might store them."""
    path, source, masks = written
    rows, columns, _ = masks.shape
    dataset = pydicom.dcmread(path)
    stored = np.zeros((dataset.NumberOfFrames, rows, columns), bool)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    along_row, along_column = np.reshape(np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient), (2, 3))
    spacing = [float(value) for value in shared.PixelMeasuresSequence[0].PixelSpacing]
    uids = [uid for _, uid, _ in source.frames]
    for frame, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        number = groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        stored[frame] = masks[:, :, uids.index(image.ReferencedSOPInstanceUID)] == number
        position = np.array(groups.PlanePositionSequence[0].ImagePositionPatient)
        if turn == "mirrored":  # from the last column to the first
            position = position + along_row * spacing[1] * (columns - 1)
        if turn == "cropped":
            position = position + along_column * spacing[0] * 2 + along_row * spacing[1] * 3
        groups.PlanePositionSequence[0].ImagePositionPatient = [f"{value:.9f}" for value in position]
    orientation, size = (along_row, along_column), (rows, columns)
    if turn == "mirrored":
        stored, orientation = stored[:, :, ::-1], (-along_row, along_column)
    if turn == "turned":
        stored, orientation, size = np.swapaxes(stored, 1, 2), (along_column, along_row), (columns, rows)
        shared.PixelMeasuresSequence[0].PixelSpacing = spacing[::-1]
    expected = masks.copy()
    if turn == "cropped":
        stored, size = stored[:, 2:8, 3:12], (6, 9)
        expected = np.zeros_like(masks)
        expected[2:8, 3:12] = masks[2:8, 3:12]
    if turn == "shuffled":
        order = np.random.default_rng(0).permutation(len(stored))
        stored = stored[order]
        frames = list(dataset.PerFrameFunctionalGroupsSequence)
        dataset.PerFrameFunctionalGroupsSequence = [frames[index] for index in order]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [f"{value:.9f}" for value in np.ravel(orientation)]
    if turn == "per-frame":
        for groups in dataset.PerFrameFunctionalGroupsSequence:
            groups.PlaneOrientationSequence = copy.deepcopy(shared.PlaneOrientationSequence)
            groups.PixelMeasuresSequence = copy.deepcopy(shared.PixelMeasuresSequence)
        del shared.PlaneOrientationSequence, shared.PixelMeasuresSequence
    dataset.Rows, dataset.Columns = size
    packed = np.packbits(stored, bitorder="little").tobytes()
    dataset.PixelData = packed + bytes(len(packed) % 2)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, expected)


def _refer_elsewhere(dataset: Dataset) -> None:
    dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"


def _refer_to_nothing(dataset: Dataset) -> None:
    del dataset.ReferencedSeriesSequence
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        del groups.DerivationImageSequence


def _refer_to_other_images(dataset: Dataset) -> None:
    del dataset.ReferencedSeriesSequence
    for groups in dataset.PerFrameFunctionalGroupsSequence:
        groups.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _shift(dataset: Dataset) -> None:
    position = dataset.PerFrameFunctionalGroupsSequence[2].PlanePositionSequence[0]
    position.ImagePositionPatient = [position.ImagePositionPatient[0] + 0.2, *position.ImagePositionPatient[1:]]


def _move_out(dataset: Dataset) -> None:
    position = dataset.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    move = np.cross(ORIENTATIONS["oblique"][:3], ORIENTATIONS["oblique"][3:]) * 2.5 * 40
    position.ImagePositionPatient = [f"{value:.9f}" for value in np.array(position.ImagePositionPatient) + move]


def _stretch(dataset: Dataset) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [1.4, 1.1]


def _turn(dataset: Dataset) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]


def _repeat(dataset: Dataset) -> None:
    frames = dataset.PerFrameFunctionalGroupsSequence
    frames[1] = copy.deepcopy(frames[0])


def _describe_fewer(dataset: Dataset) -> None:
    del dataset.SegmentSequence[2]


def _describe_twice(dataset: Dataset) -> None:
    dataset.SegmentSequence[2].SegmentNumber = 1


def _lose_positions(dataset: Dataset) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence


def _lose_frames(dataset: Dataset) -> None:
    dataset.NumberOfFrames = 20


def _lose_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:-20]


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (
            _refer_elsewhere,
            LabelError,
            r"seg\.dcm refers to another series than the one it is read for \([0-9.]+\); name",
        ),
        (_refer_to_nothing, LabelError, r"seg\.dcm refers to no series .*; .* or read it without one"),
        (_refer_to_other_images, LabelError, r"seg\.dcm refers to images of another series"),
        (_shift, LabelError, r"frame 3 of segmentation .* does not lie on the voxels of the grid \(off the grid"),
        (
            _move_out,
            LabelError,
            r"frame 1 of segmentation .* does not lie on the voxels of the grid \(outside or turned",
        ),
        (
            _stretch,
            LabelError,
            r"frame 1 of segmentation .* does not lie on the voxels of the grid \(outside or turned",
        ),
        (_turn, LabelError, r"frame 1 of segmentation .* does not lie on the voxels of the grid"),
        (_repeat, LabelError, r"shows a place twice, again in frame 2; export it anew"),
        (_describe_fewer, ImageError, r"frame \d+ of segmentation .* belongs to segment 3, which it does not describe"),
        (_describe_twice, ImageError, r"describes two segments 1; expected each number once"),
        (
            _lose_positions,
            ImageError,
            r"frame 4 of segmentation .* has no usable position, orientation or pixel spacing",
        ),
        (_lose_frames, ImageError, r"segmentation .* describes 12 frames; expected 20, its number of frames"),
        (_lose_pixels, ImageError, r"cannot be decoded after frame 0 \(it has \d+ bytes of pixels, and 12 frames take"),
        (lambda dataset: dataset.pop("SegmentationType"), ImageError, r"is of the type None; expected one of BINARY"),
        (lambda dataset: dataset.pop("SegmentSequence"), ImageError, r"has no SegmentSequence; copy it again"),
    ],
)
def test_a_segmentation_that_does_not_fit_its_series_is_refused(
    written: tuple[Path, DicomSeries, NDArray[np.uint8]],
    change: Callable[[Dataset], None],
    error: type[Exception],
    match: str,
) -> None:
    path, source, _ = written
    change_file(path, change)
    with pytest.raises(error, match=match) as refusal:
        read_dicom_seg(path, source)
    assert "\n" not in str(refusal.value)


def test_a_segmentation_of_another_frame_of_reference_is_refused(
    tmp_path: Path, written: tuple[Path, DicomSeries, NDArray[np.uint8]]
) -> None:
    path, source, _ = written
    (tmp_path / "other").mkdir()
    other = make_series(tmp_path / "other", Geometry(source.voxels.shape, ORIENTATIONS["oblique"]))
    with pytest.raises(LabelError, match=r"seg\.dcm lies in another frame of reference than the series"):
        read_dicom_seg(path, other)


def test_a_reference_by_images_alone_will_do(written: tuple[Path, DicomSeries, NDArray[np.uint8]]) -> None:
    path, source, masks = written
    change_file(path, lambda dataset: dataset.pop("ReferencedSeriesSequence"))
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_a_file_cut_at_any_point_is_refused_or_complete(
    tmp_path: Path, kind: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of the last bytes some pad the pixels to an even length; nothing else can be missed."""
    geometry = Geometry((9, 14, 3), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    masks = label_map(geometry.shape, 8)
    given = np.stack([masks == 1, masks == 2]) if kind == "fractional" else masks
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, given, source, SEGMENTS[: 2 if kind == "fractional" else 3], kind=kind, algorithm=ALGORITHM)
    whole, expected = path.read_bytes(), read_dicom_seg(path, source, layout="segments").masks
    lengths = {*range(0, len(whole), max(1, len(whole) // 80)), *range(len(whole) - 40, len(whole))}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        try:
            found = read_dicom_seg(path, source, layout="segments")
        except ImageError as error:
            message = str(error)
            if "\n" in message or str(path) not in message or "; " not in message:
                pytest.fail(f"not one line with file and way out: {message}")
        else:
            assert length >= len(whole) - 9  # padding, and the item that ends compressed pixels
            np.testing.assert_array_equal(found.masks, expected)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_values_that_a_label_map_does_not_describe_are_refused(tmp_path: Path) -> None:
    geometry = Geometry((9, 14, 3), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    path = tmp_path / "seg.dcm"
    masks = label_map(geometry.shape, 8)
    write_dicom_seg(path, masks, source, SEGMENTS, kind="labelmap", algorithm=ALGORITHM)
    change_file(path, lambda dataset: dataset.SegmentSequence.pop(3))
    with pytest.raises(
        LabelError, match=r"frame 1 of segmentation .* holds the values \[3\]; expected 0 and the segments"
    ):
        read_dicom_seg(path, source)


def test_other_files_are_no_segmentation(tmp_path: Path) -> None:
    source = make_series(tmp_path, AXIAL)
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.dcm"
    text.write_text("not DICOM", encoding="utf-8")
    empty.touch()
    with pytest.raises(ImageError, match=r"00\d\.dcm is no DICOM SEG but of another class; name the file of the"):
        read_dicom_seg(source.frames[0][0], source)
    for path in (text, empty):
        with pytest.raises(ImageError, match=rf"{path.name} is not a DICOM file; expected a DICOM SEG"):
            read_dicom_seg(path, source)
    with pytest.raises(ImageError, match=r"cannot be read \(IsADirectoryError\)"):
        read_dicom_seg(tmp_path, source)
    with pytest.raises(ConfigError, match="layout 'stack' of masks is unknown; expected one of labelmap, segments"):
        read_dicom_seg(source.frames[0][0], source, layout="stack")  # type: ignore[arg-type]


def test_a_segmentation_is_read_for_a_series_with_made_up_slices(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    made = make_series(tmp_path / "series", Geometry((9, 14, 6), ORIENTATIONS["axial"]))
    masks = label_map(made.voxels.shape, 1)
    write_dicom_seg(tmp_path / "seg.dcm", masks, made, SEGMENTS, algorithm=ALGORITHM)
    assert made.frames[2] is not None
    made.frames[2].path.unlink()
    source = read_dicom_series(tmp_path / "series", allow=("gap",))
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm", source).masks, masks)


@pytest.mark.parametrize("largest", [255, 200, 1])
def test_fractions_are_parts_of_the_largest_value(tmp_path: Path, largest: int) -> None:
    source = make_series(tmp_path, AXIAL)
    steps = np.random.default_rng(3).integers(0, largest + 1, (1, *AXIAL.shape))
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, steps / 255, source, SEGMENTS[:1], kind="fractional", algorithm=ALGORITHM)
    change_file(path, lambda dataset: setattr(dataset, "MaximumFractionalValue", largest))
    found = read_dicom_seg(path, source, layout="segments").masks
    np.testing.assert_allclose(found, steps / largest, rtol=1e-6)
