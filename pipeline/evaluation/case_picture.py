"""The picture of a case: its image with the outlines of truth and prediction, as PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..reports import overlay_picture


def case_picture(case: str, image: NDArray[Any], truth: NDArray[Any], pred: NDArray[Any]) -> bytes:
    """Draw a case; of a volume the slice that shows most of the truth, or of the prediction where there is no truth.

    Args:
        case: Its id, which is all the text that the picture holds besides counts.
        image: (row, column) or (row, column, slice), or either with channels in front, of which the middle one is drawn
            unless there are three colours of a flat image.
        truth: (row, column) or (row, column, slice), a mask, class indices or instances.
        pred: The same on the same grid.

    Returns:
        A PNG file.
    """
    if image.ndim == truth.ndim:
        image = image[np.newaxis]
    caption = f"case {case}"
    if truth.ndim == 3:
        shown = truth if truth.any() else pred
        number = int(np.count_nonzero(shown, axis=(0, 1)).argmax())
        image, truth, pred = image[..., number], truth[..., number], pred[..., number]
        caption += f", slice {number}"
        image = image[len(image) // 2]
    elif len(image) != 3:
        image = image[len(image) // 2]
    encoded = io.BytesIO()
    Image.fromarray(overlay_picture(image, truth, pred, caption=caption)).save(encoded, format="PNG")
    return encoded.getvalue()
