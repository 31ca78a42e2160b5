"""Indexing folders: DICOM exports with planted identifiers, real series, and pairs of files in every usual layout."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from pipeline.data import Manifest, Pseudonyms, folder_sha256, index_data_set
from pipeline.errors import ConfigError, ImageError, LabelError, ManifestError, MissingFileError

from .dicom_slices import PLANTED, SERIES, STUDY, write_slice


def index_dicom(folder: Path, **arguments: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    fields, notes = index_data_set(folder, classes={"background": 0, "liver": 1}, **arguments)
    manifest = Manifest.from_fields(fields, folder / "m.json")
    manifest.check_files(folder)
    return fields, notes


class TestDicom:
    def test_no_identifier_of_a_patient_gets_into_the_manifest(self, tmp_path: Path):
        for number in range(3):
            write_slice(tmp_path / "ct" / f"{number}", number)
        fields, notes = index_dicom(tmp_path)
        text = json.dumps(fields, ensure_ascii=False)
        for planted in (*PLANTED, SERIES, STUDY, "4711"):
            assert planted.lower() not in text.lower()
        (case,) = fields["cases"]
        assert re.fullmatch(r"patient-[0-9a-f]{16}", case["patient"])
        assert re.fullmatch(r"series-[0-9a-f]{16}", case["series"])
        assert case["image"] == "ct"
        assert case["image_sha256"] == folder_sha256(tmp_path / "ct")
        assert "image_files" not in case
        assert fields["deidentification"] == {"status": "identified"}
        assert fields["modality"] == "CT"
        assert notes == ()

    def test_values_that_break_a_rule_of_dicom_are_quoted_nowhere(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ):
        with pydicom.config.disable_value_validation():
            write_slice(
                tmp_path / "ct" / "1", PatientName="Mustermann^" * 9, PatientBirthDate="3.2.1961", Modality="ct\n"
            )
        index_dicom(tmp_path)
        said = capfd.readouterr()
        assert (caplog.text, said.out, said.err) == ("", "", "")

    def test_series_in_one_folder_are_told_by_their_uid_and_name_their_files(self, tmp_path: Path):
        for number in range(4):
            write_slice(tmp_path / "export" / f"IM{number}", number, f"{SERIES}.{number % 2}")
        fields, _ = index_dicom(tmp_path)
        assert [(case["image"], case["image_files"]) for case in fields["cases"]] == [
            ("export", ["IM0", "IM2"]),
            ("export", ["IM1", "IM3"]),
        ]
        assert len({case["patient"] for case in fields["cases"]}) == 1

    def test_files_in_the_folder_itself_are_named(self, tmp_path: Path):
        for number in range(2):
            write_slice(tmp_path / f"IM{number}", number)
        (case,) = index_dicom(tmp_path)[0]["cases"]
        assert (case["image"], case["image_files"]) == (".", ["IM0", "IM1"])
        manifest = Manifest.from_fields(index_dicom(tmp_path)[0], tmp_path / "m.json")
        (tmp_path / "IM1").unlink()
        assert manifest.missing_files(tmp_path) == [tmp_path / "IM1"]

    def test_a_patient_has_one_pseudonym_for_one_key_and_others_for_others(self, tmp_path: Path):
        write_slice(tmp_path / "a" / "1", 1, f"{SERIES}.1")
        write_slice(tmp_path / "b" / "1", 1, f"{SERIES}.2")
        write_slice(tmp_path / "c" / "1", 1, f"{SERIES}.3", PatientID="OTHER", StudyInstanceUID="1.2.3")
        patients = [
            [case["patient"] for case in index_dicom(tmp_path, pseudonyms=pseudonyms)[0]["cases"]]
            for pseudonyms in (Pseudonyms(b"k" * 32), Pseudonyms(b"k" * 32), Pseudonyms(b"K" * 32), None, None)
        ]
        assert patients[0] == patients[1]
        assert all(one[0] == one[1] != one[2] for one in patients)
        assert len({one[0] for one in patients}) == 4

    def test_the_same_id_from_two_issuers_is_two_patients(self, tmp_path: Path):
        write_slice(tmp_path / "a" / "1", 1, f"{SERIES}.1", IssuerOfPatientID="north")
        write_slice(tmp_path / "b" / "1", 1, f"{SERIES}.2", IssuerOfPatientID="south", StudyInstanceUID="1.2.3")
        assert len({case["patient"] for case in index_dicom(tmp_path)[0]["cases"]}) == 2

    def test_what_is_no_image_is_counted(self, tmp_path: Path):
        write_slice(tmp_path / "ct" / "1")
        (tmp_path / "empty").touch()
        (tmp_path / "notes.txt").write_text("notes")
        (tmp_path / ".hidden").write_text("hidden")
        (tmp_path / "preview.png").write_bytes(imagecodecs.png_encode(np.zeros((2, 2), np.uint8)))
        report = Dataset()
        report.file_meta = FileMetaDataset()
        report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        report.SOPClassUID, report.SOPInstanceUID, report.PatientID = EncapsulatedPDFStorage, generate_uid(), "MRN-4711"
        report.file_meta.MediaStorageSOPClassUID = EncapsulatedPDFStorage
        report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
        report.save_as(tmp_path / "report", enforce_file_format=True)
        fields, notes = index_dicom(tmp_path)
        assert len(fields["cases"]) == 1
        assert set(notes) == {
            "1 passed over: empty (0 bytes)",
            "1 passed over: not DICOM",
            "1 passed over: DICOM without an image",
            "1 passed over: NIfTI, PNG or TIFF beside DICOM",
        }

    @pytest.mark.parametrize(
        ("path", "keyword"),
        [
            ("MUSTERMANN_ERIKA/ct/1", "PatientName"),
            ("ct/mrn 4711/1", "PatientID"),
            ("ct/born-19610203/1", "PatientBirthDate"),
            ("städtisches_klinikum/1", "InstitutionName"),
        ],
    )
    def test_a_path_that_names_the_patient_is_refused_without_repeating_it(
        self, tmp_path: Path, path: str, keyword: str
    ):
        write_slice(tmp_path / path)
        match = rf"the path of a file contains its {keyword}, and a manifest carries paths; de-identify the files first"
        with pytest.raises(ManifestError, match=match) as caught:
            index_dicom(tmp_path)
        said = str(caught.value).replace(str(tmp_path), "").lower()
        assert not any(planted.lower() in said for planted in (*PLANTED, "4711"))
        assert len(index_dicom(tmp_path, identifying_paths=True)[0]["cases"]) == 1

    def test_a_missing_patient_id_is_refused_unless_the_path_tells_the_patient(self, tmp_path: Path):
        for number in range(3):
            write_slice(
                *(tmp_path / f"person{number % 2}" / f"ct{number}" / "1", 1, f"{SERIES}.{number}"),
                **{"PatientID": "", "StudyInstanceUID": f"{STUDY}.{number % 2}"},
            )
        with pytest.raises(ManifestError, match=r"has no PatientID \(0010,0020\), so nothing keeps its patient in one"):
            index_dicom(tmp_path)
        cases = index_dicom(tmp_path, patient_pattern="^([^/]+)/")[0]["cases"]
        assert [case["image"] for case in cases] == ["person0/ct0", "person0/ct2", "person1/ct1"]
        assert cases[0]["patient"] == cases[1]["patient"] != cases[2]["patient"]

    def test_one_series_of_two_patients_is_refused(self, tmp_path: Path):
        write_slice(tmp_path / "ct" / "1", 1)
        write_slice(tmp_path / "ct" / "2", 2, PatientID="OTHER")
        with pytest.raises(ManifestError, match=r"are one series of two patients \(0010,0020\)"):
            index_dicom(tmp_path)

    def test_files_that_say_they_are_deidentified_are_taken_at_their_word(self, tmp_path: Path):
        write_slice(tmp_path / "a" / "1", 1, f"{SERIES}.1", PatientIdentityRemoved="YES")
        assert index_dicom(tmp_path)[0]["deidentification"]["status"] == "deidentified"
        write_slice(tmp_path / "b" / "1", 1, f"{SERIES}.2", PatientIdentityRemoved="NO")
        assert index_dicom(tmp_path)[0]["deidentification"] == {"status": "identified"}

    def test_without_labels_the_classes_must_be_named(self, tmp_path: Path):
        write_slice(tmp_path / "ct" / "1")
        with pytest.raises(LabelError, match=r"no labels that tell the classes; name them: --classes background=0"):
            index_data_set(tmp_path)

    def test_the_real_series_and_its_segmentation_make_one_case(self, real_data: Callable[[str], Path], tmp_path: Path):
        shutil.copytree(real_data("dcmqi-ct-seg") / "ct-3slice", tmp_path / "ct")
        shutil.copy(real_data("dcmqi-ct-seg") / "liver.dcm", tmp_path)
        fields, _ = index_data_set(tmp_path)
        (case,) = fields["cases"]
        assert (case["image"], case["label"]) == ("ct", "liver.dcm")
        liver = pydicom.dcmread(tmp_path / "liver.dcm").SegmentSequence[0]
        assert fields["classes"][1]["name"] == liver.SegmentLabel
        assert fields["classes"][1]["code"]["value"] == liver.SegmentedPropertyTypeCodeSequence[0].CodeValue
        header = pydicom.dcmread(next((tmp_path / "ct").iterdir()))
        assert str(header.PatientID) not in json.dumps(fields)
        assert str(header.SeriesInstanceUID) not in json.dumps(fields)

    def test_two_segmentations_of_one_series_and_one_of_another_are_refused(
        self, real_data: Callable[[str], Path], tmp_path: Path
    ):
        source = real_data("dcmqi-ct-seg")
        shutil.copytree(source / "ct-3slice", tmp_path / "ct")
        for name in ("liver.dcm", "partial_overlaps.dcm"):
            shutil.copy(source / name, tmp_path)
        with pytest.raises(LabelError, match=r"liver\.dcm and .*partial_overlaps\.dcm refer to one series"):
            index_data_set(tmp_path)
        (tmp_path / "partial_overlaps.dcm").unlink()
        shutil.rmtree(tmp_path / "ct")
        write_slice(tmp_path / "ct" / "1")
        with pytest.raises(LabelError, match=r"liver\.dcm refers to a series that is not in the folder"):
            index_data_set(tmp_path)

    def test_real_files_without_a_series_uid_are_one_series(self, real_data: Callable[[str], Path]):
        fields, notes = index_data_set(
            real_data("totalseg-ct-dicom"), patient_pattern="^([^/]+)/", classes={"background": 0, "liver": 5}
        )
        assert [case["image"] for case in fields["cases"]] == ["example_ct_dicom"]
        assert "20 without SeriesInstanceUID: a folder is a series" in notes


def save(path: Path, values: Any = (0, 1), zooms: tuple[float, ...] = (0.5, 0.7, 2.0)) -> None:
    """A small image of any format that can be paired."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.array(values, np.uint8), (4, 6))
    if path.suffix == ".png":
        path.write_bytes(imagecodecs.png_encode(pixels))
    else:
        nibabel.save(nibabel.Nifti1Image(pixels[..., None], np.diag([*zooms, 1.0])), path)


