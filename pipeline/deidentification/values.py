"""Values that say nothing: dummies that are valid for their VR (action D), and empty ones (action Z)."""

from __future__ import annotations

import math
from typing import Any, Final

from pydicom.dataelem import DataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence
from pydicom.uid import UID

from .key import DeidentificationKey
from .terms import IdentifyingTerms

REMOVED: Final = "REMOVED"
_CODING_SCHEME_DESIGNATOR: Final = 0x00080102
_DUMMIES: Final[dict[str, Any]] = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UT"), REMOVED),
    "AS": "000Y",
    "AT": 0,
    "DA": "19000101",
    "DT": "19000101000000",
    "TM": "000000",
    "UR": "urn:removed",
    **dict.fromkeys(("DS", "IS"), "0"),
    **dict.fromkeys(("FL", "FD"), 0.0),
    **dict.fromkeys(("SL", "SS", "SV", "UL", "US", "UV"), 0),
    # As long as one value of the longest of them, so that it is whole for each.
    **dict.fromkeys(("OB", "OD", "OF", "OL", "OV", "OW", "UN"), bytes(8)),
}


def dummy_element(element: DataElement, key: DeidentificationKey) -> DataElement:
    """Return an element of the same tag and VR whose value is valid, not empty and tells nothing (action D).

    UIDs become keyed ones, except those of the standard. Items of a sequence stay as many as they were, each element in
    them a dummy; private elements in them are left out.
    """
    tag, vr = element.tag, element.VR
    if vr == "SQ":
        return DataElement(tag, vr, Sequence([_dummy_item(item, key) for item in element.value]))
    if vr == "UI":
        values = element.value if element.VM > 1 else [element.value]
        return DataElement(tag, vr, [str(value) if UID(str(value)).type else key.uid(str(value)) for value in values])
    if tag == _CODING_SCHEME_DESIGNATOR:
        # PS3.3 8.2: designators that begin with 99 are for private coding schemes.
        return DataElement(tag, vr, f"99{REMOVED}")
    return DataElement(tag, vr, _DUMMIES[vr.split(" or ")[0]])


def empty_element(element: DataElement) -> DataElement:
    """Return an element of the same tag and VR without a value (action Z)."""
    vr = element.VR.split(" or ")[0]
    return DataElement(element.tag, vr, Sequence() if vr == "SQ" else empty_value_for_VR(vr))


def without_numbers(element: DataElement, terms: IdentifyingTerms) -> DataElement:
    """Return an element of numbers with 0 for those that repeat an identifier; the element itself where none does.

    Whole numbers count: of four digits or more where instances and series are numbered (group 0020), else of six.
    """
    values = element.value if isinstance(element.value, (list, MultiValue)) else [element.value]
    shortest = 4 if element.tag.group == 0x0020 else 6
    kept = [0 if terms.found_in_number(_digits(value), shortest=shortest) else value for value in values]
    return element if kept == list(values) else DataElement(element.tag, element.VR, kept)


def _digits(number: Any) -> str:
    return str(abs(int(number))) if math.isfinite(number) and number == int(number) else ""


def _dummy_item(item: Dataset, key: DeidentificationKey) -> Dataset:
    dummies = Dataset()
    for element in item:
        if not element.tag.is_private and element.tag.element != 0:
            dummies.add(dummy_element(element, key))
    return dummies
