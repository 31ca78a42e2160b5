"""Images read by slices: the pixels that `read_image` gives, and the same refusals, without holding the image."""

from __future__ import annotations

import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import psutil
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.errors import ImageError
from pipeline.formats import is_streamed, open_image, read_image

from .zarr_images import write_ome_zarr

ROWS, COLUMNS = 61, 83
STACK = np.random.default_rng(0).integers(0, 4096, (5, ROWS, COLUMNS), dtype=np.uint16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell.tif"


# --- the pixels ------------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    dtype=st.sampled_from(["u1", "u2", "i2", "u4", "f2", "f4", "f8", "?"]),
    storage=st.sampled_from([{}, {"tile": (16, 32)}, {"rowsperstrip": 7}]),
    compression=st.sampled_from([None, "zlib", "lzw", "zstd"]),
    predictor=st.booleans(),
    byteorder=st.sampled_from(["<", ">"]),
    described=st.booleans(),
    rows=st.tuples(st.integers(0, ROWS - 1), st.integers(1, ROWS)),
    columns=st.tuples(st.integers(0, COLUMNS - 1), st.integers(1, COLUMNS)),
)
def test_any_slice_of_a_tiff_is_that_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    storage: dict[str, Any],
    compression: str | None,
    predictor: bool,
    byteorder: Any,
    described: bool,
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "cell.tif"
    pixels = (STACK % 3 > 0) if dtype == "?" else STACK.astype(dtype)
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack",
        compression=compression if dtype != "?" else None,
        predictor=predictor and compression is not None and dtype not in ("?", "f2"),
        byteorder=byteorder,
        metadata={} if described else None,
        **storage,
    )
    whole = read_image(path).pixels[:, 0]
    first, last = rows[0], min(rows[0] + rows[1], ROWS)
    left, right = columns[0], min(columns[0] + columns[1], COLUMNS)
    with open_image(path) as image:
        assert (len(image.pages), image.size_px, image.dtype) == (5, (ROWS, COLUMNS), whole.dtype)
        for page, expected in zip(image.pages, whole, strict=True):
            assert page.dtype.isnative
            np.testing.assert_array_equal(page[..., first:last, left:right], expected[first:last, left:right])
            np.testing.assert_array_equal(np.concatenate(list(page.strips())), expected)


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", None])
def test_stacks_of_pillow_are_read(path: Path, compression: str | None) -> None:
    pages = [PIL.Image.fromarray(page) for page in STACK]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression=compression)
    with open_image(path) as image:
        for page, expected in zip(image.pages, STACK, strict=True):
            np.testing.assert_array_equal(page[10:40, :], expected[10:40])


@pytest.mark.parametrize("how", [{"imagej": True}, {"ome": True}], ids=["ImageJ", "OME"])
@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
def test_stacks_with_named_axes_give_pages(path: Path, how: dict[str, Any], axes: str) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata={"axes": axes}, **how)
    with open_image(path) as image:
        np.testing.assert_array_equal(np.stack([page[:, :] for page in image.pages]), STACK)


