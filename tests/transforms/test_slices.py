"""Volumes become slices: which voxels come out where, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.transforms import Compose, Lambdad

from pipeline.errors import ConfigError, ImageError
from pipeline.transforms import NeighbourSlicesd, SplitSlicesd

VOLUME = torch.arange(2 * 3 * 4).reshape(1, 2, 3, 4)


def test_each_slice_has_its_neighbours_as_channels_and_the_ends_are_mirrored() -> None:
    found = NeighbourSlicesd("image", slices=3)({"image": VOLUME})["image"]
    assert found.shape == (3, 2, 3, 4)
    numbers = [[int(found[channel, 0, 0, place]) for channel in range(3)] for place in range(4)]
    assert numbers == [[1, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 2]]


@given(st.integers(1, 9), st.integers(0, 4), st.integers(1, 2))
def test_neighbours_are_those_of_a_mirrored_volume(count: int, reach: int, channels: int) -> None:
    volume = np.random.default_rng(count).normal(size=(channels, 2, 3, count))
    found = NeighbourSlicesd("image", slices=2 * reach + 1)({"image": torch.from_numpy(volume)})["image"]
    padded = np.pad(volume, [(0, 0)] * 3 + [(reach, reach)], mode="reflect" if count > 1 else "edge")
    wanted = np.concatenate([padded[..., shift : shift + count] for shift in range(2 * reach + 1)])
    np.testing.assert_array_equal(found.numpy(), wanted)


@pytest.mark.parametrize("slices", [0, 2, -1, 1.5])
def test_an_even_number_of_slices_is_refused(slices: int) -> None:
    with pytest.raises(ConfigError, match="slices must be an odd number of at least 1"):
        NeighbourSlicesd("image", slices=slices)


def test_a_volume_becomes_samples_of_slices_that_later_transforms_see_one_by_one() -> None:
    label = VOLUME * 10
    seen = []
    compose = Compose(
        [SplitSlicesd(["image", "label"]), Lambdad("image", lambda image: seen.append(image.shape) or image)]
    )
    samples = compose({"image": VOLUME, "label": label, "case": "a"})
    assert seen == [(1, 2, 3)] * 4
    assert [sample["slice"] for sample in samples] == [0, 1, 2, 3]
    for number, sample in enumerate(samples):
        assert sample["case"] == "a"
        assert sample["image"].is_contiguous()
        torch.testing.assert_close(sample["image"], VOLUME[..., number])
        torch.testing.assert_close(sample["label"], label[..., number])


def test_slices_put_together_are_the_volume() -> None:
    samples = SplitSlicesd("image")({"image": VOLUME})
    torch.testing.assert_close(torch.stack([sample["image"] for sample in samples], dim=-1), VOLUME)


@pytest.mark.parametrize("transform", [NeighbourSlicesd("image"), SplitSlicesd("image")], ids=["neighbours", "split"])
def test_a_flat_image_is_refused_by_case(transform: NeighbourSlicesd | SplitSlicesd) -> None:
    with pytest.raises(ImageError, match=r"image of case 'a' must be a volume .*, got shape \(1, 2, 3\)"):
        transform({"image": VOLUME[..., 0], "case": "a"})


def test_volumes_of_different_sizes_are_refused_by_case() -> None:
    with pytest.raises(ImageError, match="label of case 'a' is 2 × 3 × 3 voxels but its image is 2 × 3 × 4"):
        SplitSlicesd(["image", "label"])({"image": VOLUME, "label": VOLUME[..., 1:], "case": "a"})
