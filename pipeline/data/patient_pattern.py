"""Telling patients by paths: what a pattern finds in them, and how that stands in a manifest."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from ..errors import ConfigError
from .pseudonyms import Pseudonyms

_BIDS_SUBJECT: Final = re.compile(r"(?:^|/)(sub-[A-Za-z0-9]+)")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def compiled_pattern(pattern: str | None) -> re.Pattern[str] | None:
    """Return a regular expression, or None where there is none.

    Raises:
        ConfigError: If it is not one.
    """
    if pattern is None:
        return None
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"--patient-pattern {pattern!r} is no regular expression: {error}; correct it") from error


def patient_in(path: str, pattern: re.Pattern[str] | None) -> str | None:
    """Return what a pattern finds in a path: its first group, or the whole where it has no group.

    Args:
        path: Path relative to the data folder.
        pattern: The pattern; None looks for a subject of BIDS (`sub-...`).

    Returns:
        The text; None where no pattern is given and there is no subject of BIDS.

    Raises:
        ConfigError: If the pattern does not match, or what it finds is empty.
    """
    found = (pattern or _BIDS_SUBJECT).search(path)
    text = None if found is None else found.group(1 if found.re.groups else 0)
    if not text and pattern is not None:
        raise ConfigError(f"--patient-pattern {pattern.pattern!r} finds no patient in {path}; correct it")
    return text


def name_of_patient(text: str, pseudonyms: Pseudonyms) -> str:
    """Return a text of a path as a manifest can hold it: as it is, or else a pseudonym, since no two may become one."""
    composed = unicodedata.normalize("NFC", text)
    return composed if _NAME.fullmatch(composed) else pseudonyms.of("patient", composed)


def on_their_own_note(number: int) -> str:
    """Return the line that says how many images count as a patient of their own."""
    return (
        f"{number} without a patient: each image counts as a patient of its own; where several are of one, tell it by "
        "the path: --patient-pattern '^([^/]+)/'"
    )
