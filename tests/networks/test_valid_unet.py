"""The network against the paper's numbers, and against what gradients say about its geometry."""

import math

import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, ImageError, TileSizeError
from pipeline.networks import ValidUNet

SMALL = (2, 3, 4, 5, 6)


def test_the_papers_network_has_23_convolutions_and_its_number_of_parameters() -> None:
    network = ValidUNet()
    convolutions = [part for part in network.modules() if isinstance(part, nn.Conv2d | nn.ConvTranspose2d)]
    assert len(convolutions) == 23
    assert sum(parameter.numel() for parameter in network.parameters()) == 31_030_658


def test_the_released_network_has_its_number_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in ValidUNet(variant="release").parameters()) == 31_100_354


@pytest.mark.slow
def test_572_px_tile_gives_388_px_output_in_the_full_network() -> None:
    with torch.inference_mode():
        assert ValidUNet().eval()(torch.zeros(1, 1, 572, 572)).shape == (1, 2, 388, 388)


def test_every_layer_has_the_side_of_figure_1() -> None:
    network = ValidUNet(channels=SMALL).eval()
    sides: list[int] = []
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.MaxPool2d):
            part.register_forward_hook(lambda _part, _given, out: sides.append(out.shape[-1]))
    with torch.inference_mode():
        network(torch.zeros(1, 1, 572, 572))
    assert sides == [layer.side_px for layer in network.geometry.layers(572)[1:]]


@pytest.mark.parametrize("variant", ["paper", "release"])
@pytest.mark.parametrize("convs_per_block", [1, 2, 3])
@pytest.mark.parametrize("channels", [(2, 3), (2, 3, 4), SMALL], ids=str)
def test_output_is_the_input_less_the_margin_for_unequal_sides(
    variant: str, convs_per_block: int, channels: tuple[int, ...]
) -> None:
    network = ValidUNet(3, 5, channels, convs_per_block, variant=variant).eval()  # type: ignore[arg-type]
    geometry = network.geometry
    height, width = geometry.min_input_px, geometry.min_input_px + 2 * geometry.stride_px
    with torch.inference_mode():
        logits = network(torch.zeros(2, 3, height, width))
    assert logits.shape == (2, 5, height - 2 * geometry.margin_px, width - 2 * geometry.margin_px)


@pytest.mark.parametrize("channels", [(2, 2), (2, 2, 2), (2, 2, 2, 2)], ids=len)
@pytest.mark.parametrize("convs_per_block", [1, 2, 3])
def test_receptive_field_is_the_widest_window_with_a_gradient(channels: tuple[int, ...], convs_per_block: int) -> None:
    network = ValidUNet(channels=channels, convs_per_block=convs_per_block, dropout=0).double()
    # With positive weights and inputs no ReLU is off; a mean in place of the maximum lets each pixel through.
    network.pool = nn.AvgPool2d(2)  # type: ignore[assignment]
    for parameter in network.parameters():
        nn.init.constant_(parameter, 0.1)
    geometry = network.geometry
    side = geometry.min_input_px + 2 * geometry.stride_px
    image = torch.ones(1, 1, side, side, dtype=torch.float64, requires_grad=True)
    logits = network(image)
    widest = 0
    for column in range(geometry.stride_px):
        (gradient,) = torch.autograd.grad(logits[0, 0, 0, column], image, retain_graph=True)
        reached = gradient[0, 0].abs().sum(0).nonzero()
        widest = max(widest, int(reached.max() - reached.min()) + 1)
    assert geometry.receptive_field_px == widest


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_weights_start_with_the_papers_deviation(variant: str) -> None:
    torch.manual_seed(0)
    network = ValidUNet(channels=(32, 64, 128), variant=variant)  # type: ignore[arg-type]
    for part in network.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d) and part.weight.numel() > 4000:
            # "e.g. for a 3x3 convolution and 64 feature channels in the previous layer N = 9 * 64 = 576"
            taps = 1 if isinstance(part, nn.ConvTranspose2d) else part.kernel_size[0] ** 2
            expected = math.sqrt(2 / (taps * part.in_channels))
            assert part.weight.std().item() == pytest.approx(expected, rel=0.06)
            assert part.weight.mean().item() == pytest.approx(0, abs=0.1 * expected)
            assert part.bias is not None
            assert not part.bias.any()


@pytest.mark.parametrize("variant", ["paper", "release"])
def test_dropout_acts_in_training_and_not_in_evaluation(variant: str) -> None:
    network = ValidUNet(channels=SMALL, variant=variant)  # type: ignore[arg-type]
    image = torch.randn(1, 1, 188, 188)
    with torch.inference_mode():
        network.eval()
        assert torch.equal(network(image), network(image))
        network.train()
        assert any(not torch.equal(network(image), network(image)) for _ in range(5))


def test_the_skip_is_cropped_from_the_centre() -> None:
    network = ValidUNet(channels=(1, 1), convs_per_block=1, dropout=0).eval()
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    with torch.no_grad():
        network.contract[0][0].weight[0, 0, 1, 1] = 1  # type: ignore[index, union-attr]
        network.expand[0][0].weight[0, 0, 1, 1] = 1  # type: ignore[index, union-attr]
        network.head.weight[0] = 1
    image = torch.rand(1, 1, network.geometry.min_input_px + 4, network.geometry.min_input_px)
    margin = network.geometry.margin_px
    with torch.inference_mode():
        assert torch.equal(network(image)[:, :1], image[:, :, margin:-margin, margin:-margin])


def test_an_illegal_side_is_refused_with_the_nearest_legal_ones() -> None:
    with pytest.raises(TileSizeError, match=r"tile side 500 px .* try 492 or 508"):
        ValidUNet(channels=SMALL)(torch.zeros(1, 1, 572, 500))


@pytest.mark.parametrize("shape", [(1, 188, 188), (1, 2, 188, 188)], ids=str)
def test_an_image_of_other_axes_or_channels_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"image must be \(batch, 1, height, width\)"):
        ValidUNet(channels=SMALL)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": (8,)}, "at least two positive whole numbers"),
        ({"channels": (8, 0)}, "at least two positive whole numbers"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"variant": "2016"}, "variant must be one of"),
        ({"in_channels": 0}, "at least 1, got 0"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ValidUNet(**arguments)  # type: ignore[arg-type]
