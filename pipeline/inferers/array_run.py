"""A network over an image that need not fit in memory: a row of tiles at a time is read, passed and written."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from tqdm.auto import tqdm

from ..errors import ImageError, OutputError
from .strip_journal import StripJournal
from .tile_plan import TilePlan

_SCANNED_ROWS = 256


class ArrayLike(Protocol):
    """What is read and written by slices: an array of NumPy or Zarr, a memory map, a file read by tiles."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(row, column) or (channel, row, column)."""

    @property
    def dtype(self) -> Any:
        """NumPy's type of the pixels."""

    def __getitem__(self, index: Any) -> Any:
        """Return the pixels of slices."""


class Sink(ArrayLike, Protocol):
    """An array that can be written."""

    def __setitem__(self, index: Any, pixels: Any) -> None:
        """Write the pixels of slices."""


ToInput = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
ToOutput = Callable[[torch.Tensor], npt.NDArray[Any]]


def as_float32(pixels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return pixels as float32, the values unchanged."""
    return pixels.astype(np.float32)


def as_array(logits: torch.Tensor) -> npt.NDArray[Any]:
    """Return the output of a network as it is."""
    return np.asarray(logits.cpu().numpy())


def image_shape(source: ArrayLike) -> tuple[int, int, int]:
    """Return (channels, rows, columns) of a source.

    Raises:
        ImageError: If it has other axes, no pixel, or pixels that are no numbers.
    """
    shape = tuple(int(length) for length in source.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ImageError(f"source must be (row, column) or (channel, row, column) and not empty, got {shape}")
    if np.dtype(source.dtype).kind not in "buif":
        raise ImageError(f"source must hold integers or real numbers, got {source.dtype}")
    return (1, *shape) if len(shape) == 2 else shape  # type: ignore[return-value]


def check_sink(sink: Sink, source: ArrayLike, result: npt.NDArray[Any]) -> None:
    """Refuse a sink that cannot take the results.

    Args:
        sink: Where results go.
        source: The image.
        result: Any piece of the results, (channel, row, column).

    Raises:
        OutputError: If shape or dtype do not fit, or the sink cannot be written.
    """
    _, rows, columns = image_shape(source)
    expected = (len(result), rows, columns)
    shape = tuple(int(length) for length in sink.shape)
    if shape != expected and not (shape == expected[1:] and expected[0] == 1):
        raise OutputError(f"sink has the shape {shape}; expected {expected} for this source and network; make it so")
    if not np.can_cast(result.dtype, sink.dtype, "safe"):
        raise OutputError(
            f"sink holds {sink.dtype}, which cannot hold {result.dtype} results exactly; make it {result.dtype}"
        )
    if isinstance(sink, np.ndarray) and not sink.flags.writeable:
        raise OutputError("sink is read-only; open it for writing (numpy.memmap: mode='r+')")


def check_finite(source: ArrayLike) -> None:
    """Read through a source of real numbers once, and refuse NaN and infinity.

    Raises:
        ImageError: If there are such pixels.
    """
    if np.dtype(source.dtype).kind != "f":
        return
    _, rows, _ = image_shape(source)
    for first in range(0, rows, _SCANNED_ROWS):
        last = min(first + _SCANNED_ROWS, rows)
        if not np.isfinite(read_rows(source, first, last)).all():
            raise ImageError(
                f"source holds NaN or infinite pixels in rows {first}..{last - 1}; expected finite ones; mend or mask "
                "them first"
            )
        release_pages(source)


def release_pages(array: ArrayLike) -> None:
    """Let the system take back the memory through which a memory map was read or written.

    What was written stays in the file; a map of mode "c", whose changes are nowhere else, is left alone.
    """
    if isinstance(array, np.memmap) and array.mode != "c" and hasattr(mmap, "MADV_DONTNEED"):
        # NumPy offers no other way to the map of an array.
        array._mmap.madvise(mmap.MADV_DONTNEED)  # type: ignore[attr-defined]


def read_rows(source: ArrayLike, first: int, last: int) -> npt.NDArray[Any]:
    """Return rows `first` to `last` (not included) of a source as (channel, row, column).

    Raises:
        ImageError: If the source gives other pixels than its shape promises, because it changes while it is read.
    """
    channels, _, columns = image_shape(source)
    # Pages of a memory map behind the end of its file cannot be touched: the process would be killed.
    if isinstance(source, np.memmap) and source.filename is not None:
        needed, there = source.offset + source.nbytes, Path(source.filename).stat().st_size
        if there < needed:
            raise ImageError(
                f"source {source.filename} has shrunk to {there} bytes; expected {needed}; "
                "leave it alone while it is read"
            )
    pixels = np.asarray(source[..., first:last, :])
    pixels = pixels[np.newaxis] if pixels.ndim == 2 else pixels
    if pixels.shape != (channels, last - first, columns):
        raise ImageError(
            f"source gives {pixels.shape} pixels for rows {first}..{last - 1}; expected "
            f"{(channels, last - first, columns)}; leave it alone while it is read"
        )
    return pixels


@dataclass(frozen=True)
class ArrayRun:
    """A run from a source to a sink, a strip for each row of tiles.

    Attributes:
        source: The image.
        sink: Where results go.
        plan: The tiles.
        to_input: From stored pixels to what the network takes, (channel, row, column), pixel by pixel.
        apply: From input tiles to output tiles, (batch, channel, row, column).
        to_output: From an output tile to pixels of the sink, (channel, row, column), pixel by pixel.
        device: Where the network is.
    """

    source: ArrayLike
    sink: Sink
    plan: TilePlan
    to_input: ToInput
    apply: Callable[[torch.Tensor], torch.Tensor]
    to_output: ToOutput
    device: torch.device

    def run(self, journal: StripJournal | None, progress: bool) -> None:
        """Write all strips but those that the journal knows as finished.

        Raises:
            ImageError: If the source changes while it is read.
            OutputError: If a strip cannot be written.
        """
        finished = journal.finished if journal is not None else set()
        a_row = len(self.plan.columns.starts_px)
        with tqdm(total=self.plan.tiles, initial=len(finished) * a_row, unit="tile", disable=not progress) as bar:
            for number, start_px in enumerate(self.plan.rows.starts_px):
                if number in finished:
                    continue
                strip = self._strip(start_px, bar)
                self._write(start_px, strip)
                for array in (self.source, self.sink):
                    release_pages(array)
                if journal is not None:
                    journal.add(number)

    def _strip(self, start_px: int, bar: tqdm[Any]) -> npt.NDArray[Any]:
        """Return the result of one row of tiles."""
        rows, columns = self.plan.rows, self.plan.columns
        wanted = rows.source_px(start_px).numpy()
        first, last = int(wanted.min()), int(wanted.max()) + 1
        stored = read_rows(self.source, first, last)

        strip: npt.NDArray[Any] | None = None
        kept_rows = rows.kept_px(start_px)
        for at in range(0, len(columns.starts_px), self.plan.batch_size):
            starts = columns.starts_px[at : at + self.plan.batch_size]
            tiles = torch.stack(
                [self._tile(stored, wanted - first, columns.source_px(column).numpy()) for column in starts]
            )
            for column, output in zip(starts, self.apply(tiles.to(self.device)), strict=True):
                kept_columns = columns.kept_px(column)
                result = self.to_output(output[:, :kept_rows, :kept_columns])
                if strip is None:
                    strip = np.empty((len(result), kept_rows, columns.length_px), result.dtype)
                strip[:, :, column : column + kept_columns] = result
                bar.update()
        assert strip is not None
        return strip

    def _tile(
        self, stored: npt.NDArray[Any], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> torch.Tensor:
        """Return one input tile out of the stored pixels of a strip."""
        pixels = self.to_input(stored[:, rows[:, np.newaxis], columns])
        return torch.from_numpy(np.ascontiguousarray(pixels))

    def _write(self, start_px: int, strip: npt.NDArray[Any]) -> None:
        try:
            self.sink[..., start_px : start_px + strip.shape[1], :] = strip if len(self.sink.shape) == 3 else strip[0]
            flush = getattr(self.sink, "flush", None)
            if flush is not None:
                flush()
        except OSError as error:
            raise OutputError(f"a strip of the result cannot be written: {error}; check the disk") from error
