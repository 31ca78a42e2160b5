"""What scanning a folder finds: cases, classes, and what was passed over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .manifest_entries import Case, Code, DeidentificationStatus


@dataclass(frozen=True)
class FoundClass:
    """A class before it has an index."""

    name: str
    stored_value: int
    category: Code | None = None
    code: Code | None = None


@dataclass(frozen=True)
class Index:
    """What was found in a folder.

    Attributes:
        cases: The cases, in the order of their files.
        classes: The classes, background first; None where there is no label to tell.
        notes: What a person should know: files that were passed over, series that were told by their folder.
        modality: How the images were made, where all agree.
        spacing_mm: Spacing (row, column) and of slices, where all agree.
        deidentification: Whether the files say that they name nobody.
        deidentification_method: Where that is known from.
    """

    cases: Sequence[Case]
    classes: Sequence[FoundClass] | None
    notes: tuple[str, ...] = ()
    modality: str | None = None
    spacing_mm: tuple[float, float, float | None] | None = None
    deidentification: DeidentificationStatus = "unknown"
    deidentification_method: str | None = None
