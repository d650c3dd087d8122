"""REST shapes of refunds and transactions, with their oddities as recorded."""

from typing import Any

from . import clock
from .identity import gid
from .money import Money, rest_amount, zero
from .records import Order, Refund, RefundShipping, Transaction
from .rest_money import amount, money_set
from .shop import Shop

REASONS = {"refund_discrepancy": "Refund discrepancy", "pending_refund_discrepancy": "Pending refund discrepancy"}


def refund_payload(shop: Shop, order: Order, refund: Refund, *, is_embedded: bool = False) -> dict[str, Any]:
    """The refund resource; inside an order it lacks ``return`` and ``refund_shipping_lines``."""
    zone = shop.settings.timezone
    nothing = zero(order.currencies)
    payload: dict[str, Any] = {
        "id": refund.id,
        "admin_graphql_api_id": gid("Refund", refund.id),
        "order_id": order.id,
        "created_at": clock.local(refund.created_at, zone),
        "processed_at": clock.local(refund.processed_at, zone),
        "note": refund.note,
        "user_id": None,
        "restock": any(part.restock_type != "no_restock" for part in refund.lines),
        "duties": [],
        "total_duties_set": money_set(nothing),
        "additional_fees": [],
        "total_additional_fees_set": money_set(nothing),
        "return": None,
        "refund_line_items": [
            {
                "id": part.id,
                "line_item_id": part.line_id,
                "quantity": part.quantity,
                "location_id": None,
                "restock_type": part.restock_type,
                "subtotal": float(amount(part.subtotal)),
                "total_tax": float(amount(part.tax)),
                "subtotal_set": money_set(part.subtotal),
                "total_tax_set": money_set(part.tax),
                "line_item": {
                    "id": part.line_id,
                    "title": next(line.title for line in order.lines if line.id == part.line_id),
                },
            }
            for part in refund.lines
        ],
        "refund_shipping_lines": [
            {
                "id": part.id,
                "shipping_line_id": part.shipping_line_id,
                "subtotal_amount_set": money_set(part.subtotal),
                "shipping_line": {"id": part.shipping_line_id, "title": "Standard"},
            }
            for part in refund.shipping
        ],
        "order_adjustments": [
            *(_shipping_adjustment(order, refund, part) for part in refund.shipping),
            *(
                _adjustment(order, refund, part.id, "refund_discrepancy", REASONS[part.reason], part.amount, part.tax)
                for part in refund.adjustments
            ),
        ],
        "transactions": [
            transaction_payload(shop, order, part) for part in order.transactions if part.id in refund.transaction_ids
        ],
    }
    if is_embedded:
        del payload["return"], payload["refund_shipping_lines"]
    return payload


def _shipping_adjustment(order: Order, refund: Refund, part: RefundShipping) -> dict[str, Any]:
    """Refunded shipping stands twice: as a line and as an adjustment."""
    reason = "Shipping refund"
    return _adjustment(order, refund, part.id, "shipping_refund", reason, part.subtotal.negative, part.tax.negative)


def _adjustment(  # noqa: PLR0917 - in the order of the payload
    order: Order, refund: Refund, number: int, kind: str, reason: str, money: Money, tax: Money
) -> dict[str, Any]:
    return {
        "id": number,
        "order_id": order.id,
        "refund_id": refund.id,
        "kind": kind,
        "reason": reason,
        "amount": amount(money),
        "tax_amount": amount(tax),
        "amount_set": money_set(money),
        "tax_amount_set": money_set(tax),
    }


def transaction_payload(shop: Shop, order: Order, part: Transaction) -> dict[str, Any]:
    """``amount`` and ``currency`` are the buyer's."""
    zone = shop.settings.timezone
    unsettled = {
        "presentment_money": {"amount": "0.0", "currency": order.presentment_currency},
        "shop_money": {"amount": "0.0", "currency": order.currency},
    }
    return {
        "id": part.id,
        "admin_graphql_api_id": gid("OrderTransaction", part.id),
        "order_id": order.id,
        "kind": part.kind,
        "gateway": part.gateway,
        "status": part.status,
        "message": None,
        "created_at": clock.local(part.created_at, zone),
        "processed_at": clock.local(part.processed_at, zone),
        "test": order.test,
        "authorization": None,
        "location_id": None,
        "user_id": None,
        "parent_id": part.parent_id,
        "device_id": None,
        "error_code": part.error_code,
        "source_name": order.source_name,
        "receipt": {},
        "currency_exchange_adjustment": None,
        "amount": rest_amount(part.amount.presentment, order.presentment_currency),
        "currency": order.presentment_currency,
        "payment_id": f"{order.name}.{part.id % 100}",
        "total_unsettled_set": unsettled,
        "manual_payment_gateway": False,
        "amount_rounding": None,
    }
