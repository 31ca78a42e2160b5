"""Displacements against SciPy's spline zoom, resampling against `map_coordinates`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage

from pipeline.errors import ConfigError
from pipeline.transforms import RandGridElasticd, interpolate_displacement, resample
from pipeline.transforms.resample import base_coordinates

ORDERS = {"nearest": 0, "bilinear": 1}


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.integers(2, 7), st.integers(2, 90), st.integers(2, 90), st.integers(0, 2**31))
def test_displacement_equals_scipys_spline_zoom(gh: int, gw: int, height: int, width: int, seed: int) -> None:
    control = np.random.default_rng(seed).normal(0, 10, (2, gh, gw))
    dense = interpolate_displacement(torch.from_numpy(control), (height, width)).numpy()
    for component in range(2):
        expected = ndimage.zoom(control[component], (height / gh, width / gw), order=3, mode="mirror")
        assert expected.shape == (height, width)
        assert np.abs(dense[component] - expected).max() <= 1e-9


def test_float32_displacement_is_exact_to_a_thousandth_of_a_pixel() -> None:
    control = np.random.default_rng(0).normal(0, 10, (2, 3, 3))
    dense = interpolate_displacement(torch.from_numpy(control).float(), (572, 388)).numpy()
    assert dense.dtype == np.float32
    for component in range(2):
        expected = ndimage.zoom(control[component], (572 / 3, 388 / 3), order=3, mode="mirror")
        assert np.abs(dense[component] - expected).max() <= 1e-3


def test_knots_at_the_corners_and_the_centre_keep_their_values() -> None:
    control = torch.arange(18, dtype=torch.float64).reshape(2, 3, 3) ** 2
    dense = interpolate_displacement(control, (101, 57))
    assert torch.allclose(dense[:, ::50, ::28], control, atol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("seed", range(10))
def test_resampling_equals_map_coordinates_with_mirrored_borders(mode: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, *rng.integers(2, 40, 2))).astype(np.float32)
    target = tuple(rng.integers(1, 60, 2))
    coordinates = rng.uniform(-100, 150, (2, *target)).astype(np.float32)
    sampled = resample(image, torch.from_numpy(coordinates), mode)  # type: ignore[arg-type]
    for channel in range(2):
        expected = ndimage.map_coordinates(image[channel], coordinates, order=ORDERS[mode], mode="mirror")
        different = np.abs(sampled[channel].numpy() - expected) > 1e-3
        # Nearest: float rounding may fall to either neighbour of a place half way between two pixels.
        assert different.mean() <= (0.002 if mode == "nearest" else 0)


def test_nearest_keeps_large_ids_and_their_type() -> None:
    ids = torch.tensor([[[2**40 + 1, 2**40 + 3]]])
    places = torch.tensor([[[0.0, 0.2]], [[0.9, -0.3]]])
    assert resample(ids, places, "nearest").tolist() == [[[2**40 + 3, 2**40 + 1]]]


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_places_on_the_pixel_grid_give_the_pixels_bit_for_bit(mode: str) -> None:
    image = torch.randn(3, 17, 29)
    assert torch.equal(resample(image, base_coordinates((17, 29)), mode), image)  # type: ignore[arg-type]
    shifted = resample(image, base_coordinates((17, 29)) - 2, mode)  # type: ignore[arg-type]
    assert torch.equal(shifted[:, 2:, 2:], image[:, :-2, :-2])
    assert torch.equal(shifted[:, 0, 2:], image[:, 2, :-2])


def test_zero_displacement_returns_the_image_bit_for_bit() -> None:
    sample = {"image": torch.randn(1, 31, 20)}
    deform = RandGridElasticd("image", "bilinear", sigma_px=0)
    assert torch.equal(deform(sample)["image"], sample["image"])


def test_probability_zero_leaves_the_sample_alone() -> None:
    sample = {"image": torch.randn(1, 31, 20)}
    assert RandGridElasticd("image", "bilinear", prob=0)(sample)["image"] is sample["image"]


def make(seed: int = 0, **arguments: object) -> RandGridElasticd:
    deform = RandGridElasticd(["image", "label"], ["bilinear", "nearest"], **arguments)  # type: ignore[arg-type]
    deform.set_random_state(seed)
    return deform


def test_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    sample = {"image": torch.randn(1, 60, 70), "label": torch.randint(0, 3, (1, 60, 70))}
    first, again, other = make(1)(sample), make(1)(sample), make(2)(sample)
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], other["image"])


def test_no_label_value_is_new() -> None:
    label = torch.randint(0, 2, (1, 64, 80)) * 200 + 7
    deformed = make()({"image": label.float(), "label": label})["label"]
    assert deformed.dtype == label.dtype
    assert set(deformed.unique().tolist()) <= {7, 207}


@pytest.mark.parametrize("seed", range(10))
def test_image_and_label_move_together(seed: int) -> None:
    rows, columns = torch.meshgrid(torch.arange(120.0), torch.arange(90.0), indexing="ij")
    disc = ((rows - 55) ** 2 + (columns - 40) ** 2 < 400).float()[None]
    moved = make(seed)({"image": disc, "label": disc.long()})
    # Half the edge pixels may differ where bilinear values straddle one half; nothing beyond the edge does.
    assert ((moved["image"] > 0.5).long() != moved["label"]).float().mean() < 0.004
    assert not torch.equal(moved["label"], disc.long())


def test_displacements_have_the_deviation_that_was_asked_for() -> None:
    deform = make(sigma_px=4.0)
    drawn = []
    for _ in range(400):
        deform.randomize()
        assert deform.control is not None
        drawn.append(deform.control)
    assert np.std(drawn) == pytest.approx(4, rel=0.05)
    assert np.mean(drawn) == pytest.approx(0, abs=0.3)


def test_metatensors_keep_their_metadata() -> None:
    image = MetaTensor(torch.randn(1, 40, 40), meta={"filename_or_obj": "a.png"})
    moved = make()({"image": image, "label": image})["image"]
    assert isinstance(moved, MetaTensor)
    assert moved.meta["filename_or_obj"] == "a.png"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid_shape": (1, 3)}, "at least 2, got"),
        ({"sigma_px": -1.0}, "sigma_px must be at least 0, got -1"),
        ({"sigma_px": float("nan")}, "sigma_px must be at least 0"),
        ({"prob": 1.5}, r"prob must be in \[0, 1\]"),
        ({"mode": ["bilinear"]}, "one for each"),
        ({"mode": "cubic"}, "mode must be one of"),
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused_when_the_transform_is_built(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        RandGridElasticd(["image", "label"], **{"mode": "nearest", **arguments})  # type: ignore[arg-type]


def test_keys_of_different_size_are_refused_with_the_case() -> None:
    sample = {"image": torch.zeros(1, 8, 8), "label": torch.zeros(1, 8, 9), "case": "slice_03"}
    with pytest.raises(ConfigError, match=r"case 'slice_03': .* image \(1, 8, 8\), label \(1, 8, 9\)"):
        make()(sample)
