"""Moving dates of DICOM (DA, DT) by whole days, and telling dates and times that are written as PS3.5 6.2 says."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Final

_DATE: Final = re.compile(r"(\d{4})(\.?)(\d{2})\2(\d{2})")
_TIME: Final = re.compile(r"([01]\d|2[0-3])(:?[0-5]\d(:?([0-5]\d|60)(\.\d{1,6})?)?)?")
_DATETIME: Final = re.compile(r"(\d{8})((?:([01]\d|2[0-3])([0-5]\d(([0-5]\d|60)(\.\d{1,6})?)?)?)?([+-]\d{4})?)")
_ZONE: Final = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")


def shifted(text: str, vr: str, days_back: int) -> str | None:
    """Move a date or a date with time into the past.

    Args:
        text: The value. DA may have dots between its parts, as before 1993.
        vr: DA, DT, or TM; times of day, and SH for an offset from UTC, come back as they are.
        days_back: By how many days.

    Returns:
        The moved value, or None where it is none of its VR, lacks month or day, or would lie before year 1.

    Examples:
        >>> shifted("20240301", "DA", 1), shifted("20240301093000.5+0100", "DT", 366)
        ('20240229', '20230301093000.5+0100')
    """
    text = text.strip(" \0")
    if vr in ("TM", "SH"):
        return text if is_written_as(text, vr) else None
    match = (_DATE if vr == "DA" else _DATETIME).fullmatch(text)
    if match is None:
        return None
    digits, rest = ("".join(match.group(1, 3, 4)), "") if vr == "DA" else match.group(1, 2)
    try:
        moved = date(int(digits[:4]), int(digits[4:6]), int(digits[6:])) - timedelta(days=days_back)
    except (ValueError, OverflowError):
        return None
    return f"{moved.year:04d}{moved.month:02d}{moved.day:02d}{rest}"


def is_written_as(text: str, vr: str) -> bool:
    """Tell whether a text is a DA, DT, TM, or (for SH) an offset from UTC, and nothing besides."""
    text = text.strip(" \0")
    if vr in ("DA", "DT"):
        return shifted(text, vr, 0) is not None
    return (_TIME if vr == "TM" else _ZONE).fullmatch(text) is not None
