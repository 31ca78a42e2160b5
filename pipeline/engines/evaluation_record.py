"""The scores of an evaluation: said at the end, and kept as `evaluation.json`, `scores.csv` and pictures."""

from __future__ import annotations

import hashlib
import logging
import math
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.data import MetaTensor
from numpy.typing import NDArray

from ..data import Manifest
from ..errors import ConfigError
from ..evaluation import (
    CaseArrays,
    Evaluation,
    ScoredCase,
    ScoreKind,
    ScoreSettings,
    check_kind,
    has_membranes,
    score_case,
    spacing_of,
)
from ..metrics import EMSlices
from .running_config import running_parser

logger = logging.getLogger("unet_pipeline")


class EvaluationRecord:
    """Handler of an evaluator that scores every case and writes `evaluation.json`, `scores.csv` and pictures.

    The functions that score are those of `unet-pipeline evaluate`: the same predictions get the same numbers. What the
    metrics of the evaluator gave is said at the end, and recorded as `evaluator_scores`. Of several processes each
    scores its cases; the first writes. Inside a bundle run, name and version of the bundle are recorded, as its
    metadata say them.

    A score that does not exist, such as that of a class which a case lacks, is null there.

    Args:
        folder: Where the files go.
        checkpoint_path: The checkpoint that is evaluated; its SHA-256 is recorded.
        manifest: The manifest of the data.
        split: The split that is evaluated.
        kind: What is scored; by default membranes where the manifest has two classes and class 0 is named membrane,
            else classes. Instances are scored from files.
        settings: How it is scored.
        em_slices: The metric that scores the evaluator's membranes, whose results are used then: with a warping error
            this takes the longest part of an evaluation.

    Raises:
        ConfigError: If the kind is not known, or does not fit the manifest or an evaluator; if `em_slices` scores in
            another way than `settings`.
    """

    def __init__(
        self,
        folder: str | Path,
        checkpoint_path: str | Path,
        manifest: Manifest,
        split: str,
        kind: ScoreKind | None = None,
        settings: ScoreSettings | None = None,
        em_slices: EMSlices | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.checkpoint_path = Path(checkpoint_path)
        self.manifest = manifest
        self.split = split
        self.kind: ScoreKind = kind or ("membranes" if has_membranes(manifest) else "classes")
        self.settings = settings or ScoreSettings()
        self.em_slices = em_slices
        check_kind(self.kind, manifest)
        if self.kind == "instances":
            raise ConfigError(
                "an evaluator gives classes and no instances; score them with unet-pipeline evaluate --scores instances"
            )
        if em_slices is not None and (
            em_slices.warping != self.settings.warping or em_slices.thresholds != tuple(self.settings.thresholds)
        ):
            raise ConfigError(
                "em_slices and settings differ in warping or thresholds; expected one way of scoring; give both alike"
            )
        self._cases: dict[str, ScoredCase] = {}
        self._bundle: dict[str, Any] | None = None

    def attach(self, evaluator: Engine) -> None:
        """Attach to the evaluator."""
        evaluator.add_event_handler(Events.STARTED, self._begin)
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._score)
        evaluator.add_event_handler(Events.COMPLETED, self)

    def _begin(self, evaluator: Engine) -> None:
        self._cases = {}
        # The parser is read now, while the expression that runs the evaluator is still on the call stack.
        parser = running_parser()
        metadata = {} if parser is None else parser.get("_meta_", {})
        self._bundle = {name: metadata.get(name) for name in ("name", "version")} if metadata else None

    def _score(self, evaluator: Engine) -> None:
        """Score the cases of a batch; each once, however often a sampler hands it out."""
        for item, output in zip(evaluator.state.batch, evaluator.state.output, strict=True):
            case = item["case"]
            if case in self._cases:
                continue
            curves = self.em_slices.scored_here(case) if self.kind == "membranes" and self.em_slices else None
            self._cases[case] = score_case(case, self._arrays(output), self.kind, self.manifest, self.settings, curves)

    def _arrays(self, output: dict[str, Any]) -> CaseArrays:
        label = output["label"]
        affine = np.asarray(label.affine, np.float64) if isinstance(label, MetaTensor) and label.ndim == 4 else None
        truth = _array(label)[0]
        pixel_mm, slice_mm = self.manifest.spacing_mm, self.manifest.slice_spacing_mm
        if affine is not None:
            spacing_mm: tuple[float, ...] | None = spacing_of(affine, truth.ndim)
        else:
            spacing_mm = pixel_mm if truth.ndim == 2 else None
            if truth.ndim == 3 and pixel_mm is not None and slice_mm is not None:
                spacing_mm = (*pixel_mm, slice_mm)
        return CaseArrays(truth, None, _array(output["pred"]), spacing_mm, _array(output["image"]))

    def __call__(self, evaluator: Engine) -> None:
        """Say and write the scores."""
        cases: dict[str, ScoredCase] = {}
        for of_rank in idist.all_gather(self._cases):
            cases |= of_rank
        if idist.get_rank() != 0:
            return
        digest = hashlib.sha256(self.checkpoint_path.read_bytes()).hexdigest()
        evaluation = Evaluation(
            self.manifest, self.split, self.kind, self.settings, dict(sorted(cases.items())), checkpoint_sha256=digest
        )
        scores = {name: float(value) for name, value in evaluator.state.metrics.items()}
        known = {name: None if math.isnan(value) else value for name, value in scores.items()}
        path = evaluation.write(self.folder, overwrite=True, more={"evaluator_scores": known, "bundle": self._bundle})
        said = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        logger.info("scores on %s of %s: %s", self.split, self.manifest.name, said)
        logger.info("scores of every case: %s", path)


def _array(values: Any) -> NDArray[Any]:
    tensor = torch.as_tensor(values)
    # NumPy has no bfloat16; what the scores take is float32, as `predict` writes it, or whole numbers.
    tensor = tensor.float() if tensor.is_floating_point() else tensor
    if isinstance(tensor, MetaTensor):
        tensor = tensor.as_tensor()
    return np.asarray(tensor.detach().cpu().numpy())
