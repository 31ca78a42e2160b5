"""What the headers of a DICOM image say about each of its frames: place, spacing, and the way to modality units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from pydicom.dataset import Dataset

from .dicom_files import UNREADABLE, DicomFile

PIXEL_ATTRIBUTES: Final = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)


class SourceFrame(NamedTuple):
    """Where a slice came from.

    Attributes:
        path: The file.
        sop_instance_uid: SOP Instance UID of the file's object.
        frame_number: Number of the frame, counted from 1 as Referenced Frame Number does; None for classic images.
    """

    path: Path
    sop_instance_uid: str
    frame_number: int | None


@dataclass(frozen=True)
class PixelFormat:
    """How the pixels of a file are stored (PS3.3 C.7.6.3), and what its image is and belongs to.

    The values are taken from the header once: each look-up there costs more than decoding a row of pixels.
    """

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    samples: int
    photometric: str

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and highest value that Bits Stored can hold."""
        half = 2 ** (self.bits_stored - 1)
        return (-half, half - 1) if self.is_signed else (0, 2 * half - 1)


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice as its header describes it; None where the header does not.

    Attributes:
        file: Where it is.
        index: Index of the frame in the file, from 0.
        source: The same for people and for references.
        pixels: How the pixels are stored; None where the header does not say all of it.
        orientation: Image Orientation (Patient), six cosines.
        position: Image Position (Patient), LPS mm.
        pixel_spacing_mm: Between rows, then between columns.
        slice_spacing_mm: Spacing Between Slices, else Slice Thickness.
        slope: Rescale Slope; 1 where there is none.
        intercept: Rescale Intercept; 0 where there is none.
        units: Rescale Type; HU for CT images that do not say (PS3.3 C.8.2.1.1.6).
        modality: Such as CT; empty where the header does not say.
        lookup: The header, where it has a Modality LUT instead of slope and intercept.
    """

    file: DicomFile
    index: int
    source: SourceFrame
    pixels: PixelFormat | None
    orientation: tuple[float, ...] | None
    position: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slice_spacing_mm: float | None
    slope: float
    intercept: float
    units: str | None
    modality: str
    lookup: Dataset | None = field(repr=False)

    @property
    def header(self) -> Dataset:
        """The header of the file."""
        return self.file.header


class UnreadableHeaderError(ValueError):
    """A value of a header that is not what its attribute holds."""


def frames_of(file: DicomFile) -> list[Frame]:
    """Return the frames of an image: one of a classic file, all of a multi-frame file with functional groups.

    Functional groups are looked for in the frame, then among the shared ones (PS3.3 C.7.6.16.1.1), then in the header
    itself, where classic images have them.

    Raises:
        UnreadableHeaderError: If a number is none, or the groups do not fit the number of frames.
    """
    try:
        return list(_frames(file))
    except UNREADABLE as error:
        raise UnreadableHeaderError from error


def _frames(file: DicomFile) -> Iterator[Frame]:
    header = file.header
    uid = str(header.get("SOPInstanceUID") or header.file_meta.get("MediaStorageSOPInstanceUID") or "")
    pixels, modality = _pixel_format(header), str(header.get("Modality") or "")
    lookup = header if "ModalityLUTSequence" in header else None
    shared = _first(header, "SharedFunctionalGroupsSequence")
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    has_groups = shared is not None or bool(per_frame)
    count = file.frames
    if per_frame and len(per_frame) != count:
        raise UnreadableHeaderError
    for index in range(count):
        own = per_frame[index] if per_frame else None
        places = [groups for groups in (own, shared) if groups is not None]

        def group(name: str, places: list[Dataset] = places) -> Dataset:
            # Classic attributes serve where an enhanced image was made of classic ones and has no group for them.
            found = (_first(place, name) for place in places)
            return next((item for item in found if item is not None), header)

        # Without functional groups, the one position in the header of a multi-frame file is not that of each frame.
        is_placed = has_groups or count == 1
        measures, values = group("PixelMeasuresSequence"), group("PixelValueTransformationSequence")
        orientation = _numbers(group("PlaneOrientationSequence"), "ImageOrientationPatient", 6)
        position = _numbers(group("PlanePositionSequence"), "ImagePositionPatient", 3)
        spacing = _number(measures, "SpacingBetweenSlices") or _number(measures, "SliceThickness")
        slope, intercept = _number(values, "RescaleSlope"), _number(values, "RescaleIntercept")
        units = str(values.get("RescaleType") or "")
        yield Frame(
            file,
            index,
            SourceFrame(file.path, uid, index + 1 if has_groups or count > 1 else None),
            pixels,
            orientation if is_placed else None,
            position if is_placed else None,
            _numbers(measures, "PixelSpacing", 2),
            None if spacing is None else abs(spacing),
            1.0 if slope is None else slope,
            0.0 if intercept is None else intercept,
            units or ("HU" if modality == "CT" else None),
            modality,
            lookup,
        )


def _pixel_format(header: Dataset) -> PixelFormat | None:
    values: list[Any] = [header.get(name) for name in PIXEL_ATTRIBUTES]
    if any(value is None or value == "" for value in values):
        return None
    rows, columns, allocated, stored, representation, samples = map(int, values[:-1])
    return PixelFormat(rows, columns, allocated, stored, bool(representation), samples, str(values[-1]))


def _first(place: Dataset, name: str) -> Dataset | None:
    """Return the first item of a sequence, if there is one."""
    sequence = place.get(name)
    return sequence[0] if sequence else None


def _numbers(place: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    value: Any = place.get(name)
    if value is None or value == "" or (hasattr(value, "__len__") and len(value) == 0):
        return None
    numbers = tuple(float(number) for number in value)
    if len(numbers) != count or not all(abs(number) < float("inf") for number in numbers):
        raise UnreadableHeaderError
    return numbers


def _number(place: Dataset, name: str) -> float | None:
    value: Any = place.get(name)
    if value is None or value == "":
        return None
    number = float(value)
    if not abs(number) < float("inf"):
        raise UnreadableHeaderError
    return number
