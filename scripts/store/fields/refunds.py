"""Refund with its lines, shipping, adjustments; OrderTransaction."""

# ruff: noqa: ARG005 - every field is called alike, whether it needs the run or not

from typing import Any

from scripts.store.arithmetic import total_of
from scripts.store.identity import sibling
from scripts.store.money import Money
from scripts.store.paging import list_slice
from scripts.store.records import Adjustment, Order, Refund, RefundLine, RefundShipping, Transaction
from scripts.store.run import Run

from .reference import Reference

REASONS = {"refund_discrepancy": "REFUND_DISCREPANCY", "pending_refund_discrepancy": "PENDING_REFUND_DISCREPANCY"}


def order_of(part: Any, run: Run) -> Order | None:
    """The order that a part belongs to: its id says so."""
    return run.shop.orders.get(sibling("Order", part.id))


def refund_transactions(refund: Refund, run: Run) -> list[Transaction]:
    order = order_of(refund, run)
    return [part for part in order.transactions if part.id in refund.transaction_ids] if order else []


def refunded_total(refund: Refund, run: Run) -> Money:
    order = order_of(refund, run)
    paid = (part.amount for part in refund_transactions(refund, run) if part.status == "success")
    return total_of(paid, order.currencies if order else "USD/USD")


def line_item(part: RefundLine, run: Run) -> Any:
    order = order_of(part, run)
    return order and next(line for line in order.lines if line.id == part.line_id)


def unit_price(part: RefundLine, run: Run) -> Any:
    line = line_item(part, run)
    return line and line.price


def shipping_line(part: RefundShipping, run: Run) -> Any:
    order = order_of(part, run)
    return order and next(line for line in order.shipping_lines if line.id == part.shipping_line_id)


def parent(part: Transaction, run: Run) -> Transaction | None:
    order = order_of(part, run) if part.parent_id else None
    return next((other for other in order.transactions if other.id == part.parent_id), None) if order else None


def is_test(part: Transaction, run: Run) -> bool:
    order = order_of(part, run)
    return bool(order and order.test)


PLAIN = {
    "Refund": {
        "id": "f'gid://shopify/Refund/{o.id}'",
        "legacyResourceId": "str(o.id)",
        "createdAt": "utc(o.created_at)",
        "processedAt": "utc(o.processed_at)",
        "updatedAt": "utc(o.created_at)",
        "note": "o.note",
        "return": "None",
        "duties": "()",
    },
    "RefundLineItem": {
        "id": "f'gid://shopify/RefundLineItem/{o.id}'",
        "quantity": "o.quantity",
        "restockType": "o.restock_type.upper()",
        "restocked": "o.restock_type != 'no_restock'",
        "subtotalSet": "o.subtotal",
        "totalTaxSet": "o.tax",
        "location": "None",
    },
    "RefundShippingLine": {
        "id": "f'gid://shopify/RefundShippingLine/{o.id}'",
        "subtotalAmountSet": "o.subtotal",
        "taxAmountSet": "o.tax",
    },
    "OrderAdjustment": {
        "id": "f'gid://shopify/OrderAdjustment/{o.id}'",
        "reason": "o.reason.upper()",
        "amountSet": "o.amount",
        "taxAmountSet": "o.tax",
    },
    "OrderTransaction": {
        "id": "f'gid://shopify/OrderTransaction/{o.id}'",
        "kind": "o.kind.upper()",
        "status": "o.status.upper()",
        "gateway": "o.gateway",
        "formattedGateway": "o.gateway.replace('_', ' ').title()",
        "createdAt": "utc(o.created_at)",
        "processedAt": "utc(o.processed_at)",
        "amountSet": "o.amount",
        "errorCode": "o.error_code",
        "paymentId": "f'{o.id}'",
    },
    "RefundDuty": {"amountSet": "None", "originalDuty": "None"},
    "Return": {"id": "None", "name": "None"},
}

CALLS: dict[str, dict[str, Any]] = {
    "Refund": {
        "totalRefundedSet": refunded_total,
        "order": order_of,
        "refundLineItems": lambda o, r, arguments: list_slice(o.lines, arguments),
        "refundShippingLines": lambda o, r, arguments: list_slice(o.shipping, arguments),
        "orderAdjustments": lambda o, r, arguments: list_slice(o.adjustments, arguments),
        "transactions": lambda o, r, arguments: list_slice(refund_transactions(o, r), arguments),
    },
    "RefundLineItem": {"priceSet": unit_price},
    "OrderTransaction": {"order": order_of, "test": is_test},
}

REFERENCES = {
    ("RefundLineItem", "lineItem"): Reference("o.line_id", lambda r, number: True, line_item),
    ("RefundShippingLine", "shippingLine"): Reference("o.shipping_line_id", lambda r, number: True, shipping_line),
    ("OrderTransaction", "parentTransaction"): Reference("o.parent_id", lambda r, number: number is not None, parent),
}

TYPES = {
    Refund: "Refund",
    Transaction: "OrderTransaction",
    RefundShipping: "RefundShippingLine",
    Adjustment: "OrderAdjustment",
}
