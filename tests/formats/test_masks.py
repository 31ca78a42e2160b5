"""Writing segmentations: write-then-read laws, other readers, refusals, and a disk that is full."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.io import imread

from pipeline.errors import ImageError, OutputError
from pipeline.formats import RasterImage, read_image, write_instances, write_mask, write_probability

SIDES = st.integers(1, 30)


def _image(pages: int, rows: int, columns: int) -> RasterImage:
    return RasterImage(np.zeros((pages, 1, rows, columns), np.uint8), Path("cells.tif"))


def _read_by_others(path: Path) -> list[np.ndarray]:
    """Read a file with Pillow, and with tifffile or scikit-image where they do it too, as (page, row, column)."""
    with PIL.Image.open(path) as opened:
        pages = []
        for index in range(getattr(opened, "n_frames", 1)):
            opened.seek(index)
            pages.append(np.array(opened))
    arrays = [np.stack(pages)]
    if path.suffix == ".tif":
        arrays.append(tifffile.imread(path).reshape(arrays[0].shape))
    if len(pages) == 1:  # of 3 or 4 pages scikit-image makes colours
        arrays.append(imread(path)[np.newaxis])
    return arrays


@settings(max_examples=60, deadline=None)
@given(
    mask=hnp.arrays(
        st.sampled_from([np.bool_, np.uint8, np.int64]), st.tuples(SIDES, SIDES), elements=st.integers(0, 1)
    )
)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_mask_reads_back(tmp_path_factory: pytest.TempPathFactory, suffix: str, mask: np.ndarray) -> None:
    path = tmp_path_factory.mktemp("mask") / f"mask{suffix}"
    write_mask(path, mask)
    expected = mask * np.uint8(255 if mask.dtype == bool else 1)
    image = read_image(path)
    assert image.pixels.dtype == np.uint8
    np.testing.assert_array_equal(image.pixels, expected[np.newaxis, np.newaxis])
    for pixels in _read_by_others(path):
        np.testing.assert_array_equal(pixels[0], expected)


@settings(max_examples=60, deadline=None)
@given(
    instances=hnp.arrays(
        st.sampled_from([np.uint16, np.int32, np.int64]), st.tuples(st.integers(1, 4), SIDES, SIDES),
        elements=st.integers(0, 32_000),
    )
)  # fmt: skip
def test_a_stack_of_instances_reads_back_page_by_page(
    tmp_path_factory: pytest.TempPathFactory, instances: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("instances") / "instances.tif"
    write_instances(path, instances, like=_image(*instances.shape))
    image = read_image(path)
    assert image.pixels.dtype == np.uint16
    np.testing.assert_array_equal(image.pixels[:, 0], instances)
    for pixels in _read_by_others(path):
        np.testing.assert_array_equal(pixels, instances)


@settings(max_examples=60, deadline=None)
@given(
    probability=hnp.arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(1, 4), SIDES, SIDES), elements=st.floats(0, 1, width=32)
    )
)
def test_class_probabilities_read_back_as_channels(
    tmp_path_factory: pytest.TempPathFactory, probability: np.ndarray
) -> None:
    path = tmp_path_factory.mktemp("probability") / "probability.tif"
    write_probability(path, probability)
    image = read_image(path, channels="all")
    assert image.pixels.dtype == np.float32
    np.testing.assert_array_equal(image.pixels, probability)


@pytest.mark.parametrize(("highest", "dtype"), [(65_535, np.uint16), (65_536, np.uint32), (2**32 - 1, np.uint32)])
def test_the_dtype_of_instances_is_the_smallest_that_holds_them(
    tmp_path: Path, highest: int, dtype: type[np.unsignedinteger]
) -> None:
    write_instances(tmp_path / "a.tif", np.array([[0, highest]], np.int64))
    image = read_image(tmp_path / "a.tif")
    assert image.pixels.dtype == dtype
    assert image.pixels[0, 0].tolist() == [[0, highest]]


def test_65535_instances_fit_a_png_and_one_more_does_not(tmp_path: Path) -> None:
    write_instances(tmp_path / "a.png", np.array([[0, 65_535]]))
    assert read_image(tmp_path / "a.png").pixels.tolist() == [[[[0, 65_535]]]]
    with pytest.raises(ImageError, match=r"b\.png: it holds values from 0 to 65536; expected 0..65535; write a TIFF"):
        write_instances(tmp_path / "b.png", np.array([[0, 65_536]]))
    assert not (tmp_path / "b.png").exists()


def test_the_same_mask_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in (".png", ".tif"):
        write_mask(tmp_path / f"a{suffix}", np.eye(9, dtype=bool))
        write_mask(tmp_path / f"b{suffix}", np.eye(9, dtype=bool))
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (lambda path: write_mask(path, np.full((2, 2), 256)), "from 256 to 256; expected 0..255; write instances"),
        (lambda path: write_mask(path, np.full((2, 2), -1)), "values from -1 to -1; expected 0..255"),
        (lambda path: write_mask(path, np.zeros((2, 2))), "float64 values; expected booleans or integers; convert"),
        (lambda path: write_mask(path, np.zeros(4, bool)), r"the array has the shape \(4,\); expected \(row, column\)"),
        (lambda path: write_mask(path, np.zeros((1, 1, 2, 2), bool)), r"the array has the shape \(1, 1, 2, 2\)"),
        (lambda path: write_mask(path, np.zeros((0, 2), bool)), r"\(0, 2\); .* with at least one pixel"),
        (lambda path: write_instances(path, np.zeros((2, 2), bool)), "bool values; expected integers"),
        (lambda path: write_instances(path, np.full((2, 2), -1)), "expected 0..4294967295; number them anew"),
        (lambda path: write_instances(path, np.full((2, 2), 2**32)), "from 4294967296 to 4294967296"),
        (lambda path: write_probability(path, np.full((2, 2), 1.5)), "from 1.5 to 1.5; expected probabilities in"),
        (lambda path: write_probability(path, np.full((2, 2), np.nan)), "from nan to nan; expected probabilities"),
        (lambda path: write_probability(path, np.zeros((2, 2), int)), "int64 values; expected real numbers"),
        (lambda path: write_probability(path.with_suffix(".png"), np.zeros((2, 2))), "PNG holds no real numbers; name"),
        (lambda path: write_mask(path.with_suffix(".jpg"), np.eye(2, dtype=bool)), "expected one of .png, .tif, .tiff"),
        (lambda path: write_mask(path.with_suffix(".png"), np.zeros((2, 2, 2), bool)), "a PNG holds one page, not 2"),
        (
            lambda path: write_mask(path, np.zeros((2, 3, 5), bool), like=_image(2, 5, 3)),
            r"2 pages of 3 × 5 px do not fit image cells\.tif of 2 pages of 5 × 3 px",
        ),
        (
            lambda path: write_mask(path, np.zeros((5, 3), bool), like=_image(2, 5, 3)),
            r"1 page of 5 × 3 px do not fit image cells\.tif of 2 pages",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    tmp_path: Path, write: Callable[[Path], None], match: str
) -> None:
    with pytest.raises(ImageError, match=match) as caught:
        write(tmp_path / "a.tif")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_an_existing_file_is_replaced_only_on_demand(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    write_mask(path, np.zeros((2, 2), np.uint8))
    with pytest.raises(OutputError, match=r"already exists; pass --force"):
        write_mask(path, np.ones((2, 2), np.uint8))
    assert read_image(path).pixels.max() == 0
    write_mask(path, np.ones((2, 2), np.uint8), overwrite=True)
    assert read_image(path).pixels.min() == 1


def test_a_name_of_ome_tiff_gives_a_plain_tiff(tmp_path: Path) -> None:
    write_mask(tmp_path / "a.ome.tif", np.eye(4, dtype=bool))
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert not tif.is_ome


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_full_disk_is_one_line_and_leaves_the_old_file(tmp_path: Path, suffix: str) -> None:
    # RLIMIT_FSIZE in a process of its own: the system refuses to grow any file beyond 50 kB.
    path = tmp_path / f"mask{suffix}"
    write_mask(path, np.eye(4, dtype=bool))
    before = path.read_bytes()
    program = """
import resource, sys
import numpy as np
from pipeline.errors import OutputError
from pipeline.formats import write_mask
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
noise = np.random.default_rng(0).integers(0, 256, (500, 500), dtype=np.uint8)
try:
    write_mask(sys.argv[1], noise, overwrite=True)
except OutputError as error:
    print(error)
    sys.exit(2)
"""
    run = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (2, "")
    assert run.stdout.startswith(f"cannot write {path}: ")
    assert run.stdout.count("\n") == 1
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
