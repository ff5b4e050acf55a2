"""Liquid is what Segment has of it: no loops, JavaScript's numbers and texts, bounded."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any

import pytest
from harness.values import ANYTHING
from hypothesis import given
from hypothesis import strategies as st
from target_segment_api.mapping.liquid.filters import FILTERS
from target_segment_api.mapping.liquid.template import (
    DISABLED_FILTERS,
    DISABLED_TAGS,
    MAX_TEMPLATE,
    compile_liquid,
)
from target_segment_api.mapping.value import Mistake, Resolve, ValueFailed

ROW: dict[str, Any] = {
    "name": "Ada Lovelace",
    "n": 5,
    "price": Decimal("12.50"),
    "tenth": Decimal("0.1"),
    "id": 9_007_199_254_740_993,
    "yes": True,
    "no": False,
    "none": None,
    "tags": ["a", ["b", None], 1.0],
    "object": {"key": "value", "list": [1, 2]},
    "items": [{"sku": "x", "price": 1}, {"sku": "y", "price": Decimal("2.5")}],
    "at": "2026-03-04T11:20:31.402+01:00",
    "html": "<p>1 &lt; 2</p><script>x</script> & <b",
    "$each": {"name": "Grace"},
}


def render(template: str, root: Any = ROW) -> Any:
    """Return what *template*, in which nothing is wrong, makes of *root*."""
    mistakes: list[Mistake] = []
    resolve = compile_liquid(template, (), mistakes)
    assert mistakes == []
    return resolve(root)


def text_or_reason(resolve: Resolve, root: Any) -> str:
    """Return the word `text` if *resolve* makes one of *root*, else the reason why not."""
    try:
        return "text" if isinstance(resolve(root), str) else "no text"
    except ValueFailed as failed:
        return failed.reason


def blame(template: Any) -> list[str]:
    """Return what is wrong in *template*."""
    mistakes: list[Mistake] = []
    compile_liquid(template, ("name", "@liquid"), mistakes)
    assert all(mistake.place == ("name", "@liquid") for mistake in mistakes)
    return [mistake.reason for mistake in mistakes]


@pytest.mark.parametrize(
    ("template", "text"),
    [
        *[
            ("", ""),
            ("x", "x"),
            ("a{% comment %}x{% endcomment %}b", "ab"),
            ("Hi {{ name }}!", "Hi Ada Lovelace!"),
            ("{{object.key}}", "value"),
        ],
        *[("{{price}} {{tenth}} {{n}} {{id}}", "12.5 0.1 5 9007199254740993")],
        *[("{{yes}}{{no}}{{none}}{{nope}}{{nope.a.b}}", "truefalse"), ("{{tags}}", "ab1")],
        *[("{{object}}", "[object Object]"), ("{{items[1].sku}}{{tags[-1]}}{{tags.size}}", "y13")],
        *[('{{ ["$each"].name }}', "Grace"), ("{{now}}{{today}}", "")],
        *[("{% if n > 3 and yes %}a{% elsif no %}b{% else %}c{% endif %}", "a")],
        *[("{% if tenth == 0.1 %}a{% endif %}{% if none > 1 %}b{% endif %}", "a")],
        *[
            (
                "{% unless no %}a{% endunless %}{% if 0 %} {% endif %}{% if '' %}c{% endif %}",
                "a c",
            )
        ],
        *[("{% assign a = n | plus: 1 %}{{a}}{% capture b %}<{{a}}>{% endcapture %}{{b}}", "6<6>")],
        *[
            (
                "{% increment i %}{% increment i %}{% decrement d %}{% echo name %}",
                "01-1Ada Lovelace",
            )
        ],
        *[
            (
                "{% liquid\nassign a = 1\necho a %}{% raw %}{{a}}{% endraw %}",
                "1{{a}}",
            )
        ],
        *[("{%- if tags contains 'a' -%} a {%- endif -%}", "a"), ("{{ (1..3) }}", "123")],
    ],
)
def test_template_is_rendered(template: str, text: str) -> None:
    """Tags and values are those of LiquidJS, and the result is text."""
    assert render(template) == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        *[
            ("-3.5 | abs", "3.5"),
            ("n | at_least: 7", "7"),
            ("n | at_most: 3", "3"),
            ("1.2 | ceil", "2"),
        ],
        *[
            ("-1.2 | floor", "-2"),
            ("2.5 | round", "3"),
            ("-2.5 | round", "-3"),
            ("1.005 | round: 2", "1.01"),
        ],
        *[
            ("n | divided_by: 2", "2.5"),
            ("n | divided_by: 2, true", "2"),
            ("1 | divided_by: 0", "Infinity"),
        ],
        *[("0 | divided_by: 0", "NaN"), ("-7 | modulo: 3", "2"), ("7 | modulo: 0", "NaN")],
        *[("0.1 | modulo: 2", "0.10000000000000009"), ("-7 | modulo: -3", "-1")],
        *[
            ("price | times: 2", "25"),
            ("'0.1' | plus: 0.2", "0.30000000000000004"),
            ("'x' | minus: 1", "-1"),
        ],
        *[("'0x10' | to_integer", "16"), ("items | sum: 'price'", "3.5"), ("yes | plus: yes", "2")],
        ("tags | sum", "1"),
        *[("name | append: '!' | prepend: '¡'", "¡Ada Lovelace!"), ("yes | append: n", "true5")],
        *[
            ("'aDA b' | capitalize", "Ada b"),
            ("name | upcase", "ADA LOVELACE"),
            ("name | downcase", "ada lovelace"),
        ],
        *[
            ("' a ' | strip", "a"),
            ("' a ' | lstrip", "a "),
            ("' a ' | rstrip", " a"),
            ("'xax' | strip: 'x'", "a"),
        ],
        *[("'a-b-c' | replace: '-', '+'", "a+b+c"), ("'a-b-c' | replace_first: '-', '+'", "a+b-c")],
        *[("'a-b-c' | replace_last: '-', '+'", "a-b+c"), ("'a-b-c' | remove: '-'", "abc")],
        *[("'a-b-c' | remove_first: '-'", "ab-c"), ("'a-b-c' | remove_last: '-'", "a-bc")],
        *[("'abc' | replace: '', '-'", "a-b-c"), ("'abc' | replace_last: 'x', '-'", "abc")],
        *[("'a,b,,' | split: ',' | json", '["a","b"]'), ("'ab' | split: '' | join: '-'", "a-b")],
        *[
            ("tags | join", "a b, 1"),
            ("tags | join: '|'", "a|b,|1"),
            ("name | first", "A"),
            ("tags | last", "1"),
        ],
        *[
            ("n | first", ""),
            ("tags | pop | size", "2"),
            ("tags | shift | first | json", '["b",null]'),
        ],
        *[
            ("tags | push: 'z' | last", "z"),
            ("tags | unshift: 'z' | first", "z"),
            ("none | compact | size", "0"),
        ],
        *[
            ("items | where: 'sku', 'y' | json", '[{"sku":"y","price":2.5}]'),
            ("items | where: 'nope' | size", "0"),
        ],
        *[
            ("name | slice: 0, 3", "Ada"),
            ("name | slice: -3, 2", "ac"),
            ("none | slice: 1", ""),
            ("'a' | slice: -2, 2", ""),
            ("n | size", "0"),
        ],
        *[
            ("name | truncate: 6", "Ada..."),
            ("name | truncate: 5, ''", "Ada L"),
            ("name | truncate", "Ada Lovelace"),
        ],
        *[("name | truncatewords: 1", "Ada..."), ("name | truncatewords: 3", "Ada Lovelace")],
        *[("' a  b\nc ' | normalize_whitespace", " a b c "), ("'a  b c' | number_of_words", "3")],
        *[("'你好 a b' | number_of_words: 'cjk'", "4"), ("'' | number_of_words", "0")],
        *[("html | strip_html", "1 &lt; 2 & <b"), ("'a\r\nb\nc' | strip_newlines", "abc")],
        *[("'<a \"b\">' | escape", "&lt;a &#34;b&#34;&gt;"), ("'&lt;<' | escape_once", "&lt;&lt;")],
        *[('"it\'s" | xml_escape', "it&#39;s"), ("'a b/ö!' | url_encode", "a+b%2F%C3%B6!")],
        *[("'a b!' | cgi_escape", "a+b%21"), ("'http://a/[b] c' | uri_escape", "http://a/[b]%20c")],
        *[("'a+b%21' | url_decode", "a b!"), ("'Für  Élise!' | slugify", "für-élise")],
        *[
            ("'Für Élise' | slugify: 'latin'", "fur-elise"),
            ("'A_b c' | slugify: 'ascii', true", "A-b-c"),
        ],
        *[
            ("'A  b!' | slugify: 'raw'", "a-b!"),
            ("'A b.' | slugify: 'pretty'", "a-b."),
            ("'A b' | slugify: 'none'", "a b"),
        ],
        *[
            ("none | default: 'd'", "d"),
            ("'' | default: 'd'", "d"),
            ("no | default: 'd'", "d"),
            ("0 | default: 'd'", "0"),
        ],
        *[
            ("no | default: 'd', allow_false: true", "false"),
            ("object | json", '{"key":"value","list":[1,2]}'),
        ],
        *[
            ("name | jsonify", '"Ada Lovelace"'),
            ("tags | inspect", '["a",["b",null],1.0]'),
            ("name | raw", "Ada Lovelace"),
        ],
    ],
)
def test_filter_is_javascripts(expression: str, text: str) -> None:
    """A filter gives what LiquidJS gives, in its words for numbers."""
    assert render(f"{{{{ {expression} }}}}") == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        *[("at | date: '%Y-%m-%d %H:%M:%S.%L %z'", "2026-03-04 10:20:31.402 +0000")],
        *[
            ("at | date: '%-d %b %y, %l:%M %p %Z'", "4 Mar 26, 10:20 AM UTC"),
            ("at | date: '%A %j %q'", "Wednesday 063 th"),
        ],
        *[
            (
                "at | date: '%^a %_d %03d %N %s %u %w %U %W %C'",
                "WED  4 004 402000000 1772619631 3 3 09 09 20",
            )
        ],
        *[
            ("at | date: '%H %z', 'Europe/Berlin'", "11 +0100"),
            ("at | date: '%H:%M', 360", "04:20"),
        ],
        *[
            ("at | date: '100%% %Q %:z'", "100% %Q +00:00"),
            ("at | date", "Wednesday, March  4, 2026 at 10:20 am +0000"),
        ],
        *[("0 | date: '%F'", "%F"), ("86400 | date: '%d'", "02"), ("'86400' | date: '%d'", "02")],
        *[
            ("name | date: '%Y'", "Ada Lovelace"),
            ("none | date: '%Y'", ""),
            ("object | date: '%Y'", "[object Object]"),
        ],
        *[
            ("at | date_to_xmlschema", "2026-03-04T10:20:31+00:00"),
            ("at | date_to_string", "04 Mar 2026"),
        ],
        *[
            ("at | date_to_rfc822", "Wed, 04 Mar 2026 10:20:31 +0000"),
            ("at | date_to_long_string", "04 March 2026"),
        ],
        *[("'2026-03-22' | date_to_string: 'ordinal'", "22nd Mar 2026")],
        *[("'2026-03-11' | date_to_long_string: 'ordinal', 'US'", "March 11th, 2026")],
        *[("at | date: '%999999999Y'", "0" * 96 + "2026")],
    ],
)
def test_date_is_formatted(expression: str, text: str) -> None:
    """A moment is written in UTC, or the zone that is asked for; anything else stays."""
    assert render(f"{{{{ {expression} }}}}") == text


@pytest.mark.parametrize("tag", DISABLED_TAGS)
def test_disabled_tag_is_a_mistake(tag: str) -> None:
    """What Segment refuses at run time is told at the start."""
    assert blame(f"{{% {tag} x %}}") == [
        f"This is no Liquid that Segment has: the tag {tag} is disabled."
    ]


@pytest.mark.parametrize("name", DISABLED_FILTERS)
def test_disabled_filter_is_a_mistake(name: str) -> None:
    """What Segment refuses at run time is told at the start."""
    assert blame(f"{{% if a %}}{{{{ a | {name}: 'b' }}}}{{% endif %}}") == [
        f"Segment has disabled the filter {name}. Do without it."
    ]


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ a | upcas }}", "There is no filter upcas. Do you mean upcase?"),
        ("{{ a | zzz }}", "There is no filter zzz."),
        ("{% nope %}", "This is no Liquid that Segment has: unexpected tag 'nope'."),
        ("{% if %}", "This is no Liquid that Segment has: missing expression."),
        ("{{ a", "This is no Liquid that Segment has: expected '}}', found end of file."),
        (
            "{{ $each.name }}",
            "This is no Liquid that Segment has: unexpected '$'. Write [\"$each\"] for $each.",
        ),
        (
            "{{ 'now' | date: '%Y' }}",
            "The time of now differs in each run, and the event with it. Use a column.",
        ),
        ("x" * (MAX_TEMPLATE + 1), "It has 1001 characters; Segment takes 1,000. Shorten it."),
        (5, "It must be text: a Liquid template."),
    ],
)
def test_mistake_is_told(template: Any, told: str) -> None:
    """A template that could never be rendered is a mistake when the mapping is read."""
    assert blame(template) == [told]


def test_filters_are_those_that_segment_documents() -> None:
    """None of them is disabled."""
    assert not {*FILTERS} & {*DISABLED_FILTERS}
    assert blame("x" * MAX_TEMPLATE) == []


@pytest.mark.parametrize(
    "template",
    [
        "{% assign a = name | append: name %}" + "{%assign a=a|append:a%}" * 40 + "{{a}}",
        "{% assign a = name | replace: '', name %}" + "{%assign a=a|replace:'a',a%}" * 30,
        "{{ name" + " | split: '' | join: name" * 10 + " }}",
        "{% capture a %}{{name}}{{name}}{% endcapture %}"
        + "{%capture a%}{{a}}{{a}}{%endcapture%}" * 25,
        "{{ (1..999999999999) | join }}",
        "{{ (1..99999999999999999999999) }}",
        "{% assign a = tags | push: tags %}{{ a }}",
    ],
)
def test_template_is_bounded(template: str) -> None:
    """A template that would double a text, or a list, forty times is stopped soon."""
    start = time.perf_counter()

    with pytest.raises(ValueFailed, match="@liquid"):
        render(template)
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    "template",
    [
        "{{ a" + " | slugify" * 99 + " }}",
        "{{ a" + " | split: '' | join: ''" * 42 + " }}",
        "{{ name" + " | replace: 'a', 'aaaaaaaaaa'" * 5 + " | split: '' | join: ''" * 30 + " }}",
        "{{ items" + " | where: 'k'" * 70 + " }}",
        "{% assign b = a | slugify %}" * 35,
    ],
)
def test_work_is_bounded(template: str) -> None:
    """A template whose parts are all small enough is stopped for what they do together."""
    root = {"name": "aaa", "a": "x" * 900_000, "items": [{"k": 1}] * 50_000}
    start = time.perf_counter()

    with pytest.raises(ValueFailed, match=r"goes through more than 2,000,000 characters"):
        render(template, root)
    assert time.perf_counter() - start < 5


def test_work_is_that_of_one_record() -> None:
    """What one record costs is not charged to the next; what takes no time costs nothing."""
    mistakes: list[Mistake] = []
    resolve = compile_liquid("{{ a | upcase | size }}", (), mistakes)
    large = {"a": "x" * 600_000}

    assert [resolve(large) for _ in range(3)] == ["600000"] * 3
    assert render("{{ a" + " | size" * 99 + " }}", large) == "0"


NAMES = ("none", "missing", "no", "yes", "n", "zero", "nothing", "space", "list", "tags", "hash")
ALIKE = {"zero": 0, "nothing": "", "space": " \n", "list": [], "hash": {}}


@pytest.mark.parametrize("tag", ["if", "unless"])
@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("blank", {"none", "missing", "no", "nothing", "space", "list", "hash"}),
        ("empty", {"nothing", "list", "hash"}),
        ("nil", {"none", "missing"}),
    ],
)
def test_nothing_is_blank(tag: str, word: str, expected: set[str]) -> None:
    """As LiquidJS has it, on either side, and in what goes on with `elsif`."""
    for left, right in (("{}", word), (word, "{}")):
        is_equal, differs = f"{left} == {right}", f"{left} != {right}"
        found = {name for name in NAMES if holds(tag, is_equal.format(name))}
        others = {name for name in NAMES if holds(tag, differs.format(name))}
        later = {name for name in NAMES if holds(tag, is_equal.format(name), later=True)}
        assert found == later == expected
        assert others == {*NAMES} - expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("none == blank and no == blank", True),
        ("name == blank or none == blank", True),
        ("name == blank or yes != blank", True),
        ("not none == blank", False),
        ("nil == blank", False),
        ("blank == nil", True),
        ("blank == blank", False),
        ("blank == empty", False),
    ],
)
def test_blank_is_known_within_a_condition(condition: str, expected: bool) -> None:  # noqa: FBT001 - a case
    """Under `and`, `or` and `not`; beside `nil`, with LiquidJS's own oddities."""
    assert holds("if", condition) is expected


