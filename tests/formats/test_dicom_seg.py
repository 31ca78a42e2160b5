"""DICOM SEG round trips read by dcmqi, DCMTK and plain pydicom, checks by dciodvfy, real objects, and refusals."""

from __future__ import annotations

import copy
import gzip
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from pipeline.errors import ConfigError, ImageError, LabelError, MissingFileError, OutputError
from pipeline.formats import (
    AlgorithmIdentification,
    DicomSeries,
    SegmentDescription,
    SnomedCode,
    SourceFrame,
    read_dicom_seg,
    read_dicom_series,
    write_dicom_seg,
)

BODY = SnomedCode("123037004", "Body structure")
SEGMENTS = (
    SegmentDescription(1, "Liver", BODY, SnomedCode("10200004", "Liver"), color_rgb=(220, 60, 20)),
    SegmentDescription(2, "Left kidney", BODY, SnomedCode("64033007", "Kidney"), laterality="left"),
    SegmentDescription(3, "Spleen", BODY, SnomedCode("78961009", "Spleen")),
)
DIGEST = "0123456789abcdef" * 4
ALGORITHM = AlgorithmIdentification("phantom_ct_segmentation", "0.1.2", DIGEST)

_TURN = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0].round(9)
ORIENTATIONS = {  # to the next column, then to the next row, in LPS
    "axial": (1, 0, 0, 0, 1, 0),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, -1),
    "oblique": (*_TURN[0], *_TURN[1]),
}


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a generated series lie; rows, columns and slices all differ in number and spacing."""

    shape: tuple[int, int, int]
    orientation: tuple[float, ...]
    spacing_mm: tuple[float, float] = (0.7, 1.1)
    step_mm: float = 2.5
    origin_lps_mm: tuple[float, float, float] = (-31.25, 17.5, -103.0)

    @property
    def normal(self) -> NDArray[np.float64]:
        return np.cross(self.orientation[:3], self.orientation[3:])

    @property
    def affine(self) -> NDArray[np.float64]:
        """RAS, worked out here so that nothing of the package checks itself."""
        lps = np.eye(4)
        lps[:3, 0] = np.multiply(self.orientation[3:], self.spacing_mm[0])
        lps[:3, 1] = np.multiply(self.orientation[:3], self.spacing_mm[1])
        lps[:3, 2] = self.normal * self.step_mm
        lps[:3, 3] = self.origin_lps_mm
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps

    def position(self, index: int) -> list[float]:
        return [round(float(value), 9) for value in self.origin_lps_mm + self.normal * self.step_mm * index]


def _study(modality: str, sop_class: str) -> Dataset:
    """Return what all files of a generated series share; the patient is made up."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.Modality = sop_class, modality
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "P-0815"
    dataset.PatientBirthDate, dataset.PatientSex = "19700102", "F"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = generate_uid(), ""
    dataset.StudyID, dataset.StudyDate, dataset.StudyTime = "7", "20240229", "101112"
    dataset.StudyDescription, dataset.ReferringPhysicianName, dataset.AccessionNumber = "Abdomen", "Roe^Richard", "A1"
    dataset.SeriesNumber, dataset.Manufacturer, dataset.InstitutionName = 3, "Maker", "St. Elsewhere"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    return dataset


def _save(dataset: Dataset, path: Path) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)


def make_series(folder: Path, geometry: Geometry, modality: str = "CT", seed: int = 0) -> DicomSeries:
    """Write a classic series, shuffled, and read its headers back with pydicom alone."""
    rows, columns, slices = geometry.shape
    voxels = np.random.default_rng(seed).integers(-1000, 1000, geometry.shape).astype(np.int16)
    common = _study(modality, CTImageStorage if modality == "CT" else MRImageStorage)
    frames, headers = [], []
    for index, number in enumerate(np.random.default_rng(seed + 1).permutation(slices)):
        dataset = copy.deepcopy(common)
        dataset.SOPInstanceUID, dataset.InstanceNumber = generate_uid(), int(number) + 1
        dataset.Rows, dataset.Columns = rows, columns
        dataset.PixelSpacing, dataset.SliceThickness = list(geometry.spacing_mm), 3.0
        dataset.SpacingBetweenSlices = 99.0  # often wrong, and never to be believed
        dataset.ImageOrientationPatient = list(geometry.orientation)
        dataset.ImagePositionPatient = geometry.position(index)
        dataset.PixelData = np.ascontiguousarray(voxels[:, :, index]).tobytes()
        path = folder / f"{number:03}.dcm"
        _save(dataset, path)
        frames.append(SourceFrame(path, str(dataset.SOPInstanceUID), None))
        headers.append(pydicom.dcmread(path, stop_before_pixels=True))
    return DicomSeries(voxels, geometry.affine, tuple(headers), common.SeriesInstanceUID, (), tuple(frames), None, {})


