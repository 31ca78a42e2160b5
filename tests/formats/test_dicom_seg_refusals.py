"""Masks and series that no DICOM SEG is written of."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import ConfigError, ImageError, LabelError, OutputError
from pipeline.formats import (
    read_dicom_series,
    write_dicom_seg,
)

from .generated_series import ORIENTATIONS, Geometry, make_multiframe, make_series
from .seg_objects import ALGORITHM, AXIAL, GRID, SEGMENTS


@pytest.mark.parametrize(
    ("masks", "options", "error", "match"),
    [
        (np.zeros((9, 8, 3), int), {}, LabelError, r"shape \(9, 8, 3\); expected \(8, 9, 3\) \(row, column, slice\)"),
        (np.zeros((8, 9), int), {}, LabelError, r"shape \(8, 9\); expected"),
        (np.zeros((3, 8, 9, 4), bool), {}, LabelError, r"shape \(3, 8, 9, 4\); expected"),
        (np.full(GRID, 4), {}, LabelError, r"hold the values 4; expected 0 and the segments 1, 2, 3"),
        (np.full(GRID, -1), {}, LabelError, r"hold the values -1; expected"),
        (np.full(GRID, 257), {}, LabelError, r"hold the values 257; expected"),
        (np.zeros(GRID), {}, LabelError, r"label map of float64 was given for a binary DICOM SEG"),
        (np.zeros(GRID, int), {"kind": "fractional"}, LabelError, r"label map of int64 was given for a fractional"),
        (np.zeros((3, *GRID)), {}, LabelError, r"masks of a binary DICOM SEG are float64; expected booleans; convert"),
        (np.zeros((2, *GRID), bool), {}, LabelError, r"masks of 2 segments were given and 3 segments described"),
        (np.zeros((3, *GRID), bool), {"kind": "labelmap"}, LabelError, r"in which a voxel has one value"),
        (np.full((3, *GRID), 1.01), {"kind": "fractional"}, LabelError, r"run from 1.01 to 1.01; expected values in"),
        (np.full((3, *GRID), -0.5), {"kind": "fractional"}, LabelError, r"run from -0.5 to -0.5"),
        (np.full((3, *GRID), np.nan), {"kind": "fractional"}, LabelError, r"run from nan to nan; .* logits"),
        (np.zeros((3, *GRID), int), {"kind": "fractional"}, LabelError, r"int64; expected booleans or fractions"),
        (np.zeros(GRID, int), {"kind": "surface"}, ConfigError, r"kind 'surface' of DICOM SEG is unknown; expected"),
        (np.zeros(GRID, int), {"segments": ()}, ConfigError, r"at least one segment; none is given"),
        (np.zeros(GRID, int), {"segments": SEGMENTS[1:]}, ConfigError, r"\[2, 3\]; a binary DICOM SEG numbers them 1"),
        (
            np.zeros(GRID, int),
            {"segments": SEGMENTS[::-1], "kind": "labelmap"},
            ConfigError,
            r"\[3, 2, 1\]; expected each number once, in rising order",
        ),
        (np.zeros(GRID, int), {"series_number": 0}, ConfigError, r"series number 0 is out of range"),
        (
            np.zeros(GRID, int),
            {"affine": AXIAL.affine + 0.01 * np.eye(4)},
            LabelError,
            r"a corner is off by 0\.08 mm",
        ),
        (np.zeros(GRID, int), {"affine": np.full((4, 4), np.nan)}, LabelError, r"a corner is off by nan mm"),
    ],
)
def test_bad_masks_are_refused_and_nothing_is_written(
    tmp_path: Path, masks: NDArray[Any], options: dict[str, Any], error: type[Exception], match: str
) -> None:
    source = make_series(tmp_path, AXIAL)
    before = sorted(tmp_path.iterdir())
    arguments: dict[str, Any] = {"segments": SEGMENTS, "algorithm": ALGORITHM} | options
    with pytest.raises(error, match=match) as refusal:
        write_dicom_seg(tmp_path / "seg.dcm", masks, source, **arguments)
    assert "\n" not in str(refusal.value)
    assert sorted(tmp_path.iterdir()) == before


def test_masks_on_the_grid_of_the_source_are_taken_with_their_affine(tmp_path: Path) -> None:
    source = make_series(tmp_path, AXIAL)
    masks = np.ones(GRID, int)
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS, algorithm=ALGORITHM, affine=AXIAL.affine + 1e-6)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"])
def test_a_source_that_cannot_be_referred_to_is_refused(tmp_path: Path, keyword: str) -> None:
    source = make_series(tmp_path, AXIAL)
    headers = copy.deepcopy(source.headers)
    headers[0][keyword].value = ""
    with pytest.raises(ImageError, match=rf"has no {keyword}, and a DICOM SEG must refer to its source by it"):
        write_dicom_seg(
            tmp_path / "seg.dcm",
            np.ones(GRID, int),
            replace(source, headers=headers),
            SEGMENTS,
            algorithm=ALGORITHM,
        )


def test_voxels_that_are_not_where_the_files_say_are_refused(tmp_path: Path) -> None:
    source = make_series(tmp_path, AXIAL)
    turned = replace(source, frames=source.frames[::-1], headers=source.headers[::-1])
    fewer = replace(source, frames=source.frames[1:], headers=source.headers[1:])
    with pytest.raises(ImageError, match=r"slice 0 of series .* lies 2\.00 voxels from where its file 00\d\.dcm says"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones(GRID, int), turned, SEGMENTS, algorithm=ALGORITHM)
    with pytest.raises(ImageError, match=r"has 3 slices, of which 2 are in its files; a DICOM SEG refers"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones(GRID, int), fewer, SEGMENTS, algorithm=ALGORITHM)


def test_slices_too_small_for_packed_bits_are_refused(tmp_path: Path) -> None:
    source = make_series(tmp_path, Geometry((1, 7, 2), ORIENTATIONS["axial"]))
    with pytest.raises(ImageError, match="slices of 1 × 7 px are too small"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones((1, 7, 2), int), source, SEGMENTS, algorithm=ALGORITHM)


def test_slices_that_were_made_up_cannot_be_referred_to(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    made = make_series(tmp_path / "series", Geometry((9, 14, 6), ORIENTATIONS["axial"]))
    assert made.frames[2] is not None
    made.frames[2].path.unlink()
    source = read_dicom_series(tmp_path / "series", allow=("gap",))
    with pytest.raises(
        ImageError, match=r"has 6 slices, of which 5 are in its files; .* write NIfTI where slices were"
    ):
        write_dicom_seg(tmp_path / "seg.dcm", np.zeros(source.voxels.shape, int), source, SEGMENTS, algorithm=ALGORITHM)


def test_a_series_in_several_multiframe_objects_is_refused(tmp_path: Path) -> None:
    source = make_multiframe(tmp_path, Geometry((9, 14, 4), ORIENTATIONS["axial"]))
    source = replace(source, headers=(*source.headers, *source.headers))
    with pytest.raises(ImageError, match="is spread over 2 multi-frame objects; a DICOM SEG is made of one"):
        write_dicom_seg(tmp_path / "seg.dcm", np.ones((9, 14, 4), int), source, SEGMENTS, algorithm=ALGORITHM)


def test_no_file_of_the_source_is_overwritten(tmp_path: Path) -> None:
    source = make_series(tmp_path, AXIAL)
    for frame in source.frames:
        assert frame is not None
        before = frame.path.read_bytes()
        with pytest.raises(OutputError, match="it is a file of the image that this was made from"):
            write_dicom_seg(frame.path, np.zeros(GRID, int), source, SEGMENTS, algorithm=ALGORITHM, overwrite=True)
        assert frame.path.read_bytes() == before


def test_a_plane_is_compared_in_all_its_corners(tmp_path: Path) -> None:
    """A pixel spacing that is off by 1 % moves the far corners alone."""
    source = make_series(tmp_path, AXIAL)
    stretched = source.affine.copy()
    stretched[:3, 1] *= 1.01
    with pytest.raises(ImageError, match=r"slice 0 of series .* lies 0\.08 voxels from where its file"):
        write_dicom_seg(
            tmp_path / "seg.dcm",
            np.zeros(GRID, int),
            replace(source, affine=stretched),
            SEGMENTS,
            algorithm=ALGORITHM,
        )
