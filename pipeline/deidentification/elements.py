"""Elements of a DICOM dataset of which nothing is taken for granted: what can be read, and as what."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from ..formats import dicom_files

UNREADABLE: Final = (*dicom_files.UNREADABLE, LookupError, OSError)
"""What pydicom raises over bytes in memory that are not what they should be; `OSError` where a tag is cut short."""
STANDARD_UID: Final = re.compile(r"1\.2\.840\.10008(\.\d{1,4})+")
PIXELS: Final = (0x7FE00008, 0x7FE00009, 0x7FE00010)
TEXT_VRS: Final = ("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UR", "UT")
_BYTES_VRS: Final = ("OB", "OW", "OD", "OF", "OL", "OV")
NUMBER_VRS: Final = ("DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV")


def text_of(dataset: Dataset, keyword: str) -> str:
    """Return the value of an element as text without padding; empty where there is none or it cannot be read."""
    try:
        value = dataset.get(keyword)
    except UNREADABLE:
        return ""
    return "" if value is None else str(value).strip(" \0")


def readable(dataset: Dataset, tag: BaseTag) -> DataElement | None:
    """Return an element, or None where its bytes are not what its VR says.

    Where they are not, pydicom may try other VRs: then a number is a text.
    """
    try:
        element = dataset[tag]
        if element.is_empty:
            return element
        several = element.VR != "SQ" and isinstance(element.value, (list, MultiValue))
        values = element.value if several else [element.value]
    except UNREADABLE:
        return None
    return element if all(isinstance(value, _types_of(element.VR)) for value in values) else None


def _types_of(vr: str) -> tuple[type, ...]:
    """Return how pydicom gives values of a VR."""
    if vr in _BYTES_VRS or vr == "UN":
        return (bytes,)
    if vr in ("PN", "SQ"):
        return (PersonName,) if vr == "PN" else (Sequence,)
    if vr in ("DS", "IS", "AT", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV"):
        return (int, float, Decimal)
    # One of two VRs, told by another element: bytes until it is told.
    return (int, bytes) if " or " in vr else (str,)


def all_elements(dataset: Dataset) -> Iterator[DataElement]:
    """Give every element that can be read, also those within sequences."""
    for tag in tuple(dataset.keys()):
        if tag.is_private or tag in PIXELS:
            continue
        element = readable(dataset, tag)
        if element is None:
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from all_elements(item)
        else:
            yield element


def has_vr_of_dictionary(element: DataElement) -> bool:
    """Tell whether a text stands where the standard has a text: free text in the field of a number is no number."""
    if element.VR not in (*TEXT_VRS, "AS"):
        return True
    return dictionary_VR(element.tag) in (*TEXT_VRS, "PN", "UN")
