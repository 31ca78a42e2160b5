"""From the values that a label file stores (0 and 255, say) to class indices."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..errors import ConfigError, LabelError


class ClassIndicesd(MapTransform):
    """Replace stored label values by class indices; refuse values that are not declared, and labels off their image.

    Args:
        keys: Keys of labels, (1, H, W) or (1, H, W, S).
        values: Stored value -> class index, for example `{0: 0, 255: 1}`; 0 is background.
        image_key: Key of the image, (C, H, W) or (C, H, W, S), whose size the labels must have; None to leave that
            unchecked.
        num_classes: Classes of the network, which must be those of `values`; None to leave that unchecked.

    Raises:
        ConfigError: If `values` is empty, a class index is negative, or the classes are not those of the network.
        LabelError: From the first sample that does not fit; the message names the case.
    """

    def __init__(
        self,
        keys: KeysCollection,
        values: Mapping[int, int],
        image_key: str | None = "image",
        num_classes: int | None = None,
    ) -> None:
        super().__init__(keys)
        if not values or min(values.values()) < 0:
            raise ConfigError(f"values must pair stored label values with class indices from 0, got {dict(values)}")
        if num_classes is not None and set(values.values()) != set(range(num_classes)):
            raise ConfigError(
                f"the labels have the classes {sorted(set(values.values()))}, the network has {num_classes}; set "
                "num_classes to the number of classes in the manifest"
            )
        self.values = dict(values)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with labels of (1, ...) int64 class indices."""
        sample = dict(data)
        for key in self.keys:
            label = torch.as_tensor(sample[key])
            where = f"{key} of case '{sample.get('case', 'unnamed')}'"
            if label.ndim not in (3, 4) or label.shape[0] != 1:
                raise LabelError(
                    f"{where} must have one channel, got shape {tuple(label.shape)}; save it as gray values"
                )
            if self.image_key is not None and label.shape[1:] != sample[self.image_key].shape[1:]:
                raise LabelError(
                    f"{where} is {_size(label)} px but its image is {_size(sample[self.image_key])} px; "
                    "a label must lie on the pixel grid of its image"
                )
            classes = torch.full_like(label, -1, dtype=torch.int64)
            for stored, index in self.values.items():
                classes[label == stored] = index
            if bool((classes < 0).any()):
                found = sorted(value.item() for value in torch.unique(label))
                shown = ", ".join(f"{value:g}" for value in found[:8]) + (", ..." if len(found) > 8 else "")
                raise LabelError(
                    f"{where} holds values [{shown}]; expected {sorted(self.values)} only; "
                    "correct the label, or declare its values in the manifest's classes"
                )
            sample[key] = classes
        return sample


def _size(image: Any) -> str:
    return " by ".join(str(length) for length in image.shape[1:])
