"""Masks of an inference run, each written beside the name of its image."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..counted import counted
from ..formats import plan_results, write_mask
from ..inferers import class_mask
from .knobs import switch

logger = logging.getLogger("unet_pipeline")


class MaskWriter:
    """Handler of an evaluator that writes the mask of every image: 255 on objects, or indices for several classes.

    Args:
        folder: Where masks go, as `<stem>_mask.png` for a PNG and `<stem>_mask.tif` for a TIFF.
        data: The images, as `image_records` gives them.
        overwrite: Replace masks of an earlier run; from a command line also as `"true"` or `"false"`.

    Raises:
        ConfigError: If `overwrite` is neither true nor false.
        OutputError: If a mask exists already and is not to be replaced, would overwrite an image, or two images would
            give the same one; later, if a mask cannot be written.
    """

    def __init__(self, folder: str | Path, data: Sequence[Mapping[str, str]], overwrite: bool | str = False) -> None:
        self.folder = Path(folder)
        self.overwrite = switch("overwrite", overwrite)
        plan = plan_results(
            [Path(record["source"]) for record in data], folder, kinds=["mask"], overwrite=self.overwrite
        )
        self._masks = {results.source: results.mask for results in plan}
        self._written = 0

    def attach(self, evaluator: Engine) -> None:
        """Attach to the evaluator."""
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._write)
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self._say)

    def _write(self, evaluator: Engine) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for sample, output in zip(evaluator.state.batch, evaluator.state.output, strict=True):
            mask = class_mask(output["pred"].float().cpu().numpy())
            write_mask(self._masks[Path(sample["source"])], mask, overwrite=self.overwrite)
            self._written += 1

    def _say(self, evaluator: Engine) -> None:
        logger.info("%s: %s", counted(self._written, "mask"), self.folder)
