"""Writing a volume as the classic CT or MR series of a made-up patient."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pydicom.valuerep import format_number_as_ds

from ..errors import ImageError, OutputError
from . import dicom_geometry as geometry

Modality = Literal["CT", "MR"]

# The same in every file, so that the same call writes the same bytes.
_DATE: Final = "20000101"
_TIME: Final = "120000"
_SOP_CLASSES: Final[dict[str, UID]] = {"CT": CTImageStorage, "MR": MRImageStorage}
_CT_INTERCEPT: Final = -1024
_LONGEST_SIDE_PX: Final = 2**16 - 1
_BITS_STORED: Final = {"CT": 15, "MR": 16}  # with 15, every HU fits into int16


@dataclass(frozen=True)
class MadeUpPatient:
    """Whom a written series shows: nobody.

    Attributes:
        patient_id: Patient ID, and family name; such as PHANTOM-01.
        study: Number of the study; series of one patient and one study share their Study and Frame of Reference UIDs.
        series: Number of the series in the study.
        seed: From this and the rest all UIDs are made, so that the same call writes the same files. None makes them
            random, new with each series.
    """

    patient_id: str = "PHANTOM"
    study: int = 1
    series: int = 1
    seed: str | None = None

    def uid(self, *parts: object) -> UID:
        """Return a UID of the part of the study that is named, under pydicom's root."""
        if self.seed is None:
            return generate_uid()
        return generate_uid(entropy_srcs=[self.seed, self.patient_id, str(self.study), *map(str, parts)])


