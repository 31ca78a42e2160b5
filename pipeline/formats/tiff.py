"""Decoding TIFF with nothing taken on trust: what tifffile would fill with zeros or leave out in silence is refused.

tifffile answers a missing strip, an absent page of an OME set and a page list that breaks off with zeros or with fewer
pages, and a line in its log. Here the list of pages, the extent of every strip and the metadata must agree.
"""

from __future__ import annotations

import logging
import math
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..counted import counted
from ..errors import ImageError
from .samples import MAX_PAGE_PX, Samples, check_page_size, decoding

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Place of each axis in (page, sample, row, column), by tifffile's letters: time, depth and two letters for pages that
# no metadata names; channels and samples; Y and X.
_PLACES = {"T": 0, "Z": 0, "I": 0, "Q": 0, "C": 1, "S": 1, "Y": 2, "X": 3}
_ALPHA = (1, 2)  # ExtraSamples: associated and unassociated alpha (TIFF 6.0, section 18)
_ORIENTATION, _PHOTOMETRIC = 274, 262  # tag numbers


def decode_tiff(path: Path) -> Samples:
    """Decode a TIFF or BigTIFF of one image, or of one stack of equal pages.

    Accepted axes beside row and column: at most one of time, depth or unnamed pages, and at most one of channels or
    samples (ImageJ hyperstacks, OME-TIFF, tifffile's own description, plain pages). Of a pyramid the full resolution is
    read. Bits become 0 and 255, and palettes become RGB. "0 is white" is refused: the standard, Pillow, tifffile and
    ImageJ read it differently, and an inverted mask would go unnoticed.

    Args:
        path: A file that starts with a TIFF signature.

    Returns:
        All pages, in the dtype of the file.

    Raises:
        ImageError: If the file is cut short or damaged, holds several images, axes that cannot be placed, or colours
            that are neither gray with 0 as black, RGB nor palette.
    """
    with open_series(path) as series, decoding(path, "TIFF"):
        pixels = series.asarray(squeeze=False)
        if pixels.shape != tuple(series.get_shape(squeeze=False)):
            raise ImageError(
                f"image {path} holds pixels of shape {pixels.shape}, its metadata promise "
                f"{tuple(series.get_shape(squeeze=False))}; save it anew as plain TIFF"
            )
        return Samples(_to_brightness(path, _arrange(pixels, series), series.keyframe), _has_alpha(series))


@contextmanager
def open_series(path: Path, max_px: int | None = MAX_PAGE_PX) -> Iterator[Any]:
    """Give the one image or stack of a file, with all that can be checked before pixels are decoded.

    Args:
        path: A file that starts with a TIFF signature.
        max_px: Largest page that is accepted; None accepts any.

    Yields:
        tifffile's `TiffPageSeries`, whose file is open until the block ends.

    Raises:
        ImageError: As `decode_tiff`, but not for damaged pixels.
    """
    with ExitStack() as stack:
        with decoding(path, "TIFF"):
            with path.open("rb") as file:
                listed_pages = _count_pages(path, file)
            stack.enter_context(_quiet_tifffile())
            series = _single_series(path, stack.enter_context(tifffile.TiffFile(path)))
            check_page_size(path, series.keyframe.imagelength, series.keyframe.imagewidth, max_px)
            _check_pages(path, series, listed_pages)
            _check_colours(path, series)
            _check_axes(path, series)
        yield series


def stored_axes(series: Any) -> list[tuple[str, int]]:
    """Return letter and size of the axes in the order of the file, without those of size 1 unless they are Y or X."""
    axes = zip(series.get_axes(squeeze=False), series.get_shape(squeeze=False), strict=True)
    return [(axis, size) for axis, size in axes if size > 1 or axis in "YX"]


