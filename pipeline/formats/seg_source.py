"""The series that a segmentation belongs to, as highdicom takes it: where its slices lie, and nothing of the patient.

highdicom puts values into its warnings and errors; what it never gets cannot end up there.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage
from pydicom.valuerep import DSfloat

from ..counted import agreed, counted
from ..errors import ImageError
from .dicom_frames import SourceFrame
from .dicom_series import DicomSeries
from .functional_groups import frame_affine, functional_group, plane_affine

MAX_OFFSET_VOXELS: Final = 0.05
"""How far a plane may lie from the grid it belongs to. Positions are written with few digits; a shift is larger."""

_REQUIRED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
_BLANK: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_BLANK_STUDY: Final = ("AccessionNumber", "StudyID", "StudyDate", "StudyTime")
_LOSSY: Final = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")


def check_source(source: DicomSeries) -> None:
    """Refuse a series that no other object can refer to, or whose voxels are not where its files say.

    Raises:
        ImageError: If a UID is missing, there is no frame for each slice, or a slice lies elsewhere.
    """
    frames = source_frames(source)
    name = frames[0].path.parent
    missing = [keyword for keyword in _REQUIRED if not source.headers[0].get(keyword)]
    missing += ["SOPInstanceUID"] if not all(frame.sop_instance_uid for frame in frames) else []
    missing += ["SOPClassUID"] if not all(map(sop_class, source.headers)) else []
    if missing:
        raise ImageError(
            f"series {name} has no {', '.join(missing)}, and a DICOM SEG must refer to its source by it; export the "
            "series again with its UIDs, or write NIfTI"
        )
    slices = source.voxels.shape[2]
    if len(frames) != slices or len(source.frames) != slices:
        raise ImageError(
            f"series {name} has {counted(slices, 'slice')}, of which {len(frames)} {agreed(len(frames), 'is', 'are')} "
            "in its files; a DICOM SEG refers to a source for each slice; write NIfTI where slices were made up"
        )
    if len(source.headers) != (1 if is_multiframe(source) else slices):
        raise ImageError(
            f"series {name} is spread over {len(source.headers)} multi-frame objects; a DICOM SEG is made of one; "
            "write NIfTI"
        )
    offsets = [offset_voxels(_plane(source, index, frame), index, source) for index, frame in enumerate(frames)]
    if max(offsets) > MAX_OFFSET_VOXELS:
        index = int(np.argmax(offsets))
        raise ImageError(
            f"slice {index} of series {name} lies {offsets[index]:.2f} voxels from where its file "
            f"{frames[index].path.name} says; expected at most {MAX_OFFSET_VOXELS}; write NIfTI for voxels that were "
            "sampled anew"
        )


def source_frames(source: DicomSeries) -> tuple[SourceFrame, ...]:
    """Return where the slices come from that come from a file."""
    return tuple(frame for frame in source.frames if frame is not None)


def is_multiframe(source: DicomSeries) -> bool:
    """Tell whether slices are numbered frames of one object, rather than an object each."""
    # The outermost slices always come from files: others are made up between them.
    return source.frames[0] is not None and source.frames[0].frame_number is not None


def highdicom_source(source: DicomSeries) -> list[Dataset]:
    """Return datasets from which highdicom takes the positions of the frames, and the UIDs it refers to.

    They are CT in name; `refer_to` puts the true class in. Frames of a multi-frame source are those of the slices, in
    their order.

    Args:
        source: A series that `check_source` accepts.
    """
    if is_multiframe(source):
        return [_multiframe(source)]
    return [_single_frame(source, index, frame) for index, frame in enumerate(source_frames(source))]


def refer_to(source: DicomSeries, segmentation: Segmentation) -> None:
    """Put the true classes and frame numbers into the references of an object made from `highdicom_source`."""
    frames = source_frames(source)
    classes = {frame.sop_instance_uid: sop_class(_header(source, index)) for index, frame in enumerate(frames)}
    images = [
        image
        for frame in segmentation.PerFrameFunctionalGroupsSequence
        for derivation in frame.DerivationImageSequence
        for image in derivation.SourceImageSequence
    ]
    # The frames of several segments share the items, and none may be changed twice.
    for image in {id(image): image for image in images}.values():
        if "ReferencedFrameNumber" in image:
            image.ReferencedFrameNumber = frames[image.ReferencedFrameNumber - 1].frame_number
    instances = [item for series in segmentation.ReferencedSeriesSequence for item in series.ReferencedInstanceSequence]
    for reference in (*images, *instances, *segmentation.SourceImageSequence):
        reference.ReferencedSOPClassUID = classes[reference.ReferencedSOPInstanceUID]


def offset_voxels(plane: NDArray[np.float64], index: int, source: DicomSeries) -> float:
    """Return how far the farthest corner of a plane lies from slice `index` of a series, in voxels along an axis."""
    rows, columns, _ = source.voxels.shape
    corners = np.array([[row, column, 0, 1] for row in (0, rows - 1) for column in (0, columns - 1)], np.float64)
    found = corners @ plane.T @ np.linalg.inv(source.affine).T
    wanted = corners + np.array([0, 0, index, 0])
    return float(np.abs(found - wanted).max())


def sop_class(header: Dataset) -> str:
    """Return the SOP class that a header states, or else its file's meta information; empty where neither does."""
    meta = getattr(header, "file_meta", None) or Dataset()
    return str(header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or "")


