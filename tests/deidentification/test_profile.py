"""The table of the confidentiality profile against dicom-anonymizer's, and the types against highdicom's."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import pytest
from dicomanonymizer.dicom_anonymization_databases import dicomfields_2026c
from pydicom.datadict import tag_for_keyword

from pipeline.deidentification.profile import confidentiality_profile, is_graphics_group

PROFILE = confidentiality_profile()
CODES = {
    **{"D_TAGS": "D", "Z_TAGS": "Z", "X_TAGS": "X", "U_TAGS": "U", "Z_D_TAGS": "Z/D", "X_Z_TAGS": "X/Z"},
    **{"X_D_TAGS": "X/D", "X_Z_D_TAGS": "X/Z/D", "X_Z_U_STAR_TAGS": "X/Z/U*"},
}
CT, ENHANCED_CT, SEG = (f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "66.4"))


def test_the_basic_profile_is_that_of_dicom_anonymizer() -> None:
    theirs = {
        f"{tag[0]:04x}{tag[1]:04x}": code
        for name, code in CODES.items()
        for tag in getattr(dicomfields_2026c, name)
        if len(tag) == 2
    }
    ours = {tag: row["basic"] for tag, row in PROFILE.rows.items()}
    # Dose Calculation Model Name came with 2026d, one edition after theirs.
    assert ours == theirs | {"3004007f": "X"}
    assert len(ours) == 653


def test_curves_and_overlays_are_the_repeating_groups_of_dicom_anonymizer() -> None:
    masks = [tag for name in CODES for tag in getattr(dicomfields_2026c, name) if len(tag) == 4]
    assert {group for group, *_ in masks} == {0x5000, 0x6000}
    assert all(is_graphics_group(group << 16 | 0x3000) for group in (0x5000, 0x50FE, 0x6000, 0x60FE))
    assert not any(
        is_graphics_group(group << 16 | 0x3000) for group in (0x5001, 0x5100, 0x5400, 0x0060, 0x6100, 0x7FE0)
    )


# Read from PS3.15 Table E.1-1: one or more rows for each column that is used, and the rows that several columns share.
@pytest.mark.parametrize(
    ("keyword", "basic", "options"),
    [
        ("PatientName", "Z", {}),
        ("PatientBirthDate", "Z", {}),
        ("StudyInstanceUID", "U", {"retain_uids": "K"}),
        ("SourceImageSequence", "X/Z/U*", {"retain_uids": "K"}),
        ("DeviceUID", "U", {"retain_uids": "K", "retain_device_identity": "K"}),
        ("DigitalSignatureUID", "U", {}),
        (
            "AcquisitionDateTime",
            "X/Z/D",
            {"retain_longitudinal_full_dates": "K", "retain_longitudinal_modified_dates": "C"},
        ),
        ("ProtocolName", "X/D", {"clean_descriptors": "C"}),
        ("Allergies", "X", {"retain_patient_characteristics": "C", "clean_descriptors": "C"}),
    ],
)
def test_rows_are_those_of_the_standard(keyword: str, basic: str, options: dict[str, str]) -> None:
    row = dict(PROFILE.rows[f"{tag_for_keyword(keyword):08x}"])
    del row["name"]
    assert row == {"basic": basic, **options}


def test_types_are_those_of_highdicom() -> None:
    folder = Path(highdicom.__file__).parent / "_standard"
    classes, modules, attributes = (
        json.loads((folder / f"{name}.json").read_text())
        for name in ("sop_class_iod_map", "iod_module_map", "module_attribute_map")
    )
    compound = {int(tag, 16): f"{tag}" for tag, row in PROFILE.rows.items() if "/" in row["basic"]}
    checked = 0
    for sop_class, types in PROFILE.types.items():
        expected: dict[str, str] = {}
        for module in modules[classes[sop_class]]:
            for attribute in attributes.get(module["key"], []):
                tag = compound.get(tag_for_keyword(attribute["keyword"]) or 0)
                if tag is not None and not attribute["path"] and attribute["type"][0] in "12":
                    expected[tag] = min(expected.get(tag, "2"), attribute["type"][0])
        for kind in "12":
            assert sorted(types[kind]) == sorted(tag for tag, value in expected.items() if value == kind), sop_class
        checked += len(expected)
    assert len(PROFILE.types) == 66
    assert checked > 400


@pytest.mark.parametrize(
    ("keyword", "sop_class", "action"),
    [
        # PS3.3: Content Date is type 2C in the General Image module, and type 1 in multi-frame ones.
        ("ContentDate", CT, "Z"),
        ("ContentDate", SEG, "D"),
        # Series Date is type 3 in the General Series module; Acquisition DateTime 1C in the Enhanced CT Image module.
        ("SeriesDate", CT, "X"),
        ("AcquisitionDateTime", CT, "X"),
        ("AcquisitionDateTime", ENHANCED_CT, "D"),
        ("DeviceSerialNumber", CT, "X"),
        ("DeviceSerialNumber", SEG, "D"),
        # Within sequences, and in classes that are not known, an attribute counts as required where it ever is.
        ("SeriesDate", None, "D"),
        ("AcquisitionDate", None, "Z"),
        ("SeriesDate", "1.2.840.10008.5.1.4.1.1.9999", "D"),
        ("SourceImageSequence", CT, "U"),
        ("PatientName", CT, "Z"),
        ("OtherPatientIDs", CT, "X"),
    ],
)
def test_compound_actions_follow_the_type_of_the_attribute(keyword: str, sop_class: str | None, action: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    assert PROFILE.action(tag, "LO", (), sop_class) == action
