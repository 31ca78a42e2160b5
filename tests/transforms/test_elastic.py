"""Displacements against SciPy's spline zoom, resampling against `map_coordinates`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from scipy import ndimage
from torch.utils.data import default_collate

from pipeline.errors import ConfigError, ImageError, LabelError
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


def keys_kernel(distance: np.ndarray) -> np.ndarray:
    """Cubic convolution with a = -0.75 (Keys 1981)."""
    d = np.abs(distance)
    near = 1.25 * d**3 - 2.25 * d**2 + 1
    far = -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def test_bicubic_is_cubic_convolution_of_the_mirrored_image() -> None:
    rng = np.random.default_rng(5)
    image = rng.normal(size=(21, 34))
    places = rng.uniform(-15, 45, (2, 300))
    padded = np.pad(image, 60, mode="reflect")
    expected = []
    for row, column in places.T:
        rows, columns = (np.arange(np.floor(place) - 1, np.floor(place) + 3).astype(int) for place in (row, column))
        taps = padded[np.ix_(rows + 60, columns + 60)]
        expected.append(keys_kernel(row - rows) @ taps @ keys_kernel(column - columns))
    sampled = resample(image[None], torch.from_numpy(places[:, None]).float(), "bicubic")
    np.testing.assert_allclose(sampled[0, 0].numpy(), expected, atol=2e-4)


def test_displacement_of_volumes_equals_scipys_spline_zoom() -> None:
    control = np.random.default_rng(1).normal(0, 10, (3, 3, 4, 2))
    dense = interpolate_displacement(torch.from_numpy(control), (20, 33, 7)).numpy()
    for component in range(3):
        expected = ndimage.zoom(control[component], (20 / 3, 33 / 4, 7 / 2), order=3, mode="mirror")
        assert np.abs(dense[component] - expected).max() <= 1e-9


def test_a_batch_is_deformed_as_its_samples_one_after_the_other() -> None:
    images, labels = torch.randn(5, 2, 40, 31), torch.randint(0, 9, (5, 1, 40, 31))
    together = make(3, prob=0.6)({"image": images, "label": labels})
    alone = make(3, prob=0.6)
    moved = [alone({"image": image, "label": label}) for image, label in zip(images, labels, strict=True)]
    still = [not sample["elastic_control"].any() for sample in moved]
    assert 0 < sum(still) < 5
    for number, sample in enumerate(moved):
        assert torch.equal(together["label"][number], sample["label"])
        assert torch.allclose(together["image"][number], sample["image"], atol=1e-5)
        if still[number]:
            assert torch.equal(together["image"][number], images[number])
        assert np.array_equal(together["elastic_control"][number], sample["elastic_control"])


def test_a_deformation_can_be_made_again_from_what_was_drawn() -> None:
    sample = {"image": torch.randn(1, 40, 31), "label": torch.randint(0, 9, (1, 40, 31))}
    first = make(3)(sample)
    again = make(4).apply(sample, first["elastic_control"])
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_the_cpu_gives() -> None:
    sample = {"image": torch.randn(3, 1, 90, 70), "label": torch.randint(0, 9, (3, 1, 90, 70))}
    moved = make(3)(sample)
    on_gpu = make(3)({key: tensor.cuda() for key, tensor in sample.items()})
    assert on_gpu["image"].device.type == "cuda"
    assert torch.allclose(on_gpu["image"].cpu(), moved["image"], atol=1e-3)
    assert (on_gpu["label"].cpu() == moved["label"]).float().mean() > 0.999


def test_a_painted_label_stays_on_its_image_within_half_a_pixel() -> None:
    """Along an edge, the image crosses one half where the label changes."""
    columns = torch.arange(80.0).expand(1, 100, 80)
    edge = 33
    moved = make(7)({"image": columns.clone(), "label": (columns >= edge).long()})
    # The image holds each pixel's place: labels must change where it passes from pixel 32 to pixel 33.
    inside = moved["image"] >= edge - 0.5
    doubtful = (moved["image"] - (edge - 0.5)).abs() < 1e-3
    assert torch.equal(inside[~doubtful], (moved["label"] == 1)[~doubtful])
    assert inside.any()
    assert not inside.all()


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
        drawn.append(deform.control)
    assert np.std(drawn) == pytest.approx(4, rel=0.05)
    assert np.mean(drawn) == pytest.approx(0, abs=0.3)


def test_metatensors_keep_their_metadata() -> None:
    affine = torch.diag(torch.tensor([0.5, 0.25, 1, 1], dtype=torch.float64))
    operations = [{"class": "Something"}]
    meta = {"filename_or_obj": "a.png", "places": [1]}
    image = MetaTensor(torch.randn(1, 40, 40), affine=affine, meta=meta, applied_operations=operations)
    moved = make()({"image": image, "label": image > 0})["image"]
    assert isinstance(moved, MetaTensor)
    assert moved.meta["filename_or_obj"] == "a.png"
    assert torch.equal(moved.affine, affine)
    assert moved.applied_operations == operations
    assert not moved.is_batch
    moved.meta["places"].append(2)
    assert image.meta["places"] == [1]


@pytest.mark.parametrize("prob", [0.0, 1.0])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("uint8", "float32"),
        ("int64", "float32"),
        ("float16", "float16"),
        ("float32", "float32"),
        ("float64", "float64"),
    ],
)
def test_the_type_of_the_result_does_not_depend_on_what_was_drawn(given: str, expected: str, prob: float) -> None:
    image = np.random.default_rng(0).uniform(0, 200, (1, 20, 30)).astype(given)
    moved = RandGridElasticd("image", "bilinear", prob=prob)({"image": image})["image"]
    assert isinstance(moved, torch.Tensor)
    assert moved.dtype == getattr(torch, expected)
    assert torch.equal(moved, torch.from_numpy(image).to(moved.dtype)) == (prob == 0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.int32, torch.bool])
def test_labels_of_any_integer_type_go_in_batches(dtype: torch.dtype) -> None:
    label = torch.randint(0, 2, (3, 1, 24, 20)).to(dtype)
    moved = make()({"image": torch.zeros(3, 1, 24, 20), "label": label})["label"]
    assert moved.dtype == dtype
    assert moved.shape == label.shape


def test_what_a_loader_makes_of_the_draws_of_a_batch_replays_it() -> None:
    samples = [{"image": torch.randn(1, 24, 20), "label": torch.randint(0, 9, (1, 24, 20))} for _ in range(3)]
    deform = make()
    moved = default_collate([deform(sample) for sample in samples])
    again = make(9).apply(default_collate(samples), moved["elastic_control"])
    assert torch.equal(again["label"], moved["label"])
    assert torch.allclose(again["image"], moved["image"], atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 2, 3, 3), (2, 2, 3, 3)])
def test_displacements_for_another_number_of_samples_are_refused(shape: tuple[int, ...]) -> None:
    sample = {"image": torch.zeros(1, 8, 8), "label": torch.zeros(1, 8, 8, dtype=torch.uint8)}
    with pytest.raises(ConfigError, match=r"control_px must be \(2, 'rows', 'columns'\) for this sample, got"):
        make().apply(sample, np.ones(shape))


def test_training_may_follow_inference_on_the_same_grid() -> None:
    with torch.inference_mode():
        interpolate_displacement(torch.zeros(2, 3, 3), (31, 47))
    control = torch.zeros(2, 3, 3, requires_grad=True)
    interpolate_displacement(control, (31, 47)).sum().backward()
    assert control.grad is not None
    assert control.grad.sum() == pytest.approx(2 * 31 * 47, rel=1e-3)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("seed", range(5))
def test_a_deformed_image_is_what_scipy_makes_of_the_same_displacements(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    size = tuple(int(side) for side in rng.integers(20, 90, 2))
    image = np.round(rng.normal(size=(1, *size)) * 100)
    moved = make(seed)({"image": torch.from_numpy(image), "label": torch.from_numpy(image).long()})
    zooms = [side / 3 for side in size]
    bent = np.mgrid[: size[0], : size[1]] + [
        ndimage.zoom(component, zooms, order=3, mode="mirror") for component in moved["elastic_control"]
    ]
    assert np.abs(moved["elastic_control"]).max() > 5
    expected = ndimage.map_coordinates(image[0], bent, order=order, mode="mirror")
    found = moved["label" if order == 0 else "image"][0].numpy()
    # In float32, places are right to about 1e-5 px.
    assert (np.abs(found - expected) > 0.05).mean() <= (0.002 if order == 0 else 0)


def test_a_key_that_is_missing_and_an_image_without_pixels_are_refused_with_the_case() -> None:
    with pytest.raises(ConfigError, match=r"case 'slice_03' has no 'label', only \['image', 'case'\]"):
        make()({"image": torch.zeros(1, 8, 8), "case": "slice_03"})
    empty = {"image": torch.zeros(1, 0, 8), "label": torch.zeros(1, 0, 8, dtype=torch.uint8), "case": "slice_03"}
    with pytest.raises(ImageError, match=r"case 'slice_03' holds no pixels: image \(1, 0, 8\)"):
        make()(empty)


def test_places_for_another_number_of_images_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"places \(2, 2, 2, 3\) do not fit images \(1, 2, 2, 3\)"):
        resample(torch.zeros(1, 2, 2, 3), torch.zeros(2, 2, 2, 3), "nearest")


@pytest.mark.parametrize("shape", [(3, 3, 3), (3, 3), (1, 2, 2, 3, 3)])
def test_displacements_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"control must be \(2, rows, columns\) displacements, got"):
        interpolate_displacement(torch.zeros(shape), (20, 20))
    with pytest.raises(ConfigError, match=r"control must be a tensor of real numbers, got torch\.int64"):
        interpolate_displacement(torch.zeros(2, 3, 3, dtype=torch.int64), (20, 20))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"grid_shape": (1, 3)}, "at least 2, got"),
        ({"grid_shape": (2.5, 3)}, "whole numbers"),
        ({"sigma_px": 1e39}, "at most 1e6"),
        ({"sigma_px": -1.0}, "sigma_px must be at least 0, .* got -1"),
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
    sample = {"image": torch.zeros(1, 8, 8), "label": torch.zeros(1, 8, 9, dtype=torch.uint8), "case": "slice_03"}
    with pytest.raises(ConfigError, match=r"case 'slice_03': .* image \(1, 8, 8\), label \(1, 8, 9\)"):
        make()(sample)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_image_that_is_not_finite_is_refused_with_the_case(value: float) -> None:
    image = torch.zeros(1, 8, 8)
    image[0, 2, 3] = value
    with pytest.raises(ImageError, match="case 'slice_03': image holds NaN or infinity"):
        make()({"image": image, "label": torch.zeros(1, 8, 8, dtype=torch.uint8), "case": "slice_03"})


def test_a_label_of_floating_type_is_refused_with_the_case() -> None:
    with pytest.raises(LabelError, match=r"case 'slice_03': label holds torch.float32, .* integers; cast it first"):
        make()({"image": torch.zeros(1, 8, 8), "label": torch.zeros(1, 8, 8), "case": "slice_03"})
