"""TIFF decoding against tifffile's and Pillow's writers, and refusals of what tifffile would read in silence."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import ImageError
from pipeline.formats import read_image

ROWS, COLUMNS = 37, 53
GRADIENT = np.add.outer(np.arange(ROWS), np.arange(COLUMNS)).astype(np.uint16)
STACK = np.random.default_rng(0).integers(0, 4096, (4, ROWS, COLUMNS), dtype=np.uint16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell.tif"


@st.composite
def _arrays(draw: st.DrawFn) -> np.ndarray:
    dtype = draw(st.sampled_from(["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]))
    # From 2 columns on: the description that tifffile writes takes a page of 1 column for a row of the page before.
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 40)), draw(st.integers(2, 40)))
    elements = {"allow_nan": False, "allow_infinity": False} if dtype[0] == "f" else None
    return draw(hnp.arrays(dtype, shape, elements=elements, fill=None))


@settings(max_examples=120, deadline=None)
@given(
    pixels=_arrays(),
    compression=st.sampled_from([None, "zlib", "lzw", "packbits", "zstd"]),
    tile=st.sampled_from([None, (16, 16), (16, 32)]),
    byteorder=st.sampled_from(["<", ">"]),
    bigtiff=st.booleans(),
    described=st.booleans(),
)
def test_files_of_tifffile_are_read_unchanged(
    tmp_path_factory: pytest.TempPathFactory,
    pixels: np.ndarray,
    compression: str | None,
    tile: tuple[int, int] | None,
    byteorder: Any,
    bigtiff: bool,
    described: bool,
) -> None:
    path = tmp_path_factory.mktemp("tiff") / "cell.tif"
    tifffile.imwrite(
        path,
        pixels,
        photometric="minisblack",
        compression=compression,
        tile=tile,
        byteorder=byteorder,
        bigtiff=bigtiff,
        metadata={} if described else None,
    )
    image = read_image(path)
    assert image.pixels.dtype == pixels.dtype
    assert image.pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, pixels[:, np.newaxis])


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_stacks_of_pillow_are_read_unchanged(path: Path, compression: str | None) -> None:
    pages = [PIL.Image.fromarray(page) for page in STACK]
    pages[0].save(path, save_all=True, append_images=pages[1:], compression=compression)
    np.testing.assert_array_equal(read_image(path).pixels[:, 0], STACK)


@pytest.mark.parametrize("predictor", [2, 3])
def test_predictors_are_undone(path: Path, predictor: int) -> None:
    pixels = GRADIENT if predictor == 2 else GRADIENT.astype(np.float32) / 7
    tifffile.imwrite(path, pixels, compression="zlib", predictor=predictor)
    np.testing.assert_array_equal(read_image(path).pixels[0, 0], pixels)


@pytest.mark.parametrize(
    ("axes", "sizes", "pages", "channels"),
    [
        ("YX", {}, 1, 1),
        ("ZYX", {"Z": 3}, 3, 1),
        ("TYX", {"T": 3}, 3, 1),
        ("CYX", {"C": 2}, 1, 2),
        ("ZCYX", {"Z": 3, "C": 2}, 3, 2),
        ("TCYX", {"T": 3, "C": 2}, 3, 2),
        ("TZCYX", {"T": 1, "Z": 3, "C": 2}, 3, 2),
        ("TZCYX", {"T": 3, "Z": 1, "C": 1}, 3, 1),
    ],
)
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_hyperstacks_give_pages_and_channels(
    path: Path, kind: str, axes: str, sizes: dict[str, int], pages: int, channels: int
) -> None:
    shape = [*(sizes[axis] for axis in axes[:-2]), 5, 7]
    pixels = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata={"axes": axes}, **{kind: True})
    image = read_image(path, channels="all")
    assert (image.pages, image.channels, image.size_px) == (pages, channels, (5, 7))
    np.testing.assert_array_equal(image.pixels, pixels.reshape(pages, channels, 5, 7))


def test_a_stack_that_imagej_keeps_behind_one_directory_is_read(path: Path) -> None:
    # ImageJ writes stacks beyond 4 GB so: one directory, the pages one after another, their number in the description.
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
    with tifffile.TiffFile(path) as tif:
        next_page = tif.pages.first.offset + 2 + 12 * len(tif.pages.first.tags)
    content = bytearray(path.read_bytes())
    content[next_page : next_page + 4] = bytes(4)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_image(path).pixels[:, 0], STACK)
    path.write_bytes(content[:-4000])
    with pytest.raises(ImageError, match=r"cell\.tif does not hold the pages that its ImageJ metadata promise"):
        read_image(path)


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize("pages", [1, 2])
def test_rgb_gives_three_channels(path: Path, planarconfig: str, pages: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (pages, 3, 5, 7), dtype=np.uint8)
    stored = np.moveaxis(pixels, 1, -1) if planarconfig == "contig" else pixels
    tifffile.imwrite(path, stored, photometric="rgb", planarconfig=planarconfig)
    np.testing.assert_array_equal(read_image(path, channels="all").pixels, pixels)
    with pytest.raises(ImageError, match=r"cell\.tif has 3 different channels .*; expected gray; save the wanted"):
        read_image(path)


@pytest.mark.parametrize("extrasamples", ["unassalpha", "assocalpha", "unspecified"])
def test_opaque_rgba_of_gray_is_gray(path: Path, extrasamples: str) -> None:
    pixels = np.repeat(GRADIENT[..., np.newaxis], 4, axis=2)
    pixels[..., 3] = 65535
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[extrasamples])
    np.testing.assert_array_equal(read_image(path).pixels, GRADIENT[np.newaxis, np.newaxis])
    pixels[0, 0, 3] = 0
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=[extrasamples])
    with pytest.raises(ImageError, match="transparent pixels"):
        read_image(path)


@pytest.mark.parametrize(("extrasamples", "channels"), [("unassalpha", 1), ("unspecified", 2)])
def test_a_second_sample_is_opacity_only_where_the_file_says_so(path: Path, extrasamples: str, channels: int) -> None:
    pixels = np.stack([GRADIENT, np.full_like(GRADIENT, 65535)], axis=-1)
    tifffile.imwrite(path, pixels, photometric="minisblack", planarconfig="contig", extrasamples=[extrasamples])
    assert read_image(path, channels="all").channels == channels


def test_bits_give_0_and_255(path: Path) -> None:
    bits = GRADIENT % 3 == 0
    tifffile.imwrite(path, bits, photometric="minisblack")
    image = read_image(path)
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels[0, 0], bits * 255)


@pytest.mark.parametrize("scale", [1, 257], ids=["stored-0-to-255", "stored-0-to-65535"])
def test_a_gray_palette_gives_its_grays(path: Path, scale: int) -> None:
    indices = GRADIENT.astype(np.uint8)
    colormap = np.repeat(np.arange(256, dtype=np.uint16)[np.newaxis, ::-1] * scale, 3, axis=0)
    tifffile.imwrite(path, indices, photometric="palette", colormap=colormap)
    np.testing.assert_array_equal(read_image(path).pixels[0, 0], 255 - indices)


def test_a_lookup_table_in_colour_is_refused_as_gray(path: Path) -> None:
    colormap = np.zeros((3, 256), np.uint16)
    colormap[1] = np.arange(256) * 257
    tifffile.imwrite(path, STACK.astype(np.uint8), photometric="palette", colormap=colormap)
    with pytest.raises(ImageError, match="has 3 different channels"):
        read_image(path)
    image = read_image(path, channels="all")
    np.testing.assert_array_equal(image.pixels[:, 1], STACK.astype(np.uint8))
    assert not image.pixels[:, [0, 2]].any()


def test_jpeg_in_tiff_is_read_as_tifffile_reads_it(path: Path) -> None:
    tifffile.imwrite(path, np.repeat(GRADIENT[..., np.newaxis], 3, 2).astype(np.uint8), compression="jpeg")
    expected = np.moveaxis(tifffile.imread(path), -1, 0)
    np.testing.assert_array_equal(read_image(path, channels="all").pixels[0], expected)


@pytest.mark.parametrize("in_subifds", [True, False])
def test_of_a_pyramid_the_full_resolution_is_read(path: Path, in_subifds: bool) -> None:
    with tifffile.TiffWriter(path) as writer:
        options: dict[str, Any] = {"tile": (16, 16), "photometric": "minisblack", "metadata": None}
        writer.write(GRADIENT, subifds=1 if in_subifds else None, **options)
        writer.write(GRADIENT[::2, ::2], subfiletype=1, **options)
    np.testing.assert_array_equal(read_image(path).pixels[0, 0], GRADIENT)


_LAYOUTS: dict[str, Callable[[Path], None]] = {
    "one-strip": lambda path: tifffile.imwrite(path, GRADIENT),
    "strips": lambda path: tifffile.imwrite(path, GRADIENT, rowsperstrip=8),
    "lzw-strips": lambda path: tifffile.imwrite(path, GRADIENT, compression="lzw", rowsperstrip=8),
    "deflate-tiles": lambda path: tifffile.imwrite(path, GRADIENT, compression="zlib", tile=(16, 16)),
    "jpeg": lambda path: tifffile.imwrite(path, GRADIENT.astype(np.uint8), compression="jpeg"),
    "stack": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "plain-lzw-stack": lambda path: tifffile.imwrite(
        path, STACK, photometric="minisblack", compression="lzw", metadata=None
    ),
    "imagej": lambda path: tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"}),
    "ome": lambda path: tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX"}),
    "bigtiff": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", bigtiff=True),
    "pillow-stack": lambda path: PIL.Image.fromarray(STACK[0]).save(
        path, save_all=True, append_images=[PIL.Image.fromarray(page) for page in STACK[1:]], compression="tiff_lzw"
    ),
}


@pytest.mark.parametrize("layout", _LAYOUTS)
def test_a_file_cut_at_any_point_is_refused_or_complete(
    path: Path, layout: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Cutting off unused bytes behind the last pixel is harmless; nothing else is, and the log stays silent."""
    _LAYOUTS[layout](path)
    whole, expected = path.read_bytes(), read_image(path).pixels
    with tifffile.TiffFile(path) as tif:
        ends = [np.add(page.dataoffsets, page.databytecounts).max() for page in tif.pages]
    needed = int(max(ends))
    lengths = {*range(0, len(whole), max(1, len(whole) // 60)), *range(len(whole) - 30, len(whole)), needed - 1}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        try:
            image = read_image(path)
        except ImageError as error:
            message = str(error)
            if "\n" in message or str(path) not in message or "; " not in message:
                pytest.fail(f"not one line with file and way out: {message}")
        else:
            assert length >= needed
            np.testing.assert_array_equal(image.pixels, expected)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_cut_inside_the_last_strip_names_page_and_bytes(path: Path) -> None:
    tifffile.imwrite(path, GRADIENT, rowsperstrip=8, compression="lzw")
    size_bytes = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(
        ImageError,
        match=rf"cell\.tif is cut short: page 1 ends at byte {size_bytes}, the file has {size_bytes - 3} bytes",
    ):
        read_image(path)


def test_a_damaged_compressed_strip_is_refused(path: Path) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack", compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        start = tif.pages[2].dataoffsets[0]
    content[start + 50 : start + 60] = bytes(10)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"cell\.tif cannot be decoded as TIFF: .*; copy it again if it is damaged"):
        read_image(path)


def _overwrite_tag(path: Path, name: str, value: Any, page: int = 0) -> None:
    with tifffile.TiffFile(path, mode="r+b") as tif:
        tif.pages[page].tags[name].overwrite(value)


def test_a_strip_without_pixels_is_not_read_as_zeros(path: Path) -> None:
    tifffile.imwrite(path, GRADIENT, rowsperstrip=8, compression="zlib")
    with tifffile.TiffFile(path) as tif:
        offsets, counts = tif.pages.first.dataoffsets, tif.pages.first.databytecounts
    _overwrite_tag(path, "StripOffsets", [*offsets[:2], 0, *offsets[3:]])
    _overwrite_tag(path, "StripByteCounts", [*counts[:2], 0, *counts[3:]])
    assert not tifffile.imread(path)[16:24].any()  # what would have come out
    with pytest.raises(ImageError, match="stores no pixels for some strips or tiles of page 1"):
        read_image(path)


def test_a_list_of_pages_that_breaks_off_is_refused(path: Path) -> None:
    tifffile.imwrite(path, STACK, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path) as tif:
        second = tif.pages[1]
        pointer = second.offset + 2 + 12 * struct.unpack("<H", path.read_bytes()[second.offset : second.offset + 2])[0]
    content = bytearray(path.read_bytes())
    content[pointer : pointer + 4] = struct.pack("<I", len(content) + 1000)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"cut short: its list of pages goes on at byte \d+, the file has \d+ bytes"):
        read_image(path)
    content[pointer : pointer + 4] = content[4:8]
    path.write_bytes(content)
    with pytest.raises(ImageError, match="its list of pages runs in a circle"):
        read_image(path)


def test_pages_that_metadata_leave_out_are_refused(path: Path) -> None:
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
    content = path.read_bytes()
    path.write_bytes(content.replace(b"images=4\nslices=4", b"images=2\nslices=2"))
    with pytest.raises(ImageError, match="holds 4 pages, its metadata promise 2"):
        read_image(path)


def test_part_of_an_image_in_several_files_is_refused(path: Path) -> None:
    description = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:1">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
        f'SizeX="{COLUMNS}" SizeY="{ROWS}" SizeZ="2" SizeC="1" SizeT="1"><Channel ID="Channel:0" SamplesPerPixel="1"/>'
        '<TiffData IFD="0" FirstZ="0" PlaneCount="1"><UUID FileName="cell.tif">urn:uuid:1</UUID></TiffData>'
        '<TiffData IFD="0" FirstZ="1" PlaneCount="1"><UUID FileName="other.tif">urn:uuid:2</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(path, GRADIENT, description=description, metadata=None)
    with pytest.raises(ImageError, match="lacks page 2 of the 2 that its metadata promise"):
        read_image(path)
    tifffile.imwrite(path.with_name("other.tif"), GRADIENT, metadata=None)
    with pytest.raises(ImageError, match="is one part of an image in several files"):
        read_image(path)


def test_images_of_different_sizes_in_one_file_are_refused(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        writer.write(GRADIENT, metadata=None)
        writer.write(GRADIENT[:20, :20], metadata=None)
    with pytest.raises(ImageError, match=r"holds 2 images that differ in size or storage \(YX \(37, 53\) uint16, YX"):
        read_image(path)


@pytest.mark.parametrize(
    ("shape", "axes", "found"),
    [
        ((2, 3, 5, 7), "TZYX", r"2 time × 3 depth × 5 height × 7 width"),
        ((2, 3, 2, 5, 7), "TZCYX", r"2 time × 3 depth × 2 channel × 5 height × 7 width"),
    ],
)
def test_axes_that_cannot_be_placed_are_refused(path: Path, shape: tuple[int, ...], axes: str, found: str) -> None:
    tifffile.imwrite(path, np.zeros(shape, np.uint8), imagej=True, metadata={"axes": axes})
    with pytest.raises(ImageError, match=rf"has the axes {found}; expected rows, columns, at most one axis of pages"):
        read_image(path, channels="all")


def test_channels_that_are_themselves_rgb_are_refused(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((2, 5, 7, 3), np.uint8), imagej=True, metadata={"axes": "CYXS"})
    with pytest.raises(ImageError, match="at most one of channels; split it first"):
        read_image(path, channels="all")


@pytest.mark.parametrize("dtype", [bool, np.uint8], ids=["bits-as-tifffile-writes-them", "8-bit"])
def test_zero_as_white_is_refused(path: Path, dtype: type) -> None:
    tifffile.imwrite(path, (GRADIENT % 2).astype(dtype), photometric="miniswhite")
    with pytest.raises(ImageError, match=r"stores 0 as white \(WhiteIsZero\), which programs read differently"):
        read_image(path)


def test_print_colours_are_refused(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((5, 7, 4), np.uint8), photometric="separated", planarconfig="contig")
    with pytest.raises(ImageError, match="stores colours as SEPARATED; expected gray, RGB or a palette"):
        read_image(path)


def test_complex_pixels_are_refused(path: Path) -> None:
    tifffile.imwrite(path, GRADIENT.astype(np.complex64))
    with pytest.raises(ImageError, match="holds complex64 pixels; expected integers or real numbers"):
        read_image(path)


def test_samples_beside_rgba_are_refused(path: Path) -> None:
    pixels = np.zeros((5, 7, 5), np.uint8)
    tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unspecified", "unspecified"])
    with pytest.raises(ImageError, match="stores 2 samples a pixel beside RGB"):
        read_image(path, channels="all")


def test_a_rotated_image_is_refused(path: Path) -> None:
    tifffile.imwrite(path, GRADIENT, extratags=[(274, "H", 1, 6, True)])
    with pytest.raises(ImageError, match=r"stored rotated or mirrored \(Orientation 6\).*; save it upright"):
        read_image(path)


def test_a_page_beyond_the_limit_is_refused_by_its_header(path: Path) -> None:
    tifffile.imwrite(path, GRADIENT, compression="zlib", metadata=None)
    _overwrite_tag(path, "ImageWidth", 40_000)
    _overwrite_tag(path, "ImageLength", 40_000)
    with pytest.raises(ImageError, match="is 40000 × 40000 px; at most 1073741824 px a page are read"):
        read_image(path)


@pytest.mark.filterwarnings("ignore:.*writing zero-size array:UserWarning")  # that is what this test is about
@pytest.mark.parametrize("shape", [(0, 7), (5, 0), (0, 5, 7)])
def test_an_image_without_pixels_is_refused(path: Path, shape: tuple[int, ...]) -> None:
    tifffile.imwrite(path, np.zeros(shape, np.uint8), photometric="minisblack")
    with pytest.raises(ImageError, match=r"cell\.tif "):
        read_image(path)


def test_a_file_without_pages_is_refused(path: Path) -> None:
    path.write_bytes(b"II*\0" + bytes(12))
    with pytest.raises(ImageError, match="is a TIFF without a page"):
        read_image(path)


def test_logging_of_tifffile_elsewhere_goes_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tifffile.imwrite(path, GRADIENT)
    read_image(path)
    logging.getLogger("tifffile").warning("still heard")
    assert [record.message for record in caplog.records] == ["still heard"]
