"""What a shop on the stage really holds, and where our tables differ from it."""

import json
from collections.abc import Iterable, Mapping, Set
from decimal import Decimal
from typing import Any

from sqlalchemy import text

from models import analytics, tenants
from models.database import transaction
from models.resources import TABLES
from scripts.store import truth
from scripts.store.payloads import customer_payload, order_payload, product_payload
from shopify.client import Client
from shopify.resource import Resource
from shopify.resources import RESOURCES
from shopify.row import Row
from shopify.transport import exact
from tests.tasks.stage import ORIGIN, DrivenShop

#: Of lines: no webhook of an order tells that Shopify took them away with the product.
PRODUCTS = frozenset({"product_shopify_id", "variant_shopify_id"})
#: By resource, its webhook's body. The store's tokens do not see inventory.
_PAYLOADS = {"orders": order_payload, "customers": customer_payload, "products": product_payload}


def differences(shop: DrivenShop, *, is_told_by_webhooks: bool = False) -> list[str]:
    """How our rows and figures differ from the store's. None: they are equal, row by row.

    ``is_told_by_webhooks``: only what webhooks tell is compared, for they do not tell all of a resource.
    """
    shop.store.faults.clear()  # those that nobody met are not for us
    found: list[str] = []
    for name in _PAYLOADS:
        found += _of_resource(shop, RESOURCES[name], is_told_by_webhooks=is_told_by_webhooks)
    ours, theirs = _figures(shop), _true_figures(shop)
    found += [f"{name}: {ours[name]} is {theirs[name]}" for name in theirs if ours[name] != theirs[name]]
    return found


def _of_resource(shop: DrivenShop, resource: Resource, *, is_told_by_webhooks: bool) -> Iterable[str]:
    records = truth.tables(shop.store)[resource.name]
    client = Client(shop.domain, shop.store.settings.access_token, origin=ORIGIN)
    ours = {row["shopify_id"]: row for row in _rows(shop, resource.name) if _is_alive(row)}
    for gone in sorted(ours.keys() - records.rows.keys()):
        yield f"{resource.name} {gone} is not in the store"
    children = {
        name: _by_parent(_rows(shop, name), parent) for name, (_, parent) in TABLES[resource.name].children.items()
    }
    for shopify_id in sorted(records.rows):
        if shopify_id not in ours:
            yield f"{resource.name} {shopify_id} is missing"
            continue
        node = client.node(resource, shopify_id).node
        assert node is not None
        row = resource.shape.from_node(node)
        told = row
        if is_told_by_webhooks:
            told = resource.from_payload(_payload(shop, resource, shopify_id))
        yield from _of_row(f"{resource.name} {shopify_id}", ours[shopify_id], row, told)
        for name, own in children.items():
            if name in told.children:
                yield from _of_children(
                    f"{name} of {shopify_id}",
                    own.get(shopify_id, []),
                    row.children[name],
                    untold=PRODUCTS if is_told_by_webhooks else frozenset(),
                )


def _payload(shop: DrivenShop, resource: Resource, shopify_id: int) -> dict[str, Any]:
    record = truth.tables(shop.store)[resource.name].get(shopify_id)
    told: dict[str, Any] = json.loads(json.dumps(_PAYLOADS[resource.name](shop.store, record)), parse_float=exact)
    return told


def _of_row(name: str, ours: Mapping[str, Any], row: Row, told: Row) -> Iterable[str]:
    if ours["updated_at"] != row.updated_at:
        yield f"{name} updated_at: {ours['updated_at']} is {row.updated_at}"
    for column in told.columns.keys() - _untold(row, told):
        if column in row.columns and ours[column] != _stored(row.columns[column]):
            yield f"{name} {column}: {ours[column]!r} is {row.columns[column]!r}"


def _untold(row: Row, told: Row) -> Set[str]:
    """Of a row: a cancelled order's webhooks say that it is not closed, which reads say it is."""
    return {"closed_at"} if told is not row and row.columns.get("cancelled_at") is not None else frozenset()


def _of_children(
    name: str, ours: Iterable[Mapping[str, Any]], theirs: Iterable[Mapping[str, Any]], *, untold: Set[str]
) -> Iterable[str]:
    own = {row["shopify_id"]: row for row in ours}
    true = {row["shopify_id"]: row for row in theirs}
    if own.keys() != true.keys():
        yield f"{name}: {sorted(own)} are {sorted(true)}"
        return
    for shopify_id, row in true.items():
        for column, value in row.items():
            if own[shopify_id][column] != _stored(value) and not (column in untold and value is None):
                yield f"{name}, {shopify_id} {column}: {own[shopify_id][column]!r} is {value!r}"


def _stored(value: Any) -> Any:
    """What of a value stands in a column: lists and objects are JSON there, their amounts text."""
    return json.loads(json.dumps(value, default=str)) if isinstance(value, list | dict) else value


def _rows(shop: DrivenShop, table: str) -> list[dict[str, Any]]:
    with transaction() as session:
        found = session.execute(text(f"select * from {table} where tenant_id = :id"), {"id": shop.tenant_id})
        return [dict(row) for row in found.mappings()]


def _is_alive(row: Mapping[str, Any]) -> bool:
    return row["deleted_at"] is None and row["updated_at"] is not None


def _by_parent(rows: Iterable[dict[str, Any]], parent: str) -> dict[int, list[dict[str, Any]]]:
    grouped: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row[parent], []).append(row)
    return grouped


def _figures(shop: DrivenShop) -> dict[str, Any]:
    """What the totals say, which the write path keeps."""
    with transaction() as session:
        tenant = tenants.get(session, shop.tenant_id)
        assert tenant is not None
        stats, trend = analytics.stats(session, tenant), analytics.trend(session, tenant)
        spent = session.execute(
            text("select * from customer_sales where tenant_id = :id and orders_count > 0"), {"id": shop.tenant_id}
        ).mappings()
        return {
            "orders": stats.orders,
            "customers": stats.customers,
            "products": stats.products,
            "revenue": stats.own.revenue,
            "days": {each.date.isoformat(): (each.orders, each.revenue) for each in trend.days if each.orders},
            "spent": {row["customer_shopify_id"]: (row["orders_count"], row["total_spent"]) for row in spent},
        }


def _true_figures(shop: DrivenShop) -> dict[str, Any]:
    true = truth.truth(shop.store)
    return {
        "orders": true["countingOrders"],
        "customers": true["customers"],
        "products": true["products"],
        "revenue": Decimal(true["revenue"]),
        "days": {each["date"]: (each["orders"], Decimal(each["revenue"])) for each in true["days"]},
        "spent": {
            int(each["id"]): (each["ordersCount"], Decimal(each["totalSpent"]))
            for each in truth.top_customers(shop.store, limit=10_000)
        },
    }
