"""From the text of a query to what it asks of a record. Pure.

By recursive descent: `or` binds least, then `and`, then one comparison, then `!`.

Where a trigger means something else than FQL by the same text, it is read as a
trigger: `!contains(path, …)` and `!match(path, …)` are false, too, if there is no
text at *path*, and so is `path != 5` without a number. With parentheses,
`!(contains(path, …))` and `!(path = 5)`, they are true, as in FQL.
"""

from __future__ import annotations

from difflib import get_close_matches
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from target_segment_api.mapping import condition
from target_segment_api.mapping.fql import lexer, term
from target_segment_api.mapping.fql.function import FUNCTIONS
from target_segment_api.mapping.fql.lexer import NotUnderstood, Token
from target_segment_api.mapping.fql.pattern import compile_pattern
from target_segment_api.mapping.javascript import to_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from target_segment_api.mapping.condition import Holds
    from target_segment_api.mapping.fql.term import Term

MAX_DEPTH: Final = 32
"""Of parentheses, functions and `!` in each other; Python's own limit is not far."""

_CONSTANTS: Final = {"true": True, "false": False, "null": None}
_NAMES: Final = sorted([*FUNCTIONS, "contains", "match"])
_INSTEAD: Final = {
    "==": "=",
    "===": "=",
    "!==": "!=",
    "<>": "!=",
    "&&": "and",
    "||": "or",
    "=~": 'match(path, "a*")',
    "and": "and",
    "contains": 'contains(path, "a")',
    "ends_with": 'match(path, "*a")',
    "exists": "path != null",
    "in": "in",
    "is": "= or !=",
    "is_false": "path = false",
    "is_true": "path = true",
    "like": 'match(path, "a*")',
    "match": 'match(path, "a*")',
    "not": '!(path in ["a"])',
    "not_contains": '!contains(path, "a")',
    "not_ends_with": '!match(path, "*a")',
    "not_exists": "path = null",
    "not_starts_with": '!match(path, "a*")',
    "number_equals": "path = 1",
    "number_not_equals": "path != 1",
    "or": "or",
    "starts_with": 'match(path, "a*")',
}
"""What to write for what other languages have, or triggers in their JSON form."""

_CALL_INSTEAD: Final = {
    **{name: name for name in _NAMES},
    "ends_with": 'match(path, "*a")',
    "endswith": 'match(path, "*a")',
    "exists": "path != null",
    "float": "number",
    "int": "number",
    "not": "!",
    "starts_with": 'match(path, "a*")',
    "startswith": 'match(path, "a*")',
}


def compile_query(text: str) -> Holds:
    """Return what tells whether a record meets the query *text*.

    Raises:
        NotUnderstood: it is no query; `str` is a sentence about that.
    """
    return _Parser(lexer.read(text)).parse()


