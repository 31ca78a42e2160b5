"""Coded items (PS3.3 8): codes that anyone can look up stay, with the meaning that their scheme gives them."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from .elements import text_of
from .key import DeidentificationKey
from .terms import IdentifyingTerms
from .text import clean_text
from .values import REMOVED, dummy_element

# Coding schemes that anyone can look up (PS3.16 8); items of others may hold codes that a hospital made.
_PUBLIC_SCHEMES: Final = {"DCM", "SCT", "SRT", "SNM3", "99SDM", "LN", "UCUM", "FMA", "RADLEX", "NCIt", "UMLS", "I10"}
_VALUES: Final = ("CodeValue", "LongCodeValue", "URNCodeValue")
_OF_A_CODE: Final = (*_VALUES, "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning")
_WORD: Final = re.compile(r"[^\W\d_]{4}")


def is_public(item: Dataset) -> bool:
    """Tell whether the code of an item is of a scheme that anyone can look up, or of none at all."""
    scheme = text_of(item, "CodingSchemeDesignator")
    return not scheme or scheme in _PUBLIC_SCHEMES


def clean_code(item: Dataset, terms: IdentifyingTerms, key: DeidentificationKey) -> None:
    """Take out of an item, in place, what people may have typed into a code.

    A code of the schemes that pydicom knows keeps a meaning of theirs, or gets it. The meaning of another public one is
    cleaned like a description, and its value is a dummy where it holds a word. Of any other scheme nothing is left but
    dummies.
    """
    present = [keyword for keyword in _OF_A_CODE if item.get(keyword)]
    if not present:
        return
    if not is_public(item) or ("CodeMeaning" in present and "CodingSchemeDesignator" not in present):
        _replace(item, present, key)
        return
    known = _meanings().get((text_of(item, "CodingSchemeDesignator"), text_of(item, "CodeValue")))
    if "CodeMeaning" in present:
        meaning = text_of(item, "CodeMeaning")
        cleaned = clean_text(meaning, terms) or REMOVED
        item.CodeMeaning = cleaned if known is None else meaning if meaning in known else min(known, key=len)
    suspect = ["CodingSchemeVersion", *(_VALUES if known is None else _VALUES[1:])]
    found = [keyword for keyword in suspect if keyword in present and _is_suspect(text_of(item, keyword), terms)]
    _replace(item, found, key)


def _is_suspect(value: str, terms: IdentifyingTerms) -> bool:
    return _WORD.search(value) is not None or terms.found_in(value)


def _replace(item: Dataset, keywords: list[str], key: DeidentificationKey) -> None:
    for keyword in keywords:
        item.add(dummy_element(item[keyword], key))


@functools.cache
def _meanings() -> dict[tuple[str, str], set[str]]:
    """Return what codes mean, by scheme and value."""
    schemes = (codes.DCM, codes.SCT, codes.UCUM, codes.FMA, codes.LN, codes.RADLEX, codes.NCIt, codes.UMLS, codes.I10)
    meanings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for scheme in schemes:
        for code in scheme.concepts.values():
            meanings[code.scheme_designator, code.value].add(code.meaning)
    return meanings
