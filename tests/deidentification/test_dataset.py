"""Every action of Table E.1-1 over random datasets and all options, nested ones too, and what goes beyond the table."""

from __future__ import annotations

import copy
import io
import itertools
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identifier_scan import IdentifierScan
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from pipeline.deidentification import DeidentificationKey, DeidentificationOptions, deidentify_dataset
from pipeline.deidentification.dates import shifted
from pipeline.deidentification.profile import confidentiality_profile

KEY = DeidentificationKey(b"k" * 32)
ROWS = confidentiality_profile().rows
LISTED = sorted(int(tag, 16) for tag in ROWS if dictionary_has_tag(int(tag, 16)) and int(tag, 16) >> 16 > 4)
# Sequences that the table does not list, so that what they hold is looked at.
NESTING = ("SharedFunctionalGroupsSequence", "ReferencedSeriesSequence", "AnatomicRegionSequence")
PATIENT_ID = "Wolpertinger-0815"
OPTIONS = [
    DeidentificationOptions(retain_uids=uids, dates=dates, clean_descriptors=clean)  # type: ignore[arg-type]
    for uids, dates, clean in itertools.product((False, True), ("removed", "full", "modified"), (False, True))
]


def _value(tag: int, vr: str, number: int) -> Any:
    """Return a value that no dummy equals; texts hold a planted word and a known one."""
    if tag == 0x00080201:
        return "+0345"
    if vr in ("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UT"):
        return f"Xq{number:05d}" if vr in ("AE", "PN", "SH") else f"Xq{number:05d} head"
    if vr == "SQ":
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator = f"Xq{number:05d}", "99LOCAL"
        item.CodeMeaning, item.PatientName = f"Xq{number:05d}", f"Xq{number:05d}"
        item.ReferencedSOPInstanceUID = f"1.2.3.4.5.6.{number + 1}"
        return Sequence([item])
    values = {
        **{"AS": f"{number % 900 + 100:03d}M", "CS": f"XQ{number:05d}", "AT": 0x00100010},
        "UI": f"1.2.3.4.5.6.{number + 1}",
        **{"DA": f"19{number % 90 + 10}0{number % 9 + 1}17", "TM": f"1{number % 10}1713", "UR": f"http://xq{number:05d}.org"},
        **{"DT": f"19{number % 90 + 10}0{number % 9 + 1}17101112", "DS": f"{number + 1}", "IS": f"{number + 1}"},
        **{"OB": b"Xq" * 6, "UN": b"Xq" * 6, "US": number % 1000 + 1, "FD": 1.5, "UL": number % 1000 + 1},
    }  # fmt: skip
    return values[vr]


def _listed(tag: int, number: int) -> DataElement:
    vr = dictionary_VR(tag).split(" or ")[0]
    return DataElement(tag, vr, _value(tag, vr, number))


def _instance(elements: list[DataElement], nested: list[DataElement], nesting: tuple[str, ...]) -> FileDataset:
    dataset = Dataset()
    inner = Dataset()
    for element in nested:
        inner.add(element)
    for keyword in nesting:
        outer = Dataset()
        setattr(outer, keyword, Sequence([inner]))
        inner = outer
    dataset.update(inner if nesting else {})
    for element in elements:
        dataset.add(element)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.PatientID = CTImageStorage, "1.2.3.4.5.6.7", PATIENT_ID
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, "1.2.3.4.5.6.7"
    stream = io.BytesIO()
    dataset.file_meta = meta
    dataset.save_as(stream, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream)


def _deidentified(source: FileDataset, options: DeidentificationOptions | None = None) -> Dataset:
    """De-identify and read back; what is written must be valid for pydicom, which raises over bad values."""
    before = copy.deepcopy(source)
    new = deidentify_dataset(source, KEY, options or DeidentificationOptions(), identity=PATIENT_ID).dataset
    assert source == before
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, new, enforce_file_format=True)
    stream.seek(0)
    return pydicom.dcmread(stream)


