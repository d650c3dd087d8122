"""The fields of the schema: for each type a table of expressions (PLAIN) and a table of functions (CALLS).

An expression is Python over the record ``o`` and the run ``r``; it is compiled into the query's projection, which is what
makes pages quick. A function is called with (record, run[, arguments]). A reference is an object that is often asked for
its id alone: then only its existence is looked up.
"""

from typing import Any

from scripts.store import clock
from scripts.store.answers import Refused, error
from scripts.store.arithmetic import financial_status, totals
from scripts.store.identity import parse_gid, sibling
from scripts.store.money import graphql_amount

from . import (
    agreements,
    bulk,
    customers,
    deletions,
    events,
    inventory,
    nodes,
    orders,
    products,
    refunds,
    roots,
    shops,
    webhooks,
)
from .reference import Reference

PARTS = (
    agreements,
    bulk,
    customers,
    deletions,
    events,
    inventory,
    nodes,
    orders,
    products,
    refunds,
    roots,
    shops,
    webhooks,
)

PLAIN: dict[str, dict[str, str]] = {kind: table for part in PARTS for kind, table in getattr(part, "PLAIN", {}).items()}
CALLS: dict[str, dict[str, Any]] = {}
for _part in PARTS:
    for _kind, _table in getattr(_part, "CALLS", {}).items():
        CALLS.setdefault(_kind, {}).update(_table)
REFERENCES: dict[tuple[str, str], Reference] = {
    key: reference for part in PARTS for key, reference in getattr(part, "REFERENCES", {}).items()
}
for (_kind, _field), _reference in REFERENCES.items():
    CALLS.setdefault(_kind, {})[_field] = _reference.load
#: The scope that a field needs.
SCOPES: dict[tuple[str, str], str] = {
    key: scope for part in PARTS for key, scope in getattr(part, "SCOPES", {}).items()
}
TYPES: dict[type, str] = {kind: name for part in PARTS for kind, name in getattr(part, "TYPES", {}).items()}

#: Arguments that hold a gid.
ID_ARGUMENTS = {"id", "orderId", "customerOneId", "customerTwoId"}


def maybe(value: Any, project: Any, run: Any) -> Any:
    return None if value is None else project(value, run)


def nullable(run: Any, value: Any, project: Any, place: int) -> Any:
    """An object that may be null, counted for the actual cost."""
    run.count(place, 0 if value is None else 1)
    return None if value is None else project(value, run)


def type_name(value: Any) -> str:
    """The name of the GraphQL type of a record."""
    return getattr(value, "typename", None) or TYPES[type(value)]


#: What expressions may use.
NAMES: dict[str, Any] = {
    "utc": clock.utc,
    "totals": totals,
    "financial_status": financial_status,
    "graphql_amount": graphql_amount,
    "sibling": sibling,
    "maybe": maybe,
    "nullable": nullable,
    **orders.NAMES,
    **products.NAMES,
}


def check_ids(arguments: dict[str, Any], path: tuple[str, ...]) -> None:
    """Raises Refused for a malformed gid."""
    for name, value in arguments.items():
        given = value if name == "ids" else [value] if name in ID_ARGUMENTS else []
        for gid in given:
            if gid is not None and parse_gid(gid) is None:
                message = f"Invalid global id '{gid}'"
                code = "argumentLiteralsIncompatible"
                where = ["query", *path, name]
                raise Refused([error(message, code, path=where, typeName="CoercionError")])
