"""Which files belong to one patient: by Patient ID and its issuer, and without one by what their study says."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Final

from pydicom.dataset import Dataset

from .elements import UNREADABLE, text_of
from .terms import plain

HEADER_KEYWORDS: Final = (
    *("PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientName", "PatientBirthDate"),
    *("StudyInstanceUID", "SpecificCharacterSet"),
)


@dataclass(frozen=True)
class PatientHeader:
    """What a file says of who its patient is; empty where it says nothing.

    Attributes:
        patient_id: Patient ID (0010,0020).
        issuer: Issuer of Patient ID (0010,0021), or the universal id of its qualifiers (0010,0024).
        name: Patient's Name (0010,0010).
        birth: Patient's Birth Date (0010,0030).
        study: Study Instance UID (0020,000D).
    """

    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)
    name: str = field(repr=False)
    birth: str = field(repr=False)
    study: str = field(repr=False)

    @classmethod
    def of(cls, dataset: Dataset) -> PatientHeader:
        """Read the header of a file, or of an item of a sequence."""
        patient_id = text_of(dataset, "PatientID")
        name, birth, study = (
            text_of(dataset, word) for word in ("PatientName", "PatientBirthDate", "StudyInstanceUID")
        )
        return cls(patient_id, _issuer(dataset) if patient_id else "", name, birth, study)

    @property
    def identity(self) -> str:
        """What tells this patient from all others, as far as one file can know."""
        if self.patient_id:
            return f"{self.patient_id}\0{self.issuer}" if self.issuer else self.patient_id
        return f"name\0{self.name}\0{self.birth}" if self.name else f"study\0{self.study}"

    @property
    def certainty(self) -> int:
        """How well the patient is told: by id and issuer, by id, by name and birth date, by name, or not at all."""
        if self.patient_id:
            return 4 if self.issuer else 3
        return (2 if self.birth else 1) if self.name else 0

    def agrees_with(self, other: PatientHeader) -> bool:
        """Tell whether two headers can be of one patient: nothing that both say differs."""
        pairs = (
            (self.patient_id, other.patient_id),
            (self.issuer, other.issuer),
            (_letters(self.name), _letters(other.name)),
            (self.birth, other.birth),
        )
        return all(one == two or not one or not two for one, two in pairs)


class Identities:
    """The patients of many files, from a first pass over their headers."""

    def __init__(self) -> None:
        self._by_study: dict[str, set[PatientHeader]] = defaultdict(set)
        self._persons: dict[str, set[PatientHeader]] = defaultdict(set)

    def add(self, header: PatientHeader) -> None:
        """Take in the header of a file."""
        if header.study:
            self._by_study[header.study].add(header)
        if header.patient_id:
            self._persons[header.identity].add(replace(header, study="", issuer=""))

    def of(self, header: PatientHeader) -> str | None:
        """Return the identity of a file's patient.

        A file that says less than others of its study is of the patient whom those tell best, since a study has one
        patient (PS3.3 A.1.2).

        Returns:
            The identity; None where the file says no Patient ID, and its study is of several patients or of another.
        """
        better = {other for other in self._by_study[header.study] if other.certainty > header.certainty}
        fitting = [other for other in better if other.agrees_with(header)]
        best = max((other.certainty for other in fitting), default=0)
        identities = {other.identity for other in fitting if other.certainty == best}
        if len(identities) == 1:
            return identities.pop()
        return header.identity if header.patient_id or not better else None

    def is_ambiguous(self, identity: str) -> bool:
        """Tell whether files of one Patient ID name several patients: other names, or other birth dates."""
        persons = self._persons[identity]
        return any(not one.agrees_with(two) for one in persons for two in persons)


def _issuer(dataset: Dataset) -> str:
    issuer = text_of(dataset, "IssuerOfPatientID")
    if issuer:
        return issuer
    try:
        items = list(dataset.get("IssuerOfPatientIDQualifiersSequence") or ())
    except UNREADABLE:
        return ""
    return next(filter(None, (text_of(item, "UniversalEntityID") for item in items)), "")


def _letters(name: str) -> str:
    """Return a name without case, accents and what stands between its parts."""
    return re.sub(r"[\W_]+", " ", plain(name)).strip()