def _check(code: str, old: DataElement, new: DataElement | None) -> None:
    """Hold a new element against the letters of its action: the slow and obvious reading of Table E.1-1a."""
    if code == "C" and (new is None or not _is_cleaned(old, new)):
        # Nothing is left of it, so it is treated as by the basic profile.
        assert old.VR in ("AE", "CS", "SQ", "OB") or (new is None or "Xq" not in str(new.value))
        code = ROWS[f"{old.tag:08x}"]["basic"]
        assert old.VR not in ("DA", "DT", "TM"), "every date of the test can be shifted"
    if code == "C":
        return
    if new is None:
        assert "X" in code
        return
    assert (new.tag, new.VR) == (old.tag, old.VR)
    if code == "K":
        assert old.VR == "SQ" or new.value == old.value
    elif "U" in code and old.VR == "UI":
        assert new.value == KEY.uid(str(old.value))
    elif "U" in code:
        kept = [item.ReferencedSOPInstanceUID for item in new.value]
        assert kept == [KEY.uid(item.ReferencedSOPInstanceUID) for item in old.value]
    elif new.is_empty:
        assert "Z" in code
    else:
        assert "D" in code
        assert new.value != old.value
        assert "Xq" not in str(new)


def _is_cleaned(old: DataElement, new: DataElement) -> bool:
    """Tell whether a value is one that cleaning may leave: a shifted date, an offset from UTC, known words."""
    if old.VR in ("DA", "DT", "TM"):
        return bool(new.value == shifted(str(old.value), old.VR, KEY.days_back(PATIENT_ID)))
    if old.tag == 0x00080201:
        return bool(new.value == old.value)
    return old.VR in ("LO", "LT", "SH", "ST", "UC", "UT") and new.value == "head"


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    options=st.sampled_from(OPTIONS),
    tags=st.lists(st.sampled_from(LISTED), max_size=25, unique=True),
    nested=st.lists(st.sampled_from(LISTED), max_size=25, unique=True),
    nesting=st.permutations(NESTING).map(tuple),
    depth=st.integers(1, 3),
)
def test_every_attribute_gets_the_action_of_the_table(
    options: DeidentificationOptions, tags: list[int], nested: list[int], nesting: tuple[str, ...], depth: int
) -> None:
    _check_all(options, tags, nested, nesting[:depth])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_attribute_of_the_table_at_once(options: DeidentificationOptions) -> None:
    _check_all(options, LISTED, LISTED, NESTING)


def _check_all(options: DeidentificationOptions, tags: list[int], nested: list[int], nesting: tuple[str, ...]) -> None:
    forced = {0x00080018, 0x00100010, 0x00100020, 0x00120063, 0x00120064}
    old = [_listed(tag, number) for number, tag in enumerate(tags) if tag not in forced]
    inner = [_listed(tag, number + 1000) for number, tag in enumerate(nested) if tag not in forced]
    new = _deidentified(_instance(old, inner, nesting), options)
    at_depth = new
    for keyword in reversed(nesting):
        at_depth = getattr(at_depth, keyword)[0]
    for elements, dataset in ((old, new), (inner, at_depth)):
        for element in elements:
            row = ROWS[f"{element.tag:08x}"]
            code = next((row[column] for column in options.columns if column in row), row["basic"])
            _check(code, element, dataset.get(element.tag))


def test_patient_becomes_a_pseudonym_and_the_method_is_stated() -> None:
    source = _instance([], [], ())
    source.PatientName = "Wolpertinger^Alois"
    source.BurnedInAnnotation = "NO"
    new = _deidentified(source, DeidentificationOptions(dates="modified", clean_descriptors=True, retain_uids=True))
    assert new.PatientID == new.PatientName == KEY.patient(PATIENT_ID)
    assert new.PatientIdentityRemoved == "YES"
    assert new.DeidentificationMethod == "unet-pipeline; DICOM PS3.15 Annex E Basic Profile"
    assert [(code.CodeValue, code.CodingSchemeDesignator) for code in new.DeidentificationMethodCodeSequence] == [
        *(("113100", "DCM"), ("113110", "DCM"), ("113107", "DCM"), ("113105", "DCM"))
    ]
    assert new.LongitudinalTemporalInformationModified == "MODIFIED"
    assert new.BurnedInAnnotation == "NO"


