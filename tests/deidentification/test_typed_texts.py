"""What people type where the profile does not look: numbers that are ids, UIDs with names, codes, labels."""

from __future__ import annotations

import copy
from typing import Any

import pydicom
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pipeline.deidentification import (
    DeidentificationKey,
    DeidentificationOptions,
    DeidentifiedInstance,
    deidentify_dataset,
)
from pipeline.formats.quiet_dicom import quiet_dicom

KEY = DeidentificationKey(b"k" * 32)


def _instance(**values: Any) -> FileDataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, "1.2.3.4.5.6.7"
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = "Wolpertinger^Alois", "4711123", "19610312"
    dataset.AccessionNumber, dataset.StudyID, dataset.StudyDate = "88776655", "2207", "20190412"
    with pydicom.config.disable_value_validation():
        for keyword, value in values.items():
            if keyword in dataset:
                del dataset[keyword]
            setattr(dataset, keyword, value)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return FileDataset("", dataset, file_meta=meta)


def _run(source: FileDataset, options: DeidentificationOptions | None = None) -> DeidentifiedInstance:
    with quiet_dicom():
        before = copy.deepcopy(source)
        run = deidentify_dataset(source, KEY, options or DeidentificationOptions())
        assert source == before
    return run


def _item(**values: Any) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("SeriesNumber", 4711123),
        ("AcquisitionNumber", 88776655),
        ("InstanceNumber", 19610312),
        ("InstanceNumber", 2207),
        ("InstanceNumber", 471112301),
        ("WindowCenter", "19610312"),
        ("WindowCenter", "-19610312.0"),
        ("RealWorldValueSlope", 19610312.0),
    ],
)
def test_numbers_that_are_ids_or_dates_are_cleared(keyword: str, value: Any) -> None:
    run = _run(_instance(**{keyword: value}))
    assert run.dataset[keyword].value == 0
    assert run.repeated_identifiers == 1


def test_other_numbers_stay_and_so_does_how_many_there_are() -> None:
    values = {
        **{"Rows": 2207, "Columns": 4711, "InstanceNumber": 220, "ExposureTime": 2207, "SeriesNumber": 471112},
        **{"RescaleIntercept": "-1024", "PixelSpacing": ["0.47111230", "0.7"], "RealWorldValueSlope": float("inf")},
    }
    run = _run(_instance(**values))
    for keyword, value in values.items():
        assert run.dataset[keyword].value == value
    assert run.repeated_identifiers == 0
    assert _run(_instance(WindowCenter=["40", "4711123"])).dataset.WindowCenter == [40, 0]


def test_names_in_the_bytes_of_a_tag_are_removed() -> None:
    source = _instance()
    source[0x00280009] = RawDataElement(Tag(0x00280009), "AT", 12, b"Wolpertinger", 0, False, True)
    assert "FrameIncrementPointer" not in _run(source).dataset
    assert _run(_instance(FrameIncrementPointer=0x00181063)).dataset.FrameIncrementPointer == 0x00181063


@pytest.mark.parametrize("uid", ["Wolpertinger.1", "1.2.4711123.5", "1.2.19610312", "1.2.994711123001", "1.02.3"])
@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "StudyInstanceUID", "SOPInstanceUID", "ConcatenationUID"])
def test_retained_uids_are_uids_without_the_patient(keyword: str, uid: str) -> None:
    options = DeidentificationOptions(retain_uids=True)
    assert _run(_instance(**{keyword: uid}), options).dataset[keyword].value == KEY.uid(uid)
    # Days of studies and accession numbers stand in many UIDs, and the option keeps them.
    kept = "1.3.12.2.1107.5.1.4.60064.20190412.88776655"
    run = _run(_instance(DeviceSerialNumber="60064", **{keyword: kept}), options)
    assert run.dataset[keyword].value == kept


