"""Masks of an inference run over DICOM series, each on the grid of its series."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import ignite.distributed as idist
import numpy as np
from ignite.engine import Engine, Events

from ..data.digests import file_sha256
from ..errors import ConfigError
from ..formats import (
    AlgorithmIdentification,
    MaskFormat,
    SegmentDescription,
    check_same_grid,
    plan_series_masks,
    read_dicom_series,
    write_dicom_seg,
    write_nifti,
)
from ..inferers import class_mask
from .knobs import switch

logger = logging.getLogger("unet_pipeline")


class SeriesMaskWriter:
    """Handler of an evaluator that writes the most probable class of every voxel, on the grid of its DICOM series.

    Args:
        folder: Where masks go: `<name>_seg.dcm` or `<name>_mask.nii.gz`.
        data: The series, as `series_records` gives them. Predictions must have come back to their grids.
        mask_format: `"dicom-seg"`, a binary DICOM SEG that refers to the series; or `"nifti"`, class indices as uint8.
        segments: What each class shows, numbered from 1.
        name: Name of the bundle, which a DICOM SEG identifies as its algorithm.
        version: Version of the bundle.
        checkpoint_path: The weights, whose digest a DICOM SEG carries; None where there are none.
        overwrite: Replace masks of an earlier run; from a command line also as `"true"` or `"false"`.

    Raises:
        ConfigError: If the format is unknown or `overwrite` is neither true nor false.
        OutputError: If a mask exists already and is not to be replaced; later, if a mask cannot be written.
        ImageError, LabelError: Later, if a series cannot be referred to, or its mask does not fit it.
    """

    def __init__(
        self,
        folder: str | Path,
        data: Sequence[dict[str, Any]],
        mask_format: MaskFormat,
        segments: Sequence[SegmentDescription],
        *,
        name: str,
        version: str,
        checkpoint_path: str | Path | None = None,
        overwrite: bool | str = False,
    ) -> None:
        if mask_format not in get_args(MaskFormat):
            raise ConfigError(f"mask format {mask_format!r} is unknown; expected one of {get_args(MaskFormat)}")
        self.folder = Path(folder)
        self.mask_format = mask_format
        self.segments = tuple(segments)
        self.overwrite = switch("overwrite", overwrite)
        self._masks = plan_series_masks(data, folder, mask_format, overwrite=self.overwrite)
        self._files = {record["name"]: record["image"] for record in data}
        digest = None if checkpoint_path is None else file_sha256(Path(checkpoint_path))
        self._algorithm = AlgorithmIdentification(name, version, digest)
        self._written = 0

    def attach(self, evaluator: Engine) -> None:
        """Attach to the evaluator."""
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self._say)

    def _write(self, evaluator: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for sample, output in zip(evaluator.state.batch, evaluator.state.output, strict=True):
            self._write_one(sample["name"], output["pred"])
            self._written += 1

    def _write_one(self, name: str, pred: Any) -> None:
        path = self._masks[name]
        series = read_dicom_series(self._files[name])
        mask = class_mask(pred.float().cpu().numpy())
        check_same_grid(
            f"the mask of '{name}'",
            mask.shape,
            np.asarray(pred.affine, np.float64),
            "it",
            series.voxels.shape,
            series.affine,
        )
        if self.mask_format == "nifti":
            write_nifti(path, mask, series.affine, overwrite=self.overwrite)
        else:
            write_dicom_seg(path, mask, series, self.segments, algorithm=self._algorithm, overwrite=self.overwrite)

    def _say(self, evaluator: Engine) -> None:
        logger.info("%d masks: %s", self._written, self.folder)