def test_jpeg_tiles_are_read_as_the_whole_is(path: Path) -> None:
    tifffile.imwrite(path, (STACK[0] // 16).astype(np.uint8), tile=(32, 32), compression="jpeg")
    with open_image(path) as image:
        np.testing.assert_array_equal(image.pages[0][:, :], read_image(path).pixels[0, 0])


def test_a_stack_that_imagej_keeps_behind_one_directory_is_read(path: Path) -> None:
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        next_page = tif.pages.first.offset + 2 + 12 * len(tif.pages.first.tags)
    content = bytearray(path.read_bytes())
    content[next_page : next_page + 4] = bytes(4)
    path.write_bytes(content)
    with open_image(path) as image:
        np.testing.assert_array_equal(np.stack([page[:, :] for page in image.pages]), STACK)


@pytest.mark.parametrize("multiple", [1, 5, 16])
def test_strips_begin_at_multiples_and_hold_about_four_million_pixels(path: Path, multiple: int) -> None:
    tifffile.imwrite(path, np.zeros((9000, 1500), np.uint8), tile=(16, 512), compression="zlib")
    with open_image(path) as image:
        heights = [len(strip) for strip in image.pages[0].strips(multiple)]
    assert sum(heights) == 9000
    assert all(height % multiple == 0 and 2**21 < height * 1500 <= 2**22 for height in heights[:-1])


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("axes", ["yx", "zyx", "tyx", "tczyx", "czyx"])
@pytest.mark.parametrize("dtype", ["u1", ">u2", "f4", "?"])
def test_ome_zarr_gives_pages_of_full_resolution(tmp_path: Path, version: str, axes: str, dtype: str) -> None:
    pages = 3 if axes not in ("yx", "tczyx") else 1
    stack = (STACK[:pages] % 2 if dtype == "?" else STACK[:pages] // 16).astype(dtype)
    shape = [pages if letter == ("t" if axes == "tyx" else "z") else 1 for letter in axes[:-2]]
    folder = write_ome_zarr(tmp_path / "cell.ome.zarr", stack.reshape(*shape, ROWS, COLUMNS), axes, version)
    with open_image(folder) as image:
        assert (len(image.pages), image.size_px) == (pages, (ROWS, COLUMNS))
        assert image.dtype.isnative
        for page, expected in zip(image.pages, stack, strict=True):
            scale = 255 if dtype == "?" else 1
            np.testing.assert_array_equal(page[..., 11:47, :], expected[11:47].astype(image.dtype) * scale)


def test_a_sharded_array_is_read(tmp_path: Path) -> None:
    folder = write_ome_zarr(tmp_path / "cell.zarr", STACK, "zyx", shards=(1, 64, 96))
    with open_image(folder) as image:
        np.testing.assert_array_equal(np.stack([page[:, :] for page in image.pages]), STACK)


def test_the_file_is_closed_and_no_thread_is_left(path: Path) -> None:
    tifffile.imwrite(path, STACK, compression="zlib")
    threads = threading.active_count()
    with open_image(path) as image:
        image.pages[0][:, :]
        assert any(file.path == str(path.resolve()) for file in psutil.Process().open_files())
    assert not any(file.path == str(path.resolve()) for file in psutil.Process().open_files())
    assert threading.active_count() == threads


# --- what is streamed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "how", "streamed"),
    [
        (STACK[0], {}, True),
        (STACK[0], {"compression": "zlib", "tile": (16, 16)}, True),
        (np.zeros((ROWS, COLUMNS, 3), np.uint8), {"photometric": "rgb"}, False),
        (
            np.zeros((ROWS, COLUMNS), np.uint8),
            {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)},
            False,
        ),
        (np.full((ROWS, COLUMNS, 2), 255, np.uint8), {"extrasamples": ["unassalpha"], "planarconfig": "contig"}, False),
        (np.zeros((2, ROWS, COLUMNS), np.uint8), {"planarconfig": "separate"}, False),
    ],
    ids=["raw", "tiled", "RGB", "palette", "alpha", "planes"],
)
def test_only_what_can_be_judged_in_parts_is_streamed(
    path: Path, pixels: NDArray[Any], how: dict[str, Any], streamed: bool
) -> None:
    tifffile.imwrite(path, pixels, **{"photometric": "minisblack", **how})
    assert is_streamed(path, ROWS * COLUMNS - 1) is streamed
    assert not is_streamed(path, ROWS * COLUMNS)
    if not streamed:
        with (
            pytest.raises(ImageError, match=r"cell\.tif cannot be read by rows: expected gray pages"),
            open_image(path),
        ):
            pass


def test_a_page_in_one_large_strip_is_not_streamed(path: Path) -> None:
    # 2**26 black pixels and some in a single strip of Deflate, as a writer that divides nothing leaves them.
    with tifffile.TiffWriter(path) as tif:
        tif.write(
            iter([zlib.compress(bytes(8200 * 8200), 1)]),
            shape=(8200, 8200),
            dtype=np.uint8,
            rowsperstrip=8200,
            compression="zlib",
            metadata=None,
        )
    assert not is_streamed(path, 10)


def test_png_is_never_streamed_and_ome_zarr_always(tmp_path: Path) -> None:
    PIL.Image.fromarray(STACK[0]).save(tmp_path / "cell.png")
    assert not is_streamed(tmp_path / "cell.png", 10)
    assert is_streamed(write_ome_zarr(tmp_path / "cell.zarr", STACK, "zyx"), 2**30)


def test_a_page_may_be_larger_than_what_is_read_into_memory(path: Path) -> None:
    tile = zlib.compress(bytes(4096 * 4096), 1)
    tifffile.imwrite(
        path,
        (tile for _ in range(9 * 9)),
        shape=(36_864, 36_864),
        dtype=np.uint8,
        tile=(4096, 4096),
        compression="zlib",
    )
    with pytest.raises(ImageError, match="at most 1073741824 px a page are read"):
        read_image(path)
    assert is_streamed(path, 2**26)
    with open_image(path) as image:
        assert not image.pages[0][36_000:36_010, :].any()


# --- what is a page, and what is not ---------------------------------------------------------------------------------


def test_channels_of_a_tiff_are_no_pages_however_large_they_are(path: Path) -> None:
    tifffile.imwrite(path, STACK[:2], metadata={"axes": "CYX"}, tile=(16, 16), photometric="minisblack", ome=True)
    assert not is_streamed(path, in_memory_px=1)
    with pytest.raises(ImageError, match="cannot be read by rows"), open_image(path):
        pass


def test_a_stack_of_many_small_pages_is_streamed(path: Path) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack")
    assert is_streamed(path, in_memory_px=5 * ROWS * COLUMNS - 1)
    assert not is_streamed(path, in_memory_px=5 * ROWS * COLUMNS)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_layout_of_bioformats2raw_is_looked_into(tmp_path: Path, version: str) -> None:
    folder = tmp_path / "cells.zarr"
    note = {"bioformats2raw.layout": 3}
    if version == "0.4":
        zarr.create_group(folder, zarr_format=2, attributes=note)
    else:
        zarr.create_group(folder, zarr_format=3, attributes={"ome": {"version": "0.5", **note}})
    write_ome_zarr(folder / "0", STACK, "zyx", version)
    with open_image(folder) as image:
        assert np.array_equal(np.stack([page[:, :] for page in image.pages]), STACK)
    write_ome_zarr(folder / "1", STACK, "zyx", version)
    with pytest.raises(ImageError, match=r"several images, .* copy the folder of the wanted image"), open_image(folder):
        pass


def test_a_compressor_around_blosc_is_no_damage(tmp_path: Path) -> None:
    how = {"compressors": [zarr.codecs.BloscCodec(), zarr.codecs.Crc32cCodec()]}
    folder = write_ome_zarr(tmp_path / "cells.zarr", STACK[0], "yx", **how)
    with open_image(folder) as image:
        assert np.array_equal(image.pages[0][:, :], STACK[0])
