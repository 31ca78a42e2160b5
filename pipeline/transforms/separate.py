"""Open a background gap between objects that touch, so that the network has a border to learn."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform
from scipy import ndimage

from ..errors import ConfigError, LabelError


def separate_touching_instances(
    instances: npt.NDArray[np.integer[Any]], gap_px: int = 2
) -> npt.NDArray[np.integer[Any]]:
    """Return the instances with a strip of background where two of them touch, or lie within `gap_px / 2` pixels.

    Only pixels near another object are taken away; an object's border with the background stays where it is. Each of
    two touching objects gives up `gap_px / 2` pixels, so the result does not depend on the order of their ids.

    Args:
        instances: (H, W) integer, 0 is background, every other value is one object.
        gap_px: Width of the strip, even, in pixels (diagonals count as 1).

    Returns:
        (H, W), of the dtype of `instances`.

    Raises:
        ConfigError: If `gap_px` is not a positive even number.
        LabelError: If `instances` is not a 2D integer array, or holds negative values.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), section 3: "the separation border is computed using
        morphological operations"; the width is our choice.
    """
    if gap_px < 2 or gap_px % 2:
        raise ConfigError(f"gap_px must be a positive even number, got {gap_px}: each object gives up half of it")
    if instances.ndim != 2 or not np.issubdtype(instances.dtype, np.integer):
        raise LabelError(f"instances must be a 2D integer array, got {instances.ndim}D {instances.dtype}")
    if instances.min(initial=0) < 0:
        raise LabelError(f"instances must not be negative, got {instances.min()}; 0 is background")
    # SciPy filters in double precision, which has no room for every 64-bit id; their ranks fit.
    ids, ranks = np.unique(instances, return_inverse=True)
    ranks = ranks.reshape(instances.shape).astype(np.int32)
    absent = len(ids)
    size = gap_px + 1
    highest = ndimage.maximum_filter(np.where(instances == 0, -1, ranks), size=size, mode="nearest")
    lowest = ndimage.minimum_filter(np.where(instances == 0, absent, ranks), size=size, mode="nearest")
    return np.where((instances > 0) & (highest > lowest), 0, instances).astype(instances.dtype)


class SeparateInstancesd(MapTransform):
    """Apply `separate_touching_instances` to (1, H, W) instances.

    Args:
        keys: Keys of the instances.
        gap_px: See `separate_touching_instances`.

    Raises:
        ConfigError: If `gap_px` is not a positive even number.
        LabelError: From the first sample that does not fit; the message names the case.
    """

    def __init__(self, keys: KeysCollection, gap_px: int = 2) -> None:
        super().__init__(keys)
        separate_touching_instances(np.zeros((1, 1), dtype=np.uint8), gap_px)
        self.gap_px = gap_px

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with its instances apart."""
        sample = dict(data)
        for key in self.keys:
            instances = np.asarray(sample[key])
            try:
                apart = separate_touching_instances(instances[0], self.gap_px)
            except LabelError as error:
                raise LabelError(f"case '{sample.get('case', 'unnamed')}': {error}") from error
            sample[key] = torch.from_numpy(apart[None])
        return sample
