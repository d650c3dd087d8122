"""What a shop really holds, worked out from its own rows: what a test compares the application with."""

from collections import defaultdict
from typing import Any

from . import clock
from .inventory import QUANTITIES
from .money import rest_amount
from .shop import Shop


def truth(shop: Shop) -> dict[str, Any]:
    """Counts, revenue and days of the orders that count: not test, not cancelled, not deleted.

    Revenue is the current total price in the shop's currency; days are the shop's own.
    """
    settings = shop.settings
    days: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    revenue = count = 0
    with shop.lock:
        rows = list(shop.orders.rows.values())
        customers, products = len(shop.customers.rows), len(shop.products.rows)
    for row in rows:
        if row.counts:
            count += 1
            revenue += row.total
            day = days[clock.local_day(row.processed_at, settings.timezone)]
            day[0] += 1
            day[1] += row.total
    amount = {settings.currency: rest_amount(revenue, settings.currency)}
    return {
        "shopDomain": shop.domain,
        "currency": settings.currency,
        "timezone": settings.timezone,
        "orders": len(rows),
        "countingOrders": count,
        "customers": customers,
        "products": products,
        "revenue": amount[settings.currency],
        "revenueByCurrency": amount,
        "days": [
            {"date": day, "orders": orders, "revenue": rest_amount(total, settings.currency)}
            for day, (orders, total) in sorted(days.items())
        ],
        "deleted": {kind: len(table.deleted) for kind, table in tables(shop).items()},
    }


def tables(shop: Shop) -> dict[str, Any]:
    return {"orders": shop.orders, "customers": shop.customers, "products": shop.products}


def digest(shop: Shop, kind: str) -> list[dict[str, Any]]:
    """Every record's version, deleted ones too. Raises KeyError for a kind that is not there."""
    if kind == "inventory":
        return _stock(shop)
    table = tables(shop)[kind]
    currency = shop.settings.currency
    with shop.lock:
        rows = list(table.rows.values())
        gone = list(table.deleted.items())
    found = []
    for row in rows:
        item = {"id": str(row.id), "updatedAt": clock.utc(row.updated_at), "deleted": False}
        if kind == "orders":
            item["currentTotalPrice"] = rest_amount(row.total, currency)
            item["cancelled"] = row.cancelled
            item["test"] = row.test
            item["customerId"] = str(row.customer_id) if row.customer_id else None
        found.append(item)
    found += [{"id": str(number), "deletedAt": clock.utc(at), "deleted": True} for number, at in gone]
    return found


def _stock(shop: Shop) -> list[dict[str, Any]]:
    """Every inventory item with what is available of it, by location."""
    with shop.lock:
        items = shop.inventory.items()
    return [
        {
            "id": str(item.id),
            "updatedAt": clock.utc(item.updated_at),
            "tracked": item.tracked,
            "levels": {
                str(level.location): {name: level.quantity(name) for name in (*QUANTITIES, "on_hand")}
                for level in item.levels
            },
        }
        for item in items
    ]


def top_customers(shop: Shop, limit: int) -> list[dict[str, Any]]:
    """By what their counting orders come to, then by id."""
    spent: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    with shop.lock:
        for row in shop.orders.rows.values():
            if row.counts and row.customer_id is not None:
                own = spent[row.customer_id]
                own[0] += 1
                own[1] += row.total
    best = sorted(spent.items(), key=lambda item: (-item[1][1], item[0]))[:limit]
    currency = shop.settings.currency
    found = []
    for number, (orders, total) in best:
        customer = shop.customers.get(number)
        found.append(
            {
                "id": str(number),
                "name": customer.display_name if customer else None,
                "email": customer.email if customer else None,
                "ordersCount": orders,
                "totalSpent": rest_amount(total, currency),
                "currency": currency,
            }
        )
    return found
