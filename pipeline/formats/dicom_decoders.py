"""Decoders of compressed DICOM pixels: imagecodecs as a plugin of pydicom.

pydicom has no decoder of its own for JPEG Lossless and 12-bit JPEG, and the one that it recommends is GPL. imagecodecs
brings libjpeg-turbo, CharLS, OpenJPEG and an RLE decoder under permissive licences, works on several threads at once,
and is a dependency already. What surrounds the codestream (fragments, signs, unused bits) stays pydicom's work.
"""

from __future__ import annotations

import functools
from typing import Any, Final

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels.decoders import base

PLUGIN: Final = "imagecodecs"

_JPEG: Final = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS: Final = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000: Final = (uid.JPEG2000Lossless, uid.JPEG2000)
_RLE: Final = (uid.RLELossless,)
COMPRESSED: Final = (*_JPEG, *_JPEG_LS, *_JPEG_2000, *_RLE)
"""The compressed transfer syntaxes that can be read (PS3.5 A.4)."""

# pydicom asks a plugin for these names when it is added.
DECODER_DEPENDENCIES: Final = dict.fromkeys(COMPRESSED, ("imagecodecs",))

_END_OF_IMAGE: Final = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000 alike


class TruncatedFrameError(ValueError):
    """A compressed frame that ends before its image does."""


@functools.cache
def add_decoders() -> None:
    """Make pydicom know the decoders; call it before threads start."""
    for syntax in COMPRESSED:
        base.get_decoder(syntax).add_plugin(PLUGIN, (__name__, "decode_frame"))


def is_available(transfer_syntax: str) -> bool:
    """Tell pydicom whether there is a decoder for a transfer syntax."""
    return transfer_syntax in COMPRESSED


def decode_frame(source: bytes, runner: base.DecodeRunner) -> bytes:
    """Decode one frame for pydicom.

    Args:
        source: The codestream.
        runner: pydicom's description of the pixels, whose options take what the codestream itself says.

    Returns:
        Samples in rows, little endian.

    Raises:
        TruncatedFrameError: If the codestream ends too early. The JPEG libraries would fill the rest with gray.
    """
    syntax = runner.transfer_syntax
    if syntax in _RLE:
        return _decode_rle(source, runner)
    # Padding to an even length is 0 by the standard (PS3.5 A.4), and 255 in files of some makers.
    if not source.rstrip(b"\x00\xff").endswith(_END_OF_IMAGE):
        raise TruncatedFrameError("its compressed frame has no end-of-image marker")
    if syntax in _JPEG:
        pixels = imagecodecs.jpeg8_decode(source)
    elif syntax in _JPEG_LS:
        pixels = imagecodecs.jpegls_decode(source)
    else:
        pixels = imagecodecs.jpeg2k_decode(source)
    if pixels.shape[:2] != (runner.rows, runner.columns):
        raise TruncatedFrameError(
            f"its compressed frame has {pixels.shape[0]} × {pixels.shape[1]} px, its header "
            f"{runner.rows} × {runner.columns}"
        )
    runner.set_option("bits_allocated", 8 * pixels.dtype.itemsize)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 0)
    return pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes()


def _decode_rle(source: bytes, runner: base.DecodeRunner) -> bytes:
    dtype: np.dtype[Any] = np.dtype(f"<u{runner.bits_allocated // 8}")
    wanted = runner.rows * runner.columns * runner.samples_per_pixel * dtype.itemsize
    decoded = bytes(imagecodecs.dicomrle_decode(source, dtype))
    # One byte more where a segment was padded to an even number.
    if len(decoded) < wanted:
        raise TruncatedFrameError(f"its RLE frame gives {len(decoded)} bytes instead of {wanted}")
    runner.set_option("planar_configuration", 1)
    return decoded[:wanted]
