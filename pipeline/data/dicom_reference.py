"""Which series a DICOM file belongs to, and which one a DICOM SEG refers to."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from ..formats.quiet_dicom import quiet_dicom


def referenced_series(segmentation: Dataset) -> tuple[str, ...]:
    """Return the SeriesInstanceUIDs that a SEG refers to (PS3.3, section C.12.1.1: Common Instance Reference)."""
    items = segmentation.get("ReferencedSeriesSequence") or []
    uids = (str(item.get("SeriesInstanceUID") or "") for item in items)
    return tuple(dict.fromkeys(uid for uid in uids if uid))


def series_uid_of(path: Path) -> str | None:
    """Return the SeriesInstanceUID of a file; None where it has none or is not DICOM."""
    with quiet_dicom():
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        except pydicom.errors.InvalidDicomError:
            return None
        return str(header.get("SeriesInstanceUID") or "") or None
