"""Segmenting image files: masks on the pixel grid of each image, equal to one pass over the whole image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from monai.transforms import Compose, RepeatChanneld
from PIL import Image
from scipy import ndimage

from pipeline.data import phantom_em_slice
from pipeline.engines import load_network, save_whole
from pipeline.errors import CheckpointError, ConfigError, ImageError, MissingFileError, OutputError
from pipeline.formats import read_image
from pipeline.networks import ValidUNet
from pipeline.predict import Predictor, Wanted, predict_files

BUNDLE = Path(__file__).parents[1] / "bundles" / "em_membrane_segmentation"
CHANNELS = [4, 8, 16, 32, 64]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network, biased so that it gives membranes and cells in about equal parts."""
    torch.manual_seed(11)
    path = tmp_path_factory.mktemp("run") / "weights.pt"
    save_whole(ValidUNet(channels=CHANNELS).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def predictor(checkpoint: Path) -> Predictor:
    settings = {"network_def::channels": CHANNELS, "device": "cpu", "precision": "fp32"}
    return Predictor.from_bundle(BUNDLE, checkpoint, overrides=settings)


def slice_of(rows: int, columns: int, index: int = 0) -> np.ndarray:
    """A generated slice, mirrored up to a size."""
    piece = phantom_em_slice(index).image
    return np.pad(piece, ((0, max(rows - 512, 0)), (0, max(columns - 512, 0))), mode="reflect")[:rows, :columns]


def by_hand(image: np.ndarray, checkpoint: Path) -> np.ndarray:
    """Probabilities out of one pass over the whole mirrored image."""
    network = load_network(ValidUNet(channels=CHANNELS), checkpoint).eval()
    pixels = image.astype(np.float32)
    pixels = (pixels - pixels.mean()) / pixels.std()
    rows, columns = image.shape
    # 92 px at each side, and as many more below and to the right as make the sides legal: 16 k + 12.
    padded = np.pad(pixels, ((92, 92 + -(rows + 172) % 16), (92, 92 + -(columns + 172) % 16)), mode="reflect")
    with torch.inference_mode():
        logits = network(torch.from_numpy(padded)[None, None])[0, :, :rows, :columns]
    return np.asarray(logits.softmax(0))


def test_a_700_by_333_image_gives_what_one_pass_over_the_whole_image_gives(
    predictor: Predictor, checkpoint: Path, tmp_path: Path
) -> None:
    image = slice_of(700, 333)
    Image.fromarray(image).save(tmp_path / "slice.png")
    wanted = by_hand(image, checkpoint)
    assert 0.02 < (wanted[1] > 0.5).mean() < 0.98  # else the masks below would say nothing

    (results,) = predict_files(predictor, [tmp_path / "slice.png"], tmp_path / "out", Wanted(probability=True))
    probability = tifffile.imread(results.probability)
    assert probability.shape == (2, 700, 333)
    np.testing.assert_allclose(probability, wanted, atol=1e-4)
    mask = read_image(results.mask).pixels[0, 0]
    assert mask.shape == (700, 333)
    sure = np.abs(wanted[1] - 0.5) > 1e-4
    assert np.array_equal(mask[sure], np.where(wanted[1] > 0.5, 255, 0)[sure])
    assert sure.mean() > 0.95
    instances = read_image(results.instances).pixels[0, 0]
    count = ndimage.label(mask)[1]
    assert instances.max() == count
    assert np.array_equal(instances > 0, mask > 0)


@pytest.mark.parametrize("tile_px", [188, 380, 572])
def test_the_tile_changes_nothing(predictor: Predictor, checkpoint: Path, tile_px: int) -> None:
    settings = {"network_def::channels": CHANNELS, "device": "cpu", "precision": "fp32", "tile_px": tile_px}
    other = Predictor.from_bundle(BUNDLE, checkpoint, overrides=settings)
    pages = slice_of(150, 230)[None, None]
    np.testing.assert_allclose(other.probability(pages), predictor.probability(pages), atol=1e-4)


def test_8_and_16_bit_png_and_tiff_of_one_image_give_one_mask(predictor: Predictor, tmp_path: Path) -> None:
    image = slice_of(90, 140)
    wide = image.astype(np.uint16) * 257
    (tmp_path / "in").mkdir()
    Image.fromarray(image).save(tmp_path / "in" / "a.png")
    Image.fromarray(wide).save(tmp_path / "in" / "b.png")
    tifffile.imwrite(tmp_path / "in" / "c.tif", image)
    tifffile.imwrite(tmp_path / "in" / "d.tiff", wide, compression="zlib")
    results = predict_files(predictor, [tmp_path / "in"], tmp_path / "out", progress=False)
    assert [result.mask.name for result in results] == ["a_mask.png", "b_mask.png", "c_mask.tif", "d_mask.tif"]
    masks = [read_image(result.mask) for result in results]
    assert all(mask.size_px == (90, 140) and mask.pixels.dtype == np.uint8 for mask in masks)
    assert all(np.array_equal(mask.pixels, masks[0].pixels) for mask in masks[1:])
    # Instances are 16-bit, also in a PNG.
    assert all(read_image(result.instances).pixels.dtype == np.uint16 for result in results)


def test_each_page_of_a_stack_is_an_image_of_its_own(predictor: Predictor, tmp_path: Path) -> None:
    pages = [slice_of(64, 80), slice_of(64, 80, index=1) // 2 + 90]
    tifffile.imwrite(tmp_path / "stack.tif", np.stack(pages), photometric="minisblack")
    for name, page in zip("ab", pages, strict=True):
        tifffile.imwrite(tmp_path / f"{name}.tif", page)
    inputs = [tmp_path / name for name in ("stack.tif", "a.tif", "b.tif")]
    wanted = Wanted(probability=True, picture=True)
    stack, *singles = predict_files(predictor, inputs, tmp_path / "out", wanted, progress=False)
    for kind in ("mask", "instances"):
        found = read_image(stack.of_kind(kind))
        assert found.pages == 2
        for page, single in zip(found.pixels, singles, strict=True):
            assert np.array_equal(page, read_image(single.of_kind(kind)).pixels[0])
    assert tifffile.imread(stack.probability).shape == (2, 2, 64, 80)
    assert stack.overlay.is_file()


def test_pages_that_pass_together_give_what_each_gives_alone(
    predictor: Predictor, checkpoint: Path, tmp_path: Path
) -> None:
    pages = np.stack([slice_of(64, 80, index=index) for index in range(5)])
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    settings = {"network_def::channels": CHANNELS, "device": "cpu", "precision": "fp32", "batch_size": 3}
    together = Predictor.from_bundle(BUNDLE, checkpoint, overrides=settings)
    (results,) = predict_files(together, [tmp_path / "stack.tif"], tmp_path / "out", Wanted(probability=True))
    alone = [predictor.probability(page[None, None])[0] for page in pages]
    np.testing.assert_allclose(tifffile.imread(results.probability), alone, atol=1e-4)


def test_channels_are_counted_after_the_preprocessing(predictor: Predictor, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "gray.tif", slice_of(30, 40))
    steps = (*predictor.preprocessing.transforms, RepeatChanneld("image", 3))
    torch.manual_seed(0)
    network = ValidUNet(3, channels=CHANNELS).eval()
    of_colour = replace(predictor, preprocessing=Compose(steps), network=network)
    (results,) = predict_files(of_colour, [tmp_path / "gray.tif"], tmp_path / "out", progress=False)
    assert read_image(results.mask).size_px == (30, 40)
    too_few = replace(predictor, network=network)
    with pytest.raises(ImageError, match=r"must be \(batch, 3, height, width\)"):
        predict_files(too_few, [tmp_path / "gray.tif"], tmp_path / "none", progress=False)
    assert not (tmp_path / "none").exists()


def test_an_image_smaller_than_the_margin_gives_a_mask_of_its_size(predictor: Predictor, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "tiny.tif", slice_of(17, 5))
    (results,) = predict_files(predictor, [tmp_path / "tiny.tif"], tmp_path / "out", progress=False)
    assert read_image(results.mask).size_px == (17, 5)


def test_only_what_is_wanted_is_written(predictor: Predictor, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", slice_of(40, 40))
    written = {}
    for wanted in (Wanted(), Wanted(probability=True), Wanted(picture=True)):
        folder = tmp_path / str(wanted)
        predict_files(predictor, [tmp_path / "a.tif"], folder, wanted, progress=False)
        written[wanted] = {path.name for path in folder.iterdir()}
    bare = {"a_mask.tif", "a_instances.tif"}
    assert written == {
        Wanted(): bare,
        Wanted(probability=True): bare | {"a_probability.tif"},
        Wanted(picture=True): bare | {"a_overlay.png"},
    }


def test_results_are_kept_unless_they_may_be_replaced(predictor: Predictor, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", slice_of(40, 40))
    arguments: Any = (predictor, [tmp_path / "a.tif"], tmp_path / "out", Wanted(probability=True, picture=True))
    predict_files(*arguments, progress=False)
    mask = tmp_path / "out" / "a_mask.tif"
    mask.write_bytes(b"corrected by hand")
    with pytest.raises(OutputError, match=r"a_mask\.tif already exists; pass --force"):
        predict_files(*arguments, progress=False)
    assert mask.read_bytes() == b"corrected by hand"
    predict_files(*arguments, overwrite=True, progress=False)
    assert read_image(mask).size_px == (40, 40)


@pytest.mark.parametrize("damage", ["missing", "truncated", "not finite"])
def test_a_bad_image_stops_before_the_first_result(predictor: Predictor, tmp_path: Path, damage: str) -> None:
    good, bad = tmp_path / "1.tif", tmp_path / "2.tif"
    tifffile.imwrite(good, slice_of(40, 40))
    tifffile.imwrite(bad, np.full((40, 40), np.nan if damage == "not finite" else 1, np.float32))
    if damage == "truncated":
        bad.write_bytes(bad.read_bytes()[:-100])
    if damage == "missing":
        bad.unlink()
    with pytest.raises((ImageError, MissingFileError), match=r"2\.tif"):
        predict_files(predictor, [good, bad], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_a_constant_image_gives_a_mask(predictor: Predictor, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "flat.tif", np.full((30, 40), 7, np.uint8))
    (results,) = predict_files(predictor, [tmp_path / "flat.tif"], tmp_path / "out", progress=False)
    assert read_image(results.mask).size_px == (30, 40)


# --- the network -----------------------------------------------------------------------------------------------------


def test_the_network_is_the_one_that_the_run_recorded(trained_run: Any) -> None:
    predictor = Predictor.from_bundle(BUNDLE, trained_run.checkpoint, overrides={"device": "cpu"})
    assert predictor.network.channels == (4, 8, 16, 32, 64)
    assert not predictor.network.training


def test_the_checkpoint_of_the_bundle_is_the_default(trained_run: Any) -> None:
    predictor = Predictor.from_bundle(trained_run.bundle, overrides={"device": "cpu"})
    assert predictor.network.channels == (4, 8, 16, 32, 64)


def test_what_the_record_of_the_run_decides_is_said(trained_run: Any) -> None:
    said = f"settings of the training run, from its record: network_def::channels={CHANNELS}"
    predictor = Predictor.from_bundle(BUNDLE, trained_run.checkpoint, overrides={"device": "cpu"})
    assert predictor.remarks == (said,)
    assert predictor.origin is not None
    assert predictor.origin.settings == {"network_def::channels": CHANNELS, "device": "cpu"}
    chosen = {"device": "cpu", "network_def::dropout": 0.25}
    predictor = Predictor.from_bundle(BUNDLE, trained_run.checkpoint, overrides=chosen)
    assert predictor.remarks == (said, "network_def::dropout=0.25 is not what the network was trained with: 0.5")


def test_a_network_named_by_the_user_is_taken_instead_of_the_recorded_one(trained_run: Any) -> None:
    with pytest.raises(CheckpointError, match=r"model\.pt belongs to another network: .*expected \(2, 1, 3, 3\)"):
        Predictor.from_bundle(BUNDLE, trained_run.checkpoint, overrides={"network_def::channels": [2, 4, 8, 16, 32]})


def test_a_checkpoint_of_another_network_is_refused(checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"weights\.pt belongs to another network: .*; use the network it was"):
        Predictor.from_bundle(BUNDLE, checkpoint, overrides={"device": "cpu", "network_def::channels": [2, 4]})


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.pt not found; train first"):
        Predictor.from_bundle(BUNDLE, tmp_path / "nowhere.pt", overrides={"network_def::channels": [2, 4]})


def test_a_mistyped_setting_is_refused(checkpoint: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"config id 'tile_xp' is used by nothing in this run; did you mean 'tile_px'"
    ):
        Predictor.from_bundle(BUNDLE, checkpoint, overrides={"tile_xp": 188})


def test_an_illegal_tile_is_refused_with_the_nearest(checkpoint: Path, tmp_path: Path) -> None:
    settings = {"network_def::channels": CHANNELS, "device": "cpu", "tile_px": 500}
    predictor = Predictor.from_bundle(BUNDLE, checkpoint, overrides=settings)
    tifffile.imwrite(tmp_path / "a.tif", slice_of(40, 40))
    with pytest.raises(ValueError, match="try 492 or 508"):
        predict_files(predictor, [tmp_path / "a.tif"], tmp_path / "out", progress=False)
