"""Anything by its global id: node, nodes, order, customer, product and so on. Null when deleted or unknown."""

from collections.abc import Callable
from typing import Any

from scripts.store.identity import parse_gid, sibling
from scripts.store.records import Customer, Order, Product
from scripts.store.run import Run

from . import inventory, lists


def order(run: Run, number: int) -> Order | None:
    found = run.shop.orders.get(number)
    since = lists.horizon(run)
    return found if found and (since is None or found.created_at >= since) else None


def customer(run: Run, number: int) -> Customer | None:
    return run.shop.customers.get(number)


def product(run: Run, number: int) -> Product | None:
    return run.shop.products.get(number)


def variant(run: Run, number: int) -> Any:
    found = run.shop.products.get(sibling("Product", number))
    return found and _with_id(found.variants, number)


def _part_of_order(parts: Callable[[Order], list[Any]]) -> Callable[[Run, int], Any]:
    def find(run: Run, number: int) -> Any:
        found = order(run, sibling("Order", number))
        return found and _with_id(parts(found), number)

    return find


def _with_id(items: list[Any], number: int) -> Any:
    return next((item for item in items if item.id == number), None)


#: How each kind is found, and the scope that it takes.
FINDERS: dict[str, tuple[Callable[[Run, int], Any], str | None]] = {
    "Order": (order, "read_orders"),
    "Customer": (customer, "read_customers"),
    "Product": (product, "read_products"),
    "ProductVariant": (variant, "read_products"),
    "InventoryItem": (inventory.item, inventory.SCOPE),
    "LineItem": (_part_of_order(lambda found: found.lines), "read_orders"),
    "Refund": (_part_of_order(lambda found: found.refunds), "read_orders"),
    "OrderTransaction": (_part_of_order(lambda found: found.transactions), "read_orders"),
    "WebhookSubscription": (lambda run, number: run.shop.subscriptions.get(number), None),
    "BulkOperation": (lambda run, number: run.shop.bulk.get(number), None),
    "Shop": (lambda run, number: run.shop if number == run.shop.id else None, None),
}


def find(run: Run, gid: str, path: tuple[str, ...], *, kind: str | None = None) -> Any:
    """The record of a gid, of ``kind`` if one is asked for."""
    named, number = parse_gid(gid) or ("", 0)
    if named not in FINDERS or (kind and named != kind):
        return None
    finder, scope = FINDERS[named]
    if scope and not run.allows(scope, path):
        return None
    return finder(run, number)


def by_id(kind: str) -> Any:
    return lambda _, run, arguments: find(run, arguments["id"], arguments["path"], kind=kind)


def several(_: object, run: Run, arguments: dict[str, Any]) -> list[Any]:
    return [find(run, gid, arguments["path"]) for gid in arguments["ids"]]


CALLS: dict[str, dict[str, Any]] = {
    "QueryRoot": {
        "node": lambda _, run, arguments: find(run, arguments["id"], arguments["path"]),
        "nodes": several,
        "order": by_id("Order"),
        "customer": by_id("Customer"),
        "product": by_id("Product"),
        "productVariant": by_id("ProductVariant"),
        "inventoryItem": by_id("InventoryItem"),
        "refund": by_id("Refund"),
        "webhookSubscription": by_id("WebhookSubscription"),
        "bulkOperation": by_id("BulkOperation"),
    }
}
