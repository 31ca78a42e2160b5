"""What identifies somebody in one instance: words to look for in the text that the profile leaves as it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pydicom.dataelem import DataElement
from pydicom.valuerep import PersonName

from .dates import shifted
from .profile import ConfidentialityProfile

_SHORTEST_NAME: Final = 3
_SHORTEST_ID: Final = 4
# Longer terms are found inside of words too, as in a file name that strings names together.
_SHORTEST_INSIDE_WORDS: Final = 5
_SHORTEST_INSIDE_NUMBERS: Final = 6
# One letter for two, and back: what people write who lack the key.
_UMLAUTS: Final = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
_STROKES: Final = str.maketrans("øłđ", "old")
_MARKS: Final = re.compile(r"[-'’‘`´]")
_SEPARATORS: Final = re.compile(r"[\s^=.,;_/-]+")
_PATIENT_ID: Final = 0x00100020
_IDENTIFIER_VRS: Final = ("AE", "LO", "LT", "SH", "ST", "UC", "UR", "UT")
_UID: Final = re.compile(r"(?<![\d.])[0-2](\.\d+){5,}")
_DAY: Final = re.compile(r"(?<!\d)(\d{1,2}([./-])\d{1,2}\2(19|20)\d\d|(19|20)\d\d([./-])\d{1,2}\5\d{1,2})(?!\d)")
_STANDARD_ROOT: Final = "1.2.840.10008."


@dataclass(frozen=True)
class IdentifyingTerms:
    """Names, ids, institutions and dates of an instance.

    Attributes:
        words: In the form that `plain` gives: no accents, no case.
        uids: Whether UIDs in texts count, except those of the standard itself.
        dates: Whether days in texts count, such as 12.03.1961, also those that no attribute says.
    """

    words: frozenset[str] = field(repr=False)
    uids: bool = True
    dates: bool = True
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)
    _numbers: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile what is looked for."""
        longest_first = sorted(self.words, key=lambda word: (-len(word), word))
        parts = [_anywhere_or_alone(word) for word in longest_first]
        numbers = (word.lstrip("0") for word in self.words if word.isdecimal() and word.isascii())
        object.__setattr__(self, "_numbers", frozenset(numbers) - {""})
        object.__setattr__(self, "_pattern", re.compile("|".join(parts)) if parts else None)

    @classmethod
    def of(
        cls, elements: Iterable[DataElement], profile: ConfidentialityProfile, *, uids: bool = True, dates: bool = True
    ) -> IdentifyingTerms:
        """Collect the terms of an instance.

        Args:
            elements: All its elements, also those within sequences.
            profile: Tells which of them identify.
            uids: Whether UIDs in texts count.
            dates: Whether dates count that the full-dates option retains; others, as of birth, always do.
        """
        words: set[str] = set()
        for element in elements:
            values = [element.value] if element.VM < 2 else list(element.value)
            for value in values:
                text = str(value or "").strip(" \0")
                if element.VR == "PN":
                    words.update(_name_words(text))
                elif element.VR in ("DA", "DT"):
                    if dates or not profile.is_retained_date(element.tag):
                        words.update(_date_words(text, element.VR))
                elif element.VR in _IDENTIFIER_VRS and profile.is_identifier(element.tag):
                    shortest = _SHORTEST_NAME if element.tag == _PATIENT_ID else _SHORTEST_ID
                    words.update(line for line in map(plain, text.splitlines()) if len(line) >= shortest)
        return cls(frozenset(words), uids, dates)

    def found_in(self, text: str) -> bool:
        """Tell whether any of the terms stands in a text, in any case and with or without accents."""
        if self._pattern is not None and any(map(self._pattern.search, _spellings(plain(text)))):
            return True
        if self.dates and _DAY.search(text):
            return True
        return self.uids and any(not uid.group().startswith(_STANDARD_ROOT) for uid in _UID.finditer(text))

    def found_in_number(self, digits: str, *, shortest: int) -> bool:
        """Tell whether a whole number is one of the terms, or holds one of six digits or more.

        Args:
            digits: The number without sign and fraction.
            shortest: How many digits a number has at least that is not a coincidence.
        """
        digits = digits.lstrip("0")
        if len(digits) < shortest:
            return False
        inside = (number for number in self._numbers if len(number) >= _SHORTEST_INSIDE_NUMBERS)
        return digits in self._numbers or any(number in digits for number in inside)

    def found_in_bytes(self, content: bytes) -> bool:
        """Tell whether any of the longer terms stands in bytes, in UTF-8 or Latin-1."""
        longer = [word for word in self.words if len(word) >= _SHORTEST_INSIDE_WORDS]
        texts = [plain(content.decode(encoding, errors="ignore")) for encoding in ("utf-8", "latin-1")]
        return any(word in text for word in longer for text in texts)


def _anywhere_or_alone(word: str) -> str:
    """Return the pattern of a term: short ones must stand alone, since they are parts of many words."""
    if len(word.replace(" ", "")) >= _SHORTEST_INSIDE_WORDS or not word.isascii():
        return re.escape(word)
    return rf"(?<![^\W_]){re.escape(word)}(?![^\W_])"


def plain(text: str) -> str:
    """Return a text without case and accents, and with single spaces."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_STROKES))
    return " ".join("".join(letter for letter in decomposed if not unicodedata.combining(letter)).split())


def _spellings(text: str) -> tuple[str, str, str]:
    """Return a plain text as it is, without hyphens and apostrophes, and with spaces for all that separates words."""
    return text, _MARKS.sub("", text), _SEPARATORS.sub(" ", text)


def _name_words(text: str) -> Iterable[str]:
    """Give the parts of a person's name in all its representations, and the whole of short ones."""
    for group in PersonName(text).components if text else ():
        whole = unicodedata.normalize("NFC", group).casefold()
        parts = [part for part in re.split(r"[\s^=.,;]+", whole) if part]
        for part in parts:
            for spelling in _spellings_of_name(part):
                # Two ideographs are a name; two Latin letters are a word of any language.
                if len(spelling) >= (_SHORTEST_NAME if spelling.isascii() else 2):
                    yield spelling
        # Two short parts together are a name, in either order.
        if len(parts) == 2 and any(len(part) < _SHORTEST_NAME for part in parts):
            one, two = map(plain, parts)
            for spelling in (f"{one} {two}", f"{two} {one}", one + two, two + one):
                if len(spelling) > (_SHORTEST_NAME if spelling.isascii() else 1):
                    yield spelling


def _spellings_of_name(part: str) -> set[str]:
    """Return how a part of a name may be written: Mueller for Müller, Oneil for O'Neil, both halves of Meier-Huber."""
    folded = plain(part)
    umlauts = {folded, plain(part.translate(_UMLAUTS)), re.sub("aa", "a", re.sub("([aou])e", r"\1", folded))}
    return umlauts | {_MARKS.sub("", word) for word in umlauts} | {half for word in umlauts for half in word.split("-")}


def _date_words(text: str, vr: str) -> Iterable[str]:
    """Give the ways in which a date is written in texts."""
    known = shifted(text, vr, 0)
    if known is None:
        return
    year, month, day = known[:4], known[4:6], known[6:8]
    yield year + month + day
    for mark in "-./":
        yield mark.join((year, month, day))
        yield mark.join((day, month, year))
        yield mark.join((month, day, year))
