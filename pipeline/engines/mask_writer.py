"""Masks of an inference run, each written beside the name of its image."""

from __future__ import annotations

import logging
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..errors import OutputError
from ..formats import ResultPaths, write_mask
from ..inferers import class_mask

logger = logging.getLogger("unet_pipeline")


class MaskWriter:
    """Handler of an evaluator that writes the mask of every image: 255 on objects, or indices for several classes.

    Args:
        folder: Where masks go, as `<stem>_mask.png` for a PNG and `<stem>_mask.tif` for a TIFF.
        overwrite: Replace masks of an earlier run.

    Raises:
        OutputError: At the first mask that exists already, or cannot be written.
    """

    def __init__(self, folder: str | Path, overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.overwrite = overwrite
        self._written = 0

    def attach(self, evaluator: Engine) -> None:
        """Attach to the evaluator."""
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self._say)

    def _write(self, evaluator: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for sample, output in zip(evaluator.state.batch, evaluator.state.output, strict=True):
            path = ResultPaths(Path(sample["source"]), self.folder).mask
            if path.exists() and not self.overwrite:
                raise OutputError(f"{path} already exists; pass --overwrite true, or another --output_dir")
            write_mask(path, class_mask(output["pred"].float().cpu().numpy()), overwrite=self.overwrite)
            self._written += 1

    def _say(self, evaluator: Engine) -> None:
        logger.info("%d masks: %s", self._written, self.folder)
