"""From the bytes of DICOM frames to values in modality units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels import apply_modality_lut
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..errors import ImageError
from .dicom_decoders import COMPRESSED, PLUGIN
from .dicom_files import UNREADABLE, DicomFile
from .dicom_frames import Frame

Pixels = NDArray[Any]

PIXEL_ATTRIBUTES: Final = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)
_NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_WHOLE_DTYPES: Final = (np.int16, np.int32, np.int64)


@dataclass(frozen=True, eq=False)
class PixelSource:
    """The pixels of one file as they are stored, and what a decoder must know about them."""

    file: DicomFile
    content: bytes | bytearray = field(repr=False)
    options: dict[str, Any]
    transfer_syntax: UID


def pixel_source(file: DicomFile) -> PixelSource:
    """Read the part of a file that holds its pixels.

    Raises:
        ImageError: If the file ends before its pixels, holds other than integers, or is compressed in a way that
            cannot be read.
    """
    header = file.header
    syntax = _transfer_syntax(header)
    if syntax not in (*COMPRESSED, *_NATIVE, pydicom.uid.DeflatedExplicitVRLittleEndian):
        raise ImageError(
            f"{file.name} is compressed as {syntax.name}; expected uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000; "
            "convert it first (gdcmconv --raw)"
        )
    rest = _rest(file, syntax)
    if "PixelData" not in rest:
        if "FloatPixelData" in rest or "DoubleFloatPixelData" in rest:
            raise ImageError(f"{file.name} holds floating-point pixels; expected integers (Pixel Data); leave it out")
        raise _truncated(file, "ends before its pixels do")
    element = rest["PixelData"]
    options: dict[str, Any] = {
        "rows": int(header.Rows),
        "columns": int(header.Columns),
        "samples_per_pixel": int(header.SamplesPerPixel),
        "photometric_interpretation": str(header.PhotometricInterpretation),
        "bits_allocated": int(header.BitsAllocated),
        "bits_stored": int(header.BitsStored),
        "pixel_representation": int(header.PixelRepresentation),
        "number_of_frames": file.frames,
        "pixel_keyword": "PixelData",
        "pixel_vr": element.VR,
    }
    if "ExtendedOffsetTable" in rest or "ExtendedOffsetTable" in header:
        tables = rest if "ExtendedOffsetTable" in rest else header
        options["extended_offsets"] = (tables.ExtendedOffsetTable, tables.ExtendedOffsetTableLengths)
    return PixelSource(file, element.value, options, syntax)


def stored_values(source: PixelSource, index: int) -> Pixels:
    """Decode one frame.

    Unused high bits are dropped, as PS3.5 8.1.1 asks for.

    Args:
        source: From `pixel_source`.
        index: Index of the frame, from 0.

    Returns:
        (row, column) integers as stored.

    Raises:
        ImageError: If the pixels end too early or cannot be decoded.
    """
    plugin = PLUGIN if source.transfer_syntax in COMPRESSED else ""
    try:
        pixels, _ = get_decoder(source.transfer_syntax).as_array(
            source.content,
            index=index,
            raw=True,
            decoding_plugin=plugin,
            **source.options,
        )
    except UNREADABLE as error:
        raise _truncated(source.file, "has truncated or damaged pixels") from error
    return pixels


def value_dtype(frames: Sequence[Frame]) -> np.dtype[Any]:
    """Return the dtype that holds every value that the frames can have, by their headers.

    The stored dtype where there is no rescaling, else the smallest of int16, int32 and int64 where slopes and
    intercepts are whole numbers, else float32.
    """
    if any(frame.lookup is not None for frame in frames):
        return np.dtype(np.float32)
    if all(frame.slope == 1 and frame.intercept == 0 for frame in frames):
        return np.result_type(*{_stored_dtype(frame.header) for frame in frames})
    if not all(frame.slope.is_integer() and frame.intercept.is_integer() for frame in frames):
        return np.dtype(np.float32)
    ends = {end * frame.slope + frame.intercept for frame in frames for end in stored_range(frame.header)}
    for dtype in _WHOLE_DTYPES:
        if min(ends) >= np.iinfo(dtype).min and max(ends) <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.float32)


def modality_values(frame: Frame, stored: Pixels, out: Pixels, *, invert: bool) -> None:
    """Turn stored values into modality units: `stored * slope + intercept` (PS3.3 C.11.1).

    Args:
        frame: Where slope and intercept are.
        stored: (row, column) integers.
        out: (row, column) of `value_dtype`; takes the values.
        invert: Swap low for high among all that Bits Stored can hold, before rescaling: MONOCHROME1 becomes
            MONOCHROME2.
    """
    if invert:
        low, high = stored_range(frame.header)
        stored = (low + high - stored.astype(np.int64)).astype(stored.dtype)
    if frame.lookup is not None:
        out[...] = apply_modality_lut(stored, frame.lookup)
    elif frame.slope == 1 and frame.intercept == 0:
        out[...] = stored
    elif out.dtype.kind == "f":
        out[...] = stored * np.float64(frame.slope) + frame.intercept
    else:
        np.multiply(stored, int(frame.slope), out=out, dtype=out.dtype, casting="unsafe")
        out += out.dtype.type(frame.intercept)


def stored_range(header: Dataset) -> tuple[int, int]:
    """Return the lowest and highest value that Bits Stored can hold."""
    bits = int(header.BitsStored)
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if int(header.PixelRepresentation) else (0, 2**bits - 1)


def _stored_dtype(header: Dataset) -> np.dtype[Any]:
    bits = max(int(header.BitsAllocated), 8)
    return np.dtype(f"{'i' if int(header.PixelRepresentation) else 'u'}{bits // 8}")


def _transfer_syntax(header: pydicom.FileDataset) -> UID:
    """Return the transfer syntax, or the one that a file without it was parsed by."""
    stated = header.file_meta.get("TransferSyntaxUID")
    if stated:
        return UID(str(stated))
    is_implicit, is_little = header.original_encoding
    return ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian


def _rest(file: DicomFile, syntax: UID) -> Dataset:
    """Read what follows the header."""
    try:
        if file.pixels_at is None:
            return pydicom.dcmread(file.path)
        with file.path.open("rb") as content:
            content.seek(file.pixels_at)
            is_implicit, is_little = file.header.original_encoding
            return read_dataset(content, bool(is_implicit), bool(is_little))
    except OSError as error:
        raise ImageError(f"file {file.path} cannot be read: {error.strerror}; check its permissions") from error
    except UNREADABLE as error:
        raise _truncated(file, "ends before its pixels do") from error


def _truncated(file: DicomFile, what: str) -> ImageError:
    return ImageError(f"{file.name} {what}; expected whole frames of the size in its header; copy it again")
