"""NIfTI files in and out: voxels, affine and header as they are stored, or an error.

Voxels are in the order of the file, (i, j, k); the affine takes their indices to RAS mm.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from ..counted import counted
from ..errors import ImageError, MissingFileError
from .grid import GRID_TOLERANCE_VOXELS, greatest_offset_voxels, size_text
from .voxel_checks import check_affine, check_finite
from .whole_file import refuse_sources, whole_file

NIFTI_SUFFIXES: Final = (".nii", ".nii.gz")
_MM_PER_UNIT: Final = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
# What says where voxels are, and nothing else: no text, no extensions, which can hold whole DICOM headers.
_GRID_FIELDS: Final = (
    *("dim_info", "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
# Of more the header could not tell the size (dim is int16 in NIfTI-1), and of nothing there is no image.
_LONGEST_AXIS: Final = 2**15 - 1
_NIFTI_2_HEADER_BYTES: Final = 540


@dataclass(frozen=True, eq=False)
class NiftiImage:
    """A NIfTI file of one gray image.

    Attributes:
        voxels: (i, j) or (i, j, k) as stored, in native byte order; where the header has a slope and an intercept that
            change something, float64 after them.
        affine: (4, 4) float64, from voxel index to RAS mm of the voxel's centre: the sform where it is set, else the
            qform, as nibabel has it.
        header: The fields that place the voxels (`pixdim`, qform and sform with their codes, units), as stored, in a
            header of the file's version; nothing else of the file's header.
        path: Where it was read.
    """

    voxels: npt.NDArray[Any] = field(repr=False)
    affine: npt.NDArray[np.float64]
    header: Any = field(repr=False)
    path: Path

    @property
    def has_orientation(self) -> bool:
        """Whether the header says where the axes point; without, nibabel takes them for left, anterior, superior."""
        return int(self.header["qform_code"]) > 0 or int(self.header["sform_code"]) > 0


def is_nifti_name(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is named as NIfTI: `.nii` or `.nii.gz`, in either case."""
    return Path(path).name.lower().endswith(NIFTI_SUFFIXES)


def read_nifti(path: str | os.PathLike[str]) -> NiftiImage:
    """Read a NIfTI-1 or NIfTI-2 file as it is, or refuse it.

    `scl_slope` of 0 or NaN means that nothing is to be scaled. Axes of length 1 after the third are dropped. A qform
    and an sform may lead to two spaces, such as the scanner's and an atlas's: their codes say so, and the sform counts,
    as in nibabel. Where both codes name one space, the two must agree: programs choose differently between them.

    Args:
        path: A file named `.nii` or `.nii.gz`.

    Returns:
        The image. Spatial units other than mm are converted in `affine` and kept in `header`.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If the file is empty, cut short, damaged or no NIfTI; has less than two axes or more than three;
            holds colours, complex numbers, NaN or infinity; its affine is not finite or flattens the voxels; or qform
            and sform put them at two places of one space.

    Source:
        The NIfTI-1 Data Format (nifti1.h, 2007): "data scaling", "orientation and location", methods 2 and 3.
    """
    path = Path(path)
    _check_suffix(path)
    if path.is_dir():
        raise ImageError(f"image {path} is a folder; expected a NIfTI file; name the files in it")
    if not path.exists():
        raise MissingFileError(f"image {path} not found; check the path")
    if path.stat().st_size == 0:
        raise ImageError(f"image {path} is empty (0 bytes); expected a NIfTI file; copy it again")
    with _decoding(path):
        stored = _load(path)
        if not isinstance(stored, nib.Nifti1Image):
            raise ImageError(
                f"image {path} is named as NIfTI but holds {type(stored).__name__}; expected one file with header and "
                "voxels; convert it first"
            )
        _check_kind(path, stored.get_data_dtype())
        shape = _spatial_shape(path, stored.shape)
        voxels = np.asanyarray(stored.dataobj).reshape(shape, order="F")
        voxels = voxels.astype(voxels.dtype.newbyteorder("="), copy=False)
        _check_one_place(path, stored.header, shape)
    check_finite(f"image {path}", voxels)
    header = _grid_header(stored.header)
    affine = np.asarray(stored.affine, np.float64).copy()
    affine[:3] *= _MM_PER_UNIT[header.get_xyzt_units()[0]]
    check_affine(f"image {path}", affine)
    return NiftiImage(voxels, affine, header, path)


def check_orientation(image: NiftiImage) -> None:
    """Refuse a volume whose header does not say where its axes point.

    Raises:
        ImageError: If qform_code and sform_code are 0.
    """
    if image.voxels.ndim == 3 and not image.has_orientation:
        raise ImageError(
            f"image {image.path} does not say where its axes point (qform_code and sform_code are 0), so that left "
            "and right may be confused; set one of them once you know"
        )


