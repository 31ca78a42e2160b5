"""The image series below a folder, and what their results are named by."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import ImageError
from .dicom_files import scan_dicom


def series_digest(series_uid: str, paths: Iterable[Path]) -> str:
    """Return what tells a series from others and nobody who the patient is.

    Args:
        series_uid: Its Series Instance UID; empty where its files have none.
        paths: Its files.

    Returns:
        SHA-256 of the UID, so that who has the series can tell that it is this one; without a UID that of the sorted
        SHA-256 of the files, one a line.
    """
    if series_uid:
        return hashlib.sha256(series_uid.encode()).hexdigest()
    digests = []
    for path in paths:
        with path.open("rb") as file:
            digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(digests)).encode()).hexdigest()


def series_name(digest: str) -> str:
    """Return what the results of a series are named by.

    Not its folder or files, which hospitals name by patients, nor the UID itself, in which scanners put times and their
    serial numbers.

    Args:
        digest: What `series_digest` gives.
    """
    return f"series-{digest[:12]}"


def series_records(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the image series below a folder as MONAI takes them, in the order of their names.

    Args:
        folder: A folder, searched with all folders in it. Files that are no images, such as segmentations, are passed
            over.

    Returns:
        `{"image": paths, "name": name, "folder": folder, "uid": uid}` each: the files of a series, which
        `DicomSeriesReader` reads as one volume, what its results are named by, the folder that was searched, and its
        Series Instance UID, empty where its files have none.

    Raises:
        MissingFileError: If there is no such folder.
        ImageError: If there is no image series.
    """
    found = scan_dicom(folder)
    if not found.series:
        raise ImageError(f"{found.path} holds no DICOM images; expected those of one series or more; check the path")
    records = [
        {
            "image": [str(path) for path in listing.paths],
            "name": series_name(series_digest(listing.uid, listing.paths)),
            "folder": str(folder),
            "uid": listing.uid,
        }
        for listing in found.series
    ]
    return sorted(records, key=lambda record: str(record["name"]))
