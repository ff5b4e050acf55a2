"""What the receiver answers, taken apart and looked over."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import requests


def counts(answer: requests.Response) -> dict[str, int]:
    """Return the counts of a 200."""
    assert answer.status_code == 200
    body = answer.json()
    assert body.pop("success") is True
    return {name: count for name, count in body.items() if count}


def reason(answer: requests.Response, status: int) -> str:
    """Return why *answer* is no 200."""
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/json"
    body = answer.json()
    assert body["success"] is False
    assert body["code"]  # rudder-sdk-python looks for it
    return str(body["message"])
