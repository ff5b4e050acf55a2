"""Whatever form a tap gives a moment, Segment gets it in one: UTC, milliseconds, `Z`."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.timestamp import write, written

MOMENT = "2026-03-04T11:20:31.402Z"
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# Two days from the ends of the calendar, whatever the offset.
AWARE = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=OFFSETS)  # noqa: DTZ001 - as hypothesis wants them


def moment_of(text: str) -> datetime:
    """Return the moment that *text* says, read by the standard library."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


@given(AWARE)
def test_moment_stays_in_every_zone(moment: datetime) -> None:
    """A time with a zone is the same moment afterwards, to the millisecond."""
    meant = moment.replace(microsecond=moment.microsecond // 1000 * 1000)

    assert moment_of(write(moment)) == moment_of(write(moment.isoformat())) == meant


@given(AWARE.map(datetime.isoformat) | AWARE | st.dates() | st.integers(-(10**13), 10**13))
def test_result_is_what_counts_as_written(value: Any) -> None:
    """What `write` returns is valid, and the same if it is written again."""
    text = write(value)

    assert written(text)
    assert write(text) == text


@pytest.mark.parametrize(
    "value",
    [
        *(MOMENT, "2026-03-04T12:20:31.402+01:00", "2026-03-04T05:50:31.402-0530"),
        *("2026-03-04 11:20:31.402+00", "2026-03-04 11:20:31.402000 Z", " 2026-03-04 11:20:31,402"),
        *("2026-03-04T11:20:31.402999999Z", "2026-03-04T11:20:31.402z"),
        *("2026-03-04T11:34:56.402+00:14:25", 1_772_623_231_402, Decimal("1772623231.4029")),
        datetime(2026, 3, 4, 11, 20, 31, 402_999),  # noqa: DTZ001 - as a database without zones gives it
    ],
    ids=repr,
)
def test_same_moment_in_other_forms(value: Any) -> None:
    """ISO 8601, what databases print for it, and numbers since 1970 are all understood."""
    assert write(value) == MOMENT


@pytest.mark.parametrize("value", ["2026-03-04", date(2026, 3, 4), "2026-03-04T00:00"], ids=repr)
def test_day_is_its_midnight(value: Any) -> None:
    """A day without a time is a moment, too."""
    assert write(value) == "2026-03-04T00:00:00.000Z"


@given(st.integers(0, 99_999_999_999))
def test_seconds_and_milliseconds_are_told_apart(seconds: int) -> None:
    """A number is seconds up to the year 5138, which as milliseconds would lie before 1973."""
    assert moment_of(write(seconds)) == EPOCH + timedelta(seconds=seconds)
    later = 100_000_000_000 + seconds
    assert moment_of(write(later)) == EPOCH + timedelta(milliseconds=later)


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "1772623231", "2026-02-30", "2026-03-04T24:00:01Z", "2026-03-04T11:20:60Z"),
        *("2026-03-04T11:20:31+24:00", "2026-03-04T11:20:31+00:60", "2026-03-04T11:20:31 CET"),
        *("٢٠٢٦-03-04", "0000-01-01", "10000-01-01", "0001-01-01T00:00+00:01"),
        *("9999-12-31T23:59:59-00:01", "2026-03-04T11:20:31.Z", "2026-03-04\n2026-03-04"),
        *(True, None, [], {}, float("nan"), float("inf"), Decimal("sNaN"), 10**15, 10**400),
        *(Decimal("1e999999"), Decimal("1e999999999"), Decimal("-1e999999999")),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=1))),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_no_moment_is_not_guessed_at(value: Any) -> None:
    """What is no moment between the years 1 and 9999 is refused, at once."""
    with pytest.raises(ValueError, match=r"."):
        write(value)


@pytest.mark.parametrize(
    "value",
    [
        *("2026-03-04T11:20:31Z", "2026-03-04T11:20:31.4021Z", "2026-03-04T11:20:31.402+00:00"),
        *("2026-02-30T11:20:31.402Z", "2026-03-04 11:20:31.402Z", f"{MOMENT}\n", f" {MOMENT}"),
        *("0000-03-04T11:20:31.402Z", "2026-03-04T11:20:31.40٢Z", 1_772_623_231_402, None, []),
    ],
)
def test_another_form_is_not_written(value: Any) -> None:
    """Only the one form, of a day that there is, counts as written."""
    assert not written(value)
