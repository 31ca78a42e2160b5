"""Shifted dates against Python's calendar, and what is no date."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deidentification.dates import is_written_as, shifted


@given(st.dates(date(12, 1, 1)), st.dates(date(12, 1, 1)), st.integers(366, 4017))
def test_distances_between_dates_stay(one: date, two: date, days: int) -> None:
    moved = [shifted(day.isoformat().replace("-", ""), "DA", days) for day in (one, two)]
    first, second = (date.fromisoformat(text) for text in moved if text is not None)
    assert first - second == one - two
    assert first == one - timedelta(days=days)


@given(st.datetimes(datetime(12, 1, 1)), st.sampled_from(["", "+0100", "-1130"]), st.integers(366, 4017))
def test_times_and_zones_of_a_datetime_stay(moment: datetime, zone: str, days: int) -> None:
    def text(of: datetime) -> str:
        return f"{of:%Y%m%d%H%M%S.%f}".rjust(21, "0") + zone

    assert shifted(text(moment), "DT", days) == text(moment - timedelta(days=days))


@pytest.mark.parametrize(
    ("text", "vr", "moved"),
    [
        ("20240301", "DA", "20240229"),
        ("2024.03.01", "DA", "20240229"),
        ("20240301 ", "DA", "20240229"),
        ("20240101", "DT", "20231231"),
        ("2024010109", "DT", "2023123109"),
        ("093015.25", "TM", "093015.25"),
        ("+0200", "SH", "+0200"),
        ("00010101", "DA", None),
        ("20240230", "DA", None),
        ("202403", "DA", None),
        ("2024", "DT", None),
        ("202403", "DT", None),
        ("20240301-20240401", "DA", None),
        ("Meier", "DA", None),
        ("20240301 Meier", "DA", None),
        ("20240301093000Meier", "DT", None),
        ("0930Meier", "TM", None),
        ("2530", "TM", None),
        ("CET", "SH", None),
    ],
)
def test_only_what_is_a_date_is_moved(text: str, vr: str, moved: str | None) -> None:
    assert shifted(text, vr, 1) == moved
    assert is_written_as(text, vr) == (moved is not None or text == "00010101")