def write_dicom_series(
    folder: str | os.PathLike[str],
    voxels: ArrayLike,
    affine: ArrayLike,
    *,
    modality: Modality = "CT",
    patient: MadeUpPatient | None = None,
) -> tuple[Path, ...]:
    """Write a volume as a series of CT or MR images (PS3.3 A.3 and A.4), uncompressed, one file a slice.

    Reading gives the slices in ascending order along the normal, which is the order here where the third column of the
    affine points along the second cross the first; otherwise it is reversed, and the affine with it.

    Args:
        folder: A new folder, or an empty one. It is there with all files or not at all.
        voxels: (row, column, slice), whole numbers: HU from -1024 to 31743 for CT, 0 to 65535 for MR.
        affine: (4, 4), from (row, column, slice) to RAS mm. Rows and columns must be at right angles; slices may follow
            one another at any angle to them, which is how a tilted gantry writes.
        modality: CT or MR.
        patient: Whom it shows; a random one where None.

    Returns:
        The files `00001.dcm` and so on, in the order of the slices.

    Raises:
        ImageError: If the voxels are no volume of whole numbers in the range, or the affine cannot be written.
        OutputError: If the folder holds something, or cannot be written.
    """
    folder, patient = Path(folder), patient or MadeUpPatient()
    stored = _stored(np.asarray(voxels), modality)
    plane = _plane(np.asarray(affine, np.float64))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"cannot write a DICOM series to {folder}: it exists and is not an empty folder; name another"
        )
    common = _common(stored, plane, modality, patient)
    partial = folder.with_name(f".partial-{secrets.token_hex(4)}")
    try:
        partial.mkdir()
        for index in range(stored.shape[2]):
            image = _slice(common, stored[:, :, index], plane, index, patient)
            image.save_as(partial / f"{index + 1:05}.dcm", enforce_file_format=True)
        partial.replace(folder)
    except OSError as error:
        raise OutputError(
            f"cannot write a DICOM series to {folder}: {error.strerror}; check the free space and the permissions of "
            f"{folder.parent}, or write elsewhere"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(partial, ignore_errors=True)
    return tuple(folder / f"{index + 1:05}.dcm" for index in range(stored.shape[2]))


@dataclass(frozen=True, eq=False)
class _Plane:
    """Geometry in DICOM's terms, LPS mm."""

    orientation: list[str]
    pixel_spacing_mm: list[str]
    first: NDArray[np.float64]
    step: NDArray[np.float64]

    @property
    def slice_spacing_mm(self) -> float:
        return abs(float(self.step @ geometry.slice_normal([float(cosine) for cosine in self.orientation])))


def _stored(voxels: NDArray[Any], modality: str) -> NDArray[np.uint16]:
    """Return voxels as they are stored, or refuse them."""
    if modality not in _SOP_CLASSES:
        raise ImageError(f"cannot write modality {modality!r} as DICOM; expected CT or MR")
    if voxels.ndim != 3 or not voxels.size:
        raise ImageError(f"cannot write voxels of shape {voxels.shape} as DICOM; expected (row, column, slice)")
    if max(voxels.shape[:2]) > _LONGEST_SIDE_PX:
        raise ImageError(f"cannot write slices of {voxels.shape[:2]} px as DICOM; expected at most 65535")
    lowest = _CT_INTERCEPT if modality == "CT" else 0
    highest = lowest + 2 ** _BITS_STORED[modality] - 1
    is_whole = voxels.dtype.kind in "iu" or bool(np.all(voxels == np.rint(voxels)))
    if voxels.dtype.kind not in "iuf" or not is_whole or voxels.min() < lowest or voxels.max() > highest:
        raise ImageError(
            f"cannot write voxels {voxels.min()} to {voxels.max()} ({voxels.dtype}) as {modality}; expected whole "
            f"numbers from {lowest} to {highest}; round and clip them first"
        )
    return (voxels.astype(np.int64) - lowest).astype(np.uint16)


def _plane(affine: NDArray[np.float64]) -> _Plane:
    """Return the geometry that an affine describes, or refuse it."""
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < np.finfo(float).eps:
        raise ImageError("cannot write this affine as DICOM; expected (4, 4), finite and invertible")
    lps = geometry.lps_to_ras(affine)
    spacing_mm = np.linalg.norm(lps[:3, :2], axis=0)
    cosines = np.concatenate([lps[:3, 1] / spacing_mm[1], lps[:3, 0] / spacing_mm[0]])
    if not geometry.is_orthonormal(cosines.tolist()):
        raise ImageError("cannot write this affine as DICOM: rows and columns are not at right angles; resample first")
    return _Plane(_decimals(cosines), _decimals(spacing_mm), lps[:3, 3], lps[:3, 2])


def _decimals(numbers: ArrayLike) -> list[str]:
    """Return numbers as decimal strings of at most 16 characters (PS3.5 6.2, VR DS)."""
    # A sum with 0 leaves no negative zeros.
    return [format_number_as_ds(float(number) + 0.0) for number in np.asarray(numbers, np.float64)]


def _common(stored: NDArray[np.uint16], plane: _Plane, modality: Modality, patient: MadeUpPatient) -> Dataset:
    """Return what all slices share."""
    image = Dataset()
    image.SOPClassUID = _SOP_CLASSES[modality]
    image.PatientName, image.PatientID = f"{patient.patient_id}^MADE UP", patient.patient_id
    image.PatientBirthDate = image.PatientSex = ""
    image.PatientIdentityRemoved = "YES"
    image.DeidentificationMethod = "The patient is made up"
    image.BurnedInAnnotation = "NO"
    image.StudyInstanceUID = patient.uid("study")
    image.StudyID = str(patient.study)
    image.StudyDate = image.ContentDate = _DATE
    image.StudyTime = image.ContentTime = _TIME
    image.AccessionNumber = image.ReferringPhysicianName = ""
    image.Modality = modality
    image.SeriesInstanceUID = patient.uid("series", patient.series)
    image.SeriesNumber = str(patient.series)
    image.FrameOfReferenceUID = patient.uid("frame of reference")
    image.PositionReferenceIndicator = ""
    image.PatientPosition = "HFS"
    image.BodyPartExamined = "ABDOMEN"  # not paired, so that there is no Laterality
    image.Manufacturer = "unet-pipeline"
    image.AcquisitionNumber = "1"
    image.ImageOrientationPatient = plane.orientation
    image.PixelSpacing = plane.pixel_spacing_mm
    image.SliceThickness = format_number_as_ds(plane.slice_spacing_mm)
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = stored.shape[:2]
    image.BitsAllocated = 16
    image.BitsStored = _BITS_STORED[modality]
    image.HighBit = image.BitsStored - 1
    image.PixelRepresentation = 0
    if modality == "CT":
        image.ImageType = ["DERIVED", "PRIMARY", "AXIAL"]
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = str(_CT_INTERCEPT), "1", "HU"
        image.KVP = ""
    else:
        image.ImageType = ["DERIVED", "PRIMARY", "OTHER"]
        image.ScanningSequence, image.SequenceVariant = "RM", "NONE"
        image.ScanOptions = image.MRAcquisitionType = ""
        image.RepetitionTime = image.EchoTime = image.EchoTrainLength = ""
        image.SpacingBetweenSlices = format_number_as_ds(plane.slice_spacing_mm)
    return image


def _slice(common: Dataset, stored: NDArray[np.uint16], plane: _Plane, index: int, patient: MadeUpPatient) -> Dataset:
    """Return one image."""
    image = Dataset()
    image.update(common)
    image.SOPInstanceUID = patient.uid("series", patient.series, "slice", index)
    image.InstanceNumber = str(index + 1)
    image.ImagePositionPatient = _decimals(plane.first + index * plane.step)
    image.PixelData = stored.astype("<u2").tobytes()
    image["PixelData"].VR = "OW"
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = image.SOPClassUID
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta = meta
    return image
