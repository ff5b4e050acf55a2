"""Mappings tested as code: files of cases, each a record and the events that it must become.

```yaml
mappings:                  # or those of the settings
  public-users:
    - {call: identify, user_id: $.id, traits: {email: $.email}}
cases:
  - name: a user is identified
    stream: public-users
    record: {id: 7, email: ana@example.com}
    key: 7                 # if a mapping asks for it: $.__segment_id
    row_state: added       # or updated, deleted
    events:
      - {type: identify, userId: "7", traits: {email: ana@example.com}}
```

An event is compared whole, but for its message id and what every event is sent
with. `invalid: true` in a case means that its events must be ones that Segment
would not take.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import click
import yaml

from target_segment_api.encoding import decode, encode
from target_segment_api.mapping.call import STATES
from target_segment_api.mapping.mappings import Mappings
from target_segment_api.rows import is_meant, root_of
from target_segment_api.rules import explain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_KEYS = frozenset({"name", "stream", "record", "key", "row_state", "events", "invalid"})


class Result(NamedTuple):
    """How one case went."""

    name: str
    faults: list[str]
    """What was not as expected; empty if all was."""


def run(path: Path, config: Mapping[str, Any]) -> Iterator[Result]:
    """Yield the result of each case of the file at *path*, in order.

    Its own `mappings` come before those of *config*.

    Raises:
        click.ClickException: the file, or a mapping in it, is wrong; all mistakes at once.
    """
    try:
        suite = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise click.ClickException(f"{path} cannot be read as YAML: {error}") from error
    if not isinstance(suite, dict) or not isinstance(suite.get("cases"), list):
        raise click.ClickException(f"{path} has no list of cases.")
    given = suite.get("mappings") or config.get("mappings") or {}
    if not isinstance(given, dict):
        raise click.ClickException(f"{path}: mappings must be an object: stream to list of calls.")
    mappings = Mappings(
        given,
        strict_parity=bool(suite.get("strict_parity", config.get("strict_parity", False))),
    )
    if mappings.mistakes:
        raise click.ClickException("\n".join(map(str, mappings.mistakes)))
    for number, case in enumerate(suite["cases"]):
        yield _try(case, f"case {number + 1}", mappings)


def _try(case: Any, name: str, mappings: Mappings) -> Result:
    if not isinstance(case, dict) or not isinstance(case.get("record"), dict):
        return Result(name, ["It has no record."])
    name = str(case.get("name", name))
    if unknown := sorted(case.keys() - _KEYS):
        return Result(name, [f"It has keys that mean nothing: {', '.join(unknown)}."])
    calls = mappings.of(str(case.get("stream")))
    if calls is None:
        return Result(name, [f"No mapping is for stream {case.get('stream')!r}."])
    state = case.get("row_state", "added")
    if state not in STATES:
        return Result(name, [f"row_state must be one of {', '.join(STATES)}."])
    record = decode(encode(case["record"]))  # as it would come from a tap
    key = [case["key"]] if "key" in case else None
    made, reasons = [], []
    for call in calls:
        root = root_of(call, record, key, state)
        if not is_meant(call, root, state):
            continue
        for event, faults, _ in call.make(root):
            made.append({name: event[name] for name in event if name != "messageId"})
            reasons += [*faults, *explain(event)]
    found = list(_differences("events", _plain(case.get("events", [])), _plain(made)))
    if reasons and not case.get("invalid"):
        found += [f"Segment would not take it: {reason}" for reason in reasons]
    if case.get("invalid") and not reasons:
        found.append("Segment would take all of its events.")
    return Result(name, found)


def _plain(value: Any) -> Any:
    """Return *value* as the JSON that would be sent says it."""
    return decode(encode(value))


def _differences(place: str, expected: Any, made: Any) -> Iterator[str]:
    """Yield every place at which *made* is not as *expected*."""
    if isinstance(expected, dict) and isinstance(made, dict):
        for key in sorted(expected.keys() | made.keys()):
            if key not in made:
                yield f"{place}.{key} is missing."
            elif key not in expected:
                yield f"{place}.{key} is there and was not expected: {_show(made[key])}."
            else:
                yield from _differences(f"{place}.{key}", expected[key], made[key])
    elif isinstance(expected, list) and isinstance(made, list):
        if len(expected) != len(made):
            yield f"{place} has {len(made)} elements, not {len(expected)}: {_show(made)}."
        for number, (one, other) in enumerate(zip(expected, made)):  # noqa: B905 - told above
            yield from _differences(f"{place}[{number}]", one, other)
    elif isinstance(expected, bool) is not isinstance(made, bool) or expected != made:
        yield f"{place} is {_show(made)}, not {_show(expected)}."


def _show(value: Any) -> str:
    return encode(value).decode()
