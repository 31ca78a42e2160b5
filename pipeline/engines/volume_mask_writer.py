"""Masks of an inference run over volumes, each on the voxel grid of its source and with a record beside it."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from monai.transforms import Compose

from ..bundle_origin import BundleOrigin
from ..counted import counted
from ..errors import ConfigError
from ..formats import SegmentDescription
from ..output_folder import output_folder
from ..volumes import (
    SeriesInput,
    VolumeFormat,
    VolumeWriter,
    check_volumes,
    input_of,
    on_grid,
    plan_volume_results,
    read_checked,
)
from .knobs import switch
from .running_config import changed_settings

logger = logging.getLogger("unet_pipeline")


class VolumeMaskWriter:
    """Handler of an evaluator that writes the most probable class of every voxel, and the record of the volume.

    Every volume is read and checked when the run starts, so that one that is refused leaves no results of others.
    Names, masks and records are those of `unet-pipeline predict`.

    Args:
        folder: Where results go.
        data: The volumes, as `series_records` or `volume_records` gives them. Predictions must have come back to their
            grids.
        preprocessing: The preprocessing of the bundle.
        bundle_root: Folder of the bundle; its `metadata.json` says what it is, and what series must be.
        checkpoint_path: The weights.
        mask_format: `"dicom-seg"`, a binary DICOM SEG that refers to the series; or `"nifti"`, class indices as uint8.
        segments: What each class shows, numbered from 1.
        allow: Names of repairs of DICOM series that may be made, those that the reader of the bundle allows.
        overwrite: Replace results of an earlier run; from a command line also as `"true"` or `"false"`.

    Raises:
        ConfigError: If the format or a repair is unknown, or `overwrite` is neither true nor false.
        MissingFileError: If the bundle has no `metadata.json`.
        OutputError: If a result exists already and is not to be replaced, would overwrite a volume, or two volumes
            would give the same one; later, if one cannot be written.
        PipelineError: When the run starts, one of its kinds, if a volume cannot be used.
    """

    def __init__(
        self,
        folder: str | Path,
        data: Sequence[dict[str, Any]],
        preprocessing: Compose,
        bundle_root: str | Path,
        checkpoint_path: str | Path,
        *,
        mask_format: VolumeFormat,
        segments: Sequence[SegmentDescription] = (),
        allow: Collection[str] = (),
        overwrite: bool | str = False,
    ) -> None:
        if mask_format not in get_args(VolumeFormat):
            raise ConfigError(f"mask format {mask_format!r} is unknown; expected one of {get_args(VolumeFormat)}")
        self.folder = Path(folder)
        self.preprocessing = preprocessing
        self.segments = tuple(segments)
        self.overwrite = switch("overwrite", overwrite)
        self.origin = BundleOrigin(
            Path(bundle_root), Path(checkpoint_path), settings=changed_settings(Path(bundle_root))
        )
        self._algorithm = self.origin.algorithm()
        expected = self.origin.expected()
        volumes = [input_of(record, allow) for record in data]
        volumes = [
            replace(volume, expected=expected) if isinstance(volume, SeriesInput) else volume for volume in volumes
        ]
        self._plan = plan_volume_results(volumes, self.folder, mask_format, overwrite=self.overwrite)
        self._results = {results.source.name: results for results in self._plan}
        self._started_s = 0.0
        self._written = 0

    def attach(self, evaluator: Evaluator) -> None:
        """Attach to the evaluator."""
        evaluator.add_event_handler(Events.STARTED, self._check)
        evaluator.add_event_handler(Events.ITERATION_STARTED, self._start)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self._say)

    def _check(self, evaluator: Evaluator) -> None:
        check_volumes(
            self._plan,
            self.preprocessing,
            self.segments,
            evaluator.inferer,
            evaluator.network,
            progress=idist.get_rank() == 0,
        )

    def _start(self, evaluator: Engine) -> None:
        self._started_s = time.monotonic()

    def _write(self, evaluator: Evaluator) -> None:
        writer = VolumeWriter(
            self.origin,
            self._algorithm,
            self.segments,
            evaluator.state.device,
            evaluator.inferer,
            overwrite=self.overwrite,
        )
        for sample, output in zip(evaluator.state.batch, evaluator.state.output, strict=True):
            results = self._results[sample["name"]]
            volume = read_checked(results, self.segments, progress=False)
            with output_folder(self.folder):
                writer.write(results, volume, on_grid(output["pred"], volume), self._started_s)
            self._written += 1

    def _say(self, evaluator: Engine) -> None:
        logger.info("%s: %s", counted(self._written, "mask"), self.folder)
