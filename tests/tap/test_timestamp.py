"""Every timestamp becomes UTC with milliseconds, or is known not to be one."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tap_segment_webhook.timestamp import Reading, corrected, from_ms, read

MOMENT = "2026-03-04T11:20:31.402Z"
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
FIRST = datetime(1, 1, 2, tzinfo=timezone.utc)
LAST = datetime(9999, 12, 30, tzinfo=timezone.utc)


@given(st.datetimes(FIRST.replace(tzinfo=None), LAST.replace(tzinfo=None), timezones=OFFSETS))
def test_aware_datetime_comes_back_to_the_millisecond(moment: datetime) -> None:
    """Whatever offset a time is written with, the moment stays."""
    reading = read(moment.isoformat())

    assert reading
    back = datetime.fromisoformat(reading.text.replace("Z", "+00:00"))
    assert back == moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert reading.exact == (moment.microsecond % 1000 == 0)


@given(
    st.from_regex(r"[0-2]\d{3}-[0-1]\d-[0-3]\d", fullmatch=True),
    st.from_regex(r"[0-2]\d:[0-6]\d:[0-6]\d\.\d{3,9}(Z|\+00:00)", fullmatch=True),
)
def test_usual_form_is_read_like_any_other(day: str, time: str) -> None:
    """Also where no calendar has the day and no clock the time; with a space it is not usual."""
    assert read(f"{day}T{time}") == read(f"{day} {time}")


@given(st.integers(0, 7_258_118_400_000))
def test_milliseconds_come_back(milliseconds: int) -> None:
    """The receiver's own clock is emitted to the millisecond (until the year 2200)."""
    text = from_ms(milliseconds)

    moment = EPOCH + timedelta(milliseconds=milliseconds)
    assert datetime.fromisoformat(text.replace("Z", "+00:00")) == moment
    assert read(text) == Reading(text, exact=True)


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-04T11:20:31.402Z",
        "2026-03-04t11:20:31.402z",
        "2026-03-04 11:20:31.402Z",
        "2026-03-04T11:20:31,402Z",
        "2026-03-04T11:20:31.40200000Z",
        "2026-03-04T12:20:31.402+01:00",
        "2026-03-04T12:20:31.402+0100",
        "2026-03-04T12:20:31.402+01",
        "2026-03-04T05:50:31.402-05:30",
        "2026-03-05T01:20:31.402+14:00",
        "2026-03-04 11:20:31.402 +0000 UTC m=+70366.298768264",
        "2026-03-04 11:20:31.402 +0000 UTC",
        "2026-03-04 12:20:31.402 +0100 CET",
        "2026-03-04 11:20:31.402 +0000 UTC m=-0.000000001",
    ],
)
def test_same_moment_in_other_forms(text: str) -> None:
    """ISO 8601 and Go's form mean the same moment."""
    assert read(text) == Reading(MOMENT, exact=True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-03-04T11:20:31.402999Z", "2026-03-04T11:20:31.402Z"),
        ("2026-03-04T11:20:31.402000001Z", "2026-03-04T11:20:31.402Z"),
        ("2026-03-04T11:20:31.402", "2026-03-04T11:20:31.402Z"),
        ("2026-03-04 11:20", "2026-03-04T11:20:00.000Z"),
    ],
)
def test_lost_precision_is_known(text: str, meant: str) -> None:
    """Below a millisecond, or without a zone, the text does not say all that was given."""
    assert read(text) == Reading(meant, exact=False)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2026-03-04", "1772623530", "2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z"),
        *("2026-03-04T24:00:00Z", "2026-03-04T11:20:60Z", "2026-03-04T11:20:31.Z"),
        *("10000-01-01T00:00:00Z", "+002026-03-04T11:20:31Z", "0000-01-01T00:00:00Z"),
        *("٢٠٢٦-03-04T11:20:31Z", " 2026-03-04T11:20:31Z", "2026-03-04T11:20:31Z\n"),
        *("Wed, 04 Mar 2026 11:20:31 GMT", "0001-01-01 00:00:00 +0000 UTC m=", "\0"),
    ],
)
def test_garbage_is_none(text: str) -> None:
    """What is no time is not guessed at."""
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("0001-01-01T00:00:00+00:01", None),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
        ("9999-12-31T23:59:59.999-00:01", None),
        ("9999-12-31T23:59:59.999+00:01", "9999-12-31T23:58:59.999Z"),
    ],
)
def test_years_end_at_9999_in_utc(text: str, meant: str | None) -> None:
    """A moment outside the years 1 to 9999 has no form that targets take."""
    reading = read(text)

    assert (reading.text if reading else None) == meant


@pytest.mark.parametrize("offset", ["+24:00", "-99:99", "+00:60"])
def test_impossible_offset_is_none(offset: str) -> None:
    """No place on Earth is a day away from UTC."""
    assert read(f"2026-03-04T11:20:31{offset}") is None


@given(
    original=st.datetimes(EPOCH.replace(tzinfo=None), LAST.replace(tzinfo=None, year=9000)),
    clock=st.timedeltas(timedelta(days=-300), timedelta(days=300)),
    delay=st.timedeltas(timedelta(0), timedelta(days=1)),
)
def test_wrong_clock_of_a_client_is_corrected(
    original: datetime, clock: timedelta, delay: timedelta
) -> None:
    """However wrong it is: what counts is how long it waited before it sent."""
    original, clock, delay = (
        original.replace(microsecond=0),
        clock - timedelta(microseconds=clock.microseconds),
        delay - timedelta(microseconds=delay.microseconds),
    )
    times = original + clock, original + clock + delay, original + delay

    found = corrected(*(f"{time.isoformat(timespec='milliseconds')}Z" for time in times))

    assert found == f"{original.isoformat(timespec='milliseconds')}Z"


@pytest.mark.parametrize(
    ("original", "sent", "meant"),
    [
        (None, None, "2026-03-04T10:00:05.400Z"),
        (None, "2026-03-04T10:00:05.000Z", "2026-03-04T10:00:05.400Z"),
        ("2019-01-01T00:00:00.000Z", None, "2019-01-01T00:00:00.000Z"),
        ("2026-03-04T10:00:00.000Z", "2026-03-04T10:00:05.000Z", "2026-03-04T10:00:00.400Z"),
        ("9999-12-31T00:00:00.000Z", "0001-01-01T00:00:00.000Z", "9999-12-31T00:00:00.000Z"),
    ],
)
def test_missing_times_are_stood_in_for(original: str | None, sent: str | None, meant: str) -> None:
    """Segment's own example, what it lacks, and what no calendar holds."""
    assert corrected(original, sent, "2026-03-04T10:00:05.400Z") == meant
