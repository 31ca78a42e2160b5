"""The gap between touching objects: worked values, a slow loop, and a real label map."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ConfigError, LabelError
from pipeline.transforms import SeparateInstancesd, separate_touching_instances


def slow(instances: np.ndarray, gap_px: int) -> np.ndarray:
    reach = gap_px // 2
    apart = instances.copy()
    for (row, column), value in np.ndenumerate(instances):
        window = instances[max(row - reach, 0) : row + reach + 1, max(column - reach, 0) : column + reach + 1]
        if value and any(other not in (0, value) for other in window.flat):
            apart[row, column] = 0
    return apart


def test_touching_objects_give_up_one_pixel_each() -> None:
    instances = np.array([[7, 7, 7, 3, 3, 3]])
    assert separate_touching_instances(instances).tolist() == [[7, 7, 0, 0, 3, 3]]
    assert separate_touching_instances(instances, gap_px=4).tolist() == [[7, 0, 0, 0, 0, 3]]


def test_the_border_with_the_background_stays() -> None:
    instances = np.array([[0, 5, 5, 0, 0, 9, 0]])
    assert separate_touching_instances(instances).tolist() == instances.tolist()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64])
def test_it_equals_a_slow_loop(seed: int, dtype: type[np.integer]) -> None:
    rng = np.random.default_rng(seed)
    instances = np.kron(rng.integers(0, 5, (5, 6)), np.ones((4, 5), int)).astype(dtype)
    for gap_px in (2, 4):
        apart = separate_touching_instances(instances, gap_px)
        assert apart.dtype == dtype
        assert np.array_equal(apart, slow(instances, gap_px))


def test_no_two_objects_of_a_real_label_map_touch_afterwards(real_data: Callable[[str], Path]) -> None:
    paths = sorted((real_data("dsb2018-nuclei") / "labels").glob("*.png"))
    assert len(paths) == 16
    for path in paths:
        instances = np.asarray(Image.open(path)).astype(np.int32)
        apart = separate_touching_instances(instances)
        for axis in (0, 1):
            first, second = (
                np.take(apart, range(apart.shape[axis] - 1), axis),
                np.take(apart, range(1, apart.shape[axis]), axis),
            )
            assert not ((first != second) & (first > 0) & (second > 0)).any()
        assert set(np.unique(apart)) <= set(np.unique(instances))


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="positive even number, got 3"):
        SeparateInstancesd("instances", gap_px=3)
    with pytest.raises(LabelError, match="2D integer array"):
        separate_touching_instances(np.zeros((3, 3)))
    with pytest.raises(LabelError, match="case 'x': instances must not be negative"):
        SeparateInstancesd("instances")({"instances": np.array([[[-1, 2]]]), "case": "x"})
