"""`RasterReader` inside MONAI's `LoadImaged`: orientation, metadata, channels, and refusals that reach the user."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from monai.bundle import ConfigParser
from monai.data import DataLoader, Dataset, MetaTensor
from monai.transforms import Flipd, LoadImage, LoadImaged

from pipeline.errors import ImageError, MissingFileError
from pipeline.formats import RasterReader

PIXELS = np.arange(35, dtype=np.uint8).reshape(5, 7)


def _save(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    if path.suffix == ".png":
        PIL.Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels, photometric="rgb" if pixels.shape[-1] == 3 else "minisblack")
    return path


def _load(path: Path | list[Path], reader: RasterReader | None = None) -> MetaTensor:
    load = LoadImaged(keys=["image"], reader=reader or RasterReader(), ensure_channel_first=True)
    loaded = load({"image": path})["image"]
    assert isinstance(loaded, MetaTensor)
    return loaded


@settings(max_examples=40, deadline=None)
@given(
    pixels=hnp.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.tuples(st.integers(1, 20), st.integers(1, 20)).filter(lambda s: s[1] != 3),
    )
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_image_comes_out_as_one_channel_by_rows_by_columns(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, pixels: np.ndarray
) -> None:
    path = _save(tmp_path_factory.mktemp("reader") / f"a{suffix}", pixels)
    image = _load(path)
    assert image.dtype == torch.float32
    assert image.shape == (1, *pixels.shape)
    with PIL.Image.open(path) as opened:
        np.testing.assert_array_equal(image[0].numpy(), np.asarray(opened))


def test_the_reader_of_monai_would_have_transposed(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png")
    assert LoadImage(ensure_channel_first=True)(path).shape == (1, 7, 5)
    assert _load(path).shape == (1, 5, 7)


def test_metadata_are_those_that_monai_expects(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.tif", PIXELS.astype(np.uint16))
    image = _load(path)
    assert image.meta["filename_or_obj"] == str(path)
    assert image.meta["spatial_shape"].tolist() == [5, 7]
    assert image.meta["source_dtype"] == "uint16"
    np.testing.assert_array_equal(image.affine, np.eye(4))
    np.testing.assert_array_equal(image.meta["original_affine"], np.eye(4))
    assert image.pixdim.tolist() == [1, 1]


def test_a_transform_and_its_inverse_work_on_what_was_read(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png")
    load = LoadImaged(keys=["image"], reader=RasterReader(), ensure_channel_first=True)
    flip = Flipd(keys=["image"], spatial_axis=0)
    flipped = flip(load({"image": path}))
    np.testing.assert_array_equal(flipped["image"][0].numpy(), PIXELS[::-1])
    np.testing.assert_array_equal(flip.inverse(flipped)["image"][0].numpy(), PIXELS)


def test_instance_numbers_keep_their_values(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", np.array([[0, 65_535]], np.uint16))
    assert _load(path).tolist() == [[[0.0, 65_535.0]]]


def test_all_channels_on_demand(tmp_path: Path) -> None:
    colour = np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8)
    for suffix in (".png", ".tif"):
        image = _load(_save(tmp_path / f"a{suffix}", colour), RasterReader(channels="all"))
        np.testing.assert_array_equal(image.numpy(), np.moveaxis(colour, -1, 0))
    gray = _load(_save(tmp_path / "gray.png"), RasterReader(channels="all"))
    assert gray.shape == (1, 5, 7)


def test_files_given_together_are_channels_in_their_order(tmp_path: Path) -> None:
    image = _load([_save(tmp_path / "b.png"), _save(tmp_path / "a.tif", PIXELS + np.uint8(100))])
    np.testing.assert_array_equal(image.numpy(), np.stack([PIXELS, PIXELS + 100]))
    assert image.meta["filename_or_obj"] == str(tmp_path / "b.png")


@pytest.mark.parametrize(
    ("other", "described"),
    [(PIXELS.T, "7 × 5 px, uint8"), (PIXELS.astype(np.uint16), "5 × 7 px, uint16")],
    ids=["size", "dtype"],
)
def test_channels_that_differ_are_refused(tmp_path: Path, other: np.ndarray, described: str) -> None:
    first, second = _save(tmp_path / "a.tif"), _save(tmp_path / "b.tif", np.ascontiguousarray(other))
    with pytest.raises(
        ImageError, match=rf"b\.tif \({described}\) cannot be a channel beside .*a\.tif \(5 × 7 px, uint8"
    ):
        _load([first, second])


def test_a_stack_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.tif", np.stack([PIXELS] * 4))
    with pytest.raises(ImageError, match=r"a\.tif is a stack of 4 pages; expected one page a file; save its pages"):
        _load(path)


def test_a_file_cut_short_is_not_handed_to_another_reader(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.tif")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ImageError, match="is cut short"):
        _load(path)


def test_colour_is_not_handed_to_another_reader(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (5, 7, 3), dtype=np.uint8))
    with pytest.raises(ImageError, match="expected gray"):
        _load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"a\.png not found"):
        _load(tmp_path / "a.png")


def test_suffixes_are_verified_in_either_case() -> None:
    reader = RasterReader()
    assert reader.verify_suffix("a.PNG")
    assert reader.verify_suffix(["a.tif", "b.TIFF"])
    assert not reader.verify_suffix(["a.tif", "b.nii.gz"])


def test_options_are_refused() -> None:
    with pytest.raises(TypeError, match=r"takes no options, got \['mode'\]"):
        RasterReader().read("a.png", mode="L")


@pytest.mark.parametrize(
    "reader", [{"_target_": "pipeline.formats.RasterReader"}, "pipeline.formats.RasterReader"], ids=["target", "name"]
)
def test_a_bundle_config_can_name_it(tmp_path: Path, reader: object) -> None:
    parser = ConfigParser(
        {
            "_target_": "monai.transforms.LoadImaged",
            "keys": ["image"],
            "reader": reader,
            "ensure_channel_first": True,
        }
    )
    load = parser.get_parsed_content("")
    assert load({"image": _save(tmp_path / "a.png")})["image"].shape == (1, 5, 7)


def test_it_can_be_sent_to_worker_processes() -> None:
    assert pickle.loads(pickle.dumps(RasterReader("all"))).channels == "all"


def test_images_and_their_metadata_can_be_batched(tmp_path: Path) -> None:
    cases = [{"image": _save(tmp_path / f"{index}.png", PIXELS + np.uint8(index))} for index in range(4)]
    load = LoadImaged(keys=["image"], reader=RasterReader(), ensure_channel_first=True)
    batch = next(iter(DataLoader(Dataset(cases, load), batch_size=4)))["image"]
    np.testing.assert_array_equal(batch[:, 0, 0, 0].numpy(), [0, 1, 2, 3])
    assert batch.meta["filename_or_obj"] == [str(case["image"]) for case in cases]


def test_a_real_image_and_its_label_lie_on_each_other(real_data: Callable[[str], Path]) -> None:
    folder = real_data("dsb2018-nuclei")
    load = LoadImaged(keys=["image", "label"], reader=RasterReader(), ensure_channel_first=True)
    sizes = set()
    for path in sorted((folder / "images").glob("*.png")):
        case = load({"image": path, "label": folder / "labels" / path.name})
        assert case["image"].shape == case["label"].shape
        sizes.add(tuple(case["image"].shape[1:]))
        inside, outside = (case["image"][case["label"] > 0], case["image"][case["label"] == 0])
        assert inside.mean() > outside.mean()
    assert sizes == {(256, 256), (256, 320), (360, 360), (520, 696)}