def make_multiframe(folder: Path, geometry: Geometry, seed: int = 0) -> DicomSeries:
    """Write an enhanced CT of two phases whose frames are out of order; the series is the second phase."""
    rows, columns, slices = geometry.shape
    rng = np.random.default_rng(seed)
    voxels = rng.integers(-1000, 1000, geometry.shape).astype(np.int16)
    order = rng.permutation(2 * slices)  # index of a slice, plus the number of slices in the first phase
    dataset = _study("CT", EnhancedCTImageStorage)
    dataset.SOPInstanceUID, dataset.InstanceNumber, dataset.NumberOfFrames = generate_uid(), 1, 2 * slices
    dataset.Rows, dataset.Columns = rows, columns
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = list(geometry.orientation)
    measures.PixelSpacing, measures.SliceThickness = list(geometry.spacing_mm), 3.0
    shared.PlaneOrientationSequence = [orientation]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for place in order:
        position, groups = Dataset(), Dataset()
        position.ImagePositionPatient = geometry.position(int(place) % slices)
        groups.PlanePositionSequence = [position]
        groups.PixelMeasuresSequence = [copy.deepcopy(measures)]  # allowed for each frame, too
        dataset.PerFrameFunctionalGroupsSequence.append(groups)
    stored = np.concatenate([voxels, np.zeros_like(voxels)], 2)[:, :, order]
    dataset.PixelData = np.ascontiguousarray(np.moveaxis(stored, 2, 0)).tobytes()
    path = folder / "enhanced.dcm"
    _save(dataset, path)
    uid = str(dataset.SOPInstanceUID)
    frames = tuple(SourceFrame(path, uid, int(np.flatnonzero(order == index)[0]) + 1) for index in range(slices))
    header = pydicom.dcmread(path, stop_before_pixels=True)
    return DicomSeries(voxels, geometry.affine, (header,), dataset.SeriesInstanceUID, (), frames, None, {})


