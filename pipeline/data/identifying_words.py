"""Finding in paths and names what DICOM headers say of the patient, in the ways in which people write it."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from ..deidentification.profile import confidentiality_profile
from ..deidentification.terms import IdentifyingTerms

IDENTIFYING_TAGS: Final = (
    *("PatientID", "PatientName", "PatientBirthDate", "OtherPatientIDs", "OtherPatientNames", "PatientBirthName"),
    *("PatientMotherBirthName", "AccessionNumber", "InstitutionName", "ReferringPhysicianName"),
    *("PerformingPhysicianName", "NameOfPhysiciansReadingStudy", "OperatorsName", "RequestingPhysician"),
)
_TRANSCRIBED: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})
# Shorter ones are parts of many words, and of many numbers.
_SHORTEST_INSIDE_WORDS: Final = 5
_SHORTEST_IN_NUMBERS: Final = 7
_SHORTEST_NUMBER: Final = 4
_SHORTEST: Final = 3
_YEAR: Final = re.compile(r"(19|20)\d\d")


class IdentifyingWords:
    """What headers say of patients: names, ids, dates of birth, institutions.

    A PatientID counts as a pseudonym where Patient Identity Removed (0012,0062) is YES.
    """

    def __init__(self) -> None:
        self._words: dict[str, set[str]] = defaultdict(set)
        self._seen: set[tuple[str, ...]] = set()

    def add(self, header: Dataset) -> None:
        """Take in a header."""
        keys = ("PatientIdentityRemoved", *IDENTIFYING_TAGS)
        said = tuple(str(header.get(keyword, "")) for keyword in keys)
        if said in self._seen:
            return
        self._seen.add(said)
        is_pseudonym = header.get("PatientIdentityRemoved") == "YES"
        pseudonym = set(_words(header["PatientID"])) if is_pseudonym and "PatientID" in header else set()
        for keyword in IDENTIFYING_TAGS:
            if keyword in header:
                self._words[keyword].update(set(_words(header[keyword])) - pseudonym)

    def first_in(self, texts: Iterable[str]) -> str | None:
        """Return the keyword of the first attribute whose value stands in one of the texts; None where none does.

        Args:
            texts: Names of files or folders, or paths. Separators, case and accents make no difference.
        """
        spaced = {_spaced(text) for text in texts}
        places = spaced | {_joined(part) for text in texts for part in text.split("/")}
        for keyword, words in self._words.items():
            if words:
                pattern = re.compile("|".join(_pattern(word) for word in sorted(words, key=lambda word: -len(word))))
                if any(pattern.search(place) for place in places):
                    return keyword
        return None


def _words(element: DataElement) -> Iterator[str]:
    """Yield what stands for a person in an element, with single blanks between its parts, and without blanks."""
    values = [element.value] if element.VM < 2 else list(element.value)
    texts = {_spaced(text) for text in IdentifyingTerms.of([element], confidentiality_profile()).words}
    for value in filter(None, map(str, values)):
        if element.VR == "PN":
            for written in (value, unicodedata.normalize("NFC", value.casefold()).translate(_TRANSCRIBED)):
                whole = _spaced(written)
                texts |= {whole, *whole.split()}
        else:
            texts.add(_spaced(value))
            texts.update(
                number
                for number in re.findall(rf"\d{{{_SHORTEST_NUMBER},}}", value)
                if "ID" in element.keyword and not _YEAR.fullmatch(number)
            )
    # Two letters are the name of a patient in many languages; of others they are more often a title.
    has_short = element.VR == "PN" and element.keyword.startswith("Patient")
    for text in texts:
        if len(text) >= _SHORTEST or (len(text) == 2 and (has_short or not text.isascii()) and text.isalpha()):
            yield text
            if len(_joined(text)) >= _SHORTEST_INSIDE_WORDS:
                yield _joined(text)


def _pattern(word: str) -> str:
    """Return the pattern of a word: short ones stand alone, numbers are no part of longer numbers."""
    if word.isdigit():
        border = r"\d" if len(word) >= _SHORTEST_NUMBER else r"\w"
        return rf"(?<!{border}){word}(?!{border})" if len(word) < _SHORTEST_IN_NUMBERS else word
    if len(word) >= _SHORTEST_INSIDE_WORDS or not word.isascii():
        return re.escape(word)
    return rf"(?<!\w){re.escape(word)}(?!\w)"


def _spaced(text: str) -> str:
    """Return a text without case and accents, with single blanks for all that is neither letter nor digit."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return re.sub(r"[\W_]+", " ", letters).strip()


def _joined(text: str) -> str:
    return _spaced(text).replace(" ", "")
