"""The NIfTI volumes of a folder, and the names of the masks that belong to them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..counted import counted
from ..errors import MissingFileError, OutputError
from .inputs import natural_order
from .nifti import is_nifti_name


def volume_records(folder: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Return the NIfTI files of a folder as MONAI takes them: `{"image": path, "source": path}` each, in natural order.

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
    return [{"image": str(path), "source": str(path)} for path in volumes]


def plan_masks(volumes: Sequence[Path], folder: str | os.PathLike[str], *, overwrite: bool = False) -> dict[Path, Path]:
    """Name the mask of each volume, `<stem>_mask.nii.gz`, and refuse the whole run before its first mask is written.

    Args:
        volumes: NIfTI files.
        folder: The output folder; it need not exist.
        overwrite: Let masks replace those of an earlier run. An input is never overwritten.

    Returns:
        The path of the mask, for each volume.

    Raises:
        OutputError: If two volumes would give one mask, a mask would overwrite a volume, `folder` is a file, or a mask
            exists already.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output folder {folder} is a file; name a folder")
    sources = {os.path.realpath(path): path for path in volumes}
    planned: dict[Path, Path] = {}
    for volume in volumes:
        mask = folder / f"{nifti_stem(volume)}_mask.nii.gz"
        if mask in planned.values():
            other = next(one for one, its_mask in planned.items() if its_mask == mask)
            raise OutputError(
                f"inputs {other} and {volume} would both write {mask}; expected different names; rename one"
            )
        if os.path.realpath(mask) in sources:
            raise OutputError(
                f"the mask of {volume} would overwrite the input {sources[os.path.realpath(mask)]}; choose another "
                "output folder, or leave results of earlier runs out of the inputs"
            )
        if mask.exists() and not overwrite:
            raise OutputError(
                f"{mask} already exists; pass --force (in a bundle run --overwrite True, in Python overwrite=True) to "
                "replace it, or choose another output folder"
            )
        planned[volume] = mask
    return planned


def nifti_stem(path: str | os.PathLike[str]) -> str:
    """Return the name of a NIfTI file without `.nii` or `.nii.gz`."""
    name = Path(path).name
    return name[: -len(".nii.gz")] if name.lower().endswith(".gz") else name[: -len(".nii")]
