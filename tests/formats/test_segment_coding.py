"""Codes of segments against pydicom's dictionary of SNOMED CT, and refusals of mistyped ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydicom.sr.codedict import codes

from pipeline.errors import ConfigError
from pipeline.formats import AlgorithmIdentification, SegmentDescription, SnomedCode

MISTYPED = ("115347700", "Serum albumin below reference range")
LIVER = SnomedCode("10200004", "Liver")
SEGMENT = SegmentDescription(1, "Liver", SnomedCode("123037004", "Body structure"), LIVER)
# The code of "Serum albumin below reference range" is mistyped in the standard itself.
CONCEPTS = sorted({(code.value, code.meaning) for code in codes.SCT.concepts.values()} - {MISTYPED})


def test_every_code_of_the_standard_is_taken() -> None:
    assert len(CONCEPTS) > 10000
    for value, meaning in CONCEPTS:
        assert SnomedCode(value, meaning[:64].encode("ascii", "replace").decode()).value == value
    with pytest.raises(ConfigError, match="is not an identifier"):
        SnomedCode(*MISTYPED)


def test_an_identifier_that_yaml_read_as_a_number_is_the_same_one() -> None:
    assert SnomedCode(10200004, "Liver") == LIVER  # type: ignore[arg-type]


def test_every_single_wrong_digit_and_swap_of_neighbours_is_noticed() -> None:
    """What a check digit after Verhoeff promises; his scheme is the one that SNOMED CT uses."""
    for value, _ in CONCEPTS[::500]:
        wrong = {value[:place] + digit + value[place + 1 :] for place in range(len(value)) for digit in "0123456789"}
        wrong |= {
            value[:place] + value[place + 1] + value[place] + value[place + 2 :] for place in range(len(value) - 1)
        }
        for mistyped in wrong - {value}:
            with pytest.raises(
                ConfigError, match="is not an identifier: expected 6 to 18 digits that end in their check"
            ):
                SnomedCode(mistyped, "Liver")


@pytest.mark.parametrize(
    "value", ["", "T-62000", "10200", "010200004", " 10200004", "10200004\n", "1" * 19, "١٠٢٠٠٠٠٤"]
)
def test_what_is_no_identifier_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match=r"SNOMED CT code .* is not an identifier"):
        SnomedCode(value, "Liver")


@pytest.mark.parametrize("text", ["", "   ", "a\\b", "Größe", "a\nb", "x" * 65])
def test_text_that_fits_no_character_set_or_field_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"the meaning of a code is .*; expected 1 to 64 printable ASCII characters"):
        SnomedCode("10200004", text)
    with pytest.raises(ConfigError, match="the label of segment 1 is"):
        replace(SEGMENT, label=text)
    with pytest.raises(ConfigError, match="the name of the algorithm is"):
        AlgorithmIdentification(text, "1.0")
    with pytest.raises(ConfigError, match="the version of the algorithm is"):
        AlgorithmIdentification("bundle", text)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"number": 0}, "segment number 0 is out of range: expected 1 to 65535, since 0 is the background"),
        ({"number": 65536}, "segment number 65536 is out of range"),
        ({"laterality": "port"}, "laterality 'port' of segment 1 is unknown; expected left, right, both or none"),
        ({"color_rgb": (0, 0, 256)}, r"colour \(0, 0, 256\) of segment 1 is not red, green and blue in 0..255"),
        ({"color_rgb": (0, 0)}, r"colour \(0, 0\) of segment 1"),
    ],
)
def test_descriptions_out_of_range_are_refused(change: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        replace(SEGMENT, **change)


@pytest.mark.parametrize("digest", ["", "abc", "A" * 64, "g" * 64, "a" * 65])
def test_what_is_no_digest_is_refused(digest: str) -> None:
    with pytest.raises(ConfigError, match="of algorithm bundle is not a SHA-256: expected 64 hexadecimal digits"):
        AlgorithmIdentification("bundle", "1.0", digest)
