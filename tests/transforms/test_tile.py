"""Training tiles against the image they were cut from, and against the network that will see them."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.utils.data import DataLoader

from pipeline.errors import ConfigError, ImageError, TileSizeError
from pipeline.geometry import ValidGeometry
from pipeline.transforms import RandTiled, TileDraw

GEOMETRY = ValidGeometry(depth=2)
TILE_PX = 92
OUTPUT_PX = GEOMETRY.output_px(TILE_PX)
STILL = np.zeros((2, 3, 3))


def make(seed: int = 0, **arguments: object) -> RandTiled:
    tiles = RandTiled(
        ["image", "label", "weight"],
        ["bilinear", "nearest", "bilinear"],
        **{"tile_px": TILE_PX, "geometry": GEOMETRY, **arguments},  # type: ignore[arg-type]
    )
    tiles.set_random_state(seed)
    return tiles


def make_sample(height: int = 150, width: int = 120) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(0, 3, (1, height, width), generator=generator)
    return {
        "image": torch.randn(1, height, width, generator=generator),
        "label": label,
        "weight": label.float() / 2,
        "case": "slice_00",
    }


def test_image_has_the_input_side_and_label_and_weight_the_output_side() -> None:
    tile = make()(make_sample())
    assert tile["image"].shape == (1, TILE_PX, TILE_PX)
    assert tile["label"].shape == tile["weight"].shape == (1, OUTPUT_PX, OUTPUT_PX)
    assert tile["label"].dtype == torch.int64


def test_a_still_tile_is_a_cut_from_the_mirrored_image_bit_for_bit() -> None:
    sample = make_sample()
    margin = GEOMETRY.margin_px
    padded = np.pad(sample["image"][0].numpy(), margin, mode="reflect")  # type: ignore[index]
    draw = TileDraw((5, 60), angle_deg=0, scale=1, flip=False, control_px=STILL)
    tile = make().apply(sample, draw)
    assert np.array_equal(tile["image"][0], padded[5 : 5 + TILE_PX, 60 : 60 + TILE_PX])
    assert torch.equal(tile["label"], sample["label"][:, 5 : 5 + OUTPUT_PX, 60 : 60 + OUTPUT_PX])  # type: ignore[index]
    assert torch.equal(tile["weight"], sample["weight"][:, 5 : 5 + OUTPUT_PX, 60 : 60 + OUTPUT_PX])  # type: ignore[index]


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize("flip", [False, True])
def test_quarter_turns_and_flips_only_move_pixels(turns: int, flip: bool) -> None:
    sample = make_sample()
    still = make().apply(sample, TileDraw((40, 30), 0, 1, False, STILL))
    turned = make().apply(sample, TileDraw((40, 30), 90.0 * turns, 1, flip, STILL))
    for key in ("image", "label", "weight"):
        expected = torch.rot90(still[key], -turns, (1, 2))
        expected = expected.flip(2) if flip else expected
        assert torch.allclose(turned[key].float(), expected.float(), atol=1e-4), key


@pytest.mark.parametrize("seed", range(15))
def test_the_label_is_what_the_centre_of_the_image_tile_shows(seed: int) -> None:
    """The label is painted into the image; the output tile must see the label, but for edges between values."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(180, 140)), 6)
    label = torch.from_numpy((smooth > 0).astype(np.int64))[None]
    tile = make(seed)({"image": label.float(), "label": label, "weight": label.float()})
    margin = GEOMETRY.margin_px
    painted = tile["image"][:, margin : margin + OUTPUT_PX, margin : margin + OUTPUT_PX]
    other = (painted > 0.5).long() != tile["label"]
    assert other.float().mean() < 0.02
    assert ((painted[other] > 0) & (painted[other] < 1)).all()
    assert torch.allclose(tile["weight"], painted)


def test_a_tile_can_be_made_again_from_what_was_drawn() -> None:
    sample = make_sample()
    tile = make(3, scale=(0.8, 1.2))(sample)
    again = make(99).apply(sample, tile["tile_draw"])
    assert torch.equal(tile["image"], again["image"])
    assert torch.equal(tile["label"], again["label"])


