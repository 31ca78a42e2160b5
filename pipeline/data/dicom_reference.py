"""Whether a DICOM SEG is the label of a series: what it refers to."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from .digests import files_of


def referenced_series(segmentation: Dataset) -> str | None:
    """Return the SeriesInstanceUID that a SEG refers to (PS3.3, section C.12.1.1: Common Instance Reference)."""
    items = segmentation.get("ReferencedSeriesSequence") or []
    return str(items[0].SeriesInstanceUID) if items else None


def reference_problem(image: Path, names: tuple[str, ...], label: Path) -> str | None:
    """Return why a SEG is no label of a DICOM image; None where it is one, or one of the two is not DICOM.

    Args:
        image: The image: a file, or the folder of a series.
        names: The files of the folder that belong to the image; all by default.
        label: The label.
    """
    first = image / (names or files_of(image))[0] if image.is_dir() else image
    try:
        tags = ["SeriesInstanceUID", "FrameOfReferenceUID", "ReferencedSeriesSequence"]
        source, segmentation = (pydicom.dcmread(path, specific_tags=tags) for path in (first, label))
    except pydicom.errors.InvalidDicomError:
        return None
    if referenced_series(segmentation) != source.get("SeriesInstanceUID"):
        return "the label refers to another series than the image is"
    if segmentation.get("FrameOfReferenceUID") != source.get("FrameOfReferenceUID"):
        return "the label lies in another frame of reference (0020,0052) than the image"
    return None
