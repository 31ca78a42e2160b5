"""Table E.1-1 of PS3.15: which action the confidentiality profile asks for on each attribute.

The table is `profile.json`; both data files begin with where they come from. Where an action depends on the
type of the attribute in the IOD ("X unless Z or D is required"), `types.json` tells the type.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Literal

Action = Literal["D", "Z", "X", "K", "C", "U"]
"""Dummy value, zero length, remove, keep, clean, replace the UID: the action codes of Table E.1-1a."""

FULL_DATES: Final = "retain_longitudinal_full_dates"
MODIFIED_DATES: Final = "retain_longitudinal_modified_dates"
_DESCRIPTIVE: Final = {"clean_descriptors", "clean_structured_content", "retain_patient_characteristics"}
# Attributes that the table does not name and that identify by their VR alone are treated as its like are.
_UNNAMED: Final = {
    "PN": {"basic": "Z"},
    **{vr: {"basic": "X/Z/D", FULL_DATES: "K", MODIFIED_DATES: "C"} for vr in ("DA", "DT", "TM")},
}


@dataclass(frozen=True)
class ConfidentialityProfile:
    """The rows of Table E.1-1, and the types of those attributes whose action depends on them.

    Attributes:
        edition: Edition of the standard, such as 2026d.
        rows: Tag in 8 lower-case hexadecimal digits -> name, action of the basic profile, actions of the options. The
            rows of curves and overlays, which name whole groups, are not here: `is_graphics_group` tells them.
        types: SOP Class UID -> "1" or "2" -> tags at the top level of an instance.
    """

    edition: str
    rows: Mapping[str, Mapping[str, str]] = field(repr=False)
    types: Mapping[str, Mapping[str, Sequence[str]]] = field(repr=False)

    def action(
        self, tag: int, vr: str, columns: Sequence[str], sop_class: str | None, *, basic: bool = False
    ) -> Action | None:
        """Return what must be done with an attribute.

        Args:
            tag: The attribute.
            vr: Its VR. Names, dates and times that the table does not list are treated as those that it lists.
            columns: Options that are applied, by their column.
            sop_class: SOP class of the instance for an attribute at its top level; None for one within a sequence. For
                both None and a class that is not known, an attribute counts as required where it ever is.
            basic: Leave the options out.

        Returns:
            One action code, compound ones resolved; None where the table has nothing to say.
        """
        row = self.rows.get(f"{tag:08x}") or _UNNAMED.get(vr)
        if row is None:
            return None
        chosen = next((row[column] for column in columns if column in row), None)
        return self._resolved(tag, row["basic"] if chosen is None or basic else chosen, sop_class)

    def is_identifier(self, tag: int) -> bool:
        """Tell whether an attribute's value names somebody or something, rather than describe it."""
        row = self.rows.get(f"{tag:08x}")
        return row is not None and not _DESCRIPTIVE & row.keys()

    def is_retained_date(self, tag: int) -> bool:
        """Tell whether the Retain Longitudinal Temporal Information with Full Dates Option keeps an attribute."""
        return FULL_DATES in self.rows.get(f"{tag:08x}", {})

    def _resolved(self, tag: int, code: str, sop_class: str | None) -> Action:
        """Resolve a compound code such as X/Z/D: the weakest action that leaves the instance valid."""
        choices = code.replace("*", "").split("/")
        # A sequence of references to other instances is kept whole: with its UIDs replaced nothing in it identifies.
        if "U" in choices:
            return "U"
        types = None if sop_class is None else self.types.get(sop_class)
        known = {"1": [f"{tag:08x}"], "2": []} if types is None else types
        required = next((kind for kind in ("1", "2") if f"{tag:08x}" in known[kind]), "3")
        wanted = {"1": "DZX", "2": "ZDX", "3": "XZD"}[required]
        return next(choice for choice in (*wanted, "K", "C") if choice in choices)


def is_graphics_group(tag: int) -> bool:
    """Tell whether a tag belongs to the curves (50xx) or overlays (60xx), of which nothing is kept."""
    return tag >> 24 in (0x50, 0x60) and not (tag >> 16) & 1


@functools.cache
def confidentiality_profile() -> ConfidentialityProfile:
    """Return the table that this package ships."""
    table, types = _data("profile.json"), _data("types.json")
    rows = {tag: row for tag, row in table["attributes"].items() if "x" not in tag}
    return ConfidentialityProfile(table["about"]["edition"], rows, types["types"])


def _data(name: str) -> dict[str, Any]:
    assert __package__ is not None
    return dict(json.loads(files(__package__).joinpath(name).read_text(encoding="utf-8")))
