"""A delivery is let in only if Segment signed it with one of our secrets."""

from __future__ import annotations

import pytest
from harness.deliveries import sign
from tap_segment_webhook.signature import verify

SECRET = b"not-a-real-secret"
SINGLE = (
    '{"type":"track","event":"Lesson Started","userId":"stu-104","messageId":"m-1",'
    '"properties":{"minutes":12.5,"title":"Café ☕"}}'
).encode()
SIGNATURE = b"99c335bfa6789dd16af07744072f3430ea03a6d2"


def test_signature_is_the_one_that_segment_computes() -> None:
    """The known example of a signed event verifies."""
    assert verify(SINGLE, SIGNATURE, [SECRET])


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"6aa316189bd0c48320269d95b654c8963f8f3053", id="of the whole array"),
        pytest.param(b"4071708357376f74da6009d0ef60214e57c1b20a", id="of other spacing"),
        pytest.param(SIGNATURE[:-1], id="cut off"),
        pytest.param(SIGNATURE[:-1] + b"3", id="one digit off"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00", id="no hex"),
    ],
)
def test_wrong_signature_is_rejected(wrong: bytes) -> None:
    """Nothing but the right digits passes."""
    assert not verify(SINGLE, wrong, [SECRET])


def test_changed_body_is_rejected() -> None:
    """A signature covers every byte."""
    assert not verify(SINGLE.replace(b"12.5", b"12.6"), SIGNATURE, [SECRET])


def test_either_of_two_secrets_verifies() -> None:
    """During a rotation the old and the new secret are both good."""
    assert verify(SINGLE, SIGNATURE, [b"the-next-one", SECRET])
    assert verify(SINGLE, SIGNATURE, [SECRET, b"the-next-one"])
    assert not verify(SINGLE, SIGNATURE, [b"the-next-one", b"another"])


def test_nothing_verifies_without_secrets() -> None:
    """No secret is no permission."""
    assert not verify(SINGLE, SIGNATURE, [])
    assert not verify(SINGLE, sign(SINGLE, "").encode(), [])


def test_secret_may_hold_any_character() -> None:
    """A secret is UTF-8, as in Segment."""
    assert verify(SINGLE, sign(SINGLE, "señal-☕").encode(), ["señal-☕".encode()])


def test_capitals_and_spaces_around_are_tolerated() -> None:
    """What proxies may do to a header's value does not matter."""
    assert verify(SINGLE, b" " + SIGNATURE.upper() + b" ", [SECRET])
