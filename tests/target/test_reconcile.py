"""The books find every event that Segment answered 200 to and that did not come back."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter, defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from harness.messages import record, schema, small
from harness.room import room_for
from harness.spool import event, fill, opened, url_in
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.arrivals import Arrival, Retained
from target_segment_api.commands import main
from target_segment_api.comparison import HOUR_MS, Comparison, Figures, Limits, Period
from target_segment_api.errors import InputUnusable
from target_segment_api.receipts import Receipt
from target_segment_api.reconciliation import Reconciliation
from target_segment_api.timestamp import from_ms, to_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from click.testing import Result
    from harness.segment import Segment
    from harness.target import Target

Json = dict[str, Any]

VARIABLE = "TARGET_SEGMENT_API_RECEIPTS_PATH"
NOW = time.time_ns() // 1_000_000
SECOND, HOUR = 1000, HOUR_MS
LONG_AGO = to_ms("2026-03-04T11:20:00Z")
LIMITS = Limits(now=NOW, late=300 * SECOND, settle=300 * SECOND)


# Half hours around one another, so that hours, limits and periods all have both sides.
TIMES = st.integers(0, 8).map(lambda number: LONG_AGO + number * HOUR // 2)
IDS = st.sampled_from("abcdef")
RECEIPTS = st.lists(
    st.builds(Receipt, IDS, st.sampled_from(["users", "orders"]), TIMES) | st.none()
)
ARRIVALS = st.lists(st.builds(Arrival, IDS, TIMES | st.none()) | st.builds(Retained, TIMES))
SPANS = st.integers(0, 4).map(lambda number: number * HOUR // 2)


@given(
    RECEIPTS,
    ARRIVALS,
    st.builds(Period, TIMES | st.none(), TIMES | st.none()),
    st.builds(Limits, TIMES, SPANS, SPANS),
)
def test_figures_are_those_of_a_plain_count(
    receipts: list[Receipt | None],
    arrivals: list[Arrival | Retained],
    period: Period,
    limits: Limits,
) -> None:
    """Whatever was sent and came back, in any order: each event is counted once, in one place."""
    found = compared(receipts, arrivals, limits=limits, period=period)

    hours, missing, others = counted(receipts, arrivals, period, limits)
    assert {(hour.stream, hour.start): hour.figures for hour in found.hours} == hours
    assert sorted(tuple(event) for event in found.missing) == sorted(missing)
    assert found.others == others
    total = found.total
    assert total.sent == total.delivered + total.missing + total.pending + total.unknown


def test_event_that_did_not_come_back_is_missing() -> None:
    """The others are not; who it is, of which stream, and since when is told."""
    found = compared(sent("a", "b", "c"), came("a", "c"))

    assert found.total == Figures(sent=3, delivered=2, missing=1)
    assert found.missing == [("b", "users", LONG_AGO)]


def test_event_is_counted_in_the_hour_it_was_sent_in() -> None:
    """By stream, and then by hour, in UTC."""
    moments = {"a": 0, "b": 39 * 60 * SECOND, "c": 40 * 60 * SECOND, "d": 24 * HOUR}
    receipts = [Receipt(name, "users", LONG_AGO + moment) for name, moment in moments.items()]

    hours = compared([*receipts, Receipt("e", "orders", LONG_AGO)], []).as_dict()["hours"]

    assert [(hour["stream"], hour["hour"], hour["missing"]) for hour in hours] == [
        ("orders", "2026-03-04T11:00:00.000Z", 1),
        ("users", "2026-03-04T11:00:00.000Z", 2),
        ("users", "2026-03-04T12:00:00.000Z", 1),
        ("users", "2026-03-05T11:00:00.000Z", 1),
    ]


def test_rerun_is_no_second_event() -> None:
    """A run that was killed sends the same ids again, and notes them again: Segment has one."""
    found = compared([*sent("a"), *sent("a", at=LONG_AGO + HOUR)], came("a"))

    assert found.total == Figures(sent=1, delivered=1)
    assert found.receipts == 2


@pytest.mark.parametrize(("delay", "late"), [(-SECOND, 0), (300 * SECOND, 0), (300_001, 1)])
def test_late_is_what_took_longer_than_the_limit(delay: int, late: int) -> None:
    """Before its receipt is written, an event can be back already."""
    found = compared(sent("a"), [Arrival("a", LONG_AGO + delay)])

    assert found.total == Figures(sent=1, delivered=1, late=late)


def test_event_is_duplicated_that_is_there_twice() -> None:
    """The first of its arrivals says whether it was late."""
    found = compared(sent("a"), [Arrival("a", LONG_AGO + 9 * HOUR), *came("a", "a")])

    assert found.total == Figures(sent=1, delivered=1, duplicated=1)


@pytest.mark.parametrize(("age", "pending"), [(299, 1), (300, 0)])
def test_young_event_is_pending_and_not_missing(age: int, pending: int) -> None:
    """It may still come; and so may one that was sent long ago and again just now."""
    receipts = [*sent("a"), *sent("a", "b", at=NOW - age * SECOND)]

    total = compared(receipts, []).total

    assert (total.pending, total.missing) == (2 * pending, 2 - 2 * pending)


def test_event_that_may_have_been_pruned_is_not_missing() -> None:
    """Where it was looked for is complete since then, and a while before it came its receipt."""
    since = LONG_AGO + HOUR
    moments = {"a": since - 1, "b": since + LIMITS.settle - 1, "c": since + LIMITS.settle}
    receipts = [Receipt(name, "users", moment) for name, moment in moments.items()]

    found = compared(receipts, [Retained(since)])

    assert found.total == Figures(sent=3, unknown=2, missing=1)
    assert [event.message_id for event in found.missing] == ["c"]
    assert "complete since 2026-03-04T12:20:00.000Z" in str(found)


def test_what_others_sent_is_told_and_not_mixed_in() -> None:
    """A webhook brings everything of a source, also what another program has sent to it."""
    found = compared(sent("a"), came("a", "x", "x", "y"))

    assert found.total == Figures(sent=1, delivered=1)
    assert found.others == 2
    assert "2 other events are there that have no receipt of this period." in str(found)


def test_only_the_first_missing_ids_are_shown() -> None:
    """The oldest; how many more there are is said, and so is how to see them."""
    receipts = [Receipt(name, "users", LONG_AGO - ord(name)) for name in "abcde"]

    text = str(compared(receipts, [], shown=2))

    assert "users  e\n" in text
    assert "users  d\n" in text
    assert "users  c" not in text
    assert text.endswith("  and 3 more: --missing 5 lists all.")


def test_exit_code_says_whether_an_event_is_missing(tmp_path: Path) -> None:
    """1 if one is, 0 if none is: a CI needs to read nothing."""
    complete = reconcile(tmp_path, sent("a", "b"), came("b", "a"))
    lacking = reconcile(tmp_path, sent("a", "b"), came("b"))

    assert (complete.exit_code, lacking.exit_code) == (0, 1), complete.output
    assert "2 sent = 1 delivered + 1 missing + 0 pending + 0 unknown" in lacking.output
    assert lacking.stderr == ""


def test_table_is_for_people(tmp_path: Path) -> None:
    """A line for each stream and hour, and one for all; what is pending only if something is."""
    receipts = [*sent("a", "b"), *sent("c", at=LONG_AGO + HOUR, stream="public-orders")]

    lines = reconcile(tmp_path, receipts, came("a")).stdout.splitlines()
    just_now = sent("d", at=time.time_ns() // 1_000_000)
    wider = reconcile(tmp_path, [*receipts, *just_now], came("a")).stdout.splitlines()

    assert [line.split() for line in lines[:4]] == [
        ["stream", "hour", "(UTC)", "sent", "delivered", "missing", "late", "duplicated"],
        ["public-orders", "2026-03-04", "12:00", *"10100"],
        ["users", "2026-03-04", "11:00", *"21100"],
        ["total", *"31200"],
    ]
    assert wider[4].split() == ["total", *"412100"]


def test_json_is_for_programs(tmp_path: Path) -> None:
    """Everything that the table says, and the totals of each stream."""
    result = reconcile(tmp_path, sent("a", "b"), came("a"), "--json", "--since", "2026-01-01")

    found = json.loads(result.stdout)
    figures = {
        "sent": 2,
        "delivered": 1,
        "missing": 1,
        "pending": 0,
        "unknown": 0,
        "late": 0,
        "duplicated": 0,
    }
    assert abs(to_ms(found.pop("at")) - NOW) < HOUR
    assert found == {
        "since": "2026-01-01T00:00:00.000Z",
        "until": None,
        "late_seconds": 300,
        "settle_seconds": 300,
        "retained_since": None,
        "receipts": 2,
        "unreadable_receipts": 0,
        "arrivals": 1,
        "others": 0,
        "total": figures,
        "streams": {"users": figures},
        "hours": [{"stream": "users", "hour": "2026-03-04T11:00:00.000Z", **figures}],
        "missing": [
            {"message_id": "b", "stream": "users", "accepted_at": "2026-03-04T11:20:00.000Z"}
        ],
    }


def test_torn_receipts_are_told_and_cost_no_other(tmp_path: Path) -> None:
    """A run that was killed leaves half a line, at the end or before the next run's."""
    path = write_receipts(tmp_path, sent("a", "b"))
    torn = path.read_bytes()[:-30]
    path.write_bytes(torn + b"\n" + torn.splitlines()[0] + b'\n{"accepted_at":"2026-0')

    found = report(tmp_path, came("a"))

    assert found["unreadable_receipts"] == 2
    assert found["total"]["sent"] == found["total"]["delivered"] == 1


