"""Gray images as TIFF files whose bytes depend on the pixels alone, and not on the version of any library."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from ..errors import OutputError
from ..formats import whole_file

_SHORT: Final = 3
_LONG: Final = 4
_RATIONAL: Final = 5
_IFD_OFFSET: Final = 8
_PIXELS_OFFSET: Final = 176  # after the header (8), 12 fields (2 + 12 * 12 + 4), two rationals (16), and 2 unused bytes


def frozen_tiff_bytes(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Return an image as an uncompressed baseline TIFF file: little-endian, one strip, no software tag and no date.

    Args:
        pixels: `(H, W)` uint8 gray values, 0 is black.

    Source:
        TIFF 6.0, section 4: the fields that a baseline grayscale file must have, in the order of their numbers.
    """
    rows, columns = pixels.shape
    fields = (
        (256, _LONG, columns),  # ImageWidth
        (257, _LONG, rows),  # ImageLength
        (258, _SHORT, 8),  # BitsPerSample
        (259, _SHORT, 1),  # Compression: none
        (262, _SHORT, 1),  # PhotometricInterpretation: black is zero
        (273, _LONG, _PIXELS_OFFSET),  # StripOffsets
        (277, _SHORT, 1),  # SamplesPerPixel
        (278, _LONG, rows),  # RowsPerStrip
        (279, _LONG, rows * columns),  # StripByteCounts
        (282, _RATIONAL, _PIXELS_OFFSET - 18),  # XResolution: where its value lies
        (283, _RATIONAL, _PIXELS_OFFSET - 10),  # YResolution: where its value lies
        (296, _SHORT, 1),  # ResolutionUnit: none
    )
    header = struct.pack("<2sHI", b"II", 42, _IFD_OFFSET)
    directory = b"".join(struct.pack("<HHII", number, kind, 1, value) for number, kind, value in fields)
    directory = struct.pack("<H", len(fields)) + directory + struct.pack("<I", 0)
    one_per_unit = struct.pack("<IIII", 1, 1, 1, 1)
    return (header + directory + one_per_unit).ljust(_PIXELS_OFFSET, b"\0") + pixels.tobytes()


def write_frozen_tiff(path: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write an image whole or not at all, and leave a file alone that holds these very bytes already.

    Several processes may write the same image at once: each writes a file of its own and renames it.

    Args:
        path: Where to write; folders are made.
        pixels: `(H, W)` uint8 gray values.

    Raises:
        OutputError: If the file cannot be written.
    """
    content = frozen_tiff_bytes(pixels)
    if path.is_file() and path.read_bytes() == content:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make folder {path.parent}: {error.strerror}; choose one that you may write to"
        ) from error
    with whole_file(path, overwrite=True) as partial:
        partial.write_bytes(content)
