"""The ledger of an order: one agreement for the order, each edit and each refund, with dated, signed sales rows."""

# ruff: noqa: ARG001, ARG005 - every field is called alike, whether it needs the run or not

from dataclasses import dataclass
from typing import Any

from scripts.store.arithmetic import line_discount, line_subtotal, line_tax, shipping_price
from scripts.store.identity import sibling
from scripts.store.money import Money, zero
from scripts.store.paging import Slice, list_slice
from scripts.store.records import Order, Refund
from scripts.store.run import Run


@dataclass(frozen=True, slots=True)
class Sale:
    """``total`` includes the tax; returns are negative."""

    id: int
    action: str
    kind: str
    quantity: int | None
    total: Money
    tax: Money
    discount: Money


@dataclass(frozen=True, slots=True)
class Agreement:
    id: int
    at: int
    reason: str  # ORDER, ORDER_EDIT, REFUND
    sales: list[Sale]
    source: Order | Refund

    @property
    def typename(self) -> str:
        return {"ORDER": "OrderAgreement", "ORDER_EDIT": "OrderEditAgreement"}.get(self.reason, "RefundAgreement")


def agreements(order: Order, run: Run, arguments: dict[str, Any]) -> Slice:
    """Lines that an edit added stand under that edit, which its record in ``added_at`` dates."""
    first = sibling("SalesAgreement", order.id)
    found = [Agreement(first, order.processed_at, "ORDER", _placed(order, first), order)]
    found += [
        Agreement(first + place, refund.processed_at, _reason(refund), _returned(refund, first + place * 100), refund)
        for place, refund in enumerate(order.refunds, start=1)
    ]
    return list_slice(found, arguments)


def _reason(refund: Refund) -> str:
    return "REFUND" if refund.transaction_ids or refund.adjustments else "ORDER_EDIT"


def _placed(order: Order, first: int) -> list[Sale]:
    sales = [
        Sale(
            first + place,
            "ORDER",
            "GIFT_CARD" if line.gift_card else "PRODUCT",
            line.quantity,
            line_subtotal(line).plus(line_tax(line)),
            line_tax(line),
            line_discount(line).negative,
        )
        for place, line in enumerate(order.lines)
    ]
    for line in order.shipping_lines:
        total = shipping_price(line).plus(line_tax(line))
        sales.append(Sale(first + len(sales), "ORDER", "SHIPPING", None, total, line_tax(line), zero(order.currencies)))
    return sales


def _returned(refund: Refund, first: int) -> list[Sale]:
    rows: list[tuple[str, int | None, Money, Money]] = [
        *(("PRODUCT", -part.quantity, part.subtotal, part.tax) for part in refund.lines),
        *(("SHIPPING", None, part.subtotal, part.tax) for part in refund.shipping),
        *(
            ("ADJUSTMENT", None, part.amount.negative, part.tax.negative)
            for part in refund.adjustments
            if not part.reason.startswith("pending")
        ),
    ]
    return [
        Sale(first + place, "RETURN", kind, quantity, amount.plus(tax).negative, tax.negative, zero(amount.currencies))
        for place, (kind, quantity, amount, tax) in enumerate(rows)
    ]


_AGREEMENT = {"id": "f'gid://shopify/{o.typename}/{o.id}'", "happenedAt": "utc(o.at)", "reason": "o.reason"}
PLAIN = {
    "OrderAgreement": {**_AGREEMENT, "order": "o.source"},
    "OrderEditAgreement": _AGREEMENT,
    "RefundAgreement": {**_AGREEMENT, "refund": "o.source"},
    "Sale": {
        "id": "f'gid://shopify/ProductSale/{o.id}'",
        "actionType": "o.action",
        "lineType": "o.kind",
        "quantity": "o.quantity",
        "totalAmount": "o.total",
        "totalTaxAmount": "o.tax",
        "totalDiscountAmountBeforeTaxes": "o.discount",
        "totalDiscountAmountAfterTaxes": "o.discount",
    },
}
CALLS: dict[str, dict[str, Any]] = {
    "Order": {"agreements": agreements},
    **{
        kind: {"sales": lambda o, r, arguments: list_slice(o.sales, arguments)}
        for kind in ("OrderAgreement", "OrderEditAgreement", "RefundAgreement")
    },
}
