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
        ('"Us"', False),
        ('{"All":true}', False),
        ('{"All":false}', True),
        ('{"Us":false}', True),
        ('{"All":true,"Us":false}', True),
        ('{"All":false,"Us":true}', False),
        ('{"All":false,"Us":{}}', False),
        ('{"All":false,"Us":null}', False),
        ('{"All":false,"us":true}', True),
        ('{"All":0}', False),
        ('{"All":"false"}', False),
        (r'{"All":false,"\ud800":1}', True),
    ],
)
def test_name_decides_else_all(integrations: str, off: bool) -> None:  # noqa: FBT001
    """Only a false switches off, and the name itself counts more than All."""
    assert switched_off(b'{"integrations":%b}' % integrations.encode(), "Us") is off


def test_absent_integrations_switch_nothing_off() -> None:
    """What says nothing is on."""
    assert not switched_off(b'{"type":"track"}', "Us")
