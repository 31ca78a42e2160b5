"""The membrane scores of `em.py` as Ignite metrics: one that scores every slice once, and light ones that report.

A bundle names them in its evaluator::

    em_slices: {_target_: pipeline.metrics.EMSlices}
    key_val_metric:
      v_rand: {_target_: pipeline.metrics.EMScores, slices: '@validate::em_slices', score: v_rand}
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine
from ignite.exceptions import NotComputableError
from ignite.metrics import Metric, MetricsLambda
from monai.handlers import from_engine
from numpy.typing import NDArray

from ..errors import ConfigError, ImageError, LabelError, PipelineError
from .em import EM_SCORE_NAMES, EM_THRESHOLDS, EMCurves, EMScoreName, em_scores
from .em_stack import em_stack_scores

EMReport = Literal["score", "threshold"]

_PRED_AND_LABEL: Final = from_engine(["pred", "label"])
_CASE: Final = from_engine("case")


class _Slice(NamedTuple):
    scores: EMCurves
    truth_digest: bytes


class EMSlices(Metric):
    """Scores of every slice that an evaluator saw in an epoch, each scored once, gathered over all ranks.

    Slices are told apart by case id. A distributed sampler that hands out some slices twice to fill up the ranks
    changes nothing: the result is the same on any number of ranks.

    Args:
        output_transform: Takes `pred` and `label`, a sequence each, out of `engine.state.output`.
        batch_transform: Takes the sequence of case ids out of `engine.state.batch`.
        thresholds: Where to cut the membrane probability, in [0, 1].
        warping: Whether to compute the warping error too, which adds half to the time: more for an evaluation at the
            end than for each validation of a training.
    """

    def __init__(
        self,
        output_transform: Callable[[Any], Any] = _PRED_AND_LABEL,
        batch_transform: Callable[[Any], Any] = _CASE,
        thresholds: Sequence[float] = EM_THRESHOLDS,
        warping: bool = False,
    ) -> None:
        self.warping = warping
        self._batch_transform = batch_transform
        self._thresholds = tuple(thresholds)
        super().__init__(output_transform)

    def reset(self) -> None:
        """Forget all slices."""
        self._of_this_rank: dict[str, _Slice] = {}

    def update(self, output: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor], Sequence[str]]) -> None:
        """Score the slices of a batch.

        Args:
            output: `pred`: (2, H, W) each, class probabilities, channel 0 is membrane; `label`: (1, H, W) each, class
                indices, 0 is membrane and 1 cell interior; the case ids.

        Raises:
            ImageError: If a `pred` is not a pair of probabilities.
            LabelError: If a `label` does not fit, has no interior, or differs from that of the same case before.
            ConfigError: If a case id is not a string.
        """
        for pred, label, case in zip(*output, strict=True):
            if not isinstance(case, str):
                msg = f"case id {case!r} must be text, is {type(case).__name__}; check batch_transform and decollation"
                raise ConfigError(msg)
            if pred.ndim != 3 or pred.shape[0] != 2:
                msg = f"pred of case {case!r} has shape {tuple(pred.shape)}; expected probabilities (2, row, column)"
                raise ImageError(msg)
            if label.ndim != 3 or label.shape[0] != 1:
                msg = f"label of case {case!r} has shape {tuple(label.shape)}; expected class indices (1, row, column)"
                raise LabelError(msg)
            truth = _to_numpy(label[0])
            digest = _digest(truth)
            if case in self._of_this_rank:
                _check_same_truth(case, self._of_this_rank[case].truth_digest, digest)
                continue
            try:
                scores = em_scores(_to_numpy(pred[0]), truth, self._thresholds, warping=self.warping)
            except PipelineError as error:
                msg = f"case {case!r}: {error}"
                raise type(error)(msg) from error
            self._of_this_rank[case] = _Slice(scores, digest)

    @torch.no_grad()
    def iteration_completed(self, engine: Engine) -> None:
        """Score the batch that the engine has just finished."""
        pred, label = self._output_transform(engine.state.output)
        self.update((pred, label, self._batch_transform(engine.state.batch)))

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Where the membrane probability is cut."""
        return self._thresholds

    def scored_here(self, case: str) -> EMCurves | None:
        """Return the scores of a slice that this rank has seen since the last reset; None if it has not."""
        scored = self._of_this_rank.get(case)
        return None if scored is None else scored.scores

    def compute(self) -> EMCurves:
        """Return the scores of the stack; on several ranks, all must call this.

        Raises:
            NotComputableError: If no rank has seen a slice.
            LabelError: If ranks saw different labels under one case id.
        """
        return em_stack_scores(self.by_case().values())

    def by_case(self) -> dict[str, EMCurves]:
        """Return the scores of each slice of all ranks, sorted by case id; asks and raises as `compute` does."""
        # A few kilobytes, gathered anew each time: a rank that keeps the result would not meet the others here again.
        slices = _merged(idist.all_gather(self._of_this_rank))
        if not slices:
            msg = "the scores of a stack need at least one slice; run the evaluator or call `update` first"
            raise NotComputableError(msg)
        return {case: scored.scores for case, scored in sorted(slices.items())}


