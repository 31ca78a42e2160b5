"""Objects of DICOM SEG that several files test, and what dciodvfy says of one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dicom_tools
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from pipeline.formats import (
    DicomSeries,
    SourceFrame,
    write_dicom_seg,
    write_dicom_series,
)

from .faulty_series import AXIAL as FAULTY_AFFINE
from .faulty_series import PLANTED, VOXELS, edit
from .generated_series import ORIENTATIONS, Geometry, make_series
from .seg_objects import ALGORITHM, SEGMENTS, label_map


@pytest.fixture(scope="session")
def dciodvfy() -> Callable[[Path], list[str]]:
    """Return what dciodvfy of dicom3tools says of a file. In CI it must be there."""
    return dicom_tools.dciodvfy


@pytest.fixture
def ge_series(real_data: Callable[[str], Path]) -> DicomSeries:
    """Three slices of a real CT with two real DICOM SEG objects, which dcmqi made and has read."""
    paths = sorted((real_data("dcmqi-ct-seg") / "ct-3slice").glob("*.dcm"))
    datasets = {path: pydicom.dcmread(path) for path in paths}
    paths.sort(key=lambda path: float(datasets[path].ImagePositionPatient[2]))
    voxels = np.stack([datasets[path].pixel_array for path in paths], 2)
    headers = tuple(pydicom.dcmread(path, stop_before_pixels=True) for path in paths)
    geometry = Geometry(
        (512, 512, 3), ORIENTATIONS["axial"], (0.810547, 0.810547), 1.0, headers[0].ImagePositionPatient
    )
    frames = tuple(
        SourceFrame(path, str(header.SOPInstanceUID), None) for path, header in zip(paths, headers, strict=True)
    )
    return DicomSeries(voxels, geometry.affine, headers, headers[0].SeriesInstanceUID, (), frames, None, {})


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, DicomSeries, NDArray[np.uint8]]:
    """A binary SEG of an oblique series, with the series and the masks; every frame holds something."""
    geometry = Geometry((9, 14, 4), ORIENTATIONS["oblique"])
    source = make_series(tmp_path, geometry)
    masks = label_map(geometry.shape, 8)
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS, algorithm=ALGORITHM)
    return tmp_path / "seg.dcm", source, masks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A series of six slices 2 mm apart, `00001.dcm` at the bottom, with identifiers that no message may quote."""
    folder = tmp_path / "series"
    for path in write_dicom_series(folder, VOXELS, FAULTY_AFFINE):
        edit(
            path,
            lambda d: d.update(
                dict(zip(("PatientName", "PatientID", "PatientBirthDate", "InstitutionName"), PLANTED, strict=True))
            ),
        )
    return folder
