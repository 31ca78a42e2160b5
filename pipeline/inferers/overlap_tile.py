"""The paper's overlap-tile strategy: any image through a valid network, tile by tile, mirrored beyond its border.

A U-Net of depth d commutes only with shifts by multiples of 2**d, because of its pooling grid. All tiles therefore
start on that grid, and their stitched result is what one pass over the whole mirrored image gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from monai.inferers import Inferer
from torch import nn
from tqdm.auto import tqdm

from ..errors import ConfigError, ImageError
from ..geometry import ValidGeometry
from ..precision import Precision, autocast, check_precision
from ..transforms import mirrored_index


class OverlapTileInferer(Inferer):
    """Apply a valid-padding network to images of any size, without seams.

    Args:
        tile_px: Largest side of an input tile, legal for the network's geometry; a smaller image takes a smaller tile.
            A side whose output is narrower than the pooling grid (188 px gives 4) is raised to the first that is not.
        batch_size: Tiles that go through the network at once.
        precision: `"fp32"`, `"bf16"` for autocast to bfloat16, or `"auto"` for bfloat16 where the device has it.
        progress: Show a progress bar over the tiles.

    Raises:
        ConfigError: If an argument is out of range, or the network has no geometry.
        TileSizeError: When called, if `tile_px` is not legal for the network.
        ImageError: When called, if the image is not (B, C, H, W), or is empty.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), section 2 and figure 2.
    """

    def __init__(
        self, tile_px: int = 572, batch_size: int = 1, precision: Precision = "fp32", progress: bool = False
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, got {batch_size}")
        check_precision(precision)
        self.tile_px = tile_px
        self.batch_size = batch_size
        self.precision = precision
        self.progress = progress

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the network's output for every pixel of the image.

        Args:
            inputs: (B, C, H, W) float, H and W at least 1.
            network: A network with a `geometry`, also inside `DistributedDataParallel` or `torch.compile`, on the
                device of `inputs`.
            args: Passed on to the network.
            kwargs: Passed on to the network.

        Returns:
            (B, out_channels, H, W) float32 (float64 for a network in float64), on the device of `inputs`.
        """
        if inputs.ndim != 4 or 0 in inputs.shape:
            raise ImageError(f"image must be (batch, channel, row, column) and not empty, got {tuple(inputs.shape)}")
        geometry = geometry_of(network)
        geometry.output_px(self.tile_px)
        rows, columns = (_Axis.plan(length, self.tile_px, geometry, inputs.device) for length in inputs.shape[2:])
        places = [(image, row, column) for image in range(len(inputs)) for row in rows for column in columns]

        stitched: torch.Tensor | None = None
        groups = [places[first : first + self.batch_size] for first in range(0, len(places), self.batch_size)]
        for group in tqdm(groups, unit="tile", unit_scale=self.batch_size, disable=not self.progress, leave=False):
            tiles = torch.cat([_cut(inputs[image], row, column) for image, row, column in group])
            with autocast(inputs.device, self.precision):
                outputs = network(tiles, *args, **kwargs)
            outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
            if stitched is None:
                stitched = outputs.new_empty(len(inputs), outputs.shape[1], *inputs.shape[2:])
            for (image, row, column), output in zip(group, outputs, strict=True):
                stitched[image, :, row.target, column.target] = output[:, : row.kept_px, : column.kept_px]
        assert stitched is not None
        return stitched


def geometry_of(network: Any) -> ValidGeometry:
    """Return the geometry of a network, also behind `DistributedDataParallel` or `torch.compile`.

    Raises:
        ConfigError: If it has none.
    """
    inner = network
    while not isinstance(getattr(inner, "geometry", None), ValidGeometry):
        wrapped = (
            inner._modules.get("module", inner._modules.get("_orig_mod")) if isinstance(inner, nn.Module) else None
        )
        if wrapped is None:
            raise ConfigError(
                f"{type(network).__name__} has no geometry, which overlap tiles need; use a network with a "
                "`geometry` such as ValidUNet, or MONAI's SlidingWindowInferer for a padded one"
            )
        inner = wrapped
    geometry: ValidGeometry = inner.geometry
    return geometry


class _Axis:
    """One tile along one axis: the source rows (or columns) that it reads, and where its output goes."""

    def __init__(self, source: torch.Tensor, first_px: int, kept_px: int) -> None:
        self.source = source
        self.kept_px = kept_px
        self.target = slice(first_px, first_px + kept_px)

    @classmethod
    def plan(cls, length_px: int, tile_px: int, geometry: ValidGeometry, device: torch.device) -> list[_Axis]:
        """Cover an axis of `length_px` with as few tiles as the pooling grid allows."""
        # Tiles whose output is narrower than the pooling grid (188 px in, 4 out) leave gaps at offsets on that grid.
        tile_px = max(tile_px, geometry.input_px(geometry.stride_px))
        tile_px = min(tile_px, geometry.input_px(length_px))
        output_px = geometry.output_px(tile_px)
        reach = torch.arange(-geometry.margin_px, tile_px - geometry.margin_px, device=device)
        return [
            cls(mirrored_index(reach + first_px, length_px), first_px, min(output_px, length_px - first_px))
            for first_px in _starts(length_px, output_px, geometry.stride_px)
        ]


def _starts(length_px: int, output_px: int, stride_px: int) -> Iterator[int]:
    last_px = max(-(-(length_px - output_px) // stride_px) * stride_px, 0)
    # A tile narrower than the grid covers its whole axis alone; the range is empty then, whatever its step.
    yield from range(0, last_px, max(output_px // stride_px, 1) * stride_px)
    yield last_px


def _cut(image: torch.Tensor, row: _Axis, column: _Axis) -> torch.Tensor:
    return image.index_select(1, row.source).index_select(2, column.source)[None]
