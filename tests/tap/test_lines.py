"""The fast way to a RECORD line and the careful one give the same records."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from harness import deliveries
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from tap_segment_webhook.errors import InvalidEvent
from tap_segment_webhook.event import TYPES, read_event
from tap_segment_webhook.lines import Lines
from tap_segment_webhook.record import columns, encode_json, segment_name
from tap_segment_webhook.schema import TIMES, stream_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tap_segment_webhook.event import Row

FORMATS = ("object", "json_string")
EXTRACTED = "2026-03-04T11:25:31.000Z"
RECEIVED_AT = 1_772_623_530_402
TEXT_COLUMNS = ("context", "integrations", "properties", "traits", "extra")

formats = FormatChecker(formats=[])


@formats.checks("date-time", raises=ValueError)
def _is_record_time(value: object) -> bool:
    """Take only the one form that records have."""
    if isinstance(value, str):
        datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%f%z")
        return len(value) == len("2026-03-04T11:20:31.402Z") and value.endswith("Z")
    return True


# Events as JSON text, so that spelling, order, repetition and spacing vary too.
PLAIN_SPACES = st.sampled_from(["", "", " ", "\t"])
SPACES = PLAIN_SPACES | st.sampled_from(["\n  ", "\r\n"])
NUMBERS = st.sampled_from(
    [
        *("0", "-0", "7", "-1", "2.0", "12.50", "1e5", "1E-7", "1e99", "-0.0", "5e-324"),
        *("1e308", "1e309", "1E+400", "-1e0400", "NaN", "Infinity", "-Infinity", "1e-400"),
        *(str(2**53 + 1), str(2**63 - 1), str(2**63), str(-(2**63) - 1), "9" * 40, "9" * 307),
        *("9" * 308, "9" * 309, "9" * 400, "0." + "123456789" * 5, "3" * 20 + "e-5"),
    ]
)
TEXTS = st.one_of(
    st.text(max_size=6).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.text(st.characters(categories=["Cs", "Cc", "Lo", "So"]), max_size=4).map(json.dumps),
    st.sampled_from(
        [
            *('""', r'"\u0000"', r'"\\u0000"', r'"\\\u0000"', r'"\ud83d"', r'"\uD83D\uDE00"'),
            *('"1e400 "', '"NaN"', '"null"', r'"\/\b\f\n\r\t"', '"\u2028"', '"12345678"'),
            *('"x, 1e999]"', '"' + "8" * 400 + '"', '"é☕👩\u200d🔧"'),
        ]
    ),
)
MOMENTS = st.one_of(
    st.datetimes().map(lambda moment: f'"{moment.isoformat(timespec="milliseconds")}Z"'),
    st.datetimes().map(lambda moment: f'"{moment.isoformat()}"'),
    st.sampled_from(
        [
            *('"2026-03-04T11:20:31Z"', '"2026-03-04T12:20:31.402+01:00"', '"soon"', '""'),
            *(
                '"2026-03-04 11:40:10.208 +0000 UTC m=+70366.298768264"',
                '"2026-03-04T11:20:31.402"',
            ),
            *(
                '"2026-03-04T11:20:31.402123Z"',
                '"2026-03-04t11:20:31.402z"',
                '"10000-01-01T00:00Z"',
            ),
            *(
                '"2026-03-04 11:20:31.402Z"',
                '"2026-03-04T11:20:31,402Z"',
                '"2026-03-04T11:20:60.000Z"',
            ),
            *(
                '"2026-03-04T11:20:31+0000"',
                '"0000-03-04T11:20:31.402Z"',
                '"9999-12-31T23:59:59-01:00"',
            ),
            *(
                r'"2026-03-04\u005411:20:31.402Z"',
                '"2026-02-29T11:20:31.402Z"',
                '"2026-03-04T11:20Z"',
            ),
        ]
    ),
)
CONSTANTS = st.sampled_from(["null", "true", "false"])


@st.composite
def arrays(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """Draw the text of an array."""
    space = draw(SPACES)
    return f"[{space}{f'{space},'.join(draw(st.lists(inner, max_size=3)))}{space}]"


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """Draw the text of an object, also one with a key that comes twice."""
    keys = TEXTS | st.sampled_from(['"a"', '"a"', '"type"', '"$"', '"a.b"'])
    return join(draw(st.lists(st.tuples(keys, inner), max_size=3)), draw(SPACES))


def join(items: list[tuple[str, str]], space: str) -> str:
    """Write an object of *items*, which are all JSON text."""
    between = f"{space},{space}".join(f"{key}{space}:{space}{value}" for key, value in items)
    return f"{{{space}{between}{space}}}"


def nested(scalars: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Return values of all depths made of *scalars*."""
    return st.recursive(scalars, lambda inner: arrays(inner) | objects(inner), max_leaves=6)


