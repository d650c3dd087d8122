"""Rows on their way into their tables: grouped by their columns, one an id, their children with them, ready to be sent.

None of it needs a connection, so that another thread can do it while Postgres writes others.
"""

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import inspect
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2

from models.staging import Ready, ready
from models.versioned import Child, Table, Versioned

#: What a row's columns begin with in every statement, and what they end with if it is compared by its children.
_VERSION, _DIGEST = ("shopify_id", "updated_at"), "children_digest"

_POSTGRES = PGDialect_psycopg2()  # type: ignore[no-untyped-call]


class Row(Protocol):
    """One version of a resource, as it came from Shopify. Absent columns are left alone, None clears. Children have all."""

    @property
    def shopify_id(self) -> int: ...
    @property
    def updated_at(self) -> datetime | None: ...
    @property
    def columns(self) -> Mapping[str, Any]: ...
    @property
    def children(self) -> Mapping[str, Sequence[Mapping[str, Any]]]: ...
    @property
    def triggered_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class Incoming:
    """Rows of the same columns, and their children by table, ready to be written."""

    rows: Sequence[Row]
    ready: Ready
    children: Mapping[str, Ready]


def incoming(table: Table, rows: Sequence[Row], *, are_compared: bool) -> list[Incoming]:
    """Rows made ready for ``versions.upsert``. ``are_compared``: by their children too.

    Rows without ``updated_at`` have no version and are refused with ValueError: fetch them by id instead.
    """
    return [
        Incoming(
            group,
            ready(("triggered_at", *columns), _values(table, columns, group)),
            {name: children_of(table, name, group) for name in table.children},
        )
        for columns, group in _by_columns(_newest(rows), are_compared=are_compared).items()
    ]


@functools.cache
def types_of(model: type[Versioned] | type[Child]) -> Mapping[str, str]:
    """SQL's types of a model's columns."""
    return {column.name: str(column.type.compile(_POSTGRES)) for column in inspect(model).columns}


def _newest(rows: Iterable[Row]) -> list[Row]:
    """One row an id: a page may hold an id twice when the store changed while it was read."""
    newest: dict[int, Row] = {}
    for row in rows:
        if row.updated_at is None:
            raise ValueError(f"{row.shopify_id} has no updated_at, so it cannot be compared")
        other = newest.get(row.shopify_id)
        if other is None or other.updated_at is None or row.updated_at >= other.updated_at:
            newest[row.shopify_id] = row
    return list(newest.values())


def _by_columns(rows: Iterable[Row], *, are_compared: bool) -> dict[tuple[str, ...], list[Row]]:
    """Rows of the same columns, which begin with the id and the version."""
    told: dict[tuple[tuple[str, ...], bool], list[Row]] = {}
    for row in rows:
        told.setdefault((tuple(row.columns), are_compared and bool(row.children)), []).append(row)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for (names, have_children), group in told.items():
        columns = (*_VERSION, *sorted(names), *([_DIGEST] if have_children else []))
        groups.setdefault(columns, []).extend(group)
    return groups


def _values(table: Table, columns: tuple[str, ...], rows: Iterable[Row]) -> list[tuple[Any, ...]]:
    """The rows' values: of when they were triggered, and of ``columns``."""
    own = _getter([name for name in columns if name not in {*_VERSION, _DIGEST}])
    values = [(row.triggered_at, row.shopify_id, row.updated_at, *own(row.columns)) for row in rows]
    if _DIGEST not in columns:
        return values
    return [(*told, _digest(table, row.children)) for told, row in zip(values, rows, strict=True)]


def _getter(names: Sequence[str]) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
    """The values of some names, in their order."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)


def _digest(table: Table, children: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    # Of the text that Python gives: a third of the time that JSON takes, for every order of a page.
    told = [
        (name, [sorted(child.items()) for child in children[name]])
        for name in sorted(children.keys() - table.told_by_reads)
    ]
    return hashlib.md5(repr(told).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def children_of(table: Table, name: str, rows: Sequence[Row]) -> Ready:
    """The children of one table: complete lists of these rows. The parent's id is the first of their columns."""
    model, parent = table.children[name]
    columns = [column for column in model.model_fields if column not in {"tenant_id", parent}]
    values = _getter(columns)
    listed = ((row.shopify_id, *values(child)) for row in rows for child in row.children.get(name, ()))
    key = itemgetter(*([parent, *columns].index(column) for column in key_of(model)))
    return ready((parent, *columns), list({key(child): child for child in listed}.values()))


def key_of(model: type[Child]) -> list[str]:
    """What tells a child of one shop from another: its id, unless that is one within its parent only."""
    return [column.name for column in inspect(model).primary_key if column.name != "tenant_id"]
