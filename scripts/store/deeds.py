"""Actions as the control endpoint takes them: ``{"action": "refundOrder", "id": "123", "amount": "6.00"}``."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import changes, clock
from .actions import Actions, NotThere
from .arithmetic import totals
from .changes import Item, Terms
from .identity import parse_gid
from .inventory import Item as InventoryItem
from .money import Money, minor_units
from .records import Customer, Order, Product, Refund
from .shop import Shop

Deed = Mapping[str, Any]
#: What a deed says besides its values.
WORDS = {"action", "id", "at"}


def perform(actions: Actions, deed: Deed, *, at: int | None) -> dict[str, Any]:
    """Do it; returns the id and version of what it changed. Raises ValueError for a deed that makes no sense."""
    name = str(deed.get("action"))
    if name not in DEEDS:
        raise ValueError(f"no action {name}; there are {', '.join(sorted(DEEDS))}")
    record = DEEDS[name](actions, deed, clock.parse(deed["at"]) if deed.get("at") else at)
    if isinstance(record, int):
        return {"action": name, "id": str(record), "deleted": True}
    return {"action": name, "id": str(record.id), "updatedAt": clock.utc(record.updated_at), **_told(record)}


def _told(record: Any) -> dict[str, Any]:
    if isinstance(record, Order):
        return {"name": record.name, "lineIds": [str(line.id) for line in record.lines]}
    if isinstance(record, Product):
        return {"variantIds": [str(variant.id) for variant in record.variants]}
    return {}


def _id(deed: Deed, key: str = "id") -> int:
    text = str(deed[key])
    parsed = parse_gid(text)
    return parsed[1] if parsed else int(text)


def _snake(name: str) -> str:
    return re.sub(r"([A-Z])", lambda match: "_" + match[1].lower(), name)


def _values(deed: Deed) -> dict[str, Any]:
    return {_snake(name): value for name, value in deed.items() if name not in WORDS}


# Orders


def _terms(shop: Shop, deed: Deed) -> Terms:
    currency = shop.settings.currency
    return Terms(
        currencies=f"{currency}/{deed.get('presentmentCurrency') or currency}",
        rate=round(float(deed.get("rate", 1)) * 1_000_000),
        tax_permille=int(deed.get("taxPermille", 0)),
        shipping=minor_units(str(deed["shipping"]), currency) if deed.get("shipping") is not None else None,
        discount_percent=int(deed.get("discountPercent", 0)),
    )


def _item(shop: Shop, given: Deed) -> Item:
    """A line as given: productId or variantId (the first product if neither), quantity, price."""
    with shop.lock:
        numbers = sorted(shop.products.rows)
    product = None
    if given.get("variantId") is not None:
        wanted = _id(given, "variantId")
        product = next(
            (found for number in numbers if (found := shop.products.get(number)) and _variant(found, wanted)), None
        )
    elif given.get("productId") is not None:
        product = shop.products.get(_id(given, "productId"))
    elif numbers:
        product = shop.products.get(numbers[0])
    if product is None:
        raise NotThere("Product does not exist")
    variant = _variant(product, _id(given, "variantId")) if given.get("variantId") is not None else product.variants[0]
    price = given.get("price")
    minor = None if price is None else minor_units(str(price), shop.settings.currency)
    return Item(product, variant, int(given.get("quantity", 1)), minor)


def _variant(product: Product, number: int) -> Any:
    return next((variant for variant in product.variants if variant.id == number), None)


def _create_order(actions: Actions, deed: Deed, at: int | None) -> Order:
    lines = deed.get("lines") or [{}] * int(deed.get("lineCount", 1))
    extra = {name: deed[name] for name in ("note", "tags") if name in deed}
    if deed.get("processedAt"):
        extra["processed_at"] = clock.parse(deed["processedAt"])
    return actions.create_order(
        [_item(actions.shop, line) for line in lines],
        _terms(actions.shop, deed),
        at=at,
        customer_id=_id(deed, "customerId") if deed.get("customerId") is not None else None,
        email=deed.get("email"),
        is_test=bool(deed.get("test", False)),
        is_paid=bool(deed.get("paid", True)),
        **extra,
    )


def _refund(actions: Actions, deed: Deed, at: int | None) -> Order:
    """``units`` by line id, ``quantity`` of the first line, ``shipping``, ``amount`` paid; nothing of these: everything.

    ``pending``: the money arrives with settleRefund.
    """
    is_pending = bool(deed.get("pending"))

    def change(order: Order) -> Refund:
        when = at or clock.now()
        units = {int(number): int(count) for number, count in (deed.get("units") or {}).items()}
        if deed.get("quantity"):
            units[next(line.id for line in order.lines if line.current_quantity)] = int(deed["quantity"])
        shipping, amount = _money(order, deed.get("shipping")), _money(order, deed.get("amount"))
        if not units and shipping is None and amount is None:
            return changes.refund_all(order, when, note=deed.get("note"))
        return changes.refund(
            order, when, units=units, shipping=shipping, paid=amount, note=deed.get("note"), is_pending=is_pending
        )

    return actions.refund(_id(deed), change)


def _money(order: Order, amount: object) -> Money | None:
    """An amount in the shop's currency, the buyer's in proportion to the order's total."""
    if amount is None:
        return None
    minor = minor_units(str(amount), order.currency)
    total = totals(order).total
    presentment = minor if order.currency == order.presentment_currency or not total.shop else None
    if presentment is None:
        presentment = total.share(minor, total.shop).presentment
    return Money(minor, presentment, order.currencies)


