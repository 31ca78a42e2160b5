"""Plans against plain enumeration, and what every plan must keep: cover, grid, budget."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, ImageError
from pipeline.geometry import PaddedGeometry, ValidGeometry
from pipeline.inferers import AxisPlan, OverlapTileInferer
from pipeline.inferers.network_cost import NetworkCost
from pipeline.inferers.tile_plan import plan_tiles
from pipeline.networks import ValidUNet


@pytest.fixture(scope="module")
def paper() -> ValidUNet:
    return ValidUNet().eval()


@pytest.fixture(scope="module")
def paper_cost(paper: ValidUNet) -> NetworkCost:
    return NetworkCost.of(paper, paper.geometry, 1)


def flops_by_hand(network: ValidUNet, side_px: int) -> int:
    """Multiply and add up the convolutions of figure 1, row by row of the table."""
    channels = network.channels
    total, width = 0, network.in_channels
    for layer in network.geometry.layers(side_px):
        kind, _, number = layer.stage.partition(" ")
        taps_in, taps_out = 9 * width, {"bottom": channels[-1]}.get(kind) or channels[int(number or 1) - 1]
        if layer.operation.startswith("conv 3"):
            total += 2 * layer.side_px**2 * taps_in * taps_out
            width = taps_out
        elif layer.operation.startswith("up-conv"):
            total += 2 * layer.side_px**2 * width * taps_out
            width = 2 * taps_out
        elif layer.operation.startswith("conv 1"):
            total += 2 * layer.side_px**2 * width * network.out_channels
    return total


@pytest.mark.parametrize("side_px", [188, 572, 1052])
def test_operations_are_those_of_figure_1(paper: ValidUNet, paper_cost: NetworkCost, side_px: int) -> None:
    assert paper_cost.tile_flops(side_px, side_px) == pytest.approx(flops_by_hand(paper, side_px), rel=1e-9)


def test_memory_is_that_of_the_widest_moment(paper_cost: NetworkCost) -> None:
    """572 px in float32, by hand: when the finest skip is joined to the last up-convolution."""
    image, below, skip = 572**2, 128 * 196**2, 64 * 568**2
    raised, joined = 64 * 392**2, 128 * 392**2
    assert paper_cost.tile_bytes(572, 572) == pytest.approx(4 * (image + below + skip + raised + joined), rel=1e-6)


def test_cost_of_oblong_tiles_is_that_of_a_pass(paper: ValidUNet, paper_cost: NetworkCost) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    small = ValidUNet(3, 4, (2, 3, 5), convs_per_block=3).eval()
    cost = NetworkCost.of(small, small.geometry, 3)
    rows, columns = small.geometry.input_px(20), small.geometry.input_px(100)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        small(torch.zeros(1, 3, rows, columns))
    assert cost.out_channels == 4
    assert cost.tile_flops(rows, columns) == pytest.approx(counter.get_total_flops(), rel=1e-9)


@pytest.mark.parametrize("case", range(60))
def test_every_plan_covers_the_axis_on_the_pooling_grid(case: int) -> None:
    rng = np.random.default_rng(case)
    geometry = ValidGeometry(int(rng.integers(1, 6)), int(rng.integers(1, 4)))
    length_px = int(rng.integers(1, 3000))
    side_px = geometry.min_input_px + geometry.stride_px * int(rng.integers(0, 40))
    axis = AxisPlan.of(length_px, side_px, geometry)
    assert geometry.is_legal(axis.input_px)
    assert all(start % geometry.stride_px == 0 for start in axis.starts_px)
    covered = np.zeros(length_px, int)
    for start in axis.starts_px:
        assert axis.kept_px(start) > 0
        covered[start : start + axis.kept_px(start)] += 1
        assert np.array_equal(axis.source_px(start), mirrored(start - geometry.margin_px, axis.input_px, length_px))
    assert covered.min() == 1
    own = [axis.own_px(number) for number in range(len(axis.starts_px))]
    assert np.array_equal(np.cumsum([0, *own]), [*axis.starts_px, length_px])


def mirrored(first_px: int, count: int, length_px: int) -> np.ndarray:
    """Return positions folded back into the image, by walking."""
    if length_px == 1:
        return np.zeros(count, int)
    walk = [*range(length_px), *range(length_px - 2, 0, -1)]
    return np.array([walk[position % len(walk)] for position in range(first_px, first_px + count)])


@pytest.mark.parametrize("size_px", [(512, 512), (700, 333), (1, 5000), (2048, 2048), (1300, 90)], ids=str)
@pytest.mark.parametrize("budget_mb", [130, 400, 1000, 20_000])
def test_no_plan_within_the_budget_needs_clearly_fewer_operations(
    paper_cost: NetworkCost, size_px: tuple[int, int], budget_mb: int
) -> None:
    geometry = ValidGeometry()
    plan = plan_tiles(size_px, geometry, paper_cost, max_memory_bytes=budget_mb * 1e6)
    assert plan.memory_bytes is not None
    assert plan.flops is not None
    assert plan.memory_bytes <= budget_mb * 1e6
    sides = range(204, 2300, 16)
    axes = [{side: AxisPlan.of(length, side, geometry) for side in sides} for length in size_px]
    least = min(
        float(paper_cost.tile_flops(row.input_px, column.input_px)) * len(row.starts_px) * len(column.starts_px)
        for row, column in itertools.product(
            *(list({axis.input_px: axis for axis in choice.values()}.values()) for choice in axes)
        )
        if paper_cost.tile_bytes(row.input_px, column.input_px) <= budget_mb * 1e6
    )
    assert plan.flops <= 1.02 * least * (1 + 1e-9)


def test_no_tile_lies_mostly_outside_the_image(paper_cost: NetworkCost) -> None:
    for length_px in range(200, 3000, 37):
        plan = plan_tiles((length_px, 200), ValidGeometry(), paper_cost, max_memory_bytes=400e6)
        last = plan.rows.starts_px[-1]
        assert plan.rows.kept_px(last) >= plan.rows.output_px / 2


def test_a_plan_reads_as_one_line(paper: ValidUNet) -> None:
    plan = OverlapTileInferer("auto", max_memory_mb=400).plan((512, 900), paper)
    assert str(plan).startswith("512 × 900 px in 1 × 2 tiles of 700 × 636 px, halo +")
    assert "TFLOP" in str(plan)
    assert "MiB" in str(plan)


def test_a_fixed_tile_can_be_planned_too(paper: ValidUNet, paper_cost: NetworkCost) -> None:
    plan = OverlapTileInferer(572, precision="bf16", batch_size=2).plan((1000, 1000), paper)
    assert (plan.tiles, plan.batch_size) == (9, 2)
    assert plan.flops == pytest.approx(9 * float(paper_cost.tile_flops(572, 572)))
    assert plan.memory_bytes == pytest.approx(float(paper_cost.tile_bytes(572, 572)))


def test_a_budget_too_small_says_what_is_the_least(paper: ValidUNet) -> None:
    inferer = OverlapTileInferer("auto", max_memory_mb=10)
    with pytest.raises(
        ConfigError, match=r"max_memory_mb is 10, but the smallest tile, 204 × 204 px, takes (\d+) MB"
    ) as error:
        inferer.plan((512, 512), paper)
    least = int(str(error.value).split("takes ")[1].split()[0])
    assert OverlapTileInferer("auto", max_memory_mb=least).plan((512, 512), paper).rows.input_px == 204


def test_a_network_that_looks_at_its_pixels_cannot_be_planned() -> None:
    class Peeking(ValidUNet):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return super().forward(image * float(image.max()))

    with pytest.raises(ConfigError, match=r"cannot be foreseen .*; give tile_px as a number"):
        OverlapTileInferer("auto").plan((100, 100), Peeking(channels=(2, 3)))
    plan = OverlapTileInferer(60).plan((100, 100), Peeking(channels=(2, 3)))
    assert (plan.tiles, plan.flops, plan.memory_bytes) == (9, None, None)


def test_channels_that_do_not_match_are_refused_when_planned() -> None:
    with pytest.raises(ImageError, match=r"must be \(batch, 3, height, width\)"):
        OverlapTileInferer("auto").plan((100, 100), ValidUNet(3, channels=(2, 3)), in_channels=1)


def test_a_padded_network_can_be_planned() -> None:
    network = nn.Conv2d(1, 2, 3, padding=1)
    plan = OverlapTileInferer("auto", geometry=PaddedGeometry(4, 8)).plan((50, 60), network)
    assert (plan.rows.input_px, plan.columns.input_px) == (64, 72)


def test_a_function_cannot_be_planned() -> None:
    geometry = PaddedGeometry(0, 1)
    with pytest.raises(ConfigError, match=r"function cannot be foreseen, as it is no torch.nn.Module; give tile_px"):
        OverlapTileInferer("auto", geometry=geometry).plan((50, 60), lambda tiles: tiles)


def test_a_network_that_was_changed_is_looked_at_again() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 1))
    before = NetworkCost.of(network, PaddedGeometry(0, 1), 1)
    assert NetworkCost.of(network, PaddedGeometry(0, 1), 1) is before
    network.append(nn.Conv2d(2, 5, 1))
    assert NetworkCost.of(network, PaddedGeometry(0, 1), 1).out_channels == 5
