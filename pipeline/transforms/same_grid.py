"""A label must lie where its image lies: the same voxels at the same places."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..formats.grid import GRID_TOLERANCE_VOXELS, check_same_grid


class SameGridd(MapTransform):
    """Refuse a sample whose labels do not lie on the grid of their image, by size and by affine; change nothing.

    Args:
        keys: Keys of labels, MONAI MetaTensors (1, i, j) or (1, i, j, k) as `LoadImaged` gives them.
        image_key: Key of the image, likewise.
        tolerance_voxels: How far a voxel of the label may lie from that of the image.

    Raises:
        LabelError: From the first sample that does not fit; the message names the case.
    """

    def __init__(
        self, keys: KeysCollection, image_key: str = "image", tolerance_voxels: float = GRID_TOLERANCE_VOXELS
    ) -> None:
        super().__init__(keys)
        self.image_key = image_key
        self.tolerance_voxels = tolerance_voxels

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample as it is."""
        image = data[self.image_key]
        for key in self.keys:
            check_same_grid(
                f"{key} of case '{data.get('case', 'unnamed')}'",
                data[key].shape[1:],
                np.asarray(data[key].affine),
                f"its {self.image_key}",
                image.shape[1:],
                np.asarray(image.affine),
                self.tolerance_voxels,
            )
        return dict(data)
