"""An event that its sender switched off for us is known by Segment's own rule."""

from __future__ import annotations

import pytest
from tap_segment_webhook.filter import switched_off


@pytest.mark.parametrize(
    ("integrations", "off"),
    [
        ("{}", False),
        ("null", False),
        ("[]", False),
        ('"Stitch"', False),
        ('{"All":true}', False),
        ('{"All":false}', True),
        ('{"Stitch":false}', True),
        ('{"All":true,"Stitch":false}', True),
        ('{"All":false,"Stitch":true}', False),
        ('{"All":false,"Stitch":{"option":1}}', False),
        ('{"All":false,"Stitch":{}}', False),
        ('{"All":false,"Stitch":null}', False),
        ('{"All":false,"stitch":true}', True),
        ('{"All":false,"Stitch Data":true}', True),
        ('{"All":true,"Stitch Data":false}', False),
        ('{"stitch":false}', False),
        ('{"all":false}', False),
        ('{"All":0}', False),
        ('{"All":"false"}', False),
        ('{"Stitch":"false"}', False),
        (r'{"All":false,"\ud800":1}', True),
    ],
)
def test_name_decides_else_all(integrations: str, off: bool) -> None:  # noqa: FBT001
    """Only a false switches off, exactly under the name, which counts more than All."""
    assert switched_off(b'{"integrations":%b}' % integrations.encode(), "Stitch") is off


def test_name_may_be_of_several_words() -> None:
    """Stitch's customers wrote either of two names, and ask for theirs."""
    body = b'{"integrations":{"All":true,"Stitch Data":false,"Stitch":true}}'

    assert switched_off(body, "Stitch Data")
    assert not switched_off(body, "Stitch")


def test_absent_integrations_switch_nothing_off() -> None:
    """What says nothing is on."""
    assert not switched_off(b'{"type":"track"}', "Stitch")
