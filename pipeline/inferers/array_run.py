"""A network over an image that need not fit in memory: a row of tiles at a time is read, passed and written."""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

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
    """Return pixels as float32: the same values, or infinity for those that are too large."""
    with np.errstate(over="ignore"):
        return pixels.astype(np.float32)


def as_array(logits: torch.Tensor) -> npt.NDArray[Any]:
    """Return the output of a network as it is."""
    return np.asarray(logits.cpu().numpy())


def image_shape(source: ArrayLike) -> tuple[int, int, int]:
    """Return (channels, rows, columns) of a source.

    Raises:
        ImageError: If it has other axes, no pixel, or pixels that are no numbers.
    """
    if isinstance(source, torch.Tensor):
        raise ImageError("source is a torch tensor; expected an array that is read by slices; give tensor.numpy()")
    shape = tuple(int(length) for length in source.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ImageError(f"source must be (row, column) or (channel, row, column) and not empty, got {shape}")
    if np.dtype(source.dtype).kind not in "buif":
        raise ImageError(f"source must hold integers or real numbers, got {source.dtype}")
    return (1, *shape) if len(shape) == 2 else shape  # type: ignore[return-value]


def check_sink(sink: Sink, source: ArrayLike, result: npt.NDArray[Any]) -> None:
    """Refuse a sink that cannot take the results, or that is the source itself.

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
    if (isinstance(sink, np.ndarray) and not sink.flags.writeable) or getattr(sink, "read_only", False):
        raise OutputError("sink is read-only; open it for writing (numpy.memmap and Zarr: mode='r+')")
    if _is_same(sink, source):
        raise OutputError("sink and source are the same memory or file; the source must stay as it is; give another")


def _is_same(sink: Sink, source: ArrayLike) -> bool:
    """Tell whether what is written would be read again."""
    if isinstance(sink, np.ndarray) and isinstance(source, np.ndarray) and np.may_share_memory(sink, source):
        return True
    files = [
        array.filename if isinstance(array, np.memmap) else getattr(array, "store_path", None)
        for array in (sink, source)
    ]
    return None not in files and str(files[0]) == str(files[1])


def source_state(source: ArrayLike) -> list[Any]:
    """Return what tells one source from another as far as it can be told: shape, type, and time of a mapped file."""
    state: list[Any] = [list(source.shape), str(source.dtype)]
    if isinstance(source, np.memmap) and source.filename is not None:
        status = Path(source.filename).stat()
        state += [status.st_size, status.st_mtime_ns]
    return state


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
        if not np.isfinite(as_float32(read_rows(source, first, last))).all():
            raise ImageError(
                f"source holds pixels that are NaN, infinite, or too large for float32 in rows {first}..{last - 1}; "
                "expected finite ones; mend or mask them first"
            )
        release_pages(source)


def release_pages(array: ArrayLike) -> None:
    """Let the system take back the memory through which a memory map was read or written.

    What was written stays in the file; a map of mode "c", whose changes are nowhere else, is left alone.
    """
    # NumPy offers no other way to the map of an array; a copy of a memory map has none.
    mapped = getattr(array, "_mmap", None)
    if mapped is not None and getattr(array, "mode", None) in ("r", "r+", "w+") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def read_rows(source: ArrayLike, first: int, last: int) -> npt.NDArray[Any]:
    """Return rows `first` to `last` (not included) of a source as (channel, row, column).

    Raises:
        ImageError: If the source gives other pixels than its shape promises, because it changes while it is read.
    """
    channels, _, columns = image_shape(source)
    # Pages of a memory map behind the end of its file cannot be touched: the process would be killed.
    mapped = getattr(source, "_mmap", None)
    if isinstance(source, np.memmap) and source.filename is not None and mapped is not None:
        # A part of a map has the offset of the whole.
        needed = source.offset - source.offset % mmap.ALLOCATIONGRANULARITY + len(mapped)
        there = Path(source.filename).stat().st_size
        if there < needed:
            raise ImageError(
                f"source {source.filename} has shrunk to {there} bytes; expected {needed}; "
                "leave it alone while it is read"
            )
    # A copy: what has been read cannot vanish before it is used.
    pixels = np.array(source[..., first:last, :])
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
        dtype: What it takes: float64 for a network in double precision.
        finished_px: Called with the number of pixels of the image that became finished.
    """

    source: ArrayLike
    sink: Sink
    plan: TilePlan
    to_input: ToInput
    apply: Callable[[torch.Tensor], torch.Tensor]
    to_output: ToOutput
    device: torch.device
    dtype: torch.dtype
    finished_px: Callable[[int], object]

    def run(self, journal: StripJournal | None) -> None:
        """Write all strips but those that the journal knows as finished.

        Raises:
            ImageError: If the source changes while it is read.
            OutputError: If a strip cannot be written.
        """
        finished = journal.finished if journal is not None else {}
        for number, start_px in enumerate(self.plan.rows.starts_px):
            if number in finished:
                continue
            strip = self._strip(number)
            self._write(start_px, strip)
            for array in (self.source, self.sink):
                release_pages(array)
            if journal is not None:
                journal.add(number, self._checksum(number))

    def check_finished(self, journal: StripJournal) -> None:
        """Refuse a sink that does not hold the strips that the journal knows as finished.

        Raises:
            OutputError: If a strip differs from what was written.
        """
        for number, checksum in journal.finished.items():
            if self._checksum(number) != checksum:
                raise OutputError(
                    f"sink does not hold the strips that journal {journal.path} tells to be finished; give the sink of "
                    "that run, opened for reading and writing, or remove the journal to start anew"
                )

    def _checksum(self, number: int) -> int:
        """Return the CRC-32 of a strip as the sink gives it back, without the rows that the next one writes again."""
        first = self.plan.rows.starts_px[number]
        strip = np.asarray(self.sink[..., first : first + self.plan.rows.own_px(number), :])
        return zlib.crc32(np.ascontiguousarray(strip).reshape(-1).view(np.uint8).data)

    def _strip(self, number: int) -> npt.NDArray[Any]:
        """Return the result of one row of tiles."""
        rows, columns = self.plan.rows, self.plan.columns
        start_px = rows.starts_px[number]
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
            for tile, (column, output) in enumerate(zip(starts, self.apply(tiles), strict=True), at):
                kept_columns = columns.kept_px(column)
                result = self.to_output(output[:, :kept_rows, :kept_columns])
                if strip is None:
                    strip = np.empty((len(result), kept_rows, columns.length_px), result.dtype)
                strip[:, :, column : column + kept_columns] = result
                self.finished_px(rows.own_px(number) * columns.own_px(tile))
        assert strip is not None
        return strip

    def _tile(
        self, stored: npt.NDArray[Any], rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
    ) -> torch.Tensor:
        """Return one input tile out of the stored pixels of a strip."""
        pixels = self.to_input(stored[:, rows[:, np.newaxis], columns])
        return torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device, self.dtype)

    def _write(self, start_px: int, strip: npt.NDArray[Any]) -> None:
        try:
            self.sink[..., start_px : start_px + strip.shape[1], :] = strip if len(self.sink.shape) == 3 else strip[0]
            flush = getattr(self.sink, "flush", None)
            if flush is not None:
                flush()
        except (OSError, ValueError) as error:
            raise OutputError(f"a strip of the result cannot be written: {error}; check sink and disk") from error