def read_nrrd(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the voxels (x, y, z) of an NRRD file and the affine to LPS, by nothing but its text header."""
    head, body = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line and line[0] != "#")
    assert fields["space"] == "left-posterior-superior"
    assert fields.get("endian", "little") == "little"
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    dtype = {"short": "<i2", "unsigned char": "u1", "unsigned short": "<u2"}[fields["type"]]
    voxels = np.frombuffer(raw, dtype).reshape([int(size) for size in fields["sizes"].split()], order="F")
    affine = np.eye(4)
    for axis, text in enumerate(fields["space directions"].split(") (")):
        affine[:3, axis] = [float(part) for part in text.strip("()").split(",")]
    affine[:3, 3] = [float(part) for part in fields["space origin"].strip("()").split(",")]
    return voxels, affine


def on_grid(volume: NDArray[Any], lps: NDArray[np.float64], source: DicomSeries) -> NDArray[Any]:
    """Place each voxel of a volume on the grid of the source; all must meet a voxel there, and none another's."""
    index = np.indices(volume.shape).reshape(3, -1)
    ras = np.diag([-1.0, -1.0, 1.0]) @ (lps[:3, :3] @ index + lps[:3, 3:])
    inverse = np.linalg.inv(source.affine)
    found = inverse[:3, :3] @ ras + inverse[:3, 3:]
    assert np.abs(found - found.round()).max() < 1e-3
    target = np.ravel_multi_index(tuple(found.round().astype(int)), source.voxels.shape)  # raises outside the grid
    assert np.unique(target).size == volume.size
    placed = np.zeros(source.voxels.size, volume.dtype)
    placed[target] = volume.ravel()
    return placed.reshape(source.voxels.shape)


def read_by_dcmqi(path: Path, source: DicomSeries, segments: int) -> NDArray[np.bool_]:
    """Return the masks (segment, row, column, slice) as dcmqi, which is built on DCMTK and ITK, reads them."""
    program = Path(sys.executable).with_name("segimage2itkimage")
    folder = path.with_suffix(".dcmqi")
    folder.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nrrd"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    described = json.loads((folder / "meta.json").read_text(encoding="utf-8"))["segmentAttributes"]
    masks = np.zeros((segments, *source.voxels.shape), bool)
    for number, group in enumerate(described, 1):
        volume, affine = read_nrrd(folder / f"{number}.nrrd")
        placed = on_grid(volume, affine, source)
        labels = [segment["labelID"] for segment in group]
        assert set(np.unique(placed)) <= {0, *labels}
        for label in labels:
            masks[label - 1] |= placed == label
    return masks


def read_by_hand(path: Path, source: DicomSeries, segments: int) -> NDArray[Any]:
    """Return stored values (segment, row, column, slice), each frame at the slice of the image that it refers to."""
    dataset = pydicom.dcmread(path)
    count, rows, columns = dataset.NumberOfFrames, dataset.Rows, dataset.Columns
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    if dataset.BitsAllocated == 1:
        stored = np.unpackbits(stored, bitorder="little")
    stored = stored[: count * rows * columns].reshape(count, rows, columns)
    slices = {(uid, frame): index for index, (_, uid, frame) in enumerate(source.frames)}
    masks = np.zeros((segments, *source.voxels.shape), np.uint8)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for pixels, groups in zip(stored, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        (image,) = groups.DerivationImageSequence[0].SourceImageSequence
        index = slices[image.ReferencedSOPInstanceUID, image.get("ReferencedFrameNumber")]
        identified = groups.get("SegmentIdentificationSequence") or shared.SegmentIdentificationSequence
        masks[identified[0].ReferencedSegmentNumber - 1, :, :, index] = pixels
    return masks


@pytest.fixture(scope="session")
def dciodvfy() -> Callable[[Path], list[str]]:
    """Return what dciodvfy of dicom3tools says of a file. In CI it must be there."""
    return lambda path: _run_tool("dciodvfy", path).stderr.splitlines()


def _run_tool(name: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(name) is None:
        assert "CI" not in os.environ, f"{name} is not installed; .ci/run installs it"
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk)")
    return subprocess.run([name, *arguments], capture_output=True, text=True, check=False)


def _random_shape(seed: int) -> tuple[int, int, int]:
    """Draw a size whose frames seldom fill whole bytes."""
    rng = np.random.default_rng(seed)
    return int(rng.integers(3, 40)), int(rng.integers(3, 40)), int(rng.integers(1, 7))


def _label_map(shape: Sequence[int], seed: int, values: Sequence[int] = (0, 1, 2, 3)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).choice(np.array(values, np.uint8), size=shape)


CASES = [
    pytest.param(orientation, seed, id=f"{orientation}-{seed}") for orientation in ORIENTATIONS for seed in range(4)
]


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
@pytest.mark.parametrize(("orientation", "seed"), CASES)
def test_a_label_map_comes_back_voxel_for_voxel(
    tmp_path: Path, dciodvfy: Callable[[Path], list[str]], orientation: str, seed: int, kind: Any
) -> None:
    geometry = Geometry(_random_shape(seed), ORIENTATIONS[orientation])
    source = make_series(tmp_path, geometry, "MR" if seed % 2 else "CT", seed)
    masks = _label_map(geometry.shape, seed)
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
    masks = _label_map(geometry.shape, 3)
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
    masks = _label_map(geometry.shape, 0, values)
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
    assert _run_tool("dcmdrle", path, plain).returncode == 0  # DCMTK undoes the run lengths
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
    masks = np.asfortranarray(_label_map(geometry.shape, 2, (0, 1))).astype(dtype)[::-1]
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS[:1], algorithm=ALGORITHM)
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm", source).masks, masks.astype(int))


def test_the_object_refers_to_its_source_and_is_new(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 4), ORIENTATIONS["sagittal"])
    source = make_series(tmp_path, geometry)
    masks = _label_map(geometry.shape, 0)
    datasets = []
    for name in ("a.dcm", "b.dcm"):
        write_dicom_seg(tmp_path / name, masks, source, SEGMENTS, algorithm=ALGORITHM)
        datasets.append(pydicom.dcmread(tmp_path / name))
    header, dataset = source.headers[0], datasets[0]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientBirthDate"):
        assert dataset[keyword].value == header[keyword].value
    for keyword in ("PatientSex", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"):
        assert dataset[keyword].value == header[keyword].value
    assert "InstitutionName" not in dataset  # of the equipment that made the images, not of the patient or study
    assert [item.ManufacturerModelName for item in dataset.ContributingEquipmentSequence] == ["highdicom"]
    assert (dataset.Modality, dataset.Manufacturer, dataset.SoftwareVersions) == ("SEG", "unet-pipeline", "0.1.0")
    uids = {str(each[keyword].value) for each in datasets for keyword in ("SeriesInstanceUID", "SOPInstanceUID")}
    assert len(uids | {source.series_uid}) == 5
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.series_uid
    instances = {
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence
    }
    assert instances == {(CTImageStorage, uid) for _, uid, _ in source.frames}
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (3.0, 2.5)


def test_segments_and_algorithm_are_coded(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=ALGORITHM)
    items = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    kidney = items[1]
    (category,), (kind,) = kidney.SegmentedPropertyCategoryCodeSequence, kidney.SegmentedPropertyTypeCodeSequence
    (side,) = kind.SegmentedPropertyTypeModifierCodeSequence
    coded = [(code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning) for code in (category, kind, side)]
    assert coded == [("SCT", "123037004", "Body structure"), ("SCT", "64033007", "Kidney"), ("SCT", "7771000", "Left")]
    assert [item.SegmentAlgorithmType for item in items] == ["AUTOMATIC"] * 3
    (made,) = kidney.SegmentationAlgorithmIdentificationSequence
    assert (made.AlgorithmName, made.AlgorithmVersion) == ("phantom_ct_segmentation", "0.1.2")
    assert made.AlgorithmParameters == f"weights_sha256={DIGEST}"
    assert made.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    # (220, 60, 20) in CIELab with the white point D65 is (48.3, 60.5, 56.9); PS3.3, C.10.7.1.1 says how it is stored.
    stored = np.array(items[0].RecommendedDisplayCIELabValue) / 65535 * [100, 255, 255] - [0, 128, 128]
    np.testing.assert_allclose(stored, [48.3, 60.5, 56.9], atol=3)


def test_what_is_drawn_by_hand_says_so(tmp_path: Path, dciodvfy: Callable[[Path], list[str]]) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=None)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    item = dataset.SegmentSequence[0]
    assert dataset.ContentCreatorName == ""  # must be there, and names nobody
    assert item.SegmentAlgorithmType == "MANUAL"
    assert "SegmentationAlgorithmIdentificationSequence" not in item
    assert dciodvfy(tmp_path / "seg.dcm") == ["Segmentation"]


