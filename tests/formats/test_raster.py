"""What holds for every image file, whatever its format; real files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import imagecodecs
import numpy as np
import PIL.Image
import pytest
import skimage
import tifffile
from skimage.io import imread

from pipeline.errors import ImageError, MissingFileError
from pipeline.formats import RASTER_SUFFIXES, read_image

_SHIPPED = Path(skimage.__file__).parent / "data"


def _write_gray(path: Path) -> None:
    pixels = np.arange(35, dtype=np.uint8).reshape(5, 7)
    if path.suffix.lower() == ".png":
        PIL.Image.fromarray(pixels).save(path, format="PNG")
    else:
        tifffile.imwrite(path, pixels)


@pytest.mark.parametrize("suffix", [*RASTER_SUFFIXES, ".PNG", ".TIF"])
def test_row_and_column_are_not_swapped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    _write_gray(path)
    image = read_image(str(path))
    assert (image.pages, image.channels, image.size_px, image.path) == (1, 1, (5, 7), path)
    assert image.pixels[0, 0, 1, 0] == 7


def test_pixels_are_contiguous_and_writable(tmp_path: Path) -> None:
    for suffix in (".png", ".tif"):
        _write_gray(tmp_path / f"a{suffix}")
        flags = read_image(tmp_path / f"a{suffix}").pixels.flags
        assert flags.c_contiguous
        assert flags.writeable


def test_the_text_of_an_image_holds_no_pixels(tmp_path: Path) -> None:
    _write_gray(tmp_path / "a.png")
    assert len(repr(read_image(tmp_path / "a.png"))) < 60 + len(str(tmp_path))


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(MissingFileError, match=rf"{name} not found; check the path"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"is empty \(0 bytes\); expected a PNG or TIFF file; copy it again"),
        (b"hello", "does not start as a (PNG|TIFF) file does; copy it again, or save it as"),
        (b"\xff\xd8\xff\xe0" + bytes(20), "is named as (PNG|TIFF) but holds JPEG; .*; save it as (PNG|TIFF)"),
        (b"GIF89a" + bytes(20), "but holds GIF"),
    ],
    ids=["empty", "text", "jpeg", "gif"],
)
def test_a_file_that_is_no_image_is_refused(tmp_path: Path, suffix: str, content: bytes, match: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=match):
        read_image(path)


@pytest.mark.parametrize(("held", "named"), [("a.png", "b.tif"), ("a.tif", "b.png")])
def test_a_suffix_that_lies_is_refused(tmp_path: Path, held: str, named: str) -> None:
    _write_gray(tmp_path / held)
    (tmp_path / held).rename(tmp_path / named)
    with pytest.raises(ImageError, match=r"is named as (PNG|TIFF) but holds (PNG|TIFF); .*; rename it"):
        read_image(tmp_path / named)


@pytest.mark.parametrize("name", ["a.jpg", "a.lsm", "a"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match=r"expected one of \.png, \.tif, \.tiff; save it as PNG or TIFF"):
        read_image(tmp_path / name)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tif").mkdir()
    with pytest.raises(ImageError, match=r"a\.tif is a folder; expected a PNG or TIFF file"):
        read_image(tmp_path / "a.tif")


@contextmanager
def _not_as_administrator() -> Iterator[None]:
    """Be the user that may do nothing, where the tests run as the one that may do everything."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_file_without_permission_is_refused() -> None:
    # Not `tmp_path`, which nobody else may enter.
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "a.png"
        _write_gray(path)
        with _not_as_administrator():
            read_image(path)
        path.chmod(0)
        with (
            _not_as_administrator(),
            pytest.raises(ImageError, match=r"a\.png cannot be opened: Permission denied; check its permissions"),
        ):
            read_image(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_pixels_that_are_no_numbers_are_refused_and_counted(
    tmp_path: Path, dtype: type[np.floating], value: float
) -> None:
    pixels = np.zeros((5, 7), dtype)
    pixels[[1, 2], [3, 4]] = value
    tifffile.imwrite(tmp_path / "a.tif", pixels)
    with pytest.raises(ImageError, match=r"a\.tif holds 2 pixels that are NaN or infinite; expected finite numbers"):
        read_image(tmp_path / "a.tif")


def test_the_largest_finite_numbers_are_read(tmp_path: Path) -> None:
    extremes = np.array([[np.finfo(np.float32).max, np.finfo(np.float32).min]], np.float32)
    tifffile.imwrite(tmp_path / "a.tif", extremes)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0, 0], extremes)


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (MemoryError(), "does not fit into memory; crop, tile or split it first"),
        (
            OSError(5, "Input/output error"),
            "cannot be read: Input/output error; check its permissions, or copy it again",
        ),
        (
            ZeroDivisionError(),
            "cannot be decoded as PNG: ZeroDivisionError; copy it again if it is damaged, else save it",
        ),
    ],
    ids=["memory", "disk", "decoder"],
)
def test_whatever_stops_the_decoder_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, match: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    _write_gray(tmp_path / "a.png")
    monkeypatch.setattr(imagecodecs, "png_decode", fail)
    with pytest.raises(ImageError, match=rf"a\.png {match}") as caught:
        read_image(tmp_path / "a.png")
    assert caught.value.__cause__ is error


