"""What can be told of the files of a case: their grid, and the values in a label. NIfTI, PNG, TIFF, and DICOM SEG."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import pydicom
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from ..errors import ImageError, LabelError, MissingFileError
from ..formats import RASTER_SUFFIXES, read_image
from ..formats.dicom_files import UNREADABLE
from ..formats.quiet_dicom import quiet_dicom

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")
SEGMENTATION_CLASSES: Final = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")  # PS3.4, table B.5-1
# What nibabel raises for files that are not NIfTI, are damaged or end too early.
_NIFTI_ERRORS: Final = (ImageFileError, EOFError, OSError, ValueError, zlib.error)


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie.

    Attributes:
        shape: Size along each axis, in the order of the file: NIfTI (i, j, k), rasters (row, column) or
            (page, row, column). A NIfTI axis of length 1 beyond the third is left out.
        affine: (4, 4) float64 from voxel index to RAS mm of the voxel's centre; None for rasters.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None


def is_nifti(path: Path) -> bool:
    """Tell whether a file is named as NIfTI."""
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def is_raster(path: Path) -> bool:
    """Tell whether a file is named as PNG or TIFF."""
    return path.suffix.lower() in RASTER_SUFFIXES


def read_grid(path: Path) -> Grid:
    """Return the grid of a NIfTI, PNG or TIFF file.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If it is of none of these formats or damaged.
    """
    if is_nifti(path):
        image = _open_nifti(path)
        return Grid(_spatial_shape(image.shape), np.asarray(image.affine, dtype=np.float64))
    pixels = read_image(path, channels="all")
    pages = (pixels.pages,) if pixels.pages > 1 else ()
    return Grid((*pages, *pixels.size_px), None)


def read_label_values(path: Path) -> tuple[int, ...]:
    """Return the values that a label holds, in ascending order; of a DICOM SEG, the numbers of segments with frames.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If it cannot be read.
        LabelError: If it holds values that are not whole numbers.
    """
    if is_nifti(path):
        image = _open_nifti(path)
        try:
            voxels = np.asarray(image.dataobj)
        except _NIFTI_ERRORS as error:
            raise ImageError(
                f"{path} is damaged: its voxels cannot be read ({_first_line(error)}); copy it again"
            ) from error
    elif is_raster(path):
        voxels = read_image(path).pixels
    else:
        return _segment_numbers(path)
    return whole_values(path, voxels)


def whole_values(path: Path, voxels: NDArray[Any]) -> tuple[int, ...]:
    """Return the values of a label's voxels in ascending order.

    Raises:
        LabelError: If some are not whole numbers.
    """
    # Counting is many times faster than sorting, where the values allow it.
    values = np.flatnonzero(np.bincount(voxels.ravel())) if voxels.dtype == np.uint8 else np.unique(voxels)
    if not (np.isfinite(values).all() and (values == np.round(values)).all()):
        raise LabelError(
            f"label {path} holds values such as {_odd_value(values)}; expected whole numbers; round it first"
        )
    return tuple(int(value) for value in values)


def _open_nifti(path: Path) -> Any:
    if not path.is_file():
        raise MissingFileError(f"{path} not found; check the path")
    try:
        image = nibabel.load(path)
    except _NIFTI_ERRORS as error:
        raise ImageError(f"{path} is not NIfTI, or damaged ({_first_line(error)}); copy it again") from error
    return image


def _segment_numbers(path: Path) -> tuple[int, ...]:
    if path.is_dir():
        raise ImageError(
            f"label {path} is a folder; expected a NIfTI, PNG, TIFF or DICOM SEG file; name the file in it"
        )
    try:
        with quiet_dicom():
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
    except FileNotFoundError as error:
        raise MissingFileError(f"{path} not found; check the path") from error
    except (pydicom.errors.InvalidDicomError, OSError, *UNREADABLE) as error:
        raise ImageError(f"{path} is not NIfTI, PNG, TIFF or DICOM; convert it to one of these") from error
    if dataset.get("SOPClassUID") not in SEGMENTATION_CLASSES:
        raise ImageError(f"label {path} is DICOM, but not a segmentation (SEG); give the SEG file")
    try:
        return tuple(sorted(int(segment.SegmentNumber) for segment in dataset.get("SegmentSequence") or ()))
    except (AttributeError, TypeError, ValueError) as error:
        raise ImageError(f"label {path} has a segment without a number (0062,0004); make the SEG anew") from error


def _spatial_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    kept = list(shape)
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    return tuple(int(size) for size in kept)


def _odd_value(values: NDArray[Any]) -> float:
    return float(next(value for value in values if not (np.isfinite(value) and value == np.round(value))))


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
