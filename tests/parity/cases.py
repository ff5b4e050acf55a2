"""What both are asked: mappings, calls and triggers, each with a record, drawn from a seed.

Cases are drawn for one directive, action or operator after the other, so that each
gets its share. About one mapping in ten has a slip in it. Numbers are such that
JavaScript keeps, but for one in `ODD`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from target_segment_api.mapping.field import FIELDS, SUB_FIELDS
from target_segment_api.mapping.liquid.filters import FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hypothesis.strategies import DrawFn, SearchStrategy

DIRECTIVES = (
    "@arrayPath",
    "@case",
    "@excludeWhenNull",
    "@flatten",
    "@if",
    "@json",
    "@liquid",
    "@literal",
    "@merge",
    "@path",
    "@replace",
    "@template",
    "@transform",
)
ACTIONS = ("sendIdentify", "sendGroup", "sendTrack", "sendPage", "sendScreen")
OPERATORS = (
    *("=", "!=", "<", "<=", ">", ">=", "number_equals", "number_not_equals"),
    *("contains", "not_contains", "starts_with", "not_starts_with", "ends_with", "not_ends_with"),
    *("exists", "not_exists", "is_true", "is_false"),
)
OWN_FIELDS = ("context", "integrations")
"""Fields that our calls have, and Segment's actions have not."""

TEXTS = st.sampled_from(
    [
        *("", "a", "b", "Ada", "Ada Lovelace", " x ", "aXa", "a.b", "Köln", "ß", "I", "😀", "12"),
        *("-1.5", "1e3", "007", "true", "false", "null", "{{name}}", "$.name", "$&$$", "name"),
        *('{"a": [1, null]}', "[1]", "{", "2024-02-29T23:59:59Z", "2024-02-29", "<b>a&amp;</b>"),
        *("a,b,,c", "one  two\nthree", "%20+ä"),
    ]
)
NUMBERS = st.sampled_from([0, 1, -3, 12, 2.5, 0.1, 1e21, 1e-7, 1.0, 100, 1700000000])
MOMENTS = st.sampled_from(
    ["2026-03-04T11:22:33.444Z", "2026-03-04T11:22:33+01:00", None, ""]
)  # what Segment's own API takes
SCALARS = TEXTS | NUMBERS | st.booleans() | st.none()
KEYS = ("id", "name", "email", "a", "b", "items", "address", "a b", "city", "0", "é")
MEMBERS = st.sampled_from(KEYS)
VALUES: SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.builds(
    lambda name, items, address, more: {
        "name": name, "items": items, "address": address, **more
    },
    SCALARS,
    st.lists(st.fixed_dictionaries({"id": SCALARS}, optional={"name": SCALARS}), max_size=3),
    st.dictionaries(MEMBERS, VALUES, max_size=3),
    st.dictionaries(MEMBERS, VALUES, max_size=5),
)  # fmt: skip
ROWS = st.fixed_dictionaries(
    {"name": SCALARS, "id": NUMBERS | TEXTS, "email": TEXTS, "flag": SCALARS, "at": MOMENTS},
    optional={"address": st.dictionaries(MEMBERS, SCALARS, max_size=3), "items": VALUES},
)
"""What a warehouse has: scalars, mostly; for calls, which refuse much else."""

