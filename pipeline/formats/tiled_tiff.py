"""Writing TIFF files larger than memory: compressed tiles, of pages that come a strip at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from .masks import CLASSIC_TIFF_BYTES
from .whole_file import whole_file

TILE_PX = 256
"""Side of the tiles."""


def write_strips(
    path: str | os.PathLike[str],
    strips: Iterable[NDArray[Any]],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    *,
    overwrite: bool = False,
) -> None:
    """Write a TIFF as `write_mask` and its siblings do, with the same pixels, but in tiles and out of strips.

    Args:
        path: `.tif` or `.tiff`.
        strips: (row, column), `TILE_PX` rows each and the rest of the rows in the last one of a plane: from the top of
            the first plane to the end of the last; planes are the classes of a page.
        shape: (page, row, column) or (page, class, row, column).
        dtype: Of the pixels.
        overwrite: Replace a file that is already there.

    Raises:
        OutputError: If the file exists and `overwrite` is not set, or cannot be written.
    """
    size_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    with whole_file(path, overwrite=overwrite) as partial:
        tifffile.imwrite(
            partial,
            _tiles(strips),
            shape=shape,
            dtype=dtype,
            tile=(TILE_PX, TILE_PX),
            photometric="minisblack",
            planarconfig="separate" if len(shape) == 4 and shape[1] > 1 else None,
            compression="zlib",
            metadata=None,
            bigtiff=size_bytes > CLASSIC_TIFF_BYTES,
            ome=False,
            software="unet-pipeline",
            maxworkers=2,
            buffersize=2**24,
        )


def _tiles(strips: Iterable[NDArray[Any]]) -> Iterator[NDArray[Any]]:
    for strip in strips:
        for left in range(0, strip.shape[1], TILE_PX):
            yield strip[:, left : left + TILE_PX]
