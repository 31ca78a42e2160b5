"""Pixels in a raw file, read and written by rows; not mapped, so that memory stays flat and a full disk is an error."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import OutputError


class RawPixels:
    """An array in a file of its own: the results of a long run before they take their final form.

    Memory maps are not used: what is written through them counts as memory of the process, and a full disk kills it.

    Args:
        path: The file, which exists.
        shape: (row, column) or (plane, row, column).
        dtype: Of the pixels.

    Raises:
        OutputError: If the file is not there, or has another size.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        self.path = path
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._row_bytes = shape[-1] * self.dtype.itemsize
        size_bytes = math.prod(shape) * self.dtype.itemsize
        if not path.is_file() or path.stat().st_size != size_bytes:
            raise OutputError(
                f"unfinished results {path} are gone or damaged: expected a file of {size_bytes} bytes; "
                f"remove {path.parent} to start anew"
            )
        self._file = path.open("r+b", buffering=0)

    @classmethod
    def make(cls, path: Path, shape: tuple[int, ...], dtype: DTypeLike) -> RawPixels:
        """Make the file anew, with zeros, and take all of its space on the disk at once.

        Raises:
            OutputError: If it cannot be made.
        """
        size_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        try:
            with path.open("wb") as file:
                _allocate(file.fileno(), size_bytes)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise OutputError(
                f"cannot keep {size_bytes / 1e9:.3g} GB of unfinished results in {path.parent}: {error.strerror}; "
                f"check the free space and the permissions of {path.parent.parent}, or write elsewhere"
            ) from error
        return cls(path, shape, dtype)

    def __enter__(self) -> RawPixels:
        """Return the array."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """Return rows of all planes: `pixels[..., first:last, :]`.

        Raises:
            OutputError: If they cannot be read.
        """
        first, last, _ = index[-2].indices(self.shape[-2])
        pixels = np.empty((math.prod(self.shape[:-2]), last - first, self.shape[-1]), self.dtype)
        for number, plane in enumerate(pixels):
            self._file.seek(self._position(number, first))
            if self._file.readinto(plane.reshape(-1).view(np.uint8)) != plane.nbytes:
                raise OutputError(
                    f"unfinished results {self.path} are cut short; remove {self.path.parent} to start anew"
                )
        return pixels.reshape(*self.shape[:-2], *pixels.shape[1:])[..., index[-1]]

    def __setitem__(self, index: tuple[Any, ...], pixels: NDArray[Any]) -> None:
        """Write whole rows of all planes: `pixels[..., first:last, :] = rows`."""
        first, last, _ = index[-2].indices(self.shape[-2])
        shape = (*self.shape[:-2], last - first, self.shape[-1])
        planes = np.broadcast_to(pixels, shape).astype(self.dtype, copy=False)
        for number, plane in enumerate(planes.reshape(-1, last - first, self.shape[-1])):
            self._file.seek(self._position(number, first))
            rest = plane.reshape(-1).view(np.uint8).data
            while rest:
                rest = rest[self._file.write(rest) :]

    def flush(self) -> None:
        """Wait until what was written has reached the disk."""
        os.fsync(self._file.fileno())

    def strips(self, rows: int) -> Iterator[NDArray[Any]]:
        """Read through all rows from top to bottom, `rows` at a time."""
        for first in range(0, self.shape[-2], rows):
            yield self[..., first : first + rows, :]

    def _position(self, plane: int, row: int) -> int:
        return (plane * self.shape[-2] + row) * self._row_bytes


def _allocate(descriptor: int, size_bytes: int) -> None:
    # What the disk cannot hold should be known before the first tile; macOS and Windows tell only in the end.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size_bytes)
    else:
        os.truncate(descriptor, size_bytes)