PATHS = st.sampled_from(
    [
        *("$.name", "name", "$.id", "$.email", "$.items", "$.items[0]", "$.items[0].id", "$.a"),
        *("$.address", "$.address.city", "address.name", '$["a b"]', "$.address['a b']", "$.a.b"),
        *("$.b", "$.a b", "$.é", "$.", "", "$", ".", "$.a$.b", "a$.b", "$.a..b", "$.items.length"),
        *("$.name.length", "$.name.x", "$.name[0]", "$.items[-1]", "$.items[*]", "$.items[00]"),
        *("$.items['0'].id", "$.a[b]", "$.0", "$.items.0.id", "$.missing", "$.missing.more"),
    ]
)
ODD: SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, 1, "", "x", [], {}, 9007199254740993]
)
LIQUID_ARGUMENTS: dict[str, SearchStrategy[str]] = {
    "date": st.sampled_from(
        ["'%Y-%m-%d'", "'%d %b %y %H:%M:%S'", "'%j %e %-d %A'", "'%s'", "'%p %I'", "''"]
    ),
    "where": st.sampled_from(["'id'", "'id', 1", "'name', 'a'"]),
    "round": st.sampled_from(["", "1", "2"]),
    "slice": st.sampled_from(["0", "1, 2", "-2, 2", "9"]),
    "truncate": st.sampled_from(["", "3", "3, ''", "5, '.'"]),
    "truncatewords": st.sampled_from(["", "1", "2, '.'"]),
    "slugify": st.sampled_from(["", "'pretty'", "'raw'", "'ascii'", "'latin'", "'none'"]),
    "default": st.sampled_from(["'x'", "0", "'x', allow_false: true"]),
    "sum": st.sampled_from(["", "'id'"]),
    "number_of_words": st.sampled_from(["", "'cjk'", "'auto'"]),
    **dict.fromkeys(
        ("append", "prepend", "remove", "remove_first", "remove_last", "split", "join"),
        st.sampled_from(["'a'", "' '", "','", "name"]),
    ),
    **dict.fromkeys(("push", "unshift"), st.sampled_from(["'a'", "1", "name"])),
    **dict.fromkeys(
        ("replace", "replace_first", "replace_last"), st.sampled_from(["'a', 'b'", "' ', ''"])
    ),
    **dict.fromkeys(
        ("at_least", "at_most", "divided_by", "minus", "modulo", "plus", "times"),
        st.sampled_from(["2", "3.0", "'4'", "-2", "0.1", "id"]),
    ),
}
LIQUID_VALUES = st.sampled_from(
    [
        *("name", "id", "email", "a", "items", "address", "items[0].id", "address.city", "missing"),
        *("items.size", "items.first.name", "'Ada Lovelace'", "'a,b,,c'", "12", "-2.5", "true"),
        *("nil", "'2024-02-29T23:59:59Z'", "1700000000", "a['b']"),
    ]
)


class Case(NamedTuple):
    """One thing that both are asked."""

    kind: str
    """`mapping`, `action` or `trigger`."""
    group: str
    """The directive, action or operator that it was drawn for."""
    asked: Any
    record: dict[str, Any]


def draw_all(examples: int, seed_number: int) -> Iterator[Case]:
    """Yield so many cases for each directive, action and operator, the same for the same seed.

    Of what has many forms in itself, Liquid and triggers as text, there are four times as many.
    """
    for kind, group, asked in _groups():
        records = {"trigger": EVENTS, "action": ROWS}.get(kind, RECORDS)
        count = 4 * examples if group in ("@liquid", "as text") else examples
        for number in range(count):
            # Each run alone: in one run, five of six examples are variations of one before.
            found = _example(asked, records, f"{seed_number} {group} {number}")
            yield Case(kind, group, *found)


def _groups() -> Iterator[tuple[str, str, SearchStrategy[Any]]]:
    for name in DIRECTIVES:
        yield "mapping", name, directives(name, 2)
    yield "mapping", "the root", roots()
    for name in ACTIONS:
        yield "action", name, calls(name)
    for name in OPERATORS:
        yield "trigger", name, conditions(name)
    yield "trigger", "groups", groups()
    yield "trigger", "as text", queries()