def _count_pages(path: Path, file: BinaryIO) -> int:
    """Follow the list of image file directories to its end (TIFF 6.0, section 2; BigTIFF)."""
    size_bytes = path.stat().st_size
    header = file.read(16)
    endian = "<" if header[:2] == b"II" else ">"
    if header[2:4] in (b"+\0", b"\0+"):
        pointer_at, pointer, entry_count, entry_bytes = 8, f"{endian}Q", f"{endian}Q", 20
    else:
        pointer_at, pointer, entry_count, entry_bytes = 4, f"{endian}I", f"{endian}H", 12

    def number_at(position: int, number: str) -> int:
        file.seek(position)
        content = file.read(struct.calcsize(number))
        if len(content) < struct.calcsize(number):
            raise ImageError(
                f"image {path} is cut short: its list of pages goes on at byte {position}, the file has {size_bytes} "
                "bytes; copy it again"
            )
        return int(struct.unpack(number, content)[0])

    starts: set[int] = set()
    start = number_at(pointer_at, pointer)
    while start:
        if start in starts:
            raise ImageError(f"image {path} is damaged: its list of pages runs in a circle; save it anew")
        starts.add(start)
        entries = number_at(start, entry_count)
        start = number_at(start + struct.calcsize(entry_count) + entries * entry_bytes, pointer)
    if not starts:
        raise ImageError(f"image {path} is a TIFF without a page; expected at least one; save it anew")
    return len(starts)


@contextmanager
def _quiet_tifffile() -> Iterator[None]:
    """Keep tifffile's log lines of this thread off standard error: what they tell of is checked here and raised."""
    reader = threading.get_ident()

    def is_from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != reader

    logger = logging.getLogger("tifffile")
    logger.addFilter(is_from_elsewhere)
    try:
        yield
    finally:
        logger.removeFilter(is_from_elsewhere)


def _single_series(path: Path, tif: Any) -> Any:
    """Return the one image or stack of a file."""
    if len(tif.series) != 1:
        found = ", ".join(f"{series.axes} {series.shape} {series.dtype}" for series in tif.series[:4])
        raise ImageError(
            f"image {path} holds {len(tif.series)} images that differ in size or storage ({found}); expected one image "
            "or one stack of equal pages; save the wanted one as its own file"
        )
    series = tif.series[0]
    describers = {"ImageJ": tif.is_imagej, "OME": tif.is_ome, "tifffile": tif.is_shaped}
    declared = [name for name, is_present in describers.items() if is_present]
    if declared and series.kind in ("generic", "uniform"):
        raise ImageError(
            f"image {path} does not hold the pages that its {declared[0]} metadata promise; copy it again, "
            "or save it anew as plain TIFF"
        )
    if series.is_multifile:
        raise ImageError(
            f"image {path} is one part of an image in several files; expected all pages in one file; "
            "save it anew as a single TIFF"
        )
    return series


def _check_pages(path: Path, series: Any, listed_pages: int) -> None:
    """Refuse pages that are missing, left over, without pixels, or reach beyond the end of the file."""
    pages = list(series)
    missing = [index for index, page in enumerate(pages) if page is None]
    if missing:
        raise ImageError(
            f"image {path} lacks page {missing[0] + 1} of the {len(pages)} that its metadata promise; copy it again, "
            "with all files that belong to it"
        )
    # ImageJ keeps a stack behind a single directory; a pyramid lists its levels beside the image or below it.
    if listed_pages not in (1, len(pages), sum(len(level) for level in series.levels)):
        raise ImageError(
            f"image {path} holds {counted(listed_pages, 'page')}, its metadata promise {len(pages)}; save it anew as "
            "plain TIFF"
        )
    orientation = series.keyframe.tags.valueof(_ORIENTATION, 1)
    if orientation not in (0, 1):
        raise ImageError(
            f"image {path} is stored rotated or mirrored (Orientation {int(orientation)}); expected rows from "
            "the top left (Orientation 1); save it upright"
        )

    size_bytes = path.stat().st_size
    for number, page in enumerate(pages, start=1):
        if page.keyframe.is_contiguous:
            segments = [(page.dataoffsets[0], page.keyframe.nbytes)]
            expected = 1
        else:
            segments = list(zip(page.dataoffsets, page.databytecounts, strict=False))
            expected = math.prod(page.keyframe.chunked)
        if len(segments) < expected or any(offset < 1 or count < 1 for offset, count in segments):
            raise ImageError(
                f"image {path} stores no pixels for some strips or tiles of page {number}; expected all of them; "
                "save it anew"
            )
        end = max(offset + count for offset, count in segments)
        if end > size_bytes:
            raise ImageError(
                f"image {path} is cut short: page {number} ends at byte {end}, the file has {size_bytes} bytes; "
                "copy it again"
            )


