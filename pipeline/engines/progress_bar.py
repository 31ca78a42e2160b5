"""One progress bar for a whole training run."""

from __future__ import annotations

from typing import Any

import ignite.distributed as idist
from ignite.engine import Engine, Events
from monai.engines import Evaluator
from tqdm.auto import tqdm


class TrainingProgressBar:
    """Handler that shows the epoch, loss, latest score, steps per second and the time that is left.

    Args:
        evaluator: The evaluator whose key metric is shown.
        smoothing: Share of the newest step in the loss that is shown.
    """

    def __init__(self, evaluator: Evaluator, smoothing: float = 0.02) -> None:
        self.evaluator = evaluator
        self.smoothing = smoothing
        self._bar: tqdm[Any] | None = None
        self._loss: float | None = None

    def attach(self, trainer: Engine) -> None:
        """Attach to the trainer, and to the evaluator."""
        if idist.get_rank() == 0:
            trainer.add_event_handler(Events.STARTED, self._open)
            trainer.add_event_handler(Events.ITERATION_COMPLETED, self._step)
            trainer.add_event_handler(Events.COMPLETED, self._close)
            self.evaluator.add_event_handler(Events.COMPLETED, self._show_score)

    def _open(self, trainer: Engine) -> None:
        total = trainer.state.max_epochs * trainer.state.epoch_length
        self._bar = tqdm(total=total, initial=trainer.state.iteration, unit="step", dynamic_ncols=True, mininterval=1)
        self._bar.set_description("training")

    def _step(self, trainer: Engine) -> None:
        assert self._bar is not None
        loss = trainer.state.output["loss"]
        self._loss = loss if self._loss is None else self._loss + self.smoothing * (loss - self._loss)
        self._bar.set_description(
            f"epoch {trainer.state.epoch}/{trainer.state.max_epochs} loss {self._loss:.4f}", refresh=False
        )
        self._bar.update()

    def _show_score(self, evaluator: Engine) -> None:
        if self._bar is not None:
            name = evaluator.state.key_metric_name
            self._bar.set_postfix_str(
                f"{name} {evaluator.state.metrics[name]:.4f} (best {evaluator.state.best_metric:.4f})", refresh=False
            )

    def _close(self, trainer: Engine) -> None:
        assert self._bar is not None
        self._bar.close()
