"""The image series below a folder, and the names of the masks that belong to them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from ..errors import ImageError, OutputError
from .dicom_files import common_folder, scan_dicom

MaskFormat = Literal["nifti", "dicom-seg"]

MASK_SUFFIXES: Final[dict[MaskFormat, str]] = {"nifti": "_mask.nii.gz", "dicom-seg": "_seg.dcm"}


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
        `{"image": paths, "name": name}` each: the files of a series, which `DicomSeriesReader` reads as one volume, and
        what its mask is called by.

    Raises:
        MissingFileError: If there is no such folder.
        ImageError: If there is no image series.
    """
    found = scan_dicom(folder)
    if not found.series:
        raise ImageError(f"{found.path} holds no DICOM images; expected those of one series or more; check the path")
    records = [
        {"image": [str(path) for path in listing.paths], "name": series_name(series_digest(listing.uid, listing.paths))}
        for listing in found.series
    ]
    return sorted(records, key=lambda record: str(record["name"]))


def plan_series_masks(
    records: Sequence[dict[str, Any]],
    folder: str | os.PathLike[str],
    mask_format: MaskFormat,
    *,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Name the mask of each series, and refuse the whole run before its first mask is written.

    Args:
        records: What `series_records` gives.
        folder: The output folder; it need not exist.
        mask_format: `"nifti"` for `<name>_mask.nii.gz`, `"dicom-seg"` for `<name>_seg.dcm`.
        overwrite: Let masks replace those of an earlier run.

    Returns:
        The path of the mask, by the name of the series.

    Raises:
        OutputError: If `folder` is a file or lies in a folder of a series, or a mask exists.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output folder {folder} is a file; name a folder")
    planned: dict[str, Path] = {}
    for record in records:
        source, mask = (
            common_folder(map(Path, record["image"])),
            folder / f"{record['name']}{MASK_SUFFIXES[mask_format]}",
        )
        if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(source)):
            raise OutputError(f"output folder {folder} lies in the series {source}; choose one outside")
        if mask.exists() and not overwrite:
            raise OutputError(
                f"{mask} already exists; pass --force (in a bundle run --overwrite True, in Python overwrite=True) to "
                "replace it, or choose another output folder"
            )
        planned[record["name"]] = mask
    return planned