@pytest.mark.parametrize(("dates", "value"), [("removed", "REMOVED"), ("full", "UNMODIFIED"), ("modified", "MODIFIED")])
def test_longitudinal_information_is_stated(dates: Any, value: str) -> None:
    new = _deidentified(_instance([], [], ()), DeidentificationOptions(dates=dates))
    assert new.LongitudinalTemporalInformationModified == value


def test_method_codes_are_named_as_in_cid_7050() -> None:
    named = {concept.value: concept.meaning for concept in codes.CID7050.concepts.values()}
    ours = {code: meaning for options in OPTIONS for code, meaning in options.codes}
    assert ours == {code: named[code] for code in ours}
    assert len(ours) == 5


def test_burned_in_annotation_is_never_said_to_be_absent() -> None:
    assert "BurnedInAnnotation" not in _deidentified(_instance([], [], ()))


def test_cleanings_of_before_are_kept_and_other_codes_are_not() -> None:
    source = _instance([], [], ())
    source.DeidentificationMethodCodeSequence = Sequence()
    for code in ("113101", "113110", "Wolpertinger"):
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", "Clean"
        source.DeidentificationMethodCodeSequence.append(item)
    stated = [item.CodeValue for item in _deidentified(source).DeidentificationMethodCodeSequence]
    assert stated == ["113100", "113101"]


def test_references_stay_intact() -> None:
    image, label = _instance([], [], ()), _instance([], [], ())
    image.StudyInstanceUID = label.StudyInstanceUID = "1.2.3.1"
    image.FrameOfReferenceUID = label.FrameOfReferenceUID = "1.2.3.2"
    image.SeriesInstanceUID, label.SeriesInstanceUID, label.SOPInstanceUID = "1.2.3.3", "1.2.3.4", "1.2.3.5"
    reference, series = Dataset(), Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CTImageStorage, image.SOPInstanceUID
    series.SeriesInstanceUID, series.ReferencedInstanceSequence = image.SeriesInstanceUID, Sequence([reference])
    label.ReferencedSeriesSequence = Sequence([series])
    new_image, new_label = _deidentified(image), _deidentified(label)
    assert new_image.StudyInstanceUID == new_label.StudyInstanceUID != "1.2.3.1"
    assert new_image.FrameOfReferenceUID == new_label.FrameOfReferenceUID != "1.2.3.2"
    (new_series,) = new_label.ReferencedSeriesSequence
    assert new_series.SeriesInstanceUID == new_image.SeriesInstanceUID != "1.2.3.3"
    (new_reference,) = new_series.ReferencedInstanceSequence
    assert new_reference.ReferencedSOPInstanceUID == new_image.SOPInstanceUID
    assert new_reference.ReferencedSOPClassUID == CTImageStorage
    assert new_image.file_meta.MediaStorageSOPInstanceUID == new_image.SOPInstanceUID
    assert KEY.uid("1.2.3.3") == new_image.SeriesInstanceUID


def test_uids_of_the_standard_stay() -> None:
    source = _instance([], [], ())
    source.FrameOfReferenceUID = "1.2.840.10008.1.4.1.1"  # Talairach brain atlas, PS3.6 Table A-2
    source.ReferencedSOPClassUIDInFile = "1.2.840.10008.5.1.4.1.1.2"
    source.CodingSchemeUID = "1.2.840.10008.2.16.4"
    source.ContextUID = "1.3.12.2.1107.9"
    new = _deidentified(source)
    assert new.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"
    assert new.ReferencedSOPClassUIDInFile == "1.2.840.10008.5.1.4.1.1.2"
    assert new.CodingSchemeUID == "1.2.840.10008.2.16.4"
    assert new.ContextUID == KEY.uid("1.3.12.2.1107.9")


