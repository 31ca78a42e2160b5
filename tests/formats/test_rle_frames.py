"""Compressed frames against pydicom's decoder, which is written in Python and shares nothing with ours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless

from pipeline.formats.rle_frames import encode_rle


def _decode(encoded: bytes, shape: tuple[int, int], dtype: type) -> np.ndarray:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = RLELossless
    dataset.Rows, dataset.Columns = shape
    dataset.BitsAllocated = dataset.BitsStored = np.dtype(dtype).itemsize * 8
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.PixelData = encapsulate([encoded])
    dataset["PixelData"].VR = "OB"
    dataset.pixel_array_options(decoding_plugin="pydicom")
    return dataset.pixel_array


# Frames of a few pixels may happen to be as long compressed as they are uncompressed.
@pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data matches:UserWarning")
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@given(
    rows=st.integers(1, 9),
    columns=st.sampled_from([1, 2, 3, 127, 128, 129, 255, 256, 257, 300]),
    values=st.sampled_from([1, 2, 300, 65536]),
    run_px=st.sampled_from([1, 2, 3, 127, 128, 129, 400]),
    seed=st.integers(0, 99),
)
def test_a_frame_comes_back(dtype: type, rows: int, columns: int, values: int, run_px: int, seed: int):
    pixels = np.random.default_rng(seed).integers(0, min(values, np.iinfo(dtype).max + 1), (rows, columns), dtype)
    frame = np.repeat(pixels, run_px, axis=1)[:, :columns]
    encoded = encode_rle(frame)
    assert len(encoded) % 2 == 0
    np.testing.assert_array_equal(_decode(encoded, frame.shape, dtype), frame)


def test_runs_are_what_the_standard_writes():
    """Worked by hand after PS3.5, G.3: three equal bytes are a run of 1 - 3, two others a literal of 2 - 1."""
    encoded = encode_rle(np.array([[7, 7, 7], [1, 2, 2]], np.uint8))
    assert encoded[:8] == b"\x01\0\0\0\x40\0\0\0"
    assert encoded[8:64] == bytes(56)
    assert encoded[64:66] == b"\xfe\x07"
    assert encoded[66:] in (b"\x02\x01\x02\x02", b"\x00\x01\xff\x02")  # both are allowed


def test_the_bytes_of_wider_pixels_are_apart_and_the_highest_come_first():
    encoded = encode_rle(np.full((1, 4), 0x0102, np.uint16))
    assert np.frombuffer(encoded[:12], "<u4").tolist() == [2, 64, 66]
    assert encoded[64:] == b"\xfd\x01\xfd\x02"