def test_receipts_of_a_real_run_are_read(target: Target, segment: Segment) -> None:
    """What the target notes is what is compared: the stand-in drops an event, and it is found."""
    segment.moods({"kind": "drop", "match": "usr_2"})
    target.settings["max_batch_events"] = 1
    target.run_here([schema("track"), *(record(small(number)) for number in range(4))])
    back = [Arrival(event["messageId"], NOW) for event in segment.events()]

    found = report(Path(target.settings["receipts_path"]).parent, back, "--settle", "0")

    (lost,) = segment.drops()
    assert found["total"]["delivered"] == len(back) == 3
    assert [event["message_id"] for event in found["missing"]] == [lost["event"]["messageId"]]


def test_period_is_a_time_or_an_age(tmp_path: Path) -> None:
    """`--since` is the first moment that counts, `--until` the first that does not any more."""
    receipts = [
        *sent("a", at=NOW - 50 * HOUR),
        *sent("b", at=NOW - 30 * HOUR),
        *sent("c", at=NOW - 2 * HOUR),
    ]

    def between(since: str, until: str) -> list[str]:
        found = report(tmp_path, [], "--since", since, "--until", until, receipts=receipts)
        return [event["message_id"] for event in found["missing"]]

    assert between("999999999d", "0s") == ["a", "b", "c"]
    assert between("2d", "90m") == ["b", "c"]
    assert between("180000s", "3h") == ["b"]
    assert between(from_ms(NOW - 50 * HOUR), from_ms(NOW - 2 * HOUR)) == ["a", "b"]