def holds(tag: str, condition: str, *, later: bool = False) -> bool:
    """Return whether *condition* holds in *tag*, or *later* in its `elsif`."""
    if later:
        first = "false" if tag == "if" else "true"
        text = f"{{% {tag} {first} %}}{{% elsif {condition} %}}yes{{% end{tag} %}}"
        return bool(render(text, ROW | ALIKE) == "yes")
    yes, no = ("yes", "") if tag == "if" else ("", "yes")
    text = f"{{% {tag} {condition} %}}{yes}{{% else %}}{no}{{% end{tag} %}}"
    return bool(render(text, ROW | ALIKE) == "yes")


def test_hard_texts_take_no_time() -> None:
    """Each filter takes time in proportion to its text."""
    text = "<" * 100_000 + " " * 100_000 + "&" * 100_000
    start = time.perf_counter()

    for name in ("strip_html", "normalize_whitespace", "slugify", "escape_once", "truncatewords"):
        render(f"{{{{ a | {name} | size }}}}", {"a": text})
    assert time.perf_counter() - start < 5


def test_error_names_nothing_of_the_record() -> None:
    """What cannot be rendered fails for that record, without its values."""
    with pytest.raises(ValueFailed) as failed:
        render("{% if name > 3 %}x{% endif %}")

    assert failed.value.reason == (
        "@liquid cannot be rendered: a comparison or a filter does not fit what it gets."
    )


@given(
    st.sampled_from(sorted(FILTERS)),
    st.lists(st.sampled_from(["a", "b", "3", "'x'", "true", "nil", "(1..3)"]), max_size=3),
    st.dictionaries(st.sampled_from("ab"), ANYTHING),
)
def test_any_filter_takes_anything(name: str, arguments: list[str], root: Any) -> None:
    """A filter gives text of any record and with any arguments, or fails for it."""
    resolve = compile_liquid(f"{{{{ a | {name}: {', '.join(arguments)} }}}}", (), [])

    assert text_or_reason(resolve, root)[:7] in ("text", "@liquid")


@given(st.text("{}%|'\"a$[]. -:,(1fi", max_size=40), ANYTHING)
def test_any_text_compiles(template: str, root: Any) -> None:
    """Whatever a template says, it is a mistake or is rendered."""
    resolve = compile_liquid(template, (), [])

    assert text_or_reason(resolve, root)[:7] in ("text", "@liquid")
