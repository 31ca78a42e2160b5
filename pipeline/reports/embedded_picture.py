"""Pictures as part of a page."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import ImageError


@dataclass(frozen=True)
class EmbeddedPicture:
    """A picture.

    Attributes:
        source: The `data:` URI of its pixels as PNG.
        text: What it shows, for those who do not see it.
        width_px: Its width.
        height_px: Its height.
    """

    source: str
    text: str
    width_px: int
    height_px: int

    @classmethod
    def of(cls, rgb: NDArray[np.uint8], text: str) -> EmbeddedPicture:
        """Embed pixels, (H, W, 3) uint8."""
        file = BytesIO()
        Image.fromarray(rgb).save(file, format="PNG", optimize=True)
        source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
        return cls(source, text, rgb.shape[1], rgb.shape[0])

    @classmethod
    def read(cls, path: Path, text: str) -> EmbeddedPicture:
        """Embed the pixels of a file; texts and times that it may hold beside them stay behind.

        Raises:
            ImageError: If it is no picture.
        """
        try:
            with Image.open(path, formats=["PNG"]) as picture:
                rgb = np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise ImageError(f"picture {path} cannot be read as PNG; evaluate again, or remove it") from error
        return cls.of(rgb, text)
