"""The scores of an evaluation: said at the end, and kept as `evaluation.json`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path

import ignite.distributed as idist
from ignite.engine import Engine, Events

from ..data import Manifest
from ..formats import whole_file
from .json_record import json_text

logger = logging.getLogger("unet_pipeline")


class EvaluationRecord:
    """Handler of an evaluator that says its scores and writes `evaluation.json`, with the scores of every case.

    A score that does not exist, such as that of a class which a case lacks, is null there.

    Args:
        folder: Where the file goes.
        checkpoint_path: The checkpoint that is evaluated; its SHA-256 is recorded.
        manifest: The manifest of the data.
        split: The split that is evaluated.
    """

    def __init__(self, folder: str | Path, checkpoint_path: str | Path, manifest: Manifest, split: str) -> None:
        self.path = Path(folder) / "evaluation.json"
        self.checkpoint_path = Path(checkpoint_path)
        self.manifest = manifest
        self.split = split

    def attach(self, evaluator: Engine) -> None:
        """Attach to the evaluator."""
        if idist.get_rank() == 0:
            evaluator.add_event_handler(Events.COMPLETED, self)

    def __call__(self, evaluator: Engine) -> None:
        """Say and write the scores."""
        scores = {name: float(value) for name, value in evaluator.state.metrics.items()}
        record = {
            "manifest": {"name": self.manifest.name, "version": self.manifest.version, "sha256": self.manifest.digest},
            "split": self.split,
            "checkpoint_sha256": hashlib.sha256(self.checkpoint_path.read_bytes()).hexdigest(),
            "scores": scores,
            "scores_by_case": {
                name: {str(case): float(value) for case, value in by_case.items()}
                for name, by_case in evaluator.state.metric_details.items()
                if isinstance(by_case, Mapping)
            },
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(self.path, overwrite=True) as partial:
            partial.write_text(json_text(record), encoding="utf-8")
        said = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        logger.info("scores on %s of %s: %s", self.split, self.manifest.name, said)
        logger.info("scores of every case: %s", self.path)
