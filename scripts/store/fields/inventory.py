"""InventoryItem with its levels. There is no count of them, and no sort key: they come by id."""

# ruff: noqa: ARG001, ARG005 - every field is called alike, whether it needs the run or not

from typing import Any

from scripts.store.inventory import SCOPE, Item, Level, item_id
from scripts.store.paging import Slice, decode_cursor, list_cursor, list_slice
from scripts.store.records import Variant
from scripts.store.run import Run
from scripts.store.search import Field, parse_search

FIELDS = {
    "created_at": Field("date", lambda item: item.variant.created_at),
    "updated_at": Field("date", lambda item: item.updated_at),
    "id": Field("id", lambda item: item.id),
    "sku": Field("text", lambda item: item.variant.sku),
}


def items(_: object, run: Run, arguments: dict[str, Any]) -> Slice:
    """Forwards only; a cursor is good also when its item is gone."""
    search = parse_search(arguments.get("query"), FIELDS, words=lambda item: item.variant.sku)
    run.warn_search(arguments["path"], arguments.get("query") or "", search.warnings)
    with run.shop.lock:
        found = [item for item in run.shop.inventory.items() if all(test(item) for test in search.wanted)]
    if arguments.get("reverse"):
        found.reverse()
    after = decode_cursor(arguments["after"], is_date=False)[1] if arguments.get("after") else None
    if after is not None:
        found = [item for item in found if (item.id < after if arguments.get("reverse") else item.id > after)]
    size = arguments["first"]
    return Slice(found[:size], len(found) > size, after is not None, list_cursor)


def item(run: Run, number: int) -> Item | None:
    return run.shop.inventory.item(number)


def item_of(variant: Variant, run: Run) -> Item | None:
    return run.shop.inventory.item(item_id(variant))


def quantities(level: Level, run: Run, arguments: dict[str, Any]) -> list[tuple[str, int]]:
    return [(name, level.quantity(name)) for name in arguments["names"]]


PLAIN = {
    "InventoryItem": {
        "id": "f'gid://shopify/InventoryItem/{o.id}'",
        "legacyResourceId": "str(o.id)",
        "sku": "o.variant.sku",
        "tracked": "o.tracked",
        "unitCost": "(o.variant.price * 4 // 10, r.shop.settings.currency)",
        "createdAt": "utc(o.variant.created_at)",
        "updatedAt": "utc(o.updated_at)",
    },
    "InventoryLevel": {
        "id": "f'gid://shopify/InventoryLevel/{o.id}?inventory_item_id={o.item}'",
        "updatedAt": "utc(o.updated_at)",
        "location": "o.location",
    },
    "InventoryQuantity": {"name": "o[0]", "quantity": "o[1]"},
    "Location": {"id": "f'gid://shopify/Location/{o}'", "name": "f'Location {o}'"},
}
CALLS: dict[str, dict[str, Any]] = {
    "QueryRoot": {"inventoryItems": items},
    "InventoryItem": {"inventoryLevels": lambda o, r, arguments: list_slice(o.levels, arguments)},
    "InventoryLevel": {"quantities": quantities},
    "ProductVariant": {"inventoryItem": item_of},
}
SCOPES = {("QueryRoot", "inventoryItems"): SCOPE, ("InventoryItem", "inventoryLevels"): SCOPE}
TYPES = {Item: "InventoryItem", Level: "InventoryLevel"}
