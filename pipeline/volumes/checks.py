"""What is checked of volumes before the first result is written."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.transforms import Compose, LoadImaged
from torch import nn

from ..errors import ConfigError, ImageError
from ..formats import DicomSeries, SegmentDescription
from ..formats.seg_source import check_source
from ..inferers import OverlapTileInferer
from .inputs import SeriesInput, Volume
from .results import VolumeResults


def check_volumes(
    plan: Sequence[VolumeResults],
    preprocessing: Compose,
    segments: Collection[SegmentDescription],
    inferer: Inferer,
    network: nn.Module,
    progress: bool,
) -> tuple[int, Volume | None]:
    """Read and prepare every volume; only one is in memory at a time.

    Args:
        plan: The volumes and their results.
        preprocessing: The preprocessing of the bundle; its reader is not asked.
        segments: What the classes are.
        inferer: Applies the network.
        network: The network, on the device where it will run.
        progress: Show bars on standard error while DICOM is read.

    Returns:
        How many slices the network will see, and the last of the volumes.

    Raises:
        PipelineError: One of its kinds, if a volume cannot be used.
    """
    slices, volume = 0, None
    for results in plan:
        try:
            volume = read_checked(results, segments, progress)
        except ImageError as error:
            if isinstance(results.source, SeriesInput) and len(plan) > 1:
                uid = results.source.uid or "(no UID)"
                raise ImageError(f"series {uid}: {error}; or name the other series with --series") from error
            raise
        image = prepared(preprocessing, volume)
        slices += image.shape[-1]
        if isinstance(inferer, OverlapTileInferer):
            inferer.plan(image.shape[1:3], network, image.shape[0])
    return slices, volume


def read_checked(results: VolumeResults, segments: Collection[SegmentDescription], progress: bool) -> Volume:
    """Read a volume; refuse one of which no DICOM SEG can be written where one is wanted.

    Args:
        results: The volume and its results.
        segments: What the classes are.
        progress: Show bars on standard error while DICOM is read.

    Raises:
        ConfigError: If a DICOM SEG is wanted and nothing says what the classes are.
        PipelineError: Another of its kinds, if the volume cannot be used or referred to.
    """
    if results.format == "dicom-seg" and not segments:
        raise ConfigError(
            "the bundle does not say what its classes are, which a DICOM SEG must; list them as 'segments' in its "
            "inference.yaml, or write --format nifti"
        )
    volume = results.source.read(progress)
    if results.format == "dicom-seg" and isinstance(volume.source, DicomSeries):
        check_source(volume.source)
    return volume


def prepared(preprocessing: Compose, volume: Volume) -> MetaTensor:
    """Return a volume as the network takes it, (C, H, W, S), with the way back to its grid.

    Args:
        preprocessing: The preprocessing of the bundle, of which what comes after the reader is done.
        volume: The volume.

    Raises:
        ConfigError: If the preprocessing makes something else of it.
    """
    voxels = torch.from_numpy(np.ascontiguousarray(volume.voxels, np.float32))
    image = after_loading(preprocessing, MetaTensor(voxels[None], affine=torch.from_numpy(volume.affine.copy())))
    if not isinstance(image, MetaTensor) or image.ndim != 4:
        raise ConfigError(
            f"the bundle's preprocessing makes a {type(image).__name__} of {image.ndim} axes of a volume; expected a "
            "MetaTensor (channel, row, column, slice); keep track_meta on and the axes of volumes"
        )
    return image


def after_loading(preprocessing: Compose, image: torch.Tensor) -> torch.Tensor:
    """Return what a preprocessing makes of an image that is loaded already, (C, H, W) or (C, i, j, k) float32."""
    start = preprocessing.get_index_of_first(lambda part: isinstance(part, LoadImaged)) + 1
    image = preprocessing({"image": image}, start=start)["image"]
    return image
