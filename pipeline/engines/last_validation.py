"""Validation after the last epoch of a training, so that every run ends with scores and a best checkpoint."""

from __future__ import annotations

from ignite.engine import Engine, Events
from monai.engines import Evaluator


class LastValidation:
    """Handler that validates after the last epoch where MONAI's `ValidationHandler` with its interval does not.

    Args:
        evaluator: The evaluator.
        every_epochs: The interval of the `ValidationHandler`.
    """

    def __init__(self, evaluator: Evaluator, every_epochs: int) -> None:
        self.evaluator = evaluator
        self.every_epochs = every_epochs

    def attach(self, trainer: Engine) -> None:
        """Attach to the trainer, before what uses the scores of an epoch."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, trainer: Engine) -> None:
        """Validate, if this was the last epoch and has not been validated."""
        epoch = trainer.state.epoch
        if epoch == trainer.state.max_epochs and epoch % self.every_epochs:
            self.evaluator.run(epoch)
