"""Series are found below a folder wherever their files lie, and their results are named by no patient."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ImageError, MissingFileError
from pipeline.formats import MadeUpPatient, read_dicom_series, series_records, write_dicom_series


def write_series(folder: Path, series: int = 1) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    patient = MadeUpPatient("NAME-OF-PATIENT", 1, series, seed=str(folder))
    write_dicom_series(folder, np.zeros((4, 5, 3), np.int16), np.diag([-2.0, -2.0, 3.0, 1.0]), patient=patient)


def test_every_series_is_found_and_named_by_no_patient(tmp_path: Path) -> None:
    for name in ("b/s1", "a/s2", "a/s1", "a/s1/inner"):
        write_series(tmp_path / name)
    write_series(tmp_path / "other", 2)
    for path in (tmp_path / "other").iterdir():
        path.rename(tmp_path / "b" / "s1" / f"other-{path.name}")
    (tmp_path / "a" / "notes.txt").write_text("not DICOM")
    records = series_records(tmp_path)
    assert len(records) == 5
    for record in records:
        series = read_dicom_series(record["image"])
        assert series.voxels.shape == (4, 5, 3)
        digest = hashlib.sha256(series.series_uid.encode()).hexdigest()
        assert record["name"] == f"series-{digest[:12]}"
        assert (record["folder"], record["uid"]) == (str(tmp_path), series.series_uid)
    assert sorted(path for record in records for path in record["image"]) == sorted(map(str, tmp_path.rglob("*.dcm")))


def test_no_series_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not DICOM")
    with pytest.raises(ImageError, match="holds no DICOM images; expected those of one series or more"):
        series_records(tmp_path)
    with pytest.raises(MissingFileError):
        series_records(tmp_path / "nowhere")
