"""One call of a mapping, compiled: which rows it is for, and the events that it makes of one.

An entry is written in our YAML form, or is one of Segment's own as its Public
API and its code export it: `actionSlug` (or `partnerAction`), `trigger` (or
`subscribe`), `settings` (or `mapping`).
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from target_segment_api import timestamp
from target_segment_api.encoding import decode, encode
from target_segment_api.event import CALLS, Event
from target_segment_api.mapping.directive import compile_value
from target_segment_api.mapping.field import FIELDS, REQUIRED, SUB_FIELDS, fit
from target_segment_api.mapping.payload import build
from target_segment_api.mapping.trigger import compile_trigger
from target_segment_api.mapping.value import MISSING, Mistake, ValueFailed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from target_segment_api.mapping.value import Place, Read, Resolve

EACH: Final = "$each"
"""The name under which the mapping of one element finds it."""

ROW_STATE: Final = "row_state"
"""The name under which a mapping finds whether its row was `added`, `updated` or `deleted`."""

STATES: Final = {"added": "new", "updated": "updated", "deleted": "deleted"}
"""The states of a row, and the `event` that Segment's Reverse ETL makes of each."""

_OWN: Final = ("call", "when", "for_each", "version")
_BATCHING: Final = ("enable_batching", "batch_size")  # of older exports; batches are settings here
_ROOT_DIRECTIVE: Final = "__segment_internal_directive"
_INTERNAL: Final = "__segment_internal_"
_ROW_FORM: Final = re.compile(r"\bproperties\b|\bevent\b|\btype\b|__segment_id|row_state")
_ASKED: Final = frozenset({"event", ROW_STATE})


class Made(NamedTuple):
    """One event that a call made, and what is wrong with it."""

    event: Event
    faults: list[str]
    each: Any
    """The element that it was made of, or None."""


class Call(NamedTuple):
    """One entry of a mapping, ready to be used for each row."""

    call: str
    place: Place
    when: Callable[[dict[str, Any]], bool] | None
    for_each: Resolve | None
    version: Resolve | None
    fields: tuple[tuple[str, Resolve], ...]
    whole: Resolve | None
    """Gives all fields at once, instead of `fields`."""
    is_exported: bool
    """Whether it is one of Segment's own, in which `event` is never a column of that name."""
    uses_row_form: bool
    """Whether it looks at a row as Reverse ETL gives it: `event`, `properties`, `__segment_id`."""
    asks: frozenset[str]
    """The names under which its trigger asks if a row is added, updated or deleted."""
    strict_parity: bool
    reads: tuple[Read, ...]
    """The paths of a row that it is known to read."""

    def make(self, root: dict[str, Any]) -> Iterator[Made]:
        """Yield the events that the row *root* makes, in order; `when` is not asked here."""
        if self.for_each is None:
            yield self._make_one(root, None)
            return
        try:
            items = _items(self.for_each(root))
        except ValueFailed as error:
            made = self._make_one({**root, EACH: None}, None)
            made.faults.insert(0, f"for_each: {error.reason}")
            yield made
            return
        for item in items:
            yield self._make_one({**root, EACH: item}, item)

    def _make_one(self, root: dict[str, Any], item: Any) -> Made:
        faults: list[str] = []
        fields = {}
        for field, value in self._resolve(root, faults):
            # Before it is fitted, which makes text of the seconds since 1970.
            given = _moment(value) if field == "timestamp" else value
            fitted = fit(field, given, faults)
            if fitted is not MISSING:
                fields[field] = fitted
        return Made(build(self.call, fields, strict_parity=self.strict_parity), faults, item)

    def _resolve(self, root: dict[str, Any], faults: list[str]) -> Iterator[tuple[str, Any]]:
        if self.whole is not None:
            try:
                found = self.whole(root)
            except ValueFailed as error:
                faults.append(error.reason)
                return
            known = FIELDS[self.call]
            yield from ((name, value) for name, value in _members(found) if name in known)
            return
        for field, resolve in self.fields:
            try:
                yield field, resolve(root)
            except ValueFailed as error:
                faults.append(f"{field}: {error.reason}")