@pytest.mark.parametrize("name", ["chrH31.dcm", "chrGreek.dcm", "chrX1.dcm", "chrKoreanMulti.dcm"])
def test_names_in_other_scripts_stay_as_they_are(tmp_path: Path, name: str) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    named = pydicom.dcmread(get_charset_files(name)[0])
    headers = copy.deepcopy(source.headers)
    for header in headers:
        header.SpecificCharacterSet, header.PatientName = named.SpecificCharacterSet, named.PatientName
    source = replace(source, headers=headers)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=ALGORITHM)
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientName == named.PatientName


def test_nothing_of_the_patient_reaches_logs_warnings_or_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The planted values break the standard, which pydicom and highdicom would complain about, with the value."""
    planted = {
        "PatientName": "Planted Name",
        "PatientID": "planted-id-" + "9" * 60,
        "PatientBirthDate": "about 1970-planted",
        "PatientSex": "planted-sex",
        "StudyDate": "planted-date",
        "StudyTime": "planted-time",
        "StudyID": "planted study id that is too long",
        "AccessionNumber": "planted accession number",
        "InstitutionName": "Planted Hospital",
        "PatientAge": "planted age",
    }
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    headers = copy.deepcopy(source.headers)
    with pydicom.config.disable_value_validation():
        for header in headers:
            header.SpecificCharacterSet = "ISO_IR 100"
            for keyword, value in planted.items():
                setattr(header, keyword, value)
    for index, header in enumerate(headers):  # written and read, so that values are as raw as in a file
        with pydicom.config.disable_value_validation():
            header.save_as(tmp_path / f"raw{index}.dcm")
    headers = tuple(pydicom.dcmread(tmp_path / f"raw{index}.dcm") for index in range(len(headers)))
    source = replace(source, headers=headers)
    path, masks = tmp_path / "seg.dcm", _label_map(geometry.shape, 0)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
        read_dicom_seg(path, source)
        with pytest.raises(LabelError) as refusal:
            write_dicom_seg(path, masks + 9, source, SEGMENTS, algorithm=ALGORITHM, overwrite=True)
    assert not caught
    assert not caplog.records
    said = caplog.text + "".join(capfd.readouterr()) + str(refusal.value)
    assert not [value for value in planted.values() if value.lower() in said.lower()]
    assert header.StudyInstanceUID not in said
    with pydicom.config.disable_value_validation():
        stored = pydicom.dcmread(path)
        assert {keyword: str(stored[keyword].value) for keyword in planted if keyword in stored} == {
            keyword: value for keyword, value in planted.items() if keyword != "InstitutionName"
        }


def test_source_and_masks_are_left_as_they_were(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 3), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    masks = _label_map(geometry.shape, 0)
    before = copy.deepcopy(source), masks.copy(), {path: path.read_bytes() for path in tmp_path.iterdir()}
    masks.flags.writeable = False
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS, algorithm=ALGORITHM)
    assert source.headers == before[0].headers
    np.testing.assert_array_equal(source.voxels, before[0].voxels)
    np.testing.assert_array_equal(masks, before[1])
    assert {path: path.read_bytes() for path in before[2]} == before[2]


def test_logging_of_highdicom_elsewhere_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=ALGORITHM)
    logging.getLogger("highdicom.base").warning("still heard")
    assert [record.message for record in caplog.records] == ["still heard"]


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    path, masks = tmp_path / "seg.dcm", np.ones(geometry.shape, int)
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    first = path.read_bytes()
    with pytest.raises(OutputError, match=r"seg\.dcm already exists; pass --force"):
        write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    assert path.read_bytes() == first
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM, overwrite=True)
    assert path.read_bytes() != first


_AXIAL = Geometry((8, 9, 3), ORIENTATIONS["axial"])
_GRID = _AXIAL.shape


@pytest.mark.parametrize(
    ("masks", "options", "error", "match"),
    [
        (np.zeros((9, 8, 3), int), {}, LabelError, r"shape \(9, 8, 3\); expected \(8, 9, 3\) \(row, column, slice\)"),
        (np.zeros((8, 9), int), {}, LabelError, r"shape \(8, 9\); expected"),
        (np.zeros((3, 8, 9, 4), bool), {}, LabelError, r"shape \(3, 8, 9, 4\); expected"),
        (np.full(_GRID, 4), {}, LabelError, r"hold the values 4; expected 0 and the segments 1, 2, 3"),
        (np.full(_GRID, -1), {}, LabelError, r"hold the values -1; expected"),
        (np.full(_GRID, 257), {}, LabelError, r"hold the values 257; expected"),
        (np.zeros(_GRID), {}, LabelError, r"label map of float64 was given for a binary DICOM SEG"),
        (np.zeros(_GRID, int), {"kind": "fractional"}, LabelError, r"label map of int64 was given for a fractional"),
        (np.zeros((3, *_GRID)), {}, LabelError, r"masks of a binary DICOM SEG are float64; expected booleans; convert"),
        (np.zeros((2, *_GRID), bool), {}, LabelError, r"masks of 2 segments were given and 3 segments described"),
        (np.zeros((3, *_GRID), bool), {"kind": "labelmap"}, LabelError, r"in which a voxel has one value"),
        (np.full((3, *_GRID), 1.01), {"kind": "fractional"}, LabelError, r"run from 1.01 to 1.01; expected values in"),
        (np.full((3, *_GRID), -0.5), {"kind": "fractional"}, LabelError, r"run from -0.5 to -0.5"),
        (np.full((3, *_GRID), np.nan), {"kind": "fractional"}, LabelError, r"run from nan to nan; .* logits"),
        (np.zeros((3, *_GRID), int), {"kind": "fractional"}, LabelError, r"int64; expected booleans or fractions"),
        (np.zeros(_GRID, int), {"kind": "surface"}, ConfigError, r"kind 'surface' of DICOM SEG is unknown; expected"),
        (np.zeros(_GRID, int), {"segments": ()}, ConfigError, r"at least one segment; none is given"),
        (np.zeros(_GRID, int), {"segments": SEGMENTS[1:]}, ConfigError, r"\[2, 3\]; a binary DICOM SEG numbers them 1"),
        (
            np.zeros(_GRID, int),
            {"segments": SEGMENTS[::-1], "kind": "labelmap"},
            ConfigError,
            r"\[3, 2, 1\]; expected each number once, in rising order",
        ),
        (np.zeros(_GRID, int), {"series_number": 0}, ConfigError, r"series number 0 is out of range"),
        (
            np.zeros(_GRID, int),
            {"affine": _AXIAL.affine + 0.01 * np.eye(4)},
            LabelError,
            r"a corner is off by 0\.08 mm",
        ),
        (np.zeros(_GRID, int), {"affine": np.full((4, 4), np.nan)}, LabelError, r"a corner is off by nan mm"),
    ],
)
def test_bad_masks_are_refused_and_nothing_is_written(
    tmp_path: Path, masks: NDArray[Any], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    source = make_series(tmp_path, _AXIAL)
    before = sorted(tmp_path.iterdir())
    arguments: dict[str, Any] = {"segments": SEGMENTS, "algorithm": ALGORITHM} | options
    with pytest.raises(error, match=match) as refusal:
        write_dicom_seg(tmp_path / "seg.dcm", masks, source, **arguments)
    assert "\n" not in str(refusal.value)
    assert sorted(tmp_path.iterdir()) == before


def test_masks_on_the_grid_of_the_source_are_taken_with_their_affine(tmp_path: Path) -> None:
    source = make_series(tmp_path, _AXIAL)
    masks = np.ones(_GRID, int)
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS, algorithm=ALGORITHM, affine=_AXIAL.affine + 1e-6)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
def test_a_source_that_cannot_be_referred_to_is_refused(tmp_path: Path, keyword: str) -> None:
    source = make_series(tmp_path, _AXIAL)
    headers = copy.deepcopy(source.headers)
    headers[0][keyword].value = ""
    with pytest.raises(ImageError, match=rf"has no {keyword}, and a DICOM SEG must refer to its source by it"):
        write_dicom_seg(
            tmp_path / "seg.dcm",
            np.ones(_GRID, int),
            replace(source, headers=headers),
            SEGMENTS,
            algorithm=ALGORITHM,
        )


def test_voxels_that_are_not_where_the_files_say_are_refused(tmp_path: Path) -> None:
    source = make_series(tmp_path, _AXIAL)
    turned = replace(source, frames=source.frames[::-1], headers=source.headers[::-1])
    fewer = replace(source, frames=source.frames[1:], headers=source.headers[1:])
    with pytest.raises(ImageError, match=r"slice 0 of series .* lies 2\.00 voxels from where its file 00\d\.dcm says"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones(_GRID, int), turned, SEGMENTS, algorithm=ALGORITHM)
    with pytest.raises(ImageError, match=r"has 3 slices, of which 2 are in its files; a DICOM SEG refers"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones(_GRID, int), fewer, SEGMENTS, algorithm=ALGORITHM)


def test_slices_too_small_for_packed_bits_are_refused(tmp_path: Path) -> None:
    source = make_series(tmp_path, Geometry((1, 7, 2), ORIENTATIONS["axial"]))
    with pytest.raises(ImageError, match="slices of 1 × 7 px are too small"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones((1, 7, 2), int), source, SEGMENTS, algorithm=ALGORITHM)


@pytest.fixture
def ge_series(real_data: Callable[[str], Path]) -> DicomSeries:
    """Three slices of a real CT with two real DICOM SEG objects, which dcmqi made and has read."""
    paths = sorted((real_data("dcmqi-ct-seg") / "ct-3slice").glob("*.dcm"))
    datasets = {path: pydicom.dcmread(path) for path in paths}
    paths.sort(key=lambda path: float(datasets[path].ImagePositionPatient[2]))
    voxels = np.stack([datasets[path].pixel_array for path in paths], 2)
    headers = tuple(pydicom.dcmread(path, stop_before_pixels=True) for path in paths)
    geometry = Geometry(
        (512, 512, 3), ORIENTATIONS["axial"], (0.810547, 0.810547), 1.0, headers[0].ImagePositionPatient
    )
    frames = tuple(
        SourceFrame(path, str(header.SOPInstanceUID), None) for path, header in zip(paths, headers, strict=True)
    )
    return DicomSeries(voxels, geometry.affine, headers, headers[0].SeriesInstanceUID, (), frames, None, {})


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


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"segmentation .*none\.dcm not found; check the path"):
        read_dicom_seg(tmp_path / "none.dcm", None)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, DicomSeries, NDArray[np.uint8]]:
    """A binary SEG of an oblique series, with the series and the masks; every frame holds something."""
    geometry = Geometry((9, 14, 4), ORIENTATIONS["oblique"])
    source = make_series(tmp_path, geometry)
    masks = _label_map(geometry.shape, 8)
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS, algorithm=ALGORITHM)
    return tmp_path / "seg.dcm", source, masks


def _change(path: Path, change: Callable[[Dataset], None]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


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
        (_lose_frames, ImageError, r"frame 13 of segmentation .* has no usable position, orientation or pixel spacing"),
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
    _change(path, change)
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
    _change(path, lambda dataset: dataset.pop("ReferencedSeriesSequence"))
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_a_file_cut_at_any_point_is_refused_or_complete(
    tmp_path: Path, kind: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Of the last bytes some pad the pixels to an even length; nothing else can be missed."""
    geometry = Geometry((9, 14, 3), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    masks = _label_map(geometry.shape, 8)
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
    masks = _label_map(geometry.shape, 8)
    write_dicom_seg(path, masks, source, SEGMENTS, kind="labelmap", algorithm=ALGORITHM)
    _change(path, lambda dataset: dataset.SegmentSequence.pop(3))
    with pytest.raises(
        LabelError, match=r"frame 1 of segmentation .* holds the values \[3\]; expected 0 and the segments"
    ):
        read_dicom_seg(path, source)


def test_other_files_are_no_segmentation(tmp_path: Path) -> None:
    source = make_series(tmp_path, _AXIAL)
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


def test_positions_that_were_rounded_still_name_their_images(tmp_path: Path) -> None:
    """Scanners write positions with two or three decimals; frames keep the positions of their images."""
    source = make_series(tmp_path, Geometry((9, 14, 6), ORIENTATIONS["oblique"], step_mm=1.23456))
    headers = copy.deepcopy(source.headers)
    for header in headers:
        header.ImagePositionPatient = [round(float(value), 2) for value in header.ImagePositionPatient]
    source = replace(source, headers=headers)
    masks = _label_map(source.voxels.shape, 1)
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_hand(path, source, 3), expected)
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)
    positions = {tuple(header.ImagePositionPatient) for header in headers}
    for groups in pydicom.dcmread(path).PerFrameFunctionalGroupsSequence:
        assert tuple(groups.PlanePositionSequence[0].ImagePositionPatient) in positions