def test_settle_is_as_late_unless_it_is_said(tmp_path: Path) -> None:
    """What is late when it comes is missing until then."""
    receipts = sent("a", at=NOW - HOUR)

    totals = [
        report(tmp_path, [], *words.split(), receipts=receipts)["total"]
        for words in ("--late 7200", "--late 7200 --settle 0", "--settle 7200")
    ]

    assert [(total["pending"], total["missing"]) for total in totals] == [(1, 0), (0, 1), (1, 0)]


def test_missing_ids_are_listed_as_many_as_asked_for(tmp_path: Path) -> None:
    """Ids are no content; but a thousand of them are not asked for by default."""
    receipts = sent(*(f"m-{number}" for number in range(20)))

    shown = [
        len(report(tmp_path, [], *words, receipts=receipts)["missing"])
        for words in ((), ("--missing", "0"), ("--missing", "99"))
    ]

    assert shown == [5, 0, 20]


@pytest.fixture
def _elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the clock of this machine show another time than UTC."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "EST5")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    "line",
    [
        {"message_id": "a"},
        {"message_id": "a", "received_at": None},
        {"message_id": "a", "received_at": LONG_AGO / 1000},
        {"message_id": "a", "received_at": "2026-03-04 12:20:00+01", "type": "track"},
        {"message_id": "a", "received_at": "2026-03-04T11:20:00"},
        {"message_id": "a", "received_at": "2026-03-04T11:20:00Z", "properties": {"n": "\ud83d"}},
    ],
)
@pytest.mark.usefixtures("_elsewhere")
def test_arrivals_are_read_in_many_forms(tmp_path: Path, line: Json) -> None:
    """What a target writes into files is as good as what the receiver prints; no zone is UTC."""
    write_receipts(tmp_path, sent("a"))
    (tmp_path / "arrived.jsonl").write_text(f"\n{json.dumps(line)}\n \n", "utf-8")

    result = run(tmp_path, "--arrived", str(tmp_path / "arrived.jsonl"), "--json")

    assert json.loads(result.stdout)["total"] == Figures(sent=1, delivered=1)._asdict()


