"""NRRD and MetaImage files (MHA, MHD) in and out, with ITK; the free text of their headers is not carried over.

Voxels are in the order of the file, (i, j, k); the affine takes their indices to RAS mm. ITK itself thinks in LPS.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ..errors import ImageError, MissingFileError
from .dicom_geometry import lps_to_ras
from .grid import size_text
from .voxel_checks import check_affine, check_finite
from .whole_file import refuse_sources, whole_file

ITK_SUFFIXES: Final = (".nrrd", ".nhdr", ".mha", ".mhd")
_WRITTEN_SUFFIXES: Final = (".nrrd", ".mha")
_WRITTEN_DTYPES: Final = ("uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")
# Types of which ITK's Python wheels have no images (on any system, or on some), and what they are in NumPy.
_NOT_WRAPPED: Final = {
    "char": "int8",
    "long": "int64",
    "long_long": "int64",
    "unsigned_long": "uint64",
    "unsigned_long_long": "uint64",
}
_EXACT_IN_FLOAT64: Final = 2**53
# What places a MetaImage volume, by its names of today and before.
_META_PLACE: Final = (("TransformMatrix", "Rotation", "Orientation"), ("Offset", "Position", "Origin"))
_META_HEADER_BYTES: Final = 2**16
_LPS_OF: Final = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@dataclass(frozen=True, eq=False)
class ItkImage:
    """A file that ITK reads, of one gray image.

    Attributes:
        voxels: (i, j) or (i, j, k) in the dtype of the file.
        affine: (4, 4) float64, from voxel index to RAS mm of the voxel's centre.
        path: Where it was read.
    """

    voxels: npt.NDArray[Any] = field(repr=False)
    affine: npt.NDArray[np.float64]
    path: Path


def is_itk_name(path: str | os.PathLike[str]) -> bool:
    """Return whether a file is named as NRRD or MetaImage."""
    return Path(path).suffix.lower() in ITK_SUFFIXES


def read_itk_image(path: str | os.PathLike[str]) -> ItkImage:
    """Read an NRRD or MetaImage file as it is, or refuse it.

    Args:
        path: A file named `.nrrd`, `.nhdr`, `.mha` or `.mhd`; the voxels of `.nhdr` and `.mhd` lie in files beside it.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If it is empty, cut short, damaged or of another format; has other than two or three axes, or more
            than one channel; does not say where its axes point (a volume of NRRD whose `space` is not LPS, RAS or LAS,
            one of MetaImage without `TransformMatrix` or `Offset`) or says two things of it; or holds NaN, infinity, or
            64-bit integers beyond 2**53.
    """
    import itk  # takes a second, which who reads no such file need not wait

    path = Path(path)
    if not is_itk_name(path):
        raise ImageError(f"{path} is not named as NRRD or MetaImage; expected one of {', '.join(ITK_SUFFIXES)}")
    if not path.is_file():
        raise MissingFileError(f"image {path} not found or not a file; check the path")
    if path.stat().st_size == 0:
        raise ImageError(f"image {path} is empty (0 bytes); expected NRRD or MetaImage; copy it again")
    try:
        component = _checked_component(path)
        loaded = itk.imread(os.fspath(path), pixel_type=itk.D if component in _NOT_WRAPPED else None)
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    # ITK's arrays have the slowest axis first.
    voxels = np.ascontiguousarray(itk.array_from_image(loaded).T)
    if component in _NOT_WRAPPED:
        if np.abs(voxels).max() >= _EXACT_IN_FLOAT64:
            raise ImageError(
                f"image {path} holds 64-bit integers beyond 2**53, which cannot be read exactly; save it with smaller "
                "numbers, or as NIfTI"
            )
        voxels = voxels.astype(_NOT_WRAPPED[component])
    check_finite(f"image {path}", voxels)
    affine = np.eye(4)
    axes = voxels.ndim
    affine[:axes, :axes] = itk.array_from_matrix(loaded.GetDirection()) * np.array(loaded.GetSpacing())
    affine[:axes, 3] = loaded.GetOrigin()
    affine = lps_to_ras(affine)
    check_affine(f"image {path}", affine)
    return ItkImage(voxels, affine, path)


def write_itk_image(
    path: str | os.PathLike[str],
    voxels: npt.ArrayLike,
    like: ItkImage | npt.ArrayLike,
    *,
    overwrite: bool = False,
) -> None:
    """Write an image or a mask as NRRD or MHA, compressed without loss, in its own dtype.

    Args:
        path: `.nrrd` or `.mha`.
        voxels: (i, j, k), or (i, j) as one slice of a volume. Booleans become uint8 of 0 and 1; uint8, 16 and 32 bit
            integers, float32 and float64 stay what they are.
        like: The image whose grid it lies on, whose size is demanded; or an affine, (4, 4) from voxel index to RAS mm.
        overwrite: Replace a file that is already there, but for `like` itself.

    Raises:
        ImageError: If the voxels do not fit `like`, or the format, or hold NaN or infinity; or the affine is not finite
            or flattens the voxels.
        OutputError: If the file exists and `overwrite` is not set, is `like` itself, or cannot be written.
    """
    import itk

    path = Path(path)
    if path.suffix.lower() not in _WRITTEN_SUFFIXES:
        raise ImageError(f"cannot write {path}: expected a name that ends in {' or '.join(_WRITTEN_SUFFIXES)}")
    array = np.asarray(voxels)
    array = array.astype(np.uint8 if array.dtype == np.bool_ else array.dtype.newbyteorder("="), copy=False)
    if array.dtype.name not in _WRITTEN_DTYPES:
        raise ImageError(
            f"cannot write {path}: it holds {array.dtype} values; expected one of {', '.join(_WRITTEN_DTYPES)}; "
            "convert them first, or write NIfTI"
        )
    if array.ndim not in (2, 3) or array.size == 0:
        raise ImageError(
            f"cannot write {path}: the array has the shape {array.shape}; expected two or three axes with at least one "
            "voxel; drop other axes first"
        )
    if isinstance(like, ItkImage) and array.shape != like.voxels.shape:
        raise ImageError(
            f"cannot write {path}: {size_text(array.shape)} voxels do not fit image {like.path} of "
            f"{size_text(like.voxels.shape)}; write what was computed from this image"
        )
    affine = like.affine if isinstance(like, ItkImage) else np.asarray(like, np.float64)
    check_finite(f"cannot write {path}: the array", array)
    check_affine(f"cannot write {path}: the image", affine)
    volume = array if array.ndim == 3 else array[..., np.newaxis]
    # `itk.image_from_array` swaps the axes of a single row of voxels, of which it cannot tell which runs fastest.
    image = itk.Image[itk.support.types.itkCType.GetCTypeForDType(array.dtype), 3].New()
    image.SetRegions([int(length) for length in volume.shape])
    image.Allocate()
    itk.array_view_from_image(image)[...] = volume.T
    lps = lps_to_ras(affine)  # the same two flips lead back
    spacing_mm = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing_mm.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing_mm)))
    if isinstance(like, ItkImage):
        refuse_sources(path, [like.path])
    with whole_file(path, overwrite=overwrite) as partial:
        try:
            itk.imwrite(image, os.fspath(partial), compression=True)
        except RuntimeError as error:
            raise OSError(_reason(error)) from error


def _checked_component(path: Path) -> str:
    """Return ITK's name of the type of the voxels, after a look at the header."""
    import itk

    reader = itk.ImageIOFactory.CreateImageIO(os.fspath(path), itk.CommonEnums.IOFileMode_ReadMode)
    if reader is None:
        raise ImageError(
            f"image {path} is neither NRRD nor MetaImage, whatever its name says; copy or convert it again"
        )
    reader.SetFileName(os.fspath(path))
    reader.ReadImageInformation()
    axes, channels = int(reader.GetNumberOfDimensions()), int(reader.GetNumberOfComponents())
    if axes not in (2, 3):
        raise ImageError(
            f"image {path} has {axes} axes; expected two or three: one image, no time series; save one volume as its "
            "own file"
        )
    if channels != 1:
        raise ImageError(
            f"image {path} has {channels} channels a voxel (colour, or a vector); expected gray; save one as its "
            "own file"
        )
    if axes == 3 and path.suffix.lower() in (".nrrd", ".nhdr"):
        _check_space(path, reader)
    elif axes == 3:
        _check_transform(path, reader)
    return str(reader.GetComponentTypeAsString(reader.GetComponentType()))


