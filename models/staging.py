"""Rows on their way into a table: a JSON parameter while they are few, a temporary table filled by COPY when they are many.

Either way they are a relation to the statement that merges them.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from sqlmodel import Session

from models.database import copy

#: Values, rows times columns, from which COPY is faster: a temporary table costs what 4,000 values of JSON do.
MANY = 5_000

#: COPY's text format: what would end a field or a row, and the backslash itself.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Ready:
    """Rows' values in the order of ``columns``, as they will travel: as ``text`` for COPY, or else as ``values``."""

    columns: tuple[str, ...]
    values: Sequence[Sequence[Any]]
    text: bytes | None


def ready(columns: tuple[str, ...], rows: Sequence[Sequence[Any]]) -> Ready:
    """Rows made ready. It needs no connection, so that another thread can do it while Postgres writes others."""
    if len(rows) * len(columns) < MANY:
        return Ready(columns, rows, None)
    return Ready(columns, (), _lines(rows))


@dataclass(frozen=True, slots=True)
class Staged:
    """``relation`` stands after ``from``; ``parameters`` are what it needs."""

    relation: str
    parameters: Mapping[str, Any]


@contextmanager
def staged(session: Session, rows: Ready, types: Mapping[str, str]) -> Iterator[Staged]:
    """Rows as a relation; ``types`` are SQL's of its columns."""
    declared = ", ".join(f"{name} {types[name]}" for name in rows.columns)
    if rows.text is None:
        named = dumps([dict(zip(rows.columns, values, strict=True)) for values in rows.values])
        yield Staged(f"json_to_recordset(cast(:rows as json)) as staged ({declared})", {"rows": named})
        return
    connection = session.connection()
    connection.exec_driver_sql(f"create temporary table staged ({declared}) on commit drop")
    copy(session, f"copy staged ({', '.join(rows.columns)}) from stdin", rows.text)
    yield Staged("staged", {})
    connection.exec_driver_sql("drop table staged")  # the same transaction may stage others


def _lines(rows: Iterable[Sequence[Any]]) -> bytes:
    lines = ["\t".join([_FIELDS[type(value)](value) for value in row]) for row in rows]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _text(value: str) -> str:
    # Four looks take a tenth of a translation that finds nothing.
    is_plain = "\\" not in value and "\t" not in value and "\n" not in value and "\r" not in value
    return value if is_plain else value.translate(_ESCAPES)


def _json(value: object) -> str:
    return dumps(value).translate(_ESCAPES) if value else "[]" if isinstance(value, list) else "{}"


#: How COPY is told a value, by its type; nothing else has a place in a row.
_FIELDS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "\\N",
    str: _text,
    bool: lambda value: "t" if value else "f",
    int: str,
    Decimal: str,
    datetime: functools.lru_cache(maxsize=512)(datetime.isoformat),  # an order's times repeat in its transactions
    list: _json,
    dict: _json,
}


def dumps(value: object) -> str:
    """JSON as Postgres takes it for a row: amounts and times as text, exact."""
    return _ENCODER.encode(value).decode()


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain, decimal_format="string")
