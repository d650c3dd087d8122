"""What is kept of an order and its lists, whichever shape told of it."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from shopify.scalars import MAX_ID, MoneySet

NAME = "orders"
GID_KIND = "Order"

#: Without these an order cannot be counted.
REQUIRED = ("current_total_price", "currency", "processed_at")
#: Totals of which the buyer's amount is kept too, as ``presentment_…``.
IN_BOTH_CURRENCIES = frozenset(
    {
        "original_total_price",
        "total_price",
        "current_total_price",
        "subtotal_price",
        "total_tax",
        "total_discounts",
        "total_shipping_price",
        "total_refunded",
        "net_payment",
    }
)

#: All totals of an order.
MONEY = IN_BOTH_CURRENCIES | {
    "current_subtotal_price",
    "current_total_tax",
    "current_shipping_price",
    "original_total_duties",
    "total_tip_received",
    "total_received",
    "total_outstanding",
    "refund_discrepancy",
}

_PRESENTMENT = {name: f"presentment_{name}" for name in IN_BOTH_CURRENCIES}

LINE_COLUMNS = (
    "product_shopify_id",
    "variant_shopify_id",
    "title",
    "variant_title",
    "sku",
    "vendor",
    "quantity",
    "current_quantity",
    "gift_card",
    "price",
    "total_discount",
    "allocated_discount",
    "total_tax",
    "tax_lines",
)
SHIPPING_LINE_COLUMNS = (
    "title",
    "code",
    "is_removed",
    "price",
    "discounted_price",
    "current_discounted_price",
    "total_tax",
    "tax_lines",
)
REFUND_COLUMNS = (
    "created_at",
    "processed_at",
    "note",
    "total_refunded",
    "shipping",
    "shipping_tax",
    "duties",
    "discrepancy",
    "discrepancy_tax",
    "adjustments",
    "is_pending",
)
REFUND_LINE_COLUMNS = (
    "refund_shopify_id",
    "line_item_shopify_id",
    "quantity",
    "restock_type",
    "subtotal",
    "total_tax",
)
TRANSACTION_COLUMNS = (
    "parent_shopify_id",
    "refund_shopify_id",
    "kind",
    "status",
    "gateway",
    "test",
    "error_code",
    "amount",
    "presentment_amount",
    "created_at",
    "processed_at",
)

ZERO = Decimal("0.00")


def total(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, ZERO)


def keep_money(shape: dict[str, Any], name: str, money: MoneySet | None) -> None:
    """A total becomes its column, and where the buyer's amount is kept and told, that one's."""
    shape[name] = None if money is None else money.amount
    presentment = _PRESENTMENT.get(name)
    if presentment is not None:
        if money is None:
            shape[presentment] = None
        elif money.presentment is not None:
            shape[presentment] = money.presentment


def with_taxes(
    line: Mapping[str, Any], taxes: Sequence[tuple[Mapping[str, Any], Decimal | None]] | None
) -> dict[str, Any]:
    """``line`` with its tax lines, each of which comes with its amount, and their sum. None: they were not told."""
    if taxes is None:
        return {**line, "total_tax": None, "tax_lines": None}
    return {
        **line,
        "total_tax": total(amount for _, amount in taxes if amount is not None),
        "tax_lines": [{"title": tax.get("title"), "rate": tax.get("rate"), "amount": amount} for tax, amount in taxes],
    }


def stand_in_id(kind: str, parent_id: int, place: int) -> int:
    """For a part to which Shopify gave no id: always the same one, and negative, as none of Shopify's is."""
    digest = hashlib.sha256(f"{kind}/{parent_id}/{place}".encode()).digest()
    return -1 - int.from_bytes(digest[:8]) % MAX_ID


def identified(shapes: Iterable[dict[str, Any]], kind: str, parent_id: int) -> list[dict[str, Any]]:
    """Every part with an id."""
    return [
        shape if shape.get("shopify_id") else {**shape, "shopify_id": stand_in_id(kind, parent_id, place)}
        for place, shape in enumerate(shapes)
    ]
