"""Which options of the confidentiality profile are applied, and their codes (PS3.15 Annex E, PS3.16 CID 7050)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError

Dates = Literal["removed", "full", "modified"]
_DATES = ("removed", "full", "modified")


@dataclass(frozen=True)
class DeidentificationOptions:
    """The Basic Application Level Confidentiality Profile with the options that were chosen.

    Attributes:
        retain_uids: Retain UIDs Option (PS3.15 E.3.9): UIDs stay as they are. They lead back to the originals for
            everyone who has access to those.
        dates: `"removed"`; `"full"`, the Retain Longitudinal Temporal Information with Full Dates Option (E.3.6); or
            `"modified"`, the one with Modified Dates: all dates of a patient go back by the same number of days, and
            times of day stay.
        clean_descriptors: Clean Descriptors Option (E.3.5): descriptions keep the words of a list of anatomical and
            technical terms; without it they are removed whole.
    """

    retain_uids: bool = False
    dates: Dates = "removed"
    clean_descriptors: bool = False

    def __post_init__(self) -> None:
        """Refuse an unknown way to treat dates."""
        if self.dates not in _DATES:
            raise ConfigError(f"dates={self.dates!r} is unknown; choose one of {', '.join(_DATES)}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of Table E.1-1 that go before the basic profile."""
        return (
            *(("retain_uids",) if self.retain_uids else ()),
            *(("retain_longitudinal_full_dates",) if self.dates == "full" else ()),
            *(("retain_longitudinal_modified_dates",) if self.dates == "modified" else ()),
            *(("clean_descriptors",) if self.clean_descriptors else ()),
        )

    @property
    def codes(self) -> tuple[tuple[str, str], ...]:
        """Code value and meaning of the profile and of every option, of CID 7050, coding scheme DCM."""
        return (("113100", "Basic Application Confidentiality Profile"), *(_CODES[column] for column in self.columns))

    @property
    def longitudinal(self) -> str:
        """Value of Longitudinal Temporal Information Modified (0028,0303)."""
        return {"removed": "REMOVED", "full": "UNMODIFIED", "modified": "MODIFIED"}[self.dates]


_CODES = {
    "retain_uids": ("113110", "Retain UIDs Option"),
    "retain_longitudinal_full_dates": ("113106", "Retain Longitudinal Temporal Information Full Dates Option"),
    "retain_longitudinal_modified_dates": ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    "clean_descriptors": ("113105", "Clean Descriptors Option"),
}
