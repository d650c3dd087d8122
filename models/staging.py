"""Rows on their way into a table: a JSON parameter while they are few, a temporary table filled by COPY when they are many.

Either way they are a relation to the statement that merges them.
"""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlmodel import Session

from models.database import copy

#: Rows from which COPY is faster: making and dropping a temporary table costs what 300 rows of JSON do.
MANY = 500

#: COPY's text format: what would end a field or a row, and the backslash itself.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


@dataclass(frozen=True, slots=True)
class Staged:
    """``relation`` stands after ``from``; ``parameters`` are what it needs."""

    relation: str
    parameters: Mapping[str, Any]


@contextmanager
def staged(session: Session, columns: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> Iterator[Staged]:
    """Rows as a relation of ``columns``, name to SQL type. A key that a row lacks is null."""
    types = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    if len(rows) < MANY:
        yield Staged(f"json_to_recordset(cast(:rows as json)) as staged ({types})", {"rows": dumps(rows)})
        return
    connection = session.connection()
    connection.exec_driver_sql(f"create temporary table staged ({types}) on commit drop")
    copy(session, f"copy staged ({', '.join(columns)}) from stdin", _lines(tuple(columns), rows))
    yield Staged("staged", {})
    connection.exec_driver_sql("drop table staged")  # the same transaction may stage others


def _lines(names: tuple[str, ...], rows: Sequence[Mapping[str, Any]]) -> io.StringIO:
    lines = []
    for row in rows:
        values = map(row.get, names)
        lines.append("\t".join([_FIELDS[type(value)](value) for value in values]))
    return io.StringIO("\n".join(lines) + "\n")


def _text(value: str) -> str:
    return value if value.isalnum() else value.translate(_ESCAPES)


def _json(value: object) -> str:
    return dumps(value).translate(_ESCAPES) if value else "[]" if isinstance(value, list) else "{}"


#: How COPY is told a value, by its type; nothing else has a place in a row.
_FIELDS: Mapping[type, Callable[[Any], str]] = {
    type(None): lambda _: "\\N",
    str: _text,
    bool: lambda value: "t" if value else "f",
    int: str,
    Decimal: str,
    datetime: datetime.isoformat,
    list: _json,
    dict: _json,
}


def dumps(value: object) -> str:
    """JSON as Postgres takes it for a row: amounts and times as text, exact."""
    return _ENCODER.encode(value)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")


_ENCODER = json.JSONEncoder(default=_plain, ensure_ascii=False, sort_keys=True)
