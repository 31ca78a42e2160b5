"""Segmenting an image larger than memory: strips of its pages through the network, and results out of strips.

What is unfinished lies in a hidden folder beside the results, from which a killed run goes on.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers import Inferer
from monai.transforms import Compose
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from .errors import ConfigError, ImageError
from .formats import TILE_PX, RawPixels, ResultKind, ResultPaths, StoredImage, StoredPage, write_strips
from .inferers import OverlapTileInferer, class_mask
from .inferers.tiled_network import TiledNetwork
from .reports import overlay_picture, save_picture
from .scratch_folder import ScratchFolder
from .streamed_intensity import PixelTransforms
from .transforms import StripInstances

_PICTURE_PX = 2048


@dataclass(frozen=True)
class StreamedPrediction:
    """A bundle's way from an image in a file to results in files.

    Attributes:
        network: The trained network, in evaluation mode.
        inferer: Applies it to an image strip by strip; shows no progress of its own.
        transforms: What the bundle does with pixels before and after.
    """

    network: nn.Module
    inferer: OverlapTileInferer
    transforms: PixelTransforms

    @classmethod
    def of(
        cls, network: nn.Module, inferer: Inferer, preprocessing: Compose, postprocessing: Compose
    ) -> StreamedPrediction:
        """Take the parts of a bundle.

        Raises:
            ConfigError: If the inferer or a transform cannot work strip by strip.
        """
        if not isinstance(inferer, OverlapTileInferer):
            raise ConfigError(
                f"{type(inferer).__name__} cannot segment an image strip by strip, as large TIFF and OME-Zarr are; "
                "declare an OverlapTileInferer, or give the image as TIFF with pages small enough to be held in memory"
            )
        quiet = copy.copy(inferer)
        quiet.progress = False
        return cls(network, quiet, PixelTransforms.of(preprocessing, postprocessing))

    def scratch(
        self, image: StoredImage, results: ResultPaths, with_probability: bool, overwrite: bool
    ) -> ScratchFolder:
        """Return the folder of unfinished results; nothing is written.

        Raises:
            OutputError: If it is of another run and `overwrite` is not set.
        """
        description = {
            "image": [image.state, len(image.pages), *image.size_px, str(image.dtype)],
            "weights": self._weights,
            "precision": self.inferer.precision,
            "geometry": repr(self._tiled.geometry),
            "transforms": str(self.transforms),
            "kinds of results": "probability" if with_probability else "mask",
        }
        return ScratchFolder(results.scratch, description, overwrite)

    def write(
        self,
        image: StoredImage,
        results: ResultPaths,
        kinds: Sequence[ResultKind],
        overwrite: bool,
        bar: tqdm[Any],
    ) -> None:
        """Segment an image and write its results.

        Args:
            image: The image.
            results: Where results go.
            kinds: Which results.
            overwrite: Replace results of an earlier run.
            bar: Advanced by the pixels of all pages.

        Raises:
            ImageError: If the image cannot be read, or changes meanwhile.
            OutputError: If a result cannot be written, or the unfinished results are of another run.
        """
        with_probability = "probability" in kinds
        scratch = self.scratch(image, results, with_probability, overwrite)
        shape, dtype = self._raw_form(image, with_probability)
        pages = [scratch / f"page-{number}.raw" for number in range(len(image.pages))]
        with scratch.begun():
            for page, path in zip(image.pages, pages, strict=True):
                if path.exists():
                    _advance_before(bar, math.prod(page.shape))
                else:
                    self._segment(page, path, shape, dtype, _pixels_of_run(bar))
            image.check_unchanged()
            with ExitStack() as stack:
                raw = [stack.enter_context(RawPixels(path, shape, dtype)) for path in pages]
                _write_results(image, [_Segmented(page) for page in raw], results, kinds, overwrite)
            scratch.remove()

    def _segment(
        self,
        page: StoredPage,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        finished_px: Callable[[int], None],
    ) -> None:
        """Give the network's answer for a page a file of its own, which has its name only when it is complete."""
        unfinished, journal = path.with_suffix(".unfinished"), path.with_suffix(".journal")
        open_sink = RawPixels if journal.exists() else RawPixels.make
        with open_sink(unfinished, shape, dtype) as sink:

            def to_output(logits: torch.Tensor) -> NDArray[Any]:
                probability = self.transforms.probability(logits)
                if len(shape) == 2:
                    return _mask_pixels(probability)[np.newaxis]
                lowest, highest = probability.min(), probability.max()
                if not (lowest >= 0 and highest <= 1):
                    raise ImageError(
                        f"cannot write probabilities of {page.path}: the network gives values from {lowest} to "
                        f"{highest}; expected [0, 1]; declare an activation in the bundle's postprocessing"
                    )
                return probability

            self.inferer.run_array(
                page,
                self.network,
                sink,
                to_input=self.transforms.to_input(page),
                to_output=to_output,
                journal=journal,
                run_id=path.stem,
                finished_px=finished_px,
            )
        unfinished.rename(path)

    def _raw_form(self, image: StoredImage, with_probability: bool) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Return shape and dtype of the network's answer for a page: its mask, or all probabilities."""
        if not with_probability:
            return image.size_px, np.dtype(np.uint8)
        device = self._tiled.device
        with torch.inference_mode():
            one_pixel = self.inferer(torch.zeros(1, 1, 1, 1, device=device), self.network)
        return (one_pixel.shape[1], *image.size_px), np.dtype(np.float32)

    @cached_property
    def _tiled(self) -> TiledNetwork:
        return TiledNetwork(self.network, self.inferer.geometry)

    @cached_property
    def _weights(self) -> str:
        return self._tiled.digest()


