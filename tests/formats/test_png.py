"""PNG decoding against hand-made files of every kind, and against libpng (imagecodecs)."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import ImageError
from pipeline.formats import read_image

GRAY, RGB, PALETTE, RGBA = 0, 2, 3, 6


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(
    rows: list[bytes], width: int, bit_depth: int, color_type: int, *chunks: bytes, height: int | None = None
) -> bytes:
    """Build a PNG by hand; `rows` are packed samples, `chunks` go between the header and the pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows) if height is None else height, bit_depth, color_type, 0, 0, 0)
    pixels = _chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + b"".join(chunks) + pixels + _chunk(b"IEND", b"")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cell.png"


@settings(max_examples=60, deadline=None)
@given(
    pixels=st.sampled_from([np.uint8, np.uint16]).flatmap(
        lambda dtype: hnp.arrays(dtype, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])))
    )
)
def test_files_of_libpng_are_read_unchanged(tmp_path_factory: pytest.TempPathFactory, pixels: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("png") / "cell.png"
    path.write_bytes(imagecodecs.png_encode(pixels))
    image = read_image(path, channels="all")
    assert image.pixels.dtype == pixels.dtype
    np.testing.assert_array_equal(image.pixels, np.moveaxis(pixels, 2, 0)[np.newaxis])


@pytest.mark.parametrize(
    ("bit_depth", "row", "expected"),
    [
        (1, bytes([0b01100000]), [0, 255, 255, 0]),
        (2, bytes([0b00011011]), [0, 85, 170, 255]),
        (4, bytes([0x01, 0x8F]), [0, 17, 136, 255]),
        (8, bytes([0, 1, 254, 255]), [0, 1, 254, 255]),
        (16, struct.pack(">4H", 0, 1, 4095, 65535), [0, 1, 4095, 65535]),
    ],
    ids=lambda value: f"{value}-bit" if isinstance(value, int) else "",
)
def test_gray_of_every_depth(path: Path, bit_depth: int, row: bytes, expected: list[int]) -> None:
    path.write_bytes(_png([row, row], 4, bit_depth, GRAY))
    image = read_image(path)
    assert image.pixels.dtype == (np.uint16 if bit_depth == 16 else np.uint8)
    assert image.pixels[0, 0].tolist() == [expected, expected]


def test_a_gray_palette_gives_its_grays(path: Path) -> None:
    path.write_bytes(_png([bytes([0, 1, 2])], 3, 8, PALETTE, _chunk(b"PLTE", bytes([9, 9, 9, 200, 200, 200, 0, 0, 0]))))
    assert read_image(path).pixels.tolist() == [[[[9, 200, 0]]]]


def test_a_coloured_palette_is_no_gray_but_three_channels(path: Path) -> None:
    path.write_bytes(_png([bytes([0, 1])], 2, 8, PALETTE, _chunk(b"PLTE", bytes([0, 255, 0, 7, 8, 9]))))
    with pytest.raises(ImageError, match=r"cell\.png has 3 different channels .*; expected gray"):
        read_image(path)
    assert read_image(path, channels="all").pixels.tolist() == [[[[0, 7]], [[255, 8]], [[0, 9]]]]


def test_colour_of_16_bits_keeps_its_16_bits(path: Path) -> None:
    gray = np.array([[0, 1, 258, 65535]], np.uint16)
    path.write_bytes(imagecodecs.png_encode(np.stack([gray, gray, gray], axis=-1)))
    assert read_image(path).pixels.tolist() == [[gray.tolist()]]


@pytest.mark.parametrize("samples", [2, 4], ids=["gray-alpha", "rgba"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_opacity_of_opaque_pixels_is_dropped(path: Path, samples: int, dtype: type[np.unsignedinteger]) -> None:
    pixels = np.full((3, 5, samples), 7, dtype)
    pixels[..., -1] = np.iinfo(dtype).max
    path.write_bytes(imagecodecs.png_encode(pixels))
    np.testing.assert_array_equal(read_image(path).pixels, np.full((1, 1, 3, 5), 7, dtype))


@pytest.mark.parametrize("samples", [2, 4], ids=["gray-alpha", "rgba"])
def test_transparent_pixels_are_refused(path: Path, samples: int) -> None:
    pixels = np.full((3, 5, samples), 255, np.uint8)
    pixels[1, 1, -1] = 0
    path.write_bytes(imagecodecs.png_encode(pixels))
    with pytest.raises(ImageError, match=r"transparent pixels \(opacity 0 to 255\); expected 255 everywhere; save it"):
        read_image(path)


def test_a_transparent_palette_entry_is_refused_where_it_is_used(path: Path) -> None:
    palette, opacity = _chunk(b"PLTE", bytes([1, 1, 1, 2, 2, 2])), _chunk(b"tRNS", bytes([0, 255]))
    path.write_bytes(_png([bytes([1, 1])], 2, 8, PALETTE, palette, opacity))
    assert read_image(path).pixels.tolist() == [[[[2, 2]]]]
    path.write_bytes(_png([bytes([0, 1])], 2, 8, PALETTE, palette, opacity))
    with pytest.raises(ImageError, match="transparent pixels"):
        read_image(path)


def test_a_value_marked_transparent_is_refused_where_it_is_used(path: Path) -> None:
    mark = _chunk(b"tRNS", bytes([0, 0]))
    path.write_bytes(_png([bytes([1, 2])], 2, 8, GRAY, mark))
    assert read_image(path).pixels.tolist() == [[[[1, 2]]]]
    path.write_bytes(_png([bytes([0, 1])], 2, 8, GRAY, mark))
    with pytest.raises(ImageError, match="transparent pixels"):
        read_image(path)


def test_an_animation_is_refused(path: Path) -> None:
    frames = [PIL.Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 9)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match="is an animation; expected one still image"):
        read_image(path)


@pytest.mark.parametrize("bit_depth", [8, 16])
@pytest.mark.parametrize("lenient", [False, True], ids=["", "pillow-told-to-load-truncated-images"])
def test_a_file_cut_at_any_byte_is_refused(
    path: Path, bit_depth: int, lenient: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", lenient)
    whole = imagecodecs.png_encode(np.arange(35, dtype=f"u{bit_depth // 8}").reshape(5, 7))
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ImageError, match=r"cell\.png (is empty|is cut short|does not start as a PNG)"):
            read_image(path)


def test_a_change_of_any_byte_is_refused(path: Path) -> None:
    whole = imagecodecs.png_encode(np.arange(35, dtype=np.uint8).reshape(5, 7))
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        with pytest.raises(ImageError, match=r"cell\.png (is damaged|is cut short|does not start as a PNG)"):
            read_image(path)


def test_pixels_that_end_early_are_refused_even_with_right_checksums(path: Path) -> None:
    path.write_bytes(_png([bytes(4)] * 3, 4, 8, GRAY, height=100))
    with pytest.raises(ImageError, match=r"cell\.png cannot be decoded as PNG: Not enough image data; copy it again"):
        read_image(path)


@pytest.mark.parametrize(("width", "height"), [(0, 1), (4, 0)])
def test_an_image_without_pixels_is_refused(path: Path, width: int, height: int) -> None:
    path.write_bytes(_png([bytes(width)], width, 8, GRAY, height=height))
    with pytest.raises(ImageError, match=f"is {height} × {width} px; expected at least one pixel"):
        read_image(path)


def test_an_image_beyond_the_limit_is_refused_by_its_header(path: Path) -> None:
    path.write_bytes(_png([bytes(1)], 40_000, 8, GRAY, height=40_000))
    with pytest.raises(ImageError, match="is 40000 × 40000 px; at most 1073741824 px a page are read; crop or tile"):
        read_image(path)


def test_the_size_limit_of_pillow_does_not_apply(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(_png([bytes(range(9))] * 9, 9, 8, GRAY))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(PIL.Image.DecompressionBombError):
        PIL.Image.open(path)
    assert read_image(path).size_px == (9, 9)


def test_chunks_that_pixels_do_not_depend_on_are_left_aside_without_a_word(
    path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    profile = _chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no colour profile"))
    text_bomb = _chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(20_000_000)))
    path.write_bytes(_png([bytes([5, 6])], 2, 8, GRAY, profile, text_bomb, _chunk(b"gAMA", bytes(2))))
    assert read_image(path).pixels.tolist() == [[[[5, 6]]]]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "content",
    [_chunk(b"IEND", b""), _chunk(b"IDAT", b"") + _chunk(b"IEND", b""), _chunk(b"IHDR", b"") + _chunk(b"IEND", b"")],
    ids=["only-an-end", "no-header", "no-pixels"],
)
def test_a_file_without_header_or_pixels_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    with pytest.raises(ImageError, match=r"cell\.png is damaged: it has no PNG header or no pixels; copy it again"):
        read_image(path)


def test_a_header_that_is_too_short_is_refused(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", b"") + _chunk(b"IDAT", b"") + _chunk(b"IEND", b""))
    with pytest.raises(ImageError, match=r"cell\.png (cannot be decoded|is )"):
        read_image(path)
