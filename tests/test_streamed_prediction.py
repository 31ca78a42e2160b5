"""Segmenting images larger than memory: the results of the way through memory, also after being killed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import zarr
from monai.inferers import SimpleInferer
from monai.transforms import (
    Activationsd,
    CastToTyped,
    Compose,
    EnsureTyped,
    GaussianSmoothd,
    KeepLargestConnectedComponentd,
    NormalizeIntensityd,
    ScaleIntensityRanged,
)
from PIL import Image

from pipeline.data import phantom_em_slice
from pipeline.engines import save_whole
from pipeline.errors import ConfigError, ImageError, OutputError
from pipeline.formats import read_image
from pipeline.networks import ValidUNet
from pipeline.predict import Predictor, Wanted, predict_files
from pipeline.transforms import interior_instances

BUNDLE = Path(__file__).parents[1] / "bundles" / "em_membrane_segmentation"
CHANNELS = [4, 8, 16, 32, 64]
ROUNDING = 1e-6
STREAMED_PX = 1000  # pages of more pixels count as too large for memory here
LARGE = np.stack([phantom_em_slice(0).image[:400, :233], phantom_em_slice(1).image[:400, :233] // 2 + 90])
WIDE = LARGE.astype(np.uint16) * 257


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Let torch add up the pixels of an image in one order.

    With two threads, its mean of 16-bit pixels differs from the streamed one, which is exact to float32, in the last
    digit, and the probabilities in the fifth.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that gives membranes and cells in about equal parts."""
    torch.manual_seed(11)
    path = tmp_path_factory.mktemp("run") / "weights.pt"
    save_whole(ValidUNet(channels=CHANNELS).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def tiler(checkpoint: Path) -> Predictor:
    """The bundle with tiles so small that a test image has several strips."""
    settings = {"network_def::channels": CHANNELS, "device": "cpu", "precision": "fp32", "tile_px": 316}
    return Predictor.from_bundle(BUNDLE, checkpoint, overrides=settings)


def write_ome_zarr(folder: Path, pixels: np.ndarray, axes: str, version: str) -> None:
    """Write one level as OME-NGFF says: 0.4 on Zarr 2, 0.5 on Zarr 3."""
    multiscale = {"axes": [{"name": letter} for letter in axes], "datasets": [{"path": "0"}]}
    if version == "0.4":
        group = zarr.create_group(folder, zarr_format=2, attributes={"multiscales": [{**multiscale, "version": "0.4"}]})
    else:
        group = zarr.create_group(folder, attributes={"ome": {"version": "0.5", "multiscales": [multiscale]}})
    array = group.create_array("0", shape=pixels.shape, chunks=(*(1 for _ in axes[:-2]), 64, 100), dtype=pixels.dtype)
    array[...] = pixels


def assert_results_agree(streamed: Any, in_memory: Any) -> None:
    """Check all results of one image against those of the way through memory."""
    probability, expected = tifffile.imread(streamed.probability), tifffile.imread(in_memory.probability)
    assert probability.dtype == expected.dtype
    np.testing.assert_allclose(probability, expected, atol=ROUNDING)
    mask, instances = read_image(streamed.mask).pixels[:, 0], read_image(streamed.instances).pixels[:, 0]
    sure = np.abs(expected[..., 1, :, :] - 0.5).reshape(mask.shape) > ROUNDING
    assert sure.mean() > 0.95
    assert np.array_equal(mask[sure], read_image(in_memory.mask).pixels[:, 0][sure])
    # Class 0 wins where both are equal.
    assert np.array_equal(mask > 0, (probability[..., 1, :, :] > probability[..., 0, :, :]).reshape(mask.shape))
    assert set(np.unique(mask)) == {0, 255}
    assert instances.dtype == np.uint16
    for page, number in zip(mask, instances, strict=True):
        assert np.array_equal(number, interior_instances(page > 0))
    with Image.open(streamed.overlay) as picture, Image.open(in_memory.overlay) as expected_picture:
        assert picture.size == expected_picture.size
        assert (np.asarray(picture) != np.asarray(expected_picture)).mean() < 1e-3


@pytest.mark.parametrize(
    ("pixels", "how"),
    [
        (LARGE[0], {"compression": "zlib", "tile": (64, 64)}),
        (LARGE[0], {"compression": "lzw", "predictor": 2, "rowsperstrip": 30}),
        (LARGE[0], {}),
        (LARGE, {"compression": "zlib", "tile": (32, 128)}),
        (WIDE, {"byteorder": ">"}),
        (WIDE[0].astype(np.float32) / 7, {"rowsperstrip": 11}),
    ],
    ids=["tiled", "striped", "raw", "stack", "16-bit stack", "float"],
)
def test_a_streamed_tiff_gives_what_it_gives_in_memory(
    tiler: Predictor, tmp_path: Path, pixels: np.ndarray, how: dict[str, Any]
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", **how)
    wanted = Wanted(probability=True, picture=True)
    (in_memory,) = predict_files(tiler, [tmp_path / "a.tif"], tmp_path / "whole", wanted, progress=False)
    (streamed,) = predict_files(
        tiler, [tmp_path / "a.tif"], tmp_path / "out", wanted, progress=False, in_memory_px=STREAMED_PX
    )
    assert_results_agree(streamed, in_memory)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        path.name for path in (tmp_path / "whole").iterdir()
    }
    # Without probabilities the mask alone is kept on the way; it is the same one.
    (bare,) = predict_files(tiler, [tmp_path / "a.tif"], tmp_path / "bare", progress=False, in_memory_px=STREAMED_PX)
    assert bare.mask.read_bytes() == streamed.mask.read_bytes()
    assert bare.instances.read_bytes() == streamed.instances.read_bytes()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(("axes", "pixels"), [("yx", LARGE[0]), ("zyx", WIDE)], ids=["page", "16-bit stack"])
def test_an_ome_zarr_gives_what_its_pages_give_as_tiff(
    tiler: Predictor, tmp_path: Path, version: str, axes: str, pixels: np.ndarray
) -> None:
    (tmp_path / "in").mkdir()
    write_ome_zarr(tmp_path / "in" / "a.ome.zarr", pixels, axes, version)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack")
    wanted = Wanted(probability=True, picture=True)
    (in_memory,) = predict_files(tiler, [tmp_path / "a.tif"], tmp_path / "whole", wanted, progress=False)
    # Out of the folder that holds it.
    (streamed,) = predict_files(tiler, [tmp_path / "in"], tmp_path / "out", wanted, progress=False)
    assert streamed.mask.name == "a_mask.tif"
    assert_results_agree(streamed, in_memory)


def test_large_and_small_images_go_together_under_one_bar(
    tiler: Predictor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tifffile.imwrite(tmp_path / "1.tif", LARGE[0])
    tifffile.imwrite(tmp_path / "2.tif", LARGE[0, :20, :30])
    write_ome_zarr(tmp_path / "3.zarr", LARGE[0], "yx", "0.5")
    results = predict_files(tiler, [tmp_path], tmp_path / "out", in_memory_px=STREAMED_PX)
    lines = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
    assert all(line.startswith("predicting: ") for line in lines)
    assert re.match(r"predicting: 100%.* 187k/187k \[.*px/s, 3\.zarr\]", lines[-1])
    assert [result.mask.name for result in results] == ["1_mask.tif", "2_mask.tif", "3_mask.tif"]
    masks = [read_image(result.mask).pixels for result in results]
    assert np.array_equal(masks[0], masks[2])
    assert masks[1].shape == (1, 1, 20, 30)


def test_a_bundle_that_shows_tiles_shows_them_once(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"network_def::channels": CHANNELS, "device": "cpu", "inferer::progress": True}
    predictor = Predictor.from_bundle(BUNDLE, checkpoint, overrides=settings)
    write_ome_zarr(tmp_path / "3.zarr", LARGE[0], "yx", "0.5")
    predict_files(predictor, [tmp_path / "3.zarr"], tmp_path / "out")
    lines = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
    assert all(line.startswith("predicting: ") for line in lines)


def test_the_picture_of_a_large_image_is_reduced(tiler: Predictor, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "long.tif", np.tile(LARGE[0, :40], (1, 20)))
    (results,) = predict_files(
        tiler, [tmp_path / "long.tif"], tmp_path / "out", Wanted(picture=True), False, False, in_memory_px=STREAMED_PX
    )
    with Image.open(results.overlay) as picture:
        # Two panels of a third of 4660 px, the gaps between them, and a line of text.
        assert picture.size == (2 * 1554 + 3 * 6, 14 + 2 * 6 + 16)


# --- killed, and continued with the same command ---------------------------------------------------------------------


@pytest.fixture
def predict_zarr(processes: Any, checkpoint: Path, tmp_path: Path) -> Any:
    """Start `unet-pipeline predict` on an OME-Zarr image of many strips."""
    pixels = np.tile(LARGE, (1, 4, 1))
    write_ome_zarr(tmp_path / "long.zarr", pixels, "zyx", "0.5")
    settings = [f"network_def::channels={json.dumps(CHANNELS)}", "device=cpu", "precision=fp32", "tile_px=316"]

    def start(folder: str, *options: str) -> Any:
        arguments = ["predict", tmp_path / "long.zarr", "-o", tmp_path / folder, "--bundle", BUNDLE]
        arguments += ["--checkpoint", checkpoint, *(word for setting in settings for word in ("--set", setting))]
        return processes.start("pipeline", [*arguments, *options], tmp_path)

    return start


def strips_noted(folder: Path) -> int:
    """Count the strips that a run has finished on the page at which it is."""
    for journal in (folder / ".partial-long").glob("page-*.journal"):
        # It is gone as soon as its page is finished, and there is no other then.
        with suppress(FileNotFoundError):
            return len(journal.read_text().splitlines()) - 1
    return 0


@pytest.mark.parametrize("options", [[], ["--probability"]], ids=["mask", "probability"])
def test_a_killed_run_goes_on_and_gives_the_same_bytes(predict_zarr: Any, tmp_path: Path, options: list[str]) -> None:
    whole = predict_zarr("whole", *options).wait()
    assert whole.status == 0, whole.stderr
    out = tmp_path / "out"
    for moment in (1, 5):
        running = predict_zarr("out", *options)
        running.wait_for(lambda moment=moment: strips_noted(out) >= moment or (out / "long_mask.tif").exists())
        running.kill()
        assert running.wait().status == -9
        assert [path.name for path in out.iterdir()] == [".partial-long"]
    before = strips_noted(out)
    finished = predict_zarr("out", *options).wait()
    assert finished.status == 0, finished.stderr
    assert before >= 5
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()
    }


def test_a_killed_run_is_not_continued_by_another_one(predict_zarr: Any, tmp_path: Path) -> None:
    running = predict_zarr("out")
    running.wait_for(lambda: strips_noted(tmp_path / "out") >= 1)
    running.kill()
    running.wait()
    other = predict_zarr("out", "--set", "precision=bf16").wait()
    assert other.status == 2
    assert re.fullmatch(
        r"unet-pipeline: error: .*out/\.partial-long holds unfinished results of another run, with other precision; "
        r"repeat the first command to finish them, or discard them with --force \(in Python: overwrite=True\)",
        other.last_line,
    )
    forced = predict_zarr("out", "--set", "precision=bf16", "--force").wait()
    assert forced.status == 0, forced.stderr
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"long_mask.tif", "long_instances.tif"}


