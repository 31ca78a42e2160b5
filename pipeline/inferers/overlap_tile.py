"""The paper's overlap-tile strategy: any image through a valid network, tile by tile, mirrored beyond its border.

A U-Net of depth d commutes only with shifts by multiples of 2**d, because of its pooling grid. All tiles therefore
start on that grid, and their stitched result is what one pass over the whole mirrored image gives.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from monai.inferers import Inferer
from tqdm.auto import tqdm

from ..errors import ConfigError, ImageError, OutputError
from ..geometry import TileGeometry
from ..precision import Precision, autocast, check_precision, is_bfloat16
from .array_run import (
    ArrayLike,
    ArrayRun,
    Sink,
    ToInput,
    ToOutput,
    as_array,
    as_float32,
    check_finite,
    check_sink,
    image_shape,
    read_rows,
    source_state,
)
from .free_memory import free_bytes
from .network_cost import NetworkCost
from .strip_journal import StripJournal
from .tile_plan import AxisPlan, TilePlan, plan_tiles
from .tiled_network import TiledNetwork

_SHARE_OF_FREE = 0.5  # of the memory that is free, where no budget is given, and
_ENOUGH_BYTES = 1.4e9  # no more than this: larger tiles save operations and no time


class OverlapTileInferer(Inferer):
    """Apply a valid-padding network to images of any size, without seams.

    Args:
        tile_px: Largest side of an input tile, legal for the network's geometry; a smaller image takes a smaller tile.
            A side whose output is narrower than the pooling grid (188 px gives 4) is raised to the first that is not.
            `"auto"` plans for each image: few operations within the memory budget, rows and columns chosen apart.
        batch_size: Tiles that go through the network at once; fewer where an automatic tile leaves no memory for them.
        precision: `"fp32"`, `"bf16"` for autocast to bfloat16, or `"auto"` for bfloat16 where the device has it.
        progress: Show a progress bar over the tiles.
        max_memory_mb: Budget of an automatic tile, in MB (10**6 bytes), for the feature maps of the network. Its
            weights, the image, a row of results and what torch sets aside for itself (up to as much again for networks
            of few channels) come on top. By default half of what is free, and at most 1400.
        geometry: Geometry of a network that tells none itself, such as `PaddedGeometry(margin_px=92, stride_px=16)` for
            a padded one.

    Raises:
        ConfigError: If an argument is out of range; when called, if the network has no geometry, gives another size
            than its geometry says, or does not fit into the budget.
        TileSizeError: When called, if `tile_px` is not legal for the network.
        ImageError: When called, if the image has other axes, is empty, or holds NaN or infinity.

    Source:
        Ronneberger, Fischer, Brox: U-Net (MICCAI 2015), section 2 and figure 2.
    """

    def __init__(
        self,
        tile_px: int | Literal["auto"] = 572,
        batch_size: int = 1,
        precision: Precision = "fp32",
        progress: bool = False,
        max_memory_mb: float | None = None,
        geometry: TileGeometry | None = None,
    ) -> None:
        super().__init__()
        if isinstance(tile_px, str) and tile_px != "auto":
            raise ConfigError(f"tile_px must be a number of pixels or 'auto', got {tile_px!r}")
        if not isinstance(tile_px, str) and not (isinstance(tile_px, int) and tile_px >= 1):
            raise ConfigError(f"tile_px must be a whole number of pixels or 'auto', got {tile_px!r}")
        if not (isinstance(batch_size, int) and batch_size >= 1):
            raise ConfigError(f"batch_size must be a whole number of at least 1, got {batch_size!r}")
        if max_memory_mb is not None and not (isinstance(max_memory_mb, int | float) and 0 < max_memory_mb < math.inf):
            raise ConfigError(f"max_memory_mb must be a number above 0, got {max_memory_mb!r}")
        check_precision(precision)
        self.tile_px = tile_px
        self.batch_size = batch_size
        self.precision = precision
        self.progress = progress
        self.max_memory_mb = max_memory_mb
        self.geometry = geometry

    def __call__(
        self, inputs: torch.Tensor, network: Callable[..., torch.Tensor], *args: Any, **kwargs: Any
    ) -> torch.Tensor:
        """Return the network's output for every pixel of the image.

        Args:
            inputs: (B, C, H, W) float, H and W at least 1; or (B, C, H, W, S), whose S slices are images of their own.
            network: A network with a `geometry`, also inside `DistributedDataParallel` or `torch.compile`, on the
                device of `inputs`.
            args: Passed on to the network.
            kwargs: Passed on to the network.

        Returns:
            (B, out_channels, H, W) or (B, out_channels, H, W, S) float32 (float64 for a network in float64), on the
            device of `inputs`.
        """
        if inputs.ndim not in (4, 5) or 0 in inputs.shape:
            raise ImageError(
                "image must be (batch, channel, row, column) or (batch, channel, row, column, slice) and not empty, "
                f"got {tuple(inputs.shape)}"
            )
        if inputs.ndim == 5:
            slices = self(inputs.movedim(4, 1).flatten(0, 1), network, *args, **kwargs)
            result: torch.Tensor = slices.unflatten(0, (len(inputs), inputs.shape[4])).movedim(1, 4)
            return result
        if not torch.isfinite(inputs).all():
            raise ImageError("image holds NaN or infinite pixels; expected finite ones; mend or mask them first")
        tiled = TiledNetwork(network, self.geometry)
        plan = self._plan(inputs.shape[2:], tiled, inputs.shape[1], inputs.device)
        rows, columns = (
            {start_px: axis.source_px(start_px).to(inputs.device) for start_px in axis.starts_px} for axis in plan.axes
        )
        places = [(image, row, column) for image in range(len(inputs)) for row in rows for column in columns]
        groups = [places[first : first + plan.batch_size] for first in range(0, len(places), plan.batch_size)]

        stitched: torch.Tensor | None = None
        # One context around all tiles, so that weights are converted once.
        with autocast(inputs.device, self.precision):
            for group in tqdm(groups, unit="tile", unit_scale=plan.batch_size, disable=not self.progress, leave=False):
                tiles = [
                    inputs[i].index_select(1, rows[row]).index_select(2, columns[column]) for i, row, column in group
                ]
                outputs = tiled(torch.stack(tiles), *args, **kwargs)
                if stitched is None:
                    stitched = outputs.new_empty((len(inputs), outputs.shape[1], *inputs.shape[2:]))
                for (image, row, column), output in zip(group, outputs, strict=True):
                    kept_rows, kept_columns = plan.rows.kept_px(row), plan.columns.kept_px(column)
                    kept = output[:, :kept_rows, :kept_columns]
                    stitched[image, :, row : row + kept_rows, column : column + kept_columns] = kept
        assert stitched is not None
        return stitched

    def plan(self, size_px: Sequence[int], network: Callable[..., torch.Tensor], in_channels: int = 1) -> TilePlan:
        """Return the tiles that an image would be cut into, and what they cost. Nothing is computed.

        Args:
            size_px: (row, column) size of the image.
            network: The network, on the device where it will run.
            in_channels: Channels of the image.

        Raises:
            ConfigError: If a tile is to be chosen and the cost of the network cannot be foreseen, or does not fit into
                the budget. With `tile_px` given, the plan of such a network has no cost.
        """
        if len(size_px) != 2 or min(size_px) < 1:
            raise ImageError(f"size_px must be (row, column), each at least 1, got {tuple(size_px)}")
        tiled = TiledNetwork(network, self.geometry)
        return self._plan(size_px, tiled, in_channels, tiled.device, with_cost=True)

    def run_array(
        self,
        source: ArrayLike,
        network: Callable[..., torch.Tensor],
        sink: Sink,
        *,
        to_input: ToInput = as_float32,
        to_output: ToOutput = as_array,
        journal: str | os.PathLike[str] | None = None,
        run_id: str = "",
        finished_px: Callable[[int], object] | None = None,
    ) -> TilePlan:
        """Apply the network to an image that need not fit in memory, and write the result strip by strip.

        A row of tiles is read with its halo, mirrored beyond the border of the image, passed, and written. What is held
        grows with the width of the image and the height of a tile, not with the height of the image.

        Args:
            source: (row, column) or (channel, row, column): anything that gives pixels by slices, such as
                `numpy.memmap` or a Zarr array.
            network: As for a call.
            sink: (channel, row, column), or (row, column) for one channel: anything that takes pixels by slices.
            to_input: From stored pixels to float32 input of the network, (channel, row, column). It is given parts of
                the image, and must treat each pixel for itself.
            to_output: From an output tile (channel, row, column) to pixels of the sink, likewise; the class of the
                greatest logit, for example.
            journal: File in which finished strips are recorded. Where it exists, its run goes on: with the tiles it
                began with, without the strips it has finished. It is deleted when the last strip is written.
            run_id: What else the result depends on (the source, `to_input`, `to_output`), as one text: a journal with
                another one is refused.
            finished_px: Called after each tile with the number of pixels that it finished, for a progress bar of one's
                own; the first call tells how many an interrupted run had finished, or 0.

        Returns:
            The tiles used.

        Raises:
            ConfigError: As for a call.
            ImageError: If the source has other axes, holds NaN or infinity, or changes while it is read.
            OutputError: If the sink does not fit the results or cannot be written, or the journal is of another run.
        """
        tiled = TiledNetwork(network, self.geometry)
        in_channels = len(to_input(read_rows(source, 0, 1)[:, :, :1]))
        check_sink(sink, source, to_output(self._smallest_output(tiled, in_channels)))
        check_finite(source)

        _, *size_px = image_shape(source)
        run = {
            "source": source_state(source),
            "sink": [list(sink.shape), str(sink.dtype)],
            "weights": tiled.digest(),
            "geometry": repr(tiled.geometry),
            "precision": "bf16" if is_bfloat16(tiled.device, self.precision) else "fp32",
            "run_id": run_id,
        }
        record = None if journal is None else StripJournal(journal)
        if record is not None and record.description is not None:
            plan = self._plan_of_journal(record, run, size_px, tiled, in_channels)
        else:
            plan = self._plan(size_px, tiled, in_channels, tiled.device)
            if record is not None:
                tile_px = [axis.input_px for axis in plan.axes]
                record.begin({"run": run, "tile_px": tile_px, "batch_size": plan.batch_size})
        done_px = 0 if record is None else plan.strips_px(record.finished)
        total_px = size_px[0] * size_px[1]
        with tqdm(total=total_px, initial=done_px, unit="px", unit_scale=True, disable=not self.progress) as bar:
            report = finished_px or bar.update
            strips = ArrayRun(source, sink, plan, to_input, tiled, to_output, tiled.device, tiled.dtype, report)
            if record is not None:
                strips.check_finished(record)
            if finished_px is not None:
                finished_px(done_px)
            with torch.inference_mode(), autocast(tiled.device, self.precision):
                strips.run(record)
        if record is not None:
            record.remove()
        return plan

    def _plan(
        self,
        size_px: Sequence[int],
        tiled: TiledNetwork,
        in_channels: int,
        device: torch.device,
        with_cost: bool = False,
    ) -> TilePlan:
        if self.tile_px != "auto":
            tiled.geometry.output_px(self.tile_px)
            rows, columns = (AxisPlan.of(length, self.tile_px, tiled.geometry) for length in size_px)
            if not with_cost:
                return TilePlan(rows, columns, self.batch_size)
            try:
                cost = NetworkCost.of(tiled.inner, tiled.geometry, in_channels)
            except ConfigError:  # no tile has to be chosen by its cost
                return TilePlan(rows, columns, self.batch_size)
            return TilePlan.with_cost(rows, columns, self.batch_size, cost, self._bytes_per_value(device))
        if self.max_memory_mb is None:
            budget = min(free_bytes(device) * _SHARE_OF_FREE, _ENOUGH_BYTES)
        else:
            budget = self.max_memory_mb * 1e6
        return plan_tiles(
            size_px,
            tiled.geometry,
            NetworkCost.of(tiled.inner, tiled.geometry, in_channels),
            max_memory_bytes=budget,
            batch_size=self.batch_size,
            bytes_per_value=self._bytes_per_value(device),
        )

    def _plan_of_journal(
        self,
        record: StripJournal,
        run: dict[str, Any],
        size_px: Sequence[int],
        tiled: TiledNetwork,
        in_channels: int,
    ) -> TilePlan:
        """Return the tiles that an interrupted run began with, which its finished strips fit."""
        assert record.description is not None
        begun = record.description.get("run")
        known = begun if isinstance(begun, dict) else {}
        differing = [name for name in run if known.get(name) != run[name]]
        if differing:
            raise OutputError(
                f"journal {record.path} belongs to another run, with other {', '.join(differing)}; repeat that run, or "
                "remove the journal to start anew"
            )
        rows, columns = (
            AxisPlan.of(length, side, tiled.geometry)
            for length, side in zip(size_px, record.description["tile_px"], strict=True)
        )
        plan = TilePlan(rows, columns, record.description["batch_size"])
        started = f"the run of journal {record.path} began with tiles of {rows.input_px} × {columns.input_px} px"
        if self.tile_px != "auto":
            wanted = self._plan(size_px, tiled, in_channels, tiled.device)
            if (wanted.rows, wanted.columns) != (rows, columns):
                raise OutputError(f"{started}; repeat it with these, not with tile_px={self.tile_px}, or start anew")
        elif self.max_memory_mb is not None:
            cost = NetworkCost.of(tiled.inner, tiled.geometry, in_channels)
            priced = TilePlan.with_cost(rows, columns, plan.batch_size, cost, self._bytes_per_value(tiled.device))
            if priced.memory_bytes is not None and priced.memory_bytes > self.max_memory_mb * 1e6:
                raise OutputError(
                    f"{started}, which take {priced.memory_bytes / 1e6:.0f} MB; allow that much, not max_memory_mb="
                    f"{self.max_memory_mb:g}, or start anew"
                )
        return plan

    def _bytes_per_value(self, device: torch.device) -> int:
        return 2 if is_bfloat16(device, self.precision) else 4

    def _smallest_output(self, tiled: TiledNetwork, in_channels: int) -> torch.Tensor:
        """Return one pixel of output, (out_channels, 1, 1): what is wrong with the network comes to light here."""
        side_px = tiled.geometry.input_px(1)
        with torch.inference_mode(), autocast(tiled.device, self.precision):
            tile = torch.zeros(1, in_channels, side_px, side_px, device=tiled.device, dtype=tiled.dtype)
            return tiled(tile)[0, :, :1, :1]
