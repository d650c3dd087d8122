"""Shopify's search syntax: ``updated_at:>='2026-01-01T00:00:00Z' AND (status:open OR test:true)``.

It fails open as Shopify does: an unknown field, a value of the wrong kind or a date without quotes filters nothing, and
only the warnings say so.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import ge, gt, le, lt
from typing import Any

from . import clock
from .identity import parse_gid
from .table import Key

Wanted = Callable[[Any], bool]
TOKEN = re.compile(
    r"""\s*(?:(?P<paren>[()])
    |(?P<field>-?[A-Za-z_][\w.]*):(?P<operator><=|>=|<|>|)(?P<value>'[^']*'|"[^"]*"|[^\s()]*)
    |(?P<text>'[^']*'|"[^"]*"|[^\s()]+))""",
    re.VERBOSE,
)
LOOKS_LIKE_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


@dataclass(frozen=True)
class Field:
    """A filterable field: a row's column, or a function of the row. ``kind``: date, number, id, flag, text."""

    kind: str
    read: Callable[[Any], Any]
    column: int | None = None


@dataclass
class Bounds:
    """Both are left out; keys are (value, id) as in the table's index."""

    low: Key | None = None
    high: Key | None = None

    def narrow(self, low: Key | None, high: Key | None) -> None:
        if low is not None and (self.low is None or low > self.low):
            self.low = low
        if high is not None and (self.high is None or high < self.high):
            self.high = high


@dataclass
class Filter:
    """What a search asks: ranges of columns, which all must hold, and a test of the row for all the rest."""

    bounds: dict[int, Bounds] = field(default_factory=dict)
    wanted: list[Wanted] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)

    def test_beside(self, column: int) -> Wanted | None:
        """What is left to test of a row when the index of ``column`` is walked within its bounds."""
        tests = list(self.wanted)
        for other, bounds in self.bounds.items():
            if other != column:
                tests.append(_within(other, bounds))
        if not tests:
            return None
        if len(tests) == 1:
            return tests[0]
        return lambda row: all(test(row) for test in tests)


def _within(column: int, bounds: Bounds) -> Wanted:
    low, high = bounds.low or (float("-inf"), 0), bounds.high or (float("inf"), 0)
    return lambda row: low < (row[column], row[0]) < high


def parse_search(text: str | None, fields: Mapping[str, Field], *, words: Callable[[Any], str]) -> Filter:
    """The filter of a search text. ``words`` gives the text of a row that bare words are looked for in."""
    return _Parser(text or "", fields, words).parse()


