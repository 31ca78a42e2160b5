"""Voxels with their place, from any format that cases come in; truth and prediction brought to one order of axes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from ..data import LabelClass
from ..data.case_files import is_nifti, is_raster
from ..data.dicom_reference import series_uid_of
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

_MOST_VALUES_SHOWN: Final = 8


@dataclass(frozen=True, eq=False)
class PlacedFile:
    """What was read.

    Attributes:
        path: Where it was.
        voxels: (row, column) or (row, column, slice), of a raster with channels in front where these were asked for;
            the pages of a stack are its slices. NIfTI, NRRD and MetaImage: (i, j) or (i, j, k).
        affine: (4, 4) float64 from voxel index to RAS mm of the voxel's centre; None for rasters.
        series: The series, where it is a DICOM image.
    """

    path: Path
    voxels: NDArray[Any]
    affine: NDArray[np.float64] | None
    series: DicomSeries | None = None

    def spacing_mm(self, pixel_mm: tuple[float, float] | None, slice_mm: float | None) -> tuple[float, ...] | None:
        """Return the spacing of each axis, of the file or else as given; None where neither says it."""
        if self.affine is not None:
            return spacing_of(self.affine, self.voxels.ndim)
        if pixel_mm is None or (self.voxels.ndim == 3 and slice_mm is None):
            return None
        return pixel_mm if self.voxels.ndim == 2 or slice_mm is None else (*pixel_mm, slice_mm)


def spacing_of(affine: NDArray[np.float64], axes: int) -> tuple[float, ...]:
    """Return the distance of neighbouring voxels along each axis in mm, of a (4, 4) affine."""
    return tuple(float(step) for step in np.linalg.norm(affine[:3, :axes], axis=0))


def read_image_file(path: Path, names: tuple[str, ...] = ()) -> PlacedFile:
    """Read the image of a case.

    Args:
        path: A NIfTI, NRRD, MetaImage, PNG, TIFF or DICOM file, or the folder of a DICOM series.
        names: The files of the folder that belong to the image; all by default.

    Raises:
        MissingFileError: If it is not there.
        ImageError: If it cannot be used.
    """
    if is_nifti(path) or is_itk_name(path) or is_raster(path):
        return _read(path, channels=True)
    series = read_dicom_series(path, series_uid_of(path / names[0]) if names else None)
    return PlacedFile(path, series.voxels, series.affine, series)


def read_mask_file(path: Path, image: PlacedFile, classes: Mapping[int, LabelClass] | None = None) -> PlacedFile:
    """Read a label or a prediction that must lie on the voxels of an image, in the order of the image's axes.

    Axes that are swapped or point the other way are put in order, which changes no value; nothing is resampled.

    Args:
        path: A NIfTI, NRRD, MetaImage, PNG, TIFF or DICOM SEG file.
        image: The image of the case.
        classes: What the segments of a DICOM SEG must show, by their numbers; None leaves that unchecked.

    Raises:
        MissingFileError: If it is not there.
        ImageError: If it cannot be read.
        LabelError: If it lies on another grid, or a DICOM SEG refers to another series or shows other things.
    """
    if not (is_nifti(path) or is_itk_name(path) or is_raster(path)):
        return _read_segmentation(path, image, classes)
    return on_grid_of(_read(path), image)


def read_probability_file(path: Path) -> NDArray[Any]:
    """Read a TIFF of probabilities: (class, row, column), or (class, row, column, slice) of a stack.

    Raises:
        MissingFileError: If it is not there.
        ImageError: If it cannot be read.
    """
    return _in_slices(read_image(path, channels="all").pixels)


def on_grid_of(mask: PlacedFile, image: PlacedFile) -> PlacedFile:
    """Return a mask in the order of the image's axes.

    Raises:
        LabelError: If it does not lie on the grid of the image.
    """
    if (mask.affine is None) != (image.affine is None):
        placed, other = (image.path, mask.path) if mask.affine is None else (mask.path, image.path)
        raise LabelError(
            f"{mask.path} cannot be compared with image {image.path}: {placed} has a place in space, {other} none; "
            "expected both or neither; save them in one format"
        )
    shape = image.voxels.shape if image.affine is not None else image.voxels.shape[1:]
    if mask.affine is None or image.affine is None:
        check_same_grid(str(mask.path), mask.voxels.shape, np.eye(4), "its image", shape, np.eye(4))
        return mask
    affine = mask.affine
    if mask.voxels.ndim == 3:
        turn = ornt_transform(io_orientation(mask.affine), io_orientation(image.affine))
        affine = affine @ inv_ornt_aff(turn, mask.voxels.shape)
        mask = replace(mask, voxels=np.ascontiguousarray(apply_orientation(mask.voxels, turn)), affine=affine)
    check_same_grid(str(mask.path), mask.voxels.shape, affine, "its image", shape, image.affine)
    return mask


def class_indices(voxels: NDArray[Any], values: Mapping[int, int], what: str) -> NDArray[np.uint16]:
    """Return the class index of each voxel.

    Args:
        voxels: Stored values.
        values: Class index of each stored value.
        what: What the message calls the voxels.

    Raises:
        LabelError: If there is a value that stands for no class.
    """
    indices = np.zeros(voxels.shape, np.uint16)
    is_known = np.zeros(voxels.shape, np.bool_)
    for stored, index in values.items():
        found = voxels == stored
        is_known |= found
        indices[found] = index
    if not is_known.all():
        unknown = np.unique(voxels[~is_known])
        shown = ", ".join(f"{value:g}" for value in unknown[:_MOST_VALUES_SHOWN])
        shown += ", ..." if unknown.size > _MOST_VALUES_SHOWN else ""
        raise LabelError(
            f"{what} holds the values [{shown}], which stand for no class; expected {sorted(values)} only; correct the "
            "file, or declare its values in the manifest's classes"
        )
    return indices


def _read(path: Path, channels: bool = False) -> PlacedFile:
    if is_nifti(path):
        voxels, meta = NiftiReader().get_data(path)
        return PlacedFile(path, voxels, meta["affine"])
    if is_itk_name(path):
        image = read_itk_image(path)
        return PlacedFile(path, image.voxels, image.affine)
    pixels = _in_slices(read_image(path, channels="all" if channels else "gray").pixels)
    return PlacedFile(path, pixels if channels else pixels[0], None)


def _in_slices(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return (page, channel, row, column) as (channel, row, column), or with slices behind where pages are several."""
    return pixels[0] if len(pixels) == 1 else np.ascontiguousarray(np.moveaxis(pixels, 0, -1))


def _read_segmentation(path: Path, image: PlacedFile, classes: Mapping[int, LabelClass] | None) -> PlacedFile:
    if image.series is None:
        raise LabelError(
            f"{path} is a DICOM SEG and image {image.path} is no DICOM series; expected the series that it refers to; "
            "save it in the format of the image"
        )
    found = read_dicom_seg(path, image.series)
    for segment in () if classes is None else found.segments:
        known = classes.get(segment.number) if classes is not None else None
        code = None if known is None or known.code is None else f"{known.code.scheme}:{known.code.value}"
        if known is None or (code is not None and segment.type_code and segment.type_code != code):
            shows = segment.type_code or "nothing that is coded"
            raise LabelError(
                f"{path}: segment {segment.number} shows {shows}, which is not what the manifest's class "
                f"{segment.number} shows ({code or 'there is none'}); renumber its segments"
            )
    return PlacedFile(path, found.masks, found.affine)
