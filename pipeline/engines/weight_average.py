"""A running mean of the weights, which is steadier than the weights of the last step."""

from __future__ import annotations

from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim.swa_utils import AveragedModel

from ..errors import ConfigError


class WeightAverage:
    """Handler that averages the weights of a network over the steps of its training, the newest most.

    The share of the past grows from 2 / 11 at the second step to `decay`, so that the first, random weights are soon
    forgotten.

    Args:
        network: The bare network, on its device.
        decay: Share of the past at each step once it has grown, in [0, 1): 0.998 looks back over about 500 steps.

    Raises:
        ConfigError: If `decay` is out of range.
    """

    def __init__(self, network: nn.Module, decay: float = 0.998) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self._trained = network
        self._averaged = AveragedModel(network, multi_avg_fn=self._mix, use_buffers=True)

    @property
    def network(self) -> nn.Module:
        """The network with the averaged weights."""
        averaged: nn.Module = self._averaged.module
        return averaged

    def attach(self, trainer: Engine) -> None:
        """Attach to the trainer."""
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, trainer: Engine) -> None:
        """Take the weights of this step into the mean."""
        self._averaged.update_parameters(self._trained)

    def state_dict(self) -> dict[str, Any]:
        """Return the averaged weights and the number of steps behind them."""
        return self._averaged.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self._averaged.load_state_dict(state)

    @torch.no_grad()
    def _mix(self, averaged: Any, current: Any, steps: torch.Tensor | int) -> None:
        past = min(self.decay, (1 + int(steps)) / (10 + int(steps)))
        for mean, newest in zip(averaged, current, strict=True):
            mean.lerp_(newest.to(mean), 1 - past)