ODD = nested(NUMBERS | TEXTS | CONSTANTS)
ODD_KEYS = TEXTS | st.sampled_from(
    ['"messageId"', '"messageId"', '"message_id"', '"extra"', '"source"', '"spool_position"']
)
PLAIN_TEXTS = st.sampled_from(
    [
        '"Order Completed"',
        '"é☕"',
        '"\U0001f469\u200d\U0001f527"',
        r'"\"\\"',
        r'"\t\u00e9"',
        '"NaN"',
        '"12345678"',
        '""',
    ]
)
PLAIN_NUMBERS = st.sampled_from(["0", "-17", "64.90", "1e5", "-2.5E-7", "123456789012"])
PLAIN = nested(PLAIN_TEXTS | PLAIN_NUMBERS | CONSTANTS)


def usual(
    column: str, texts: st.SearchStrategy[str], values: st.SearchStrategy[str]
) -> st.SearchStrategy[str]:
    """Return what Segment may send as *column*, as JSON text."""
    if column in TEXT_COLUMNS:
        return objects(values) | st.just("null")
    if column in TIMES:
        return MOMENTS | st.just("null")
    if column == "version":
        return st.sampled_from(["2", "1", '"1.1"', "null"])
    return texts if column == "message_id" else texts | st.just("null")


@st.composite
def events(draw: st.DrawFn, stream: str) -> bytes:
    """Draw the bytes of an event of *stream*: two of three are plain, one is odd."""
    odd = draw(st.sampled_from([False, False, True]))
    texts, values = (TEXTS, ODD) if odd else (PLAIN_TEXTS, PLAIN)
    names = draw(st.lists(st.sampled_from(columns(stream)[2:]), unique=not odd, max_size=6))
    fields = [
        (
            f'"{segment_name(name)}"',
            draw(usual(name, texts, values) | (ODD if odd else st.nothing())),
        )
        for name in names
    ]
    if odd:
        fields += draw(st.lists(st.tuples(ODD_KEYS, ODD), max_size=2))
    else:
        fields.append(('"messageId"', '"m-1"'))
    for name in draw(st.sampled_from([(), (), ("_metadata",), ("writeKey",)])):
        fields.append((f'"{name}"', draw(values)))
    fields = draw(st.permutations([*fields, ('"type"', f'"{stream}"')]))
    return join(fields, draw(SPACES if odd else PLAIN_SPACES)).encode("utf-8", "backslashreplace")


@st.composite
def pages(draw: st.DrawFn) -> tuple[str, list[Row]]:
    """Draw some stored events of one stream."""
    stream = draw(st.sampled_from(TYPES))
    bodies = draw(st.lists(events(stream), min_size=1, max_size=4))
    return stream, [
        (body, position, "default", RECEIVED_AT)
        for position, body in enumerate(bodies, 3)
        if is_event(body, stream)
    ]


def is_event(body: bytes, stream: str) -> bool:
    """Tell whether *body* is stored as an event of *stream*; a repeated `type` may change that."""
    return read_event(body).code == stream[0]


def strict(text: str | bytes) -> Any:
    """Read JSON exactly as it is defined, without losing a digit."""
    return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON.")