_COLOURED = {"astronaut", "chelsea", "coffee", "color", "ihc", "logo", "motorcycle_left", "motorcycle_right", "rocket"}


@pytest.mark.parametrize("path", sorted(_SHIPPED.glob("*.png")), ids=lambda path: path.stem)
def test_images_that_scikit_image_ships_are_read_as_libpng_reads_them(path: Path) -> None:
    if path.stem == "horse":
        with pytest.raises(ImageError, match="has transparent pixels"):
            read_image(path, channels="all")
        return
    decoded = imagecodecs.png_decode(path.read_bytes())
    samples = np.moveaxis(decoded.reshape(*decoded.shape[:2], -1), 2, 0)
    image = read_image(path, channels="all")
    np.testing.assert_array_equal(image.pixels[0], samples[: image.channels])
    if path.stem in _COLOURED:
        with pytest.raises(ImageError, match=r"has 3 different channels \(colour, or several stains\); expected gray"):
            read_image(path)
    else:
        np.testing.assert_array_equal(read_image(path).pixels, image.pixels[:, :1])


@pytest.mark.parametrize(("name", "pages", "channels"), [("multipage", 2, 1), ("multipage_rgb", 2, 3)])
def test_stacks_that_scikit_image_ships_are_read_as_it_reads_them(name: str, pages: int, channels: int) -> None:
    path = _SHIPPED / f"{name}.tif"
    image = read_image(path, channels="all")
    assert (image.pages, image.channels) == (pages, channels)
    expected = imread(path).reshape(pages, *image.size_px, channels)
    np.testing.assert_array_equal(image.pixels, np.moveaxis(expected, -1, 1))


def test_nuclei_stored_as_rgba_are_gray(real_data: Callable[[str], Path]) -> None:
    paths = sorted(real_data("dsb2018-nuclei").glob("images/*.png"))
    assert len(paths) == 16
    for path in paths:
        image = read_image(path)
        with PIL.Image.open(path) as opened:
            assert opened.mode == "RGBA"
            np.testing.assert_array_equal(image.pixels[0, 0], np.asarray(opened)[..., 0])


def test_nuclei_labels_keep_their_16_bits(real_data: Callable[[str], Path]) -> None:
    paths = sorted(real_data("dsb2018-nuclei").glob("labels/*.png"))
    assert len(paths) == 16
    for path in paths:
        image = read_image(path)
        assert image.pixels.dtype == np.uint16
        with PIL.Image.open(path) as opened:
            np.testing.assert_array_equal(image.pixels[0, 0], np.asarray(opened))


def test_em_slices_are_read_as_pillow_reads_them(real_data: Callable[[str], Path]) -> None:
    paths = sorted(real_data("isbi2012-em").glob("train/*/*.png"))
    assert len(paths) == 48
    for path in paths:
        with PIL.Image.open(path) as opened:
            np.testing.assert_array_equal(read_image(path).pixels[0, 0], np.asarray(opened))
