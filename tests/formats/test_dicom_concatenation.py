"""A multi-frame image that was cut into several files: read as one, and refused where a part is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from pipeline.formats import read_dicom_series

from .faulty_series import refused
from .generated_series import ORIENTATIONS, Geometry, make_multiframe

GEOMETRY = Geometry((6, 8, 5), ORIENTATIONS["axial"])


def cut(folder: Path, with_total: bool = True) -> list[Path]:
    """Write an enhanced CT of five frames as three files, two of which have two frames; they lie in slice order."""
    folder.mkdir()
    series = make_multiframe(folder, GEOMETRY)
    (path,) = folder.iterdir()
    whole = pydicom.dcmread(path)
    path.unlink()
    numbers = [frame.frame_number for frame in series.frames if frame is not None]
    frame_bytes = GEOMETRY.shape[0] * GEOMETRY.shape[1] * 2
    pixels = [whole.PixelData[(number - 1) * frame_bytes :][:frame_bytes] for number in numbers if number]
    groups = [whole.PerFrameFunctionalGroupsSequence[number - 1] for number in numbers if number]
    paths = []
    for part, places in enumerate(([0, 1], [2, 3], [4]), 1):
        whole.SOPInstanceUID = whole.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        whole.ConcatenationUID, whole.InConcatenationNumber = "1.2.3", part
        whole.ConcatenationFrameOffsetNumber = places[0]
        if with_total:
            whole.InConcatenationTotalNumber = 3
        whole.NumberOfFrames = len(places)
        whole.PerFrameFunctionalGroupsSequence = [groups[place] for place in places]
        whole.PixelData = b"".join(pixels[place] for place in places)
        paths.append(folder / f"part{part}.dcm")
        whole.save_as(paths[-1])
    np.save(folder.with_suffix(".npy"), series.voxels)
    return paths


def test_all_parts_are_one_volume(tmp_path: Path) -> None:
    cut(tmp_path / "series")
    found = read_dicom_series(tmp_path / "series", allow=["rescale"])
    np.testing.assert_array_equal(found.voxels, np.load(tmp_path / "series.npy"))
    np.testing.assert_allclose(found.affine, GEOMETRY.affine, atol=1e-6)


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ([3], "part1.dcm, part2.dcm are 2 of the 3 parts of a multi-frame image"),
        ([1], "part2.dcm, part3.dcm are 2 of the 3 parts"),
        ([1, 2], "part3.dcm is 1 of the 3 parts"),
    ],
    ids=["the last", "the first", "all but one"],
)
def test_a_part_that_is_missing_at_an_end_is_noticed(tmp_path: Path, missing: list[int], said: str) -> None:
    """What is left lies on an even grid, so that nothing else could tell."""
    paths = cut(tmp_path / "series")
    for number in missing:
        paths[number - 1].unlink()
    message = refused(tmp_path / "series", allow=["gap", "slice-spacing"])
    assert message.startswith(said)
    assert message.endswith("expected all; copy the missing files")


def test_without_a_total_the_numbers_tell_what_comes_before(tmp_path: Path) -> None:
    paths = cut(tmp_path / "series", with_total=False)
    paths[0].unlink()
    assert refused(tmp_path / "series").startswith("part2.dcm, part3.dcm are 2 of the 3 parts")
    paths[2].unlink()
    assert refused(tmp_path / "series").startswith("part2.dcm is 1 of the 2 parts")


def test_a_number_that_is_none_is_refused(tmp_path: Path) -> None:
    (path, *_) = cut(tmp_path / "series")
    whole = pydicom.dcmread(path)
    whole.InConcatenationNumber = [1, 2]
    whole.save_as(path)
    assert refused(tmp_path / "series").startswith("part1.dcm has no whole number as InConcatenationNumber")
