"""Whose a series or an image is: one person is one patient, two persons are two, and nobody is named."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from pipeline.data import check_data_set, index_data_set
from pipeline.deidentification import DeidentificationKey, DeidentificationPlan, deidentify_folder
from pipeline.errors import ConfigError, ImageError, LabelError, ManifestError

from .dicom_slices import SERIES, STUDY, item, write_segmentation, write_slice

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
CLASSES = {"background": 0, "liver": 1}
Fields = dict[str, Any]


def two(folder: Path, first: Fields, second: Fields) -> tuple[list[str], tuple[str, ...]]:
    """The patients of two series that differ as said, and the notes."""
    for number, elements in enumerate((first, second)):
        write_slice(
            *(folder / f"s{number}" / "1", 1, f"{SERIES}.{number}"),
            **{"StudyInstanceUID": f"{STUDY}.{number}"} | elements,
        )
    fields, notes = index_data_set(folder, classes=CLASSES)
    return [case["patient"] for case in fields["cases"]], notes


class TestOnePerson:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ({"IssuerOfPatientID": "UKE"}, {}),
            ({"PatientID": "mrn-4711"}, {"PatientID": "MRN-4711"}),
            ({"PatientID": "MRN -4711"}, {"PatientID": "MRN-4711"}),
            ({"PatientID": "ＭＲＮ-4711"}, {"PatientID": "MRN-4711"}),
        ],
        ids=["issuer", "case", "blank", "full width"],
    )
    def test_ids_that_differ_in_writing_only_are_one_patient(self, tmp_path: Path, first: Fields, second: Fields):
        patients, notes = two(tmp_path, first, second)
        assert patients[0] == patients[1]
        assert notes == ("1 with a PatientID in several spellings (case, blanks, issuer): each taken as one patient",)

    def test_an_id_without_issuer_that_two_issuers_gave_is_refused(self, tmp_path: Path):
        write_slice(tmp_path / "s2" / "1", 1, f"{SERIES}.2", StudyInstanceUID=f"{STUDY}.2")
        with pytest.raises(ManifestError, match=r"PatientID that 2 issuers \(0010,0021\) gave, and names none"):
            two(tmp_path, {"IssuerOfPatientID": "north"}, {"IssuerOfPatientID": "south"})

    def test_one_study_of_two_patients_is_refused(self, tmp_path: Path):
        with pytest.raises(ManifestError, match=r"1 study \(0020,000D\) has series of two patients, so"):
            two(tmp_path, {"StudyInstanceUID": STUDY}, {"StudyInstanceUID": STUDY, "PatientID": "Z999"})

    def test_one_frame_of_reference_of_two_patients_is_noted(self, tmp_path: Path):
        frame = {"FrameOfReferenceUID": "1.2.3.4"}
        patients, notes = two(tmp_path, frame, frame | {"PatientID": "Z999"})
        assert patients[0] != patients[1]
        assert notes == ("1 frame of reference with two patients: look whether these are one person",)

    def test_some_with_an_id_and_some_told_by_their_path_are_refused(self, tmp_path: Path):
        write_slice(tmp_path / "p1" / "1", 1, f"{SERIES}.1")
        write_slice(tmp_path / "p2" / "1", 1, f"{SERIES}.2", PatientID="", StudyInstanceUID="1.2.3")
        with pytest.raises(ManifestError, match=r"1 of 2 series has no PatientID \(0010,0020\), such as p2/1"):
            index_data_set(tmp_path, classes=CLASSES, patient_pattern="^([^/]+)/")


class TestTwoPersons:
    @pytest.mark.parametrize("other", [{"PatientName": "Anders^Bert"}, {"PatientBirthDate": "20010101"}], ids=str)
    def test_another_name_or_birth_date_of_one_id_is_noted(self, tmp_path: Path, other: Fields):
        patients, notes = two(tmp_path, {}, other)
        assert patients[0] == patients[1]
        assert notes == ("1 PatientID with two names or dates of birth: each taken as one patient",)

    def test_both_are_two_persons_and_refused_without_naming_them(self, tmp_path: Path):
        with pytest.raises(ManifestError, match=r"1 PatientID .* has two names and two dates of birth") as caught:
            two(tmp_path, {}, {"PatientName": "Anders^Bert", "PatientBirthDate": "20010101"})
        assert not any(word in str(caught.value) for word in ("Anders", "Mustermann", "4711", "2001"))

    def test_a_name_written_in_another_way_says_nothing(self, tmp_path: Path):
        assert two(tmp_path, {}, {"PatientName": "MUSTERMANN^ERIKA", "PatientBirthDate": ""})[1] == ()


class TestPathsAndNames:
    @pytest.mark.parametrize(
        ("name", "elements", "keyword"),
        [
            ("MustermannErika", {}, "PatientName"),
            ("mustermann1", {}, "PatientName"),
            ("MRN4711", {}, "PatientID"),
            ("CT_4711", {}, "PatientID"),
            ("1961-02-03", {}, "PatientBirthDate"),
            ("03.02.1961", {}, "PatientBirthDate"),
            ("Mu\u0308ller", {"PatientName": "Müller^Hans"}, "PatientName"),
            ("mueller", {"PatientName": "Müller^Hans"}, "PatientName"),
            ("Li_scan", {"PatientName": "Li^Na"}, "PatientName"),
            ("山田太郎", {"PatientName": "Yamada^Taro=山田^太郎"}, "PatientName"),
            ("for Seltsam", {"ReferringPhysicianName": "Seltsam^Otto"}, "ReferringPhysicianName"),
            ("alias", {"OtherPatientIDs": ["A1", "ALIAS"]}, "OtherPatientIDs"),
            ("acc90210", {}, "AccessionNumber"),
        ],
    )
    def test_ways_to_write_an_identifier_are_found(self, tmp_path: Path, name: str, elements: Fields, keyword: str):
        write_slice(tmp_path / "data" / name / "1", **elements)
        with pytest.raises(ManifestError, match=rf"the path of a file contains its {keyword}, and"):
            index_data_set(tmp_path / "data", classes=CLASSES)

    @pytest.mark.parametrize("name", ["ct", "muster", "IM47110", "1961", "linea", "erik", "14711"])
    def test_words_that_only_resemble_are_taken(self, tmp_path: Path, name: str):
        write_slice(tmp_path / "data" / name / "1", PatientName="Mustermann^Erika^Li")
        assert index_data_set(tmp_path / "data", classes=CLASSES)[0]["cases"][0]["image"] == name

    def test_a_path_that_names_the_patient_of_another_series_is_refused(self, tmp_path: Path):
        write_slice(tmp_path / "data" / "x" / "1", 1, f"{SERIES}.1")
        elements = {"PatientID": "Z999", "PatientName": "X^Y", "StudyInstanceUID": "1.2.3"}
        write_slice(tmp_path / "data" / "Mustermann" / "1", 1, f"{SERIES}.2", **elements)
        with pytest.raises(ManifestError, match="the path of a file contains its PatientName"):
            index_data_set(tmp_path / "data", classes=CLASSES)

    def test_the_name_of_the_data_set_must_not_name_a_patient(self, tmp_path: Path):
        write_slice(tmp_path / "Mustermann_export" / "ct" / "1")
        with pytest.raises(ManifestError, match=r"the name of the data set \(--name, .*\) contains its PatientName"):
            index_data_set(tmp_path / "Mustermann_export", classes=CLASSES)
        assert index_data_set(tmp_path / "Mustermann_export", classes=CLASSES, name="mine")[0]["name"] == "mine"

    def test_what_deidentify_wrote_is_indexed_split_and_checked(self, tmp_path: Path):
        geometry = {"PixelSpacing": [1, 1], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "SliceThickness": 1}
        for person in range(2):
            for number in range(3):
                write_slice(
                    *(tmp_path / "in" / f"Person{person}" / str(number), number, f"{SERIES}.{person}"),
                    **geometry,
                    **{"PatientID": f"MRN-{person}", "StudyInstanceUID": f"{STUDY}.{person}"},
                    **{"ImagePositionPatient": [0, 0, number], "FrameOfReferenceUID": f"{STUDY}.{person}.1"},
                    **{"PixelData": bytes([person] * 12), "RescaleSlope": 1, "RescaleIntercept": 0},
                )
        plan = DeidentificationPlan.checked(tmp_path / "in", tmp_path / "out")
        deidentify_folder(plan, DeidentificationKey(b"k" * 32))
        fields, _ = index_data_set(tmp_path / "out", classes=CLASSES)
        assert fields["deidentification"]["status"] == "deidentified"
        assert len({case["patient"] for case in fields["cases"]}) == 2
        split = {**fields, "splits": {"training": [fields["cases"][0]["id"]], "validation": [fields["cases"][1]["id"]]}}
        (tmp_path / "m.json").write_text(json.dumps(split))
        assert check_data_set(tmp_path / "m.json", tmp_path / "out") == []


class TestSegmentations:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        write_slice(tmp_path / "data" / "ct" / "1", 1, f"{SERIES}.1")
        return tmp_path / "data"

    @pytest.mark.parametrize(
        ("series", "elements", "match"),
        [
            ([f"{SERIES}.1"], {"PatientID": "SOMEBODY-ELSE"}, r"seg\.dcm has another PatientID \(0010,0020\) than the"),
            ([f"{SERIES}.1", f"{SERIES}.2"], {}, r"seg\.dcm refers to 2 series in the folder; expected one"),
            ([""], {}, r"seg\.dcm refers to a series that is not in the folder"),
            ([], {}, r"seg\.dcm refers to a series that is not in the folder"),
            ([f"{SERIES}.1"], {"segments": [item(SegmentLabel="liver")]}, r"a segment without a number \(0062,0004\)"),
            ([f"{SERIES}.1"], {"segments": [item(SegmentNumber=1)]}, r"a segment without a number \(0062,0004\)"),
        ],
    )
    def test_a_label_that_is_not_that_of_one_series_is_refused(
        self, folder: Path, series: list[str], elements: Fields, match: str
    ):
        write_slice(folder / "ct2" / "1", 1, f"{SERIES}.2")
        write_segmentation(folder / "seg.dcm", *series, **elements)
        with pytest.raises(LabelError, match=match):
            index_data_set(folder)

    def test_the_second_reference_counts_where_the_first_is_elsewhere(self, folder: Path):
        write_segmentation(folder / "seg.dcm", "1.2.3.4", f"{SERIES}.1", PatientID="mrn-4711")
        (case,) = index_data_set(folder)[0]["cases"]
        assert case["label"] == "seg.dcm"

    def test_a_code_without_meaning_is_refused(self, folder: Path):
        code = item(CodeValue="1", CodingSchemeDesignator="SCT")
        segment = item(SegmentNumber=1, SegmentLabel="liver", SegmentedPropertyTypeCodeSequence=[code])
        write_segmentation(folder / "seg.dcm", f"{SERIES}.1", segments=[segment])
        with pytest.raises(LabelError, match="or a whole code"):
            index_data_set(folder)

    def test_segmentations_that_number_segments_differently_are_refused(self, folder: Path):
        write_slice(folder / "ct2" / "1", 1, f"{SERIES}.2")
        for number, name in enumerate(("liver", "spleen"), 1):
            segment = item(SegmentNumber=1, SegmentLabel=name)
            write_segmentation(folder / f"{number}.dcm", f"{SERIES}.{number}", segments=[segment])
        with pytest.raises(LabelError, match="segment 1 is 'liver' in one label and 'spleen' in another"):
            index_data_set(folder)

    def test_a_label_map_may_name_its_background(self, folder: Path):
        segments = [
            item(SegmentNumber=number, SegmentLabel=name) for number, name in enumerate(("Background", "liver"))
        ]
        write_segmentation(folder / "seg.dcm", f"{SERIES}.1", segments=segments, SOPClassUID=LABEL_MAP)
        classes = index_data_set(folder)[0]["classes"]
        assert [(entry["name"], entry["stored_value"]) for entry in classes] == [("background", 0), ("liver", 1)]

    def test_paths_and_labels_of_segments_must_not_name_a_patient(self, folder: Path):
        write_segmentation(folder / "labels_Mustermann" / "seg.dcm", f"{SERIES}.1")
        with pytest.raises(ManifestError, match="the path of a file contains its PatientName"):
            index_data_set(folder)
        (folder / "labels_Mustermann").rename(folder / "labels")
        segment = item(SegmentNumber=1, SegmentLabel="Tumor Mustermann")
        write_segmentation(folder / "labels" / "seg.dcm", f"{SERIES}.1", segments=[segment])
        with pytest.raises(ManifestError, match="the label of a segment contains its PatientName"):
            index_data_set(folder)

    def test_an_identified_segmentation_makes_the_data_set_identified(self, tmp_path: Path):
        write_slice(tmp_path / "ct" / "1", 1, f"{SERIES}.1", PatientIdentityRemoved="YES")
        write_segmentation(tmp_path / "seg.dcm", f"{SERIES}.1")
        assert index_data_set(tmp_path)[0]["deidentification"] == {"status": "identified"}


class TestUnreadable:
    @pytest.mark.parametrize("kept", [132, 300], ids=["prefix", "half a header"])
    def test_the_beginning_of_a_dicom_file_is_named(self, tmp_path: Path, kept: int):
        write_slice(tmp_path / "ct" / "a")
        (tmp_path / "ct" / "b").write_bytes((tmp_path / "ct" / "a").read_bytes()[:kept])
        with pytest.raises(ImageError, match=r"ct/b is damaged: its DICOM header cannot be read to its end; copy it"):
            index_data_set(tmp_path, classes=CLASSES)

    def test_noise_after_the_prefix_is_named(self, tmp_path: Path):
        write_slice(tmp_path / "ct" / "a")
        start = (tmp_path / "ct" / "a").read_bytes()[:132]
        for seed in range(20):
            (tmp_path / "ct" / "b").write_bytes(start + np.random.default_rng(seed).bytes(400))
            with pytest.raises(ImageError, match=r"ct/b is damaged"):
                index_data_set(tmp_path, classes=CLASSES)

    def test_links_to_folders_are_counted(self, tmp_path: Path):
        write_slice(tmp_path / "data" / "ct" / "1")
        write_slice(tmp_path / "outside" / "1", 1, f"{SERIES}.2")
        (tmp_path / "data" / "link").symlink_to(tmp_path / "outside")
        fields, notes = index_data_set(tmp_path / "data", classes=CLASSES)
        assert (len(fields["cases"]), notes) == (1, ("1 passed over: links to folders",))

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_what_may_not_be_read_is_refused_as_such(self, tmp_path: Path):
        write_slice(tmp_path / "ct" / "1")
        (tmp_path / "ct" / "1").chmod(0)
        with pytest.raises(ImageError, match=r"ct/1 cannot be read: Permission denied"):
            index_data_set(tmp_path, classes=CLASSES)
        (tmp_path / "ct").chmod(0)
        try:
            with pytest.raises(ImageError, match=r"ct cannot be listed: Permission denied"):
                index_data_set(tmp_path, classes=CLASSES)
        finally:
            (tmp_path / "ct").chmod(0o755)

    def test_a_name_that_is_no_utf_8_is_refused(self, tmp_path: Path):
        write_slice(tmp_path / "ct" / "1")
        (tmp_path / "ct" / "1").rename(tmp_path / "ct" / os.fsdecode(b"\xff"))
        with pytest.raises(ImageError, match=r"the name of file .*udcff.* is not UTF-8"):
            index_data_set(tmp_path, classes=CLASSES)


def save_pairs(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        for kind in ("imagesTr", "labelsTr"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            voxels = np.full((2, 3, 4), number, np.uint8) if kind == "imagesTr" else np.eye(4, dtype=np.uint8)[None]
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), folder / kind / f"{name}.nii.gz")


def patients_of(folder: Path, pattern: str | None) -> list[str]:
    return [case["patient"] for case in index_data_set(folder, patient_pattern=pattern)[0]["cases"]]


class TestPattern:
    def test_the_first_group_tells_the_patient(self, tmp_path: Path):
        save_pairs(tmp_path, "p1_t1", "p1_t2", "p2_t1", "p2_t2")
        assert patients_of(tmp_path, r"/(p\d+)_(t\d)") == ["p1", "p1", "p2", "p2"]
        assert patients_of(tmp_path, r"p\d") == ["p1", "p1", "p2", "p2"]

    @pytest.mark.parametrize("pattern", [r"/(x?)p", r"/(?:(zz)|p1)", "q"], ids=["empty", "not taken part", "none"])
    def test_a_pattern_that_finds_nothing_is_refused(self, tmp_path: Path, pattern: str):
        save_pairs(tmp_path, "p1_t1")
        with pytest.raises(ConfigError, match="finds no patient in imagesTr/p1_t1"):
            patients_of(tmp_path, pattern)

    def test_names_that_a_manifest_cannot_hold_become_pseudonyms_of_their_own(self, tmp_path: Path):
        save_pairs(tmp_path, "山田_1", "佐藤_2", "山田_3", "Müller_4", "Möller_5", "sub-01_6")
        cases = index_data_set(tmp_path, patient_pattern=r"/([^/_]+)_")[0]["cases"]
        patients = {Path(case["image"]).name[:2] + case["image"][-8]: case["patient"] for case in cases}
        assert patients["山田1"] == patients["山田3"] != patients["佐藤2"]
        assert len(set(patients.values())) == 5
        readable = {patient for patient in patients.values() if not patient.startswith("patient-")}
        assert readable == {"sub-01"}
        assert len({case["id"] for case in cases}) == 6

    def test_images_without_a_patient_are_counted(self, tmp_path: Path):
        save_pairs(tmp_path, "p1", "sub-01_a")
        notes = index_data_set(tmp_path)[1]
        assert [note[:50] for note in notes] == ["1 without a patient: each image counts as a patien"]
