"""One training step: equal to the same step written out in plain torch, and stopped by a loss that is not a number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monai.engines.utils import IterationEvents

from pipeline.engines import WeightedUpdate, step_loss
from pipeline.errors import ConfigError, TrainingError


def plain_step(training: Any, batch: dict[str, Any], longest_gradient: float | None = None) -> float:
    """The same step without MONAI, Ignite or anything of ours."""
    training.network.train()
    training.optimizer.zero_grad()
    per_pixel = F.cross_entropy(training.network(batch["image"]), batch["label"][:, 0], reduction="none")
    loss = (per_pixel * batch["weight"][:, 0]).mean()
    loss.backward()
    if longest_gradient is not None:
        gradients = [parameter.grad for parameter in training.network.parameters()]
        length = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
        for gradient in gradients:
            gradient *= min(1.0, longest_gradient / (float(length) + 1e-6))
    training.optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("longest_gradient", [None, 0.01, 1e6], ids=["free", "shortened", "short enough"])
def test_a_step_equals_a_plain_torch_step(small_training: Callable[..., Any], longest_gradient: float | None) -> None:
    ours, plain = small_training(), small_training()
    update = WeightedUpdate(max_gradient_norm=longest_gradient)
    for step in range(3):
        batch = ours.batch(step)
        torch.manual_seed(step)
        output = update(ours.trainer, batch)
        torch.manual_seed(step)
        wanted = plain_step(plain, batch, longest_gradient)
        assert step_loss(output) == pytest.approx(wanted, rel=1e-6)
        for mine, other in zip(ours.network.parameters(), plain.network.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-7)


def test_a_gradient_that_is_too_long_is_shortened_to_the_limit(small_training: Callable[..., Any]) -> None:
    training = small_training()
    WeightedUpdate(max_gradient_norm=0.01)(training.trainer, training.batch(0))
    length = torch.cat([parameter.grad.flatten() for parameter in training.network.parameters()]).norm()
    assert float(length) == pytest.approx(0.01, rel=1e-3)


def test_a_pixel_of_weight_zero_teaches_nothing(small_training: Callable[..., Any]) -> None:
    training = small_training()
    before = [parameter.clone() for parameter in training.network.parameters()]
    batch = training.batch(0) | {"weight": torch.zeros_like(training.batch(0)["weight"])}
    assert step_loss(WeightedUpdate()(training.trainer, batch)) == 0
    for mine, other in zip(training.network.parameters(), before, strict=True):
        assert torch.equal(mine, other)


def test_the_output_is_what_handlers_show(small_training: Callable[..., Any]) -> None:
    training = small_training()
    batch = training.batch(0)
    output = WeightedUpdate()(training.trainer, batch)
    assert output.keys() == {"image", "label", "weight", "pred", "loss"}
    assert output["pred"].shape == (1, 2, *batch["image"].shape[2:])
    assert not output["pred"].requires_grad
    for key in ("image", "label", "weight"):
        assert torch.equal(output[key], batch[key])


def test_the_events_of_monai_are_fired_in_order(small_training: Callable[..., Any]) -> None:
    training = small_training()
    fired: list[str] = []
    for event in ("FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"):
        training.trainer.add_event_handler(IterationEvents[event], lambda _, name=event: fired.append(name))
    WeightedUpdate()(training.trainer, training.batch(0))
    assert fired == ["FORWARD_COMPLETED", "LOSS_COMPLETED", "BACKWARD_COMPLETED", "MODEL_COMPLETED"]


def test_bf16_computes_in_bfloat16_and_keeps_weights_and_loss_in_float32(small_training: Callable[..., Any]) -> None:
    training = small_training()
    output = WeightedUpdate(precision="bf16")(training.trainer, training.batch(0))
    assert output["pred"].dtype is torch.bfloat16
    assert {parameter.dtype for parameter in training.network.parameters()} == {torch.float32}
    torch.manual_seed(0)
    exact = step_loss(WeightedUpdate()(small_training().trainer, training.batch(0)))
    assert step_loss(output) == pytest.approx(exact, rel=0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_the_training_and_names_the_cases(
    small_training: Callable[..., Any], value: float
) -> None:
    training = small_training()
    before = [parameter.clone() for parameter in training.network.parameters()]
    batch = training.batch(0) | {"case": ["case-7", "case-9"]}
    batch["weight"] = torch.full_like(batch["weight"], value)
    training.trainer.state.iteration = 12
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step 12, on case-7, case-9; lower learning_rate"):
        WeightedUpdate()(training.trainer, batch)
    for mine, other in zip(training.network.parameters(), before, strict=True):
        assert torch.equal(mine, other)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"precision must be one of .*got 'fp16'"):
        WeightedUpdate(precision="fp16")  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_a_gradient_limit_that_is_not_positive_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match="max_gradient_norm must be positive or null, got"):
        WeightedUpdate(max_gradient_norm=value)
