"""A training of two epochs on tiles of a few pixels, of the same MONAI engines as a bundle's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Metric
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.inferers import SimpleInferer
from monai.transforms import Activationsd
from torch import nn

from pipeline.engines import ReseedEpochs, WeightAverage, WeightedUpdate
from pipeline.losses import PixelWeightedLoss

TILE = (6, 8)


class ListedScore(Metric):
    """A key metric that gives the listed values, one an epoch, and the same value for each of two cases."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = values
        self.epoch = 0
        super().__init__()

    def reset(self) -> None:
        """Nothing to forget."""

    def update(self, output: Any) -> None:
        """Nothing to learn from a prediction."""

    def compute(self) -> float:
        """Return the value of the epoch that is validated."""
        return self.values[self.epoch - 1]

    def completed(self, engine: Any, name: str) -> None:
        """Note the score, and the scores by case as the metrics of the project do."""
        self.epoch = engine.state.epoch
        super().completed(engine, name)
        engine.state.metric_details = {name: {"a": self.compute(), "b": self.compute()}}


@dataclass
class SmallTraining:
    """Network, optimiser, schedule, data and engines; `run` trains."""

    scores: Sequence[float] = (0.5, 0.25)
    steps_per_epoch: int = 3
    learning_rate: float = 0.1
    average: str = "none"  # or "averaged"
    seed: int = 0
    network: nn.Module = field(init=False)
    trainer: SupervisedTrainer = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(1)
        self.network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Dropout(0.5), nn.Conv2d(4, 2, 1))
        self.optimizer = torch.optim.SGD(self.network.parameters(), self.learning_rate, momentum=0.9)
        max_epochs = len(self.scores)
        self.lr_scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(
            self.optimizer, max_epochs * self.steps_per_epoch
        )
        self.weight_average = {
            "none": None,
            "averaged": WeightAverage(self.network, decay=0.5),
        }[self.average]
        self.evaluator = SupervisedEvaluator(
            device=torch.device("cpu"),
            val_data_loader=[self.batch(100)],
            network=self.network,
            inferer=SimpleInferer(),
            postprocessing=Activationsd(keys="pred", softmax=True),
            key_val_metric={"score": ListedScore(self.scores)},
        )
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=max_epochs,
            train_data_loader=[self.batch(step) for step in range(self.steps_per_epoch)],
            network=self.network,
            optimizer=self.optimizer,
            loss_function=PixelWeightedLoss(),
            inferer=SimpleInferer(),
            iteration_update=WeightedUpdate(),
            decollate=False,
        )
        ReseedEpochs(self.seed).attach(self.trainer)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda _: self.lr_scheduler.step())
        self.trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda trainer: self.evaluator.run(trainer.state.epoch))
        if self.weight_average is not None:
            self.weight_average.attach(self.trainer)

    @staticmethod
    def batch(step: int) -> dict[str, Any]:
        """A batch of one tile, named after its step."""
        generator = torch.Generator().manual_seed(step)
        return {
            "image": torch.rand((1, 1, *TILE), generator=generator),
            "label": torch.randint(0, 2, (1, 1, *TILE), generator=generator),
            "weight": torch.rand((1, 1, *TILE), generator=generator),
            "case": [f"case-{step}"],
        }

    def fail_in(self, epoch: int, error: BaseException) -> None:
        """Let the second step of an epoch fail."""

        def fail(trainer: Any) -> None:
            if trainer.state.epoch == epoch and trainer.state.iteration % self.steps_per_epoch == 2:
                raise error

        self.trainer.add_event_handler(Events.ITERATION_STARTED, fail)

    def run(self) -> None:
        """Train to the end."""
        self.trainer.run()


@pytest.fixture
def small_training() -> Callable[..., SmallTraining]:
    """Make a `SmallTraining`; of equal arguments, equal ones."""
    return SmallTraining
