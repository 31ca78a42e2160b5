"""From volumes to slices: what a 2D network sees of a volume (channel, row, column, slice)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform

from ..errors import ConfigError, ImageError
from .resample import mirrored_index


class NeighbourSlicesd(MapTransform):
    """Give each slice of a volume the slices before and after it as channels.

    Beyond the first and the last slice the volume is mirrored without repeating its edge slice, as tiles are beyond the
    edge of an image.

    Args:
        keys: Keys of volumes, (C, H, W, S).
        slices: How many slices in all, an odd number; 1 leaves the volume as it is.

    Raises:
        ConfigError: If `slices` is not an odd number from 1.
        ImageError: When called, if an image is no volume; the message names the case.
    """

    def __init__(self, keys: KeysCollection, slices: int = 3) -> None:
        super().__init__(keys)
        if not isinstance(slices, int) or slices < 1 or slices % 2 == 0:
            raise ConfigError(f"slices must be an odd number of at least 1, got {slices!r}; 3 is one on each side")
        self.reach = slices // 2

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return the sample with (slices C, H, W, S) volumes: first the channels of the earliest slice."""
        sample = dict(data)
        for key in self.keys:
            volume = sample[key]
            _check_volume(key, volume, sample)
            count = volume.shape[3]
            shifts = range(-self.reach, self.reach + 1)
            places = [mirrored_index(torch.arange(count) + shift, count) for shift in shifts]
            sample[key] = torch.cat([volume[..., place.to(volume.device)] for place in places])
        return sample


class SplitSlicesd(MapTransform):
    """Cut a sample of volumes into samples of slices, which the transforms after it in a `Compose` treat one by one.

    `TileDataset` then draws its tiles from the slices. The number of a slice stands under `"slice"`.

    Args:
        keys: Keys of volumes, (C, H, W, S), with one common S. All other keys go to every slice unchanged.

    Raises:
        ImageError: When called, if an image is no volume, or the volumes differ in size; the message names the case.
    """

    def __init__(self, keys: KeysCollection) -> None:
        super().__init__(keys)

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Return one sample for each slice, with images (C, H, W), from the first slice to the last."""
        first = self.keys[0]
        for key in self.keys:
            _check_volume(key, data[key], data)
            if data[key].shape[1:] != data[first].shape[1:]:
                raise ImageError(
                    f"{key} of case '{data.get('case', 'unnamed')}' is {_size(data[key])} voxels but its {first} is "
                    f"{_size(data[first])}; expected one grid; resample one of them first"
                )
        return [
            {**data, **{key: data[key][..., number].contiguous() for key in self.keys}, "slice": number}
            for number in range(data[first].shape[3])
        ]


def _check_volume(key: Hashable, volume: Any, sample: Mapping[Hashable, Any]) -> None:
    if volume.ndim != 4:
        raise ImageError(
            f"{key} of case '{sample.get('case', 'unnamed')}' must be a volume (channel, row, column, slice), got "
            f"shape {tuple(volume.shape)}; load it with ensure_channel_first"
        )


def _size(volume: Any) -> str:
    return " × ".join(str(length) for length in volume.shape[1:])