class EMScores(MetricsLambda):
    """One number out of `EMSlices`, under the name it is attached with.

    Any number of these share one `EMSlices`, which they attach to the engine once. A score also leaves a dictionary in
    `engine.state.metric_details[name]`, from case id to the score of that slice at the threshold that is best for the
    whole stack, so that its mean is the score that is reported.

    Args:
        slices: Where the slices are scored.
        score: Which score. The errors are better when less: as a key metric they need another `metric_cmp_fn`.
            `warping_error` needs slices with `warping=True`.
        report: The best score of the stack, or the threshold that gave it.

    Raises:
        ConfigError: If the score or the report has an unknown name, or the slices do not compute the score.
    """

    def __init__(self, slices: EMSlices, score: EMScoreName, report: EMReport = "score") -> None:
        if score not in EM_SCORE_NAMES:
            msg = f"score {score!r} is not known; expected one of {', '.join(EM_SCORE_NAMES)}"
            raise ConfigError(msg)
        if report not in get_args(EMReport):
            msg = f"report {report!r} is not known; expected one of {', '.join(get_args(EMReport))}"
            raise ConfigError(msg)
        if score == "warping_error" and not slices.warping:
            raise ConfigError("score 'warping_error' is not computed by these slices; give EMSlices warping=True")
        self._slices = slices
        self._score = score
        self._report = report
        super().__init__(EMCurves.best if report == "score" else EMCurves.best_threshold, slices, score)

    def completed(self, engine: Engine, name: str) -> None:
        """Put the number into `engine.state.metrics` and a score by case into `engine.state.metric_details`."""
        super().completed(engine, name)
        if self._report == "threshold":
            return
        by_case = self._slices.by_case()
        best = em_stack_scores(by_case.values()).index_of_best(self._score)
        details = {case: scores.curve(self._score)[best] for case, scores in by_case.items()}
        # A plain Ignite engine has no details yet; MONAI's has a dictionary.
        engine.state.metric_details = {**getattr(engine.state, "metric_details", {}), name: details}


def _merged(ranks: Sequence[dict[str, _Slice]]) -> dict[str, _Slice]:
    """Return the slices of all ranks; of a case that several ranks saw, what the first of them made of it."""
    merged: dict[str, _Slice] = {}
    for of_rank in ranks:
        for case, scored in of_rank.items():
            known = merged.setdefault(case, scored)
            _check_same_truth(case, known.truth_digest, scored.truth_digest)
    return merged


def _check_same_truth(case: str, known: bytes, seen: bytes) -> None:
    if known != seen:
        msg = f"case {case!r} stands for two slices with different labels; give each slice a case id of its own"
        raise LabelError(msg)


def _digest(truth: NDArray[Any]) -> bytes:
    return hashlib.blake2b(str(truth.shape).encode() + truth.tobytes(), digest_size=16).digest()


def _to_numpy(plane: torch.Tensor) -> NDArray[Any]:
    # NumPy has no bfloat16; float32 holds it and float16 exactly, and class indices up to 2^24.
    return np.asarray(plane.detach().to(device="cpu", dtype=torch.float32))
