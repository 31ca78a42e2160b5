"""Decoding PNG with nothing taken on trust: every chunk is checked, then libpng (imagecodecs) decodes.

Not Pillow: for rows that the compressed pixels do not reach it gives zeros without a word, it stops before the end of
the file, and it reads colour of 16 bits as 8 (all seen with Pillow 13).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import imagecodecs
import numpy as np

from ..errors import ImageError
from .samples import Samples, check_page_size, decoding

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_READ_BYTES = 1 << 20
# All that pixels depend on. Others, such as colour profiles, have libpng write warnings to standard error.
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")


@dataclass(frozen=True)
class _CheckedFile:
    """What is left of a file when every chunk fits its checksum: the size, and the chunks that pixels depend on."""

    rows: int
    columns: int
    is_animated: bool
    content: bytes = field(repr=False)


def decode_png(path: Path) -> Samples:
    """Decode a PNG: gray of 1, 2 and 4 bits is spread over 0..255, palettes become RGB, 16 bits stay 16 bits.

    Args:
        path: A file that starts with the PNG signature.

    Returns:
        One page of uint8 or uint16 with 1 to 4 samples; the last one is opacity where the file stores any.

    Raises:
        ImageError: If the file is cut short or damaged, animated, or too large.
    """
    with decoding(path, "PNG"):
        with path.open("rb") as file:
            checked = _check_chunks(path, file)
        check_page_size(path, checked.rows, checked.columns)
        if checked.is_animated:
            raise ImageError(f"image {path} is an animation; expected one still image; save its frames as single files")
        samples = imagecodecs.png_decode(checked.content).reshape(checked.rows, checked.columns, -1)
        return Samples(np.moveaxis(samples, 2, 0)[np.newaxis], has_alpha=samples.shape[2] in (2, 4))


def _check_chunks(path: Path, file: BinaryIO) -> _CheckedFile:
    """Read all chunks up to and including IEND, and compare their checksums."""
    file.seek(len(SIGNATURE))
    names: list[bytes] = []
    kept = bytearray(SIGNATURE)
    while not names or names[-1] != b"IEND":
        start = file.tell()
        head = _read_exactly(path, file, 8, "a chunk", start)
        length_bytes, name = struct.unpack(">I4s", head)
        label = f"chunk {name.decode('latin-1')!r}"
        content = _read_exactly(path, file, length_bytes, label, start)
        stored = _read_exactly(path, file, 4, label, start)
        if int.from_bytes(stored, "big") != zlib.crc32(content, zlib.crc32(name)):
            raise ImageError(
                f"image {path} is damaged: {label} at byte {start} does not fit its checksum; copy it again"
            )
        names.append(name)
        if name in _PIXEL_CHUNKS:
            kept += head + content + stored
    if names[0] != b"IHDR" or b"IDAT" not in names:
        raise ImageError(f"image {path} is damaged: it has no PNG header or no pixels; copy it again")
    columns, rows = struct.unpack_from(">II", kept, len(SIGNATURE) + 8)
    return _CheckedFile(rows, columns, b"acTL" in names, bytes(kept))


def _read_exactly(path: Path, file: BinaryIO, count: int, part: str, start: int) -> bytes:
    """Read `count` bytes, in pieces so that a length that lies asks for no memory."""
    content = bytearray()
    while len(content) < count:
        piece = file.read(min(count - len(content), _READ_BYTES))
        if not piece:
            raise ImageError(
                f"image {path} is cut short: {part} at byte {start} is not complete, the file has "
                f"{path.stat().st_size} bytes; copy it again"
            )
        content += piece
    return bytes(content)