def test_numbers_with_too_many_digits_are_shortened(tmp_path: Path, dciodvfy: Callable[[Path], list[str]]) -> None:
    """Sloppy exporters write decimal strings of more than the 16 characters that are allowed."""
    source = make_series(tmp_path, _AXIAL)
    headers = copy.deepcopy(source.headers)
    with pydicom.config.disable_value_validation():
        for header in headers:
            header.ImagePositionPatient = [f"{float(value):.15f}" for value in header.ImagePositionPatient]
            header.PixelSpacing = ["0.700000000000000000", "1.100000000000000000"]
            del header.SliceThickness
        source = replace(source, headers=headers)
        write_dicom_seg(tmp_path / "seg.dcm", np.ones(_GRID, int), source, SEGMENTS, algorithm=ALGORITHM)
    assert dciodvfy(tmp_path / "seg.dcm") == ["Segmentation"]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_series_that_was_read_from_its_folder_is_segmented(tmp_path: Path, orientation: str) -> None:
    (tmp_path / "series").mkdir()
    made = make_series(tmp_path / "series", Geometry((9, 14, 5), ORIENTATIONS[orientation]))
    source = read_dicom_series(tmp_path / "series")
    np.testing.assert_allclose(source.affine, made.affine, atol=1e-6)
    masks = _label_map(source.voxels.shape, 1)
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
        _change(frame.path, lambda dataset, index=index: _move_back(dataset, index))
    source = read_dicom_series(tmp_path / "series", allow=("tilt",))
    assert abs(source.affine[1, 2]) == pytest.approx(0.9)
    masks = _label_map(source.voxels.shape, 1)
    path = tmp_path / "seg.dcm"
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    expected = np.stack([masks == segment.number for segment in SEGMENTS])
    np.testing.assert_array_equal(read_by_hand(path, source, 3), expected)
    np.testing.assert_array_equal(read_dicom_seg(path, source).masks, masks)
    assert dciodvfy(path) == ["Segmentation"]


