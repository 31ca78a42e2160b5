"""What the headers of a DICOM image say about each of its frames: place, spacing, and the way to modality units."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from pydicom.dataset import Dataset, FileDataset
from pydicom.tag import Tag

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
# What tells acquisitions apart that may lie in one series: in the header of a classic image, and the functional group
# that holds it, and its name there, of an enhanced one.
_ACQUISITION: Final = (
    ("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    ("EchoTime", "MREchoSequence", "EffectiveEchoTime"),
    ("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    ("StackID", "FrameContentSequence", "StackID"),
    ("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue"),
    ("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle"),
    ("ConvolutionKernel", "CTReconstructionSequence", "ConvolutionKernel"),
    ("SliceThickness", "PixelMeasuresSequence", "SliceThickness"),
)
ACQUISITION_ATTRIBUTES: Final = (*(name for name, _, _ in _ACQUISITION), "ImageType")
_FRAME_TYPES: Final = ("CTImageFrameTypeSequence", "MRImageFrameTypeSequence", "PETFrameTypeSequence")
_FACT_TAGS: Final = tuple(
    Tag(name)
    for name in (
        *PIXEL_ATTRIBUTES,
        "HighBit",
        *ACQUISITION_ATTRIBUTES,
        "ImageOrientationPatient",
        "PixelSpacing",
        "SpacingBetweenSlices",
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
        "Units",
        "Modality",
        "PatientID",
        "StudyInstanceUID",
        "FrameOfReferenceUID",
    )
)


Rescale = Literal["Modality LUT", "slope and intercept", "slope or intercept", "none"]

WHOLE_RESCALES: Final = ("Modality LUT", "slope and intercept")
"""What leads to known units."""


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
    """How the pixels of a file are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    samples: int
    photometric: str

    @property
    def stored_range(self) -> tuple[int, int]:
        """The lowest and highest value that Bits Stored can hold."""
        half = 2 ** (self.bits_stored - 1)
        return (-half, half - 1) if self.is_signed else (0, 2 * half - 1)


@dataclass(frozen=True)
class FrameFacts:
    """What a header says of a frame beside its position; mostly the same for all frames of a series.

    Attributes:
        pixels: How the pixels are stored; None where the header does not say all of it.
        orientation: Image Orientation (Patient), six cosines; None where the header does not say.
        pixel_spacing_mm: Between rows, then between columns, likewise.
        slice_spacing_mm: Spacing Between Slices, else Slice Thickness, likewise.
        slope: Rescale Slope; 1 where there is none.
        intercept: Rescale Intercept; 0 where there is none.
        rescale: What leads to modality units: a Modality LUT, slope and intercept, one of them, or nothing.
        units: Of values after it; None where there is none, or the header does not say. Units for PET (PS3.3 C.8.9.1),
            else Rescale Type, or HU for CT images without it (PS3.3 C.8.2.1.1.6).
        modality: Such as CT; empty where the header does not say, as what follows.
        patient_id: Patient ID; never for messages.
        study_uid: Study Instance UID.
        frame_of_reference_uid: Frame of Reference UID.
        is_localizer: Whether the image calls itself a localizer in Image Type (PS3.3 C.8.2.1.1.1), or in Frame Type.
        acquisition: The values of `ACQUISITION_ATTRIBUTES`, as text.
    """

    pixels: PixelFormat | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    slice_spacing_mm: float | None
    slope: float
    intercept: float
    rescale: Rescale
    units: str | None
    modality: str
    patient_id: str = field(repr=False)
    study_uid: str
    frame_of_reference_uid: str
    is_localizer: bool
    acquisition: tuple[str, ...]

    @property
    def has_lookup(self) -> bool:
        """Whether a Modality LUT takes the place of slope and intercept."""
        return self.rescale == "Modality LUT"


@dataclass(frozen=True, eq=False)
class Frame:
    """One slice as its header describes it.

    Attributes:
        file: Where it is.
        index: Index of the frame in the file, from 0.
        source: The same for people and for references.
        position: Image Position (Patient), LPS mm; None where the header does not say.
        facts: Everything else.
    """

    file: DicomFile
    index: int
    source: SourceFrame
    position: tuple[float, ...] | None
    facts: FrameFacts

    @property
    def pixels(self) -> PixelFormat:
        """How the pixels are stored.

        Raises:
            UnreadableHeaderError: If the header does not say.
        """
        if self.facts.pixels is None:
            raise UnreadableHeaderError
        return self.facts.pixels


class UnreadableHeaderError(ValueError):
    """A value of a header that is missing or not what its attribute holds."""


KnownFacts = dict[tuple[Hashable, ...], FrameFacts]
"""Facts by the bytes of the header that say them. Slices say most things in the same bytes, and reading them is what
costs the most in a series that is not compressed."""