def test_a_birth_date_is_looked_for_also_where_dates_are_kept() -> None:
    source = _instance(Manufacturer="made 19610312", ManufacturerModelName="of 20190412")
    new = _run(source, DeidentificationOptions(dates="full")).dataset
    assert (new.Manufacturer, new.ManufacturerModelName) == ("REMOVED", "of 20190412")


def test_a_statement_of_before_says_the_words_of_the_standard_and_no_others() -> None:
    lasting = {"113101", "113102"}
    stated = [_item(CodeValue=code, CodingSchemeDesignator="DCM", CodeMeaning="by Seltsam") for code in sorted(lasting)]
    source = _instance(DeidentificationMethodCodeSequence=Sequence(stated), PatientIdentityRemoved="NO")
    new = _run(source).dataset
    named = {concept.value: concept.meaning for concept in codes.CID7050.concepts.values()}
    ours = {item.CodeValue: item.CodeMeaning for item in new.DeidentificationMethodCodeSequence}
    assert ours == {code: named[code] for code in ("113100", *lasting)}


@pytest.mark.parametrize(
    ("code", "cleaned"),
    [
        (("10200004", "SCT", "Leber von Frau Seltsam"), ("10200004", "SCT", "Liver")),
        (("T-62000", "SRT", "liver of Seltsam"), ("T-62000", "SRT", "liver of")),
        (("X1", "99UKE", "Knie von Frau Seltsam"), ("REMOVED", "99REMOVED", "REMOVED")),
        (("Seltsam", "SCT", "Seltsam"), ("REMOVED", "SCT", "REMOVED")),
        (("4711123", "SCT", "Seltsam"), ("REMOVED", "SCT", "REMOVED")),
        (("seltsam1", None, "Seltsam"), ("REMOVED", None, "REMOVED")),
        (
            ("10200004", "SCT", "Liver structure (body structure)"),
            ("10200004", "SCT", "Liver structure (body structure)"),
        ),
        (("{counts}", "UCUM", "Seltsam"), ("{counts}", "UCUM", "Counts")),
        (("mm", "UCUM", "millimeter"), ("mm", "UCUM", "mm")),
    ],
)
def test_codes_keep_what_anyone_can_look_up(code: tuple[str, str | None, str], cleaned: Any) -> None:
    item = _item(CodeValue=code[0], CodeMeaning=code[2])
    if code[1]:
        item.CodingSchemeDesignator = code[1]
    inner = copy.deepcopy(item)
    item.AnatomicRegionModifierSequence = Sequence([inner])
    new = _run(_instance(AnatomicRegionSequence=Sequence([item]))).dataset.AnatomicRegionSequence[0]
    for found in (new, new.AnatomicRegionModifierSequence[0]):
        assert (found.CodeValue, found.get("CodingSchemeDesignator"), found.CodeMeaning) == cleaned


@pytest.mark.parametrize(
    ("keyword", "text", "cleaned"),
    [
        ("SegmentLabel", "Frau Seltsam", "REMOVED"),
        ("SegmentLabel", "Liver of Seltsam", "Liver of"),
        ("SegmentDescription", "tumor, seen by Dr. Seltsam", "tumor"),
        ("ContentLabel", "SELTSAM", "REMOVED"),
        ("ContentLabel", "LIVER_SELTSAM", "LIVER"),
        ("ContentDescription", "by Seltsam", "REMOVED"),
        ("TrackingID", "T-Seltsam", "REMOVED"),
        ("WindowCenterWidthExplanation", ["soft tissue", "Seltsam"], ["soft tissue", "REMOVED"]),
        ("TextValue", "Seltsam was here", "REMOVED"),
        ("SegmentLabel", "Wolpertinger lung", "lung"),
    ],
)
def test_of_labels_known_words_stay(keyword: str, text: Any, cleaned: Any) -> None:
    values = {keyword: text}
    source = _instance(**values, SegmentSequence=Sequence([_item(**values)]))
    new = _run(source).dataset
    assert new[keyword].value == new.SegmentSequence[0][keyword].value == cleaned
