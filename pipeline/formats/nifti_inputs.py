"""The NIfTI volumes of a folder, and what their results are named by."""

from __future__ import annotations

import os
from pathlib import Path

from ..counted import counted
from ..errors import MissingFileError
from .inputs import natural_order
from .nifti import is_nifti_name


def volume_records(folder: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Return the NIfTI files of a folder as MONAI takes them, in natural order.

    Each is `{"image": path, "source": path, "name": name}`; results are named by the file's name without suffix.
    Sub-folders are not entered, and hidden files are left out.

    Raises:
        MissingFileError: If there is no such folder, or no NIfTI file in it.
    """
    folder = Path(folder)
    try:
        entries = sorted(folder.iterdir(), key=natural_order)
    except OSError as error:
        raise MissingFileError(f"folder {folder} cannot be listed: {error.strerror}; check the path") from error
    volumes = [path for path in entries if is_nifti_name(path) and not path.name.startswith(".") and path.is_file()]
    if not volumes:
        raise MissingFileError(
            f"folder {folder} holds no NIfTI file ({counted(len(entries), 'other entry', 'other entries')}); expected "
            "files ending in .nii or .nii.gz; name the folder that holds them directly"
        )
    return [{"image": str(path), "source": str(path), "name": nifti_stem(path)} for path in volumes]


def nifti_stem(path: str | os.PathLike[str]) -> str:
    """Return the name of a NIfTI file without `.nii` or `.nii.gz`."""
    name = Path(path).name
    return name[: -len(".nii.gz")] if name.lower().endswith(".gz") else name[: -len(".nii")]
