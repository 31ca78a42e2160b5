"""DICOM SEG labels come onto the grid of their series, and nothing else is taken for a label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.transforms import LoadImaged

from pipeline.errors import ConfigError, LabelError, MissingFileError
from pipeline.formats import (
    DicomSeriesReader,
    MadeUpPatient,
    SegmentDescription,
    SnomedCode,
    read_dicom_series,
    write_dicom_seg,
    write_dicom_series,
)
from pipeline.transforms import LoadDicomSegd, SameGridd

ANATOMY = SnomedCode("91723000", "Anatomical Structure")
LIVER = SegmentDescription(1, "Liver", ANATOMY, SnomedCode("10200004", "Liver"))
SPLEEN = SegmentDescription(2, "Spleen", ANATOMY, SnomedCode("78961009", "Spleen"))
# Oblique, with rows, columns and slices of different spacing.
AFFINE = np.array([[-0.3, -1.9, 0.6, 40.0], [-2.4, 0.2, -0.5, 30.0], [0.4, 0.6, 2.9, -20.0], [0.0, 0.0, 0.0, 1.0]])


def orthogonal(affine: np.ndarray) -> np.ndarray:
    """Return the nearest affine with axes at right angles and the same spacing."""
    sides = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / sides)
    found = affine.copy()
    found[:3, :3] = left @ right * sides
    return found


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Write a series and a label of random segments in some of its slices."""

    def write(name: str, segments: list[SegmentDescription], study: int = 1) -> dict[str, Any]:
        random = np.random.default_rng(study)
        voxels = random.integers(-100, 200, (12, 17, 6)).astype(np.int16)
        patient = MadeUpPatient("PHANTOM-9", study, 1, seed=name)
        write_dicom_series(tmp_path / name, voxels, orthogonal(AFFINE), patient=patient)
        masks = random.choice([0, *(segment.number for segment in segments)], voxels.shape).astype(np.uint8)
        masks[:, :, [0, 3]] = 0  # slices without a frame
        series = read_dicom_series(tmp_path / name)
        if not np.allclose(series.affine, orthogonal(AFFINE), atol=1e-4):
            masks = masks[:, :, ::-1]
        write_dicom_seg(tmp_path / f"{name}.dcm", masks, series, segments, algorithm=None)
        return {
            "image": str(tmp_path / name),
            "label": str(tmp_path / f"{name}.dcm"),
            "case": name,
            "masks": masks,
            "affine": series.affine,
        }

    return write


def load(sample: dict[str, Any], segments: list[SegmentDescription]) -> dict[str, Any]:
    image = LoadImaged(keys="image", reader=DicomSeriesReader(), ensure_channel_first=True)
    return SameGridd(keys="label")(LoadDicomSegd(keys="label", segments=segments)(image(sample)))


def test_a_label_lies_on_the_grid_of_its_series_also_where_slices_have_no_segment(
    make: Callable[..., dict[str, Any]],
) -> None:
    sample = make("a", [LIVER, SPLEEN])
    found = load(sample, [LIVER, SPLEEN])
    np.testing.assert_array_equal(np.asarray(found["label"])[0], sample["masks"])
    np.testing.assert_array_equal(np.asarray(found["label"].affine), sample["affine"])
    assert found["label"].shape == found["image"].shape


def test_a_file_need_not_describe_all_segments(make: Callable[..., dict[str, Any]]) -> None:
    found = load(make("a", [LIVER]), [LIVER, SPLEEN])
    assert np.unique(np.asarray(found["label"])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param([LIVER], r"label of case 'a' .* describes segment 2; expected 1 only", id="undeclared"),
        pytest.param(
            [replace(LIVER, type=SPLEEN.type), replace(SPLEEN, type=LIVER.type)],
            r"label of case 'a' .*: segment 1 shows SCT:10200004; expected SCT:78961009 \(Spleen\)",
            id="exchanged",
        ),
    ],
)
def test_segments_that_show_something_else_are_refused(
    wanted: list[SegmentDescription], expected: str, make: Callable[..., dict[str, Any]]
) -> None:
    with pytest.raises(LabelError, match=expected):
        load(make("a", [LIVER, SPLEEN]), wanted)


def test_the_label_of_another_series_is_refused(make: Callable[..., dict[str, Any]]) -> None:
    sample, other = make("a", [LIVER]), make("b", [LIVER], study=2)
    with pytest.raises(LabelError, match="another frame of reference"):
        load({**sample, "label": other["label"]}, [LIVER])


def test_a_label_that_is_not_there_is_named(make: Callable[..., dict[str, Any]]) -> None:
    with pytest.raises(MissingFileError, match=r"segmentation nowhere\.dcm not found"):
        load({**make("a", [LIVER]), "label": "nowhere.dcm"}, [LIVER])


@pytest.mark.parametrize("segments", [[], [LIVER, LIVER]], ids=["none", "one twice"])
def test_segments_are_numbered_once_each(segments: list[SegmentDescription]) -> None:
    with pytest.raises(ConfigError, match="expected each number once"):
        LoadDicomSegd(keys="label", segments=segments)