def test_private_unknown_and_graphic_elements_are_removed_at_any_depth() -> None:
    def planted() -> Dataset:
        dataset = Dataset()
        dataset.private_block(0x0029, "WOLPERTINGER", create=True).add_new(1, "LO", "Wolpertinger")
        dataset.add_new(0x00080007, "LO", "Wolpertinger")  # not in the dictionary
        dataset.add_new(0x60003000, "OW", b"Wolpertinger")
        dataset.add_new(0x60020022, "LO", "Wolpertinger")
        dataset.add_new(0x50003000, "OW", b"Wolpertinger")
        dataset.KVP = "120"
        return dataset

    source = _instance([], [], ())
    inner, outer = planted(), planted()
    outer.AnatomicRegionSequence = Sequence([inner])
    source.update(planted())
    source.SharedFunctionalGroupsSequence = Sequence([outer])
    new = _deidentified(source)
    for dataset in (
        new,
        new.SharedFunctionalGroupsSequence[0],
        new.SharedFunctionalGroupsSequence[0].AnatomicRegionSequence[0],
    ):
        assert dataset.KVP == 120
        assert not any(tag.is_private or tag.group in (0x5000, 0x6000, 0x6002) for tag in dataset.keys())  # noqa: SIM118
        assert 0x00080007 not in dataset
    assert "Wolpertinger" not in str(new)


@pytest.mark.parametrize(
    ("name", "charset", "planted"),
    [
        ("Buc^Jérôme", "ISO_IR 100", "Jérôme"),
        ("Люкceмбypг", "ISO_IR 144", "Люкceмбypг"),
        ("Διονυσιος", "ISO_IR 126", "Διονυσιος"),
        ("שרון^דבורה", "ISO_IR 138", "דבורה"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"], "山田"),
        ("Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"], "길동"),
        ("Wang^XiaoDong=王^小东", "GB18030", "小东"),
        ("Wang^XiaoDong=王^小東", "ISO_IR 192", "小東"),
    ],
)
def test_names_of_other_alphabets_go_also_where_a_text_repeats_them(name: str, charset: Any, planted: str) -> None:
    source = _instance([], [], ())
    source.SpecificCharacterSet = charset
    source.PatientName = name
    source.OperatorsName = name
    source.Manufacturer = f"made for {planted}"
    source.ManufacturerModelName = "Biograph40"
    new = _deidentified(source)
    stream = io.BytesIO()
    new.save_as(stream, enforce_file_format=True)
    words = {word for word in name.replace("=", "^").split("^") if len(word) > 3} | {planted * 2}
    assert IdentifierScan(words).content(stream.getvalue()) == []
    assert planted not in str(new)
    assert new.Manufacturer == "REMOVED"
    assert new.ManufacturerModelName == "Biograph40"


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("Manufacturer", "for WOLPERTINGER"),
        ("SoftwareVersions", ["VG80B", "Wolpertinger-0815"]),
        ("ConvolutionKernel", "19610312"),
        ("ImageType", ["ORIGINAL", "WOLPERTINGER"]),
        ("ICCProfile", b"\0\0profile of wolpertinger\0"),
        ("LUTExplanation", "12.03.1961"),
        ("Manufacturer", "St. Elsewhere Clinic"),
        ("Manufacturer", "see 1.3.12.2.1107.5.1.4.60064"),
    ],
)
def test_values_that_repeat_an_identifier_are_cleared(keyword: str, value: Any) -> None:
    source = _instance([], [], ())
    source.PatientName, source.PatientBirthDate = "Wolpertinger^Alois", "19610312"
    source.InstitutionName = "St. Elsewhere Clinic"
    assert getattr(_deidentified(source), keyword, None) is None
    setattr(source, keyword, value)
    run = deidentify_dataset(source, KEY, DeidentificationOptions())
    assert run.repeated_identifiers == 1
    assert run.dataset[keyword].value in ("REMOVED", bytes(8))


