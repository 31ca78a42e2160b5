"""Take the values of a 2D image at arbitrary places, mirrored beyond its border without repeating the edge pixels.

Coordinates are (2, H, W) float in the order (row, column): the centre of the first pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from monai.data import MetaTensor

SamplingMode = Literal["bilinear", "bicubic", "nearest"]
SAMPLING_MODES: tuple[str, ...] = get_args(SamplingMode)


def base_coordinates(shape: Sequence[int], device: torch.device | None = None) -> torch.Tensor:
    """Return the coordinates that leave an image of `shape` (H, W) as it is: (2, H, W) float32."""
    rows, columns = (torch.arange(length, dtype=torch.float32, device=device) for length in shape)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"))


def resample(image: Any, coordinates: torch.Tensor, mode: SamplingMode) -> torch.Tensor:
    """Return the values of `image` at `coordinates`.

    Args:
        image: (C, H, W) tensor or array of any real dtype.
        coordinates: (2, h, w) float, (row, column) in pixels; may lie outside the image.
        mode: `"nearest"` keeps the values and the dtype of the image; the others give float32.

    Returns:
        (C, h, w), on the device of `image`; a MetaTensor if `image` is one.
    """
    source = torch.as_tensor(image)
    plain = source.as_tensor() if isinstance(source, MetaTensor) else source
    if mode == "nearest":
        sampled = _gather(plain, coordinates)
    elif torch.equal(coordinates, coordinates.round()):
        # On the pixel grid there is nothing to interpolate, and values stay what they are to the last bit.
        sampled = _gather(plain, coordinates).float()
    else:
        sampled = _interpolate(plain, coordinates, mode)
    return MetaTensor(sampled, meta=source.meta) if isinstance(source, MetaTensor) else sampled


def mirrored_index(index: torch.Tensor, length: int) -> torch.Tensor:
    """Fold integer positions beyond 0 ... length - 1 back into the image, as NumPy's mode `"reflect"` does."""
    if length == 1:
        return torch.zeros_like(index)
    period = 2 * (length - 1)
    folded = torch.remainder(index, period)
    return torch.minimum(folded, period - folded)


def _gather(image: torch.Tensor, coordinates: torch.Tensor) -> torch.Tensor:
    # Indexing keeps integers exact, which grid_sample's float32 does not for instance ids past 2**24.
    rows, columns = torch.round(coordinates).long().unbind(0)
    rows, columns = mirrored_index(rows, image.shape[1]), mirrored_index(columns, image.shape[2])
    return image.flatten(1)[:, (rows * image.shape[2] + columns).flatten()].reshape(-1, *rows.shape)


def _interpolate(image: torch.Tensor, coordinates: torch.Tensor, mode: str) -> torch.Tensor:
    # grid_sample wants (x, y) in [-1, 1] from the first pixel's centre to the last one's.
    rows, columns = (
        2 * axis / (length - 1) - 1 if length > 1 else torch.zeros_like(axis)
        for axis, length in zip(coordinates, image.shape[1:], strict=True)
    )
    grid = torch.stack([columns, rows], dim=-1)[None]
    sampled = F.grid_sample(image[None].float(), grid, mode=mode, padding_mode="reflection", align_corners=True)
    return sampled[0]
