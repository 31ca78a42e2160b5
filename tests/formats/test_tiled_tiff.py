"""TIFF out of strips: the pixels of the whole array, for any reader."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import OutputError
from pipeline.formats import TILE_PX, read_image, write_probability, write_strips


def strips_of(pixels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    for place in itertools.product(*(range(size) for size in pixels.shape[:-2])):
        for first in range(0, pixels.shape[-2], TILE_PX):
            yield pixels[place][first : first + TILE_PX]


@settings(max_examples=30, deadline=None)
@given(
    pages=st.integers(1, 3),
    size=st.tuples(*[st.sampled_from([1, 5, 255, 256, 257, 600])] * 2),
    dtype=st.sampled_from(["u1", "u2", "u4"]),
)
def test_strips_become_the_pages_of_a_file(
    tmp_path_factory: pytest.TempPathFactory, pages: int, size: tuple[int, int], dtype: str
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (pages, *size)).astype(dtype)
    path = tmp_path_factory.mktemp("tiled") / "mask.tif"
    write_strips(path, strips_of(pixels), pixels.shape, pixels.dtype)
    image = read_image(path)
    assert image.pixels.dtype == dtype
    np.testing.assert_array_equal(image.pixels[:, 0], pixels)


@pytest.mark.parametrize("classes", [1, 2, 3])
@pytest.mark.parametrize("pages", [1, 2])
def test_classes_lie_where_write_probability_puts_them(tmp_path: Path, pages: int, classes: int) -> None:
    pixels = np.random.default_rng(0).random((pages, classes, 300, 270), dtype=np.float32)
    write_probability(tmp_path / "whole.tif", pixels)
    write_strips(tmp_path / "strips.tif", strips_of(pixels), pixels.shape, pixels.dtype)
    whole, found = tifffile.imread(tmp_path / "whole.tif"), tifffile.imread(tmp_path / "strips.tif")
    assert found.shape == whole.shape
    np.testing.assert_array_equal(found, whole)


def test_a_file_is_replaced_on_request_alone(tmp_path: Path) -> None:
    pixels = np.zeros((1, 20, 30), np.uint8)
    for overwrite in (False, True):
        write_strips(tmp_path / "mask.tif", strips_of(pixels), pixels.shape, np.uint8, overwrite=overwrite)
    with pytest.raises(OutputError, match=r"mask\.tif already exists; pass --force"):
        write_strips(tmp_path / "mask.tif", strips_of(pixels), pixels.shape, np.uint8)


def test_strips_that_break_off_leave_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[NDArray[Any]]:
        yield np.zeros((TILE_PX, 30), np.uint8)
        raise OutputError("the disk is gone")

    with pytest.raises(OutputError, match="the disk is gone"):
        write_strips(tmp_path / "mask.tif", broken(), (1, 600, 30), np.uint8)
    assert list(tmp_path.iterdir()) == []
