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
from pydicom.encaps import parse_basic_offsets, parse_fragments
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from ..counted import counted
from ..errors import ImageError
from .dicom_decoders import COMPRESSED, PLUGIN
from .dicom_files import UNREADABLE, DicomFile
from .dicom_frames import Frame, PixelFormat

Pixels = NDArray[Any]

_NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_ITEM_BYTES: Final = 8  # tag and length before each fragment
# Start of image of JPEG and JPEG-LS; start of codestream and size of JPEG 2000, and its box.
_STARTS: Final = (b"\xff\xd8", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
_WHOLE_DTYPES: Final = (np.int16, np.int32, np.int64)


@dataclass(frozen=True, eq=False)
class PixelSource:
    """The pixels of one file as they are stored, and what a decoder must know about them."""

    file: DicomFile
    format: PixelFormat
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
    _check_length(file, pixels, element.value, syntax)
    return PixelSource(file, pixels, element.value, options, syntax)


def stored_values(source: PixelSource, index: int) -> Pixels:
    """Decode one frame.

    Unused high bits are dropped, as PS3.5 8.1.1 asks for.

    Args:
        source: From `pixel_source`.
        index: Index of the frame, from 0.

    Returns:
        (row, column) integers as stored, in native byte order.

    Raises:
        ImageError: If the pixels end too early, cannot be decoded, or are none that Bits Stored can hold.
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
    except (MemoryError, *UNREADABLE) as error:
        raise _truncated(source.file, "has truncated or damaged pixels") from error
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    # Of uncompressed pixels the other bits were dropped; a codestream has a precision of its own.
    if source.transfer_syntax in COMPRESSED and 8 * pixels.dtype.itemsize > source.format.bits_stored:
        low, high = source.format.stored_range
        if pixels.min() < low or pixels.max() > high:
            raise ImageError(
                f"{source.file.name} decodes to values from {pixels.min()} to {pixels.max()}; expected {low} to "
                f"{high}, all that its Bits Stored ({source.format.bits_stored}) can hold; export it again uncompressed"
            )
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
        try:
            out[...] = apply_modality_lut(stored, frame.file.header)
        except UNREADABLE as error:
            raise ImageError(
                f"{frame.file.name} has a Modality LUT that cannot be read; expected LUT Descriptor and LUT Data; "
                "export it again"
            ) from error
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


def _check_length(file: DicomFile, pixels: PixelFormat, content: bytes, syntax: UID) -> None:
    """Refuse pixels of another length than the header announces; too few compressed ones the decoder finds."""
    if syntax not in COMPRESSED:
        bits = file.frames * pixels.rows * pixels.columns * pixels.bits_allocated * pixels.samples
        wanted = -(-bits // 8)
        if len(content) < wanted:
            raise _truncated(file, "has truncated or damaged pixels")
        # Some makers pad with zeros to more than an even length; a whole frame is no padding.
        is_padded = len(content) < wanted + wanted // file.frames and not any(content[wanted:])
        if len(content) > wanted + wanted % 2 and not is_padded:
            raise ImageError(
                f"{file.name} has {counted(len(content), 'byte')} of pixels; expected {wanted}, by the size, the bits "
                "and the number of frames in its header; export it again"
            )
        return
    try:
        stream = io.BytesIO(content)
        parse_basic_offsets(stream)
        starts = [place + _ITEM_BYTES for place in parse_fragments(stream)[1]]
    except UNREADABLE as error:
        raise _truncated(file, "has truncated or damaged pixels") from error
    # Each fragment of RLE is a frame; of the others those that begin one, and not those that go on with it.
    begins = sum(syntax == RLELossless or content.startswith(_STARTS, start) for start in starts)
    if begins > file.frames:
        raise ImageError(
            f"{file.name} has {begins} compressed frames; expected {file.frames}, by the number of frames in its "
            "header; export it again"
        )


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
