"""Whose each DICOM series is: no person may become two patients, or two persons one, without a word."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from pydicom.dataset import Dataset

from ..counted import agreed, counted
from ..errors import ManifestError
from .patient_pattern import patient_in

PATIENT_TAGS: Final = (
    *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate"),
    *("StudyInstanceUID", "FrameOfReferenceUID"),
)
_STANDARD_ROOT: Final = "1.2.840.10008."
Patient = tuple[str, str]


def same_patient_id(first: Dataset, second: Dataset) -> bool:
    """Tell whether two headers may be of one patient: their PatientIDs agree but for case and blanks, or one lacks."""
    one, other = (_plain(header, "PatientID") for header in (first, second))
    return one == other or not (one and other)


def patients_of_series(
    headers: Mapping[str, Dataset], paths: Mapping[str, str], pattern: re.Pattern[str] | None
) -> tuple[dict[str, Patient], list[str]]:
    """Tell the patient of each series by PatientID, with its issuer, or by the path where no series has an id.

    Ids that differ in case or blanks only are one, and so are one with its issuer and one without.

    Args:
        headers: The first header of each series, by the series.
        paths: A path of each series, relative to the data folder.
        pattern: Finds the patient in a path.

    Returns:
        The patient of each series, and what a person should know.

    Raises:
        ManifestError: If a series tells no patient, some series have an id and others not, an id without issuer may be
            of two issuers, an id has two names and two dates of birth, or a study has two patients.
    """
    ids = {series: _plain(header, "PatientID") for series, header in headers.items()}
    without = [series for series, identifier in ids.items() if not identifier]
    if not without:
        patients, notes = _by_issuer(headers, ids)
    elif pattern is None:
        raise ManifestError(
            f"{paths[without[0]]} has no PatientID (0010,0020), so nothing keeps its patient in one split; name the "
            "part of the path that tells the patient: --patient-pattern '^([^/]+)/'"
        )
    elif len(without) < len(ids):
        raise ManifestError(
            f"{len(without)} of {len(ids)} series {agreed(len(without), 'has', 'have')} no PatientID (0010,0020), such "
            f"as {paths[without[0]]}; a path cannot tell whether their patients are among the others; add the ids, or "
            "index them apart"
        )
    else:
        patients, notes = {series: ("path", patient_in(paths[series], pattern) or "") for series in ids}, []
    _check_studies(headers, patients)
    return patients, [*notes, *_doubts(headers, patients)]


def _by_issuer(headers: Mapping[str, Dataset], ids: Mapping[str, str]) -> tuple[dict[str, Patient], list[str]]:
    known: dict[str, set[str]] = defaultdict(set)
    spellings: dict[Patient, set[tuple[str, str]]] = defaultdict(set)
    for series, header in headers.items():
        known[ids[series]] |= {_plain(header, "IssuerOfPatientID")} - {""}
    patients: dict[str, Patient] = {}
    for series, header in headers.items():
        issuers = known[ids[series]]
        issuer = _plain(header, "IssuerOfPatientID") or min(issuers, default="")
        if len(issuers) > 1 and not _plain(header, "IssuerOfPatientID"):
            raise ManifestError(
                f"a series has a PatientID that {len(issuers)} issuers (0010,0021) gave, and names none; nobody can "
                "tell whose it is: add the issuer"
            )
        patients[series] = (issuer, ids[series])
        spellings[patients[series]].add((str(header.get("IssuerOfPatientID") or ""), str(header.PatientID)))
    number = sum(len(written) > 1 for written in spellings.values())
    note = f"{number} with a PatientID in several spellings (case, blanks, issuer): each taken as one patient"
    return patients, [note] if number else []


def _check_studies(headers: Mapping[str, Dataset], patients: Mapping[str, Patient]) -> None:
    if number := _shared("StudyInstanceUID", headers, patients):
        raise ManifestError(
            f"{counted(number, 'study', 'studies')} (0020,000D) {agreed(number, 'has', 'have')} series of two "
            "patients, so that a person could be in two splits; correct the PatientID (0010,0020), or leave one out"
        )


def _doubts(headers: Mapping[str, Dataset], patients: Mapping[str, Patient]) -> list[str]:
    """Return notes on one patient with two names or dates of birth; refuse both at once, which is two persons."""
    names: dict[Patient, set[str]] = defaultdict(set)
    births: dict[Patient, set[str]] = defaultdict(set)
    for series, header in headers.items():
        names[patients[series]] |= {re.sub(r"[\W_]+", "", _plain(header, "PatientName"))} - {""}
        births[patients[series]] |= {_plain(header, "PatientBirthDate")} - {""}
    if number := sum(len(names[one]) > 1 and len(births[one]) > 1 for one in names):
        raise ManifestError(
            f"{counted(number, 'PatientID')} (0010,0020) {agreed(number, 'has', 'have')} two names and two dates of "
            "birth: two persons with one id; correct it, or index them apart"
        )
    doubtful = sum(len(names[one]) > 1 or len(births[one]) > 1 for one in names)
    frames = _shared("FrameOfReferenceUID", headers, patients)
    return [
        *(
            [f"{counted(doubtful, 'PatientID')} with two names or dates of birth: each taken as one patient"]
            if doubtful
            else []
        ),
        *(
            [f"{counted(frames, 'frame')} of reference with two patients: look whether these are one person"]
            if frames
            else []
        ),
    ]


def _shared(keyword: str, headers: Mapping[str, Dataset], patients: Mapping[str, Patient]) -> int:
    """Return how many values of a UID occur in series of several patients."""
    by_uid: dict[str, set[Patient]] = defaultdict(set)
    for series, header in headers.items():
        by_uid[str(header.get(keyword) or "")].add(patients[series])
    return sum(len(found) > 1 for uid, found in by_uid.items() if uid and not uid.startswith(_STANDARD_ROOT))


def _plain(header: Dataset, keyword: str) -> str:
    """Return a value without case and blanks."""
    return "".join(unicodedata.normalize("NFKC", str(header.get(keyword) or "")).casefold().split())
