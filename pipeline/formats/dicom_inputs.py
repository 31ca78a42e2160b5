"""The image series below a folder, and the names of the masks that belong to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from ..errors import ImageError, OutputError
from .dicom_files import quiet_dicom, scan_dicom

MaskFormat = Literal["nifti", "dicom-seg"]

MASK_SUFFIXES: Final[dict[MaskFormat, str]] = {"nifti": "_mask.nii.gz", "dicom-seg": "_seg.dcm"}


def series_records(folder: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Return the image series below a folder as MONAI takes them, in the order of their folders.

    Args:
        folder: A folder of one series, or one whose sub-folders hold a series each, at any depth. Files that are no
            images, such as segmentations, are passed over.

    Returns:
        `{"image": path, "source": path, "name": name}` each. `image` and `source` are the folder of the series; `name`
        is that folder's path below `folder` with `_` between its parts (or the name of `folder` itself): what masks are
        called by, since nothing in the headers may get into a file name.

    Raises:
        MissingFileError: If there is no such folder.
        ImageError: If there is no image series, or two lie in one folder.
    """
    root = Path(folder)
    with quiet_dicom():
        found = scan_dicom(root)
    if not found.series:
        raise ImageError(
            f"{root} holds no DICOM images; expected a folder with a series, or folders with one each; check the path"
        )
    folders = [_common_folder(listing.paths) for listing in found.series]
    for one, listing in zip(folders, found.series, strict=True):
        others = [other for other in found.series if any(one in path.parents for path in other.paths)]
        if len(others) > 1:
            raise ImageError(
                f"folder {one} holds {len(others)} image series ({'; '.join(map(str, others))}); expected a folder "
                f"for each; move the files of {listing.uid} into one of its own"
            )
    return [
        {"image": str(one), "source": str(one), "name": "_".join(one.relative_to(root).parts) or one.resolve().name}
        for one in sorted(folders)
    ]


def plan_series_masks(
    records: Sequence[dict[str, str]],
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
        The path of the mask, by the series' `source`.

    Raises:
        OutputError: If two series would give one mask, `folder` is a file or lies in a series, or a mask exists.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output folder {folder} is a file; name a folder")
    planned: dict[str, Path] = {}
    for record in records:
        source, mask = Path(record["source"]), folder / f"{record['name']}{MASK_SUFFIXES[mask_format]}"
        if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(source)):
            raise OutputError(f"output folder {folder} lies in the series {source}; choose one outside")
        if mask in planned.values():
            raise OutputError(
                f"two series would both write {mask}; expected different names; rename one of the folders"
            )
        if mask.exists() and not overwrite:
            raise OutputError(
                f"{mask} already exists; pass --force (in a bundle run --overwrite True, in Python overwrite=True) to "
                "replace it, or choose another output folder"
            )
        planned[record["source"]] = mask
    return planned


def _common_folder(paths: Iterable[Path]) -> Path:
    return Path(os.path.commonpath([path.parent for path in paths]))