def _example(
    asked: SearchStrategy[Any], records: SearchStrategy[dict[str, Any]], seed_text: str
) -> tuple[Any, dict[str, Any]]:
    found = []

    @seed(seed_text)
    @settings(
        max_examples=2,  # the first is always the simplest that there is
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(asked, records)
    def collect(one: Any, record: dict[str, Any]) -> None:
        found.append((one, record))

    collect()
    return found[-1]


def _chance(draw: DrawFn, one_in: int) -> bool:
    return draw(st.integers(1, one_in)) == one_in


@st.composite
def contents(draw: DrawFn, depth: int) -> Any:
    """Draw what may stand in a directive: constants, objects, and mostly other directives."""
    choice = draw(st.integers(0, 9))
    if choice < 5 or depth <= 0:
        return {"@path": draw(PATHS)} if choice < 7 else draw(SCALARS)
    if choice < 8:
        return draw(directives(draw(st.sampled_from(DIRECTIVES)), depth - 1))
    if choice == 8:
        return draw(st.dictionaries(MEMBERS, contents(depth - 1), max_size=3))
    return draw(st.lists(contents(depth - 1), max_size=2))


@st.composite
def directives(draw: DrawFn, name: str, depth: int) -> dict[str, Any]:
    """Draw a directive *name*; sometimes with a slip in its arguments."""
    argument = _ARGUMENTS[name](draw, depth - 1)
    if isinstance(argument, dict) and _chance(draw, 10):
        argument = dict(argument)
        slip = draw(st.sampled_from([*argument, "more"]))
        if slip in argument and draw(st.booleans()):
            del argument[slip]
        else:
            argument[slip] = draw(ODD)
    elif _chance(draw, 30):
        argument = draw(ODD)
    directive = {name: argument}
    if _chance(draw, 40):
        directive[draw(st.sampled_from(["_metadata", "more", "@path", "@no"]))] = draw(ODD)
    return directive


def _array_path(draw: DrawFn, depth: int) -> Any:
    path = draw(st.one_of(st.sampled_from(["$.items", "$.address", "$.a"]), PATHS, _inside(depth)))
    shape = draw(st.dictionaries(MEMBERS, contents(depth), max_size=3))
    return draw(st.sampled_from([[path], [path, shape], [path, shape]]))


def _inside(depth: int) -> SearchStrategy[Any]:
    return contents(depth).filter(lambda value: isinstance(value, dict))


def _case(draw: DrawFn, depth: int) -> Any:
    return {
        "operator": draw(st.sampled_from(["lower", "upper"])),
        "value": draw(contents(depth)),
    }


def _exclude(draw: DrawFn, depth: int) -> Any:
    return draw(contents(depth))


def _flatten(draw: DrawFn, depth: int) -> Any:
    value = draw(st.one_of(st.just({"@path": "$."}), _inside(depth)))
    more = draw(st.sampled_from([{}, {"omitArrays": True}, {"omitArrays": False}]))
    return {"value": value, "separator": draw(st.sampled_from([".", "_", "__", ""])), **more}


def _if(draw: DrawFn, depth: int) -> Any:
    tests = draw(
        st.sampled_from([["exists"], ["blank"], ["exists"], ["blank"], ["exists", "blank"]])
    )
    names = tests + draw(st.sampled_from([["then"], ["then", "else"], ["else"]]))
    return {name: draw(contents(depth)) for name in names}


def _json(draw: DrawFn, depth: int) -> Any:
    return {
        "mode": draw(st.sampled_from(["encode", "decode"])),
        "value": draw(contents(depth)),
    }


def _liquid(draw: DrawFn, _depth: int) -> Any:
    parts = draw(st.lists(_liquid_parts(), min_size=1, max_size=2))
    return "".join(parts)


@st.composite
def _liquid_parts(draw: DrawFn) -> str:
    value = draw(LIQUID_VALUES)
    form = draw(st.integers(0, 9))
    if form == 0:
        return draw(st.sampled_from(["text ", "{{", "}}", "{% for a in b %}{% endfor %}", "<b>"]))
    if form == 1:
        test = draw(st.sampled_from(["", "== 1", "== 'a'", "> 1", "contains 'a'", "== blank",
                                     "!= nil", "and name", "or id", "== empty"]))  # fmt: skip
        tag = draw(st.sampled_from(["if", "unless"]))
        return f"{{% {tag} {value} {test} %}}yes{{% else %}}no{{% end{tag} %}}"
    if form == 2:
        tag = draw(st.sampled_from([
            "{%% assign v = %s %%}{{ v | append: '!' }}",
            "{%% capture v %%}{{ %s }}{%% endcapture %%}{{ v }}",
            "{%%- echo %s -%%} x", "{%% comment %%}%s{%% endcomment %%}", "{%% increment n %%}%.0s",
            "{%% decrement n %%}%.0s", "{%% raw %%}{{ %s }}{%% endraw %%}",
        ]))  # fmt: skip
        return str(tag % value)
    filters = draw(st.lists(st.sampled_from(sorted(FILTERS)), min_size=1, max_size=2))
    written = ""
    for name in filters:
        arguments = draw(LIQUID_ARGUMENTS.get(name, st.just("")))
        written += f" | {name}" + (f": {arguments}" if arguments else "")
    return f"{{{{ {value}{written} }}}}"


def _literal(draw: DrawFn, depth: int) -> Any:
    return draw(contents(depth))


def _merge(draw: DrawFn, depth: int) -> Any:
    objects = draw(st.lists(st.one_of(
        st.sampled_from([{"@path": "$.address"}, {"@path": "$.a"}, {"@path": "$."}]),
        st.dictionaries(MEMBERS, contents(depth), max_size=3),
        _inside(depth),
    ), max_size=3))  # fmt: skip
    return {"objects": objects, "direction": draw(st.sampled_from(["left", "right"]))}


def _path(draw: DrawFn, depth: int) -> Any:
    return draw(_inside(depth)) if _chance(draw, 5) else draw(PATHS)


def _replace(draw: DrawFn, depth: int) -> Any:
    short = st.sampled_from(
        ["a", "A", "", ".", " ", "1", "$&", "$$x", "$`", "$'", "ß", "I", "x" * 11]
    )
    found = {"pattern": draw(short), "value": draw(contents(depth))}
    for name, drawn in (
        ("replacement", short),
        ("pattern2", short),
        ("replacement2", short),
        ("ignorecase", st.booleans()),
        ("global", st.booleans()),
    ):
        if draw(st.booleans()):
            found[name] = draw(drawn)
    return found


def _template(draw: DrawFn, depth: int) -> Any:
    if _chance(draw, 8):
        return draw(_inside(depth))
    piece = st.builds(
        str.format,
        st.sampled_from(["{{{{{}}}}}", "{{{{ {} }}}}", "{{{{{{{}}}}}}}", "{{{{{}", "{}", "{}}}}}"]),
        PATHS | MEMBERS,
    )
    return "".join(draw(st.lists(piece | TEXTS, min_size=1, max_size=3)))


def _transform(draw: DrawFn, depth: int) -> Any:
    return {
        "apply": draw(st.dictionaries(MEMBERS, contents(depth), max_size=3) | _inside(depth)),
        "mapping": draw(st.dictionaries(MEMBERS, contents(depth), max_size=3) | _inside(depth)),
    }


_ARGUMENTS: dict[str, Callable[[DrawFn, int], Any]] = {
    "@arrayPath": _array_path,
    "@case": _case,
    "@excludeWhenNull": _exclude,
    "@flatten": _flatten,
    "@if": _if,
    "@json": _json,
    "@liquid": _liquid,
    "@literal": _literal,
    "@merge": _merge,
    "@path": _path,
    "@replace": _replace,
    "@template": _template,
    "@transform": _transform,
}


@st.composite
def roots(draw: DrawFn) -> dict[str, Any]:
    """Draw a whole mapping: fields, and sometimes Segment's own keys beside them."""
    found: dict[str, Any] = draw(st.dictionaries(MEMBERS, contents(2), max_size=4))
    choice = draw(st.integers(0, 3))
    if choice == 0:
        apply = draw(st.dictionaries(MEMBERS, contents(1), max_size=3))
        found["__segment_internal_directive"] = {"@transform": {"apply": apply}}
    elif choice == 1:
        found["__segment_internal_sync_mode"] = draw(st.sampled_from(["add", "upsert"]))
    return found


@st.composite
def calls(draw: DrawFn, action: str) -> dict[str, Any]:
    """Draw the mapping of an *action*, as Segment exports it."""
    call = action.removeprefix("send").lower()
    names = [name for name in FIELDS[call] if name not in OWN_FIELDS]
    chosen = draw(st.lists(st.sampled_from(names), max_size=6, unique=True))
    if not _chance(draw, 8):
        chosen += [name for name in ("user_id", "group_id", "event_name")
                   if name in names and name not in chosen]  # fmt: skip
    found: dict[str, Any] = {}
    for name in chosen:
        if name in SUB_FIELDS:
            members = draw(st.lists(st.sampled_from([*SUB_FIELDS[name]]), max_size=4))
            members += ["more"] if _chance(draw, 25) else []
            found[name] = draw(
                st.just({"@path": "$.address"})
                if _chance(draw, 6)
                else st.fixed_dictionaries({each: members_of(each) for each in members})
            )
        elif name in ("traits", "properties", "consent"):
            found[name] = draw(
                st.dictionaries(MEMBERS, fields(), max_size=3)
                | st.sampled_from([{"@path": "$.address"}, {"@path": "$."}, {"@path": "$.items"}])
                | st.just({"@path": "$.address"})
                | st.dictionaries(
                    st.just("categoryPreferences"),
                    st.dictionaries(st.just("ads"), st.booleans() | st.just("x")),
                )
            )
        elif name in ("user_id", "group_id", "event_name") and not _chance(draw, 6):
            found[name] = draw(st.sampled_from([{"@path": "$.id"}, "u-1", 7, True, ["a"]]))
        elif name == "timestamp" and not _chance(draw, 6):
            found[name] = draw(st.just({"@path": "$.at"}) | MOMENTS)
        else:
            found[name] = draw(contents(1) if _chance(draw, 20) else fields())
    return {"actionSlug": action, "settings": found}


def fields() -> SearchStrategy[Any]:
    """Draw what a field is made of: a path, mostly, or a constant."""
    return st.one_of(
        st.sampled_from([{"@path": f"$.{name}"} for name in ("name", "id", "email", "flag")]),
        st.builds(lambda value: {"@literal": value}, SCALARS),
        st.builds(lambda value: [value], TEXTS | NUMBERS),
        SCALARS,
        st.just({"@template": "{{name}} {{id}}"}),
    )


def members_of(name: str) -> SearchStrategy[Any]:
    """Draw what the member *name* of a closed object is made of: mostly what fits its type."""
    kinds = {
        kind for members in SUB_FIELDS.values() for key, kind in members.items() if key == name
    }
    if "boolean" in kinds:
        return st.sampled_from([True, False, "true", "false", 0, 1, None, "", [True], "x"])
    if "number" in kinds:
        return st.sampled_from([0, 1.5, "12", "-1e3", True, None, "", "0x1F", ["7"], " 5", "x"])
    return fields()


PROPERTIES = ("plan", "total", "a", "a b", "x")
OBJECTS = st.dictionaries(
    st.sampled_from(PROPERTIES),
    SCALARS | VALUES | st.just({"b": "a"}) | st.just({"a": {"b": 12}}),
    min_size=2,
)
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "identify"]),
        "properties": OBJECTS,
        "traits": OBJECTS,
    },
    optional={"event": SCALARS, "name": SCALARS, "userId": SCALARS, "context": OBJECTS},
)
SUBJECTS = st.one_of(
    st.sampled_from([{"type": "event"}, {"type": "name"}, {"type": "userId"},
                     {"type": "event-type"}]),
    st.builds(
        lambda kind, name: {"type": kind, "name": name},
        st.sampled_from(["event-property", "event-trait", "event-context"]),
        st.sampled_from([*PROPERTIES, "a.b", "x.a.b"]),
    ),
)  # fmt: skip