def frames_of(file: DicomFile, known: KnownFacts) -> list[Frame]:
    """Return the frames of an image: one of a classic file, all of a multi-frame file with functional groups.

    Functional groups are looked for in the frame, then among the shared ones (PS3.3 C.7.6.16.1.1), then in the header
    itself, where classic images have them.

    Args:
        file: The file.
        known: Takes what is found, for the next file.

    Raises:
        UnreadableHeaderError: If a number is none, or the groups do not fit the number of frames.
    """
    try:
        header = file.header
        uid = str(header.get("SOPInstanceUID") or header.file_meta.get("MediaStorageSOPInstanceUID") or "")
        if "SharedFunctionalGroupsSequence" in header or "PerFrameFunctionalGroupsSequence" in header:
            return list(_enhanced_frames(file, uid))
        key = _raw_values(header)
        facts = known.get(key)
        if facts is None:
            facts = known[key] = _facts(header, [])
        if file.frames > 1:
            # One position in the header of a multi-frame file is not that of each frame. It is refused by the first.
            return [Frame(file, 0, SourceFrame(file.path, uid, 1), None, facts)]
        position = _numbers(header, "ImagePositionPatient", 3)
        return [Frame(file, 0, SourceFrame(file.path, uid, None), position, facts)]
    except UNREADABLE as error:
        raise UnreadableHeaderError from error


def _enhanced_frames(file: DicomFile, uid: str) -> Iterator[Frame]:
    """Describe frames by their functional groups."""
    header = file.header
    shared = _first(header, "SharedFunctionalGroupsSequence")
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    if len(per_frame) not in (file.frames, 0) or (file.frames > 1 and not per_frame):
        raise UnreadableHeaderError
    for index in range(file.frames):
        places = [place for place in (*per_frame[index : index + 1], shared) if place is not None]
        position = _numbers(_group(header, places, "PlanePositionSequence"), "ImagePositionPatient", 3)
        yield Frame(file, index, SourceFrame(file.path, uid, index + 1), position, _facts(header, places))


def _facts(header: FileDataset, places: Sequence[Dataset]) -> FrameFacts:
    """Collect the facts from functional groups, if there are any, and from the header."""
    measures = _group(header, places, "PixelMeasuresSequence")
    values = _group(header, places, "PixelValueTransformationSequence")
    modality = str(header.get("Modality") or "")
    spacing = _number(measures, "SpacingBetweenSlices") or _number(measures, "SliceThickness")
    slope, intercept = _number(values, "RescaleSlope"), _number(values, "RescaleIntercept")
    rescale = _rescale(header, slope, intercept)
    stated_units = header.get("Units") if modality == "PT" else values.get("RescaleType")
    usual_units = "HU" if modality == "CT" else ""
    frame_type = next((item for name in _FRAME_TYPES if (item := _group(header, places, name)) is not header), header)
    image_type = frame_type.get("FrameType") or header.get("ImageType") or ()
    image_type = [image_type] if isinstance(image_type, str) else [str(value) for value in image_type]
    return FrameFacts(
        pixels=_pixel_format(header),
        orientation=_numbers(_group(header, places, "PlaneOrientationSequence"), "ImageOrientationPatient", 6),
        pixel_spacing_mm=_numbers(measures, "PixelSpacing", 2),
        slice_spacing_mm=None if spacing is None else abs(spacing),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        rescale=rescale,
        units=str(stated_units or usual_units) or None if rescale in WHOLE_RESCALES else None,
        modality=modality,
        patient_id=str(header.get("PatientID") or ""),
        study_uid=str(header.get("StudyInstanceUID") or ""),
        frame_of_reference_uid=str(header.get("FrameOfReferenceUID") or ""),
        is_localizer="LOCALIZER" in image_type,
        acquisition=(
            *(_acquisition(header, places, *names) for names in _ACQUISITION),
            "\\".join(image_type),
        ),
    )


def _rescale(header: Dataset, slope: float | None, intercept: float | None) -> Rescale:
    """Say what leads to modality units."""
    if _first(header, "ModalityLUTSequence") is not None:
        return "Modality LUT"
    if slope is not None and intercept is not None:
        return "slope and intercept"
    return "none" if slope is None and intercept is None else "slope or intercept"


def _acquisition(header: Dataset, places: Sequence[Dataset], name: str, group: str, name_there: str) -> str:
    """Return what a classic image says in its header, and a frame of an enhanced one in a functional group."""
    item = _group(header, places, group)
    return str((header.get(name) if item is header else item.get(name_there)) or "")


def _group(header: Dataset, places: Sequence[Dataset], name: str) -> Dataset:
    """Return the first functional group of a name; the header itself serves where there is none."""
    found = (_first(place, name) for place in places)
    return next((item for item in found if item is not None), header)


def _raw_values(header: FileDataset) -> tuple[Hashable, ...]:
    """Return what the facts of a classic image are made of, without converting it."""
    raw = [header.get_item(tag) for tag in _FACT_TAGS]
    values = (None if item is None else item.value for item in raw)
    plain = (value if isinstance(value, bytes) else str(value) for value in values)
    return (*plain, header.original_encoding, _first(header, "ModalityLUTSequence") is not None)


def _pixel_format(header: Dataset) -> PixelFormat | None:
    values: list[Any] = [header.get(name) for name in PIXEL_ATTRIBUTES]
    if any(value is None or value == "" for value in values):
        return None
    rows, columns, allocated, stored, representation, samples = map(int, values[:-1])
    high_bit = header.get("HighBit")
    return PixelFormat(
        rows,
        columns,
        allocated,
        stored,
        stored - 1 if high_bit is None else int(high_bit),
        bool(representation),
        samples,
        str(values[-1]).strip().upper(),
    )


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
