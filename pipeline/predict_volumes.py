"""Segment volumes with a bundle: DICOM series and NIfTI, each on its own voxel grid."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from tqdm.auto import tqdm

from .counted import counted
from .errors import ConfigError, LabelError
from .formats import (
    AlgorithmIdentification,
    DicomSeries,
    DicomSeriesReader,
    check_same_grid,
    write_dicom_seg,
    write_nifti,
)
from .formats.seg_source import check_source
from .inferers import OverlapTileInferer, class_mask
from .output_folder import output_folder
from .predict import Predictor
from .volume_inputs import NiftiInput, SeriesInput, Volume, VolumeInput
from .volume_record import write_volume_record
from .volume_results import VolumeFormat, VolumeResults, plan_volume_results

# What interpolation back to the grid of a volume leaves of probabilities of 0 and 1.
_ROUNDING = 1e-5


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
    is in memory at a time.

    A DICOM SEG refers to its source series and carries the source's patient and study, as the standard demands for it
    to be filed with them. It is the only result that tells who the patient is.

    Args:
        predictor: A bundle for volumes.
        volumes: What `find_volumes` found.
        folder: Where results go; it is made.
        result_format: `"dicom-seg"` or `"nifti"`; by default the one of each source, DICOM SEG for a DICOM series.
        probability: Also write the probabilities of the classes from 1 on: one fractional DICOM SEG, or a float32 NIfTI
            for each class.
        overwrite: Replace results of an earlier run.
        skip_existing: Leave out volumes whose results a run has finished, whatever wrote them.
        progress: Show a progress bar over the slices of all volumes, and others while DICOM is read.

    Returns:
        The paths of the results that were written, in the order of the volumes.

    Raises:
        PipelineError: One of its kinds, if a volume cannot be used or a result cannot be written.
    """
    allow = predictor.reader.allow if isinstance(predictor.reader, DicomSeriesReader) else frozenset()
    volumes = [
        replace(volume, allow=volume.allow | allow) if isinstance(volume, SeriesInput) else volume for volume in volumes
    ]
    plan = _plan(volumes, Path(folder), result_format, probability, overwrite, skip_existing)
    if predictor.origin is None:
        raise ConfigError("the predictor came from no bundle; make it with Predictor.from_bundle")
    algorithm = predictor.origin.algorithm()
    total_slices, read = 0, None
    for results in plan:
        read = _read_checked(predictor, results, progress)
        prepared = _prepared(predictor, read)
        total_slices += prepared.shape[-1]
        predictor.check_tiles(prepared.shape[1:3], prepared.shape[0])
    bar = tqdm(total=total_slices, desc="predicting", unit="slice", disable=not progress)
    with bar, output_folder(folder):
        for results in plan:
            bar.set_postfix_str(results.source.name)
            if read is None or len(plan) > 1:
                read = _read_checked(predictor, results, progress)
            _predict(predictor, read, results, algorithm, probability, overwrite or skip_existing, bar)
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
    image = _prepared(predictor, volume)
    logits = MetaTensor(_logits(predictor, image.as_tensor(), finished_slices), affine=image.affine)
    output = predictor.postprocessing({"image": image, "pred": logits})["pred"]
    try:
        affine = np.asarray(output.affine) if isinstance(output, MetaTensor) else volume.affine
        check_same_grid("prediction", output.shape[1:], affine, "the volume", volume.voxels.shape, volume.affine)
    except LabelError as error:
        raise ConfigError(
            f"the bundle does not bring predictions back to the grid of the volume ({error}); end its postprocessing "
            "with monai.transforms.Invertd"
        ) from error
    return np.asarray(output.float().cpu().numpy())


