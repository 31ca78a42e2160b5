"""Worked values are figure 1 of the paper; the slow reference walks through the layers one by one."""

import pytest

from pipeline.errors import TileSizeError
from pipeline.geometry import ValidGeometry

FIGURE_1 = [
    *(572, 570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28),
    *(56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388, 388),
]
GEOMETRIES = [
    ValidGeometry(depth, convs, kernel) for depth in (1, 2, 3, 4, 5) for convs in (1, 2, 3) for kernel in (3, 5)
]


def walk(side: int, geometry: ValidGeometry) -> int | None:
    """The output side, layer by layer, or None where a side does not halve or nothing is left."""
    loss = geometry.convs_per_block * (geometry.kernel_px - 1)
    for _ in range(geometry.depth):
        side -= loss
        if side < 2 or side % 2:
            return None
        side //= 2
    side -= loss
    for _ in range(geometry.depth):
        if side < 1:
            return None
        side = side * 2 - loss
    return side if side > 0 else None


def test_figure_1_holds_layer_by_layer() -> None:
    assert [layer.side_px for layer in ValidGeometry().layers(572)] == FIGURE_1


def test_figure_1_has_23_convolutions() -> None:
    assert sum("conv" in layer.operation for layer in ValidGeometry().layers(572)) == 23


def test_worked_values_of_the_paper() -> None:
    geometry = ValidGeometry()
    assert geometry.output_px(572) == 388
    assert (geometry.margin_px, geometry.stride_px, geometry.min_input_px) == (92, 16, 188)
    assert geometry.output_px(188) == 4
    assert (geometry.input_px(388), geometry.input_px(389), geometry.input_px(1)) == (572, 588, 188)


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_legal_sides_are_those_that_the_layers_take(geometry: ValidGeometry) -> None:
    for side in range(1, geometry.min_input_px + 3 * geometry.stride_px):
        expected = walk(side, geometry)
        assert geometry.is_legal(side) == (expected is not None), side
        if expected is not None:
            assert geometry.output_px(side) == expected == side - 2 * geometry.margin_px
            assert geometry.layers(side)[-1].side_px == expected


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_input_px_is_the_smallest_legal_side_that_is_enough(geometry: ValidGeometry) -> None:
    legal = [side for side in range(1, geometry.min_input_px + 6 * geometry.stride_px) if walk(side, geometry)]
    for wanted in range(1, 4 * geometry.stride_px):
        assert geometry.input_px(wanted) == next(side for side in legal if (walk(side, geometry) or 0) >= wanted)


@pytest.mark.parametrize(
    ("side", "nearest"),
    [
        (500, "492 or 508"),
        (571, "556 or 572"),
        (10, "188 or 204"),
        (187, "188 or 204"),
        (-5, "188 or 204"),
        (189, "188 or 204"),
    ],
)
def test_an_illegal_side_is_refused_with_the_nearest_legal_ones(side: int, nearest: str) -> None:
    with pytest.raises(TileSizeError, match=rf"tile side {side} px .* try {nearest}$") as refusal:
        ValidGeometry().output_px(side)
    assert isinstance(refusal.value, ValueError)
    assert "4 less than a multiple of 16" in str(refusal.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"convs_per_block": 0}, "convs_per_block must be at least 1"),
        ({"kernel_px": 2}, "kernel_px must be odd"),
    ],
    ids=lambda value: str(value),
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(TileSizeError, match=message):
        ValidGeometry(**arguments)


def test_output_side_must_be_positive() -> None:
    with pytest.raises(TileSizeError, match="at least 1 px, got 0"):
        ValidGeometry().input_px(0)
