"""What a DICOM SEG says beside its pixels: references, codes, names; and what of it may be said nowhere else."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.uid import CTImageStorage, MRImageStorage

from pipeline.errors import ImageError, LabelError, OutputError
from pipeline.formats import (
    read_dicom_seg,
    write_dicom_seg,
)

from .generated_series import ORIENTATIONS, Geometry, make_series
from .seg_objects import ALGORITHM, AXIAL, DIGEST, GRID, SEGMENTS, label_map


def test_the_object_refers_to_its_source_and_is_new(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 4), ORIENTATIONS["sagittal"])
    source = make_series(tmp_path, geometry)
    masks = label_map(geometry.shape, 0)
    datasets = []
    for name in ("a.dcm", "b.dcm"):
        write_dicom_seg(tmp_path / name, masks, source, SEGMENTS, algorithm=ALGORITHM)
        datasets.append(pydicom.dcmread(tmp_path / name))
    header, dataset = source.headers[0], datasets[0]
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientName", "PatientID", "PatientBirthDate"):
        assert dataset[keyword].value == header[keyword].value
    for keyword in ("PatientSex", "StudyID", "StudyDate", "StudyTime", "StudyDescription", "AccessionNumber"):
        assert dataset[keyword].value == header[keyword].value
    assert "InstitutionName" not in dataset  # of the equipment that made the images, not of the patient or study
    assert [item.ManufacturerModelName for item in dataset.ContributingEquipmentSequence] == ["highdicom"]
    assert (dataset.Modality, dataset.Manufacturer, dataset.SoftwareVersions) == ("SEG", "unet-pipeline", "0.1.0")
    uids = {str(each[keyword].value) for each in datasets for keyword in ("SeriesInstanceUID", "SOPInstanceUID")}
    assert len(uids | {source.series_uid}) == 5
    (series,) = dataset.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == source.series_uid
    instances = {
        (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in series.ReferencedInstanceSequence
    }
    assert instances == {(CTImageStorage, uid) for _, uid, _ in source.frames}
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (3.0, 2.5)


def test_segments_and_algorithm_are_coded(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=ALGORITHM)
    items = pydicom.dcmread(tmp_path / "seg.dcm").SegmentSequence
    kidney = items[1]
    (category,), (kind,) = kidney.SegmentedPropertyCategoryCodeSequence, kidney.SegmentedPropertyTypeCodeSequence
    (side,) = kind.SegmentedPropertyTypeModifierCodeSequence
    coded = [(code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning) for code in (category, kind, side)]
    assert coded == [("SCT", "123037004", "Body structure"), ("SCT", "64033007", "Kidney"), ("SCT", "7771000", "Left")]
    assert [item.SegmentAlgorithmType for item in items] == ["AUTOMATIC"] * 3
    (made,) = kidney.SegmentationAlgorithmIdentificationSequence
    assert (made.AlgorithmName, made.AlgorithmVersion) == ("phantom_ct_segmentation", "0.1.2")
    assert made.AlgorithmParameters == f"weights_sha256={DIGEST}"
    assert made.AlgorithmFamilyCodeSequence[0].CodeMeaning == "Artificial Intelligence"
    # (220, 60, 20) in CIELab with the white point D65 is (48.3, 60.5, 56.9); PS3.3, C.10.7.1.1 says how it is stored.
    stored = np.array(items[0].RecommendedDisplayCIELabValue) / 65535 * [100, 255, 255] - [0, 128, 128]
    np.testing.assert_allclose(stored, [48.3, 60.5, 56.9], atol=3)


def test_what_is_drawn_by_hand_says_so(tmp_path: Path, dciodvfy: Callable[[Path], list[str]]) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=None)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    item = dataset.SegmentSequence[0]
    assert dataset.ContentCreatorName == ""  # must be there, and names nobody
    assert item.SegmentAlgorithmType == "MANUAL"
    assert "SegmentationAlgorithmIdentificationSequence" not in item
    assert dciodvfy(tmp_path / "seg.dcm") == ["Segmentation"]


@pytest.mark.parametrize("name", ["chrH31.dcm", "chrGreek.dcm", "chrX1.dcm", "chrKoreanMulti.dcm"])
def test_names_in_other_scripts_stay_as_they_are(tmp_path: Path, name: str) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    named = pydicom.dcmread(get_charset_files(name)[0])
    headers = copy.deepcopy(source.headers)
    for header in headers:
        header.SpecificCharacterSet, header.PatientName = named.SpecificCharacterSet, named.PatientName
    source = replace(source, headers=headers)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=ALGORITHM)
    assert pydicom.dcmread(tmp_path / "seg.dcm").PatientName == named.PatientName


def test_nothing_of_the_patient_reaches_logs_warnings_or_messages(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The planted values break the standard, which pydicom and highdicom would complain about, with the value."""
    planted = {
        "PatientName": "Planted Name",
        "PatientID": "planted-id-" + "9" * 60,
        "PatientBirthDate": "about 1970-planted",
        "PatientSex": "planted-sex",
        "StudyDate": "planted-date",
        "StudyTime": "planted-time",
        "StudyID": "planted study id that is too long",
        "AccessionNumber": "planted accession number",
        "InstitutionName": "Planted Hospital",
        "PatientAge": "planted age",
    }
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    headers = copy.deepcopy(source.headers)
    with pydicom.config.disable_value_validation():
        for header in headers:
            header.SpecificCharacterSet = "ISO_IR 100"
            for keyword, value in planted.items():
                setattr(header, keyword, value)
    for index, header in enumerate(headers):  # written and read, so that values are as raw as in a file
        with pydicom.config.disable_value_validation():
            header.save_as(tmp_path / f"raw{index}.dcm")
    headers = tuple(pydicom.dcmread(tmp_path / f"raw{index}.dcm") for index in range(len(headers)))
    source = replace(source, headers=headers)
    path, masks = tmp_path / "seg.dcm", label_map(geometry.shape, 0)
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
        read_dicom_seg(path, source)
        with pytest.raises(LabelError) as refusal:
            write_dicom_seg(path, masks + 9, source, SEGMENTS, algorithm=ALGORITHM, overwrite=True)
    assert not caught
    assert not caplog.records
    said = caplog.text + "".join(capfd.readouterr()) + str(refusal.value)
    assert not [value for value in planted.values() if value.lower() in said.lower()]
    assert header.StudyInstanceUID not in said
    with pydicom.config.disable_value_validation():
        stored = pydicom.dcmread(path)
        assert {keyword: str(stored[keyword].value) for keyword in planted if keyword in stored} == {
            keyword: value for keyword, value in planted.items() if keyword != "InstitutionName"
        }


