"""Segment image files with a bundle: every page of every file, on its own pixel grid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.bundle import ConfigParser
from monai.data import ImageReader, ITKReader, NibabelReader, NrrdReader, PydicomReader, decollate_batch
from monai.inferers import Inferer
from monai.transforms import Compose, LoadImaged
from torch import nn
from tqdm.auto import tqdm

from .bundle_config import config_files, parse_bundle
from .bundle_origin import BundleOrigin
from .engines import RecordedSettings, check_arguments, load_network, recorded_settings, take_recorded
from .errors import ConfigError
from .formats import (
    DicomSeriesReader,
    NiftiReader,
    RasterImage,
    ResultKind,
    ResultPaths,
    SegmentDescription,
    find_inputs,
    is_streamed,
    open_image,
    plan_results,
    read_image,
    write_instances,
    write_mask,
    write_probability,
)
from .inferers import OverlapTileInferer, class_mask
from .output_folder import output_folder
from .precision import number_format
from .reports import overlay_picture, save_picture
from .streamed_prediction import StreamedPrediction
from .transforms import interior_instances
from .volumes import after_loading

IN_MEMORY_PX = 2**24
"""Most pixels of an image that are held in memory unless another limit is given: 4096 × 4096."""

_VOLUME_READERS = (NiftiReader, DicomSeriesReader, NibabelReader, ITKReader, NrrdReader, PydicomReader)

# Ids of inference.yaml that name what the command line of `predict` names for itself.
_OPTIONS = {
    "allow": "--allow",
    "bundle_root": "--bundle",
    "checkpoint_path": "--checkpoint",
    "dataset_dir": "the inputs",
    "mask_format": "--format",
    "output_dir": "-o",
    "overwrite": "--force",
}


@dataclass(frozen=True)
class Predictor:
    """A bundle's way from an image to class probabilities.

    Attributes:
        preprocessing: What comes after the image is loaded; takes and gives `{"image": (C, H, W)}`.
        network: The trained network, in evaluation mode.
        inferer: Applies the network to an image of any size.
        postprocessing: Takes and gives `{"pred": (C, H, W)}`: from logits to probabilities.
        device: Where the network runs.
        segments: What the classes from 1 on are, for DICOM SEG; empty where the bundle does not say.
        origin: Which files these parts came from; None where they came from none.
        remarks: Which settings came from the record of the training run, and which contradict it.
    """

    preprocessing: Compose
    network: nn.Module
    inferer: Inferer
    postprocessing: Compose
    device: torch.device
    segments: tuple[SegmentDescription, ...] = ()
    origin: BundleOrigin | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def from_bundle(
        cls,
        bundle: str | Path,
        checkpoint: str | Path | None = None,
        overlays: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
    ) -> Predictor:
        """Make the parts that the bundle's `inference.yaml` declares.

        Args:
            bundle: Folder of the bundle.
            checkpoint: The weights; `models/model.pt` of the bundle by default. Where they lie in the folder of their
                run, the network and what it is given are as the run's record has them, but for `overrides`.
            overlays: Names of overlays on `inference.yaml`.
            overrides: Values of config ids.

        Raises:
            MissingFileError: If the bundle, an overlay or the checkpoint is not there.
            ConfigError: If an override names an unknown id, or one that has no effect here.
            CheckpointError: If the checkpoint belongs to another network.
        """
        chosen = dict(overrides or {})
        own = next((name for name in chosen if name in _OPTIONS), None)
        if own is not None:
            raise ConfigError(f"config id '{own}' has no effect here; use {_OPTIONS[own]} instead")
        files = config_files(bundle, "inference", overlays)
        path = Path(bundle) / "models" / "model.pt" if checkpoint is None else Path(checkpoint)
        parser = parse_bundle(files, {"bundle_root": str(bundle), "checkpoint_path": str(path), **chosen})
        recorded = recorded_settings(parser, path, tuple(chosen))
        if recorded.network_def is not None:
            check_arguments("network_def", recorded.network_def)
        take_recorded(parser, recorded)
        device = torch.device(parser.get_parsed_content("device"))
        network = parser.get_parsed_content("network_def").to(device=device, memory_format=torch.channels_last)
        load_network(network, path)
        return cls(
            preprocessing=parser.get_parsed_content("preprocessing"),
            network=network.eval(),
            inferer=parser.get_parsed_content("inferer"),
            postprocessing=parser.get_parsed_content("postprocessing"),
            device=device,
            segments=tuple(parser.get_parsed_content("segments")) if "segments" in parser else (),
            origin=BundleOrigin(Path(bundle), path, tuple(overlays), {**recorded.taken, **chosen}),
            remarks=_remarks(parser, recorded),
        )

    def streamed(self) -> StreamedPrediction:
        """Return the same way for images that are larger than memory.

        Raises:
            ConfigError: If the bundle's inferer or transforms need the whole image.
        """
        return StreamedPrediction.of(self.network, self.inferer, self.preprocessing, self.postprocessing)

    @property
    def reads_volumes(self) -> bool:
        """Whether the bundle's preprocessing begins with a reader of NIfTI or of DICOM series."""
        return isinstance(self.reader, _VOLUME_READERS)

    @property
    def reader(self) -> ImageReader | None:
        """The reader that the bundle's preprocessing declares; None where it declares none."""
        loader = next((part for part in self.preprocessing.transforms if isinstance(part, LoadImaged)), None)
        # The one that was given comes after those that MONAI always has.
        return None if loader is None or loader._loader.auto_select else loader._loader.readers[-1]

    @property
    def number_format(self) -> str:
        """In what the network computes: `"bfloat16"` or `"float32"`."""
        return number_format(self.device, self.inferer)

    def check_tiles(self, size_px: Sequence[int], channels: int) -> None:
        """Refuse tiles that do not fit the network or the budget, before the first image is segmented.

        Args:
            size_px: (row, column) size of an image after the preprocessing.
            channels: Its channels, likewise.

        Raises:
            PipelineError: One of its kinds, if this image cannot be cut into tiles.
        """
        if isinstance(self.inferer, OverlapTileInferer):
            self.inferer.plan(size_px, self.network, channels)

    @property
    def pages_at_once(self) -> int:
        """Pages of a stack that go through the network together: as many as the inferer takes tiles."""
        return int(getattr(self.inferer, "batch_size", 1))

    def preprocessed(self, page: npt.NDArray[Any]) -> torch.Tensor:
        """Return a page as the network takes it.

        Args:
            page: (channel, row, column), as `read_image` gives it.
        """
        return torch.as_tensor(after_loading(self.preprocessing, torch.from_numpy(page.astype(np.float32))))

    @torch.inference_mode()
    def probability(self, pages: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the class probabilities of pages, each an image of its own.

        Args:
            pages: (page, channel, row, column), as `read_image` gives them.

        Returns:
            (page, class, row, column) float32, of the same rows and columns.
        """
        images = torch.stack([self.preprocessed(page) for page in pages])
        logits = self.inferer(images.to(self.device), self.network)
        outputs = decollate_batch({"pred": logits})
        return np.stack([self.postprocessing(output)["pred"].float().cpu().numpy() for output in outputs])


@dataclass(frozen=True)
class Wanted:
    """Which results are written besides the mask and the instances.

    Attributes:
        probability: The probability of every class.
        picture: The outlines on the image, of the first page of a stack.
    """

    probability: bool = False
    picture: bool = False

    @property
    def kinds(self) -> list[ResultKind]:
        """Names of the results, as `plan_results` takes them."""
        kinds: list[ResultKind] = ["mask", "instances"]
        if self.probability:
            kinds.append("probability")
        if self.picture:
            kinds.append("overlay")
        return kinds


def predict_files(
    predictor: Predictor,
    inputs: Sequence[str | Path],
    folder: str | Path,
    wanted: Wanted | None = None,
    overwrite: bool = False,
    progress: bool = True,
    *,
    skip_existing: bool = False,
    in_memory_px: int = IN_MEMORY_PX,
) -> list[ResultPaths]:
    """Segment files and folders of images into `folder`.

    All inputs are checked before the first result is written: those held in memory as a whole, larger ones but for
    their pixels. What is unfinished of a large image stays in a hidden folder, and the same call goes on from there.

    Args:
        predictor: The bundle.
        inputs: PNG and TIFF files, single images or stacks, OME-Zarr folders, and folders of such.
        folder: Where results go; it is made.
        wanted: Which results.
        overwrite: Replace results of an earlier run.
        progress: Show a progress bar over the pixels of all pages.
        skip_existing: Leave out images all of whose results are there, whatever wrote them; where some are missing,
            write them all.
        in_memory_px: Most pixels, of all pages of an image, that are held in memory. TIFF of more gray pixels, and
            OME-Zarr of any size, are read and written strip by strip, in memory that does not grow with their height.

    Returns:
        The paths of the results that were written, in the order of the images.

    Raises:
        PipelineError: One of its kinds, if an input cannot be used or a result cannot be written.
    """
    wanted = wanted or Wanted()
    images = find_inputs(inputs).images
    if skip_existing:
        images = tuple(image for image in images if not _is_segmented(ResultPaths(image, Path(folder)), wanted.kinds))
        overwrite = True
    plan = plan_results(images, folder, kinds=wanted.kinds, overwrite=overwrite)
    streamed = {results.source for results in plan if is_streamed(results.source, in_memory_px)}
    stream = predictor.streamed() if streamed else None
    total_px = 0
    for results in plan:
        if stream is not None and results.source in streamed:
            with open_image(results.source) as stored:
                total_px += len(stored.pages) * math.prod(stored.size_px)
                predictor.check_tiles(stored.size_px, 1)
                stream.scratch(stored, results, wanted.probability, overwrite)
        else:
            image = read_image(results.source)
            total_px += image.pages * math.prod(image.size_px)
            channels, *size_px = predictor.preprocessed(image.pixels[0]).shape
            predictor.check_tiles(size_px, channels)
    bar = tqdm(total=total_px, desc="predicting", unit="px", unit_scale=True, disable=not progress)
    with bar, output_folder(folder):
        for results in plan:
            bar.set_postfix_str(results.source.name)
            if stream is not None and results.source in streamed:
                with open_image(results.source) as stored:
                    stream.write(stored, results, wanted.kinds, overwrite, bar)
            else:
                _predict_in_memory(predictor, results, wanted, overwrite, bar)
    return plan


def _remarks(parser: ConfigParser, recorded: RecordedSettings) -> tuple[str, ...]:
    remarks = []
    if recorded.taken:
        taken = ", ".join(f"{name}={json.dumps(value)}" for name, value in recorded.taken.items())
        remarks.append(f"settings of the training run, from its record: {taken}")
    for name, value in recorded.contradicted.items():
        remarks.append(
            f"{name}={json.dumps(parser.get(name))} is not what the network was trained with: {json.dumps(value)}"
        )
    return tuple(remarks)


def _is_segmented(results: ResultPaths, kinds: Sequence[ResultKind]) -> bool:
    return all(results.of_kind(kind).exists() and not results.is_unfinished(kind) for kind in kinds)


def _predict_in_memory(
    predictor: Predictor, results: ResultPaths, wanted: Wanted, overwrite: bool, bar: tqdm[Any]
) -> None:
    image = read_image(results.source)
    probabilities = []
    for first in range(0, image.pages, predictor.pages_at_once):
        pages = image.pixels[first : first + predictor.pages_at_once]
        probabilities.append(predictor.probability(pages))
        bar.update(len(pages) * math.prod(image.size_px))
    _write(results, image, np.concatenate(probabilities), wanted, overwrite)


def _write(
    results: ResultPaths, image: RasterImage, probability: npt.NDArray[np.float32], wanted: Wanted, overwrite: bool
) -> None:
    masks = np.stack([class_mask(page) for page in probability])
    write_mask(results.mask, masks, like=image, overwrite=overwrite)
    # Each page is numbered for itself: pages of a stack are images of their own.
    instances = np.stack([interior_instances(mask > 0) for mask in masks])
    write_instances(results.instances, instances, like=image, overwrite=overwrite)
    if wanted.probability:
        write_probability(results.probability, probability, like=image, overwrite=overwrite)
    if wanted.picture:
        save_picture(results.overlay, overlay_picture(image.pixels[0, :1], pred=instances[0]))
