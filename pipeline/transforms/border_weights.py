"""The weight map of the paper: a class balance, plus a ridge along the thin background between neighbouring objects."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..counted import counted
from ..errors import ConfigError, LabelError
from .gaps import widths_of_gaps

ClassBalance = Literal["inverse_frequency", "none"] | Sequence[float]

# Weights below this are left out: it bounds how far objects are looked for.
_NEGLIGIBLE = 1e-6
_LARGEST = 1e6


def border_weight_map(
    instances: npt.NDArray[np.integer[Any]],
    w0: float = 10.0,
    sigma_px: float = 5.0,
    spacing: Sequence[float] = (1.0, 1.0),
) -> npt.NDArray[np.float32]:
    """Return the second term of the paper's weight map, which teaches the network the borders between touching objects.

    On a background pixel the value is `w0 * exp(-(d1 + d2)**2 / (2 * sigma_px**2))`, with d1 and d2 the distances to
    the nearest pixels of the two nearest different objects. Distances run from pixel centre to pixel centre. Values
    that would be under 1e-6 are 0.

    Args:
        instances: (H, W) integer; 0 is background, every other value is one object, in one part or several.
        w0: Height of the map where two objects all but touch (d1 + d2 = 0), at least 0.
        sigma_px: How fast the map falls with the width of the gap, in pixels, positive.
        spacing: (row, column) size of a pixel. Distances and `sigma_px` are in its unit: pixels for (1, 1).

    Returns:
        (H, W) float32; 0 on objects, and everywhere if there are fewer than two objects.

    Raises:
        LabelError: If `instances` is not a 2D integer array, or holds negative values.
        ConfigError: If `w0`, `sigma_px` or `spacing` is out of range.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), equation 2.
    """
    if not 0 <= w0 <= _LARGEST:
        raise ConfigError(f"w0 must be at least 0, and at most {_LARGEST:g}, got {w0}; the paper's is 10")
    if not 0 < sigma_px <= _LARGEST:
        raise ConfigError(
            f"sigma_px must be positive, and at most {_LARGEST:g}, got {sigma_px}; the paper's is about 5"
        )
    if len(spacing) != 2 or not all(1 / _LARGEST <= side <= _LARGEST for side in spacing):
        raise ConfigError(
            f"spacing must be two positive numbers, (row, column), from {1 / _LARGEST:g} to {_LARGEST:g}, got "
            f"{tuple(spacing)}"
        )
    numbered, count = _numbered_objects(instances)
    weights = np.zeros(instances.shape, dtype=np.float32)
    if count < 2 or w0 <= _NEGLIGIBLE:
        return weights

    reach = sigma_px * math.sqrt(2 * math.log(w0 / _NEGLIGIBLE))
    for pixels, gap in widths_of_gaps(numbered, reach, spacing):
        weights[pixels] = w0 * np.exp(-(gap**2) / (2 * sigma_px**2))
    return weights


def class_balance_map(
    label: npt.NDArray[np.integer[Any]], class_balance: ClassBalance = "inverse_frequency"
) -> npt.NDArray[np.float32]:
    """Return the first term of the weight map, which makes up for classes of unequal size.

    The paper gives no formula. Our choice, `"inverse_frequency"`, gives all pixels of a class together the same share,
    and the map the mean 1: `n / (k * n_c)` for a class of n_c out of n pixels, where k classes occur in this label.

    Args:
        label: (H, W) integer class indices.
        class_balance: `"inverse_frequency"`, `"none"` (1 everywhere), or one weight for each class index.

    Returns:
        (H, W) float32.

    Raises:
        ConfigError: If `class_balance` is neither a known name nor weights.
        LabelError: If `label` is not of integers of at least 0, or a class index has no weight.
    """
    if not np.issubdtype(label.dtype, np.integer) or label.min(initial=0) < 0:
        raise LabelError(
            f"label must hold class indices, integers of at least 0, got {label.dtype} from {label.min(initial=0)}; "
            "map its values first (ClassIndicesd)"
        )
    if class_balance == "none":
        return np.ones(label.shape, dtype=np.float32)
    if class_balance == "inverse_frequency":
        present, places, counts = np.unique(label, return_inverse=True, return_counts=True)
        share = label.size / (len(present) * counts)
        return np.asarray(share[places.reshape(label.shape)], dtype=np.float32)
    check_class_balance(class_balance)
    share = np.asarray(class_balance, dtype=np.float64)
    if label.max(initial=0) >= len(share):
        raise LabelError(
            f"label holds class {label.max()}, but class_balance gives weights for "
            f"{counted(len(share), 'class', 'classes')} only; add one for each class"
        )
    return np.asarray(share[label], dtype=np.float32)


def check_class_balance(class_balance: ClassBalance) -> None:
    """Refuse a class balance that is neither a known name nor weights of at least 0.

    Raises:
        ConfigError: If it is neither.
    """
    if isinstance(class_balance, str):
        if class_balance not in ("inverse_frequency", "none"):
            raise ConfigError(
                f"class_balance must be 'inverse_frequency', 'none' or one weight a class, got {class_balance!r}"
            )
    elif len(class_balance) == 0 or not all(math.isfinite(weight) and weight >= 0 for weight in class_balance):
        raise ConfigError(f"class_balance must be weights of at least 0, one a class, got {list(class_balance)}")


class BorderWeightsd(MapTransform):
    """Add the paper's weight map: class balance plus `border_weight_map`.

    It is computed once for each image, before any augmentation, and deformed together with the label afterwards.

    Args:
        keys: Key of the label, (1, H, W) class indices.
        instances_key: Key of the instances, (1, H, W), 0 is background.
        weight_key: Key to write, (1, H, W) float32.
        w0: See `border_weight_map`; 0 leaves the class balance alone.
        sigma_px: See `border_weight_map`.
        class_balance: See `class_balance_map`.
        spacing: See `border_weight_map`.

    Raises:
        ConfigError: If there is more than one key, or an argument is out of range.
        LabelError: From the first sample that does not fit; the message names the case.
    """

    def __init__(
        self,
        keys: KeysCollection,
        instances_key: str = "instances",
        weight_key: str = "weight",
        w0: float = 10.0,
        sigma_px: float = 5.0,
        class_balance: ClassBalance = "inverse_frequency",
        spacing: Sequence[float] = (1.0, 1.0),
    ) -> None:
        super().__init__(keys)
        if len(self.keys) != 1:
            raise ConfigError(f"BorderWeightsd takes one key, the label's, got {list(self.keys)}")
        border_weight_map(np.zeros((1, 1), dtype=np.uint8), w0, sigma_px, spacing)
        check_class_balance(class_balance)
        self.instances_key = instances_key
        self.weight_key = weight_key
        self.w0 = w0
        self.sigma_px = sigma_px
        self.class_balance = class_balance
        self.spacing = tuple(spacing)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with its weight map."""
        sample = dict(data)
        label, instances = (np.asarray(sample[key]) for key in (self.keys[0], self.instances_key))
        try:
            if label.ndim != 3 or len(label) != 1 or label.shape != instances.shape:
                raise LabelError(
                    f"label and instances must be (1, row, column) of one size, got {label.shape} and {instances.shape}"
                )
            weight = class_balance_map(label[0], self.class_balance)
            weight += border_weight_map(instances[0], self.w0, self.sigma_px, self.spacing)
        except LabelError as error:
            raise LabelError(f"case '{sample.get('case', 'unnamed')}': {error}") from error
        sample[self.weight_key] = torch.from_numpy(weight[None])
        return sample


def _numbered_objects(instances: npt.NDArray[np.integer[Any]]) -> tuple[npt.NDArray[np.int32], int]:
    if instances.ndim != 2 or not (np.issubdtype(instances.dtype, np.integer)):
        raise LabelError(
            f"instances must be a 2D integer array, 0 for background, got {instances.ndim}D {instances.dtype}"
        )
    lowest, highest = int(instances.min(initial=0)), int(instances.max(initial=0))
    if lowest < 0:
        raise LabelError(f"instances must not be negative, got {lowest}; 0 is background, objects count from 1")
    if highest <= instances.size:
        # Counting is faster than sorting, where ids leave no large gaps.
        present = np.bincount(instances.ravel(), minlength=1) > 0
        present[0] = False
        return (np.cumsum(present) * present).astype(np.int32)[instances], int(np.count_nonzero(present))
    values, numbered = np.unique(instances, return_inverse=True)
    numbered = numbered.reshape(instances.shape).astype(np.int32) + int(values[0] != 0)
    return numbered, int(numbered.max())
