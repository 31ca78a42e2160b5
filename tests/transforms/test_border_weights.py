"""The weight map against values worked out by hand and against a plain loop of whole-image distance transforms."""

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from pipeline.errors import ConfigError, LabelError
from pipeline.transforms import BorderWeightsd, border_weight_map, class_balance_map


def plain_loop(
    instances: np.ndarray, w0: float, sigma_px: float, spacing: tuple[float, float] = (1.0, 1.0)
) -> np.ndarray:
    """Equation 2 of the paper: one distance transform of the whole image for every object."""
    ids = [value for value in np.unique(instances) if value]
    if len(ids) < 2:
        return np.zeros(instances.shape)
    distances = np.sort([ndimage.distance_transform_edt(instances != value, sampling=spacing) for value in ids], axis=0)
    weights = w0 * np.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma_px**2))
    return np.where(instances == 0, weights, 0)


def random_objects(seed: int) -> np.ndarray:
    """Blobs of many shapes: touching, of several parts, with holes, at the edge; ids with gaps between them."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(20, 160, 2))
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(1, 4))
    blobs = ndimage.label(smooth > np.quantile(smooth, rng.uniform(0.3, 0.9)))[0]
    ids = np.concatenate([[0], rng.choice(np.arange(1, 500), size=max(blobs.max(), 1))])
    return ids[blobs].astype(rng.choice([np.uint16, np.int32, np.int64]))


def test_worked_value_on_a_gap_of_one_pixel() -> None:
    weights = border_weight_map(np.array([[1, 0, 2]]))
    assert weights[0, 1] == pytest.approx(10 * math.exp(-4 / 50))
    assert weights.dtype == np.float32


def test_worked_values_on_a_gap_of_four_pixels() -> None:
    weights = border_weight_map(np.array([[1, 1, 0, 0, 0, 0, 2]]), w0=7, sigma_px=3)
    assert weights[0] == pytest.approx([0, 0, *[7 * math.exp(-25 / 18)] * 4, 0])


def test_worked_value_on_a_diagonal() -> None:
    instances = np.array([[5, 0, 0], [0, 0, 0], [0, 0, 9]])
    assert border_weight_map(instances)[1, 1] == pytest.approx(10 * math.exp(-((2 * math.sqrt(2)) ** 2) / 50))


@pytest.mark.parametrize("seed", range(40))
def test_map_equals_a_plain_loop_of_whole_image_distance_transforms(seed: int) -> None:
    instances = random_objects(seed)
    w0, sigma_px = [(10, 5), (50, 6), (1, 1.5), (10, 20)][seed % 4]
    expected = plain_loop(instances, w0, sigma_px)
    assert np.abs(border_weight_map(instances, w0, sigma_px) - expected).max() <= 1e-5


def test_an_image_of_several_blocks_has_no_seams() -> None:
    """Objects of every size and distance, from cells that all but touch to some far from all others."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(540, 560)), 9) + np.linspace(-0.01, 0.035, 540)[:, np.newaxis]
    instances = ndimage.label(smooth > 0.02)[0]
    assert instances.max() > 30
    assert np.abs(border_weight_map(instances) - plain_loop(instances, 10, 5)).max() <= 1e-5


@pytest.mark.parametrize("spacing", [(1.0, 2.5), (3.0, 1.0), (0.4, 0.3)], ids=str)
def test_map_of_oblong_pixels_equals_the_plain_loop(spacing: tuple[float, float]) -> None:
    for seed in range(5):
        instances = random_objects(seed)
        expected = plain_loop(instances, 10, 4, spacing)
        assert np.abs(border_weight_map(instances, 10, 4, spacing) - expected).max() <= 1e-5


@pytest.mark.parametrize("spacing", [(1.0,), (0.0, 1.0), (1.0, float("nan"))], ids=str)
def test_a_spacing_that_is_none_is_refused_when_the_transform_is_built(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="spacing must be two positive numbers"):
        BorderWeightsd("label", spacing=spacing)


def test_objects_of_several_parts_count_once() -> None:
    instances = np.zeros((9, 40), dtype=np.int32)
    instances[:, :3], instances[:, 6:9] = 1, 1
    assert not border_weight_map(instances).any()
    instances[:, -3:] = 2
    assert np.abs(border_weight_map(instances) - plain_loop(instances, 10, 5)).max() <= 1e-5


@pytest.mark.parametrize("instances", [np.zeros((4, 5), int), np.ones((4, 5), int), np.eye(5, dtype=int)], ids=str)
def test_fewer_than_two_objects_give_zeros(instances: np.ndarray) -> None:
    weights = border_weight_map(instances)
    assert weights.shape == instances.shape
    assert not weights.any()


def test_objects_themselves_weigh_nothing() -> None:
    instances = random_objects(3)
    assert not border_weight_map(instances)[instances > 0].any()


def test_no_object_is_larger_than_the_data_type_of_its_id() -> None:
    instances = np.array([[2**31 - 1, 0, 1]], dtype=np.int64)
    assert border_weight_map(instances)[0, 1] == pytest.approx(10 * math.exp(-4 / 50))


@pytest.mark.parametrize("bad", [np.zeros((2, 2)), np.zeros((2, 2, 2), int), np.zeros((2, 2), bool)], ids=str)
def test_arrays_that_are_no_instances_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(LabelError, match="must be a 2D integer array"):
        border_weight_map(bad)


def test_negative_instances_are_refused() -> None:
    with pytest.raises(LabelError, match="must not be negative, got -3"):
        border_weight_map(np.array([[-3, 0, 2]]))


