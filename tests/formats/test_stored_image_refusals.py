"""Stored images that are refused, when they are opened or when their pixels are read."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import PIL.Image
import pytest
import tifffile
import zarr

from pipeline.errors import ImageError, MissingFileError
from pipeline.formats import is_streamed, open_image, read_image

from .zarr_images import write_ome_zarr

ROWS, COLUMNS = 61, 83
STACK = np.random.default_rng(0).integers(0, 4096, (5, ROWS, COLUMNS), dtype=np.uint16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell.tif"


# --- refusals --------------------------------------------------------------------------------------------------------


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def renamed_png(path: Path) -> None:
    PIL.Image.fromarray(STACK[0]).save(path, format="PNG")


def inverted(path: Path) -> None:
    tifffile.imwrite(path, STACK[0], photometric="miniswhite")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_in_half, r"cell\.tif is cut short: .* byte \d+, the file has \d+ bytes; copy it again"),
        (emptied, r"cell\.tif is empty \(0 bytes\)"),
        (renamed_png, r"cell\.tif is named as TIFF but holds PNG"),
        (inverted, r"cell\.tif stores 0 as white"),
    ],
)
def test_a_file_that_read_image_refuses_is_refused(path: Path, damage: Callable[[Path], None], message: str) -> None:
    tifffile.imwrite(path, STACK, metadata=None)
    damage(path)
    for refuse in (lambda: read_image(path), lambda: is_streamed(path, 10), lambda: open_image(path).__enter__()):
        with pytest.raises(ImageError, match=message):
            refuse()


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    for name in ("nowhere.tif", "nowhere.zarr"):
        with pytest.raises((MissingFileError, ImageError), match=rf"nowhere\.{name[8:]}"), open_image(tmp_path / name):
            pass


def test_pixels_that_cannot_be_decoded_name_the_file_when_they_are_read(path: Path) -> None:
    tifffile.imwrite(path, STACK[0], compression="zlib", rowsperstrip=10, metadata=None)
    with tifffile.TiffFile(path) as tif:
        damaged = tif.pages.first.dataoffsets[3]
    content = bytearray(path.read_bytes())
    content[damaged : damaged + 20] = bytes(20)
    path.write_bytes(content)
    with open_image(path) as image:
        np.testing.assert_array_equal(image.pages[0][0:30, :], STACK[0, :30])
        with pytest.raises(ImageError, match=r"cell\.tif cannot be decoded as TIFF: .*; copy it again"):
            image.pages[0][25:35, :]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_pixels_that_are_not_finite_name_file_and_rows(path: Path, value: float) -> None:
    pixels = STACK[0].astype(np.float32)
    pixels[40, 7] = value
    tifffile.imwrite(path, pixels)
    with open_image(path) as image:
        image.pages[0][0:40, :]
        with pytest.raises(ImageError, match=r"cell\.tif holds 1 pixel that is NaN or infinite in rows 35\.\.49"):
            image.pages[0][35:50, :]


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_shrinks_is_named(path: Path, compression: str | None) -> None:
    tifffile.imwrite(path, STACK, compression=compression)
    with open_image(path) as image:
        image.pages[0][0:5, :]
        os.truncate(path, 1000)
        with pytest.raises(ImageError, match=r"cell\.tif has shrunk from \d+ to 1000 bytes while it is read"):
            image.pages[0][50:60, :]


def test_an_image_that_is_written_to_is_found_to_have_changed(path: Path, tmp_path: Path) -> None:
    tifffile.imwrite(path, STACK)
    folder = write_ome_zarr(tmp_path / "cell.zarr", STACK, "zyx", version="0.4")
    for image_path, change in ((path, path), (folder, folder / "full" / "0.0.0")):
        with open_image(image_path) as image:
            image.check_unchanged()
            change.write_bytes(change.read_bytes())
            with pytest.raises(ImageError, match=rf"{image_path.name} has changed while it was read .*; leave"):
                image.check_unchanged()


def changed_metadata(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = folder / ".zattrs"
    attributes = json.loads(file.read_text())
    change(attributes)
    file.write_text(json.dumps(attributes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.clear(), r"is a Zarr folder without the metadata of an OME image; expected `multiscales` of .*"),
        (lambda a: a["multiscales"].clear(), r"is a Zarr folder without the metadata of an OME image"),
        (lambda a: a["multiscales"][0].pop("axes"), r"names the axes None; expected some of t, c, z, then y and x"),
        (lambda a: a["multiscales"][0].update(axes=["z", "y", "x"]), r"names the axes \['z', 'y', 'x'\]; expected"),
        (lambda a: a["multiscales"][0]["axes"].reverse(), r"names the axes .*; expected some of t, c, z, then y and x"),
        (lambda a: a["multiscales"][0]["axes"].pop(0), r"has 3 axes, its OME metadata name 2: y, x; write it anew"),
        (lambda a: a["multiscales"][0].update(datasets=[]), r"names no array in its OME metadata"),
        (lambda a: a["multiscales"][0]["datasets"][0].update(path="gone"), r"lacks the array 'gone'"),
    ],
    ids=["none", "empty", "no axes", "axes of 0.3", "x before y", "too few", "no datasets", "no array"],
)
def test_a_zarr_folder_that_is_no_ome_image_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = write_ome_zarr(tmp_path / "cell.zarr", STACK, "zyx", version="0.4")
    changed_metadata(folder, change)
    with pytest.raises(ImageError, match=rf"cell\.zarr {message}"), open_image(folder):
        pass


@pytest.mark.parametrize("content", ["nothing", "files"])
def test_a_folder_named_zarr_without_zarr_in_it_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "cell.zarr").mkdir()
    if content == "files":
        tifffile.imwrite(tmp_path / "cell.zarr" / "a.tif", STACK)
    with pytest.raises(ImageError, match=r"cell\.zarr is no Zarr group: .*; name the folder of one image"):
        open_image(tmp_path / "cell.zarr").__enter__()


@pytest.mark.parametrize(
    ("shape", "axes", "message"),
    [
        ((2, 20, 30), "cyx", r"has 2 channels; expected one; save the wanted channel as its own"),
        ((2, 3, 20, 30), "tzyx", r"has the axes 2 t × 3 z × 20 y × 30 x; expected at most one axis of pages"),
        ((1, 0, 30), "zyx", r"is 1 z × 0 y × 30 x; expected at least one pixel"),
    ],
    ids=["channels", "time and depth", "empty"],
)
def test_axes_that_are_no_pages_are_refused(tmp_path: Path, shape: tuple[int, ...], axes: str, message: str) -> None:
    folder = write_ome_zarr(tmp_path / "cell.zarr", np.zeros(shape, np.uint8), axes)
    with pytest.raises(ImageError, match=rf"cell\.zarr {message}"), open_image(folder):
        pass


def test_complex_pixels_are_refused(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "cell.zarr", np.zeros((20, 30), np.complex64), "yx")
    with pytest.raises(ImageError, match=r"cell\.zarr holds complex64 pixels"), open_image(folder):
        pass


def test_chunks_too_large_for_strips_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "cell.zarr"
    group = zarr.create_group(folder, attributes={"ome": {"version": "0.5", "multiscales": [
        {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
    ]}})  # fmt: skip
    group.create_array("0", shape=(9000, 9000), chunks=(9000, 9000), dtype="u1")
    with pytest.raises(ImageError, match=r"cell\.zarr is stored in chunks of 81000000 px; expected at most 67108864"):
        open_image(folder).__enter__()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("compressors", ["auto", None, "blosc"])
def test_a_chunk_that_is_cut_short_names_the_folder(tmp_path: Path, version: str, compressors: Any) -> None:
    if compressors == "blosc":
        compressors = numcodecs.Blosc() if version == "0.4" else zarr.codecs.BloscCodec()
    folder = write_ome_zarr(tmp_path / "cell.zarr", STACK, "zyx", version, compressors=compressors)
    chunk = folder / "full" / ("0.1.0" if version == "0.4" else "c/0/1/0")
    with open_image(folder) as image:
        os.truncate(chunk, chunk.stat().st_size // 2)
        image.pages[0][0:16, :]
        with pytest.raises(ImageError, match=r"cell\.zarr (cannot be decoded as Zarr|is cut short): .*; copy it again"):
            image.pages[0][10:20, :]


def test_an_image_moved_away_while_it_is_read_is_named(path: Path, tmp_path: Path) -> None:
    tifffile.imwrite(path, STACK, compression="zlib")
    with open_image(path) as image:
        shutil.move(path, tmp_path / "elsewhere.tif")
        with pytest.raises(ImageError, match=r"cell\.tif"):
            image.pages[0][0:16, :]
