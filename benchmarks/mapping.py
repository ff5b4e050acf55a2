"""How fast rows become events, against the mapping kit that Segment publishes.

Both have the same mapping in the form in which Segment exports it, and the same
records, read from JSON before the clock starts; each has one core. Ours is
measured as the target runs it: the trigger, the fields, the event, its check.
"""

from __future__ import annotations

import json
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import clients
from target_segment_api.encoding import decode
from target_segment_api.mapping.call import compile_call
from target_segment_api.rules import problems

from benchmarks import environments
from benchmarks.report import OURS, Asked, Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator

    from target_segment_api.mapping.call import Call
    from target_segment_api.mapping.value import Mistake

KIT = "Segment's mapping kit, validator and action"
KIT_ALONE = "Segment's mapping kit, nothing checked"
SCRIPT = Path(__file__).parent / "peers" / "mapping_kit.mjs"
RECORDS = 1_000
WARM_UP_SECONDS = 1.0

# Ten fields, of them two templates and one condition.
MAPPING: dict[str, Any] = {
    "user_id": {"@path": "$.id"},
    "anonymous_id": {"@path": "$.device_id"},
    "timestamp": {"@path": "$.updated_at"},
    "locale": {"@path": "$.locale"},
    "timezone": {"@path": "$.timezone"},
    "traits": {
        "email": {"@path": "$.email"},
        "name": {"@template": "{{first_name}} {{last_name}}"},
        "home": {"@template": "{{city}}, {{country}}"},
        "plan": {
            "@if": {
                "exists": {"@path": "$.plan"},
                "then": {"@path": "$.plan"},
                "else": "free",
            }
        },
        "logins": {"@path": "$.logins"},
    },
}


def measure(*, quick: bool) -> Iterator[Measurement]:
    """Yield the rate of ours and of Segment's kit."""
    rounds, seconds = (1, 0.5) if quick else (5, 2.0)
    found = Measurement(
        "identify of 10 fields, mapped and checked, one core",
        "records/s",
        asked={OURS: Asked("≥", 60_000), KIT: Asked("≥", 2)},
    )
    records = [record(number) for number in range(RECORDS)]
    with _kit(records) as kit:
        for _ in range(rounds):
            found.add(OURS, _rate(records, seconds))
            if kit is not None:
                found.add(KIT, _ask(kit, seconds, validate=True))
                found.add(KIT_ALONE, _ask(kit, seconds, validate=False))
    yield found


def versions() -> dict[str, str]:
    """Return which release of the kit is measured."""
    return environments.versions_for_node(*clients.MAPPING_KIT)


def record(number: int) -> dict[str, Any]:
    """Return one row of a table of users; one in three has no plan."""
    return {
        "id": f"usr_{number:06}",
        "device_id": f"00000000-0000-4000-8000-{number:012}",
        "updated_at": "2026-03-04T11:22:33.444Z",
        "locale": "en-GB",
        "timezone": "Europe/London",
        "email": f"user{number}@example.com",
        "first_name": "Ada",
        "last_name": f"Lovelace {number}",
        "city": "London",
        "country": "United Kingdom",
        "plan": "pro" if number % 3 else None,
        "logins": number % 50,
    }


def _rate(records: list[dict[str, Any]], seconds: float) -> float:
    call = _compiled()
    rows = [decode(json.dumps(each)) for each in records]
    _run(call, rows)
    start, made = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        made += _run(call, rows)
    return made / (time.perf_counter() - start)


def _run(call: Call, rows: list[dict[str, Any]]) -> int:
    made = 0
    for row in rows:
        if call.when is not None and not call.when(row):
            continue
        for event, faults, _ in call.make(row):
            made += not (faults or problems(event))
    if made != len(rows):
        raise ValueError(f"{made} of {len(rows)} rows became an event that Segment takes.")
    return made


def _compiled() -> Call:
    mistakes: list[Mistake] = []
    call = compile_call(
        {"actionSlug": "sendIdentify", "settings": MAPPING}, (), mistakes, strict_parity=False
    )
    if call is None or mistakes:
        raise ValueError(f"The mapping is wrong: {mistakes}")
    return call


@contextmanager
def _kit(records: list[dict[str, Any]]) -> Iterator[subprocess.Popen[str] | None]:
    """Start Segment's kit and warm it up; None if it cannot be installed."""
    folder = environments.modules()
    if folder is None:
        yield None
        return
    with subprocess.Popen(
        [str(clients.NODE), str(SCRIPT), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        _write(process, {"mapping": MAPPING, "records": records})
        for validate in (True, False):
            _ask(process, WARM_UP_SECONDS, validate=validate)
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _ask(process: subprocess.Popen[str], seconds: float, *, validate: bool) -> float:
    _write(process, {"validate": validate, "seconds": seconds})
    assert process.stdout is not None
    return float(process.stdout.readline())


def _write(process: subprocess.Popen[str], message: object) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()