@st.composite
def conditions(draw: DrawFn, operator: str) -> dict[str, Any]:
    """Draw a condition with *operator*, as Segment's API has it; sometimes with a slip."""
    found = {**draw(SUBJECTS), "operator": operator}
    if operator not in ("exists", "not_exists", "is_true", "is_false"):
        numeric = operator in ("<", "<=", ">", ">=") or operator.startswith("number_")
        found["value"] = draw(NUMBERS if numeric and not _chance(draw, 15) else TEXTS)
    if _chance(draw, 15):
        found[draw(st.sampled_from(["type", "name", "operator", "value"]))] = draw(ODD)
    return found


@st.composite
def groups(draw: DrawFn, depth: int = 2) -> dict[str, Any]:
    """Draw a group of conditions and groups."""
    one = st.sampled_from(OPERATORS).flatmap(conditions)
    children = draw(
        st.lists(one if depth == 0 else one | groups(depth - 1), min_size=1, max_size=3)
    )
    operator = draw(st.sampled_from(["and", "or"]))
    return {"type": "group", "operator": operator, "children": children}


@st.composite
def queries(draw: DrawFn, depth: int = 2) -> str:
    """Draw a trigger as text."""
    form = draw(st.integers(0, 9))
    if depth and form < 4:
        word = draw(st.sampled_from([" and ", " or "]))
        parts = draw(st.lists(queries(depth - 1), min_size=2, max_size=3))
        whole = word.join(parts)
        return f"({whole})" if draw(st.booleans()) else whole
    path = draw(st.sampled_from([
        "type", "event", "name", "userId", "properties.plan", "properties.total", "traits.a",
        "context.x", "properties.a.b", "properties.a\\ b",
    ]))  # fmt: skip
    text = draw(st.sampled_from(['"track"', '"a"', '"Ada"', '"12"', '""', '"true"', '"b"', "'a'"]))
    number = draw(st.sampled_from(["0", "12", "2.5", "-3"]))
    glob = draw(st.sampled_from(['"a*"', '"*a"', '"*a*"', '"Ada"', '"A?a"']))
    return draw(st.sampled_from([
        f"{path} = {text}", f"{path} != {text}", f"{path} = {number}", f"{path} != {number}",
        f"{path} < {number}", f"{path} <= {number}", f"{path} > {number}", f"{path} >= {number}",
        f"contains({path}, {text})", f"!contains({path}, {text})", f"match({path}, {glob})",
        f"!match({path}, {glob})", f"{path} != null", f"{path} = null", f"{path} = true",
        f"{path} = false", f"!({path} = {text})", f"{path} in [{text}]",
    ]))  # fmt: skip
