"""What an answer means for a batch: taken, never, later, or stop."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.client import Verdict, read_answer

ACCEPTED, REFUSED = Verdict.ACCEPTED, Verdict.REFUSED
UNAVAILABLE, WRONG = Verdict.UNAVAILABLE, Verdict.WRONG
RETRY_HEADERS = st.sampled_from(["Retry-After", "X-RateLimit-Reset"])


def in_seconds(seconds: float) -> str:
    """Return the moment so many seconds from now as HTTP writes it."""
    moment = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return format_datetime(moment, usegmt=True)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *((200, ACCEPTED), (201, ACCEPTED), (202, ACCEPTED), (204, ACCEPTED)),
        *((400, REFUSED), (413, REFUSED), (422, REFUSED)),
        *((408, UNAVAILABLE), (410, UNAVAILABLE), (429, UNAVAILABLE), (460, UNAVAILABLE)),
        *((500, UNAVAILABLE), (502, UNAVAILABLE), (503, UNAVAILABLE), (504, UNAVAILABLE)),
        *((507, UNAVAILABLE), (520, UNAVAILABLE), (522, UNAVAILABLE), (598, UNAVAILABLE)),
        *((501, WRONG), (505, WRONG), (511, WRONG)),
        *((401, WRONG), (403, WRONG), (402, WRONG), (404, WRONG), (405, WRONG), (407, WRONG)),
        *((415, WRONG), (418, WRONG), (451, WRONG), (100, WRONG)),
        *((301, WRONG), (302, WRONG), (304, WRONG), (307, WRONG), (308, WRONG)),
    ],
)
def test_status_says_what_is_to_be_done(status: int, verdict: Verdict) -> None:
    """Only what may pass is tried again, and only what is about these bytes splits the batch."""
    answer = read_answer(status, {}, b"")

    assert answer.verdict is verdict
    assert answer.retry_after is None
    assert (str(status) in answer.reason) is (verdict is not ACCEPTED)


@pytest.mark.parametrize(
    "text",
    [
        *(b'{"success": true}', b"", b"OK", b'{"success":true,"x":1}', b"[]", b"null", b"\xff\x00"),
        *(b'{"success": 0}', b'{"ok": false}', b"{", b"[" * 60_000, b"9" * 5_000),
        b"1e99999999999999999999",
    ],
    ids=lambda text: text[:20],
)
def test_success_is_acceptance_whatever_it_says(text: bytes) -> None:
    """Endpoints that are not Segment's own say OK in their own words."""
    assert read_answer(200, {}, text).verdict is ACCEPTED


@pytest.mark.parametrize("text", [b'{"success": false}', b' {"message":"x","success":false}\n'])
def test_success_that_is_none_is_refused(text: bytes) -> None:
    """A 200 that says it failed is no acceptance."""
    answer = read_answer(200, {}, text)

    assert answer.verdict is REFUSED
    assert answer.reason == "Segment answered 200 and success: false."


@pytest.mark.parametrize(
    "text", [b"<html>", b"\r\n <!DOCTYPE html><html>Sign in", b"<?xml version='1.0'?>"]
)
@pytest.mark.parametrize("status", [200, 202])
def test_page_is_no_acceptance(status: int, text: bytes) -> None:
    """The sign-in page of a proxy must not make a table disappear."""
    answer = read_answer(status, {"Content-Type": "text/html"}, text)

    assert answer.verdict is WRONG
    assert f"{status} came with an HTML page" in answer.reason


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize("name", ["Retry-After", "X-RateLimit-Reset"])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        *(("0", 0), ("1", 1), (" 120 ", 120), ("300", 300), ("301", 300), ("9" * 400, 300)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2015 07:28:00", 0)),
        *(("Wed, 21 Oct 2099 07:28:00 GMT", 300), ("Fri, 31 Dec 9999 23:59:59 -0000", 300)),
        *(("", None), ("soon", None), ("-5", None), ("1.5", None), ("1e3", None), ("1, 2", None)),
        *(("²", None), ("0x10", None), ("\0", None), ("Wed, 99 Oct 2015 07:28:00 GMT", None)),
    ],
)
def test_wait_that_is_asked_for_is_read(
    status: int, name: str, value: str, seconds: float | None
) -> None:
    """Seconds or a date, never longer than five minutes; what is neither is as if absent."""
    answer = read_answer(status, {name: value}, b"")

    assert answer.verdict is UNAVAILABLE
    assert answer.retry_after == seconds


def test_wait_until_a_date_is_that_long() -> None:
    """A date is as far away as it is."""
    answer = read_answer(503, {"Retry-After": in_seconds(200)}, b"")

    assert answer.retry_after is not None
    assert 100 < answer.retry_after <= 200


def test_retry_after_goes_before_the_reset_of_the_rate() -> None:
    """What is meant for everybody counts before what Segment adds; garbage counts for nothing."""
    both = {"Retry-After": "7", "X-RateLimit-Reset": "60"}

    assert read_answer(429, both, b"").retry_after == 7
    assert read_answer(429, {**both, "Retry-After": "soon"}, b"").retry_after == 60


@pytest.mark.parametrize("status", [200, 301, 400, 401, 404, 501])
def test_nobody_waits_for_what_does_not_pass(status: int) -> None:
    """A wait is for answers that may become better."""
    assert read_answer(status, {"Retry-After": "7"}, b"").retry_after is None


@given(
    st.integers(100, 999),
    st.dictionaries(RETRY_HEADERS, st.text(max_size=12) | st.integers().map(str)),
    st.binary(max_size=20) | st.sampled_from([b'{"success":false}', b"<", b"{}"]),
)
def test_every_answer_has_a_meaning(status: int, headers: dict[str, str], text: bytes) -> None:
    """Whatever comes back, there is a verdict, a bounded wait, and a reason without content."""
    answer = read_answer(status, headers, text)

    assert (answer.verdict is ACCEPTED) <= (200 <= status < 300)
    assert answer.retry_after is None or 0 <= answer.retry_after <= 300
    assert answer.reason == read_answer(status, {}, text).reason
    assert answer.reason.endswith(".") is (answer.verdict is not ACCEPTED)
