"""DICOM cases of a data set as NIfTI volumes, for layouts that hold nothing else. No voxel is moved or sampled anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from ..errors import LabelError, ManifestError
from ..formats import (
    DicomSeries,
    NiftiReader,
    StoredSegment,
    check_same_grid,
    is_itk_name,
    read_dicom_seg,
    write_nifti,
)
from .case_content import read_case_image
from .case_files import is_nifti, is_raster
from .manifest_entries import Case, LabelClass


def is_dicom_case(case: Case) -> bool:
    """Tell whether the image is a DICOM series: a folder of files, or a file not named as another format."""
    path = Path(case.image)
    return bool(case.image_files) or not (is_nifti(path) or is_itk_name(path) or is_raster(path))


def write_image_as_nifti(folder: Path, case: Case, target: Path) -> DicomSeries:
    """Write the series of a case in modality units, and return it.

    Args:
        folder: Where the files of the data set are.
        case: A DICOM case.
        target: The file to write, `.nii.gz`: (row, column, slice), with the series' affine.

    Raises:
        MissingFileError: If a file is not there.
        ImageError: If the series is one that `read_dicom_series` refuses.
        OutputError: If the file cannot be written.
    """
    series = read_case_image(folder / case.image, case.image_files).series
    assert series is not None  # of a DICOM case
    write_nifti(target, series.voxels, series.affine)
    return series


def label_on_series(path: Path, series: DicomSeries, classes: Sequence[LabelClass]) -> NDArray[Any]:
    """Return a label on the voxels of a series, (row, column, slice): numbers of segments, or what a NIfTI file holds.

    Args:
        path: A DICOM SEG of the series, or NIfTI on its grid, in whatever order of axes.
        series: The series.
        classes: Those of the data set; a segment must have the code of the class of its number, where both have one.

    Raises:
        ManifestError: If the label is of another format.
        MissingFileError: If it is not there.
        ImageError: If it is damaged.
        LabelError: If it lies on another grid, belongs to another series, or a segment is not what its class is.
    """
    if is_nifti(path):
        voxels, meta = NiftiReader().get_data(path)
        turn = ornt_transform(io_orientation(meta["affine"]), io_orientation(series.affine))
        affine = meta["affine"] @ inv_ornt_aff(turn, voxels.shape)
        turned = apply_orientation(voxels, turn)
        check_same_grid(f"label {path}", turned.shape, affine, "its image", series.voxels.shape, series.affine)
        return np.asarray(turned)
    if is_itk_name(path) or is_raster(path):
        raise ManifestError(f"label {path} of a DICOM series is neither DICOM SEG nor NIfTI; convert it first")
    found = read_dicom_seg(path, series)
    for segment in found.segments:
        _check_code(path, segment, classes)
    return found.masks


def _check_code(path: Path, segment: StoredSegment, classes: Sequence[LabelClass]) -> None:
    code = next((entry.code for entry in classes if entry.stored_value == segment.number), None)
    wanted = None if code is None else f"{code.scheme}:{code.value}"
    if wanted and segment.type_code and segment.type_code != wanted:
        raise LabelError(
            f"label {path}: segment {segment.number} shows {segment.type_code}, and the class of this number is "
            f"{wanted}; expected the same code; renumber its segments, or correct the manifest"
        )
