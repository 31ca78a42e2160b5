"""Series made for tests of DICOM SEG: where their voxels lie, and files that pydicom alone writes and reads."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid

from pipeline.formats import (
    DicomSeries,
    SourceFrame,
)

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
        if modality == "CT":
            dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
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


def random_shape(seed: int) -> tuple[int, int, int]:
    """Draw a size whose frames seldom fill whole bytes."""
    rng = np.random.default_rng(seed)
    return int(rng.integers(3, 40)), int(rng.integers(3, 40)), int(rng.integers(1, 7))
