"""Who the patient of a file is: ids and issuers, files of a study that say less than others, ids of several people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from pipeline.deidentification import (
    DeidentificationCounts,
    DeidentificationKey,
    DeidentificationOptions,
    DeidentificationPlan,
    deidentify_folder,
)
from pipeline.deidentification.identity import Identities, PatientHeader

KEY = DeidentificationKey(b"k" * 32)
ALOIS = {"PatientID": "PID-4711", "PatientName": "Wolpertinger^Alois", "PatientBirthDate": "19610312"}
OTTO = {"PatientName": "Other^Otto", "PatientBirthDate": "19990101"}


def _save(folder: Path, number: int, **values: Any) -> None:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.4.5.6.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.StudyDate = "1.2.3.4.5.7", "1.2.3.4.5.8", "20190412"
    dataset.Rows, dataset.Columns, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 2, 3, 16, 16, 15
    dataset.SamplesPerPixel, dataset.PixelRepresentation, dataset.PhotometricInterpretation = 1, 0, "MONOCHROME2"
    dataset.InstanceNumber, dataset.PixelData = number, bytes(12)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder.mkdir(exist_ok=True)
    dataset.save_as(folder / f"{number}", enforce_file_format=True)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "in"


def _run(source: Path) -> tuple[DeidentificationCounts, list[tuple[str, str]]]:
    """Return the counts, and the pseudonym and date of each file, in the order of their numbers."""
    target = source.with_name("out")
    options = DeidentificationOptions(dates="modified")
    counts = deidentify_folder(DeidentificationPlan.checked(source, target), KEY, options)
    new = sorted((pydicom.dcmread(path) for path in target.rglob("*.dcm")), key=lambda file: int(file.InstanceNumber))
    return counts, [(str(file.PatientID), str(file.StudyDate)) for file in new]


def test_one_study_stays_one_patient_where_files_say_less_than_others(source: Path) -> None:
    _save(source, 1, PatientName="")
    _save(source, 2, **{**ALOIS, "PatientID": ""})
    _save(source, 3, **ALOIS)
    _save(source, 4, PatientName="WOLPERTINGER^ALOIS")
    _save(source, 5, PatientID="PID-4711", IssuerOfPatientID="North")
    _save(source, 6, PatientID="PID-4711", IssuerOfPatientID="North", StudyInstanceUID="1.2.3.4.5.70")
    counts, files = _run(source)
    assert files == [files[0]] * 6
    assert files[0][0] == KEY.patient("PID-4711\0North")
    assert (len(counts.patients), counts.without_patient_id) == (1, 3)


def test_a_study_without_ids_is_of_the_name_that_one_of_its_files_says(source: Path) -> None:
    _save(source, 1)
    _save(source, 2, PatientName="Wolpertinger^Alois")
    _save(source, 3, PatientName="Wolpertinger^Alois", PatientBirthDate="19610312")
    _save(source, 4, StudyInstanceUID="1.2.3.4.5.70")
    _, files = _run(source)
    assert files[0] == files[1] == files[2] != files[3]


def test_files_without_an_id_are_left_out_of_a_study_of_others(source: Path) -> None:
    _save(source, 1, **ALOIS)
    _save(source, 2, **OTTO, PatientID="")
    _save(source, 3, PatientID="PID-4712", PatientName="Third^Tim")
    _save(source, 4)
    counts, files = _run(source)
    assert [patient for patient, _ in files] == [KEY.patient("PID-4711"), KEY.patient("PID-4712")]
    assert counts.left_out == {"without Patient ID, in a study of several patients or of another": 2}
    assert counts.studies_of_several_patients == 1
    assert "1 study of several Patient IDs" in "\n".join(counts.lines())


def test_one_id_of_two_issuers_is_two_patients(source: Path) -> None:
    _save(source, 1, **ALOIS, IssuerOfPatientID="North")
    _save(source, 2, PatientID="PID-4711", **OTTO, IssuerOfPatientID="South", StudyInstanceUID="1.2.3.4.5.70")
    qualifier = Dataset()
    qualifier.UniversalEntityID = "1.2.276.1"
    east = {"IssuerOfPatientIDQualifiersSequence": Sequence([qualifier]), "StudyInstanceUID": "1.2.3.4.5.71"}
    _save(source, 3, PatientID="PID-4711", **east)
    counts, files = _run(source)
    assert len(set(files)) == len({patient for patient, _ in files}) == 3
    assert not counts.ambiguous_patients


def test_an_id_of_several_people_is_said(source: Path) -> None:
    _save(source, 1, **{**ALOIS, "PatientID": "UNKNOWN"})
    _save(source, 2, PatientID="UNKNOWN", **OTTO, StudyInstanceUID="1.2.3.4.5.70")
    _save(source, 3, **ALOIS, StudyInstanceUID="1.2.3.4.5.71")
    _save(source, 4, PatientID="PID-4711", PatientName="wolpertinger alois", StudyInstanceUID="1.2.3.4.5.72")
    counts, files = _run(source)
    assert counts.ambiguous_patients == {KEY.patient("UNKNOWN")} == {files[0][0], files[1][0]}
    assert "1 Patient ID with several names or birth dates" in "\n".join(counts.lines())


HEADERS = st.builds(
    PatientHeader, *(st.sampled_from(["", "a", "b"]) for _ in range(4)), study=st.sampled_from(["1.2", "1.3"])
)


@given(st.lists(HEADERS, min_size=1, max_size=6), st.randoms())
def test_identities_do_not_depend_on_the_order_of_files_and_ids_never_merge(headers: Any, random: Any) -> None:
    shuffled = list(headers)
    random.shuffle(shuffled)
    one, two = Identities(), Identities()
    for first, second in zip(headers, shuffled, strict=True):
        one.add(first)
        two.add(second)
    for header in headers:
        identity = one.of(header)
        assert identity == two.of(header)
        if header.patient_id:
            assert identity is not None
            assert identity.split("\0")[0] == header.patient_id