def test_ids_are_compared_as_they_were_sent(tmp_path: Path) -> None:
    """A number is its digits, and half an emoji what Segment was sent for it."""
    write_receipts(tmp_path, sent("7", "a\ufffdb", "é☕"))
    lines = [{"message_id": given} for given in (7, "a\ud83db", "é☕")]

    result = run(
        tmp_path, "--arrived", "-", given="".join(json.dumps(line) + "\n" for line in lines)
    )

    assert result.exit_code == 0, result.output


def test_several_files_are_compared_together(tmp_path: Path) -> None:
    """Receipts of two targets, and the files of two tables."""
    files = {name: tmp_path / name for name in ("one", "two")}
    for name, path in files.items():
        path.mkdir()
        write_receipts(path, sent(name))
        write_arrivals(path, came(name))
    receipts = [f"--receipts={path / 'receipts.jsonl'}" for path in files.values()]
    arrived = [f"--arrived={path / 'arrived.jsonl'}" for path in files.values()]

    assert run(tmp_path, *receipts, *arrived).exit_code == 0
    assert run(tmp_path, *receipts, arrived[0]).exit_code == 1


def test_spool_is_asked_through_its_own_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else the receiver's settings are here, it is the spool that is named."""
    monkeypatch.setenv("TAP_SEGMENT_WEBHOOK_SPOOL_URL", "sqlite:////nowhere/at-all.db")
    monkeypatch.setenv("TAP_SEGMENT_WEBHOOK_PORT", "many")
    fill(url_in(tmp_path), [event(1), event(3)])
    write_receipts(tmp_path, sent("m-1", "m-2", "m-3"))

    result = run(tmp_path, "--spool", url_in(tmp_path), "--json")

    assert result.exit_code == 1
    assert [found["message_id"] for found in json.loads(result.stdout)["missing"]] == ["m-2"]


def test_event_that_the_spool_has_pruned_is_not_missing(tmp_path: Path) -> None:
    """Confirmed events go after some days, and receipts stay."""
    fill(url_in(tmp_path), [event(1)])
    with opened(url_in(tmp_path)) as store:
        store.consumers.confirm("default", 1, 0)
        store.tidy(-60_000)
    write_receipts(tmp_path, sent("m-1"))

    result = run(tmp_path, "--spool", url_in(tmp_path), "--json")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["total"] == Figures(sent=1, unknown=1)._asdict()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("", "Say where what came back is: --spool, --arrived or --database."),
        ("--spool sqlite:///x --database postgresql:///x", "Say where what came back is"),
        ("--arrived nowhere.jsonl", "does not exist"),
        ("--arrived - --since yesterday", "'yesterday' is neither ISO 8601 nor an age"),
        ("--arrived - --receipts nowhere.jsonl", "There are no receipts at nowhere.jsonl"),
        ("--arrived - --receipts {folder}", "cannot be read: Is a directory"),
        ("--spool sqlite:///nowhere.db", "segment-receiver ids ended with 1"),
        ("--database postgresql://u:hidden@%zz/x", "--database is no address of PostgreSQL"),
        ("--database postgresql://u:hidden@127.0.0.1:1/x", "The database cannot be read: "),
    ],
)
def test_what_cannot_be_compared_is_exit_code_2(tmp_path: Path, words: str, reason: str) -> None:
    """Neither all well nor something missing: a mistake is told as one, without a secret."""
    write_receipts(tmp_path, sent("a"))

    result = run(tmp_path, *words.format(folder=tmp_path).split())

    assert result.exit_code == 2, result.output
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
    assert "hidden" not in result.output


