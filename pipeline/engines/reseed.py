"""Dropout that depends on seed, epoch and rank alone, so that a resumed run repeats an uninterrupted one."""

from __future__ import annotations

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Engine, Events


class ReseedEpochs:
    """Handler that seeds torch's generators anew when an epoch starts.

    Args:
        seed: The seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, trainer: Engine) -> None:
        """Attach to the trainer."""
        trainer.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, trainer: Engine) -> None:
        """Seed for the epoch that starts."""
        drawn = np.random.SeedSequence((self.seed, trainer.state.epoch, idist.get_rank())).generate_state(1)[0]
        torch.manual_seed(int(drawn))
