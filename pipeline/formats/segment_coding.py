"""What a segment shows and what made it, coded as DICOM wants it: SNOMED CT concepts and an identified algorithm."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentAlgorithmTypeValues
from highdicom.seg import SegmentDescription as SegmentItem
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes

from ..errors import ConfigError

Laterality = Literal["left", "right", "both"]

MAX_SEGMENT = 2**16 - 1
"""Largest segment number: it is stored as an unsigned short."""

_LONGEST_TEXT: Final = 64  # characters of the value representation LO (PS3.5, table 6.2-1)
_LATERALITIES: Final[dict[str, tuple[str, str]]] = {  # PS3.16, CID 244
    "left": ("7771000", "Left"),
    "right": ("24028007", "Right"),
    "both": ("51440002", "Right and left"),
}

# Verhoeff's check digit, which ends every SNOMED CT identifier: the pentagon's dihedral group, and his permutation.
_PRODUCT: Final = (
    *("0123456789", "1234067895", "2340178956", "3401289567", "4012395678"),
    *("5987604321", "6598710432", "7659821043", "8765932104", "9876543210"),
)
_PERMUTATION: Final = "1576283094"


@dataclass(frozen=True)
class SnomedCode:
    """A concept of SNOMED CT (coding scheme designator `SCT`).

    Attributes:
        value: The concept's identifier: 6 to 18 digits, of which the last is a check digit.
        meaning: What it means, in at most 64 ASCII characters.

    Raises:
        ConfigError: If the identifier is mistyped, or the meaning is empty, too long or not ASCII.

    Examples:
        >>> SnomedCode("10200004", "Liver").value
        '10200004'

    Source:
        DICOM PS3.16, 8.1 and annex D; SNOMED CT Technical Implementation Guide, "SCTID Check-digit Computation".
    """

    value: str
    meaning: str

    def __post_init__(self) -> None:
        """Check identifier and meaning."""
        object.__setattr__(self, "value", str(self.value))  # YAML and command lines read an identifier as a number
        if not re.fullmatch(r"[1-9][0-9]{5,17}", self.value) or not _has_check_digit(self.value):
            raise ConfigError(
                f"SNOMED CT code {self.value!r} is not an identifier: expected 6 to 18 digits that end in their check "
                "digit; look the concept up again"
            )
        _check_text("the meaning of a code", self.meaning)


@dataclass(frozen=True)
class SegmentDescription:
    """What one segment shows.

    Attributes:
        number: The segment's number, which is its value in label maps: 1 to 65535.
        label: Its name, in at most 64 ASCII characters: the object keeps the character set of the source's names.
        category: Category of the property (PS3.16, CID 7150), such as body structure, 123037004.
        type: The property (PS3.16, CID 7151), such as liver, 10200004.
        laterality: Side of the body, where it matters.
        color_rgb: Colour to show it in: red, green and blue in 0..255.
        modifier: What else tells it from others of its type, such as anterior, 255549009.

    Raises:
        ConfigError: If a value is out of its range.
    """

    number: int
    label: str
    category: SnomedCode
    type: SnomedCode
    laterality: Laterality | None = None
    color_rgb: tuple[int, int, int] | None = None
    modifier: SnomedCode | None = None

    def __post_init__(self) -> None:
        """Check number, label, side and colour."""
        if not 1 <= self.number <= MAX_SEGMENT:
            raise ConfigError(
                f"segment number {self.number} is out of range: expected 1 to {MAX_SEGMENT}, since 0 is the "
                "background; number the segments from 1"
            )
        _check_text(f"the label of segment {self.number}", self.label)
        if self.laterality is not None and self.laterality not in _LATERALITIES:
            raise ConfigError(
                f"laterality {self.laterality!r} of segment {self.number} is unknown; expected "
                f"{', '.join(_LATERALITIES)} or none"
            )
        if self.color_rgb is not None and not (
            len(self.color_rgb) == 3 and all(0 <= part <= 255 for part in self.color_rgb)
        ):
            raise ConfigError(
                f"colour {self.color_rgb} of segment {self.number} is not red, green and blue in 0..255; correct it"
            )


@dataclass(frozen=True)
class AlgorithmIdentification:
    """What made the segments: the bundle, or the program where there are no weights.

    Attributes:
        name: Name of the bundle, in at most 64 ASCII characters.
        version: Its version, likewise.
        weights_sha256: SHA-256 of the file of weights in hexadecimal digits; None where there are none.

    Raises:
        ConfigError: If a text is empty, too long or not ASCII, or the digest is not 64 hexadecimal digits.
    """

    name: str
    version: str
    weights_sha256: str | None = None

    def __post_init__(self) -> None:
        """Check the texts and the digest."""
        _check_text("the name of the algorithm", self.name)
        _check_text("the version of the algorithm", self.version)
        if self.weights_sha256 is not None and not re.fullmatch("[0-9a-f]{64}", self.weights_sha256):
            raise ConfigError(
                f"weight digest {self.weights_sha256!r} of algorithm {self.name} is not a SHA-256: expected 64 "
                "hexadecimal digits in lower case; take the one in the bundle's metadata"
            )


def segment_items(
    segments: Sequence[SegmentDescription], algorithm: AlgorithmIdentification | None
) -> list[SegmentItem]:
    """Return the items of the Segment Sequence (0062,0002).

    Args:
        segments: What each segment shows.
        algorithm: What made all of them, without help; None if they were drawn by hand.

    Source:
        DICOM PS3.3, C.8.20.2 and C.8.20.4; PS3.16, CID 7162.
    """
    return [_segment_item(segment, algorithm) for segment in segments]


def _segment_item(segment: SegmentDescription, algorithm: AlgorithmIdentification | None) -> SegmentItem:
    color = None if segment.color_rgb is None else CIELabColor.from_rgb(*segment.color_rgb)
    made_by = SegmentAlgorithmTypeValues.MANUAL if algorithm is None else SegmentAlgorithmTypeValues.AUTOMATIC
    item = SegmentItem(
        segment_number=segment.number,
        segment_label=segment.label,
        segmented_property_category=_concept(segment.category),
        segmented_property_type=_concept(segment.type),
        algorithm_type=made_by,
        algorithm_identification=None if algorithm is None else _identify(algorithm),
        display_color=color,
    )
    modifiers = [] if segment.laterality is None else [SnomedCode(*_LATERALITIES[segment.laterality])]
    modifiers += [] if segment.modifier is None else [segment.modifier]
    if modifiers:
        kind = item.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [_concept(modifier) for modifier in modifiers]
    return item


def _identify(algorithm: AlgorithmIdentification) -> AlgorithmIdentificationSequence:
    digest = None if algorithm.weights_sha256 is None else {"weights_sha256": algorithm.weights_sha256}
    return AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=codes.cid7162.ArtificialIntelligence,
        version=algorithm.version,
        source="unet-pipeline",
        parameters=digest,
    )


def _concept(code: SnomedCode) -> CodedConcept:
    return CodedConcept(code.value, "SCT", code.meaning)


def _has_check_digit(identifier: str) -> bool:
    """Tell whether Verhoeff's scheme gives 0 for the digits, the check digit among them."""
    check = 0
    for place, digit in enumerate(reversed(identifier)):
        position = int(digit)
        for _ in range(place % 8):
            position = int(_PERMUTATION[position])
        check = int(_PRODUCT[check][position])
    return check == 0


def _check_text(what: str, text: str) -> None:
    """Refuse what does not fit a long string (LO) of the default character repertoire."""
    is_plain = text.isascii() and text.isprintable() and "\\" not in text
    if not (is_plain and text.strip() and len(text) <= _LONGEST_TEXT):
        raise ConfigError(
            f"{what} is {text[: 2 * _LONGEST_TEXT]!r}; expected 1 to {_LONGEST_TEXT} printable ASCII characters and no "
            "backslash; shorten it or write it in ASCII"
        )
