"""Everything that is stored of one person, as a document for whoever has to answer them."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from pydantic.alias_generators import to_camel
from sqlmodel import Session

from models import payloads
from models.database import sql
from models.resources import TABLES

#: Columns that say how a row came to us, not what it says of anybody.
_OURS = frozenset({"id", "tenant_id", "run_id", "children_digest", "triggered_at", "read_at", "stored_at", "counts"})

_CUSTOMERS = """
select * from customers
where tenant_id = :tenant_id
  and (shopify_id = any(:customers) or merged_into = any(:customers) or lower(email) = any(:emails) or phone = any(:phones))
order by shopify_id
"""

_ORDERS = """
select * from orders
where tenant_id = :tenant_id
  and (shopify_id = any(:orders) or customer_shopify_id = any(:customers) or lower(email) = any(:emails))
order by shopify_id
"""

_CHILDREN = "select * from {table} where tenant_id = :tenant_id and {parent} = any(:ids) order by shopify_id"

_QUARANTINE = """
select resource, shopify_id, reason, payload, created_at from quarantine
where tenant_id = :tenant_id
  and (resource = 'customers' and shopify_id = any(:customers) or resource = 'orders' and shopify_id = any(:orders))
order by created_at
"""


def of_person(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    customer_id: int | None,
    order_ids: Sequence[int],
    emails: Sequence[str],
    phones: Sequence[str],
) -> dict[str, Any]:
    """What is found by an id, by orders, or by addresses: JSON of the keys customers, orders, payloads and quarantine."""
    asked: dict[str, Any] = {
        "tenant_id": tenant_id,
        "customers": [] if customer_id is None else [customer_id],
        "orders": list(order_ids),
        "emails": [email.lower() for email in emails],
        "phones": list(phones),
    }
    customers = _rows(session, _CUSTOMERS, asked)
    asked["customers"] = sorted({*asked["customers"], *(row["shopify_id"] for row in customers)})
    orders = _rows(session, _ORDERS, asked)
    asked["orders"] = sorted({*asked["orders"], *(row["shopify_id"] for row in orders)})
    for name, (_, parent) in TABLES["orders"].children.items():
        query = _CHILDREN.format(table=name, parent=parent)
        children = _rows(session, query, {"tenant_id": tenant_id, "ids": asked["orders"]})
        for row in orders:
            row[name] = [_told(child) for child in children if child[parent] == row["shopify_id"]]
    kept = payloads.of_person(session, tenant_id, customers=asked["customers"], orders=asked["orders"])
    return {
        "customers": [_told(row) for row in customers],
        "orders": [_told(row) for row in orders],
        "payloads": [
            {"topic": each.topic, "receivedAt": _plain(each.received_at), "body": _json(each.body)} for each in kept
        ],
        "quarantine": [_told(row) for row in _rows(session, _QUARANTINE, asked)],
    }


def _rows(session: Session, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [dict(row) for row in session.execute(sql(query), parameters).mappings()]


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {to_camel(name): _plain(value) for name, value in row.items() if name not in _OURS}


def _plain(value: Any) -> Any:
    """Money as text, times in UTC, Shopify's ids as they are."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=str)
    except ValueError:
        return body.decode("utf-8", "replace")
