"""Reading DICOM SEG objects back onto the grid of the series they were made from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import UID, SegmentationStorage

from ..counted import agreed, counted
from ..errors import ConfigError, ImageError, LabelError, MissingFileError
from .dicom_files import UNREADABLE
from .dicom_series import DicomSeries
from .functional_groups import frame_affine, functional_group
from .quiet_dicom import quiet_dicom
from .seg_source import MAX_OFFSET_VOXELS, source_frames

SegLayout = Literal["labelmap", "segments"]

Index = tuple[Any, ...]

_LABELMAP_STORAGE: Final = UID("1.2.840.10008.5.1.4.1.1.66.7")  # newer than pydicom 3.0's table
_LABELMAP: Final = "LABELMAP"
_FRACTIONAL: Final = "FRACTIONAL"
_REQUIRED: Final = ("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "SegmentSequence", "PixelData")
_NUMBERS: Final = ("NumberOfFrames", "Rows", "Columns", "BitsAllocated", "MaximumFractionalValue", "PixelPaddingValue")
_TEXTS: Final = ("SOPClassUID", "SegmentationType", "FrameOfReferenceUID")
_SEQUENCES: Final = (
    "SegmentSequence",
    "ReferencedSeriesSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_TYPES: Final = ("BINARY", _FRACTIONAL, _LABELMAP)


@dataclass(frozen=True)
class StoredSegment:
    """A segment as a file describes it.

    Attributes:
        number: Its number.
        label: Its name, empty where there is none.
        type_code: Coding scheme and code of what it shows, such as `SCT:10200004`; empty where there is none.
        type_meaning: What the code means.
    """

    number: int
    label: str
    type_code: str
    type_meaning: str


@dataclass(frozen=True)
class DicomSeg:
    """Segments on a grid.

    Attributes:
        masks: (row, column, slice) uint8 or uint16 of segment numbers, 0 elsewhere, for the layout `"labelmap"`; for
            `"segments"` (segment, row, column, slice), booleans or, in a fractional SEG, float32 in [0, 1].
        affine: (4, 4) float64 from voxel index to RAS mm.
        segments: What the segments show, by rising number; those without a voxel too, but not a described background.
        kind: `"BINARY"`, `"FRACTIONAL"` or `"LABELMAP"`, as in Segmentation Type.
    """

    masks: NDArray[Any]
    affine: NDArray[np.float64]
    segments: tuple[StoredSegment, ...]
    kind: str


def read_dicom_seg(
    path: str | os.PathLike[str], source: DicomSeries | None, *, layout: SegLayout = "labelmap"
) -> DicomSeg:
    """Read a DICOM SEG object, each frame at the place it states.

    Frames may come in any order, be mirrored or turned by quarters against the source, and show a part of it; where
    there is no frame there is no segment.

    Args:
        path: The file.
        source: The series that it must belong to, whose grid the masks get. None for the grid of its own frames,
            which then must be evenly spaced; slices run along their normal.
        layout: `"labelmap"`, which segments that overlap and fractions do not fit; or `"segments"`.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If the file is not DICOM, no segmentation, damaged or incomplete.
        LabelError: If it refers to another series or frame of reference, a frame does not lie on the grid, or segments
            do not fit the layout.
        ConfigError: If the layout is unknown.

    Source:
        DICOM PS3.3, C.7.6.16 and C.8.20.
    """
    if layout not in get_args(SegLayout):
        raise ConfigError(f"layout {layout!r} of masks is unknown; expected one of {', '.join(get_args(SegLayout))}")
    path = Path(path)
    with quiet_dicom():
        dataset = _read(path)
        planes = [_plane(path, dataset, frame) for frame in range(1, int(dataset.NumberOfFrames) + 1)]
        if source is None:
            affine, shape = _own_grid(path, dataset, planes)
        else:
            _check_belongs(path, dataset, source)
            affine, shape = source.affine, source.voxels.shape
        segments = _segments(path, dataset)
        masks = _place(path, dataset, planes, affine, shape, segments, layout)
    return DicomSeg(masks, affine, segments, dataset.SegmentationType)


def _read(path: Path) -> Dataset:
    """Read a file, and parse now what pydicom would parse later: of a damaged one it reads as far as it can."""
    try:
        dataset = pydicom.dcmread(path)
        for keyword in _SEQUENCES:
            for item in dataset.get(keyword) or []:
                list(item.iterall())
        for keyword in _NUMBERS:
            int(dataset.get(keyword) or 0)
        for keyword in _TEXTS:
            str(dataset.get(keyword))
    except FileNotFoundError as error:
        raise MissingFileError(f"segmentation {path} not found; check the path") from error
    except InvalidDicomError as error:
        raise ImageError(f"{path} is not a DICOM file; expected a DICOM SEG; name another file") from error
    except (OSError, *UNREADABLE) as error:
        raise ImageError(f"segmentation {path} cannot be read ({type(error).__name__}); copy it again") from error
    if dataset.get("SOPClassUID") not in (SegmentationStorage, _LABELMAP_STORAGE):
        raise ImageError(f"{path} is no DICOM SEG but of another class; name the file of the segmentation")
    kind = dataset.get("SegmentationType")
    if kind not in _TYPES:
        raise ImageError(
            f"segmentation {path} is of the type {kind!r}; expected one of {', '.join(_TYPES)}; export it anew"
        )
    missing = [keyword for keyword in _REQUIRED if not dataset.get(keyword)]
    if missing:
        raise ImageError(f"segmentation {path} has no {', '.join(missing)}; copy it again, or export it anew")
    described = len(dataset.get("PerFrameFunctionalGroupsSequence") or [])
    if described != int(dataset.NumberOfFrames):
        raise ImageError(
            f"segmentation {path} describes {counted(described, 'frame')}; expected {dataset.NumberOfFrames}, its "
            "number of frames; copy it again, or export it anew"
        )
    return dataset


def _check_belongs(path: Path, dataset: Dataset, source: DicomSeries) -> None:
    """Refuse a segmentation of something else, by frame of reference, then series, then instances."""
    header = source.headers[0]
    if not dataset.get("FrameOfReferenceUID") or dataset.FrameOfReferenceUID != header.get("FrameOfReferenceUID"):
        raise LabelError(
            f"segmentation {path} lies in another frame of reference than the series it is read for; name the series "
            "it was made from"
        )
    referred = [item.get("SeriesInstanceUID") for item in dataset.get("ReferencedSeriesSequence") or []]
    if referred:
        if source.series_uid not in referred:
            raise LabelError(
                f"segmentation {path} refers to another series than the one it is read for ({source.series_uid}); name "
                "the series it was made from"
            )
        return
    instances = {
        image.get("ReferencedSOPInstanceUID")
        for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []
        for derivation in frame.get("DerivationImageSequence") or []
        for image in derivation.get("SourceImageSequence") or []
    }
    if not instances or not instances <= {frame.sop_instance_uid for frame in source_frames(source)}:
        what = "images of another series than the one it is read for" if instances else "no series"
        raise LabelError(
            f"segmentation {path} refers to {what} ({source.series_uid}); name the series it was made from, or read it "
            "without one"
        )


def _plane(path: Path, dataset: Dataset, frame: int) -> NDArray[np.float64]:
    plane = frame_affine(dataset, frame)
    if plane is None:
        raise ImageError(
            f"frame {frame} of segmentation {path} has no usable position, orientation or pixel spacing; export it anew"
        )
    return plane


def _own_grid(
    path: Path, dataset: Dataset, planes: list[NDArray[np.float64]]
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    """Return the evenly spaced grid that the frames lie on, as affine and shape."""
    normal = planes[0][:3, 2]
    heights_mm = np.array([plane[:3, 3] @ normal for plane in planes])
    measures = functional_group(dataset, 1, "PixelMeasuresSequence") or Dataset()
    gaps_mm = np.diff(np.unique(heights_mm.round(4)))
    stated_mm = measures.get("SpacingBetweenSlices") or measures.get("SliceThickness") or 0
    step_mm = float(measures.get("SpacingBetweenSlices") or (gaps_mm.min() if gaps_mm.size else stated_mm))
    if step_mm <= 0:
        raise ImageError(f"segmentation {path} has a slice spacing of {step_mm} mm; read it with its series")
    lowest = int(np.argmin(heights_mm))
    affine = planes[lowest].copy()
    affine[:3, 2] *= step_mm
    slices = 1 + round((heights_mm.max() - heights_mm.min()) / step_mm)
    return affine, (int(dataset.Rows), int(dataset.Columns), slices)


def _segments(path: Path, dataset: Dataset) -> tuple[StoredSegment, ...]:
    background = dataset.get("PixelPaddingValue", 0) if dataset.SegmentationType == _LABELMAP else 0
    found = {}
    for item in dataset.SegmentSequence:
        number = item.get("SegmentNumber")
        if number is None or number in found:
            raise ImageError(
                f"segmentation {path} describes two segments {number}; expected each number once; export it anew"
            )
        types = item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
        value = types[0].get("CodeValue") or types[0].get("LongCodeValue") or ""
        code = f"{types[0].get('CodingSchemeDesignator', '')}:{value}" if value else ""
        found[number] = StoredSegment(
            int(number), str(item.get("SegmentLabel") or ""), code, str(types[0].get("CodeMeaning") or "")
        )
    if background:
        raise LabelError(
            f"segmentation {path} has the background value {background}; expected 0; renumber its segments first"
        )
    found.pop(background, None)
    return tuple(found[number] for number in sorted(found))


def _place(
    path: Path,
    dataset: Dataset,
    planes: list[NDArray[np.float64]],
    affine: NDArray[np.float64],
    shape: tuple[int, ...],
    segments: tuple[StoredSegment, ...],
    layout: SegLayout,
) -> NDArray[Any]:
    """Put the frames where they belong."""
    kind = dataset.SegmentationType
    numbers = [segment.number for segment in segments]
    if layout == "labelmap" and kind == _FRACTIONAL:
        raise LabelError(
            f"segmentation {path} is fractional, and a label map holds whole segments; read it as segments and apply "
            "a threshold"
        )
    frames_first = (shape[2], *shape[:2])  # in memory, as the frames come
    if layout == "labelmap":
        masks = np.zeros(frames_first, np.uint8 if max(numbers, default=0) < 2**8 else np.uint16)
    else:
        masks = np.zeros((len(numbers), *frames_first), np.float32 if kind == _FRACTIONAL else bool)
    masks = np.moveaxis(masks, -3, -1)
    largest = float(dataset.get("MaximumFractionalValue") or 0) if kind == _FRACTIONAL else 1.0
    if largest <= 0:
        raise ImageError(f"segmentation {path} has no MaximumFractionalValue, by which to divide; export it anew")
    seen: set[tuple[object, ...]] = set()
    for frame, pixels in _decoded(path, dataset):
        index = _index(path, frame, planes[frame - 1], affine, pixels.shape, shape)
        number = None if kind == _LABELMAP else _segment_of(path, dataset, frame, numbers)
        place = (number, *(int(axis.min()) for axis in index), *(int(axis.max()) for axis in index))
        if place in seen:
            raise LabelError(f"segmentation {path} shows a place twice, again in frame {frame}; export it anew")
        seen.add(place)
        if number is None:
            _put_labels(path, frame, masks, index, pixels, numbers, layout)
        elif layout == "segments":
            values = pixels.astype(np.float32) / np.float32(largest) if kind == _FRACTIONAL else pixels > 0
            masks[(numbers.index(number), *index)] = values
        else:
            _put_segment(path, frame, masks, index, pixels > 0, number)
    return masks


def _put_labels(
    path: Path,
    frame: int,
    masks: NDArray[Any],
    index: Index,
    pixels: NDArray[Any],
    numbers: list[int],
    layout: SegLayout,
) -> None:
    unknown = sorted(set(np.unique(pixels).tolist()) - {0, *numbers})
    if unknown:
        raise LabelError(
            f"frame {frame} of segmentation {path} holds the values {unknown[:10]}; expected 0 and the segments it "
            "describes; export it anew"
        )
    if layout == "labelmap":
        masks[index] = pixels
    else:
        for order, number in enumerate(numbers):
            masks[(order, *index)] = pixels == number


def _put_segment(
    path: Path,
    frame: int,
    masks: NDArray[Any],
    index: Index,
    inside: NDArray[np.bool_],
    number: int,
) -> None:
    before = masks[index]
    shared = inside & (before > 0)
    if shared.any():
        raise LabelError(
            f"segments {int(before[shared][0])} and {number} of segmentation {path} overlap in "
            f"{counted(int(shared.sum()), 'voxel')} of frame {frame}; a label map holds one segment a voxel; read it "
            "as segments"
        )
    masks[index] = np.where(inside, number, before)


def _decoded(path: Path, dataset: Dataset) -> Iterator[tuple[int, NDArray[Any]]]:
    """Decode the frames one after another, each with its number from 1."""
    count = 0
    try:
        is_packed = dataset.BitsAllocated == 1 and not dataset.file_meta.TransferSyntaxUID.is_encapsulated
        for count, pixels in enumerate(_unpacked(dataset) if is_packed else iter_pixels(dataset), 1):
            yield count, pixels
    except (MemoryError, *UNREADABLE) as error:
        raise ImageError(
            f"segmentation {path} cannot be decoded after frame {count} ({' '.join(str(error).split())}); copy it again"
        ) from error


def _unpacked(dataset: Dataset) -> Iterator[NDArray[np.uint8]]:
    """Give frames whose bits follow each other without a gap (PS3.5, 8.1.1), where pydicom wants whole bytes."""
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.NumberOfFrames)
    stored = np.frombuffer(dataset.PixelData, np.uint8)
    needed = -(-frames * rows * columns // 8)
    if stored.size < needed:
        raise ValueError(
            f"it has {stored.size} bytes of pixels, and {counted(frames, 'frame')} {agreed(frames, 'takes', 'take')} "
            f"{needed}"
        )
    for start in range(0, frames * rows * columns, rows * columns):
        end = start + rows * columns
        bits = np.unpackbits(stored[start // 8 : -(-end // 8)], bitorder="little")
        yield bits[start % 8 :][: rows * columns].reshape(rows, columns)


def _segment_of(path: Path, dataset: Dataset, frame: int, numbers: list[int]) -> int:
    item = functional_group(dataset, frame, "SegmentIdentificationSequence")
    number = None if item is None else item.get("ReferencedSegmentNumber")
    if number not in numbers:
        raise ImageError(
            f"frame {frame} of segmentation {path} belongs to segment {number}, which it does not describe; export it "
            "anew"
        )
    return int(number)


def _index(
    path: Path,
    frame: int,
    plane: NDArray[np.float64],
    affine: NDArray[np.float64],
    frame_shape: tuple[int, ...],
    shape: tuple[int, ...],
) -> Index:
    """Return the index of a frame's pixels into the grid: an array for each axis, which broadcast to the frame."""
    to_voxel = np.linalg.inv(affine) @ plane
    steps, start = to_voxel[:3, :2].round(), to_voxel[:3, 3].round()
    rows, columns = frame_shape
    far = np.array([[0, rows - 1, 0, rows - 1], [0, 0, columns - 1, columns - 1]])
    found = to_voxel[:3, :2] @ far + to_voxel[:3, 3:]
    snapped = steps @ far + start[:, np.newaxis]
    offset = float(np.abs(found - snapped).max())
    is_turned_by_quarters = all(np.abs(steps[:, axis]).sum() == 1 for axis in (0, 1)) and not steps[:, 0] @ steps[:, 1]
    inside = (snapped >= 0).all() and (snapped < np.array(shape)[:, np.newaxis]).all()
    if not (is_turned_by_quarters and inside and offset <= MAX_OFFSET_VOXELS):
        what = "off the grid" if inside and is_turned_by_quarters else "outside or turned"
        raise LabelError(
            f"frame {frame} of segmentation {path} does not lie on the voxels of the grid ({what}, "
            f"{offset:.2f} voxels from the next ones); resample it, or name the series it was made from"
        )
    row, column = np.ogrid[:rows, :columns]
    # What does not move along an axis stays narrow there, so that indexing is fast.
    return tuple(
        int(start[axis])
        + (int(steps[axis, 0]) * row if steps[axis, 0] else np.zeros((1, 1), np.intp))
        + (int(steps[axis, 1]) * column if steps[axis, 1] else np.zeros((1, 1), np.intp))
        for axis in range(3)
    )
