"""Raw pixels in a file: what is written by rows is read by rows, and a disk without room is told at once."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import OutputError
from pipeline.formats import RawPixels


@settings(max_examples=60, deadline=None)
@given(
    planes=st.sampled_from([None, 1, 3]),
    size=st.tuples(st.integers(1, 30), st.integers(1, 20)),
    dtype=st.sampled_from(["u1", "f4"]),
    height=st.integers(1, 12),
)
def test_what_is_written_in_strips_is_read_in_any_other_strips(
    tmp_path_factory: pytest.TempPathFactory, planes: int | None, size: tuple[int, int], dtype: str, height: int
) -> None:
    shape = size if planes is None else (planes, *size)
    pixels = np.random.default_rng(0).integers(0, 255, shape).astype(dtype)
    path = tmp_path_factory.mktemp("raw") / "page.raw"
    with RawPixels.make(path, shape, dtype) as written:
        for first in reversed(range(0, size[0], height)):
            written[..., first : first + height, :] = pixels[..., first : first + height, :]
        written.flush()
    with RawPixels(path, shape, dtype) as read:
        np.testing.assert_array_equal(read[..., :, :], pixels)
        np.testing.assert_array_equal(np.concatenate(list(read.strips(7)), axis=-2), pixels)
    assert path.read_bytes() == pixels.tobytes()


def test_a_new_file_holds_zeros_and_has_its_space(tmp_path: Path) -> None:
    path = tmp_path / "page.raw"
    path.write_bytes(b"left over")
    with RawPixels.make(path, (300, 400), "u1") as pixels:
        assert not pixels[..., :, :].any()
    assert path.stat().st_blocks * 512 >= 300 * 400


@pytest.mark.parametrize("content", [None, bytes(11), bytes(13)], ids=["missing", "short", "long"])
def test_a_file_of_another_size_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "page.raw"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        OutputError, match=r"page\.raw are gone or damaged: expected a file of 12 bytes; remove .* to st"
    ):
        RawPixels(path, (3, 4), "u1")


def test_a_disk_without_room_is_one_line_and_nothing_is_left(tmp_path: Path) -> None:
    path = tmp_path / "page.raw"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"GB of unfinished results in .*: File too large; check the free space"):
            RawPixels.make(path, (400, 233), "u1")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not path.exists()
