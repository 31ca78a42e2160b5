"""Law: tiles joined equal one pass over the whole mirrored image, which NumPy pads here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, ImageError, TileSizeError
from pipeline.geometry import PaddedGeometry
from pipeline.inferers import OverlapTileInferer
from pipeline.inferers.tile_plan import AxisPlan
from pipeline.networks import ValidUNet

MOST_PX = 3_000_000  # in all tiles of a case


def whole_image_pass(image: torch.Tensor, network: ValidUNet) -> torch.Tensor:
    """One forward pass over the image, mirrored by NumPy as far as the network wants."""
    geometry = network.geometry
    pads = [(0, 0), (0, 0)]
    for length in image.shape[2:]:
        pads.append((geometry.margin_px, geometry.input_px(length) - length - geometry.margin_px))
    padded = torch.from_numpy(np.pad(image.numpy(), pads, mode="reflect"))
    return network(padded)[:, :, : image.shape[2], : image.shape[3]]


@dataclass(frozen=True)
class Case:
    """A network, an image and a tile side, drawn at random."""

    network: ValidUNet
    image: torch.Tensor
    tile_px: int | Literal["auto"]
    batch_size: int

    @classmethod
    def draw(cls, seed: int, dtype: torch.dtype, widths: tuple[int, int], growth: int, longest_px: int) -> Case:
        """Draw any depth from 2 to 5, 1 to 3 convolutions a block, 1 to 4 channels, sides from 1 px, a legal tile."""
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        depth = int(rng.integers(2, 6))
        channels = tuple(int(rng.integers(*widths)) * growth**level for level in range(depth + 1))
        network = ValidUNet(int(rng.integers(1, 5)), 2, channels, int(rng.integers(1, 4))).eval().to(dtype)
        geometry = network.geometry
        legal = range(geometry.min_input_px, max(1052, geometry.min_input_px) + 1, geometry.stride_px)
        while True:
            # Short and long sides alike: even over their logarithms.
            size = [int(longest_px ** rng.uniform(0, 1)) for _ in range(2)]
            tile_px = int(rng.choice(legal))
            rows, columns = (AxisPlan.of(length, tile_px, geometry) for length in size)
            # Small tiles on a large image are mostly halo, and would take most of the time of all cases.
            if len(rows.starts_px) * rows.input_px * len(columns.starts_px) * columns.input_px <= MOST_PX:
                break
        image = torch.randn(int(rng.integers(1, 3)), network.in_channels, *size, dtype=dtype)
        return cls(network, image, "auto" if seed % 5 == 0 else tile_px, int(rng.integers(1, 4)))

    def results(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one pass over the whole image, and the stitched tiles."""
        inferer = OverlapTileInferer(self.tile_px, self.batch_size, max_memory_mb=300)
        with torch.inference_mode():
            return whole_image_pass(self.image, self.network), inferer(self.image, self.network)


@pytest.mark.parametrize("seed", range(60))
def test_stitched_tiles_equal_one_pass_over_the_whole_image(seed: int) -> None:
    """In double precision, where what is left of a difference is no rounding."""
    expected, stitched = Case.draw(seed, torch.float64, (2, 6), 1, 500).results()
    assert stitched.shape == expected.shape
    assert expected.numel() < 50 or expected.std() > 0
    assert (stitched - expected).abs().max() <= 1e-11 * expected.abs().max()


@pytest.mark.parametrize("seed", range(1000, 1210))
def test_in_float32_they_differ_by_rounding_alone(seed: int) -> None:
    """With channels that double at each pooling, as the paper's do.

    Most cases agree to the last bit. torch takes another convolution for feature maps of at most 20,480 values, so that
    small tiles round differently; where few channels stay few this reaches 1.2e-5, half of what a pass in float32
    differs from the same pass in double precision.
    """
    expected, stitched = Case.draw(seed, torch.float32, (8, 13), 2, 2000).results()
    assert (stitched - expected).abs().max() <= 1e-5 * expected.std()


@pytest.mark.parametrize("tile_px", range(188, 573, 16))
def test_every_legal_tile_size_gives_the_same(tile_px: int) -> None:
    torch.manual_seed(0)
    network = ValidUNet(channels=(2, 3, 4, 5, 6)).eval()
    # Outputs of 188 px tiles are narrower than the pooling grid; a small image keeps their number small.
    image = torch.randn(1, 1, 140, 90) if tile_px < 220 else torch.randn(1, 1, 401, 150)
    with torch.inference_mode():
        expected = whole_image_pass(image, network)
        stitched = OverlapTileInferer(tile_px)(image, network)
    assert expected.std() > 0.01
    assert (stitched - expected).abs().max() <= 1e-5 * expected.std()


def test_tiles_off_the_pooling_grid_would_leave_seams() -> None:
    """Why the stride is 384 and not the paper's 388: what this inferer must not do is seen to be wrong."""
    torch.manual_seed(0)
    network = ValidUNet(channels=(4, 8, 16, 32, 64)).eval()
    image = torch.randn(1, 1, 572 + 388, 572)
    with torch.inference_mode():
        whole = network(image[:, :, : 572 + 384])
        shifted_384, shifted_388 = network(image[:, :, 384 : 384 + 572]), network(image[:, :, 388:])
    assert (shifted_384 - whole[:, :, 384:772]).abs().max() <= 1e-5 * whole.std()
    assert (shifted_388[:, :, :384] - whole[:, :, 388:772]).abs().max() > 0.5 * whole.std()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (91, 92), (4, 5)], ids=str)