def _edit(actions: Actions, deed: Deed, at: int | None) -> Order:
    """``remove``: {lineId, quantity}; ``add``: a line as in createOrder."""

    def change(order: Order, when: int) -> None:
        if deed.get("remove"):
            line_id = _id(deed["remove"], "lineId") if "lineId" in deed["remove"] else order.lines[0].id
            changes.remove_by_edit(order, when, line_id=line_id, count=int(deed["remove"].get("quantity", 1)))
        if deed.get("add"):
            terms = Terms(order.currencies)
            changes.add_by_edit(order, when, item=_item(actions.shop, deed["add"]), terms=terms)

    return actions.edit_order(_id(deed), change, at=at)


def _deleted(delete: Callable[..., None], deed: Deed, at: int | None) -> int:
    delete(_id(deed), at=at)
    return _id(deed)


DEEDS: dict[str, Callable[[Actions, Deed, int | None], Order | Customer | Product | InventoryItem | int]] = {
    "createOrder": _create_order,
    "updateOrder": lambda actions, deed, at: actions.update_order(_id(deed), _values(deed), at=at),
    "payOrder": lambda actions, deed, at: actions.pay(_id(deed), at=at),
    "fulfillOrder": lambda actions, deed, at: actions.fulfill(_id(deed), at=at, is_partial=bool(deed.get("partial"))),
    "refundOrder": _refund,
    "settleRefund": lambda actions, deed, at: actions.settle_refund(_id(deed), at=at),
    "cancelOrder": lambda actions, deed, at: actions.cancel(_id(deed), at=at, reason=deed.get("reason", "customer")),
    "editOrder": _edit,
    "deleteOrder": lambda actions, deed, at: _deleted(actions.delete_order, deed, at),
    "createCustomer": lambda actions, deed, at: actions.create_customer(_values(deed), at=at),
    "updateCustomer": lambda actions, deed, at: actions.update_customer(_id(deed), _values(deed), at=at),
    "deleteCustomer": lambda actions, deed, at: _deleted(actions.delete_customer, deed, at),
    "mergeCustomers": lambda actions, deed, at: actions.merge_customers(_id(deed, "one"), _id(deed, "two"), at=at),
    "createProduct": lambda actions, deed, at: actions.create_product(_values(deed), at=at),
    "updateProduct": lambda actions, deed, at: actions.update_product(_id(deed), _values(deed), at=at),
    "deleteProduct": lambda actions, deed, at: _deleted(actions.delete_product, deed, at),
    "setInventory": lambda actions, deed, at: actions.set_inventory(_id(deed), deed, at=at),
    "disconnectInventory": lambda actions, deed, at: actions.disconnect_inventory(_id(deed), deed, at=at),
    "updateInventoryItem": lambda actions, deed, at: actions.update_inventory_item(_id(deed), deed, at=at),
}


def perform_all(actions: Actions, deeds: Sequence[Deed], *, is_same_second: bool) -> list[dict[str, Any]]:
    """Do them in order. In the same second they are a millisecond apart. ``id`` may be ``$n``: what the n-th deed made."""
    start = clock.now()
    if is_same_second and start % clock.SECOND > 900_000:
        start -= 500_000
    done: list[dict[str, Any]] = []
    for number, deed in enumerate(deeds):
        named = {key: done[int(value[1:])]["id"] if _is_back_reference(value) else value for key, value in deed.items()}
        done.append(perform(actions, named, at=start + number * 1000 if is_same_second else None))
    return done


def _is_back_reference(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"\$\d+", value) is not None
