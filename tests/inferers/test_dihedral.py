"""The ensemble against its definition written out, and against what symmetry demands."""

import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.inferers import DihedralInferer, OverlapTileInferer
from pipeline.networks import ValidUNet

TILES = OverlapTileInferer(tile_px=76)


@pytest.fixture(scope="module")
def network() -> ValidUNet:
    torch.manual_seed(0)
    return ValidUNet(channels=(3, 4, 5)).eval()


def test_one_member_is_the_inferer_itself(network: ValidUNet) -> None:
    image = torch.randn(1, 1, 50, 33)
    with torch.inference_mode():
        single = DihedralInferer(TILES, members=1)(image, network).softmax(1)
        assert torch.allclose(single, TILES(image, network).softmax(1), atol=1e-6)


def test_eight_members_are_the_mean_of_the_probabilities_of_eight_copies(network: ValidUNet) -> None:
    image = torch.randn(2, 1, 41, 64)
    with torch.inference_mode():
        straight = [torch.rot90(TILES(torch.rot90(image, k, (2, 3)), network).softmax(1), -k, (2, 3)) for k in range(4)]
        mirrored = [
            torch.rot90(TILES(torch.rot90(image.flip(3), k, (2, 3)), network).softmax(1), -k, (2, 3)).flip(3)
            for k in range(4)
        ]
        ensemble = DihedralInferer(TILES)(image, network).softmax(1)
    assert ensemble.shape == (2, 2, 41, 64)
    with torch.inference_mode():
        seven = DihedralInferer(TILES, members=7)(image, network).softmax(1)
    assert torch.allclose(ensemble, torch.stack(straight + mirrored).mean(0), atol=1e-6)
    # Our reading of the paper's "7 rotated versions" leaves out the last.
    assert torch.allclose(seven, torch.stack((straight + mirrored)[:7]).mean(0), atol=1e-6)


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_turned_image_gives_the_turned_result(network: ValidUNet, turns: int, mirrored: bool) -> None:
    image = torch.randn(1, 1, 40, 57)
    ensemble = DihedralInferer(TILES)

    def turn(tensor: torch.Tensor) -> torch.Tensor:
        return torch.rot90(tensor.flip(2) if mirrored else tensor, turns, (2, 3))

    with torch.inference_mode():
        assert torch.allclose(ensemble(turn(image), network), turn(ensemble(image, network)), atol=1e-4)


def test_a_sigmoid_gives_the_mean_probability() -> None:
    torch.manual_seed(0)
    network = ValidUNet(out_channels=1, channels=(3, 4)).eval()
    image = torch.randn(1, 1, 20, 20)
    with torch.inference_mode():
        mean = DihedralInferer(TILES, members=2, activation="sigmoid")(image, network).sigmoid()
        both = (TILES(image, network).sigmoid() + TILES(image.flip(3), network).sigmoid().flip(3)) / 2
    assert torch.allclose(mean, both, atol=1e-5)


def test_unknown_ensembles_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"members must be one of .* got 3"):
        DihedralInferer(TILES, members=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="activation must be one of"):
        DihedralInferer(TILES, activation="tanh")  # type: ignore[arg-type]