def test_images_smaller_than_the_margin_are_mirrored_more_than_once(size: tuple[int, int]) -> None:
    network = ValidUNet(channels=(2, 3, 4, 5, 6)).eval()
    image = torch.randn(1, 1, *size)
    with torch.inference_mode():
        stitched = OverlapTileInferer()(image, network)
        expected = whole_image_pass(image, network)
    assert stitched.shape == (1, 2, *size)
    assert torch.allclose(stitched, expected, atol=1e-6)


def test_a_wrapped_network_is_looked_into() -> None:
    network = ValidUNet(channels=(2, 3, 4)).eval()
    wrapped = nn.DataParallel(network)
    compiled = torch.compile(wrapped, backend="eager")
    image = torch.randn(1, 1, 50, 60)
    with torch.inference_mode():
        expected = OverlapTileInferer(tile_px=76)(image, network)
        assert torch.equal(OverlapTileInferer(tile_px=76)(image, wrapped), expected)
        assert torch.equal(OverlapTileInferer(tile_px=76)(image, compiled), expected)


def test_bfloat16_stays_near_float32() -> None:
    torch.manual_seed(0)
    network = ValidUNet(channels=(8, 16, 32, 64, 128)).eval()
    image = torch.randn(1, 1, 100, 120)
    with torch.inference_mode():
        exact = OverlapTileInferer()(image, network)
        rounded = OverlapTileInferer(precision="bf16")(image, network)
    assert rounded.dtype == torch.float32
    difference = (rounded - exact).abs().max() / exact.std()
    assert 0 < difference < 0.1


def test_gradients_flow_through_the_tiles() -> None:
    network = ValidUNet(channels=(2, 3, 4))
    image = torch.randn(1, 1, 90, 40, requires_grad=True)
    OverlapTileInferer(tile_px=network.geometry.min_input_px + 16)(image, network).sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0


def test_a_network_without_geometry_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Conv2d has no geometry, .*geometry=PaddedGeometry\(margin_px, stride_px\)"):
        OverlapTileInferer()(torch.zeros(1, 1, 10, 10), nn.Conv2d(1, 1, 3))


def test_an_illegal_tile_is_refused_also_where_the_image_is_smaller() -> None:
    with pytest.raises(TileSizeError, match="tile side 500 px"):
        OverlapTileInferer(tile_px=500)(torch.zeros(1, 1, 10, 10), ValidUNet(channels=(2, 3, 4, 5, 6)))


def test_slices_of_a_volume_are_images_of_their_own() -> None:
    torch.manual_seed(0)
    network = ValidUNet(2, 3, channels=(4, 6, 8)).eval()
    volume = torch.randn(2, 2, 50, 41, 5)
    inferer = OverlapTileInferer("auto", batch_size=3)
    with torch.inference_mode():
        stitched = inferer(volume, network)
        assert stitched.shape == (2, 3, 50, 41, 5)
        for index in range(5):
            alone = inferer(volume[..., index], network)
            assert (stitched[..., index] - alone).abs().max() <= 1e-5 * alone.std()


def test_a_padded_network_runs_with_a_margin_of_its_receptive_field() -> None:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 6, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Upsample(scale_factor=2),
    ]
    network = nn.Sequential(*layers).eval()
    image = torch.randn(1, 1, 70, 45)
    with torch.inference_mode():
        whole = network(torch.from_numpy(np.pad(image.numpy(), [(0, 0), (0, 0), (8, 18), (8, 19)], "reflect")))
        tiled = OverlapTileInferer(32, geometry=PaddedGeometry(margin_px=8, stride_px=2))(image, network)
    assert (tiled - whole[:, :, 8:78, 8:53]).abs().max() <= 1e-5 * whole.std()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_pixels_that_are_not_finite_are_refused(value: float) -> None:
    image = torch.zeros(1, 1, 10, 10)
    image[0, 0, 3, 4] = value
    with pytest.raises(ImageError, match="image holds NaN or infinite pixels"):
        OverlapTileInferer(28)(image, ValidUNet(channels=(2, 3)))


@pytest.mark.parametrize("shape", [(1, 10, 10), (1, 1, 0, 10), (0, 1, 10, 10)], ids=str)
def test_an_empty_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="not empty"):
        OverlapTileInferer()(torch.zeros(shape), ValidUNet(channels=(2, 3)))


def test_arguments_out_of_range_are_refused() -> None:
    for count in (0, 2.5, None):
        with pytest.raises(ConfigError, match="batch_size must be a whole number of at least 1"):
            OverlapTileInferer(batch_size=count)  # type: ignore[arg-type]
    for side in ("fast", 572.0, None, 0):
        with pytest.raises(ConfigError, match=r"tile_px must be a .*number of pixels or 'auto', got"):
            OverlapTileInferer(side)  # type: ignore[arg-type]
    for budget in (0, -3, float("inf"), float("nan"), "500MB"):
        with pytest.raises(ConfigError, match="max_memory_mb must be a number above 0"):
            OverlapTileInferer("auto", max_memory_mb=budget)  # type: ignore[arg-type]
    for size in ((700,), (7, 7, 7), (0, 5)):
        with pytest.raises(ImageError, match=r"size_px must be \(row, column\)"):
            OverlapTileInferer("auto").plan(size, ValidUNet(channels=(2, 3)))
    with pytest.raises(ConfigError, match="precision must be one of"):
        OverlapTileInferer(precision="fp8")  # type: ignore[arg-type]
