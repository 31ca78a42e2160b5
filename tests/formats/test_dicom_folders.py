"""Finding series in folders: any depth, any name, with and without the DICOM prefix, several of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from pipeline.errors import ImageError
from pipeline.formats import MadeUpPatient, read_dicom_series, scan_dicom, write_dicom_series

AXIAL = np.array([[0, -0.8, 0, 30.5], [-0.7, 0, 0, 20.25], [0, 0, 2.5, -100], [0, 0, 0, 1]])
VOXELS = np.random.default_rng(0).integers(-1024, 3072, (7, 9, 6), dtype=np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "series"


def edit(path: Path, change: Callable[[pydicom.FileDataset], Any]) -> None:
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def test_folders_are_searched_and_other_files_counted(folder: Path) -> None:
    paths = write_dicom_series(folder, VOXELS, AXIAL)
    (folder / "deeper" / "still").mkdir(parents=True)
    for index, path in enumerate(paths[3:]):
        path.rename(folder / "deeper" / "still" / f"IM{index}")
    (folder / "notes.txt").write_text("nothing", encoding="utf-8")
    (folder / "picture").write_bytes(bytes(range(256)))
    # What macOS leaves beside each file on a disk of another system.
    (folder / "._00001.dcm").write_bytes(bytes.fromhex("00051607 00020000") + b"Mac OS X        ")
    for name in ("DICOMDIR", "liver_1frame.dcm", "test-SR.dcm", "rtdose.dcm"):
        source = Path(str(get_testdata_file(name)))
        (folder / f"renamed-{name}").write_bytes(source.read_bytes())
    series = read_dicom_series(folder)
    np.testing.assert_array_equal(series.voxels, VOXELS)
    assert series.skipped == {
        "Comprehensive SR Storage": 1,
        "DICOMDIR": 1,
        "RT Dose Storage": 1,
        "Segmentation Storage": 1,
        "not DICOM": 3,
    }


def test_files_without_the_dicom_prefix_are_read(folder: Path) -> None:
    for path in write_dicom_series(folder, VOXELS, AXIAL):
        dataset = pydicom.dcmread(path)
        bare = Dataset({element.tag: element for element in dataset})
        pydicom.dcmwrite(path, bare, implicit_vr=True, little_endian=True, enforce_file_format=False)
        assert path.read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)


def test_deflated_files_and_long_headers_are_read(folder: Path) -> None:
    first, second, *_ = write_dicom_series(folder, VOXELS, AXIAL)

    def deflate(dataset: pydicom.FileDataset) -> None:
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian

    def lengthen(dataset: pydicom.FileDataset) -> None:
        dataset.private_block(0x0009, "LONG", create=True).add_new(1, "OB", bytes(300_000))

    edit(first, deflate)
    edit(second, lengthen)
    np.testing.assert_array_equal(read_dicom_series(folder).voxels, VOXELS)


def test_several_series_are_listed_without_names_and_one_can_be_chosen(folder: Path) -> None:
    folder.mkdir()
    first, second = MadeUpPatient(seed="a", series=1), MadeUpPatient(seed="a", series=2)
    write_dicom_series(folder / "one", VOXELS, AXIAL, patient=first)
    for path in write_dicom_series(folder / "two", VOXELS[:5] + 0, AXIAL, patient=second):
        edit(path, lambda d: d.update({"SeriesDescription": "Secret^Thorax", "PatientName": "Planted^Name"}))
    with pytest.raises(ImageError, match="2 image series found; name one") as caught:
        read_dicom_series(folder)
    message = str(caught.value)
    assert "(CT, 6 slices, 7 × 9 px)" in message
    assert "(CT, 6 slices, 5 × 9 px)" in message
    assert "\n" not in message
    assert not {"Secret", "Planted", "PHANTOM"} & set(message.replace("^", " ").split())
    for patient, rows in ((first, 7), (second, 5)):
        uid = patient.uid("series", patient.series)
        assert uid in message
        series = read_dicom_series(folder, uid)
        assert series.series_uid == uid
        np.testing.assert_array_equal(series.voxels, VOXELS[:rows])
    with pytest.raises(ImageError, match=r"no image of series 1\.2\.3 found; there are: "):
        read_dicom_series(folder, "1.2.3")


def test_scan_keeps_headers_of_one_series_only(folder: Path) -> None:
    folder.mkdir()
    patients = [MadeUpPatient(seed="a", series=number) for number in (1, 2)]
    for patient in patients:
        write_dicom_series(folder / str(patient.series), VOXELS, AXIAL, patient=patient)
    found = scan_dicom(folder)
    assert found.files == ()
    assert {listing.uid for listing in found.series} == {p.uid("series", p.series) for p in patients}
    chosen = scan_dicom(folder, patients[1].uid("series", 2)).files
    assert [file.path.parent.name for file in chosen] == ["2"] * 6
