"""Relay connections: slices of the shop's tables and of lists inside a record, with Shopify's cursors."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import clock
from .answers import Refused, error
from .search import Bounds, Filter, Wanted
from .table import Key, Table

MOST = 250


@dataclass(slots=True)
class Slice:
    """One page. ``cursor`` makes the cursor of an item."""

    items: Sequence[Any]
    has_next: bool
    has_previous: bool
    cursor: Callable[[Any], str]


def check_size(arguments: dict[str, Any], field: str, path: tuple[str, ...]) -> None:
    """Raises Refused (BAD_REQUEST) for a page beyond 250, a negative one, or none asked for."""
    given = [(name, arguments[name]) for name in ("first", "last") if arguments.get(name) is not None]
    if not given:
        raise Refused([error("you must provide one of first or last", "BAD_REQUEST", path=path)])
    for name, size in given:
        if size > MOST or size < 0:
            message = f"Invalid value for `{name}` on `{field}`: {size} is not between 0 and {MOST}"
            raise Refused([error(message, "BAD_REQUEST", path=path)])


def encode_cursor(last_id: int, last_value: Any) -> str:
    text = json.dumps({"last_id": last_id, "last_value": last_value}, separators=(",", ":"))
    return base64.b64encode(text.encode()).decode()


def decode_cursor(cursor: str, *, is_date: bool, is_number: bool = True) -> Key:
    """The key after which the cursor points. Raises Refused for one that this sort never gave."""
    try:
        held = json.loads(base64.b64decode(cursor, validate=True))
        value, number = held["last_value"], int(held["last_id"])
        if is_date:
            return clock.parse(value), number
        return (int(value) if is_number else str(value)), number
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise Refused([error("Invalid cursor for current pagination sort.", "BAD_REQUEST")]) from problem


@dataclass(frozen=True)
class Sort:
    """A sort key: the row's column, and how its values stand in cursors."""

    column: int
    is_date: bool = False
    is_number: bool = True


def table_slice(
    table: Table[Any, Any], arguments: dict[str, Any], sort: Sort, search: Filter, *, also: Wanted | None = None
) -> Slice:
    """A page of a table. The caller holds the shop's lock; the records themselves never change."""
    reverse = bool(arguments.get("reverse"))
    size, backwards = arguments.get("first"), False
    if size is None:
        size, backwards = arguments["last"], True
    bounds = Bounds()
    given = search.bounds.get(sort.column)
    if given:
        bounds.narrow(given.low, given.high)
    for name, is_low in (("after", not reverse), ("before", reverse)):
        cursor = arguments.get(name)
        if cursor:
            key = decode_cursor(cursor, is_date=sort.is_date, is_number=sort.is_number)
            bounds.narrow(*((key, None) if is_low else (None, key)))
    tests = [test for test in (search.test_beside(sort.column), also) if test]
    wanted = tests[0] if len(tests) == 1 else (lambda row: all(test(row) for test in tests)) if tests else None
    found: list[Any] = []
    has_more = False
    walk = table.scan(sort.column, low=bounds.low, high=bounds.high, reverse=reverse != backwards, wanted=wanted)
    for number in walk:
        if len(found) == size:
            has_more = True
            break
        found.append(number)
    if backwards:
        found.reverse()
    keys = {number: table.rows[number][sort.column] for number in found}

    def cursor_of(record: Any) -> str:
        value = keys[record.id]
        return encode_cursor(record.id, clock.with_microseconds(value) if sort.is_date else value)

    items = [record for number in found if (record := table.get(number)) is not None]
    came_from = bool(arguments.get("before" if backwards else "after"))
    if backwards:
        return Slice(items, came_from, has_more, cursor_of)
    return Slice(items, has_more, came_from, cursor_of)


def list_slice(items: Sequence[Any], arguments: dict[str, Any]) -> Slice:
    """A page of a list inside a record."""
    if arguments.get("reverse"):
        items = items[::-1]
    start, end = 0, len(items)
    places = None
    if arguments.get("after") or arguments.get("before"):
        places = {identity(item): place for place, item in enumerate(items)}
        if arguments.get("after"):
            start = places.get(decode_cursor(arguments["after"], is_date=False)[1], -1) + 1
        if arguments.get("before"):
            end = places.get(decode_cursor(arguments["before"], is_date=False)[1], len(items))
    first, last = arguments.get("first"), arguments.get("last")
    if first is not None:
        end = min(end, start + first)
    if last is not None:
        start = max(start, end - last)
    return Slice(items[start:end], end < len(items), start > 0, list_cursor)


def identity(item: Any) -> int:
    number = getattr(item, "id", None)
    return number if number is not None else item.index  # type: ignore[no-any-return]


def list_cursor(item: Any) -> str:
    number = identity(item)
    return encode_cursor(number, number)