def compile_call(
    entry: Any, place: Place, mistakes: list[Mistake], *, strict_parity: bool
) -> Call | None:
    """Compile one *entry*; add what is wrong with it to *mistakes*.

    Returns None if much is, and for an entry that is switched off in Segment.
    """
    if not isinstance(entry, dict):
        mistakes.append(Mistake(place, "It must be an object with a call and its fields."))
        return None
    is_enabled, exported = True, _unpack(entry)
    if exported is not None:
        is_enabled, entry = entry.get("enabled") is not False, exported
    call = _read_call(entry, place, mistakes)
    if call is None:
        return None
    text = encode(entry).decode()
    _check_fields(call, entry, place, mistakes)
    if EACH in text and "for_each" not in entry:
        mistakes.append(
            Mistake(place, f"{EACH} is used without for_each. Say which list it is of.")
        )

    reads: list[Read] = []

    def compile_part(name: str) -> Resolve | None:
        if name not in entry:
            return None
        is_ours = exported is None or name in _OWN
        return compile_value(entry[name], (*place, name), mistakes, shorthand=is_ours, reads=reads)

    when = None
    if entry.get("when") is not None:
        when = compile_trigger(entry["when"], (*place, "when"), mistakes, reads)
    asked = {read.keys[0] for read in reads}  # of the trigger alone, as yet
    own = {name: value for name, value in entry.items() if name not in _OWN}
    whole = None
    if _ROOT_DIRECTIVE in entry:
        whole = compile_value(own, place, mistakes, shorthand=exported is None, reads=reads)
        own = {}
    fields = [(name, compile_part(name)) for name in own if not name.startswith(_INTERNAL)]
    for_each, version = compile_part("for_each"), compile_part("version")
    compiled = Call(
        call=call,
        place=place,
        when=when,
        for_each=for_each,
        version=version,
        fields=tuple((name, resolve) for name, resolve in fields if resolve is not None),
        whole=whole,
        is_exported=exported is not None,
        uses_row_form=any(_ROW_FORM.search(leaf) for leaf in _leaves(entry)),
        asks=_ASKED & asked,
        strict_parity=strict_parity,
        reads=tuple(reads),
    )
    return compiled if is_enabled else None


def _leaves(value: Any) -> Iterator[str]:
    """Yield every text in *value* that is no key."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)


def _unpack(entry: dict[str, Any]) -> dict[str, Any] | None:
    """Return the entry that Segment's own export *entry* means, or None if it is none."""
    action = entry.get("actionSlug", entry.get("partnerAction"))
    if action is None:
        return None
    given = entry.get("settings", entry.get("mapping"))
    fields = given if isinstance(given, dict) else {}
    return {
        **{name: entry[name] for name in ("for_each", "version") if name in entry},
        **{name: value for name, value in fields.items() if name not in _BATCHING},
        "call": str(action),
        "when": entry.get("trigger", entry.get("subscribe")),
    }


def _read_call(entry: dict[str, Any], place: Place, mistakes: list[Mistake]) -> str | None:
    given = entry.get("call")
    name = given.removeprefix("send").lower() if isinstance(given, str) else ""
    if name in CALLS:
        return name
    reason = f"call must be one of {', '.join(CALLS)}."
    mistakes.append(Mistake((*place, "call"), reason + _suggest(name, CALLS)))
    return None


def _check_fields(call: str, entry: dict[str, Any], place: Place, mistakes: list[Mistake]) -> None:
    known = (*FIELDS[call], *_OWN)
    for name in entry:
        if name not in known and not name.startswith(_INTERNAL):
            reason = f"{call} has no such field.{_suggest(name, known)}"
            mistakes.append(Mistake((*place, name), reason))
    for name, members in SUB_FIELDS.items():
        value = entry.get(name)
        if isinstance(value, dict) and not any(key.startswith("@") for key in value):
            mistakes.extend(
                Mistake((*place, name, key), f"{name} has no such member.{_suggest(key, members)}")
                for key in value
                if key not in members and name in FIELDS[call]
            )
    if _ROOT_DIRECTIVE in entry:
        return
    mistakes.extend(
        Mistake(place, f"{name} is needed for {call}. Map it.")
        for name in REQUIRED[call]
        if name not in entry
    )
    if call != "alias" and not {"user_id", "anonymous_id"} & entry.keys():
        mistakes.append(Mistake(place, "Map user_id or anonymous_id: Segment needs one of them."))


def _suggest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" Do you mean {near[0]}?" if near else ""


def _items(value: Any) -> list[Any]:
    """Return the elements of what `for_each` found: none of nothing, one of a scalar."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            value = decode(value)
        except ValueError:
            return [value]
    if value is MISSING or value is None or value == "":
        return []
    return value if isinstance(value, list) else [value]


def _members(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _moment(value: Any) -> Any:
    try:
        return timestamp.write(value)
    except ValueError:
        return value