def write_nifti(
    path: str | os.PathLike[str],
    voxels: npt.ArrayLike,
    like: NiftiImage | npt.ArrayLike,
    *,
    overwrite: bool = False,
) -> None:
    """Write an image or a mask, in its own dtype, without scaling.

    Args:
        path: `.nii` or `.nii.gz`.
        voxels: (i, j) or (i, j, k). Booleans become uint8 of 0 and 1; integers of 8 to 64 bits, float32 and float64
            stay what they are.
        like: The image whose grid it lies on: its size is demanded, and its qform, sform, codes, `pixdim` and units are
            taken over to the bit. Or an affine, (4, 4) from voxel index to RAS mm, which becomes the sform and, where
            it has no shear, the qform, both with code 1 (scanner).
        overwrite: Replace a file that is already there, but for `like` itself.

    Raises:
        ImageError: If the voxels do not fit `like`, hold NaN or infinity, or are of another kind, or the affine is not
            finite or flattens the voxels.
        OutputError: If the file exists and `overwrite` is not set, is `like` itself, or cannot be written.
    """
    path = Path(path)
    _check_suffix(path)
    array = np.asarray(voxels)
    array = array.astype(np.uint8 if array.dtype == np.bool_ else array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise ImageError(
            f"cannot write {path}: it holds {array.dtype} values; expected integers, float32 or float64; convert them "
            "first"
        )
    if array.ndim not in (2, 3) or array.size == 0 or max(array.shape) > _LONGEST_AXIS:
        raise ImageError(
            f"cannot write {path}: the array has the shape {array.shape}; expected two or three axes of 1 to "
            f"{_LONGEST_AXIS} voxels; drop other axes first"
        )
    check_finite(f"cannot write {path}: the array", array)
    if isinstance(like, NiftiImage):
        refuse_sources(path, [like.path])
        if array.shape != like.voxels.shape:
            raise ImageError(
                f"cannot write {path}: {size_text(array.shape)} voxels do not fit image {like.path} of "
                f"{size_text(like.voxels.shape)}; write what was computed from this image"
            )
        header = like.header.copy()
    else:
        header = _header_of_affine(f"cannot write {path}: the image", np.asarray(like, np.float64))
    kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    # With the affine that it finds in the header itself, nibabel leaves the header as it is, but for the spacings of
    # axes that the array does not have.
    image = kind(array, header.get_best_affine(), header, dtype=array.dtype)
    image.header["pixdim"] = header["pixdim"]
    with whole_file(path, overwrite=overwrite) as partial:
        image.to_filename(partial)


def _check_suffix(path: Path) -> None:
    if not is_nifti_name(path):
        raise ImageError(f"{path} is not named as NIfTI; expected .nii or .nii.gz; save or name it so")


def _load(path: Path) -> Any:
    if not path.name.lower().endswith(".gz"):
        return nib.load(path, mmap=False)
    # Read to the end, where the checksum is; nibabel stops at the last voxel.
    with gzip.open(path) as file:
        content = file.read()
    is_version_2 = _NIFTI_2_HEADER_BYTES in (int.from_bytes(content[:4], order) for order in ("little", "big"))
    return (nib.Nifti2Image if is_version_2 else nib.Nifti1Image).from_bytes(content)


@contextmanager
def _decoding(path: Path) -> Iterator[None]:
    """Turn what nibabel and the decompressors raise about a damaged file into one line."""
    try:
        yield
    except (ImageFileError, HeaderDataError, EOFError, OSError, ValueError, OverflowError, zlib.error) as error:
        if isinstance(error, ImageError):
            raise
        if isinstance(error, PermissionError):
            raise ImageError(f"image {path} cannot be opened: {error.strerror}; check its permissions") from error
        reason = " ".join(str(error).split()).replace(str(path), "the file")[:160]
        raise ImageError(
            f"image {path} cannot be read as NIfTI: it is cut short, damaged or of another format ({reason}); copy it "
            "again"
        ) from error


def _check_kind(path: Path, dtype: np.dtype[Any]) -> None:
    if dtype.fields is not None:
        raise ImageError(
            f"image {path} holds colours ({', '.join(dtype.names or ())}); expected gray; save one channel as its own "
            "file"
        )
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        raise ImageError(
            f"image {path} holds {dtype} values; expected integers or real numbers of at most 64 bits; convert them "
            "first"
        )


def _spatial_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    spatial = list(shape)
    while len(spatial) > 3 and spatial[-1] == 1:
        spatial.pop()
    if not 2 <= len(spatial) <= 3:
        raise ImageError(
            f"image {path} has {counted(len(spatial), 'axis', 'axes')} ({size_text(spatial)}); expected two or three: "
            "one image, no time series and no channels; save one volume as its own file"
        )
    if 0 in spatial:
        raise ImageError(f"image {path} has no voxels ({size_text(spatial)}); expected at least one; save it again")
    return tuple(spatial)


def _check_one_place(path: Path, header: Any, shape: tuple[int, ...]) -> None:
    """Refuse a qform and an sform that say of one space that voxels are at two places in it."""
    if not 0 < int(header["qform_code"]) == int(header["sform_code"]):
        return
    off_voxels = greatest_offset_voxels(shape, header.get_qform(), header.get_sform())
    if not off_voxels <= GRID_TOLERANCE_VOXELS:
        raise ImageError(
            f"image {path} has a qform and an sform of one space (code {int(header['sform_code'])}) that put voxels up "
            f"to {off_voxels:.3g} voxels apart; expected at most {GRID_TOLERANCE_VOXELS:g}; set the code of the wrong "
            "one to 0"
        )


def _grid_header(header: Any) -> Any:
    """Return a header of the same version with the fields that place the voxels, and nothing else of the old one."""
    clean = nib.Nifti2Header() if isinstance(header, nib.Nifti2Header) else nib.Nifti1Header()
    for name in _GRID_FIELDS:
        clean[name] = header[name]
    return clean


def _header_of_affine(what: str, affine: npt.NDArray[np.float64]) -> Any:
    check_affine(what, affine)
    header = nib.Nifti1Header()
    header.set_data_shape((1, 1, 1))
    header.set_sform(affine, code="scanner")
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_xyzt_units("mm")
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(directions.T @ directions, np.eye(3), rtol=0, atol=1e-5):
        header.set_qform(affine, code="scanner")
    return header
