"""Whether sending would work: the settings, the endpoint, the write key, the region."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from target_segment_api.client import Client, LookUp, Verdict
from target_segment_api.journal import is_writable
from target_segment_api.settings import ENDPOINTS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_api.settings import Settings


class Finding(NamedTuple):
    """The verdict on one thing."""

    what: str
    verdict: str
    """`ok`, `wrong`, or `unknown`."""
    reason: str


def check(settings: Settings) -> Iterator[Finding]:
    """Yield a finding on each thing, as it is known."""
    yield _check_files(settings)
    client = Client(settings)
    reached = client.reach()
    verdict = "ok" if reached.verdict is Verdict.ACCEPTED else "wrong"
    yield Finding("endpoint", verdict, f"{settings.endpoint}: {reached.reason}")
    found = client.look_up()
    yield _check_key(found)
    yield _check_region(settings, found)


def _check_files(settings: Settings) -> Finding:
    paths = [path for path in (settings.rejects_path, settings.receipts_path) if path]
    bad = [str(path) for path in paths if not is_writable(path)]
    if bad:
        return Finding("files", "wrong", f"Cannot be written: {', '.join(bad)}.")
    return Finding("files", "ok", f"Can be written: {', '.join(map(str, paths))}.")


def _check_key(found: LookUp) -> Finding:
    if found.known is None:
        return Finding("write_key", "unknown", f"Segment could not be asked. {found.reason}")
    if found.known:
        return Finding("write_key", "ok", "Segment knows it.")
    return Finding(
        "write_key",
        "wrong",
        "Segment does not know it: it would answer 200 and drop the events. A new key takes "
        "some minutes to be known.",
    )


def _check_region(settings: Settings, found: LookUp) -> Finding:
    if settings.region is None:
        return Finding("region", "ok", "Not used: endpoint is set.")
    if found.host is None:
        return Finding("region", "unknown", f"{settings.region}; Segment did not say the source's.")
    host = found.host.rstrip("/")
    if settings.endpoint == f"https://{host}":
        return Finding("region", "ok", f"{settings.region}, as the source's.")
    regions = {endpoint: region for region, endpoint in ENDPOINTS.items()}
    right = regions.get(f"https://{host}", f"that of {host}")
    return Finding(
        "region", "wrong", f"{settings.region}, but the source's is {right}. Set region: {right}."
    )