@pytest.mark.parametrize(("w0", "sigma_px"), [(-1, 5), (math.nan, 5), (10, 0), (10, -2), (10, math.inf)])
def test_numbers_out_of_range_are_refused_when_the_transform_is_built(w0: float, sigma_px: float) -> None:
    with pytest.raises(ConfigError, match="must be"):
        BorderWeightsd("label", w0=w0, sigma_px=sigma_px)


@pytest.mark.parametrize("class_balance", ["inverse_freq", (), (1.0, -2.0), (math.nan,)], ids=str)
def test_an_unknown_class_balance_is_refused_when_the_transform_is_built(class_balance: object) -> None:
    with pytest.raises(ConfigError, match="class_balance must be"):
        BorderWeightsd("label", class_balance=class_balance)  # type: ignore[arg-type]


def test_inverse_frequency_gives_each_class_the_same_share_and_the_mean_one() -> None:
    label = np.array([[0, 0, 0, 0, 0, 0, 1, 1]])
    balance = class_balance_map(label)
    assert balance[label == 0].sum() == pytest.approx(balance[label == 1].sum())
    assert balance.mean() == pytest.approx(1)
    assert balance[0] == pytest.approx([8 / 12] * 6 + [2] * 2)


def test_a_label_of_one_class_has_the_balance_one() -> None:
    assert (class_balance_map(np.full((3, 3), 2)) == 1).all()


def test_stated_weights_are_looked_up_by_class() -> None:
    assert class_balance_map(np.array([[0, 2]]), (0.5, 1, 4)).tolist() == [[0.5, 4.0]]
    with pytest.raises(LabelError, match="holds class 3, but class_balance gives weights for 2 classes"):
        class_balance_map(np.array([[0, 3]]), (0.5, 1))


def test_the_transform_adds_balance_and_border() -> None:
    instances = random_objects(5)
    sample = {"label": torch.from_numpy((instances > 0).astype(np.int64))[None], "instances": instances[None]}
    weight = BorderWeightsd("label")(sample)["weight"]
    assert weight.dtype == torch.float32
    expected = class_balance_map((instances > 0).astype(int)) + plain_loop(instances, 10, 5)
    assert np.abs(weight[0].numpy() - expected).max() <= 1e-5
    assert set(sample) == {"label", "instances"}


def test_a_bad_sample_is_named() -> None:
    sample = {"label": np.zeros((1, 1, 2), int), "instances": np.array([[[-1, 0]]]), "case": "slice_07"}
    with pytest.raises(LabelError, match=r"case 'slice_07': instances must not be negative"):
        BorderWeightsd("label")(sample)


@pytest.mark.parametrize(
    ("label", "instances", "message"),
    [
        (
            np.zeros((1, 3, 4), int),
            np.zeros((1, 1, 4), int),
            r"must be \(1, row, column\) of one size, got \(1, 3, 4\)",
        ),
        (np.zeros((2, 3, 4), int), np.zeros((2, 3, 4), int), r"must be \(1, row, column\)"),
        (np.full((1, 3, 4), -1), np.zeros((1, 3, 4), int), "must hold class indices, .* got int64 from -1"),
        (np.zeros((1, 3, 4)), np.zeros((1, 3, 4), int), "must hold class indices, .* got float64"),
    ],
)
@pytest.mark.parametrize("balance", ["inverse_frequency", (1.0, 5.0)], ids=["share", "weights"])
def test_a_label_that_does_not_fit_is_refused_with_the_case(
    label: np.ndarray, instances: np.ndarray, message: str, balance: object
) -> None:
    with pytest.raises(LabelError, match=f"case 'c7': .*{message}"):
        BorderWeightsd("label", class_balance=balance)({"label": label, "instances": instances, "case": "c7"})  # type: ignore[arg-type]


def test_a_class_of_a_large_index_takes_no_more_memory_than_another() -> None:
    assert class_balance_map(np.array([[2**40, 0]])).tolist() == [[1.0, 1.0]]


def test_objects_are_told_apart_whatever_their_number() -> None:
    """A strip of 900 objects side by side, one pixel each, with gaps of two pixels."""
    instances = np.zeros((1, 2700), np.int32)
    instances[0, ::3] = np.arange(1, 901)
    weights = border_weight_map(instances)[0]
    assert weights[1::3][:-1] == pytest.approx([10 * math.exp(-9 / 50)] * 899)
    assert weights[2::3][:-1] == pytest.approx([10 * math.exp(-9 / 50)] * 899)


def test_blocks_without_an_object_weigh_nothing() -> None:
    instances = np.zeros((1500, 1100), np.int32)
    instances[3:9, 1000:1010], instances[3:9, 1013:1020] = 1, 2
    instances[1490:1499, 5:9], instances[1480:1486, 5:9] = 3, 4
    assert np.abs(border_weight_map(instances) - plain_loop(instances, 10, 5)).max() <= 1e-5


def test_parts_far_apart_cost_no_window_between_them() -> None:
    """Objects of two parts each, anywhere in the image, against the plain loop."""
    rng = np.random.default_rng(4)
    instances = np.zeros((400, 400), np.int32)
    for number in (*range(1, 41), *range(1, 41)):
        row, column = rng.integers(0, 390, 2)
        instances[row : row + 9, column : column + 9] = number
    assert np.abs(border_weight_map(instances) - plain_loop(instances, 10, 5)).max() <= 1e-5