def test_body_parts_stay_where_a_patient_is_called_so() -> None:
    source = _instance([], [], ())
    source.PatientName, source.BodyPartExamined, source.Modality = "Head^Ct", "HEAD", "CT"
    new = _deidentified(source)
    assert (new.BodyPartExamined, new.Modality) == ("HEAD", "CT")


@pytest.mark.parametrize("dates", ["full", "modified"])
@pytest.mark.parametrize("value", ["1961 Wolpertinger", "19611399", "Wolpertinger"])
def test_texts_in_the_place_of_dates_are_not_retained(dates: Any, value: str) -> None:
    source = _instance([], [], ())
    with pydicom.config.disable_value_validation():
        source.add_new(0x00080020, "DA", value)
        source.add_new(0x0008002A, "DT", value)
        source.add_new(0x00080030, "TM", value)
        new = deidentify_dataset(source, KEY, DeidentificationOptions(dates=dates)).dataset
    assert value not in str(new)
    assert new.StudyDate == ""


def test_texts_in_the_place_of_numbers_and_unknown_bytes_are_removed() -> None:
    source = _instance([], [], ())
    source.add_new(0x00280010, "LO", "Wolpertinger rows")
    with pydicom.config.disable_value_validation():
        source.add_new(0x00180050, "AS", "ALOI")
    source[0x00181151] = RawDataElement(Tag(0x00181151), "UN", 12, b"Wolpertinger", 0, False, True)
    new = deidentify_dataset(source, KEY, DeidentificationOptions()).dataset
    assert not {0x00280010, 0x00180050, 0x00181151} & set(new.keys())


def test_a_patient_without_id_is_told_by_name_and_birth_date_or_by_study() -> None:
    def pseudonym(**values: str) -> str:
        source = _instance([], [], ())
        del source.PatientID
        for keyword, value in values.items():
            setattr(source, keyword, value)
        run = deidentify_dataset(source, KEY, DeidentificationOptions())
        assert not run.had_patient_id
        return run.patient

    alois = pseudonym(PatientName="A^B", PatientBirthDate="19610312", StudyInstanceUID="1.2")
    assert alois == pseudonym(PatientName="A^B", PatientBirthDate="19610312", StudyInstanceUID="1.3")
    assert alois != pseudonym(PatientName="A^B", PatientBirthDate="19610313", StudyInstanceUID="1.2")
    assert pseudonym(StudyInstanceUID="1.2") != pseudonym(StudyInstanceUID="1.3")
    assert pseudonym(StudyInstanceUID="1.2") == pseudonym(StudyInstanceUID="1.2")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_pixels_and_what_places_them_stay_to_the_bit(syntax: str) -> None:
    source = _instance([], [], ())
    source.file_meta.TransferSyntaxUID = syntax
    source.Rows, source.Columns, source.BitsAllocated, source.SamplesPerPixel = 3, 5, 16, 1
    source.PixelRepresentation, source.BitsStored, source.HighBit = 1, 16, 15
    source.PhotometricInterpretation = "MONOCHROME2"
    source.ImagePositionPatient = ["-235.1999970", "1e-3", "0.10"]
    source.SmallestImagePixelValue = -5
    pixels = np.random.default_rng(0).integers(-2000, 3000, (3, 5)).astype("<i2")
    source.PixelData = pixels.tobytes()
    new = _deidentified(source)
    assert new.PixelData == pixels.tobytes()
    np.testing.assert_array_equal(new.pixel_array, pixels)
    assert [value.original_string for value in new.ImagePositionPatient] == ["-235.1999970", "1e-3", "0.10"]
    assert new.SmallestImagePixelValue == -5