def _plan(
    volumes: Sequence[VolumeInput],
    folder: Path,
    result_format: VolumeFormat | None,
    probability: bool,
    overwrite: bool,
    skip_existing: bool,
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
    if skip_existing:
        volumes = [volume for volume in volumes if not VolumeResults(volume, folder, chosen).is_finished(probability)]
    return plan_volume_results(volumes, folder, chosen, overwrite=overwrite or skip_existing)


def _read_checked(predictor: Predictor, results: VolumeResults, progress: bool) -> Volume:
    """Read a volume; refuse one of which no DICOM SEG can be written where one is wanted."""
    if results.format == "dicom-seg" and not predictor.segments:
        raise ConfigError(
            "the bundle does not say what its classes are, which a DICOM SEG must; list them as 'segments' in its "
            "inference.yaml, or write --format nifti"
        )
    volume = results.source.read(progress)
    if results.format == "dicom-seg" and isinstance(volume.source, DicomSeries):
        check_source(volume.source)
    return volume


def _prepared(predictor: Predictor, volume: Volume) -> MetaTensor:
    """Return a volume as the network takes it, (C, H, W, S), with the way back to its grid."""
    voxels = torch.from_numpy(np.ascontiguousarray(volume.voxels, np.float32))
    image = predictor.after_loading(MetaTensor(voxels[None], affine=torch.from_numpy(volume.affine.copy())))
    if not isinstance(image, MetaTensor) or image.ndim != 4:
        raise ConfigError(
            f"the bundle's preprocessing makes a {type(image).__name__} of {image.ndim} axes of a volume; expected a "
            "MetaTensor (channel, row, column, slice); keep track_meta on and the axes of volumes"
        )
    return image


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


def _predict(
    predictor: Predictor,
    volume: Volume,
    results: VolumeResults,
    algorithm: AlgorithmIdentification,
    with_probability: bool,
    overwrite: bool,
    bar: tqdm[Any],
) -> None:
    """Segment one volume and write its results, the record last."""
    started_s = time.monotonic()
    probability = volume_probability(predictor, volume, bar.update)
    mask = class_mask(probability)
    objects = probability if len(probability) == 1 else probability[1:]
    if results.format == "dicom-seg" and len(objects) != len(predictor.segments):
        raise ConfigError(
            f"the bundle lists {counted(len(predictor.segments), 'segment')} and its network gives "
            f"{counted(len(objects), 'class', 'classes')} beside the background; list one segment for each class in "
            "its inference.yaml"
        )
    if with_probability and not (objects.min() >= -_ROUNDING and objects.max() <= 1 + _ROUNDING):
        raise ConfigError(
            f"the bundle gives values from {objects.min():.4g} to {objects.max():.4g} for probabilities; expected "
            "[0, 1]; declare an activation in its postprocessing"
        )
    objects = objects.clip(0, 1)
    if isinstance(volume.source, DicomSeries) and results.format == "dicom-seg":
        written = _write_dicom_seg(
            predictor, mask, objects if with_probability else None, volume.source, results, algorithm, overwrite
        )
    else:
        written = _write_nifti(mask, objects if with_probability else None, volume, results, overwrite)
    assert predictor.origin is not None
    run = {
        "device": str(predictor.device),
        "number_format": predictor.number_format,
        "overlays": list(predictor.origin.overlays),
        "settings": json.loads(json.dumps(dict(predictor.origin.settings), default=str)),
        "seconds": round(time.monotonic() - started_s, 3),
    }
    write_volume_record(results.record, results.source, volume, algorithm, run, written, overwrite=overwrite)


def _write_dicom_seg(
    predictor: Predictor,
    mask: NDArray[Any],
    objects: NDArray[np.float32] | None,
    series: DicomSeries,
    results: VolumeResults,
    algorithm: AlgorithmIdentification,
    overwrite: bool,
) -> list[Path]:
    write_dicom_seg(
        results.mask, mask.astype(np.uint8), series, predictor.segments, algorithm=algorithm, overwrite=overwrite
    )
    if objects is None:
        return [results.mask]
    write_dicom_seg(
        results.probability(),
        objects,
        series,
        predictor.segments,
        kind="fractional",
        algorithm=algorithm,
        series_number=901,
        overwrite=overwrite,
    )
    return [results.mask, results.probability()]


def _write_nifti(
    mask: NDArray[Any], objects: NDArray[np.float32] | None, volume: Volume, results: VolumeResults, overwrite: bool
) -> list[Path]:
    like = volume.affine if isinstance(volume.source, DicomSeries) else volume.source
    write_nifti(results.mask, mask, like, overwrite=overwrite)
    written = [results.mask]
    for index, values in enumerate(() if objects is None else objects, 1):
        write_nifti(results.probability(index), values, like, overwrite=overwrite)
        written.append(results.probability(index))
    return written
