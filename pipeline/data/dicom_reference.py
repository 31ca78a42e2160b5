"""Which series a DICOM file belongs to, and which one a DICOM SEG refers to."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset


def referenced_series(segmentation: Dataset) -> str | None:
    """Return the SeriesInstanceUID that a SEG refers to (PS3.3, section C.12.1.1: Common Instance Reference)."""
    items = segmentation.get("ReferencedSeriesSequence") or []
    return str(items[0].SeriesInstanceUID) if items else None


def series_uid_of(path: Path) -> str | None:
    """Return the SeriesInstanceUID of a file; None where it has none or is not DICOM."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
    except pydicom.errors.InvalidDicomError:
        return None
    return str(header.get("SeriesInstanceUID") or "") or None
