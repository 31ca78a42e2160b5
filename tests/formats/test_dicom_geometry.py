"""Affines and checks of positions against worked values, highdicom's transformer."""

from __future__ import annotations

import numpy as np
import pytest
from highdicom.spatial import PixelToReferenceTransformer
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pipeline.formats import dicom_geometry as geometry

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


@st.composite
def orientations(draw: st.DrawFn) -> tuple[float, ...]:
    seed = draw(st.integers(0, 2**32 - 1))
    axes = Rotation.random(rng=np.random.default_rng(seed)).as_matrix()
    return tuple(axes[:2].ravel().tolist())


def test_axial_slices_map_to_ras_as_worked_by_hand() -> None:
    affine = geometry.series_affine(AXIAL, (0.5, 0.25), (10, 20, 30), (0, 0, 2))
    # Row 2, column 4, slice 3: LPS x = 10 + 4 * 0.25, y = 20 + 2 * 0.5, z = 30 + 3 * 2; RAS negates x and y.
    np.testing.assert_allclose(affine @ [2, 4, 3, 1], [-11, -21, 36, 1], atol=1e-12)


def test_sagittal_slices_ascend_to_the_left_of_the_standing_plane() -> None:
    sagittal = (0, 1, 0, 0, 0, -1)
    np.testing.assert_allclose(geometry.slice_normal(sagittal), [-1, 0, 0])
    affine = geometry.series_affine(sagittal, (1, 1), (5, -10, 40), (-3, 0, 0))
    np.testing.assert_allclose(affine @ [1, 2, 1, 1], [-2, 8, 39, 1])


@settings(max_examples=60, deadline=None)
@given(
    orientation=orientations(),
    spacing=st.tuples(st.floats(0.05, 5), st.floats(0.05, 5)),
    position=st.tuples(*[st.floats(-500, 500)] * 3),
    step_mm=st.floats(0.1, 10),
)
def test_every_plane_lies_where_highdicom_puts_it(
    orientation: tuple[float, ...], spacing: tuple[float, float], position: tuple[float, ...], step_mm: float
) -> None:
    normal = geometry.slice_normal(orientation)
    affine = geometry.series_affine(orientation, spacing, position, normal * step_mm)
    pixels = np.asarray([[0, 0], [6, 0], [0, 8], [3, 5]])  # (column, row), as highdicom wants them
    for number in (0, 3):
        plane = np.add(position, number * step_mm * np.cross(orientation[:3], orientation[3:]))
        theirs = PixelToReferenceTransformer(plane.tolist(), orientation, spacing)(pixels)
        rows_columns = pixels[:, ::-1]
        ours = np.c_[rows_columns, np.full(4, number), np.ones(4)] @ affine.T
        np.testing.assert_allclose(ours[:, :3], theirs * [-1, -1, 1], atol=1e-6)


@given(numbers=st.lists(st.floats(-100, 100), min_size=16, max_size=16))
def test_lps_to_ras_twice_gives_the_affine_back(numbers: list[float]) -> None:
    affine = np.reshape(numbers, (4, 4))
    np.testing.assert_array_equal(geometry.lps_to_ras(geometry.lps_to_ras(affine)), affine)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (AXIAL, True),
        ((0.8, 0.6, 0, -0.6, 0.8, 0), True),
        ((0.8001, 0.6, 0, -0.6, 0.8, 0), True),
        ((0.9, 0, 0, 0, 1, 0), False),
        ((1, 0, 0, 0.1, 0.995, 0), False),
        ((0, 0, 0, 0, 0, 0), False),
    ],
    ids=["axial", "turned", "rounded", "short", "not at right angles", "zeros"],
)
def test_orthonormal_cosines_are_told_from_others(orientation: tuple[float, ...], expected: bool) -> None:
    assert geometry.is_orthonormal(orientation) is expected


@pytest.mark.parametrize(
    ("heights", "even", "missing"),
    [
        ([0, 2, 4, 6], True, ()),
        ([0, 2, 8, 10], False, (2, 3)),
        ([0, 2, 4, 8], False, (3,)),
        ([0, 4, 6], False, (1,)),
        ([0, 2, 5], False, ()),
        ([0, 2, 4.3, 6], False, ()),
        ([0, 1.25, 2.5, 3.8, 5], True, ()),
        ([0, 5], True, ()),
    ],
    ids=["even", "two gaps", "gap at the end", "gap at the start", "no grid", "displaced", "rounded", "two slices"],
)
def test_gaps_are_found_on_the_even_grid(heights: list[float], even: bool, missing: tuple[int, ...]) -> None:
    assert geometry.is_even(heights) is even
    assert geometry.missing_places(heights) == missing


@settings(max_examples=100, deadline=None)
@given(
    count=st.integers(4, 300),
    spacing=st.floats(0.3, 10),
    start=st.floats(-900, 900),
    data=st.data(),
)
def test_any_slices_left_out_are_found_in_spite_of_rounding(
    count: int, spacing: float, start: float, data: st.DataObject
) -> None:
    # Never the ends, which nobody can miss, and never all but every other, so that one step is left.
    gone = data.draw(st.sets(st.integers(2, count - 2), max_size=min(20, count // 4)))
    heights = np.asarray([round(start + i * spacing, 3) for i in range(count) if i not in gone])
    assert geometry.is_even(heights) is not bool(gone)
    if gone:
        assert geometry.missing_places(heights) == tuple(sorted(gone))


@pytest.mark.parametrize("angle_deg", [0.0, 5.0, 20.0, -20.0])
def test_tilt_is_the_angle_between_step_and_normal(angle_deg: float) -> None:
    step = np.asarray([0, 2 * np.tan(np.radians(angle_deg)), 2])
    positions = np.asarray([-100, -120, 30]) + np.outer(np.arange(7), step)
    shear, beside_mm = geometry.shear_per_mm(AXIAL, positions)
    assert geometry.tilt_deg(shear) == pytest.approx(abs(angle_deg))
    np.testing.assert_allclose(beside_mm, 0, atol=1e-9)


def test_a_slice_beside_the_line_is_found() -> None:
    positions = np.asarray([[0, 0, 0], [0, 0, 2], [1.5, 0, 4], [0, 0, 6]], float)
    np.testing.assert_allclose(geometry.shear_per_mm(AXIAL, positions)[1], [0, 0, 1.5, 0])
