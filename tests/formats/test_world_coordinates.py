"""One place in the world for each voxel: DICOM series, NIfTI, and ITK's reading of both, over random geometries."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import itk
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from pipeline.formats import read_dicom_series, read_nifti, write_dicom_series, write_nifti

PLANES = {  # where columns, rows and slices run, in RAS
    "axial": [[0, -1, 0], [-1, 0, 0], [0, 0, 1]],
    "sagittal": [[0, 0, -1], [0, 1, 0], [1, 0, 0]],
    "coronal": [[0, 0, -1], [-1, 0, 0], [0, 1, 0]],
}


def drawn_affine(plane: str, spacing_mm: list[float], flips: list[int], origin_mm: list[float], turn: int) -> Any:
    directions = np.array(PLANES.get(plane, PLANES["axial"]), float).T
    if plane == "oblique":
        directions = Rotation.random(rng=np.random.default_rng(turn)).as_matrix() @ directions
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(flips) * spacing_mm
    affine[:3, 3] = origin_mm
    return affine


def places(voxels: NDArray[Any], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return RAS mm of the voxels in the order of their values, which are all different."""
    order = np.argsort(voxels, axis=None)
    index = np.stack(np.unravel_index(order, voxels.shape))
    return (affine[:3, :3] @ index + affine[:3, 3:]).T


def read_by_itk(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the voxels (x, y, z) as ITK reads a file or a folder of slices, and its affine in RAS."""
    if path.is_dir():
        names = itk.GDCMSeriesFileNames.New()
        names.SetDirectory(os.fspath(path))
        image = itk.imread(names.GetFileNames(names.GetSeriesUIDs()[0]), pixel_type=itk.SS)
    else:
        image = itk.imread(os.fspath(path), pixel_type=itk.SS)
    lps = np.eye(4)
    lps[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.array(image.GetSpacing())
    lps[:3, 3] = np.array(image.GetOrigin())
    return itk.array_from_image(image).T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


@pytest.mark.parametrize("plane", [*PLANES, "oblique"])
@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(2, 7), st.integers(2, 7), st.integers(2, 6)),
    spacing_mm=st.lists(st.integers(300, 5000).map(lambda micron: micron / 1000), min_size=3, max_size=3),
    flips=st.lists(st.sampled_from([-1, 1]), min_size=3, max_size=3),
    origin_mm=st.lists(st.integers(-300_000, 300_000).map(lambda micron: micron / 1000), min_size=3, max_size=3),
    turn=st.integers(0, 10_000),
)
def test_every_reader_puts_every_voxel_at_one_place(
    plane: str,
    shape: tuple[int, int, int],
    spacing_mm: list[float],
    flips: list[int],
    origin_mm: list[float],
    turn: int,
) -> None:
    affine = drawn_affine(plane, spacing_mm, flips, origin_mm, turn)
    voxels = np.random.default_rng(turn).permutation(np.prod(shape)).reshape(shape).astype(np.int16) - 100
    expected = places(voxels, affine)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_dicom_series(folder / "series", voxels, affine)
        series = read_dicom_series(folder / "series")
        write_nifti(folder / "volume.nii.gz", series.voxels, series.affine)
        image = read_nifti(folder / "volume.nii.gz")
        found = {
            "series": (series.voxels, series.affine),
            "NIfTI": (image.voxels, image.affine),
            "ITK of the series": read_by_itk(folder / "series"),
            "ITK of the NIfTI": read_by_itk(folder / "volume.nii.gz"),
        }
    for reader, (values, grid) in found.items():
        np.testing.assert_array_equal(np.sort(values, axis=None), np.sort(voxels, axis=None), err_msg=reader)
        np.testing.assert_allclose(places(values, grid), expected, atol=2e-3, err_msg=reader)
