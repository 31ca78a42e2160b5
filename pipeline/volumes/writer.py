"""Writing what a network made of a volume: the mask, its probabilities where wanted, and last the record."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from numpy.typing import NDArray

from ..bundle_origin import BundleOrigin
from ..counted import counted
from ..errors import ConfigError, LabelError
from ..formats import (
    AlgorithmIdentification,
    DicomSeries,
    SegmentDescription,
    check_same_grid,
    write_dicom_seg,
    write_nifti,
)
from ..inferers import class_mask
from ..precision import number_format
from .inputs import Volume
from .record import write_volume_record
from .results import VolumeResults

# What interpolation back to the grid of a volume leaves of probabilities of 0 and 1.
_ROUNDING = 1e-5


def on_grid(output: torch.Tensor, volume: Volume) -> NDArray[np.float32]:
    """Return the class probabilities that a postprocessing gave, (class, i, j, k), if they lie on the volume's grid.

    Args:
        output: What the postprocessing gave.
        volume: The volume.

    Raises:
        ConfigError: If they do not.
    """
    try:
        affine = np.asarray(output.affine) if isinstance(output, MetaTensor) else volume.affine
        check_same_grid("prediction", output.shape[1:], affine, "the volume", volume.voxels.shape, volume.affine)
    except LabelError as error:
        raise ConfigError(
            f"the bundle does not bring predictions back to the grid of the volume ({error}); end its postprocessing "
            "with monai.transforms.Invertd"
        ) from error
    return np.asarray(output.float().cpu().numpy())


@dataclass(frozen=True)
class VolumeWriter:
    """Writes the results of volumes.

    A DICOM SEG refers to its source series and carries the source's patient and study, as the standard demands for it
    to be filed with them. It is the only result that tells who the patient is.

    Attributes:
        origin: Which bundle, weights and settings.
        algorithm: The same, as DICOM SEG says it.
        segments: What the classes from 1 on are, for DICOM SEG.
        device: Where the network runs.
        inferer: Applies the network.
        with_probability: Also write the probabilities of the classes from 1 on: one fractional DICOM SEG, or a float32
            NIfTI for each class.
        overwrite: Replace results of an earlier run, and remove those of them that are not written again.
    """

    origin: BundleOrigin
    algorithm: AlgorithmIdentification
    segments: tuple[SegmentDescription, ...]
    device: torch.device
    inferer: Inferer
    with_probability: bool = False
    overwrite: bool = False

    def write(self, results: VolumeResults, volume: Volume, probability: NDArray[np.float32], started_s: float) -> None:
        """Write the results of one volume.

        Args:
            results: Where they go.
            volume: The volume.
            probability: (class, i, j, k) on its grid.
            started_s: `time.monotonic()` when its turn came.

        Raises:
            ConfigError: If the classes are not the segments, or the values no probabilities.
            OutputError: If a result cannot be written.
        """
        objects = probability if len(probability) == 1 else probability[1:]
        self._check(results, objects)
        mask = class_mask(probability)
        wanted = objects.clip(0, 1) if self.with_probability else None
        if self.overwrite:
            results.remove_earlier(self._probabilities(results, objects))
        if isinstance(volume.source, DicomSeries) and results.format == "dicom-seg":
            written = self._write_dicom_seg(results, mask, wanted, volume.source)
        else:
            written = self._write_nifti(results, mask, wanted, volume)
        run = {
            "device": str(self.device),
            "number_format": number_format(self.device, self.inferer),
            **self.origin.facts(),
            "seconds": round(time.monotonic() - started_s, 3),
        }
        write_volume_record(
            results.record, results.source, volume, self.algorithm, run, written, overwrite=self.overwrite
        )

    def _probabilities(self, results: VolumeResults, objects: NDArray[np.float32]) -> list[Path]:
        if not self.with_probability:
            return []
        if results.format == "dicom-seg":
            return [results.probability()]
        return [results.probability(index) for index in range(1, len(objects) + 1)]

    def _check(self, results: VolumeResults, objects: NDArray[np.float32]) -> None:
        if results.format == "dicom-seg" and len(objects) != len(self.segments):
            raise ConfigError(
                f"the bundle lists {counted(len(self.segments), 'segment')} and its network gives "
                f"{counted(len(objects), 'class', 'classes')} beside the background; list one segment for each class "
                "in its inference.yaml"
            )
        if self.with_probability and not (objects.min() >= -_ROUNDING and objects.max() <= 1 + _ROUNDING):
            raise ConfigError(
                f"the bundle gives values from {objects.min():.4g} to {objects.max():.4g} for probabilities; expected "
                "[0, 1]; declare an activation in its postprocessing"
            )

    def _write_dicom_seg(
        self, results: VolumeResults, mask: NDArray[Any], objects: NDArray[np.float32] | None, series: DicomSeries
    ) -> list[Path]:
        write_dicom_seg(
            results.mask,
            mask.astype(np.uint8),
            series,
            self.segments,
            algorithm=self.algorithm,
            overwrite=self.overwrite,
        )
        if objects is None:
            return [results.mask]
        write_dicom_seg(
            results.probability(),
            objects,
            series,
            self.segments,
            kind="fractional",
            algorithm=self.algorithm,
            series_number=901,
            overwrite=self.overwrite,
        )
        return [results.mask, results.probability()]

    def _write_nifti(
        self, results: VolumeResults, mask: NDArray[Any], objects: NDArray[np.float32] | None, volume: Volume
    ) -> list[Path]:
        like = volume.affine if isinstance(volume.source, DicomSeries) else volume.source
        write_nifti(results.mask, mask, like, overwrite=self.overwrite)
        written = [results.mask]
        for index, values in enumerate(() if objects is None else objects, 1):
            write_nifti(results.probability(index), values, like, overwrite=self.overwrite)
            written.append(results.probability(index))
        return written
