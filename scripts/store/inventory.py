"""What a shop has in stock: an inventory item for each variant, with its levels at the shop's locations.

Everything is derived from the variants until it is changed; what was changed is in the shop's journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from . import clock
from .identity import STEP, gid, make_id, sibling

if TYPE_CHECKING:
    from .outbox import Message
    from .records import Product, Variant
    from .shop import Shop

SCOPE = "read_inventory"
QUANTITIES = ("available", "committed", "incoming", "reserved")


@dataclass(frozen=True, slots=True)
class Level:
    """How many of an item are at a location."""

    item: int
    location: int
    updated_at: int
    available: int = 0
    committed: int = 0
    incoming: int = 0
    reserved: int = 0

    @property
    def id(self) -> int:
        """The same for all items at a location: only with its item is it an identity."""
        return self.location

    def quantity(self, name: str) -> int:
        return self.available + self.committed + self.reserved if name == "on_hand" else int(getattr(self, name))


@dataclass(frozen=True, slots=True)
class Item:
    variant: Variant
    updated_at: int
    tracked: bool
    levels: tuple[Level, ...]

    @property
    def id(self) -> int:
        return item_id(self.variant)


def item_id(variant: Variant) -> int:
    return sibling("InventoryItem", variant.id, variant.id % STEP)


class Inventory:
    """The caller holds the shop's lock for changes; an item that was given out never changes."""

    def __init__(self, shop: Shop, keep: Callable[[int, dict[str, Any]], None]) -> None:
        self._shop = shop
        self._keep = keep
        self._changed: dict[int, dict[str, Any]] = {}

    def location(self, place: int) -> int:
        return make_id("Location", self._shop.salt, place)

    def items(self) -> list[Item]:
        """All, by id."""
        products = [self._shop.products.get(number) for number in sorted(self._shop.products.rows)]
        return [self._item(variant) for product in products if product for variant in product.variants]

    def item(self, number: int) -> Item | None:
        product = self._shop.products.get(sibling("Product", number))
        variants = product.variants if product else []
        return next((self._item(variant) for variant in variants if item_id(variant) == number), None)

    def _item(self, variant: Variant) -> Item:
        number = item_id(variant)
        base = Item(variant, variant.updated_at, tracked=True, levels=self._first_levels(number, variant))
        changed = self._changed.get(number)
        if changed is None:
            return base
        levels = tuple(Level(**level) for level in changed["levels"])
        return replace(base, updated_at=changed["updated_at"], tracked=changed["tracked"], levels=levels)

    def _first_levels(self, number: int, variant: Variant) -> tuple[Level, ...]:
        """At the first location what the variant says; of every third some at the second, too."""
        at = variant.updated_at
        levels = [Level(number, self.location(0), at, available=variant.inventory_quantity)]
        if number % 3 == 0:
            levels.append(Level(number, self.location(1), at, available=3, committed=1))
        return tuple(levels)

    def put(self, item: Item) -> None:
        value = {
            "updated_at": item.updated_at,
            "tracked": item.tracked,
            "levels": [asdict(level) for level in item.levels],
        }
        self._keep(item.id, value)
        self.restore(item.id, value)

    def restore(self, number: int, value: dict[str, Any]) -> None:
        self._changed[number] = value


# What is done to it


def set_level(shop: Shop, number: int, values: Mapping[str, Any], *, at: int | None) -> tuple[Item, list[Message]]:
    """Other quantities at a location (the first unless ``location`` gives another's place), where it may be new.

    Raises LookupError for an item that is not there.
    """
    item = _item(shop, number)
    location = shop.inventory.location(int(values.get("location", 0)))
    held = next((level for level in item.levels if level.location == location), None)
    base = held or Level(item.id, location, 0)
    when = max(at or clock.now(), base.updated_at + 1)
    level = replace(base, updated_at=when, **{name: int(values[name]) for name in QUANTITIES if name in values})
    topic = "inventory_levels/update" if held else "inventory_levels/connect"
    changed = replace(item, levels=(*(each for each in item.levels if each.location != location), level))
    shop.inventory.put(changed)
    return changed, [(topic, level_payload(shop, level))]


def remove_level(shop: Shop, number: int, values: Mapping[str, Any]) -> tuple[Item, list[Message]]:
    """The item is at the location no more. Raises LookupError for an item that is not there."""
    item = _item(shop, number)
    location = shop.inventory.location(int(values.get("location", 0)))
    changed = replace(item, levels=tuple(each for each in item.levels if each.location != location))
    shop.inventory.put(changed)
    return changed, [("inventory_levels/disconnect", {"inventory_item_id": item.id, "location_id": location})]


def update_item(shop: Shop, number: int, values: Mapping[str, Any], *, at: int | None) -> tuple[Item, list[Message]]:
    """The item itself changes: ``tracked``. Raises LookupError for one that is not there."""
    item = _item(shop, number)
    when = max(at or clock.now(), item.updated_at + 1)
    changed = replace(item, updated_at=when, tracked=bool(values.get("tracked", item.tracked)))
    shop.inventory.put(changed)
    return changed, [("inventory_items/update", item_payload(shop, changed))]


def _item(shop: Shop, number: int) -> Item:
    item = shop.inventory.item(number)
    if item is None:
        raise LookupError("Inventory item does not exist")
    return item


# Webhooks


def messages_of_new(shop: Shop, product: Product) -> list[Message]:
    """What a new product's items send, where the app may see them."""
    messages: list[Message] = []
    for item in _items_of(shop, product):
        messages.append(("inventory_items/create", item_payload(shop, item)))
        messages += [("inventory_levels/connect", level_payload(shop, level)) for level in item.levels]
    return messages


def messages_of_gone(shop: Shop, product: Product) -> list[Message]:
    return [
        (
            "inventory_items/delete",
            {"id": item_id(variant), "admin_graphql_api_id": gid("InventoryItem", item_id(variant))},
        )
        for variant in (product.variants if shop.allows(SCOPE) else ())
    ]


def _items_of(shop: Shop, product: Product) -> Iterable[Item]:
    numbers = [item_id(variant) for variant in product.variants] if shop.allows(SCOPE) else []
    return (item for number in numbers if (item := shop.inventory.item(number)))


def item_payload(shop: Shop, item: Item) -> dict[str, Any]:
    zone = shop.settings.timezone
    return {
        "id": item.id,
        "sku": item.variant.sku,
        "created_at": clock.local(item.variant.created_at, zone),
        "updated_at": clock.local(item.updated_at, zone),
        "requires_shipping": True,
        "cost": None,
        "country_code_of_origin": None,
        "province_code_of_origin": None,
        "harmonized_system_code": None,
        "tracked": item.tracked,
        "country_harmonized_system_codes": [],
        "admin_graphql_api_id": gid("InventoryItem", item.id),
    }


def level_payload(shop: Shop, level: Level) -> dict[str, Any]:
    return {
        "inventory_item_id": level.item,
        "location_id": level.location,
        "available": level.available,
        "updated_at": clock.local(level.updated_at, shop.settings.timezone),
        "admin_graphql_api_id": f"{gid('InventoryLevel', level.id)}?inventory_item_id={level.item}",
    }
