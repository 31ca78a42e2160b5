"""From the bytes of DICOM frames to values in modality units."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from ..errors import ImageError
from .dicom_decoders import COMPRESSED, PLUGIN
from .dicom_files import UNREADABLE, DicomFile
from .dicom_frames import Frame, PixelFormat

Pixels = NDArray[Any]

_NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_WHOLE_DTYPES: Final = (np.int16, np.int32, np.int64)


@dataclass(frozen=True, eq=False)
class PixelSource:
    """The pixels of one file as they are stored, and what a decoder must know about them."""

    file: DicomFile
    content: bytes | bytearray = field(repr=False)
    options: dict[str, Any]
    transfer_syntax: UID


def pixel_source(frame: Frame) -> PixelSource:
    """Read the part of a file that holds its pixels, those of all its frames.

    Raises:
        ImageError: If the file ends before its pixels, holds other than integers, or is compressed in a way that
            cannot be read.
    """
    file, pixels = frame.file, frame.pixels
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
        "rows": pixels.rows,
        "columns": pixels.columns,
        "samples_per_pixel": pixels.samples,
        "photometric_interpretation": pixels.photometric,
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.is_signed),
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
    if any(frame.facts.has_lookup for frame in frames):
        return np.dtype(np.float32)
    kinds = {(frame.facts.slope, frame.facts.intercept, frame.pixels.stored_range) for frame in frames}
    if all(slope == 1 and intercept == 0 for slope, intercept, _ in kinds):
        return np.result_type(*{_stored_dtype(frame.pixels) for frame in frames})
    if not all(slope.is_integer() and intercept.is_integer() for slope, intercept, _ in kinds):
        return np.dtype(np.float32)
    ends = {end * slope + intercept for slope, intercept, stored in kinds for end in stored}
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
    slope, intercept = frame.facts.slope, frame.facts.intercept
    if invert:
        low, high = frame.pixels.stored_range
        stored = (low + high - stored.astype(np.int64)).astype(stored.dtype)
    if frame.facts.has_lookup:
        out[...] = apply_modality_lut(stored, frame.file.header)
    elif slope == 1 and intercept == 0:
        out[...] = stored
    elif out.dtype.kind == "f":
        out[...] = stored * np.float64(slope) + intercept
    else:
        # Stored values that the dtype cannot hold come back from where they wrapped around: the sum does fit.
        whole = stored.view(out.dtype) if stored.dtype.itemsize == out.dtype.itemsize else stored.astype(out.dtype)
        if slope != 1:
            whole = whole * out.dtype.type(slope)
        np.add(whole, out.dtype.type(intercept), out=out)


def _stored_dtype(pixels: PixelFormat) -> np.dtype[Any]:
    return np.dtype(f"{'i' if pixels.is_signed else 'u'}{max(pixels.bits_allocated, 8) // 8}")


def _transfer_syntax(header: FileDataset) -> UID:
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
        with file.path.open("rb", buffering=0) as stream:
            stream.seek(file.pixels_at)
            content = stream.read()
        is_implicit, is_little = file.header.original_encoding
        return read_dataset(io.BytesIO(content), bool(is_implicit), bool(is_little))
    except OSError as error:
        raise ImageError(f"file {file.path} cannot be read: {error.strerror}; check its permissions") from error
    except UNREADABLE as error:
        raise _truncated(file, "ends before its pixels do") from error


def _truncated(file: DicomFile, what: str) -> ImageError:
    return ImageError(f"{file.name} {what}; expected whole frames of the size in its header; copy it again")
