"""Finding Zarr chunks that are cut short behind Blosc, which decodes them all the same: its length is never checked."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import zarr

from ..errors import ImageError

_HEADER = struct.Struct("<12xI")  # the last of its fields is the length of the whole chunk


def check_blosc_chunks(path: Path, folder: Path, array: zarr.Array[Any], index: Sequence[slice]) -> None:
    """Refuse chunks that do not have the length that their header tells. Other compressors notice it themselves.

    Args:
        path: The image, for the message.
        folder: Where the array is.
        array: The array.
        index: The part of it that is about to be read.

    Raises:
        ImageError: If a chunk is cut short.
    """
    names = [type(compressor).__name__ for compressor in array.compressors]
    # A compressor after Blosc wraps what it wrote, header and all.
    if array.shards is not None or not names or "Blosc" not in names[-1]:
        return
    for key in _keys(array, index):
        chunk = folder / key
        if not chunk.exists():  # it counts as its fill value
            continue
        with chunk.open("rb") as file:
            header = file.read(_HEADER.size)
        size_bytes = chunk.stat().st_size
        expected = _HEADER.unpack(header)[0] if len(header) == _HEADER.size else _HEADER.size
        if size_bytes != expected:
            raise ImageError(
                f"image {path} is cut short: its chunk {chunk.relative_to(path)} has {size_bytes} bytes; expected "
                f"{expected}; copy it again"
            )


def _keys(array: zarr.Array[Any], index: Sequence[slice]) -> Iterator[str]:
    """Give the names of the chunks that hold a part of an array."""
    bounds = (part.indices(size) for part, size in zip(index, array.shape, strict=True))
    ranges = (
        range(first // chunk, -(-last // chunk)) for (first, last, _), chunk in zip(bounds, array.chunks, strict=True)
    )
    for place in itertools.product(*ranges):
        yield array.metadata.encode_chunk_key(place)