def paths_of(text: str) -> Iterator[tuple[str, ...]]:
    """Yield the names in each path of the query *text*, which was understood."""
    words = lexer.read(text)
    for word, following in pairwise(words):
        if word.kind == "path" and following.text != "(":
            yield lexer.names(word.text)


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def parse(self) -> Holds:
        holds = term.holds_of(self._either())
        if self._peek().kind != "end":
            self._refuse("and, or, or the end is expected.")
        return holds

    def _either(self) -> Term:
        terms = [self._both()]
        while self._take("or"):
            terms.append(self._both())
        return terms[0] if len(terms) == 1 else term.joined(terms, condition.some)

    def _both(self) -> Term:
        terms = [self._comparison()]
        while self._take("and"):
            terms.append(self._comparison())
        return terms[0] if len(terms) == 1 else term.joined(terms, condition.every)

    def _comparison(self) -> Term:
        left = self._operand()
        sign = self._peek().text
        if sign not in term.COMPARISONS:
            return left
        self._next += 1
        is_list = sign == "in" and self._peek().text == "["
        found = term.compared(sign, left, self._list() if is_list else self._operand())
        if self._peek().text in term.COMPARISONS:
            raise NotUnderstood(self._peek().at, "A comparison has two sides; write and between.")
        return found

    def _operand(self) -> Term:
        token = self._peek()
        self._next += 1
        if token.kind == "path":
            return self._path(token)
        if token.kind == "text":
            return term.fixed(token.at, lexer.unquote(token))
        if token.kind == "number":
            return term.fixed(token.at, to_number(token.text))
        if token.text in _CONSTANTS:
            return term.fixed(token.at, _CONSTANTS[token.text])
        if token.text == "!":
            return term.negated(token.at, self._nested(self._operand))
        if token.text == "(":
            return self._nested(self._group)
        what = f"{token.text} stands there" if token.text else "nothing follows"
        raise NotUnderstood(token.at, f"A path, a value or a function is expected, and {what}.")

    def _path(self, token: Token) -> Term:
        following = self._peek()
        if following.text == "(":
            return self._nested(lambda: self._call(token))
        if token.text.lower() == "not" and following.kind == "path":
            raise NotUnderstood(token.at, f"{token.text} is written !.")
        return term.path(token.at, lexer.names(token.text))

    def _group(self) -> Term:
        inner = self._either()
        self._expect(")", "A parenthesis is open: ) is expected, or and, or or.")
        return inner._replace(is_path=False, is_negation=False, opposite=None)

    def _list(self) -> Term:
        start = self._peek().at
        self._next += 1
        items = [self._operand()]
        while self._take(","):
            items.append(self._operand())
        self._expect("]", "A list ends in ].")
        return term.fixed_list(start, items)

    def _call(self, name: Token) -> Term:
        self._next += 1
        if name.text == "match":
            return self._match(name)
        if name.text == "contains":
            return term.containing(name.at, *self._arguments(name, 2))
        if name.text in FUNCTIONS:
            return term.called(name.at, name.text, *self._arguments(name, 1))
        raise NotUnderstood(name.at, f"There is no function {name.text}.{_nearest(name.text)}")

    def _arguments(self, name: Token, count: int) -> list[Term]:
        takes = f"{name.text} takes {count} value{'s' if count > 1 else ''}"
        found: list[Term] = []
        while len(found) < count and (not found or self._take(",")):
            found.append(self._either())
        self._expect(")", f"{takes}; {')' if len(found) == count else 'a comma'} is expected.")
        if len(found) < count:
            raise NotUnderstood(name.at, f"{takes}, and only {len(found)} is given.")
        return found

    def _match(self, name: Token) -> Term:
        where = self._either()
        self._expect(",", "match takes 2 values; a comma is expected.")
        token = self._peek()
        if token.kind != "text":
            raise NotUnderstood(token.at, 'match needs a pattern in quotes, as in "Order*".')
        self._next += 1
        self._expect(")", "match takes 2 values; ) is expected.")
        try:
            test = compile_pattern(lexer.unquote_pattern(token))
        except ValueError as error:
            raise NotUnderstood(token.at, f"In the pattern, {error}.") from error
        return term.matching(name.at, where, test)

    def _nested(self, part: Callable[[], Term]) -> Term:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotUnderstood(self._peek().at, f"It is nested more than {MAX_DEPTH} deep.")
        found = part()
        self._depth -= 1
        return found

    # Words are told apart by their text alone: a path that is a keyword has a backslash
    # in it, and a text has its quotes.

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self, text: str) -> bool:
        if self._peek().text != text:
            return False
        self._next += 1
        return True

    def _expect(self, text: str, reason: str) -> None:
        if not self._take(text):
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        word = self._peek().text
        instead = _INSTEAD.get(word.lower(), word)
        if instead != word:
            reason = f"{word} is no operator of this language: write {instead}."
        elif word == "[":
            reason = "A path takes no index; a list stands after in."
        raise NotUnderstood(self._peek().at, reason)


def _nearest(name: str) -> str:
    instead = _CALL_INSTEAD.get(name.lower())
    close = [instead] if instead else get_close_matches(name.lower(), _NAMES, n=1)
    return f" Write {close[0]}." if close else f" There are {', '.join(_NAMES)}."
