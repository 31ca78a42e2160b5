"""Rows of the gray pages of a TIFF, decoded strip by strip or tile by tile, for files larger than memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from ..errors import ImageError
from .samples import decoding
from .tiff import stored_axes

MAX_CHUNK_PX = 2**26
"""Largest strip or tile that is decoded for the sake of a few of its rows."""

_JPEG = (6, 7, 33007, 34892)  # values of Compression whose tables may lie apart


def has_rows(series: Any) -> bool:
    """Tell whether a series consists of gray pages, one sample a pixel, that can be decoded a few rows at a time.

    Args:
        series: What `open_series` gives.
    """
    page = series.keyframe
    stored = stored_axes(series)
    _, depth, rows, columns, samples = page.shaped
    # A file without the tag counts as "0 is black"; where it says "0 is white", it has been refused before.
    is_gray = page.photometric in (tifffile.PHOTOMETRIC.MINISBLACK, tifffile.PHOTOMETRIC.MINISWHITE)
    listed = len(list(series))
    # ImageJ keeps a stack behind a single directory: its pages lie one after another.
    is_listed = listed == _page_count(series) or (listed == 1 and _is_raw(page) and series.dataoffset is not None)
    is_plain = page.samplesperpixel == depth == samples == 1 and is_listed
    is_placed = len(stored) in (2, 3) and stored[-2:] == [("Y", rows), ("X", columns)]
    is_stack = len(stored) == 2 or stored[0][0] not in "CS"  # channels and samples are no pages
    is_one_stream = page.jpegheader is not None  # NDPI keeps all tiles in one JPEG
    is_divided = _is_raw(page) or math.prod(page.chunks) <= MAX_CHUNK_PX
    return is_gray and is_plain and is_placed and is_stack and not is_one_stream and is_divided


def page_rows(path: Path, series: Any) -> tuple[TiffRows, ...]:
    """Return the pages of a series of which `has_rows` is true; its file must stay open.

    Args:
        path: The file, for messages.
        series: What `open_series` gives.
    """
    pages = list(series)
    if len(pages) == _page_count(series):
        return tuple(TiffRows(path, page, page.dataoffsets[0]) for page in pages)
    starts = (series.dataoffset + number * pages[0].nbytes for number in range(_page_count(series)))
    return tuple(TiffRows(path, pages[0], start) for start in starts)


class TiffRows:
    """Rows of one page.

    Args:
        path: The file, for messages.
        page: The page, or the one whose directory stands for it.
        start: Where its pixels begin, in bytes; matters where they lie as they are in memory.

    Attributes:
        size_px: (row, column).
        dtype: Of the pixels, in native byte order; uint8 of 0 and 255 for single bits.
        chunk_rows: Rows that are decoded together.
    """

    def __init__(self, path: Path, page: Any, start: int) -> None:
        self.path = path
        self._start = start
        self._page = page
        self._keyframe = page.keyframe
        self._size_bytes = path.stat().st_size
        self.size_px = (int(self._keyframe.imagelength), int(self._keyframe.imagewidth))
        stored = np.dtype(self._keyframe.dtype)
        self._is_bits = stored.kind == "b"
        self.dtype = np.dtype(np.uint8) if self._is_bits else stored.newbyteorder("=")
        self.chunk_rows = 1 if _is_raw(self._keyframe) else int(self._keyframe.chunks[0])

    def read(self, first: int, last: int) -> NDArray[Any]:
        """Return rows `first` to `last` (not included), (row, column).

        Raises:
            ImageError: If they cannot be decoded, or the file has shrunk.
        """
        with decoding(self.path, "TIFF"):
            there = self.path.stat().st_size
            if there < self._size_bytes:
                raise ImageError(
                    f"image {self.path} has shrunk from {self._size_bytes} to {there} bytes while it is read; copy it "
                    "again, and leave it alone until the run ends"
                )
            pixels = self._read_raw(first, last) if _is_raw(self._keyframe) else self._decode(first, last)
        return pixels.astype(np.uint8) * np.uint8(255) if self._is_bits else pixels

    def _read_raw(self, first: int, last: int) -> NDArray[Any]:
        columns = self.size_px[1]
        file = self._page.parent.filehandle
        stored = self.dtype.newbyteorder(self._page.parent.byteorder)
        file.seek(self._start + first * columns * stored.itemsize)
        pixels = file.read_array(stored, (last - first) * columns)
        return np.asarray(pixels, self.dtype).reshape(last - first, columns)

    def _decode(self, first: int, last: int) -> NDArray[Any]:
        """Decode the strips or tiles that hold the rows, one at a time."""
        columns = self.size_px[1]
        pixels = np.empty((last - first, columns), self._keyframe.dtype)
        across = self._keyframe.chunked[1]
        chosen = range(first // self.chunk_rows * across, ((last - 1) // self.chunk_rows + 1) * across)
        is_jpeg = self._keyframe.compression in _JPEG
        tables = {"jpegtables": self._page.jpegtables} if is_jpeg else {}
        segments = self._page.parent.filehandle.read_segments(
            [self._page.dataoffsets[index] for index in chosen],
            [self._page.databytecounts[index] for index in chosen],
            indices=list(chosen),
            buffersize=2**24,
        )
        for encoded, index in segments:
            chunk, (_, _, top, left, _), _ = self._keyframe.decode(encoded, index, **tables)
            rows = slice(max(top, first), min(top + chunk.shape[1], last))
            width = min(chunk.shape[2], columns - left)
            pixels[rows.start - first : rows.stop - first, left : left + width] = chunk[
                0, rows.start - top : rows.stop - top, :width, 0
            ]
        return pixels


def _page_count(series: Any) -> int:
    stored = stored_axes(series)
    return 1 if len(stored) == 2 else int(stored[0][1])


def _is_raw(page: Any) -> bool:
    """Tell whether rows lie in the file one after another as they are in memory, up to byte order."""
    return bool(page.is_contiguous and page.fillorder == 1 and page.predictor == 1)
