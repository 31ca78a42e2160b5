"""Writing segmentations beside the images they belong to: masks, instances and probabilities, as PNG or TIFF.

A TIFF holds one page for each page of the image, compressed without loss (Deflate). Files are written whole or not at
all.
"""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from ..errors import ImageError
from .raster import PNG_SUFFIXES, RasterImage, check_raster_suffix
from .whole_file import whole_file

# Beyond this a TIFF needs 64-bit offsets; what compression saves is not known beforehand.
CLASSIC_TIFF_BYTES = 2**32 - 2**25


def write_mask(
    path: str | os.PathLike[str], mask: ArrayLike, *, like: RasterImage | None = None, overwrite: bool = False
) -> None:
    """Write a mask or class indices as uint8.

    Args:
        path: `.png` for one page, `.tif` or `.tiff` for one or more.
        mask: (row, column) or (page, row, column). Booleans become 0 and 255; integers, in 0..255, stay as they are.
        like: The image it belongs to, whose pages and size it must have.
        overwrite: Replace a file that is already there.

    Raises:
        ImageError: If the mask does not fit `like`, the format or its range.
        OutputError: If the file exists and `overwrite` is not set, or cannot be written.
    """
    pages = _pages(path, np.asarray(mask), "bui")
    if pages.dtype.kind == "b":
        pages = pages.astype(np.uint8) * np.uint8(255)
    _check_range(path, pages, 255, "write instances instead, or fewer classes")
    _write(path, pages.astype(np.uint8, copy=False), like, overwrite)


def write_instances(
    path: str | os.PathLike[str], instances: ArrayLike, *, like: RasterImage | None = None, overwrite: bool = False
) -> None:
    """Write instance numbers as uint16, or as uint32 where they exceed 65535, which only TIFF can hold.

    Args:
        path: `.png` for one page, `.tif` or `.tiff` for one or more.
        instances: (row, column) or (page, row, column) integers from 0; 0 is background.
        like: The image they belong to, whose pages and size they must have.
        overwrite: Replace a file that is already there.

    Raises:
        ImageError: If the array does not fit `like`, the format or its range.
        OutputError: If the file exists and `overwrite` is not set, or cannot be written.
    """
    pages = _pages(path, np.asarray(instances), "ui")
    if _is_png(path):
        _check_range(path, pages, 2**16 - 1, "write a TIFF instead")
    _check_range(path, pages, 2**32 - 1, "number them anew")
    _write(path, pages.astype(np.uint16 if pages.max() < 2**16 else np.uint32, copy=False), like, overwrite)


def write_probability(
    path: str | os.PathLike[str], probability: ArrayLike, *, like: RasterImage | None = None, overwrite: bool = False
) -> None:
    """Write probabilities as float32 TIFF.

    Args:
        path: `.tif` or `.tiff`.
        probability: (row, column), (page, row, column) or (page, class, row, column), in [0, 1].
        like: The image they belong to, whose pages and size they must have.
        overwrite: Replace a file that is already there.

    Raises:
        ImageError: If the array does not fit `like`, the format or its range.
        OutputError: If the file exists and `overwrite` is not set, or cannot be written.
    """
    if _is_png(path):
        raise ImageError(f"cannot write probabilities to {path}: PNG holds no real numbers; name a .tif file")
    pages = _pages(path, np.asarray(probability), "f", max_axes=4)
    lowest, highest = pages.min(), pages.max()
    if not (lowest >= 0 and highest <= 1):
        raise ImageError(
            f"cannot write {path}: it holds values from {lowest} to {highest}; expected probabilities in [0, 1]; "
            "apply the activation first"
        )
    _write(path, pages.astype(np.float32, copy=False), like, overwrite)


def _is_png(path: str | os.PathLike[str]) -> bool:
    return Path(path).suffix.lower() in PNG_SUFFIXES


def _pages(path: str | os.PathLike[str], pixels: NDArray[Any], kinds: str, max_axes: int = 3) -> NDArray[Any]:
    """Check kind and axes, and add the axis of pages to a single page."""
    names = {"b": "booleans", "u": "integers", "i": "integers", "f": "real numbers"}
    if pixels.dtype.kind not in kinds:
        wanted = " or ".join(dict.fromkeys(names[kind] for kind in kinds))
        raise ImageError(f"cannot write {path}: it holds {pixels.dtype} values; expected {wanted}; convert them first")
    if not 2 <= pixels.ndim <= max_axes or pixels.size == 0:
        raise ImageError(
            f"cannot write {path}: the array has the shape {pixels.shape}; expected (row, column) or "
            "(page, row, column) with at least one pixel; drop other axes first"
        )
    return pixels if pixels.ndim > 2 else pixels[np.newaxis]


def _check_range(path: str | os.PathLike[str], pages: NDArray[Any], highest: int, way_out: str) -> None:
    if pages.min() < 0 or pages.max() > highest:
        raise ImageError(
            f"cannot write {path}: it holds values from {pages.min()} to {pages.max()}; expected 0..{highest}; "
            f"{way_out}"
        )


def _write(path: str | os.PathLike[str], pages: NDArray[Any], like: RasterImage | None, overwrite: bool) -> None:
    """Write (page, [class,] row, column) in the format that the suffix names."""
    path = Path(path)
    check_raster_suffix(path)
    if like is not None and (pages.shape[0], *pages.shape[-2:]) != (like.pages, *like.size_px):
        raise ImageError(
            f"cannot write {path}: {_described(pages.shape[0], *pages.shape[-2:])} do not fit image {like.path} of "
            f"{_described(like.pages, *like.size_px)}; write what was computed from this image"
        )
    if _is_png(path):
        if pages.shape[0] > 1:
            raise ImageError(f"cannot write {path}: a PNG holds one page, not {pages.shape[0]}; name a .tif file")
        encoded = io.BytesIO()
        Image.fromarray(pages[0]).save(encoded, format="PNG")
        with whole_file(path, overwrite=overwrite) as partial:
            partial.write_bytes(encoded.getbuffer())
        return
    with whole_file(path, overwrite=overwrite) as partial:
        tifffile.imwrite(
            partial,
            pages,
            photometric="minisblack",
            # Classes are the samples of a page.
            planarconfig="separate" if pages.ndim == 4 and pages.shape[1] > 1 else None,
            compression="zlib",
            # No description of tifffile's own: pages and samples say it all, to any reader.
            metadata=None,
            bigtiff=pages.nbytes > CLASSIC_TIFF_BYTES,
            ome=False,
            software="unet-pipeline",
        )


def _described(pages: int, rows: int, columns: int) -> str:
    return f"{pages} page{'s' if pages > 1 else ''} of {rows} × {columns} px"