class TestPairs:
    @pytest.mark.parametrize(
        "images",
        ["imagesTr/{}.nii.gz", "imagesTr/{}_0000.nii.gz", "images/{}.png", "train/image/{}.png", "imagesTs/{}.nii"],
    )
    def test_the_usual_folders_are_paired(self, tmp_path: Path, images: str):
        labels = images.replace("image", "label").replace("_0000", "")
        for case in ("a", "b"):
            save(tmp_path / images.format(case), range(24))
            save(tmp_path / labels.format(case), (0, 3))
        fields, notes = index_data_set(tmp_path, name="pairs")
        Manifest.from_fields(fields, tmp_path / "m.json").check_files(tmp_path)
        assert [(case["id"], case["image"], case["label"]) for case in fields["cases"]] == [
            (case, images.format(case), labels.format(case)) for case in ("a", "b")
        ]
        assert [(entry["name"], entry["stored_value"]) for entry in fields["classes"]] == [
            ("background", 0),
            ("class_3", 3),
        ]
        (note,) = notes
        assert note.startswith("2 without a patient: each image counts as a patient of its own")

    def test_patterns_pair_what_their_wildcards_stand_for(self, tmp_path: Path):
        for case in ("x/1", "x/2", "y/1"):
            save(tmp_path / f"{case}/t1.nii.gz")
            save(tmp_path / f"{case}/mask.nii.gz", (0, 2))
        fields, _ = index_data_set(
            tmp_path, image_glob="*/*/t1.nii.gz", label_glob="*/*/mask.nii.gz", patient_pattern="^([^/]+)/"
        )
        assert [(case["id"], case["patient"], case["label"]) for case in fields["cases"]] == [
            ("x-1", "x", "x/1/mask.nii.gz"),
            ("x-2", "x", "x/2/mask.nii.gz"),
            ("y-1", "y", "y/1/mask.nii.gz"),
        ]

    def test_two_stars_stand_for_any_folders(self, tmp_path: Path):
        for case in ("a", "deep/er/b"):
            save(tmp_path / f"{case}.png")
            save(tmp_path / f"{case}_mask.png")
        fields, _ = index_data_set(tmp_path, image_glob="**/*.png", label_glob="**/*_mask.png")
        assert [(case["image"], case["label"]) for case in fields["cases"]] == [
            ("a.png", "a_mask.png"),
            ("deep/er/b.png", "deep/er/b_mask.png"),
        ]

    def test_subjects_of_bids_are_patients(self, tmp_path: Path):
        for subject in ("01", "02"):
            for session in ("a", "b"):
                save(tmp_path / f"sub-{subject}/ses-{session}/images/scan.nii.gz")
                save(tmp_path / f"sub-{subject}/ses-{session}/labels/scan.nii.gz")
        fields, _ = index_data_set(tmp_path)
        assert [case["patient"] for case in fields["cases"]] == ["sub-01", "sub-01", "sub-02", "sub-02"]
        assert len({case["id"] for case in fields["cases"]}) == 4

    def test_an_image_without_a_label_is_a_case_without_one(self, tmp_path: Path):
        for name in ("images/a.png", "images/b.png", "labels/b.png"):
            save(tmp_path / name)
        cases = index_data_set(tmp_path)[0]["cases"]
        assert [(case["label"], case["label_sha256"] is None) for case in cases] == [
            (None, True),
            ("labels/b.png", False),
        ]

    def test_spacing_is_told_where_all_images_agree(self, tmp_path: Path):
        save(tmp_path / "images/a.nii.gz")
        save(tmp_path / "labels/a.nii.gz")
        fields, _ = index_data_set(tmp_path)
        assert fields["spacing_mm"] == pytest.approx([0.5, 0.7])
        assert fields["slice_spacing_mm"] == 2.0
        save(tmp_path / "images/b.nii.gz", zooms=(0.5, 0.7, 3.0))
        assert index_data_set(tmp_path)[0]["spacing_mm"] is None

    @pytest.mark.parametrize(
        ("files", "arguments", "error", "match"),
        [
            ([], {}, ImageError, r"holds no image: of its 0 files none is DICOM, NIfTI, PNG or TIFF"),
            (["a.txt"], {}, ImageError, r"holds no image: of its 1 file none"),
            (["a.png"], {}, ImageError, r"of 1 image none lies in a folder named imagesTr, .*; say which are images"),
            (["images/a.png", "labels/b.png"], {}, LabelError, r"label labels/b\.png belongs to no image"),
            (["imagesTr/a_0001.nii"], {}, ImageError, r"a_0001\.nii is another channel of an image"),
            (["a.png"], {"label_glob": "*.png"}, ConfigError, r"--label-glob needs --image-glob"),
            (["a.png"], {"image_glob": "*.tif"}, ImageError, r"no file matches '\*\.tif'"),
            (["a.png"], {"image_glob": "/a/*.png"}, ConfigError, r"pattern '/a/\*\.png' is absolute"),
            (
                ["a.png"],
                {"image_glob": "*.png", "label_glob": "*/*.png"},
                ConfigError,
                r"have 1 and 2 wildcards; expected as many",
            ),
            (["images/a.png"], {"patient_pattern": "("}, ConfigError, r"'\(' is no regular expression"),
            (["images/a.png"], {"patient_pattern": "z"}, ConfigError, r"finds no patient in images/a\.png"),
            (["images/a.png"], {}, LabelError, r"no labels that tell the classes"),
        ],
        ids=str,
    )
    def test_what_cannot_be_indexed_is_refused(
        self, tmp_path: Path, files: list[str], arguments: dict[str, Any], error: type[Exception], match: str
    ):
        for name in files:
            if name.endswith(".txt"):
                (tmp_path / name).write_text("text")
            else:
                save(tmp_path / name)
        with pytest.raises(error, match=match):
            index_data_set(tmp_path, **arguments)

    def test_a_folder_that_is_not_there_is_refused(self, tmp_path: Path):
        with pytest.raises(MissingFileError, match=r"folder .*none not found"):
            index_data_set(tmp_path / "none")

    def test_labels_that_number_objects_are_no_classes(self, tmp_path: Path):
        save(tmp_path / "images/a.png")
        (tmp_path / "labels").mkdir()
        numbers = np.arange(100, dtype=np.uint8).reshape(10, 10)
        (tmp_path / "labels/a.png").write_bytes(imagecodecs.png_encode(numbers))
        with pytest.raises(LabelError, match=r"hold 100 values, more than 64; they look like numbers of objects"):
            index_data_set(tmp_path)


def test_a_short_key_and_a_missing_key_file_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"the key for pseudonyms has 15 bytes; expected at least 16"):
        Pseudonyms(b"k" * 15)
    with pytest.raises(MissingFileError, match=r"key file .*none cannot be read"):
        Pseudonyms.from_file(tmp_path / "none")


def test_parts_of_identifiers_do_not_run_together():
    pseudonyms = Pseudonyms(b"k" * 32)
    assert pseudonyms.of("patient", "ab", "c") != pseudonyms.of("patient", "a", "bc")
    assert pseudonyms.of("patient", "x") != pseudonyms.of("series", "x").replace("series", "patient")
