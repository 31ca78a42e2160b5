"""A series of another modality, or in other units, than it is read for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from monai.transforms import LoadImaged
from pydicom.data import get_testdata_file

from pipeline.errors import ImageError
from pipeline.formats import (
    DicomSeriesReader,
    ExpectedSeries,
    expected_series,
    read_dicom_series,
    without_file_names,
    write_dicom_series,
)

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
VOXELS = np.arange(60, dtype=np.int16).reshape(4, 5, 3)


def real_mr() -> Path:
    """A slice of a real MR, which pydicom ships."""
    return Path(str(get_testdata_file("MR_small.dcm")))


def edited(folder: Path, **values: Any) -> Path:
    """Write a CT series with other values in its headers; None removes an element."""
    for path in write_dicom_series(folder, VOXELS, AFFINE):
        dataset = pydicom.dcmread(path)
        for name, value in values.items():
            if value is None:
                del dataset[name]
            else:
                setattr(dataset, name, value)
        dataset.save_as(path)
    return folder


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"modality": "CT", "format": "hounsfield"}, ("CT", "HU")),
        ({"modality": "ct", "format": "Hounsfield"}, ("CT", "HU")),
        ({"modality": "MRI", "format": "magnitude"}, ("MR", None)),
        ({"modality": "PET", "format": "segmentation"}, ("PT", None)),
        ({"modality": "n/a", "format": "image"}, (None, None)),
        ({"modality": "EM"}, (None, None)),
        ({"modality": 3, "format": ["hounsfield"]}, (None, None)),
        ({}, (None, None)),
    ],
    ids=["CT", "small letters", "MRI", "PET", "n/a", "none of DICOM", "no texts", "nothing"],
)
def test_what_metadata_say_of_the_input(image: dict[str, Any], expected: tuple[str | None, str | None]) -> None:
    assert expected_series(image) == expected


def test_a_real_mr_is_no_ct_and_real_ct_is_no_mr(real_data: Callable[[str], Path]) -> None:
    with pytest.raises(ImageError, match=r"the series is MR; expected CT, .* or allow the repair 'modality'"):
        read_dicom_series(real_mr(), modality="CT")
    for name in ("totalseg-ct-dicom/example_ct_dicom", "dcmqi-ct-seg/ct-3slice"):
        data_set, _, folder = name.partition("/")
        path = real_data(data_set) / folder
        with pytest.raises(ImageError, match="the series is CT; expected MR, which the bundle was made for"):
            read_dicom_series(path, modality="MR")
        assert read_dicom_series(path, modality="ct", units="hu").repairs == ()


def test_another_modality_that_is_allowed_is_recorded_and_units_are_another_matter() -> None:
    with pytest.raises(ImageError, match=r"are in no units that it states; expected HU, .* the repair 'units'"):
        read_dicom_series(real_mr(), modality="CT", units="HU", allow=["modality"])
    series = read_dicom_series(real_mr(), modality="CT", units="HU", allow=["modality", "units"])
    assert series.repairs == ("modality: MR taken where CT is expected", "units: values in unknown units taken for HU")
    assert [without_file_names(repair) for repair in series.repairs] == list(series.repairs)
    np.testing.assert_array_equal(series.voxels, read_dicom_series(real_mr()).voxels)


def test_what_is_allowed_and_does_not_occur_is_no_repair(tmp_path: Path) -> None:
    folder = edited(tmp_path / "ct")
    assert read_dicom_series(folder, modality="CT", units="HU", allow=["modality", "units"]).repairs == ()


def test_a_series_that_states_no_modality_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="the series is of no stated modality; expected CT"):
        read_dicom_series(edited(tmp_path / "ct", Modality=""), modality="CT")


def test_ct_without_rescale_is_in_no_units_whatever_is_assumed(tmp_path: Path) -> None:
    folder = edited(tmp_path / "ct", RescaleSlope=None, RescaleIntercept=None, RescaleType=None)
    with pytest.raises(ImageError, match="without Rescale Slope and Rescale Intercept"):
        read_dicom_series(folder, modality="CT", units="HU", allow=["units"])
    with pytest.raises(ImageError, match="are in no units that it states; expected HU"):
        read_dicom_series(folder, modality="CT", units="HU", allow=["rescale"])
    series = read_dicom_series(folder, modality="CT", units="HU", allow=["rescale", "units"])
    assert [repair.partition(":")[0] for repair in series.repairs] == ["rescale", "units"]
    assert series.units is None


def test_ct_in_other_units_is_refused_and_the_text_of_the_header_stays_out_of_records(tmp_path: Path) -> None:
    folder = edited(tmp_path / "ct", RescaleType="US")
    with pytest.raises(ImageError, match="are in US; expected HU"):
        read_dicom_series(folder, modality="CT", units="HU")
    repairs = read_dicom_series(folder, modality="CT", units="HU", allow=["units"]).repairs
    assert repairs == ("units: values in other units taken for HU",)


def test_the_reader_refuses_as_the_function_does(tmp_path: Path) -> None:
    reader = DicomSeriesReader(modality="CT", units="HU")
    assert reader.expected == ExpectedSeries("CT", "HU")
    with pytest.raises(ImageError, match="the series is MR; expected CT"):
        reader.get_data(reader.read(real_mr()))
    allowing = DicomSeriesReader(allow=["modality", "units"], modality="CT", units="HU")
    image = LoadImaged("image", reader=allowing)({"image": str(real_mr())})["image"]
    assert image.meta["repairs"].startswith("modality: MR taken where CT is expected; units: ")
    folder = edited(tmp_path / "ct")
    files = sorted(folder.iterdir())
    assert reader.get_data(reader.read(files))[0].shape == VOXELS.shape
