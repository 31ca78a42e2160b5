"""Masks of an inference run over NIfTI volumes, each on the grid of its volume."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..formats import plan_masks, read_nifti, write_nifti
from ..inferers import class_mask
from .knobs import switch

logger = logging.getLogger("unet_pipeline")


class NiftiMaskWriter:
    """Handler of an evaluator that writes the most probable class of every voxel as uint8, 0 for background.

    Args:
        folder: Where masks go, as `<stem>_mask.nii.gz`.
        data: The volumes, as `volume_records` gives them. Predictions must have come back to their grids.
        overwrite: Replace masks of an earlier run; from a command line also as `"true"` or `"false"`.

    Raises:
        ConfigError: If `overwrite` is neither true nor false.
        OutputError: If a mask exists already and is not to be replaced, would overwrite a volume, or two volumes would
            give the same one; later, if a mask cannot be written.
    """

    def __init__(self, folder: str | Path, data: Sequence[Mapping[str, str]], overwrite: bool | str = False) -> None:
        self.folder = Path(folder)
        self.overwrite = switch("overwrite", overwrite)
        self._masks = plan_masks([Path(record["source"]) for record in data], folder, overwrite=self.overwrite)
        self._written = 0

    def attach(self, evaluator: Engine) -> None:
        """Attach to the evaluator."""
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self._say)

    def _write(self, evaluator: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for sample, output in zip(evaluator.state.batch, evaluator.state.output, strict=True):
            source = Path(sample["source"])
            mask = class_mask(output["pred"].float().cpu().numpy())
            write_nifti(self._masks[source], mask, read_nifti(source), overwrite=self.overwrite)
            self._written += 1

    def _say(self, evaluator: Engine) -> None:
        logger.info("%d masks: %s", self._written, self.folder)