def test_results_written_before_an_error_are_kept_when_the_run_goes_on(tiler: Predictor, tmp_path: Path) -> None:
    write_ome_zarr(tmp_path / "a.zarr", LARGE[0], "yx", "0.5")
    out = tmp_path / "out"
    out.mkdir()
    # A link to nowhere: the picture, which comes last, cannot be written.
    (out / "a_overlay.png").symlink_to(tmp_path / "gone" / "a.png")
    arguments: Any = (tiler, [tmp_path / "a.zarr"], out, Wanted(picture=True), False, False)
    with pytest.raises(OutputError, match=r"a_overlay\.png: folder .*gone does not exist"):
        predict_files(*arguments)
    mask = out / "a_mask.tif"
    before = mask.stat().st_mtime_ns
    (out / "a_overlay.png").unlink()
    predict_files(*arguments)
    assert mask.stat().st_mtime_ns == before
    assert {path.name for path in out.iterdir()} == {"a_mask.tif", "a_instances.tif", "a_overlay.png"}
    with pytest.raises(OutputError, match=r"a_mask\.tif already exists; pass --force"):
        predict_files(*arguments)


@pytest.mark.parametrize("replacement", ["shorter", "other pixels"])
def test_an_image_that_changes_between_two_runs_is_not_mixed(
    tiler: Predictor, tmp_path: Path, replacement: str
) -> None:
    source, out = tmp_path / "a.tif", tmp_path / "out"
    tifffile.imwrite(source, LARGE[0])
    out.mkdir()
    (out / "a_overlay.png").symlink_to(tmp_path / "gone" / "a.png")
    arguments: Any = (tiler, [source], out, Wanted(picture=True), False, False)
    with pytest.raises(OutputError, match="gone does not exist"):
        predict_files(*arguments, in_memory_px=STREAMED_PX)
    tifffile.imwrite(source, LARGE[0, :-1] if replacement == "shorter" else LARGE[1])
    with pytest.raises(OutputError, match=r"\.partial-a holds unfinished results of another run, with other image; re"):
        predict_files(*arguments, in_memory_px=STREAMED_PX)


