"""Transforms applied to parts of an image: what MONAI makes of the whole."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from monai.transforms import Activationsd, Compose, LoadImaged, NormalizeIntensityd, ScaleIntensityRanged
from numpy.typing import NDArray

from pipeline.formats import open_image
from pipeline.streamed_intensity import PixelTransforms


def transforms_of(*declared: Any) -> PixelTransforms:
    return PixelTransforms.of(Compose([LoadImaged("image"), *declared]), Compose([Activationsd("pred", softmax=True)]))


def in_parts(pixels: NDArray[Any], path: Path, *declared: Any) -> NDArray[np.float32]:
    """Write an image, and transform uneven parts of it."""
    tifffile.imwrite(path, pixels, tile=(256, 256), compression="zlib")
    with open_image(path) as image:
        to_input = transforms_of(*declared).to_input(image.pages[0])
        cuts = [0, 1, 700, 701, 1300, len(pixels)]
        parts = [image.pages[0][first:last, :][np.newaxis] for first, last in pairwise(cuts)]
        return np.concatenate([to_input(part) for part in parts], axis=1)


def as_a_whole(pixels: NDArray[Any], *declared: Any) -> NDArray[np.float32]:
    sample: dict[str, Any] = {"image": torch.from_numpy(pixels.astype(np.float32))[None]}
    return np.asarray(Compose(declared)(sample)["image"])


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_statistics_are_those_of_the_whole(tmp_path: Path, dtype: str) -> None:
    # Two strips and a bit, whose means differ.
    noise = np.random.default_rng(0).integers(0, 120, (2200, 4000))
    pixels = (noise + np.linspace(0, 130, 2200)[:, np.newaxis]).astype(dtype)
    found = in_parts(pixels, tmp_path / "a.tif", NormalizeIntensityd("image"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, as_a_whole(pixels, NormalizeIntensityd("image")), rtol=1e-5, atol=1e-5)
    exact = (pixels.astype(np.float64) - pixels.mean(dtype=np.float64)) / pixels.std(dtype=np.float64)
    np.testing.assert_allclose(found[0], exact, rtol=1e-6, atol=1e-6)


def test_a_small_spread_on_a_large_mean_is_not_lost(tmp_path: Path) -> None:
    pixels = (60_000 + np.random.default_rng(0).integers(0, 2, (2200, 2000))).astype(np.uint16)
    found = in_parts(pixels, tmp_path / "a.tif", NormalizeIntensityd("image"))
    assert abs(found.std(dtype=np.float64) - 1) < 1e-5


def test_what_comes_before_is_part_of_the_statistics(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 300), np.uint8)
    declared = ScaleIntensityRanged("image", 50, 150, 0, 1, clip=True), NormalizeIntensityd("image", divisor=2.0)
    np.testing.assert_allclose(
        in_parts(pixels, tmp_path / "a.tif", *declared), as_a_whole(pixels, *declared), atol=1e-6
    )


def test_a_constant_image_becomes_zero(tmp_path: Path) -> None:
    found = in_parts(np.full((1400, 37), 0.1, np.float32), tmp_path / "a.tif", NormalizeIntensityd("image"))
    assert not found.any()


def test_the_text_tells_settings_apart_and_nothing_else() -> None:
    texts = [
        str(transforms_of(*declared))
        for declared in (
            [NormalizeIntensityd("image")],
            [NormalizeIntensityd("image")],
            [NormalizeIntensityd("image", subtrahend=3)],
            [NormalizeIntensityd("image"), NormalizeIntensityd("image")],
            [],
        )
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 4
    assert not any(" at 0x" in text for text in texts)