def _single_frame(source: DicomSeries, index: int, frame: SourceFrame) -> Dataset:
    header = source.headers[index]
    dataset = _common(source, frame)
    dataset.SOPClassUID = CTImageStorage
    dataset.ImagePositionPatient = _decimals(header.ImagePositionPatient)
    # The slices are parallel, as far as digits go, and highdicom wants them to be equal.
    dataset.ImageOrientationPatient = _decimals(source.headers[0].ImageOrientationPatient)
    dataset.PixelSpacing = _decimals(source.headers[0].PixelSpacing)
    dataset.SliceThickness = _decimals([_thickness_mm(source, header)])[0]
    dataset.SpacingBetweenSlices = _decimals([_step_mm(source)])[0]
    return dataset


def _multiframe(source: DicomSeries) -> Dataset:
    header = source.headers[0]
    frames = [frame.frame_number or 1 for frame in source_frames(source)]
    dataset = _common(source, source_frames(source)[0])
    dataset.SOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = len(frames)
    orientation, measures, shared = Dataset(), Dataset(), Dataset()
    stored_orientation = functional_group(header, frames[0], "PlaneOrientationSequence") or Dataset()
    stored_measures = functional_group(header, frames[0], "PixelMeasuresSequence") or Dataset()
    orientation.ImageOrientationPatient = _decimals(stored_orientation.ImageOrientationPatient)
    measures.PixelSpacing = _decimals(stored_measures.PixelSpacing)
    measures.SliceThickness = _decimals([_thickness_mm(source, stored_measures)])[0]
    measures.SpacingBetweenSlices = _decimals([_step_mm(source)])[0]
    shared.PlaneOrientationSequence = [orientation]
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for frame in frames:
        stored = functional_group(header, frame, "PlanePositionSequence") or Dataset()
        position, groups = Dataset(), Dataset()
        position.ImagePositionPatient = _decimals(stored.ImagePositionPatient)
        groups.PlanePositionSequence = [position]
        dataset.PerFrameFunctionalGroupsSequence.append(groups)
    return dataset


def _common(source: DicomSeries, frame: SourceFrame) -> Dataset:
    """Return what both kinds have; who the patient is stays empty."""
    header = source.headers[0]
    dataset = Dataset()
    for keyword in (*_BLANK, *_BLANK_STUDY):
        setattr(dataset, keyword, "")
    for keyword in (*_REQUIRED, *_LOSSY):
        if header.get(keyword):
            setattr(dataset, keyword, header[keyword].value)
    dataset.SOPInstanceUID = frame.sop_instance_uid
    dataset.Modality = "CT"
    dataset.Rows, dataset.Columns = source.voxels.shape[:2]
    return dataset


def _header(source: DicomSeries, index: int) -> Dataset:
    return source.headers[0 if is_multiframe(source) else index]


def _plane(source: DicomSeries, index: int, frame: SourceFrame) -> NDArray[np.float64]:
    header = _header(source, index)
    if frame.frame_number is None:
        keywords = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        plane = plane_affine(*(header.get(keyword) for keyword in keywords))
    else:
        plane = frame_affine(header, frame.frame_number)
    if plane is None:
        raise ImageError(
            f"slice {index} of {frame.path} has no usable position, orientation or pixel spacing; export it again"
        )
    return plane


def _step_mm(source: DicomSeries) -> float:
    """Return the distance of neighbouring slices along their normal."""
    normal = np.cross(source.affine[:3, 0], source.affine[:3, 1])
    return float(abs(source.affine[:3, 2] @ normal) / np.linalg.norm(normal))


def _thickness_mm(source: DicomSeries, measures: Dataset) -> float:
    """Return what the source says, which need not be the distance of its slices; that distance where it is silent."""
    return float(measures.get("SliceThickness") or _step_mm(source))


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    """Return numbers as decimal strings of at most 16 characters (PS3.5, 6.2); what fits stays as it is."""
    return [DSfloat(float(value), auto_format=True) for value in values]