def places_by_hand(draw: TileDraw) -> np.ndarray:
    """Where each pixel of a tile lies in the image, from the outside in: bend, turn, scale, mirror."""
    rows, columns = np.mgrid[:TILE_PX, :TILE_PX] - (TILE_PX - 1) / 2
    columns = -columns if draw.flip else columns
    turned = draw.scale * np.exp(1j * np.radians(draw.angle_deg)) * (rows + 1j * columns)
    centre = np.array(draw.corner_px) + (OUTPUT_PX - 1) / 2
    bent = [ndimage.zoom(knots, TILE_PX / 3, order=3, mode="mirror") for knots in draw.control_px]
    return np.stack([turned.real + centre[0], turned.imag + centre[1]]) + bent


@pytest.mark.parametrize("seed", range(12))
def test_a_tile_is_what_scipy_takes_from_the_mirrored_image(seed: int) -> None:
    sample = make_sample(*[(150, 120), (40, 61), (300, 200)][seed % 3])
    tile = make(seed, scale=(0.7, 1.4))(sample)
    draw = tile["tile_draw"]
    assert np.abs(draw.control_px).max() > 3
    places, inside = places_by_hand(draw), slice(GEOMETRY.margin_px, GEOMETRY.margin_px + OUTPUT_PX)
    for key, order, seen in (("image", 1, places), ("label", 0, places[:, inside, inside])):
        expected = ndimage.map_coordinates(sample[key][0].numpy(), seen, order=order, mode="mirror")  # type: ignore[index]
        # In float32, places are right to some 1e-5 px.
        assert (np.abs(tile[key][0].numpy() - expected) > 1e-3).mean() <= (0.002 if order == 0 else 0)


def test_what_is_drawn_is_spread_as_was_asked_for() -> None:
    tiles = make(angle_deg=30, scale=(0.8, 1.5), flip_prob=0.25, sigma_px=4)
    draws = [tiles.draw((150, 120)) for _ in range(4000)]
    angles, scales = np.array([draw.angle_deg for draw in draws]), np.array([draw.scale for draw in draws])
    for drawn, lowest, highest in ((angles, -30, 30), (scales, 0.8, 1.5)):
        assert lowest <= drawn.min() < drawn.max() <= highest
        shares = np.histogram(drawn, bins=10, range=(lowest, highest))[0] / len(draws)
        assert shares == pytest.approx([0.1] * 10, abs=0.02)
    assert np.mean([draw.flip for draw in draws]) == pytest.approx(0.25, abs=0.03)
    assert np.std([draw.control_px for draw in draws]) == pytest.approx(4, rel=0.02)


def test_a_batch_of_tiles_is_what_its_samples_give_one_after_the_other() -> None:
    samples = [make_sample() for _ in range(3)]
    together = make(5)(_batch(samples))
    one_by_one = make(5)
    for number, sample in enumerate(samples):
        tile = one_by_one(sample)
        assert together["tile_draw"][number].corner_px == tile["tile_draw"].corner_px
        assert torch.equal(together["label"][number], tile["label"])
        assert torch.allclose(together["image"][number], tile["image"], atol=1e-5)
    again = make(6).apply(_batch(samples), together["tile_draw"])
    assert torch.equal(again["label"], together["label"])
    with pytest.raises(ConfigError, match="2 draws do not fit 3 samples"):
        make().apply(_batch(samples), together["tile_draw"][:2])
    with pytest.raises(ConfigError, match="1 draw does not fit 1 sample;"):
        make().apply(samples[0], together["tile_draw"][:1])


def _batch(samples: list[dict[str, object]]) -> dict[str, object]:
    return {key: torch.stack([sample[key] for sample in samples]) for key in ("image", "label", "weight")}  # type: ignore[misc]


def test_a_loader_collates_tiles_with_their_draws() -> None:
    tiles = make()
    batch = next(iter(DataLoader([tiles(make_sample()) for _ in range(4)], batch_size=4)))
    assert batch["image"].shape == (4, 1, TILE_PX, TILE_PX)
    assert batch["tile_draw"].control_px.shape == (4, 2, 3, 3)