@pytest.mark.parametrize(
    "line",
    [
        *("nonsense", "[]", '{"id": "a"}', '{"message_id": null}', '{"message_id": ["a"]}'),
        '{"message_id": true, "received_at": "2026-03-04T11:20:00Z"}',
        '{"message_id": "a", "received_at": "soon"}',
        '{"message_id": "a", "received_at": {}}',
    ],
)
def test_arrival_that_is_none_is_exit_code_2(tmp_path: Path, line: str) -> None:
    """Half a file must not pass for events that are missing."""
    write_receipts(tmp_path, sent("a"))

    result = run(tmp_path, "--arrived", "-", given=f'{{"message_id": "a"}}\n{line}\n')

    assert result.exit_code == 2
    assert "Line 2 of standard input is no JSON object with a message_id" in result.stderr


@pytest.mark.parametrize(
    "line",
    [
        '{"rejected_at": "2026-03-04T11:20:00.000Z", "stream": "users", "message_id": "a"}',
        '{"accepted_at": "soon", "stream": "users", "message_id": "a"}',
    ],
)
def test_file_that_holds_no_receipts_is_exit_code_2(tmp_path: Path, line: str) -> None:
    """The rejects are not the receipts."""
    write_receipts(tmp_path, sent("a"))
    with (tmp_path / "receipts.jsonl").open("a") as file:
        file.write(f"{line}\n")

    result = run(tmp_path, "--arrived", "-")

    assert result.exit_code == 2
    assert "Line 2 of" in result.stderr
    assert "is no receipt" in result.stderr


def test_driver_that_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who asks a database needs one."""
    write_receipts(tmp_path, sent("a"))
    monkeypatch.setitem(sys.modules, "psycopg", None)

    result = run(tmp_path, "--database", "postgresql:///x")

    assert result.exit_code == 2
    assert "pip install 'target-segment-api[postgres]'" in result.stderr


def test_receiver_that_is_not_installed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the two packages are apart, a pipe joins them."""
    write_receipts(tmp_path, sent("a"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))

    result = run(tmp_path, "--spool", url_in(tmp_path))

    assert result.exit_code == 2
    assert "segment-receiver ids | segment-sender reconcile --arrived -" in result.stderr


def test_full_disk_is_told() -> None:
    """What is compared goes to temporary files, and may not fit there."""
    many = (Receipt(f"{number:0250}", "users", LONG_AGO) for number in range(200_000))

    with room_for(1 << 20), pytest.raises(InputUnusable, match=r"SQLITE_TMPDIR names the folder"):
        compared(many, [])


def test_receipts_that_are_not_asked_for_are_told() -> None:
    """Without `receipts_path` no run has noted anything."""
    result = CliRunner().invoke(main, ["reconcile", "--arrived", "-"], env={VARIABLE: None})

    assert result.exit_code == 2
    assert "receipts_path is not set" in result.stderr


def test_settings_are_read_as_by_the_other_commands(tmp_path: Path) -> None:
    """From a file, or from a variable; the write key is not needed."""
    path = write_receipts(tmp_path, sent("a"))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"receipts_path": str(path)}), "utf-8")
    line = '{"message_id": "a"}'

    codes = [
        CliRunner().invoke(main, ["reconcile", "--arrived", "-", *words], line, env).exit_code
        for words, env in (
            (["--config", str(config)], {VARIABLE: "nowhere.jsonl"}),
            ([], {VARIABLE: str(path)}),
            (["--config", str(config), "--config", "ENV"], {VARIABLE: None}),
        )
    ]

    assert codes == [0, 0, 0]


def test_no_receipts_are_no_missing_events(tmp_path: Path) -> None:
    """A period in which nothing was sent is in order."""
    write_receipts(tmp_path, sent("a"))

    result = run(tmp_path, "--arrived", "-", "--since", "1h")

    assert result.exit_code == 0
    assert "0 sent = 0 delivered" in result.stdout


# Helpers


def sent(*names: str, at: int = LONG_AGO, stream: str = "users") -> list[Receipt]:
    """Return receipts of events that were all accepted *at* one time."""
    return [Receipt(name, stream, at) for name in names]


def came(*names: str) -> list[Arrival]:
    """Return arrivals that are in time for what was `sent`."""
    return [Arrival(name, LONG_AGO + SECOND) for name in names]