def _move_back(dataset: Dataset, index: int) -> None:
    x, y, z = dataset.ImagePositionPatient
    dataset.ImagePositionPatient = [x, y + 0.9 * index, z]


def test_slices_that_were_made_up_cannot_be_referred_to(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    made = make_series(tmp_path / "series", Geometry((9, 14, 6), ORIENTATIONS["axial"]))
    assert made.frames[2] is not None
    made.frames[2].path.unlink()
    source = read_dicom_series(tmp_path / "series", allow=("gap",))
    with pytest.raises(
        ImageError, match=r"has 6 slices, of which 5 are in its files; .* write NIfTI where slices were"
    ):
        write_dicom_seg(tmp_path / "seg.dcm", np.zeros(source.voxels.shape, int), source, SEGMENTS, algorithm=ALGORITHM)


def test_a_segmentation_is_read_for_a_series_with_made_up_slices(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    made = make_series(tmp_path / "series", Geometry((9, 14, 6), ORIENTATIONS["axial"]))
    masks = _label_map(made.voxels.shape, 1)
    write_dicom_seg(tmp_path / "seg.dcm", masks, made, SEGMENTS, algorithm=ALGORITHM)
    assert made.frames[2] is not None
    made.frames[2].path.unlink()
    source = read_dicom_series(tmp_path / "series", allow=("gap",))
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm", source).masks, masks)


def test_a_series_in_several_multiframe_objects_is_refused(tmp_path: Path) -> None:
    source = make_multiframe(tmp_path, Geometry((9, 14, 4), ORIENTATIONS["axial"]))
    source = replace(source, headers=(*source.headers, *source.headers))
    with pytest.raises(ImageError, match="is spread over 2 multi-frame objects; a DICOM SEG is made of one"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones((9, 14, 4), int), source, SEGMENTS, algorithm=ALGORITHM)


def test_the_class_of_the_source_may_stand_in_the_meta_information_alone(tmp_path: Path) -> None:
    source = make_series(tmp_path, _AXIAL, "MR")
    headers = copy.deepcopy(source.headers)
    for header in headers:
        header.SOPClassUID = ""
    source = replace(source, headers=headers)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(_GRID, int), source, SEGMENTS, algorithm=ALGORITHM)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert {item.ReferencedSOPClassUID for item in dataset.SourceImageSequence} == {MRImageStorage}
    for header in headers:
        header.file_meta.MediaStorageSOPClassUID = ""
    with pytest.raises(ImageError, match="has no SOPClassUID, and a DICOM SEG must refer"):
        write_dicom_seg(tmp_path / "b.dcm", np.ones(_GRID, int), source, SEGMENTS, algorithm=ALGORITHM)
