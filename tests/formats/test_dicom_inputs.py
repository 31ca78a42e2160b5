"""Series are found below a folder, each in one of its own, and their masks are named by where they lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import ImageError, MissingFileError, OutputError
from pipeline.formats import MadeUpPatient, plan_series_masks, series_records, write_dicom_series


def write_series(folder: Path, series: int = 1) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    patient = MadeUpPatient("NAME-OF-PATIENT", 1, series, seed=str(folder))
    write_dicom_series(folder, np.zeros((4, 5, 3), np.int16), np.diag([-2.0, -2.0, 3.0, 1.0]), patient=patient)


def test_each_series_is_named_by_its_folder_and_not_by_its_patient(tmp_path: Path) -> None:
    for name in ("b/s1", "a/s2", "a/s1"):
        write_series(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("not DICOM")
    records = series_records(tmp_path)
    assert [record["name"] for record in records] == ["a_s1", "a_s2", "b_s1"]
    assert [record["image"] for record in records] == [str(tmp_path / name) for name in ("a/s1", "a/s2", "b/s1")]
    assert all(record["source"] == record["image"] for record in records)


def test_the_folder_of_one_series_is_named_as_itself(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    assert [record["name"] for record in series_records(tmp_path / "series")] == ["series"]


def test_two_series_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "mixed")
    write_series(tmp_path / "other", 2)
    for path in (tmp_path / "other").iterdir():
        path.rename(tmp_path / "mixed" / f"other-{path.name}")
    with pytest.raises(ImageError, match=r"mixed holds 2 image series .*; expected a folder for each") as caught:
        series_records(tmp_path)
    assert "NAME-OF-PATIENT" not in str(caught.value)


def test_a_series_below_the_folder_of_another_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "a" / "inner")
    with pytest.raises(ImageError, match="a holds 2 image series"):
        series_records(tmp_path)


def test_no_series_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not DICOM")
    with pytest.raises(ImageError, match="holds no DICOM images; expected a folder with a series"):
        series_records(tmp_path)
    with pytest.raises(MissingFileError):
        series_records(tmp_path / "nowhere")


def test_masks_are_planned_before_the_first_is_written(tmp_path: Path) -> None:
    records = [{"image": "a", "source": "a", "name": "a"}, {"image": "b", "source": "b", "name": "b"}]
    out = tmp_path / "masks"
    assert plan_series_masks(records, out, "nifti") == {"a": out / "a_mask.nii.gz", "b": out / "b_mask.nii.gz"}
    assert plan_series_masks(records, out, "dicom-seg")["a"] == out / "a_seg.dcm"
    out.mkdir()
    (out / "b_seg.dcm").touch()
    with pytest.raises(OutputError, match=r"b_seg\.dcm already exists; pass --force"):
        plan_series_masks(records, out, "dicom-seg")
    assert plan_series_masks(records, out, "dicom-seg", overwrite=True)["b"] == out / "b_seg.dcm"
    with pytest.raises(OutputError, match="two series would both write"):
        plan_series_masks([records[0], {**records[1], "name": "a"}], out, "nifti")
    with pytest.raises(OutputError, match="lies in the series"):
        plan_series_masks([{"image": "", "source": str(tmp_path), "name": "a"}], out, "nifti")
    with pytest.raises(OutputError, match="is a file; name a folder"):
        plan_series_masks(records, out / "b_seg.dcm", "nifti")
