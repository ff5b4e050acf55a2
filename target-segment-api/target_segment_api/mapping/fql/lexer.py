r"""The words of Segment's query language. Pure.

A path is names with dots between them; a character other than a letter, a digit,
`_` or `-` has a backslash before it, as has a first letter that would make the
path a keyword (`\true`) or a number. Text stands in quotes of either kind.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple, TypeAlias

from target_segment_api.mapping.javascript import to_number

TokenKind: TypeAlias = Literal["path", "text", "number", "sign", "end"]

_KEYWORDS: Final = frozenset({"and", "or", "in", "true", "false", "null"})

_TOKEN: Final = re.compile(
    r"""
    (?P<space> \s+ )
    | (?P<number> -?\d+(?:\.\d+)?(?:[eE][+-]?\d+)? (?![\w\\.-]) )
    | (?P<path> (?:[\w-]|\\.)+ (?:\. (?:[\w-]|\\.)+ )* )
    | (?P<text> "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' )
    | (?P<sign> ===? | !==? | <[=>]? | >=? | && | \|\| | =~ | [=!()\[\],] )
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_NO_NUMBER: Final = re.compile(r"[\d-][\d_.-]*")
_MEANT: Final = {
    "true": "true",
    "false": "false",
    "null": "null",
    "none": "null",
    "nil": "null",
    "undefined": "null",
}
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "'": "'"}
_PATTERN_ESCAPES: Final = "*?[]-^!"
_ADVICE: Final = {
    '"': "A text needs its closing quote.",
    "'": "A text needs its closing quote.",
    "$": "Paths begin at the record: status, not $.status. Another $ is written \\$.",
    ".": "A path is names with one dot between each two; a dot in a name is written \\.",
    "\\": "The backslash escapes nothing.",
    "{": "A trigger in JSON form stands as an object, not as text.",
    "`": "Paths stand without quotes, and text in straight ones.",
    **dict.fromkeys("\u201c\u201d\u2018\u2019", "Write straight quotes."),
}


class NotUnderstood(Exception):
    """A query is none; `str` says at which character, why, and what to write."""

    def __init__(self, at: int, reason: str) -> None:
        super().__init__(f"At character {at + 1}: {reason}")


class Token(NamedTuple):
    """One word, as it is written."""

    kind: TokenKind
    text: str
    at: int


def read(text: str) -> list[Token]:
    """Return the words of *text*, and an end.

    Raises:
        NotUnderstood: some character begins no word.
    """
    tokens: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            advice = _ADVICE.get(text[at], "In a path, it is written with a backslash before it.")
            raise NotUnderstood(at, f"{text[at]} cannot stand here. {advice}")
        if match.lastgroup != "space":
            tokens.append(_token(match))
        at = match.end()
    tokens.append(Token("end", "", at))
    return tokens


def names(path: str) -> tuple[str, ...]:
    """Return the names in *path*, without its escapes."""
    found, name = [], ""
    for part in re.findall(r"\\.|[^\\.]+|\.", path, re.DOTALL):
        if part == ".":
            found.append(name)
            name = ""
        else:
            name += part[-1] if part[0] == "\\" else part
    return (*found, name)


def unquote(token: Token) -> str:
    """Return the text that *token* quotes.

    Raises:
        NotUnderstood: it has an escape that is none.
    """
    return _ESCAPED.sub(lambda match: _escape(token, match, ""), token.text[1:-1])


def unquote_pattern(token: Token) -> str:
    r"""Return the pattern that *token* quotes: `\*` stays as it is.

    Raises:
        NotUnderstood: it has an escape that is none.
    """
    return _ESCAPED.sub(lambda match: _escape(token, match, _PATTERN_ESCAPES), token.text[1:-1])


def _escape(token: Token, match: re.Match[str], kept: str) -> str:
    character = match[1]
    if character in kept:
        return match[0]
    if character not in _ESCAPES:
        at = token.at + 1 + match.start()
        raise NotUnderstood(
            at, f"\\{character} means nothing in a text; write \\\\ for a backslash."
        )
    return _ESCAPES[character]


def _token(match: re.Match[str]) -> Token:
    text, at = match[0], match.start()
    if match["text"]:
        return Token("text", text, at)
    if match["number"]:
        if to_number(text) is None:
            raise NotUnderstood(at, "The number is too large.")
        return Token("number", text, at)
    if match["sign"] or text in _KEYWORDS:
        return Token("sign", text, at)
    meant = _MEANT.get(text.lower())
    if meant is not None:
        raise NotUnderstood(at, f"{text} is written {meant}; as a path, \\{text}.")
    if _NO_NUMBER.fullmatch(text):
        raise NotUnderstood(at, f"{text} is no number. Text stands in quotes; a path is \\{text}.")
    return Token("path", text, at)