def read_lines(lines: bytes, stream: str) -> list[dict[str, Any]]:
    """Read RECORD lines of *stream*, each of them whole, and return their records."""
    assert lines == b"" or lines.endswith(b"\n")
    messages = [strict(line.decode("utf-8")) for line in lines.split(b"\n")[:-1]]
    for message in messages:
        assert message.keys() == {"type", "stream", "record", "time_extracted"}
        assert (message["type"], message["stream"]) == ("RECORD", stream)
        assert message["time_extracted"] == EXTRACTED
    return [message["record"] for message in messages]


def with_texts_read(record: dict[str, Any]) -> dict[str, Any]:
    """Return *record* with the objects that are JSON text read: spacing means nothing."""
    return {
        name: strict(value) if name in TEXT_COLUMNS and isinstance(value, str) else value
        for name, value in record.items()
    }


def leaves(value: Any) -> Iterator[Any]:
    """Yield every key and scalar inside *value*."""
    if isinstance(value, dict):
        yield from value
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def is_holdable(leaf: Any) -> bool:
    """Tell whether every target can take *leaf*."""
    if isinstance(leaf, str):
        return not re.search("[\0\ud800-\udfff]", leaf)
    return not isinstance(leaf, int | Decimal) or math.isfinite(float(leaf))


@pytest.fixture(scope="module")
def check() -> Callable[[str, str, list[dict[str, Any]]], None]:
    """Return a check of records against the schema of a stream in a payload format."""
    validators = {
        (stream, payload_format): Draft202012Validator(
            stream_schema(stream, payload_format), format_checker=formats
        )
        for stream in TYPES
        for payload_format in FORMATS
    }

    def check(stream: str, payload_format: str, records: list[dict[str, Any]]) -> None:
        for record in records:
            validators[stream, payload_format].validate(record)
            assert set(record) == set(stream_schema(stream, payload_format)["properties"])

    return check


@pytest.mark.parametrize("payload_format", FORMATS)
@given(page=pages())
def test_any_events_give_the_same_records_both_ways(
    payload_format: str,
    page: tuple[str, list[Row]],
    check: Callable[[str, str, list[dict[str, Any]]], None],
) -> None:
    """Whatever was stored, the fast lines say what the careful reading says, and are valid."""
    stream, rows = page
    lines = Lines(stream, payload_format)

    records = read_lines(lines.encode(rows, EXTRACTED), stream)

    careful = [strict(encode_json(lines.read(row))) for row in rows]
    assert list(map(with_texts_read, records)) == list(map(with_texts_read, careful))
    assert [record["spool_position"] for record in records] == [row[1] for row in rows]
    assert all(is_holdable(leaf) for leaf in leaves(list(map(with_texts_read, records))))
    check(stream, payload_format, records)


PIECES = st.sampled_from(
    [
        *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" ", b"\n", b"\x00", b"\x7f", b"\xff"),
        *(b"0", b"-", b".", b"e9", b"1e999", b"null", b"NaN", b"\\u0000", b"\\ud800", b"\xc3\xa9"),
        *(b'"type":"track"', b'"userId":5', b'"timestamp":"', b'"_metadata":', b'"context":['),
    ]
)
ORDINARY = [deliveries.encode(event) for event in deliveries.events(20)]


@given(
    body=st.sampled_from(ORDINARY),
    changes=st.lists(st.tuples(st.integers(0, 1500), PIECES, st.integers(0, 3)), max_size=3),
)
def test_whatever_is_accepted_can_be_emitted(
    body: bytes,
    changes: list[tuple[int, bytes, int]],
    check: Callable[[str, str, list[dict[str, Any]]], None],
) -> None:
    """However an event was damaged: if it is stored, a valid record comes out."""
    for place, piece, cut in changes:
        body = body[:place] + piece + body[place + cut :]
    try:
        code = read_event(body).code
    except InvalidEvent:
        return
    (stream,) = [stream for stream in TYPES if stream[0] == code]
    lines = Lines(stream, "object")

    records = read_lines(lines.encode([(body, 1, "default", 0)], EXTRACTED), stream)

    assert records == [strict(encode_json(lines.read((body, 1, "default", 0))))]
    assert all(map(is_holdable, leaves(records)))
    check(stream, "object", records)


