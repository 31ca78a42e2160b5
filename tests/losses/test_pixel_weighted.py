"""The loss against values worked out by hand and against a plain loop over the pixels."""

import math

import pytest
import torch

from pipeline.errors import ConfigError, LabelError
from pipeline.losses import PixelWeightedLoss


def by_pixel(pred: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> float:
    """The paper's equation 1, pixel by pixel."""
    energy = 0.0
    for b in range(pred.shape[0]):
        for i in range(pred.shape[2]):
            for j in range(pred.shape[3]):
                scores = [math.exp(value) for value in pred[b, :, i, j].tolist()]
                energy -= weight[b, 0, i, j].item() * math.log(scores[int(label[b, 0, i, j])] / sum(scores))
    return energy


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 1, 4, 5)), torch.rand(2, 1, 4, 5) * 10


def test_worked_value_of_equal_logits() -> None:
    loss = PixelWeightedLoss()(torch.zeros(1, 2, 1, 2), torch.tensor([[[[0, 1]]]]), torch.tensor([[[[1.0, 3.0]]]]))
    assert loss.item() == pytest.approx(2 * math.log(2))


def test_sum_is_the_papers_energy(batch: tuple[torch.Tensor, ...]) -> None:
    assert PixelWeightedLoss(reduction="sum")(*batch).item() == pytest.approx(by_pixel(*batch), rel=1e-5)


def test_mean_divides_by_the_number_of_pixels(batch: tuple[torch.Tensor, ...]) -> None:
    assert PixelWeightedLoss()(*batch).item() == pytest.approx(by_pixel(*batch) / 40, rel=1e-5)


def test_no_weight_is_a_weight_of_one(batch: tuple[torch.Tensor, ...]) -> None:
    pred, label, _ = batch
    ones = torch.ones(label.shape)
    assert torch.equal(PixelWeightedLoss()(pred, label), PixelWeightedLoss()(pred, label, ones))


def test_a_pixel_of_weight_zero_has_no_gradient(batch: tuple[torch.Tensor, ...]) -> None:
    pred, label, weight = batch
    weight[0, 0, 1, 2] = 0
    pred.requires_grad_()
    PixelWeightedLoss()(pred, label, weight).backward()
    assert pred.grad is not None
    assert not pred.grad[0, :, 1, 2].any()
    assert pred.grad[0, :, 1, 3].any()


def test_sigmoid_over_one_channel_equals_softmax_over_zero_and_that_channel(batch: tuple[torch.Tensor, ...]) -> None:
    pred, label, weight = batch[0][:, :1], (batch[1] > 0).long(), batch[2]
    two = torch.cat([torch.zeros_like(pred), pred], dim=1)
    sigmoid = PixelWeightedLoss("sigmoid")(pred, label, weight)
    assert sigmoid.item() == pytest.approx(PixelWeightedLoss("softmax")(two, label, weight).item(), rel=1e-6)


def test_confident_logits_stay_finite() -> None:
    label = torch.zeros(1, 1, 1, 1, dtype=torch.long)
    assert PixelWeightedLoss()(torch.tensor([[[[-1e4]], [[1e4]]]]), label).item() == pytest.approx(2e4)
    assert PixelWeightedLoss("sigmoid")(torch.full((1, 1, 1, 1), 1e4), label).item() == pytest.approx(1e4)


def test_bfloat16_logits_are_summed_in_float32(batch: tuple[torch.Tensor, ...]) -> None:
    pred, label, weight = batch
    with torch.autocast("cpu", torch.bfloat16):
        loss = PixelWeightedLoss()(pred.bfloat16(), label, weight)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(by_pixel(pred.bfloat16().double(), label, weight) / 40, rel=1e-5)


@pytest.mark.parametrize(
    ("activation", "channels", "side", "message"),
    [
        ("softmax", 1, 4, "at least 2 channels, got 1; use activation='sigmoid'"),
        ("sigmoid", 2, 4, "1 channel, got 2; use activation='softmax'"),
        ("softmax", 2, 6, r"label must be \(1, 1, 4, 4\) .* got \(1, 1, 6, 6\)"),
    ],
)
def test_shapes_that_do_not_belong_together_are_refused(
    activation: str, channels: int, side: int, message: str
) -> None:
    loss = PixelWeightedLoss(activation)  # type: ignore[arg-type]
    with pytest.raises(LabelError, match=message):
        loss(torch.zeros(1, channels, 4, 4), torch.zeros(1, 1, side, side, dtype=torch.long))


@pytest.mark.parametrize(
    ("activation", "channels", "value"), [("softmax", 2, 2), ("softmax", 3, -1), ("sigmoid", 1, 255)]
)
def test_a_label_that_is_no_class_is_refused(activation: str, channels: int, value: int) -> None:
    label = torch.zeros(1, 1, 4, 4, dtype=torch.long)
    label[0, 0, 1, 2] = value
    with pytest.raises(LabelError, match=r"label holds classes .*; expected 0 to \d for logits of"):
        PixelWeightedLoss(activation)(torch.zeros(1, channels, 4, 4), label)  # type: ignore[arg-type]


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError, match="activation must be one of"):
        PixelWeightedLoss("tanh")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="reduction must be one of"):
        PixelWeightedLoss(reduction="none")  # type: ignore[arg-type]
