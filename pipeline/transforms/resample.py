"""Take the values of an image at arbitrary places, mirrored beyond its border without repeating the edge pixels.

Coordinates are float in the order (row, column): the centre of the first pixel is (0, 0). They and the image may have a
batch axis before their others. Everything here runs on the device of its tensors.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from monai.data import MetaTensor

from ..errors import ConfigError

SamplingMode = Literal["bilinear", "bicubic", "nearest"]
SAMPLING_MODES: tuple[str, ...] = get_args(SamplingMode)


def base_coordinates(shape: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """Return the coordinates that leave an image of `shape` (H, W) as it is: (2, H, W) float32."""
    axes = (torch.arange(length, dtype=torch.float32, device=device) for length in shape)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def resample(image: Any, coordinates: torch.Tensor, mode: SamplingMode) -> torch.Tensor:
    """Return the values of `image` at `coordinates`.

    Args:
        image: (C, H, W) tensor or array of any real dtype, or (B, C, H, W).
        coordinates: (2, h, w) float, (row, column) in pixels; may lie outside the image. (B, 2, h, w) for a batch.
        mode: `"nearest"` keeps the values of the image. The others make float32 of integers; real numbers keep their
            dtype.

    Returns:
        (C, h, w) or (B, C, h, w), on the device of `image`; a MetaTensor if `image` is one.
    """
    return Places.of(coordinates, torch.as_tensor(image).shape[-2:]).values(image, mode)


@dataclass(frozen=True)
class Places:
    """Places in images of one size, for several of them to be read at.

    Attributes:
        coordinates: (B, n, ...) float for n spatial axes, none of them beyond the image.
        size: The n sides of the images.
        is_batch: Whether images have a batch axis; without one B is 1.
    """

    coordinates: torch.Tensor
    size: tuple[int, ...]
    is_batch: bool

    @classmethod
    def of(cls, coordinates: torch.Tensor, size: Sequence[int]) -> Places:
        """Fold `coordinates`, (n, ...) or (B, n, ...), into images of `size`."""
        is_batch = coordinates.ndim == len(size) + 2
        folded = coordinates if is_batch else coordinates[None]
        axes = [mirrored_index(axis, length) for axis, length in zip(folded.unbind(1), size, strict=True)]
        return cls(torch.stack(axes, 1), tuple(size), is_batch)

    def within(self, *window: slice) -> Places:
        """Return the places of a window of the result."""
        index: tuple[Any, ...] = (..., *window)
        return Places(self.coordinates[index], self.size, self.is_batch)

    def values(self, image: Any, mode: SamplingMode) -> torch.Tensor:
        """Return the values of an image at these places, as `resample` does."""
        source = torch.as_tensor(image)
        plain = source.as_tensor() if isinstance(source, MetaTensor) else source
        batch = plain if self.is_batch else plain[None]
        if batch.ndim != self.coordinates.ndim or len(batch) != len(self.coordinates):
            raise ConfigError(
                f"places {tuple(self.coordinates.shape)} do not fit images {tuple(source.shape)}; give as many as "
                "there are images, and a batch axis to both or to none"
            )
        dtype = batch.dtype if mode == "nearest" or batch.is_floating_point() else torch.float32
        if mode == "nearest" or self._on_pixels:
            # On the pixel grid there is nothing to interpolate, and values stay what they are to the last bit.
            sampled = self._nearest(batch)
        else:
            exact = batch if batch.dtype == torch.float64 else batch.float()
            grid = self._grid.to(exact.dtype)
            sampled = F.grid_sample(exact, grid, mode=mode, padding_mode="reflection", align_corners=True)
        sampled = sampled.to(dtype) if self.is_batch else sampled[0].to(dtype)
        return _with_meta(sampled, source) if isinstance(source, MetaTensor) else sampled

    def _nearest(self, batch: torch.Tensor) -> torch.Tensor:
        # Indexing keeps integers exact, which grid_sample's float32 does not for instance ids past 2**24. The images
        # of a batch stand one behind the other.
        pixels = batch.flatten(2).movedim(1, 0).flatten(1)
        chosen = pixels.index_select(1, self._index.flatten())
        return chosen.reshape(-1, len(batch), *self.coordinates.shape[2:]).movedim(0, 1)

    @cached_property
    def _on_pixels(self) -> bool:
        return torch.equal(self.coordinates, self.coordinates.round())

    @cached_property
    def _index(self) -> torch.Tensor:
        """Number of the nearest pixel, counted row by row and through all images: (B, ...) integer."""
        pixels = torch.Size(self.size).numel()
        images = len(self.coordinates)
        rounded = self.coordinates.round().to(torch.int32 if images * pixels < 2**31 else torch.int64)
        index = rounded[:, 0]
        for axis, length in enumerate(self.size[1:], start=1):
            index = index * length + rounded[:, axis]
        if images > 1:
            first = torch.arange(images, dtype=index.dtype, device=index.device) * pixels
            index = index + first.reshape(-1, *(1 for _ in self.size))
        return index

    @cached_property
    def _grid(self) -> torch.Tensor:
        """What `grid_sample` wants: (x, y) in [-1, 1] from the first pixel's centre to the last one's."""
        grid = torch.empty_like(self.coordinates.movedim(1, -1), memory_format=torch.contiguous_format)
        for axis, length in enumerate(self.size):
            torch.mul(self.coordinates[:, axis], 2 / max(length - 1, 1), out=grid[..., -1 - axis])
        return grid.sub_(1)


def _with_meta(sampled: torch.Tensor, source: MetaTensor) -> MetaTensor:
    """Return what was sampled with metadata of its own. Its affine stays that of the whole image."""
    result = MetaTensor(sampled, meta=copy.deepcopy(source.meta), applied_operations=list(source.applied_operations))
    result.is_batch = source.is_batch
    return result


def mirrored_index(positions: torch.Tensor, length: int) -> torch.Tensor:
    """Fold positions beyond 0 ... length - 1 back into the image, as NumPy's mode `"reflect"` does."""
    if length == 1:
        return torch.zeros_like(positions)
    period = 2 * (length - 1)
    folded = positions.abs()
    # Division is slow, and hardly any place is so far out. Asking would make a GPU wait.
    if positions.device.type != "cpu" or (positions.numel() and folded.max() > period):
        folded = torch.remainder(folded, period)
    return torch.minimum(folded, period - folded)
