"""An order's totals, computed from its parts as Shopify does (after edits, returns and refunds).

``current_*`` follows lines, not money: it falls by the subtotal and tax of refunded or removed units and by refunded
shipping. ``total`` stays but for lines that an edit added. What was paid back shows in ``refunded`` alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from .money import Money, zero
from .records import Line, Order, ShippingLine

#: Kinds of transactions that bring money in, and that take it back.
RECEIVED, REFUNDED = frozenset({"sale", "capture"}), frozenset({"refund"})


@dataclass(slots=True)
class Totals:
    """Every sum of one order; the shop's and the buyer's money side by side."""

    line_items: Money
    discounts: Money
    subtotal: Money
    tax: Money
    shipping: Money
    total: Money
    original_total: Money
    current_subtotal: Money
    current_discounts: Money
    current_tax: Money
    current_shipping: Money
    current_total: Money
    received: Money
    refunded: Money
    refunded_shipping: Money
    net_payment: Money
    discrepancy: Money
    outstanding: Money


def total_of(amounts: Iterable[Money], currencies: str) -> Money:
    shop = presentment = 0
    for amount in amounts:
        shop += amount.shop
        presentment += amount.presentment
    return Money(shop, presentment, currencies)


def line_discount(line: Line | ShippingLine) -> Money:
    return total_of((part.amount for part in line.allocations), line.price.currencies)


def line_tax(line: Line | ShippingLine) -> Money:
    return total_of((part.amount for part in line.tax_lines), line.price.currencies)


def line_subtotal(line: Line) -> Money:
    """After all discounts, without tax."""
    return line.price.times(line.quantity).minus(line_discount(line))


def shipping_price(line: ShippingLine) -> Money:
    """After discounts, without tax."""
    return line.price.minus(line_discount(line)) if line.allocations else line.price


def totals(order: Order) -> Totals:
    """The order's sums, worked out once."""
    if order.totals is None:
        order.totals = _totals(order)
    return order.totals  # type: ignore[no-any-return]


def _totals(order: Order) -> Totals:
    pair = order.currencies
    lines, shipping_lines = order.lines, order.shipping_lines
    taxed = [*(line.tax_lines for line in lines), *(line.tax_lines for line in shipping_lines)]
    line_items = total_of((line.price.times(line.quantity) for line in lines), pair)
    tax = total_of((part.amount for tax_lines in taxed for part in tax_lines), pair)
    shipping = total_of((shipping_price(line) for line in shipping_lines), pair)
    line_discounts = total_of((part.amount for line in lines for part in line.allocations), pair)
    discounts = line_discounts
    if any(line.allocations for line in shipping_lines):
        discounts = discounts.plus(
            total_of((part.amount for line in shipping_lines for part in line.allocations), pair)
        )
    subtotal = line_items.minus(line_discounts)
    total = subtotal.plus(shipping) if order.taxes_included else subtotal.plus(shipping).plus(tax)
    refunded_shipping = discrepancy = zero(pair)
    current_subtotal, current_discounts, current_shipping = subtotal, discounts, shipping
    current_tax, current_total = tax, total
    if order.refunds or order.edited or order.cancelled_at:
        removed = total_of((line.removed_subtotal for line in lines), pair)
        removed_tax = total_of((line.removed_tax for line in lines), pair)
        removed_discounts = total_of((line.removed_discount for line in lines), pair)
        refunded_shipping = total_of((line.refunded for line in shipping_lines), pair)
        removed_tax = removed_tax.plus(total_of((line.refunded_tax for line in shipping_lines), pair))
        current_tax = tax.minus(removed_tax)
        current_total = total.minus(removed).minus(refunded_shipping)
        if not order.taxes_included:
            current_total = current_total.minus(removed_tax)
        current_subtotal = subtotal.minus(removed)
        current_discounts = discounts.minus(removed_discounts)
        current_shipping = shipping.minus(refunded_shipping)
        adjusted = (part for refund in order.refunds for part in refund.adjustments)
        discrepancy = total_of((amount for part in adjusted for amount in (part.amount, part.tax)), pair)
    received = _moved(order, RECEIVED)
    refunded = _moved(order, REFUNDED)
    net_payment = received.minus(refunded)
    return Totals(
        line_items=line_items,
        discounts=discounts,
        subtotal=subtotal,
        tax=tax,
        shipping=shipping,
        total=total,
        original_total=order.original_total or total,
        current_subtotal=current_subtotal,
        current_discounts=current_discounts,
        current_tax=current_tax,
        current_shipping=current_shipping,
        current_total=current_total,
        received=received,
        refunded=refunded,
        refunded_shipping=refunded_shipping,
        net_payment=net_payment,
        discrepancy=discrepancy,
        outstanding=zero(pair) if order.cancelled_at else current_total.minus(net_payment).plus(discrepancy),
    )


def _moved(order: Order, kinds: frozenset[str]) -> Money:
    return total_of(
        (part.amount for part in order.transactions if part.status == "success" and part.kind in kinds),
        order.currencies,
    )


def financial_status(order: Order) -> str:
    """REST's words: pending, authorized, partially_paid, paid, partially_refunded, refunded, voided."""
    sums = totals(order)
    if sums.received.shop > 0:
        if sums.refunded.shop >= sums.received.shop:
            return "refunded"
        if sums.refunded.shop > 0:
            return "partially_refunded"
        return "partially_paid" if sums.outstanding.shop > 0 else "paid"
    if sums.current_total.shop == 0 and not order.cancelled_at and sums.total.shop == 0:
        return "paid"
    kinds = {part.kind for part in order.transactions if part.status == "success"}
    if order.cancelled_at or "void" in kinds:
        return "voided"
    return "authorized" if "authorization" in kinds else "pending"


def counts(order: Order) -> bool:
    """An order counts unless it is test or cancelled (deleted ones are gone)."""
    return not order.test and order.cancelled_at is None
