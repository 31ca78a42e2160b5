"""Real files: segmentations and series stay valid and whole, and what identifies is gone from all shipped files."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_store
import pydicom
import pytest
from dicom_tools import run_tool
from identifier_scan import IdentifierScan
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_has_tag
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage

from pipeline.deidentification import (
    DeidentificationCounts,
    DeidentificationKey,
    DeidentificationOptions,
    DeidentificationPlan,
    deidentify_folder,
)
from pipeline.deidentification.profile import confidentiality_profile, is_graphics_group
from pipeline.errors import ImageError
from pipeline.formats.quiet_dicom import quiet_dicom

KEY = DeidentificationKey(b"k" * 32)
ALL_OPTIONS = [
    DeidentificationOptions(),
    DeidentificationOptions(dates="modified", clean_descriptors=True),
]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "anonymous"


def _run(source: Path, target: Path, options: DeidentificationOptions | None = None) -> DeidentificationCounts:
    return deidentify_folder(DeidentificationPlan.checked(source, target), KEY, options)


def _read(folder: Path) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def _complaints(paths: list[Path]) -> Counter[str]:
    """Return what dciodvfy finds wrong with files, without the values, which de-identification changes."""
    complaints: Counter[str] = Counter()
    for path in paths:
        run = run_tool("dciodvfy", "-new", path)
        complaints.update({line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")})
    return complaints


def _dicom_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.read_bytes()[128:132] == b"DICM"]


@pytest.mark.parametrize("options", ALL_OPTIONS, ids=["basic", "modified dates, clean descriptors"])
def test_segmentations_stay_valid_and_their_references_resolvable(
    real_data: Callable[[str], Path], target: Path, options: DeidentificationOptions
) -> None:
    folder = real_data("dcmqi-ct-seg")
    counts = _run(folder, target, options)
    assert counts.files_written == 5
    new = _read(target)
    images = {dataset.SOPInstanceUID: dataset for dataset in new if dataset.Modality == "CT"}
    segmentations = [dataset for dataset in new if dataset.Modality == "SEG"]
    assert (len(images), len(segmentations)) == (3, 2)
    for segmentation in segmentations:
        (series,) = segmentation.ReferencedSeriesSequence
        referred = [item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence]
        assert set(referred) == set(images)
        assert {series.SeriesInstanceUID} == {image.SeriesInstanceUID for image in images.values()}
        for frame in segmentation.PerFrameFunctionalGroupsSequence:
            (derivation,) = frame.DerivationImageSequence
            assert {item.ReferencedSOPInstanceUID for item in derivation.SourceImageSequence} <= set(images)
        for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID"):
            assert {getattr(segmentation, keyword)} == {getattr(image, keyword) for image in images.values()}
    pixels = Counter(pydicom.dcmread(path).PixelData for path in _dicom_files(folder))
    assert pixels == Counter(dataset.PixelData for dataset in new)
    old = [path for path in _dicom_files(folder) if "seg" in pydicom.dcmread(path).SOPClassUID.name.lower()]
    written = [path for path in target.rglob("*.dcm") if pydicom.dcmread(path).Modality == "SEG"]
    assert not _complaints(written) - _complaints(old)
    scan = IdentifierScan(["JANCT000", "99000^", "03086212", "20030417", "1.2.392.200103", "UIowa", "GEMS_"])
    assert [finding.term for finding in scan.folder(folder)]
    assert scan.folder(target) == []


def test_siemens_series_keeps_its_pixels_and_loses_the_hospital(real_data: Callable[[str], Path], target: Path) -> None:
    folder = real_data("totalseg-ct-dicom") / "example_ct_dicom"
    counts = _run(folder, target, DeidentificationOptions(clean_descriptors=True))
    assert (counts.files_written, counts.without_patient_id, len(counts.series)) == (20, 20, 1)
    old = {pydicom.dcmread(path).ImagePositionPatient[2]: pydicom.dcmread(path) for path in folder.iterdir()}
    for dataset in _read(target):
        assert dataset.PixelData == old[dataset.ImagePositionPatient[2]].PixelData
        assert dataset.SOPClassUID == CTImageStorage
        assert dataset.SeriesDescription == "CT Body"
        assert dataset.RescaleIntercept == old[dataset.ImagePositionPatient[2]].RescaleIntercept
    scan = IdentifierScan(["Petersgraben", "20221208", "1.3.12.2.1107", "PETCT2", "QR_SNOWFOX", "2.16.756"])
    assert {finding.term for finding in scan.folder(folder)} >= {"Petersgraben", "20221208", "1.3.12.2.1107", "PETCT2"}
    assert scan.folder(target) == []


LEFT_OUT_AS_SHIPPED = {
    **dict.fromkeys(
        (
            *("JPEG-LL", "JPEG2000_UNC", "mlut_18", "vlut_04", "GDCMJ2K_TextGBR", "JPEG-lossy", "JPEG2000"),
            *("JPEG2000-embedded-sequence-delimiter", "JPEGLSNearLossless_08", "JPEGLSNearLossless_16", "image_dfl"),
            "JPGExtended",
        ),
        "secondary capture",
    ),
    **dict.fromkeys(
        ("OT-PAL-8-face", "ExplVR_BigEndNoMeta", "ExplVR_LitEndNoMeta", "no_meta", "rtstruct"), "no DICM at byte 128"
    ),
    **dict.fromkeys(("MR_truncated", "badVR"), "damaged or cut short"),
    **dict.fromkeys(("empty_charset_LEI", "meta_missing_tsyntax", "nested_priv_SQ"), "without SOP Class UID"),
    **dict.fromkeys(("rtplan", "rtplan_truncated"), "without pixels: RT Plan Storage"),
    **dict.fromkeys(("reportsi", "reportsi_with_empty_number_tags"), "without pixels: Basic Text SR Storage"),
    "emri_small_jpeg_2k_lossless_too_short": "without pixels: Enhanced MR Image Storage",
    "UN_sequence": "without pixels: CT Image Storage",
    "no_meta_group_length": "without pixels: RT Image Storage",
    "priv_SQ": "without pixels: MR Image Storage",
    "test-SR": "without pixels: Comprehensive SR Storage",
    "waveform_ecg": "without pixels: 12-lead ECG Waveform Storage",
}  # fmt: skip


def _shipped() -> list[Path]:
    folders = (Path(str(get_testdata_file("CT_small.dcm"))).parent, Path(data_store.__file__).parent / "data")
    return sorted(path for folder in folders for path in folder.glob("*") if path.suffix == ".dcm")


@pytest.mark.parametrize("path", _shipped(), ids=lambda path: path.name)
def test_shipped_files_are_left_out_or_lose_all_that_identifies(path: Path, target: Path) -> None:
    plan = DeidentificationPlan.checked(path, target)
    options = DeidentificationOptions(dates="modified", clean_descriptors=True)
    reason = LEFT_OUT_AS_SHIPPED.get(path.stem, "secondary capture" if path.name.startswith("SC_") else None)
    if reason is not None:
        with pytest.raises(ImageError, match=f"holds no image that may be written .*{re.escape(reason)}"):
            deidentify_folder(plan, KEY, options)
        assert not target.exists()
        return
    assert deidentify_folder(plan, KEY, options).files_written == 1
    (new,) = _read(target)
    with quiet_dicom():
        old = pydicom.dcmread(path)
        terms = _identifiers(old)
        assert _numbers(new) == _numbers(old)
    assert new.file_meta.TransferSyntaxUID == old.file_meta.TransferSyntaxUID
    for keyword in ("PixelData", "Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "RescaleSlope", "LUTData"):
        assert new.get(keyword) == old.get(keyword)
    assert IdentifierScan(terms).folder(target) == []
    assert not [element for element in new.iterall() if element.tag.is_private]
    assert not _complaints(list(target.rglob("*.dcm"))) - _complaints([path])


def _numbers(dataset: Dataset) -> list[tuple[str, str]]:
    """Return all numbers that the profile does not name, at any depth, as they are written."""
    profile, found = confidentiality_profile(), []
    for element in dataset:
        if element.tag.is_private or is_graphics_group(element.tag) or not dictionary_has_tag(element.tag):
            continue
        if f"{element.tag:08x}" in profile.rows or element.tag.element == 0:
            continue
        if element.VR == "SQ" and element.keyword != "DeidentificationMethodCodeSequence":
            found += [number for item in element.value for number in _numbers(item)]
        elif element.VR in ("DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "AT"):
            found.append((element.keyword, str(element.value)))
    return found


def _identifiers(dataset: Dataset) -> set[str]:
    """Return names, ids and UIDs of a dataset that are long enough not to be found by chance."""
    terms: set[str] = set()
    for element in dataset.iterall():
        values: list[Any] = list(element.value) if element.VM > 1 else [element.value]
        if element.keyword in (
            "PatientID",
            "AccessionNumber",
            "InstitutionName",
            "InstitutionAddress",
            "OtherPatientIDs",
        ):
            terms.update(str(value) for value in values)
        elif element.VR == "PN":
            terms.update(word for value in values for word in str(value).replace("=", "^").split("^"))
        elif element.VR == "UI":
            terms.update(str(value) for value in values if not str(value).startswith("1.2.840.10008."))
        elif element.keyword in ("StudyDate", "PatientBirthDate", "SeriesDate"):
            terms.update(str(value) for value in values)
    return {term.strip() for term in terms if len(term.strip()) > 6 and not term.strip().isalpha()}