def test_what_is_not_finite_in_a_tile_is_refused_with_the_case() -> None:
    sample = make_sample()
    sample["weight"] = torch.full((1, 150, 120), torch.nan)
    with pytest.raises(ImageError, match="case 'slice_00': weight holds NaN or infinity"):
        make()(sample)


def test_the_cost_of_a_tile_does_not_grow_with_the_image() -> None:
    """Only what a tile sees is looked at: what is not finite elsewhere is not even noticed."""
    image = torch.full((1, 3000, 200), torch.nan)
    image[:, :200] = 0
    sample = {"image": image, "label": torch.zeros(1, 3000, 200, dtype=torch.uint8), "weight": torch.ones(1, 3000, 200)}
    tile = make().apply(sample, TileDraw((40, 40), 30, 1, False, STILL))
    assert not tile["image"].any()


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    sample = make_sample()
    assert torch.equal(make(1)(sample)["image"], make(1)(sample)["image"])
    assert not torch.equal(make(1)(sample)["image"], make(2)(sample)["image"])


@pytest.mark.parametrize("size", [(150, 120), (20, 300), (5, 7), (OUTPUT_PX, OUTPUT_PX)], ids=str)
def test_tiles_lie_within_the_image_or_hold_all_of_it_and_take_every_place(size: tuple[int, int]) -> None:
    tiles = make()
    corners = [tiles.draw(size).corner_px for _ in range(6000)]
    for drawn, length in zip(zip(*corners, strict=True), size, strict=True):
        assert set(drawn) == set(range(min(0, length - OUTPUT_PX), max(0, length - OUTPUT_PX) + 1))


def test_no_label_value_is_new() -> None:
    sample = make_sample()
    sample["label"] = sample["label"] * 100 + 1  # type: ignore[operator]
    for seed in range(5):
        assert set(make(seed)(sample)["label"].unique().tolist()) <= {1, 101, 201}


def test_one_output_key_may_be_a_plain_string() -> None:
    tile = make(output_keys="label")(make_sample())
    assert tile["label"].shape == (1, OUTPUT_PX, OUTPUT_PX)
    assert tile["weight"].shape == (1, TILE_PX, TILE_PX)


def test_scale_above_one_shows_more_tissue() -> None:
    ramp = torch.arange(200.0).repeat(1, 200, 1)
    sample = {"image": ramp, "label": ramp.long(), "weight": ramp}
    tile = make().apply(sample, TileDraw((80, 80), 0, 1.5, False, STILL))
    steps = tile["image"][0, 40, 30:60].diff()
    assert torch.allclose(steps, torch.full_like(steps, 1.5), atol=1e-3)


def test_an_illegal_tile_side_is_refused_when_the_transform_is_built() -> None:
    with pytest.raises(TileSizeError, match="tile side 93 px"):
        make(tile_px=93)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid_shape": (3, 1)}, "at least 2"),
        ({"sigma_px": -2.0}, "sigma_px must be at least 0"),
        ({"angle_deg": 270.0}, "angle_deg must be in"),
        ({"scale": (1.2, 0.8)}, "the smaller first"),
        ({"scale": (1.0, float("inf"))}, "up to 1000"),
        ({"tile_px": 92.0}, r"tile_px must be a whole number of pixels, got 92\.0"),
        ({"tile_px": "auto"}, "tile_px must be a whole number of pixels, got 'auto'"),
        ({"flip_prob": -0.1}, "flip_prob must be in"),
        ({"output_keys": "mask"}, r"output_keys must be among keys .* got \['mask'\]"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused_when_the_transform_is_built(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**arguments)


def test_keys_of_different_size_are_refused_with_the_case() -> None:
    sample = make_sample()
    sample["label"] = torch.zeros(1, 3, 3)
    with pytest.raises(ConfigError, match=r"case 'slice_00': .* label \(1, 3, 3\)"):
        make()(sample)
