"""What a case holds when it is read as training reads it: where its image and its label lie, and the label's values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation
from numpy.typing import NDArray

from ..errors import LabelError
from ..formats import (
    DicomSeries,
    NiftiReader,
    check_same_grid,
    is_itk_name,
    read_dicom_seg,
    read_dicom_series,
    read_image,
    read_itk_image,
)
from .case_files import is_nifti, is_raster, read_label_values, whole_values
from .dicom_reference import series_uid_of


@dataclass(frozen=True, eq=False)
class Content:
    """An image or a label that was read.

    Attributes:
        path: Where it is.
        format: `"NIfTI"`, `"ITK"`, `"raster"` or `"DICOM"`.
        shape: Its voxels along each axis, in the order in which that format is read.
        affine: (4, 4) float64 from voxel index to RAS mm of the voxel's centre; None for rasters.
        values: The values it holds, in ascending order; None for an image.
        series: The series, where it is a DICOM image.
    """

    path: Path
    format: str
    shape: tuple[int, ...]
    affine: NDArray[np.float64] | None
    values: tuple[int, ...] | None = None
    series: DicomSeries | None = None


def read_case_image(path: Path, names: tuple[str, ...] = ()) -> Content:
    """Read an image, and refuse it as training would.

    Args:
        path: A NIfTI, NRRD, MetaImage, PNG, TIFF or DICOM file, or the folder of a DICOM series.
        names: The files of the folder that belong to the image; all by default.

    Raises:
        MissingFileError: If it is not there.
        ImageError: If it is damaged, of another kind, or a series that `read_dicom_series` refuses.
    """
    if not (is_nifti(path) or is_itk_name(path) or is_raster(path)):
        series = read_dicom_series(path, series_uid_of(path / names[0]) if names else None)
        return Content(path, "DICOM", series.voxels.shape, series.affine, series=series)
    return _read_file(path)[0]


def read_case_label(path: Path, image: Content | None) -> Content:
    """Read a label, and refuse it where it does not belong to its image.

    A DICOM SEG must refer to the series and lie on its voxels; its values are the numbers of its segments.

    Args:
        path: A NIfTI, NRRD, MetaImage, PNG, TIFF or DICOM SEG file.
        image: The image, or None where it cannot be read: then a SEG has nothing to lie on, and only says its values.

    Raises:
        MissingFileError: If it is not there.
        ImageError: If it is damaged or of another kind.
        LabelError: If it holds values that are not whole numbers, lies on another grid than the image, refers to
            another series, or its segments overlap or are fractions, so that voxels have no single class.
    """
    if not (is_nifti(path) or is_itk_name(path) or is_raster(path)):
        return _read_segmentation(path, image)
    label, voxels = _read_file(path, of_label=True)
    return Content(label.path, label.format, label.shape, label.affine, whole_values(path, voxels))


def check_label_grid(label: Content, image: Content) -> None:
    """Refuse a label that does not lie on the grid of its image.

    Formats store axes in an order of their own: between two formats, volumes are first turned to the nearest RAS axes.

    Raises:
        LabelError: If size or place differ, or only one of the two has a place.
    """
    if image.affine is None or label.affine is None:
        if image.affine is not label.affine:
            placed, other = ("image", "label") if label.affine is None else ("label", "image")
            raise LabelError(
                f"label {label.path} cannot be compared with image {image.path}: the {placed} has a place in space, "
                f"the {other} none; expected both or neither; save them in one format"
            )
        check_same_grid(f"label {label.path}", label.shape, np.eye(4), "its image", image.shape, np.eye(4))
        return
    label_grid, image_grid = (label.shape, label.affine), (image.shape, image.affine)
    if label.format != image.format and len(label.shape) == len(image.shape) == 3:
        label_grid, image_grid = _canonical(*label_grid), _canonical(*image_grid)
    check_same_grid(f"label {label.path}", *label_grid, "its image", *image_grid)


def _read_file(path: Path, of_label: bool = False) -> tuple[Content, NDArray[Any]]:
    if is_nifti(path):
        voxels, meta = NiftiReader().get_data(path)
        return Content(path, "NIfTI", voxels.shape, meta["affine"]), voxels
    if is_itk_name(path):
        image = read_itk_image(path)
        return Content(path, "ITK", image.voxels.shape, image.affine), image.voxels
    raster = read_image(path) if of_label else read_image(path, channels="all")
    pages = (raster.pages,) if raster.pages > 1 else ()
    return Content(path, "raster", (*pages, *raster.size_px), None), raster.pixels


def _read_segmentation(path: Path, image: Content | None) -> Content:
    numbers = read_label_values(path)
    if image is None:
        return Content(path, "DICOM", (), None, numbers)
    if image.series is None:
        raise LabelError(
            f"label {path} is a DICOM SEG and its image {image.path} is {image.format}; expected the DICOM series that "
            "it refers to; give that series, or save the label in the format of the image"
        )
    found = read_dicom_seg(path, image.series)
    return Content(path, "DICOM", found.masks.shape, found.affine, tuple(segment.number for segment in found.segments))


def _canonical(shape: tuple[int, ...], affine: NDArray[np.float64]) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Return shape and affine of a volume after its axes were turned to the nearest of right, anterior, superior."""
    orientation = io_orientation(affine)
    turned = apply_orientation(np.empty(shape, np.bool_), orientation)
    return turned.shape, affine @ inv_ornt_aff(orientation, shape)