class _Parser:
    def __init__(self, text: str, fields: Mapping[str, Field], words: Callable[[Any], str]) -> None:
        self.tokens = [match for match in TOKEN.finditer(text) if match.group().strip()]
        self.place = 0
        self.fields = fields
        self.words = words
        self.filter = Filter()

    def parse(self) -> Filter:
        while self.place < len(self.tokens):
            test = self._either(outermost=True)
            if test is not None:
                self.filter.wanted.append(test)
            self.place += 1  # a closing bracket without its opening one
        return self.filter

    def _peek(self) -> str:
        return self.tokens[self.place].group().strip() if self.place < len(self.tokens) else ""

    def _either(self, *, outermost: bool = False) -> Wanted | None:
        is_conjunction = outermost and not any(token.group().strip() == "OR" for token in self.tokens)
        tests = [self._all(may_bound=is_conjunction)]
        while self._peek() == "OR":
            self.place += 1
            tests.append(self._all(may_bound=False))
        if len(tests) == 1:
            return tests[0]
        known = [test for test in tests if test is not None]
        # A side that filters nothing lets everything through.
        return (lambda row: any(test(row) for test in known)) if len(known) == len(tests) else None

    def _all(self, *, may_bound: bool) -> Wanted | None:
        tests = []
        while self.place < len(self.tokens) and self._peek() not in {")", "OR"}:
            if self._peek() == "AND":
                self.place += 1
                continue
            test = self._one(may_bound=may_bound)
            if test is not None:
                tests.append(test)
        if len(tests) <= 1:
            return tests[0] if tests else None
        return lambda row: all(test(row) for test in tests)

    def _one(self, *, may_bound: bool) -> Wanted | None:
        token = self.tokens[self.place]
        self.place += 1
        if token["paren"]:
            test = self._either()
            self.place += self._peek() == ")"
            return test
        if token["text"] == "NOT" and self.place < len(self.tokens):
            return _negated(self._one(may_bound=False))
        if token["text"]:
            word = _unquoted(token["text"]).lower()
            return lambda row: word in self.words(row).lower()
        name = token["field"]
        if name.startswith("-"):
            return _negated(self._term(name[1:], token["operator"], token["value"], may_bound=False))
        return self._term(name, token["operator"], token["value"], may_bound=may_bound)

    def _term(self, name: str, operator: str, written: str, *, may_bound: bool) -> Wanted | None:
        known = self.fields.get(name)
        if known is None:
            return self._warn(name, "Invalid search field for this query.", "invalid_field")
        if known.kind == "date" and written == _unquoted(written):
            return self._warn(name, f"Input `{written}` is not an accepted date: it needs quotes.", "invalid_value")
        value = _unquoted(written)
        if value == "*":
            return lambda row: known.read(row) is not None
        try:
            values = [_value(known.kind, part) for part in (value.split(",") if not operator else [value])]
        except ValueError:
            return self._warn(name, f"Input `{value}` is not an accepted value.", "invalid_value")
        if known.column is not None and may_bound and len(values) == 1 and known.kind in {"date", "number", "id"}:
            bounds = self.filter.bounds.setdefault(known.column, Bounds())
            bounds.narrow(*_range(operator, values[0], known.kind))
            return None
        return _comparison(known, operator, values)

    def _warn(self, name: str, message: str, code: str) -> Wanted | None:
        """Let everything through, and say so."""
        self.filter.warnings.append({"field": name, "message": message, "code": code})
        return None


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def _negated(test: Wanted | None) -> Wanted | None:
    return None if test is None else lambda row: not test(row)


def _value(kind: str, text: str) -> Any:
    if kind == "date":
        return clock.parse(text)
    if kind == "id":
        parsed = parse_gid(text)
        return parsed[1] if parsed else int(text)
    if kind == "number":
        return int(text.removeprefix("#"))
    if kind == "flag":
        if text.lower() not in {"true", "false"}:
            raise ValueError(text)
        return text.lower() == "true"
    return text.lower()


def _range(operator: str, value: int, kind: str) -> tuple[Key | None, Key | None]:
    """The (low, high) keys, both left out. A date without an operator means the whole second."""
    before, after = (value, -1), (value, 1 << 62)
    if operator == ">=":
        return before, None
    if operator == ">":
        return after, None
    if operator == "<=":
        return None, after
    if operator == "<":
        return None, before
    if kind == "date":
        return before, (value + clock.SECOND, -1)
    return before, after


COMPARE: dict[str, Callable[[Any, Any], bool]] = {">=": ge, ">": gt, "<=": le, "<": lt}


def _comparison(known: Field, operator: str, values: list[Any]) -> Wanted:
    read, first = known.read, values[0]
    if operator:
        compare = COMPARE[operator]
        return lambda row: (found := read(row)) is not None and compare(found, first)
    if known.kind == "date":
        return lambda row: first <= read(row) < first + clock.SECOND
    if known.kind == "text":
        return lambda row: any(_matches(read(row), value) for value in values)
    wanted = set(values)
    return lambda row: read(row) in wanted


def _matches(found: Any, value: str) -> bool:
    texts = [str(item).lower() for item in (found if isinstance(found, list) else [found]) if item is not None]
    if value.endswith("*"):
        return any(text.startswith(value[:-1]) for text in texts)
    return value in texts