def _advance_before(bar: tqdm[Any], pixels: int) -> None:
    """Advance a bar by pixels of an earlier run, which say nothing about the speed of this one."""
    if not bar.disable:
        bar.initial += pixels
    bar.update(pixels)


def _pixels_of_run(bar: tqdm[Any]) -> Callable[[int], None]:
    """Return what advances a bar as `run_array` calls it: the pixels of the first call were finished before."""
    has_begun = False

    def advance(pixels: int) -> None:
        nonlocal has_begun
        if has_begun:
            bar.update(pixels)
        else:
            _advance_before(bar, pixels)
        has_begun = True

    return advance


@dataclass(frozen=True, eq=False)
class _Segmented:
    """The network's answer for a page, (row, column) mask or (class, row, column) probability, in strips."""

    raw: RawPixels

    def mask(self) -> Iterator[NDArray[np.uint8]]:
        for strip in self.raw.strips(TILE_PX):
            yield strip if strip.ndim == 2 else _mask_pixels(strip)

    def probability(self) -> Iterator[NDArray[np.float32]]:
        """Give one class after the other."""
        for number in range(self.raw.shape[0]):
            for strip in self.raw.strips(TILE_PX):
                yield strip[number]

    def interior(self) -> Iterator[NDArray[np.bool_]]:
        for strip in self.mask():
            yield strip > 0


def _mask_pixels(probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return what a mask file holds: 0 and 255, or class indices."""
    mask = class_mask(probability)
    return mask.astype(np.uint8) * np.uint8(255) if mask.dtype == np.bool_ else mask.astype(np.uint8)


def _write_results(
    image: StoredImage,
    pages: Sequence[_Segmented],
    results: ResultPaths,
    kinds: Sequence[ResultKind],
    overwrite: bool,
) -> None:
    """Write each kind of result that an interrupted run has not written."""
    shape = (len(pages), *image.size_px)

    def write_mask() -> None:
        write_strips(results.mask, _all_strips(pages, _Segmented.mask), shape, np.uint8, overwrite=overwrite)

    # Each page is numbered for itself: pages of a stack are images of their own.
    def write_instances() -> None:
        numbered = [StripInstances.of(page.interior) for page in pages]
        dtype = np.uint16 if max(page.count for page in numbered) < 2**16 else np.uint32
        strips = (strip.astype(dtype) for page in numbered for strip in page.strips())
        write_strips(results.instances, strips, shape, dtype, overwrite=overwrite)

    def write_probability() -> None:
        strips = _all_strips(pages, _Segmented.probability)
        of_classes = (len(pages), *pages[0].raw.shape)
        write_strips(results.probability, strips, of_classes, np.float32, overwrite=overwrite)

    def write_overlay() -> None:
        pixels, instances = _reduced(image.pages[0], pages[0])
        save_picture(results.overlay, overlay_picture(pixels, pred=instances, max_panel_px=_PICTURE_PX))

    writers: dict[ResultKind, Callable[[], None]] = {
        "mask": write_mask,
        "instances": write_instances,
        "probability": write_probability,
        "overlay": write_overlay,
    }
    for kind in kinds:
        # `plan_results` has refused results that were there before the run began.
        if not overwrite:
            if results.is_unfinished(kind):
                continue
            results.mark(kind).touch()
        writers[kind]()


def _all_strips(
    pages: Sequence[_Segmented], strips: Callable[[_Segmented], Iterator[NDArray[Any]]]
) -> Iterator[NDArray[Any]]:
    for page in pages:
        yield from strips(page)


def _reduced(page: StoredPage, segmented: _Segmented) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """Return image and instances of a page, of at most 2048 px a side: means of squares, and their middle pixels."""
    rows, columns = page.shape
    factor = -(-max(rows, columns) // _PICTURE_PX)
    means = [_square_means(strip, factor) for strip in page.strips(multiple=factor)]
    chosen_rows, chosen_columns = (
        np.minimum(np.arange(0, side, factor) + factor // 2, side - 1) for side in (rows, columns)
    )
    instances, top = [], 0
    for strip in StripInstances.of(segmented.interior).strips():
        here = chosen_rows[(chosen_rows >= top) & (chosen_rows < top + len(strip))] - top
        instances.append(strip[here][:, chosen_columns])
        top += len(strip)
    return np.concatenate(means), np.concatenate(instances)


def _square_means(pixels: NDArray[Any], factor: int) -> NDArray[np.float64]:
    rows, columns = (np.arange(0, side, factor) for side in pixels.shape)
    sums = np.add.reduceat(np.add.reduceat(pixels.astype(np.float64), rows, axis=0), columns, axis=1)
    heights, widths = (
        np.diff(np.append(starts, side)) for starts, side in zip((rows, columns), pixels.shape, strict=True)
    )
    return np.asarray(sums / np.outer(heights, widths))