def test_source_and_masks_are_left_as_they_were(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 3), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    masks = label_map(geometry.shape, 0)
    before = copy.deepcopy(source), masks.copy(), {path: path.read_bytes() for path in tmp_path.iterdir()}
    masks.flags.writeable = False
    write_dicom_seg(tmp_path / "seg.dcm", masks, source, SEGMENTS, algorithm=ALGORITHM)
    assert source.headers == before[0].headers
    np.testing.assert_array_equal(source.voxels, before[0].voxels)
    np.testing.assert_array_equal(masks, before[1])
    assert {path: path.read_bytes() for path in before[2]} == before[2]


def test_logging_of_highdicom_elsewhere_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(geometry.shape, int), source, SEGMENTS, algorithm=ALGORITHM)
    logging.getLogger("highdicom.base").warning("still heard")
    assert [record.message for record in caplog.records] == ["still heard"]


def test_an_existing_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    geometry = Geometry((8, 9, 2), ORIENTATIONS["axial"])
    source = make_series(tmp_path, geometry)
    path, masks = tmp_path / "seg.dcm", np.ones(geometry.shape, int)
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    first = path.read_bytes()
    with pytest.raises(OutputError, match=r"seg\.dcm already exists; pass --force"):
        write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM)
    assert path.read_bytes() == first
    write_dicom_seg(path, masks, source, SEGMENTS, algorithm=ALGORITHM, overwrite=True)
    assert path.read_bytes() != first


def test_numbers_with_too_many_digits_are_shortened(tmp_path: Path, dciodvfy: Callable[[Path], list[str]]) -> None:
    """Sloppy exporters write decimal strings of more than the 16 characters that are allowed."""
    source = make_series(tmp_path, AXIAL)
    headers = copy.deepcopy(source.headers)
    with pydicom.config.disable_value_validation():
        for header in headers:
            header.ImagePositionPatient = [f"{float(value):.15f}" for value in header.ImagePositionPatient]
            header.PixelSpacing = ["0.700000000000000000", "1.100000000000000000"]
            del header.SliceThickness
        source = replace(source, headers=headers)
        write_dicom_seg(tmp_path / "seg.dcm", np.ones(GRID, int), source, SEGMENTS, algorithm=ALGORITHM)
    assert dciodvfy(tmp_path / "seg.dcm") == ["Segmentation"]


def test_the_class_of_the_source_may_stand_in_the_meta_information_alone(tmp_path: Path) -> None:
    source = make_series(tmp_path, AXIAL, "MR")
    headers = copy.deepcopy(source.headers)
    for header in headers:
        header.SOPClassUID = ""
    source = replace(source, headers=headers)
    write_dicom_seg(tmp_path / "seg.dcm", np.ones(GRID, int), source, SEGMENTS, algorithm=ALGORITHM)
    dataset = pydicom.dcmread(tmp_path / "seg.dcm")
    assert {item.ReferencedSOPClassUID for item in dataset.SourceImageSequence} == {MRImageStorage}
    for header in headers:
        header.file_meta.MediaStorageSOPClassUID = ""
    with pytest.raises(ImageError, match="has no SOPClassUID, and a DICOM SEG must refer"):
        write_dicom_seg(tmp_path / "b.dcm", np.ones(GRID, int), source, SEGMENTS, algorithm=ALGORITHM)
