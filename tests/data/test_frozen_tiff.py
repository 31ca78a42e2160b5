"""Frozen TIFF: bytes worked out by hand, two other readers, and files that are whole or not there."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.data.frozen_tiff import frozen_tiff_bytes, write_frozen_tiff
from pipeline.errors import OutputError

PIXELS = np.arange(15, dtype=np.uint8).reshape(3, 5) * 17


def test_a_3_by_5_image_gives_these_bytes():
    content = frozen_tiff_bytes(PIXELS)
    assert content[:10] == b"II\x2a\x00\x08\x00\x00\x00\x0c\x00"
    fields = [struct.unpack_from("<HHII", content, 10 + 12 * field) for field in range(12)]
    assert [number for number, *_ in fields] == [256, 257, 258, 259, 262, 273, 277, 278, 279, 282, 283, 296]
    assert {number: value for number, _, _, value in fields} == {
        256: 5, 257: 3, 258: 8, 259: 1, 262: 1, 273: 176, 277: 1, 278: 3, 279: 15, 282: 158, 283: 166, 296: 1,
    }  # fmt: skip
    assert struct.unpack_from("<IIIII", content, 154) == (0, 1, 1, 1, 1)  # no next directory; both resolutions 1 / 1
    assert content[176:] == bytes(range(0, 255, 17))


def test_tifffile_and_pillow_read_the_pixels_that_were_written(tmp_path: Path):
    path = tmp_path / "image" / "00.tif"
    write_frozen_tiff(path, PIXELS)
    np.testing.assert_array_equal(tifffile.imread(path), PIXELS)
    with Image.open(path) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), PIXELS)


def test_pixels_in_any_memory_order_give_the_same_bytes():
    assert frozen_tiff_bytes(np.asfortranarray(PIXELS)) == frozen_tiff_bytes(PIXELS)


def test_a_file_with_the_right_bytes_is_left_alone(tmp_path: Path):
    path = tmp_path / "00.tif"
    write_frozen_tiff(path, PIXELS)
    before = path.stat()
    write_frozen_tiff(path, PIXELS)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "00.tif"
    path.write_bytes(b"old")

    def no_room(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(OutputError, match=r"cannot write .*00\.tif: No space left on device; check the free space"):
        write_frozen_tiff(path, PIXELS)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["00.tif"]


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path):
    (tmp_path / "image").write_text("in the way")
    with pytest.raises(OutputError, match=r"cannot make folder .*image: .*; choose one that you may write to"):
        write_frozen_tiff(tmp_path / "image" / "00.tif", PIXELS)
