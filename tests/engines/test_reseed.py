"""Seeds of epochs: the same for the same (seed, epoch, rank), another for any other."""

from __future__ import annotations

import pytest
import torch
from ignite.engine import Engine, Events

from pipeline.engines import ReseedEpochs


def draws_of(seed: int, epochs: range, disturbance: int = 0) -> list[float]:
    """The first random number that each epoch draws, where every step draws `disturbance` numbers more."""
    drawn: list[float] = []
    engine = Engine(lambda engine, _: [torch.rand(1) for _ in range(disturbance)])
    ReseedEpochs(seed).attach(engine)
    engine.add_event_handler(Events.EPOCH_STARTED, lambda _: drawn.append(float(torch.rand(1))))
    engine.state.epoch, engine.state.max_epochs = epochs.start - 1, epochs.stop - 1
    for epoch in epochs:
        engine.state.epoch = epoch
        engine.fire_event(Events.EPOCH_STARTED)
    return drawn


def test_an_epoch_draws_the_same_wherever_the_run_began() -> None:
    assert draws_of(3, range(1, 6))[2:] == draws_of(3, range(3, 6), disturbance=4)


def test_epochs_draw_differently() -> None:
    assert len(set(draws_of(3, range(1, 20)))) == 19


def test_seeds_draw_differently() -> None:
    assert draws_of(3, range(1, 3)) != draws_of(4, range(1, 3))


def test_ranks_draw_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    first = draws_of(3, range(1, 3))
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    assert draws_of(3, range(1, 3)) != first
