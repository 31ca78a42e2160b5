"""Images that stay in their files: gray pages read by slices, of TIFF and OME-Zarr larger than memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..counted import agreed, counted
from ..errors import ImageError
from .blosc_chunks import check_blosc_chunks
from .ome_zarr import OmeArray, folder_state, is_zarr_name, open_ome_zarr
from .raster import raster_format
from .samples import decoding
from .tiff import open_series
from .tiff_rows import MAX_CHUNK_PX, has_rows, page_rows

_STRIP_PX = 2**22


@dataclass(frozen=True, eq=False)
class StoredPage:
    """One gray page, read by slices: `page[first:last, :]` or `page[..., first:last, :]`.

    Every read is checked: what cannot be decoded, and NaN and infinity, is an `ImageError` that names the file.

    Attributes:
        path: The image.
        shape: (row, column).
        dtype: Of the pixels, in native byte order.
        chunk_rows: Rows that are stored together.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype[Any]
    chunk_rows: int
    _read: Callable[[int, int], NDArray[Any]] = field(repr=False)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """Return the pixels of a slice of rows and a slice of columns.

        Raises:
            ImageError: If they cannot be read, or are not finite.
        """
        *_, rows, columns = index
        first, last, _ = rows.indices(self.shape[0])
        pixels = self._read(first, last)
        if self.dtype.kind == "f" and not np.isfinite(pixels).all():
            count = pixels.size - int(np.isfinite(pixels).sum())
            raise ImageError(
                f"image {self.path} holds {counted(count, 'pixel')} that {agreed(count, 'is', 'are')} NaN or infinite "
                f"in rows {first}..{last - 1}; expected finite numbers; replace {agreed(count, 'it', 'them')} first"
            )
        return pixels[:, columns]

    def strips(self, multiple: int = 1) -> Iterator[NDArray[Any]]:
        """Read through the page from top to bottom.

        Args:
            multiple: What the rows of each strip but the last are a multiple of.

        Yields:
            (row, column), about 4 million pixels at a time.
        """
        step = multiple * -(-self.chunk_rows // multiple)
        step *= max(_STRIP_PX // (step * self.shape[1]), 1)
        for first in range(0, self.shape[0], step):
            yield self[first : first + step, :]


@dataclass(frozen=True, eq=False)
class StoredImage:
    """An image whose pixels stay in its file.

    Attributes:
        path: File or folder.
        pages: All of one size.
        state: A text that changes with the content: sizes and times of its files when it was opened.
    """

    path: Path
    pages: tuple[StoredPage, ...]
    state: str

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width, in pixels: (row, column)."""
        return self.pages[0].shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's type of the pixels."""
        return self.pages[0].dtype

    def check_unchanged(self) -> None:
        """Refuse an image that was written to since it was opened.

        Raises:
            ImageError: If it was.
        """
        now = _state(self.path)
        if now != self.state:
            raise ImageError(
                f"image {self.path} has changed while it was read (from {self.state} to {now}); leave it alone until "
                "the run ends, and start anew with --force (in Python: overwrite=True)"
            )


def is_streamed(path: str | os.PathLike[str], in_memory_px: int) -> bool:
    """Tell whether an image is to be read by slices: OME-Zarr, and TIFF of large or many gray pages.

    Palettes, colours and opacity, which only the whole image can tell to be gray, are not; nor are PNG, and pages in a
    single large strip.

    Args:
        path: An image, as `find_inputs` gives it.
        in_memory_px: Most pixels, of all pages, that are held in memory.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: As `open_image`.
    """
    path = Path(path)
    if is_zarr_name(path):
        return True
    if raster_format(path) == "PNG":
        return False
    with open_series(path, max_px=None) as series:
        return bool(series.size > in_memory_px and has_rows(series))


@contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[StoredImage]:
    """Give a TIFF of gray pages or an OME-Zarr folder whose pixels are read when they are asked for.

    All that `read_image` checks of a TIFF is checked but the pixels, and pages may have any size. Bits give 0 and 255.

    Args:
        path: A file named `.tif` or `.tiff`, or a folder named `.zarr`.

    Yields:
        The image; its file is closed when the block ends.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If the file is damaged, or its pages are not gray or cannot be read by rows.
    """
    path = Path(path)
    state = _state(path) if path.exists() else ""
    if is_zarr_name(path):
        yield StoredImage(path, _zarr_pages(path, open_ome_zarr(path)), state)
        return
    if raster_format(path) == "PNG":
        raise ImageError(f"image {path} is a PNG, which is not read by rows; read it whole, or save it as TIFF")
    with open_series(path, max_px=None) as series:
        if not has_rows(series):
            raise ImageError(
                f"image {path} cannot be read by rows: expected gray pages of one sample a pixel, in strips or tiles "
                f"of at most {MAX_CHUNK_PX} px; save it so, as tiled TIFF"
            )
        pages = (
            StoredPage(path, page.size_px, page.dtype, page.chunk_rows, page.read) for page in page_rows(path, series)
        )
        yield StoredImage(path, tuple(pages), state)


def _state(path: Path) -> str:
    if path.is_dir():
        return folder_state(path)
    status = path.stat()
    return f"{status.st_size} bytes, {status.st_mtime_ns}"


def _zarr_pages(path: Path, image: OmeArray) -> tuple[StoredPage, ...]:
    *_, rows, columns = (int(size) for size in image.array.shape)
    chunk_px = int(np.prod(image.array.chunks))
    if chunk_px > MAX_CHUNK_PX:
        raise ImageError(
            f"image {path} is stored in chunks of {chunk_px} px; expected at most {MAX_CHUNK_PX}; write it anew with "
            "smaller chunks, such as 1024 × 1024"
        )
    stored = np.dtype(image.array.dtype)
    dtype = np.dtype(np.uint8) if stored.kind == "b" else stored.newbyteorder("=")

    def read(place: tuple[int, ...], first: int, last: int) -> NDArray[Any]:
        index = (*(slice(page, page + 1) for page in place), slice(first, last), slice(None))
        with decoding(path, "Zarr"):
            check_blosc_chunks(path, image.folder, image.array, index)
            pixels = np.asarray(image.array[index]).reshape(last - first, columns)
        return pixels.astype(np.uint8) * np.uint8(255) if stored.kind == "b" else pixels.astype(dtype, copy=False)

    chunk_rows = int(image.array.chunks[-2])
    return tuple(StoredPage(path, (rows, columns), dtype, chunk_rows, partial(read, place)) for place in image.places)
