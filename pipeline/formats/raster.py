"""Reading microscopy images from PNG and TIFF, in the dtype of the file, as (page, channel, row, column)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..counted import agreed, counted
from ..errors import ImageError, MissingFileError
from . import png, tiff
from .samples import Samples

PNG_SUFFIXES = (".png",)
TIFF_SUFFIXES = (".tif", ".tiff")
RASTER_SUFFIXES = PNG_SUFFIXES + TIFF_SUFFIXES

_FORMATS = {
    "PNG": (png.SIGNATURE,),
    "TIFF": tiff.SIGNATURES,
    "JPEG": (b"\xff\xd8\xff",),
    "GIF": (b"GIF8",),
    "BMP": (b"BM",),
}


@dataclass(frozen=True, eq=False)
class RasterImage:
    """An image file: one page, or a stack of equal pages.

    Attributes:
        pixels: (page, channel, row, column), in the dtype of the file and native byte order. Files of 1 bit give uint8
            of 0 and 255.
        path: Where it was read.
    """

    pixels: NDArray[Any] = field(repr=False)
    path: Path

    @property
    def pages(self) -> int:
        """Number of pages; 1 for a PNG."""
        return len(self.pixels)

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.pixels.shape[1])

    @property
    def size_px(self) -> tuple[int, int]:
        """Height and width, in pixels: (row, column)."""
        return self.pixels.shape[2], self.pixels.shape[3]


def read_image(path: str | os.PathLike[str], *, channels: Literal["gray", "all"] = "gray") -> RasterImage:
    """Read a PNG or TIFF file as it is, or refuse it.

    Intensities are not scaled: 12 bits in a 16-bit file stay 0..4095. The format is told by the content, and the suffix
    must agree. Which axes of a TIFF are accepted is said in `pipeline.formats.tiff.decode_tiff`.

    Args:
        path: A file named `.png`, `.tif` or `.tiff`, in either case.
        channels: `"gray"` wants one channel: RGB, RGBA and palettes whose colours are all gray become one, and anything
            with several different channels is refused. `"all"` gives the channels as stored: 3 for RGB and palettes.
            Opacity is never a channel: it is dropped where every pixel is opaque, else the file is refused.

    Returns:
        The image.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If the file is empty, cut short, damaged, of another format than its suffix says, too large, without
            pixels, partly transparent, holds NaN or infinity, or has axes or channels that cannot be placed.
    """
    path = Path(path)
    samples = png.decode_png(path) if raster_format(path) == "PNG" else tiff.decode_tiff(path)
    pixels = _without_opacity(path, samples)
    _check_finite(path, pixels)
    if channels == "gray":
        pixels = _as_one_channel(path, pixels)
    return RasterImage(np.ascontiguousarray(pixels), path)


def check_raster_suffix(path: Path) -> None:
    """Refuse a file name that is neither PNG nor TIFF.

    Raises:
        ImageError: If the suffix is none of `RASTER_SUFFIXES`.
    """
    if path.suffix.lower() not in RASTER_SUFFIXES:
        raise ImageError(
            f"{path} is not named as an image that can be read or written; expected one of "
            f"{', '.join(RASTER_SUFFIXES)}; save it as PNG or TIFF"
        )


def raster_format(path: Path) -> Literal["PNG", "TIFF"]:
    """Tell the format of a file by its first bytes, and hold them against the suffix.

    Raises:
        MissingFileError: If there is no such file.
        ImageError: If it is empty, of another format than its suffix says, or cannot be opened.
    """
    check_raster_suffix(path)
    if path.is_dir():
        raise ImageError(f"image {path} is a folder; expected a PNG or TIFF file; name the files in it")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except FileNotFoundError as error:
        raise MissingFileError(f"image {path} not found; check the path") from error
    except OSError as error:
        raise ImageError(f"image {path} cannot be opened: {error.strerror}; check its permissions") from error
    if not start:
        raise ImageError(f"image {path} is empty (0 bytes); expected a PNG or TIFF file; copy it again")

    named: Literal["PNG", "TIFF"] = "PNG" if path.suffix.lower() in PNG_SUFFIXES else "TIFF"
    found = next((name for name, signatures in _FORMATS.items() if start.startswith(signatures)), None)
    if found is None:
        raise ImageError(f"image {path} does not start as a {named} file does; copy it again, or save it as {named}")
    if found != named:
        raise ImageError(
            f"image {path} is named as {named} but holds {found}; expected the suffix to tell the format; "
            + ("rename it" if found in ("PNG", "TIFF") else f"save it as {named}")
        )
    return named


def _without_opacity(path: Path, samples: Samples) -> NDArray[Any]:
    """Drop the opacity of an image whose pixels are all opaque."""
    if not samples.has_alpha:
        return samples.pixels
    alpha = samples.pixels[:, -1]
    opaque = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    if (alpha != opaque).any():
        raise ImageError(
            f"image {path} has transparent pixels (opacity {alpha.min()} to {alpha.max()}); expected {opaque} "
            "everywhere; save it without transparency"
        )
    return samples.pixels[:, :-1]


def _check_finite(path: Path, pixels: NDArray[Any]) -> None:
    """Refuse NaN and infinity."""
    # Minimum and maximum carry NaN and infinity, without a boolean copy of a large image.
    if pixels.dtype.kind == "f" and not np.isfinite([pixels.min(), pixels.max()]).all():
        count = pixels.size - int(np.isfinite(pixels).sum())
        raise ImageError(
            f"image {path} holds {counted(count, 'pixel')} that {agreed(count, 'is', 'are')} NaN or infinite; expected "
            f"finite numbers; replace {agreed(count, 'it', 'them')} first"
        )


def _as_one_channel(path: Path, pixels: NDArray[Any]) -> NDArray[Any]:
    """Keep one of several channels that are all equal."""
    if (pixels[:, 1:] != pixels[:, :1]).any():
        raise ImageError(
            f"image {path} has {pixels.shape[1]} different channels (colour, or several stains); expected gray; "
            "save the wanted channel as its own file, or convert it to gray (a stack: save pages, with "
            "tifffile photometric='minisblack')"
        )
    return pixels[:, :1]