@pytest.mark.parametrize("payload_format", FORMATS)
@pytest.mark.parametrize("stream", TYPES)
def test_ordinary_events_give_the_same_records_both_ways(
    stream: str,
    payload_format: str,
    check: Callable[[str, str, list[dict[str, Any]]], None],
) -> None:
    """A page of what Segment really sends, a pretty-printed one among it, is read right."""
    bodies = [
        deliveries.encode(event) for event in deliveries.events(400) if event["type"] == stream
    ]
    bodies.append(json.dumps(json.loads(bodies[0]), indent=2).encode())
    rows = [(body, position, "default", 0) for position, body in enumerate(bodies, 1)]
    lines = Lines(stream, payload_format)

    records = read_lines(lines.encode(rows, EXTRACTED), stream)

    assert list(map(with_texts_read, records)) == [
        with_texts_read(strict(encode_json(lines.read(row)))) for row in rows
    ]
    check(stream, payload_format, records)


@pytest.mark.parametrize("payload_format", FORMATS)
@pytest.mark.parametrize(
    "value",
    [
        *("1e400", "-1E+400", "[1e309]", '{"a":1e0400\t}', "9" * 309, "1" + "0" * 250 + "e90"),
        *(
            "9" * 300 + ".5e10",
            "-" + "9" * 400 + ".25",
            "NaN",
            "[-Infinity]",
            r'"\u0000"',
            r'"\ud83d"',
        ),
        *(r'{"\u0000":1}', r'{"\udc00":1}', "\n1", "[1,\r\n2]", '"\x7f"', r'"\\u0000"', "1e-400"),
    ],
)
def test_odd_value_alone_does_not_escape_the_fast_way(value: str, payload_format: str) -> None:
    """One thing that a target cannot take is found in an event that is plain otherwise."""
    body = f'{{"type":"track","messageId":"m-1","properties":{{"a":{value}}}}}'.encode()
    row = (body, 1, "default", 0)
    lines = Lines("track", payload_format)

    (record,) = map(with_texts_read, read_lines(lines.encode([row], EXTRACTED), "track"))

    assert record == with_texts_read(strict(encode_json(lines.read(row))))
    assert all(map(is_holdable, leaves(record)))


def test_one_odd_event_does_not_change_the_others() -> None:
    """An event that needs the careful reading leaves its neighbours and their order alone."""
    bodies = [b'{"type":"track","messageId":"m-%d"}' % number for number in range(1, 6)]
    bodies[2] = rb'{"type":"track","messageId":"m-3","event":"\u0000"}'
    rows = [(body, position, "default", 0) for position, body in enumerate(bodies, 1)]

    records = read_lines(Lines("track", "object").encode(rows, EXTRACTED), "track")

    assert [record["message_id"] for record in records] == ["m-1", "m-2", "m-3", "m-4", "m-5"]
    assert [record["event"] for record in records] == [None, None, "\ufffd", None, None]


def test_no_events_give_no_lines() -> None:
    """An empty page is nothing."""
    assert Lines("track", "object").encode([], EXTRACTED) == b""


def test_write_key_is_in_no_line() -> None:
    """A write key does not leave by the fast way either."""
    body = b'{"type":"track","messageId":"m-1","writeKey":"wk-secret"}'

    lines = Lines("track", "object").encode([(body, 1, "default", 0)], EXTRACTED)

    assert b"wk-secret" not in lines
    assert read_lines(lines, "track")[0]["extra"] is None


def test_open_object_passes_through_as_it_was_sent() -> None:
    """`json_string` keeps the sender's own text of an object."""
    body = b'{"type":"track","messageId":"m-1","properties":{"price":1.50,"a":1e2}}'

    (record,) = read_lines(
        Lines("track", "json_string").encode([(body, 1, "default", 0)], EXTRACTED), "track"
    )

    assert record["properties"] == '{"price":1.50,"a":1e2}'