# --- what cannot be used ---------------------------------------------------------------------------------------------


def truncated(path: Path) -> None:
    tifffile.imwrite(path, LARGE[0], compression="zlib", tile=(64, 64))
    os.truncate(path, path.stat().st_size - 100)


def not_finite(path: Path) -> None:
    pixels = LARGE[0].astype(np.float32)
    pixels[390, 5] = np.nan
    tifffile.imwrite(path, pixels)


def coloured_palette(path: Path) -> None:
    colours = np.zeros((3, 256), np.uint16)
    colours[0] = np.arange(256) * 257
    tifffile.imwrite(path, LARGE[0], photometric="palette", colormap=colours)


def beyond_float32(path: Path) -> None:
    tifffile.imwrite(path, LARGE[0] * 1e300)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated, r"2\.tif is cut short: "),
        (not_finite, r"2\.tif holds 1 pixel that is NaN or infinite"),
        (coloured_palette, r"2\.tif has 3 different channels"),
        (beyond_float32, r"2\.tif holds float64 pixels that are not finite as float32; scale them down first"),
    ],
)
def test_a_bad_large_image_gives_no_result(tiler: Predictor, tmp_path: Path, make: Any, message: str) -> None:
    tifffile.imwrite(tmp_path / "1.tif", LARGE[0, :20, :30])
    make(tmp_path / "2.tif")
    inputs = [tmp_path / "1.tif", tmp_path / "2.tif"]
    with pytest.raises(ImageError, match=message):
        predict_files(tiler, inputs, tmp_path / "out", progress=False, in_memory_px=STREAMED_PX)
    if make in (truncated, coloured_palette):
        assert not (tmp_path / "out").exists()
    else:
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"1_mask.tif", "1_instances.tif"}