def _check_colours(path: Path, series: Any) -> None:
    """Refuse samples that are no brightness."""
    page = series.keyframe
    photometric = tifffile.PHOTOMETRIC
    readable = [photometric.MINISBLACK, photometric.RGB, photometric.PALETTE]
    # JPEG stores YCbCr, which its decoder turns into RGB.
    if page.compression in (6, 7):
        readable.append(photometric.YCBCR)
    if page.photometric == photometric.MINISWHITE and _PHOTOMETRIC in page.tags:
        raise ImageError(
            f"image {path} stores 0 as white (WhiteIsZero), which programs read differently; expected 0 as black; "
            "save it as 8-bit gray without an inverting lookup table"
        )
    if page.photometric not in readable and _PHOTOMETRIC in page.tags:
        raise ImageError(
            f"image {path} stores colours as {getattr(page.photometric, 'name', page.photometric)}; expected gray, RGB "
            "or a palette; convert it first"
        )
    if page.photometric == photometric.RGB and len(page.extrasamples) > 1:
        raise ImageError(
            f"image {path} stores {counted(len(page.extrasamples), 'sample')} a pixel beside RGB; expected opacity at "
            "most; save its channels as a stack of gray pages"
        )
    if series.dtype.kind not in "buif":
        raise ImageError(
            f"image {path} holds {series.dtype} pixels; expected integers or real numbers; convert it first"
        )


def _check_axes(path: Path, series: Any) -> None:
    """Refuse axes that cannot be placed as (page, sample, row, column)."""
    stored = stored_axes(series)
    places = [_PLACES.get(axis) for axis, _ in stored]
    if None in places or len(set(places)) < len(places) or not {2, 3} <= set(places):
        found = " × ".join(f"{size} {tifffile.TIFF.AXES_NAMES.get(axis, axis)}" for axis, size in stored)
        raise ImageError(
            f"image {path} has the axes {found}; expected rows, columns, at most one axis of pages (time or depth) and "
            "at most one of channels; split it first"
        )


def _arrange(pixels: NDArray[Any], series: Any) -> NDArray[Any]:
    """Bring the pixels of a series to (page, sample, row, column)."""
    stored = stored_axes(series)
    places = [_PLACES[axis] for axis, _ in stored]
    arranged = pixels.reshape([size for _, size in stored]).transpose(np.argsort(places))
    absent = tuple(place for place in range(4) if place not in places)
    return np.expand_dims(arranged, absent)


def _to_brightness(path: Path, pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    """Replace palette indices by colours, and single bits by 0 and 255."""
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        return _look_up(path, pixels, page)
    return pixels.astype(np.uint8) * np.uint8(255) if pixels.dtype.kind == "b" else pixels


def _look_up(path: Path, pixels: NDArray[Any], page: Any) -> NDArray[Any]:
    """Replace palette indices by their colours, as uint8."""
    if page.colormap is None or pixels.shape[1] != 1 or page.bitspersample > 8:
        raise ImageError(
            f"image {path} has a palette that is missing or not of 8 bits; expected one of up to 256 colours; "
            "save it as plain gray"
        )
    # TIFF 6.0, section 5: 0..65535, red before green before blue. Some writers store 0..255 all the same.
    colours = page.colormap if page.colormap.max() < 256 else page.colormap >> 8
    return np.moveaxis(colours.astype(np.uint8)[:, pixels[:, 0]], 0, 1)


def _has_alpha(series: Any) -> bool:
    """Tell whether the last sample is opacity; a fourth one beside RGB is, even where the file does not say so."""
    page = series.keyframe
    if page.photometric == tifffile.PHOTOMETRIC.MINISBLACK:
        return page.samplesperpixel == 2 and page.extrasamples[:1] in [(code,) for code in _ALPHA]
    return len(page.extrasamples) == 1
