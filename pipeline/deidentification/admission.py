"""Which DICOM objects are written after de-identification, and why the others are not."""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID

from .elements import STANDARD_UID, UNREADABLE, text_of

NOT_DICOM: Final = "no DICOM file (no DICM at byte 128)"
CLOSED: Final = "cannot be opened"
DAMAGED: Final = "damaged or cut short"
DICOMDIR: Final = "DICOMDIR"
BURNED_IN: Final = "burned-in annotation (0028,0301) is not NO"
RECOGNIZABLE: Final = "recognizable visual features (0028,0302) is not NO"
_TOO_LONG: Final = "more pixel data than the header says"
_MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"
_SECONDARY_CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
_PHOTOGRAPHS: Final = ("1.2.840.10008.5.1.4.1.1.77.1.4", "1.2.840.10008.5.1.4.1.1.77.1.4.1")
_PIXEL_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
# Words of Image Type (0008,0008) by which scanners name pictures of a screen or of a page.
_PICTURES_OF_TEXT: Final = ("SCREEN", "CAPTURE", "REPORT", "DOSE_INFO", "DOSEINFO", "PASTED")

# Whole slide microscopy: the label of the slide, and an overview that shows it (PS3.3 C.8.12.4.1.1).
_LABELS: Final = re.compile(r"\b(LABEL|OVERVIEW)\b")


def reason_to_leave_out(dataset: FileDataset) -> str | None:
    """Return why an object is not written, in words that hold nothing of the patient; None for an image.

    Written are instances of the standard's image classes, segmentations and parametric maps among them. Left out are
    objects whose identity is not in attributes that the profile names: those without pixels (structured reports,
    presentation states, key objects, plans, encapsulated documents, waveforms), pictures of screens and pages
    (secondary captures), photographs of people, labels of slides, objects of private classes or transfer syntaxes, and
    images that do not say NO where they speak of burned-in annotation or recognizable features, hold an overlay in the
    unused bits of their pixels, or bytes behind them.
    """
    sop_class = text_of(dataset, "SOPClassUID") or text_of(dataset.file_meta, "MediaStorageSOPClassUID")
    instance = text_of(dataset, "SOPInstanceUID") or text_of(dataset.file_meta, "MediaStorageSOPInstanceUID")
    if sop_class == _MEDIA_DIRECTORY:
        return DICOMDIR
    if not sop_class or not instance:
        return "without SOP Class UID or SOP Instance UID"
    if not STANDARD_UID.fullmatch(sop_class):
        return "private SOP class"
    if "EncapsulatedDocument" in dataset or not any(keyword in dataset for keyword in _PIXEL_KEYWORDS):
        return f"without pixels: {class_name(sop_class)}"
    if f"{sop_class}.".startswith(f"{_SECONDARY_CAPTURE}."):
        return "secondary capture"
    if sop_class in _PHOTOGRAPHS:
        return "photograph"
    image_type = text_of(dataset, "ImageType").upper()
    if any(word in image_type for word in _PICTURES_OF_TEXT):
        return "picture of a screen or of a report (0008,0008)"
    if _LABELS.search(image_type) or text_of(dataset, "SpecimenLabelInImage").upper() == "YES":
        return "label of a slide (0008,0008), (0048,0010)"
    if text_of(dataset, "BurnedInAnnotation").upper() not in ("", "NO"):
        return BURNED_IN
    if text_of(dataset, "RecognizableVisualFeatures").upper() not in ("", "NO"):
        return RECOGNIZABLE
    if _has_overlay_in_pixels(dataset):
        return "overlay within the pixel data (60xx,0102)"
    return _fault_of_pixels(dataset)


def class_name(sop_class: str) -> str:
    """Return the standard's name of a SOP class, or a word that tells nothing where it has none."""
    uid = UID(sop_class)
    return uid.name if uid.type else "unknown SOP class"


def _has_overlay_in_pixels(dataset: Dataset) -> bool:
    """Tell whether a plane of graphics lies in bits of the pixels (retired in 2004)."""
    for group in range(0x6000, 0x6100, 2):
        if (group << 16 | 0x0010) not in dataset or (group << 16 | 0x3000) in dataset:
            continue
        try:
            bits, position = (dataset[group << 16 | element].value for element in (0x0100, 0x0102))
        except UNREADABLE:
            return True
        if bits != 1 or position != 0:
            return True
    return False


def _fault_of_pixels(dataset: FileDataset) -> str | None:
    """Tell what is wrong with pixel data that are not as many as the header says, or compressed and not there at all.

    What stands behind the pixels is no pixel and can be anything; zeros that fill up a block are nothing.
    """
    try:
        (content,) = (dataset[keyword].value for keyword in _PIXEL_KEYWORDS if keyword in dataset)
        syntax = UID(dataset.file_meta.TransferSyntaxUID)
        if syntax.type != "Transfer Syntax":
            return "private transfer syntax"
        if syntax.is_compressed and syntax.is_encapsulated:
            return None if content else DAMAGED
        expected = get_expected_length(dataset)
        padding = content[expected + expected % 2 :]
    except UNREADABLE:
        return DAMAGED
    if len(content) < expected:
        return DAMAGED
    return _TOO_LONG if any(padding) else None