def test_a_palette_of_grays_goes_through_memory(tiler: Predictor, tmp_path: Path) -> None:
    grays = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(tmp_path / "a.tif", LARGE[0], photometric="palette", colormap=grays)
    tifffile.imwrite(tmp_path / "b.tif", LARGE[0])
    inputs = [tmp_path / "a.tif", tmp_path / "b.tif"]
    palette, gray = predict_files(tiler, inputs, tmp_path / "out", progress=False, in_memory_px=STREAMED_PX)
    assert np.array_equal(read_image(palette.mask).pixels, read_image(gray.mask).pixels)


def test_a_zarr_folder_that_is_no_image_is_refused(tiler: Predictor, tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr").create_array("0", shape=(30, 40), chunks=(30, 40), dtype="u1")
    with pytest.raises(ImageError, match=r"a\.zarr is a Zarr folder without the metadata of an OME image"):
        predict_files(tiler, [tmp_path / "a.zarr"], tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("part", "declared", "message"),
    [
        (
            "preprocessing",
            GaussianSmoothd("image", sigma=1.0),
            r"GaussianSmoothd cannot be applied to an image that is read strip",
        ),
        (
            "preprocessing",
            NormalizeIntensityd("image", nonzero=True),
            r"only NormalizeIntensityd with nonzero=False, and",
        ),
        ("postprocessing", KeepLargestConnectedComponentd("pred"), r"KeepLargestConnectedComponentd cannot be applied"),
        (
            "postprocessing",
            Activationsd("pred", softmax=True, dim=1),
            r"only Activationsd with sigmoid, or softmax over",
        ),
        (
            "inferer",
            SimpleInferer(),
            r"SimpleInferer cannot segment an image strip by strip, as .*; declare an Overlap",
        ),
    ],
    ids=["smoothing", "nonzero", "components", "other axis", "inferer"],
)
def test_what_needs_the_whole_image_is_refused(
    tiler: Predictor, tmp_path: Path, part: str, declared: Any, message: str
) -> None:
    if part != "inferer":
        present = getattr(tiler, part).transforms
        declared = Compose([*present, declared] if part == "preprocessing" else [declared])
    other = replace(tiler, **{part: declared})
    tifffile.imwrite(tmp_path / "a.tif", LARGE[0])
    with pytest.raises(ConfigError, match=message) as refused:
        predict_files(other, [tmp_path / "a.tif"], tmp_path / "out", progress=False, in_memory_px=STREAMED_PX)
    assert "give the image as TIFF with pages small enough to be held in memory" in str(refused.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "declared",
    [
        [NormalizeIntensityd("image", subtrahend=90.0)],
        [NormalizeIntensityd("image", subtrahend=[100], divisor=[40], channel_wise=True)],
        [ScaleIntensityRanged("image", 20, 200, 0, 1, clip=True), NormalizeIntensityd("image", channel_wise=True)],
        [CastToTyped("image", torch.int16), NormalizeIntensityd("image"), EnsureTyped("image")],
        [NormalizeIntensityd("image"), NormalizeIntensityd("image", subtrahend=0.2, divisor=2)],
    ],
    ids=["mean given", "both given", "range", "types", "twice"],
)
def test_transforms_of_pixels_give_what_they_give_in_memory(
    tiler: Predictor, tmp_path: Path, declared: list[Any]
) -> None:
    other = replace(
        tiler,
        preprocessing=Compose([tiler.preprocessing.transforms[0], *declared, EnsureTyped("image", track_meta=False)]),
        postprocessing=Compose([Activationsd("pred", sigmoid=True)]),
    )
    tifffile.imwrite(tmp_path / "a.tif", LARGE[1])
    arguments: Any = (other, [tmp_path / "a.tif"])
    (in_memory,) = predict_files(*arguments, tmp_path / "whole", Wanted(probability=True), progress=False)
    (streamed,) = predict_files(
        *arguments, tmp_path / "out", Wanted(probability=True), progress=False, in_memory_px=STREAMED_PX
    )
    np.testing.assert_allclose(tifffile.imread(streamed.probability), tifffile.imread(in_memory.probability), atol=1e-5)


def test_probabilities_without_an_activation_are_refused(tiler: Predictor, tmp_path: Path) -> None:
    other = replace(tiler, postprocessing=Compose([]))
    tifffile.imwrite(tmp_path / "a.tif", LARGE[0])
    with pytest.raises(ImageError, match=r"expected \[0, 1\]; declare an activation in the bundle's postprocessing"):
        predict_files(
            other,
            [tmp_path / "a.tif"],
            tmp_path / "out",
            Wanted(probability=True),
            False,
            False,
            in_memory_px=STREAMED_PX,
        )


def test_a_constant_large_image_gives_a_mask(tiler: Predictor, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "flat.tif", np.full((300, 40), 7, np.uint8))
    (results,) = predict_files(
        tiler, [tmp_path / "flat.tif"], tmp_path / "out", progress=False, in_memory_px=STREAMED_PX
    )
    assert read_image(results.mask).size_px == (300, 40)