def compared(
    receipts: Iterable[Receipt | None],
    arrivals: Iterable[Arrival | Retained],
    *,
    limits: Limits = LIMITS,
    period: Period = Period(),  # noqa: B008 - it is immutable
    shown: int = 1000,
) -> Reconciliation:
    """Return what the comparison comes to."""
    with closing(Comparison(period)) as comparison:
        comparison.add_receipts(receipts)
        comparison.add_arrivals(arrivals)
        comparison.sort()
        return Reconciliation.of(comparison, limits, shown)


def counted(
    receipts: Sequence[Receipt | None],
    arrivals: Sequence[Arrival | Retained],
    period: Period,
    limits: Limits,
) -> tuple[dict[tuple[str, int], Figures], list[tuple[str, str, int]], int]:
    """Return the figures of each stream and hour, all that is missing, and the others."""
    chosen = [each for each in receipts if each and period.has(each.accepted_at)]
    found: defaultdict[str, list[int]] = defaultdict(list)
    since = []
    for each in arrivals:
        if isinstance(each, Retained):
            since.append(each.since + limits.settle)
        else:
            found[each.message_id] += [] if each.received_at is None else [each.received_at]
    times = Counter(each.message_id for each in arrivals if isinstance(each, Arrival))
    hours: dict[tuple[str, int], Counter[str]] = defaultdict(Counter)
    missing = []
    for name, stream in {(each.message_id, each.stream) for each in chosen}:
        moments = [each.accepted_at for each in chosen if each[:2] == (name, stream)]
        hour = hours[stream, min(moments) // HOUR * HOUR]
        hour["sent"] += 1
        if name in found:
            hour["delivered"] += 1
            hour["late"] += bool(found[name]) and min(found[name]) - min(moments) > limits.late
            hour["duplicated"] += times[name] > 1
        elif max(moments) > limits.now - limits.settle:
            hour["pending"] += 1
        elif since and min(moments) < max(since):
            hour["unknown"] += 1
        else:
            hour["missing"] += 1
            missing.append((name, stream, min(moments)))
    figures = {place: Figures(**hour) for place, hour in hours.items()}
    return figures, missing, len(found.keys() - {each.message_id for each in chosen})


def write_receipts(folder: Path, receipts: Iterable[Receipt]) -> Path:
    """Write *receipts* into a file in *folder*, as the target does; return it."""
    path = folder / "receipts.jsonl"
    lines = [
        {
            "accepted_at": from_ms(receipt.accepted_at),
            "stream": receipt.stream,
            "key": [number],
            "message_id": receipt.message_id,
            "batch": 1,
        }
        for number, receipt in enumerate(receipts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def write_arrivals(folder: Path, arrivals: Iterable[Arrival]) -> Path:
    """Write *arrivals* into a file in *folder*, as the receiver does; return it."""
    path = folder / "arrived.jsonl"
    lines = [
        {"message_id": each.message_id, "type": "track", "received_at": from_ms(each.received_at)}
        for each in arrivals
        if each.received_at is not None
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def run(folder: Path, *words: str, given: str = "") -> Result:
    """Run `segment-sender reconcile` with the receipts in *folder*, unless others are named."""
    named = any(word.startswith("--receipts") for word in words)
    receipts = [] if named else ["--receipts", str(folder / "receipts.jsonl")]
    return CliRunner().invoke(main, ["reconcile", *receipts, *words], given)


def reconcile(
    folder: Path, receipts: Iterable[Receipt], arrivals: Iterable[Arrival], *words: str
) -> Result:
    """Run it with files of *receipts* and *arrivals*."""
    write_receipts(folder, receipts)
    return run(folder, "--arrived", str(write_arrivals(folder, arrivals)), *words)


def report(
    folder: Path,
    arrivals: Iterable[Arrival],
    *words: str,
    receipts: Iterable[Receipt] | None = None,
) -> Json:
    """Return what it says as JSON; of the *receipts* that are there, or these."""
    if receipts is not None:
        write_receipts(folder, receipts)
    result = run(folder, "--arrived", str(write_arrivals(folder, arrivals)), "--json", *words)
    assert result.exit_code in (0, 1), result.output
    found: Json = json.loads(result.stdout)
    return found
