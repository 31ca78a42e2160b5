"""What the PNG and TIFF decoders share: the value they return, the size limit, and how their failures are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import ImageError, PipelineError

MAX_PAGE_PX = 2**30
"""Largest page that is read into memory, in pixels: 32768 × 32768. More is refused before memory is asked for."""


@dataclass(frozen=True, eq=False)
class Samples:
    """The samples of an image file, before transparency and equal colours are dealt with.

    Attributes:
        pixels: (page, sample, row, column), native byte order, brighter is larger.
        has_alpha: The last sample is opacity, not brightness.
    """

    pixels: NDArray[Any] = field(repr=False)
    has_alpha: bool = False


def check_page_size(path: Path, rows: int, columns: int, max_px: int | None = MAX_PAGE_PX) -> None:
    """Refuse a page without pixels, and one beyond `max_px`; None allows any size.

    Raises:
        ImageError: If there are no pixels or too many.
    """
    if rows < 1 or columns < 1:
        raise ImageError(f"image {path} is {rows} × {columns} px; expected at least one pixel; save it anew")
    if max_px is not None and rows * columns > max_px:
        raise ImageError(
            f"image {path} is {rows} × {columns} px; at most {max_px} px a page are read; crop or tile it first"
        )


@contextmanager
def decoding(path: Path, format_name: str) -> Iterator[None]:
    """Turn whatever a decoder raises about the bytes of `path` into an `ImageError`.

    Raises:
        ImageError: If the block raises anything but a `PipelineError`, which passes unchanged.
    """
    try:
        yield
    except PipelineError:
        raise
    except MemoryError as error:
        raise ImageError(f"image {path} does not fit into memory; crop, tile or split it first") from error
    except OSError as error:
        reason = _in_one_line(error.strerror or str(error))
        raise ImageError(
            f"image {path} cannot be read: {reason}; check its permissions, or copy it again if it is damaged"
        ) from error
    except Exception as error:  # decoders document no list: which exception comes depends on which byte is wrong
        raise ImageError(
            f"image {path} cannot be decoded as {format_name}: {_in_one_line(str(error)) or type(error).__name__}; "
            "copy it again if it is damaged, else save it as plain 8-bit or 16-bit gray"
        ) from error


def _in_one_line(text: str) -> str:
    return " ".join(text.split())
