"""Segment volumes with a bundle: DICOM series and NIfTI, each on its own voxel grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from tqdm.auto import tqdm

from .bundle_origin import BundleOrigin
from .errors import ConfigError
from .formats import DicomSeriesReader, ExpectedSeries
from .inferers import OverlapTileInferer
from .output_folder import output_folder
from .predict import Predictor
from .volumes import (
    NiftiInput,
    SeriesInput,
    Volume,
    VolumeFormat,
    VolumeInput,
    VolumeResults,
    VolumeWriter,
    check_volumes,
    on_grid,
    plan_volume_results,
    prepared,
    read_checked,
)


def predict_volumes(
    predictor: Predictor,
    volumes: Sequence[VolumeInput],
    folder: str | Path,
    result_format: VolumeFormat | None = None,
    *,
    probability: bool = False,
    overwrite: bool = False,
    skip_existing: bool = False,
    progress: bool = True,
) -> list[VolumeResults]:
    """Segment volumes into `folder`.

    Every volume is read and checked before the first result is written, and read again when its turn comes: only one
    is in memory at a time. Of all results, only a DICOM SEG tells who the patient is.

    Args:
        predictor: A bundle for volumes.
        volumes: What `find_volumes` found.
        folder: Where results go; it is made.
        result_format: `"dicom-seg"` or `"nifti"`; by default the one of each source, DICOM SEG for a DICOM series.
        probability: Also write the probabilities of the classes from 1 on: one fractional DICOM SEG, or a float32 NIfTI
            for each class.
        overwrite: Replace results of an earlier run.
        skip_existing: Leave out volumes whose results a run has finished. It must have been of the same bundle, weights
            and settings, and the source must not have changed since.
        progress: Show a progress bar over the slices of all volumes, and others while DICOM is read.

    Returns:
        The paths of the results that were written, in the order of the volumes.

    Raises:
        PipelineError: One of its kinds, if a volume cannot be used or a result cannot be written.
    """
    if predictor.origin is None:
        raise ConfigError("the predictor came from no bundle; make it with Predictor.from_bundle")
    algorithm = predictor.origin.algorithm()
    volumes = [_as_expected(predictor, predictor.origin, volume) for volume in volumes]
    plan = _plan(volumes, Path(folder), result_format, overwrite or skip_existing)
    if skip_existing:
        finished = [results for results in plan if results.is_finished(probability)]
        for results in finished:
            results.check_made_alike(algorithm, predictor.origin.facts()["settings"])
        plan = [results for results in plan if results not in finished]
    total_slices, read = check_volumes(
        plan, predictor.preprocessing, predictor.segments, predictor.inferer, predictor.network, progress
    )
    writer = VolumeWriter(
        predictor.origin,
        algorithm,
        predictor.segments,
        predictor.device,
        predictor.inferer,
        with_probability=probability,
        overwrite=overwrite or skip_existing,
    )
    bar = tqdm(total=total_slices, desc="predicting", unit="slice", disable=not progress)
    with bar, output_folder(folder):
        for results in plan:
            bar.set_postfix_str(results.source.name)
            if read is None or len(plan) > 1:
                read = read_checked(results, predictor.segments, progress)
            started_s = time.monotonic()
            writer.write(results, read, volume_probability(predictor, read, bar.update), started_s)
    return plan


@torch.inference_mode()
def volume_probability(
    predictor: Predictor, volume: Volume, finished_slices: Callable[[int], object] = lambda count: None
) -> NDArray[np.float32]:
    """Return the class probabilities of a volume on its own grid.

    Args:
        predictor: A bundle for volumes.
        volume: The volume.
        finished_slices: Called with the number of slices that were segmented.

    Returns:
        (class, i, j, k) float32.

    Raises:
        ConfigError: If the bundle does not bring predictions back to the grid of the volume.
    """
    image = prepared(predictor.preprocessing, volume)
    logits = MetaTensor(_logits(predictor, image.as_tensor(), finished_slices), affine=image.affine)
    output = predictor.postprocessing({"image": image, "pred": logits})["pred"]
    return on_grid(output, volume)


def _as_expected(predictor: Predictor, origin: BundleOrigin, volume: VolumeInput) -> VolumeInput:
    """Return a series with what the bundle demands of it: its reader, and where that says nothing its metadata."""
    if not isinstance(volume, SeriesInput):
        return volume
    expected, allow = origin.expected(), volume.allow
    if isinstance(predictor.reader, DicomSeriesReader):
        declared = predictor.reader.expected
        expected = ExpectedSeries(declared.modality or expected.modality, declared.units or expected.units)
        allow |= predictor.reader.allow
    return replace(volume, allow=allow, expected=expected)


def _plan(
    volumes: Sequence[VolumeInput],
    folder: Path,
    result_format: VolumeFormat | None,
    overwrite: bool,
) -> list[VolumeResults]:
    from_dicom = [volume for volume in volumes if isinstance(volume, SeriesInput)]
    from_nifti = [volume for volume in volumes if isinstance(volume, NiftiInput)]
    if result_format == "dicom-seg" and from_nifti:
        raise ConfigError(
            f"input {from_nifti[0].path} is NIfTI, and a DICOM SEG refers to a DICOM series; give the series, or write "
            "--format nifti"
        )
    if result_format is None and from_dicom and from_nifti:
        raise ConfigError("the inputs are DICOM series and NIfTI files; give one kind at a time, or --format nifti")
    chosen: VolumeFormat = result_format or ("dicom-seg" if from_dicom else "nifti")
    return plan_volume_results(volumes, folder, chosen, overwrite=overwrite)


def _logits(predictor: Predictor, image: torch.Tensor, finished_slices: Callable[[int], object]) -> torch.Tensor:
    """Apply the network to (C, H, W, S), some slices at a time where each is an image of its own."""
    slices = image.shape[-1]
    step = predictor.pages_at_once if isinstance(predictor.inferer, OverlapTileInferer) else slices
    parts = []
    for first in range(0, slices, step):
        part = image[None, ..., first : first + step].to(predictor.device)
        parts.append(predictor.inferer(part, predictor.network)[0].float().cpu())
        finished_slices(part.shape[-1])
    return torch.cat(parts, dim=-1)
