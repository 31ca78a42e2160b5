"""From class probabilities to what is written as a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def class_mask(probability: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.bool_] | npt.NDArray[np.uint8]:
    """Return the most probable class of each pixel.

    Args:
        probability: (C, H, W) or (C, i, j, k) of a softmax, class 0 is background; or with one channel of a sigmoid for
            class 1.

    Returns:
        Without the axis of channels: bool for one object class, True on it; uint8 class indices for more. Of equal
        probabilities the lowest index wins.
    """
    if len(probability) == 1:
        return np.asarray(probability[0] > 0.5)
    if len(probability) == 2:
        return np.asarray(probability[1] > probability[0])
    classes: npt.NDArray[np.uint8] = probability.argmax(axis=0).astype(np.uint8)
    return classes
