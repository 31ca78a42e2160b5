"""Which tiles cover an image: their sides, where they start, and what they cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import ConfigError
from ..geometry import TileGeometry
from ..transforms import mirrored_index
from .network_cost import NetworkCost

_NEAR_LEAST = 1.02  # what larger tiles save beyond this is not worth the memory that they take


@dataclass(frozen=True)
class AxisPlan:
    """The tiles along one axis of an image.

    Attributes:
        length_px: Length of the image along this axis.
        input_px: Side of every input tile.
        output_px: Side of every output tile.
        margin_px: Pixels of the input tile before the output tile begins.
        starts_px: First image pixel of every output tile, multiples of the network's stride.
    """

    length_px: int
    input_px: int
    output_px: int
    margin_px: int
    starts_px: tuple[int, ...]

    @classmethod
    def of(cls, length_px: int, tile_px: int, geometry: TileGeometry) -> AxisPlan:
        """Cover an axis with as few tiles of at most `tile_px` as the pooling grid allows.

        A tile whose output is narrower than the pooling grid would leave gaps at offsets on that grid (188 px gives 4):
        it is raised to the first that is not.
        """
        tile_px = max(tile_px, geometry.input_px(geometry.stride_px))
        tile_px = min(tile_px, geometry.input_px(length_px))
        output_px = geometry.output_px(tile_px)
        last_px = max(-(-(length_px - output_px) // geometry.stride_px) * geometry.stride_px, 0)
        # A tile narrower than the grid covers its whole axis alone; the range is empty then, whatever its step.
        step_px = max(output_px // geometry.stride_px, 1) * geometry.stride_px
        starts_px = (*range(0, last_px, step_px), last_px)
        return cls(length_px, tile_px, output_px, geometry.margin_px, starts_px)

    def kept_px(self, start_px: int) -> int:
        """Return how much of the output tile at `start_px` lies in the image."""
        return min(self.output_px, self.length_px - start_px)

    def own_px(self, number: int) -> int:
        """Return how much of the axis belongs to tile `number`, from its start to the next one's: no pixel to two."""
        first_px, *following = self.starts_px[number : number + 2]
        return (following[0] if following else self.length_px) - first_px

    def source_px(self, start_px: int) -> torch.Tensor:
        """Return the image pixels that the tile at `start_px` reads, mirrored beyond the border: (input_px,) int64."""
        first_px = start_px - self.margin_px
        return mirrored_index(torch.arange(first_px, first_px + self.input_px), self.length_px)

    @property
    def whole_px(self) -> int:
        """Side of the input of one pass over the whole axis."""
        return self.starts_px[-1] + self.input_px


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one image, the same for all its channels.

    Attributes:
        rows: Tiles from top to bottom.
        columns: Tiles from left to right.
        batch_size: Tiles that go through the network at once.
        flops: Operations of all tiles; a multiplication and its addition count 2. None where they were not asked for.
        memory_bytes: Memory in use while a batch of tiles passes, without weights and image; None likewise.
    """

    rows: AxisPlan
    columns: AxisPlan
    batch_size: int = 1
    flops: float | None = None
    memory_bytes: float | None = None

    @classmethod
    def with_cost(
        cls, rows: AxisPlan, columns: AxisPlan, batch_size: int, cost: NetworkCost, bytes_per_value: int
    ) -> TilePlan:
        """Make a plan that knows its cost; `bytes_per_value` is 4 for feature maps in float32, 2 in bfloat16."""
        plan = cls(rows, columns, batch_size)
        flops = cost.tile_flops(rows.input_px, columns.input_px) * plan.tiles
        memory = cost.tile_bytes(rows.input_px, columns.input_px) * bytes_per_value / 4 * batch_size
        return cls(rows, columns, batch_size, float(flops), float(memory))

    @property
    def axes(self) -> tuple[AxisPlan, AxisPlan]:
        """Rows and columns."""
        return self.rows, self.columns

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.rows.starts_px) * len(self.columns.starts_px)

    def strips_px(self, strips: Iterable[int]) -> int:
        """Return how many pixels of the image belong to these rows of tiles, counted from 0; none to two of them."""
        return sum(self.rows.own_px(strip) for strip in strips) * self.columns.length_px

    @property
    def halo_overhead(self) -> float:
        """Input pixels of all tiles over those of one pass over the whole image, less 1."""
        once_px = self.rows.whole_px * self.columns.whole_px
        return self.tiles * self.rows.input_px * self.columns.input_px / once_px - 1

    def __str__(self) -> str:
        """Return the plan as one line for people."""
        parts = [
            f"{self.rows.length_px} × {self.columns.length_px} px in {len(self.rows.starts_px)} × "
            f"{len(self.columns.starts_px)} tiles of {self.rows.input_px} × {self.columns.input_px} px",
            f"halo +{self.halo_overhead:.0%}",
        ]
        if self.flops is not None and self.memory_bytes is not None:
            parts += [
                f"{self.flops / 1e12:.3g} TFLOP",
                f"{self.memory_bytes / 2**20:.0f} MiB a batch of {self.batch_size}",
            ]
        return ", ".join(parts)


def plan_tiles(
    size_px: Sequence[int],
    geometry: TileGeometry,
    cost: NetworkCost,
    *,
    max_memory_bytes: float,
    batch_size: int = 1,
    bytes_per_value: int = 4,
) -> TilePlan:
    """Choose the tiles that need the fewest operations within a memory budget.

    Rows and columns are chosen apart, and each axis is divided evenly, so that no tile lies mostly outside the image.
    Among plans within 2 % of the fewest operations, the one that needs the least memory is taken.

    Args:
        size_px: (row, column) size of the image.
        geometry: Geometry of the network.
        cost: Cost of a tile.
        max_memory_bytes: What the network may use while tiles pass.
        batch_size: Most tiles that pass at once; fewer where memory does not allow as many.
        bytes_per_value: Of the feature maps: 4 in float32, 2 in bfloat16.

    Raises:
        ConfigError: If not even the smallest tile fits into the budget.
    """
    sides = [_even_sides(length, geometry) for length in size_px]
    plans = [
        [AxisPlan.of(length, side, geometry) for side in choice] for length, choice in zip(size_px, sides, strict=True)
    ]
    rows, columns = (np.array([plan.input_px for plan in axis]) for axis in plans)
    counts = [np.array([len(plan.starts_px) for plan in axis]) for axis in plans]
    memory = cost.tile_bytes(rows[:, None], columns) * bytes_per_value / 4
    flops = cost.tile_flops(rows[:, None], columns) * counts[0][:, None] * counts[1]
    fits = memory <= max_memory_bytes
    if not fits.any():
        raise ConfigError(
            f"max_memory_mb is {max_memory_bytes / 1e6:.6g}, but the smallest tile, {rows.min()} × {columns.min()} px, "
            f"takes {np.ceil(memory.min() / 1e6):.0f} MB; allow that much, or use a network with fewer channels"
        )
    near = fits & (flops <= flops[fits].min() * _NEAR_LEAST)
    row, column = np.unravel_index(np.where(near, memory, np.inf).argmin(), memory.shape)
    at_once = int(min(batch_size, max_memory_bytes // memory[row, column]))
    return TilePlan.with_cost(plans[0][row], plans[1][column], at_once, cost, bytes_per_value)


def _even_sides(length_px: int, geometry: TileGeometry) -> list[int]:
    """Return the input sides that divide an axis evenly into 1, 2, 3, ... tiles."""
    stride_px = geometry.stride_px
    # Each tile but the last gives whole strides; the last one also gives what is over (4 px for the paper's network).
    over_px = geometry.output_px(geometry.input_px(stride_px)) % stride_px
    strides = max(-(-(length_px - over_px) // stride_px), 1)
    # Of all counts that give the same width only one matters.
    widths = {-(-strides // count) for count in range(1, strides + 1)}
    return sorted({geometry.input_px(min(width * stride_px, length_px)) for width in widths})
