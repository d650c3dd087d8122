"""Rows on their way into a table: a JSON parameter while they are few, a temporary table filled by COPY when they are many.

Either way they are a relation to the statement that merges them.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
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
    return io.StringIO("".join(["\t".join([_field(row.get(name)) for name in names]) + "\n" for row in rows]))


def _field(value: object) -> str:
    if value is None:
        return "\\N"
    kind = type(value)
    if kind is str:
        text: str = value  # type: ignore[assignment]
        return text.translate(_ESCAPES) if "\\" in text or not text.isprintable() else text
    if kind is bool:
        return "t" if value else "f"
    if kind is int or isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return dumps(value).translate(_ESCAPES)


def dumps(value: object) -> str:
    """JSON as Postgres takes it for a row: amounts and times as text, exact."""
    return json.dumps(value, default=_plain, ensure_ascii=False, sort_keys=True)


def _plain(value: object) -> object:
    if isinstance(value, Decimal):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no place in a row")
