"""Writing segmentations as DICOM SEG objects that refer to the series they were made from."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
from highdicom.seg import Segmentation, SegmentationFractionalTypeValues
from numpy.typing import ArrayLike, NDArray
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, generate_uid

from .. import __version__
from ..counted import counted
from ..errors import ConfigError, ImageError, LabelError
from .dicom_series import DicomSeries
from .quiet_dicom import quiet_dicom
from .seg_frames import FRACTION_STEPS, encode_frames, put_frames, stand_ins
from .seg_source import check_source, highdicom_source, refer_to, source_frames
from .segment_coding import AlgorithmIdentification, SegmentDescription, segment_items
from .whole_file import refuse_sources, whole_file

SegKind = Literal["binary", "fractional", "labelmap"]

# Bits of a binary SEG are packed and no transfer syntax that every reader knows compresses them. Bytes of the other
# two are mostly runs of one value, which RLE shortens without loss, and every toolkit reads it without a licence.
_TRANSFER_SYNTAX: Final = {"binary": ExplicitVRLittleEndian, "fractional": RLELossless, "labelmap": RLELossless}
_MAKER: Final = "unet-pipeline"
_FEWEST_PIXELS: Final = 8  # highdicom packs the bits of smaller frames one by one, where they should follow each other
_MAX_AFFINE_DIFFERENCE_MM: Final = 1e-3


def write_dicom_seg(
    path: str | os.PathLike[str],
    masks: ArrayLike,
    source: DicomSeries,
    segments: Sequence[SegmentDescription],
    *,
    kind: SegKind = "binary",
    algorithm: AlgorithmIdentification | None,
    affine: NDArray[np.float64] | None = None,
    series_number: int = 900,
    overwrite: bool = False,
) -> None:
    """Write masks as one DICOM SEG object.

    It lies in the study and the frame of reference of the source, refers to the source's series and instances, and
    has a new SeriesInstanceUID and SOPInstanceUID. Attributes of patient and study are copied from the source as they
    are, with its character set: the standard requires them to be equal throughout a study. Frames without a voxel of
    their segment are left out, unless all are; a segment without any voxel keeps its description.

    Args:
        path: The file to write.
        masks: On the grid of `source.voxels`. For segments that do not overlap a label map (row, column, slice) of
            integers: 0 and segment numbers. Else (segment, row, column, slice), in the order of `segments`: booleans,
            or for `"fractional"` also probabilities in [0, 1], stored in steps of 1/255.
        source: The series that was segmented.
        segments: What each segment shows, numbered 1, 2, 3...; for `"labelmap"` numbers may be left out.
        kind: `"binary"`; `"fractional"`, which holds probabilities; or `"labelmap"` (label map segmentation storage,
            of 2024, which older programs do not read).
        algorithm: What made the masks; None if they were drawn by hand.
        affine: The grid of the masks, (4, 4) from voxel index to RAS mm, where it is known: it must be the source's.
        series_number: Series Number of the new series.
        overwrite: Replace a file that is already there, but for those of the source.

    Raises:
        ConfigError: If the kind is unknown or the segments are not numbered as the kind wants it.
        LabelError: If masks are on another grid, hold unknown values or values out of range, or do not suit the kind.
        ImageError: If the source has no UIDs to refer to, or its voxels do not lie where its files say.
        OutputError: If the file exists and `overwrite` is not set, is one of the source's, or cannot be written.

    Source:
        DICOM PS3.3, A.51 (Segmentation IOD) and C.8.20; PS3.3, A.92 for label maps.
    """
    _check_segments(segments, kind)
    if not 1 <= series_number < 2**31:
        raise ConfigError(f"series number {series_number} is out of range: expected 1 to 2147483647")
    refuse_sources(path, (frame.path for frame in source_frames(source)))
    check_source(source)
    if affine is not None:
        _check_grid(affine, source)
    masks = np.asarray(masks)
    _check_masks(masks, source, segments, kind)
    images = highdicom_source(source)
    encoded = None if kind == "binary" else encode_frames(masks, segments[-1].number)
    frames = (
        _binary_frames(masks, segments) if encoded is None else stand_ins(masks, encoded, images, segments[0].number)
    )
    with quiet_dicom():
        segmentation = Segmentation(
            source_images=images,
            pixel_array=frames,
            segmentation_type=kind.upper(),
            segment_descriptions=segment_items(segments, algorithm),
            series_instance_uid=generate_uid(prefix=None),
            series_number=series_number,
            sop_instance_uid=generate_uid(prefix=None),
            instance_number=1,
            manufacturer=_MAKER,
            manufacturer_model_name=_MAKER,
            software_versions=__version__,
            device_serial_number="0",  # software has none, and the attribute may be neither absent nor empty
            fractional_type=SegmentationFractionalTypeValues.PROBABILITY,
            max_fractional_value=FRACTION_STEPS,
            content_label="SEGMENTATION",
            content_description="Made by hand" if algorithm is None else algorithm.name,
            series_description="Segmentation",
            transfer_syntax_uid=_TRANSFER_SYNTAX[kind],
            omit_empty_frames=bool(frames.any()),
        )
        if encoded is not None:
            put_frames(segmentation, encoded, images, masks)
        segmentation.ContentCreatorName = None  # required, may be empty, and names persons
        refer_to(source, segmentation)
        _copy_patient_and_study(source, segmentation)
    with whole_file(path, overwrite=overwrite) as partial, quiet_dicom():
        segmentation.save_as(partial, enforce_file_format=True)


def _check_segments(segments: Sequence[SegmentDescription], kind: SegKind) -> None:
    if kind not in get_args(SegKind):
        raise ConfigError(f"kind {kind!r} of DICOM SEG is unknown; expected one of {', '.join(get_args(SegKind))}")
    numbers = [segment.number for segment in segments]
    if not numbers:
        raise ConfigError("a DICOM SEG describes at least one segment; none is given; describe the classes")
    if kind == "labelmap" and numbers != sorted(set(numbers)):
        raise ConfigError(f"segments are numbered {numbers}; expected each number once, in rising order; sort them")
    if kind != "labelmap" and numbers != list(range(1, len(numbers) + 1)):
        raise ConfigError(
            f"segments are numbered {numbers}; a {kind} DICOM SEG numbers them 1 to {len(numbers)} (PS3.3, C.8.20.2); "
            "number them anew, or write kind 'labelmap'"
        )


def _check_grid(affine: NDArray[np.float64], source: DicomSeries) -> None:
    corners = np.indices((2, 2, 2)).reshape(3, -1) * (np.array(source.voxels.shape) - 1)[:, np.newaxis]
    difference = np.asarray(affine, np.float64) - source.affine
    offset_mm = np.abs(difference[:3, :3] @ corners + difference[:3, 3:]).max()
    if not offset_mm <= _MAX_AFFINE_DIFFERENCE_MM:
        raise LabelError(
            f"masks lie on another grid than the series: a corner is off by {offset_mm:.3g} mm, at most "
            f"{_MAX_AFFINE_DIFFERENCE_MM} mm are allowed; resample them onto the series"
        )


def _check_masks(
    masks: NDArray[Any], source: DicomSeries, segments: Sequence[SegmentDescription], kind: SegKind
) -> None:
    grid = source.voxels.shape
    if masks.ndim not in (3, 4) or masks.shape[-3:] != grid:
        raise LabelError(
            f"masks have the shape {masks.shape}; expected {grid} (row, column, slice) like the series, or one such "
            "mask for each segment; bring them back to the grid of the series first"
        )
    if grid[0] * grid[1] < _FEWEST_PIXELS:
        raise ImageError(f"slices of {grid[0]} × {grid[1]} px are too small for a DICOM SEG; write NIfTI")
    if masks.ndim == 4:
        _check_stacked(masks, segments, kind)
        return
    if kind == "fractional" or masks.dtype.kind not in "bui":
        raise LabelError(
            f"a label map of {masks.dtype} was given for a {kind} DICOM SEG; expected a label map of integers, and for "
            "fractions a mask for each segment; stack the masks in front"
        )
    numbers = [0, *(segment.number for segment in segments)]
    unknown = sorted(set(np.unique(masks).tolist()) - set(numbers))
    if unknown:
        raise LabelError(
            f"masks hold the values {_few(unknown)}; expected 0 and the segments {_few(numbers[1:])}; describe these "
            "segments too, or map the values first"
        )


def _check_stacked(masks: NDArray[Any], segments: Sequence[SegmentDescription], kind: SegKind) -> None:
    if kind == "labelmap":
        raise LabelError(
            f"masks of {counted(len(masks), 'segment')} were given for a labelmap DICOM SEG, in which a voxel has one "
            "value; give a label map, or write kind 'binary'"
        )
    if len(masks) != len(segments):
        raise LabelError(
            f"masks of {counted(len(masks), 'segment')} were given and {counted(len(segments), 'segment')} described; "
            "expected as many"
        )
    if masks.dtype.kind not in ("bf" if kind == "fractional" else "b"):
        raise LabelError(
            f"masks of a {kind} DICOM SEG are {masks.dtype}; expected booleans"
            f"{' or fractions in [0, 1]' if kind == 'fractional' else ''}; convert them first"
        )
    if masks.dtype.kind == "f" and not (masks.min() >= 0 and masks.max() <= 1):  # NaN is neither
        raise LabelError(
            f"fractions run from {masks.min()} to {masks.max()}; expected values in [0, 1]; turn logits into "
            "probabilities first"
        )


def _binary_frames(masks: NDArray[Any], segments: Sequence[SegmentDescription]) -> NDArray[Any]:
    """Return the masks as highdicom takes them: (slice, row, column) or (slice, row, column, segment)."""
    # Frame after frame in memory: highdicom passes over each several times.
    if masks.ndim == 4:
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(masks, 3, 1)), 0, 3)
    dtype = np.uint8 if segments[-1].number < 2**8 else np.uint16
    return np.ascontiguousarray(np.moveaxis(masks, 2, 0), dtype)


def _copy_patient_and_study(source: DicomSeries, segmentation: Segmentation) -> None:
    """Copy the root attributes of the modules Patient, General Study, Patient Study and Clinical Trial, unchanged."""
    header = copy.deepcopy(source.headers[0])
    header.SOPClassUID = segmentation.SOPClassUID  # by which highdicom looks up the modules
    header.SOPInstanceUID = segmentation.SOPInstanceUID
    segmentation.copy_patient_and_study_information(header)
    if header.get("SpecificCharacterSet"):
        segmentation.SpecificCharacterSet = header.SpecificCharacterSet


def _few(values: Sequence[int]) -> str:
    shown = ", ".join(map(str, values[:10]))
    return shown if len(values) <= 10 else f"{shown} and {len(values) - 10} more"