def _check_space(path: Path, reader: Any) -> None:
    """Refuse an NRRD volume in another space than LPS, RAS and LAS, which ITK brings to LPS, and takes no other for."""
    fields = reader.GetMetaDataDictionary()
    space = str(fields["NRRD_space"]) if fields.HasKey("NRRD_space") else None
    if space != "left-posterior-superior":
        found = "an NRRD without 'space'" if space is None else f"its NRRD 'space' is {space!r}"
        raise ImageError(
            f"image {path} does not say where its axes point ({found}; expected LPS, RAS or LAS), so that left and "
            "right may be confused; put in space, space directions and space origin once you know"
        )


def _check_transform(path: Path, reader: Any) -> None:
    """Refuse a MetaImage volume that does not say where it lies, or says two things of it."""
    with path.open("rb") as file:
        header = file.read(_META_HEADER_BYTES).partition(b"ElementDataFile")[0].decode("latin-1")
    fields = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in header.splitlines())}
    missing = [names[0] for names in _META_PLACE if not fields.keys() & set(names)]
    if missing:
        raise ImageError(
            f"image {path} does not say where its axes point (a MetaImage without {' and '.join(missing)}), so that "
            "left and right may be confused; put them in once you know"
        )
    stated = fields.get("AnatomicalOrientation", "").upper()
    if len(stated) != 3 or not set(stated) <= set(_LPS_OF):
        return  # absent, or '???'
    directions = [reader.GetDirection(axis) for axis in range(3)]
    # The letters say where an axis comes from.
    if any(float(np.dot(_LPS_OF[letter], axis)) >= 0 for letter, axis in zip(stated, directions, strict=True)):
        raise ImageError(
            f"image {path} says in AnatomicalOrientation that its axes come from {stated}, and otherwise in "
            "TransformMatrix, so that left and right may be confused; take out the wrong one once you know"
        )


def _unreadable(path: Path, error: RuntimeError) -> ImageError:
    return ImageError(
        f"image {path} cannot be read as NRRD or MetaImage: it is cut short or damaged, or its file of voxels is "
        f"missing ({_reason(error).replace(os.fspath(path), 'the file')}); copy it again"
    )


def _reason(error: RuntimeError) -> str:
    """Return the innermost of what ITK says, without the place in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip() and not line.startswith("Reason:")]
    return re.sub(r"^.*\(0x[0-9a-f]+\): *", "", lines[-1] if lines else "no reason given")[:160]
