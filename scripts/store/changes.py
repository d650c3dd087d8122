"""What happens to an order: placed, paid, fulfilled, edited, refunded, cancelled.

Each function changes the order that it is given (a fresh one, or a copy of the stored one) and leaves its sums right; the
arithmetic is Shopify's (arithmetic.py). Instants are microseconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .arithmetic import line_subtotal, line_tax, shipping_price, totals
from .identity import sibling
from .money import Money, rounded, zero
from .records import (
    Adjustment,
    Allocation,
    DiscountApplication,
    Fulfillment,
    Line,
    Order,
    Product,
    Refund,
    RefundLine,
    RefundShipping,
    ShippingLine,
    TaxLine,
    Transaction,
    Variant,
)


class ChangeRefused(ValueError):
    """The order does not allow it."""


@dataclass(frozen=True)
class Item:
    """What a buyer takes. ``price`` is in minor units of the shop's currency, the variant's own if None."""

    product: Product
    variant: Variant
    quantity: int
    price: int | None = None


@dataclass(frozen=True)
class Terms:
    """How an order is counted. ``rate`` is presentment money per shop money in millionths."""

    currencies: str
    rate: int = 1_000_000
    tax_permille: int = 0
    shipping: int | None = None
    discount_percent: int = 0
    discount_code: str = "TEN"

    def money(self, minor: int) -> Money:
        return Money(minor, rounded(minor * self.rate, 1_000_000), self.currencies)


def place(
    order_id: int,
    *,
    number: int,
    at: int,
    items: Sequence[Item],
    terms: Terms,
    customer_id: int | None = None,
    email: str | None = None,
    is_test: bool = False,
) -> Order:
    """A new order, not yet paid."""
    order = Order(
        id=order_id,
        number=number,
        email=email,
        phone=None,
        customer_id=customer_id,
        currencies=terms.currencies,
        created_at=at + 2_000_000,
        processed_at=at,
        updated_at=at + 2_000_000,
        lines=[],
        test=is_test,
        gateway="bogus" if is_test else "shopify_payments",
    )
    if terms.discount_percent:
        order.discounts = [
            DiscountApplication("discount_code", terms.discount_code, f"{terms.discount_percent}.0", "percentage")
        ]
    for item in items:
        _add_line(order, item, terms)
    if terms.shipping is not None:
        price = terms.money(terms.shipping)
        taxes = _taxes(price, terms)
        nothing = zero(terms.currencies)
        order.shipping_lines = [
            ShippingLine(_part(order, "ShippingLine"), "Standard", price, nothing, nothing, tax_lines=taxes)
        ]
    sums = totals(order)
    order.original_total = sums.total
    touch(order, order.updated_at)
    order.totals = sums  # working it out again would take longer than all the rest
    return order


def _add_line(order: Order, item: Item, terms: Terms) -> Line:
    nothing = zero(terms.currencies)
    price = terms.money(item.variant.price if item.price is None else item.price)
    gross = price.times(item.quantity)
    allocations = [Allocation(0, gross.share(terms.discount_percent, 100))] if terms.discount_percent else []
    net = gross.minus(allocations[0].amount) if allocations else gross
    is_only = item.variant.title == "Default Title"
    line = Line(
        id=_part(order, "LineItem"),
        product_id=item.product.id,
        variant_id=item.variant.id,
        title=item.product.title,
        variant_title=None if is_only else item.variant.title,
        sku=item.variant.sku,
        vendor=item.product.vendor,
        quantity=item.quantity,
        current_quantity=item.quantity,
        price=price,
        removed_subtotal=nothing,
        removed_tax=nothing,
        removed_discount=nothing,
        allocations=allocations,
        tax_lines=_taxes(net, terms),
    )
    order.lines.append(line)
    order.totals = None
    return line


def _taxes(amount: Money, terms: Terms) -> list[TaxLine]:
    if not terms.tax_permille:
        return []
    return [TaxLine("Tax", terms.tax_permille / 1000, amount.share(terms.tax_permille, 1000))]


def _part(order: Order, kind: str) -> int:
    order.parts += 1
    return sibling(kind, order.id, order.parts - 1)


def touch(order: Order, at: int) -> None:
    """A change happened; updatedAt always moves on, by a microsecond at least."""
    order.totals = None
    order.updated_at = max(at, order.updated_at + 1)


def _transact(order: Order, kind: str, amount: Money, at: int, parent: int | None = None) -> Transaction:
    number = _part(order, "OrderTransaction")
    transaction = Transaction(number, kind, "success", order.gateway, amount, at, at, parent)
    order.transactions.append(transaction)
    order.totals = None
    return transaction


def authorize(order: Order, at: int) -> None:
    _transact(order, "authorization", totals(order).outstanding, at)
    touch(order, at)


def pay(order: Order, at: int) -> None:
    """The buyer pays what is outstanding. Raises ChangeRefused when nothing is."""
    due = totals(order).outstanding
    if due.shop <= 0 or order.cancelled_at:
        raise ChangeRefused("nothing to pay")
    authorized = next((part for part in order.transactions if part.kind == "authorization"), None)
    _transact(order, "capture" if authorized else "sale", due, at, authorized.id if authorized else None)
    touch(order, at)


def fulfill(order: Order, at: int, *, is_partial: bool = False) -> None:
    """Ship what is left, or one line of it. Raises ChangeRefused when nothing is."""
    if order.cancelled_at:
        raise ChangeRefused("the order is cancelled")
    waiting = [line for line in order.lines if line.current_quantity > line.fulfilled]
    if not waiting:
        raise ChangeRefused("nothing to fulfill")
    shipped = {
        str(line.id): line.current_quantity - line.fulfilled for line in (waiting[:1] if is_partial else waiting)
    }
    for line in waiting:
        line.fulfilled += shipped.get(str(line.id), 0)
    order.fulfillments.append(Fulfillment(_part(order, "Fulfillment"), at, shipped))
    is_done = all(line.fulfilled >= line.current_quantity for line in order.lines)
    order.fulfillment_status = "fulfilled" if is_done else "partial"
    sums = order.totals
    touch(order, at)
    order.totals = sums  # what is shipped moves no money


def _take_off(line: Line, count: int) -> tuple[Money, Money, Money]:
    """Remove units; returns their subtotal, tax and discount. The last units take what rounding left."""
    if not 0 < count <= line.current_quantity:
        raise ChangeRefused("Quantity cannot refund more items than were purchased")
    subtotal = line_subtotal(line).minus(line.removed_subtotal).share(count, line.current_quantity)
    tax = line_tax(line).minus(line.removed_tax).share(count, line.current_quantity)
    gross = line.price.times(count)
    line.current_quantity -= count
    line.removed_subtotal = line.removed_subtotal.plus(subtotal)
    line.removed_tax = line.removed_tax.plus(tax)
    line.removed_discount = line.removed_discount.plus(gross.minus(subtotal))
    return subtotal, tax, gross


def refund(
    order: Order,
    at: int,
    *,
    units: Mapping[int, int] | None = None,
    shipping: Money | None = None,
    paid: Money | None = None,
    note: str | None = None,
    restock_type: str | None = None,
    is_pending: bool = False,
) -> Refund:
    """Take back units (by line id) and shipping, and pay for them; ``paid`` says how much if not just their worth.

    No units and ``paid`` is an amount-only refund; ``is_pending``: the money does not arrive before ``settle``. Raises
    ChangeRefused when more than the net payment would go out.
    """
    record = Refund(_part(order, "Refund"), at, at, note)
    lines = {line.id: line for line in order.lines}
    worth = zero(order.currencies)
    for number, count in (units or {}).items():
        line = lines[number]
        kind = restock_type or ("return" if line.fulfilled else "cancel")
        subtotal, tax, _ = _take_off(line, count)
        record.lines.append(RefundLine(_part(order, "RefundLineItem"), number, count, kind, subtotal, tax))
        worth = worth.plus(subtotal).plus(tax)
    if shipping is not None and shipping.shop:
        worth = worth.plus(_refund_shipping(order, record, shipping))
    order.totals = None
    paid = worth if paid is None else paid
    received = totals(order).net_payment
    if paid.shop > received.shop:
        raise ChangeRefused("Refund amount is greater than net payment received")
    difference = worth.minus(paid)
    if difference.shop or difference.presentment:
        number = _part(order, "OrderAdjustment")
        record.adjustments.append(Adjustment(number, "refund_discrepancy", difference, zero(order.currencies)))
    if paid.shop:
        sale = next((part for part in order.transactions if part.kind in {"sale", "capture"}), None)
        transaction = _transact(order, "refund", paid, at, sale.id if sale else None)
        record.transaction_ids.append(transaction.id)
        if is_pending:
            transaction.status, transaction.processed_at = "pending", None
            foretold = Adjustment(_part(order, "OrderAdjustment"), "refund_discrepancy", paid, zero(order.currencies))
            record.adjustments.append(foretold)
    order.refunds.append(record)
    touch(order, at)
    return record


def settle(order: Order, at: int) -> Refund:
    """The money of a pending refund arrives: what foretold it is taken back. Raises ChangeRefused when none is pending."""
    for record in order.refunds:
        pending = [
            part for part in order.transactions if part.id in record.transaction_ids and part.status == "pending"
        ]
        for part in pending:
            part.status, part.processed_at = "success", at
            number = _part(order, "OrderAdjustment")
            taken_back = Adjustment(number, "pending_refund_discrepancy", part.amount.negative, zero(order.currencies))
            record.adjustments.append(taken_back)
        if pending:
            touch(order, at)
            return record
    raise ChangeRefused("no refund is pending")


def _refund_shipping(order: Order, record: Refund, amount: Money) -> Money:
    line = order.shipping_lines[0]
    left = shipping_price(line).minus(line.refunded)
    if amount.shop > left.shop:
        raise ChangeRefused("Shipping cannot be refunded beyond what was paid")
    tax = line_tax(line).minus(line.refunded_tax).share(amount.shop, left.shop)
    line.refunded = line.refunded.plus(amount)
    line.refunded_tax = line.refunded_tax.plus(tax)
    record.shipping.append(RefundShipping(_part(order, "RefundShippingLine"), line.id, amount, tax))
    return amount.plus(tax)


def refund_all(order: Order, at: int, *, note: str | None = None) -> Refund:
    """Everything that is left, as far as it was paid."""
    units = {line.id: line.current_quantity for line in order.lines if line.current_quantity}
    sums = totals(order)
    paid = sums.net_payment if sums.net_payment.shop < sums.current_total.shop else sums.current_total
    return refund(order, at, units=units, shipping=sums.current_shipping, paid=paid, note=note)


def cancel(order: Order, at: int, *, reason: str = "customer") -> Refund | None:
    """Cancel with everything refunded. Raises ChangeRefused when it is cancelled already."""
    if order.cancelled_at:
        raise ChangeRefused("the order is cancelled already")
    record = None
    if totals(order).current_total.shop or any(line.current_quantity for line in order.lines):
        record = refund_all(order, at)
        if not totals(order).received.shop:
            record.adjustments.clear()  # nothing was paid, so nothing was withheld
    for part in [part for part in order.transactions if part.kind == "authorization"]:
        if not any(other.parent_id == part.id for other in order.transactions):
            _transact(order, "void", part.amount, at, part.id)
    order.cancelled_at, order.cancel_reason, order.closed_at = at, reason, at
    touch(order, at)
    return record


def remove_by_edit(order: Order, at: int, *, line_id: int, count: int) -> Refund:
    """An edit takes units off: a record in refunds with lines and no transaction."""
    line = next(line for line in order.lines if line.id == line_id)
    subtotal, tax, _ = _take_off(line, count)
    record = Refund(_part(order, "Refund"), at, at, None)
    record.lines.append(RefundLine(_part(order, "RefundLineItem"), line_id, count, "no_restock", subtotal, tax))
    order.refunds.append(record)
    order.edited = True
    touch(order, at)
    return record


def add_by_edit(order: Order, at: int, *, item: Item, terms: Terms) -> Line:
    """An edit adds a line: the total price rises."""
    line = _add_line(order, item, terms)
    order.edited = True
    if order.fulfillment_status == "fulfilled":
        order.fulfillment_status = "partial"
    touch(order, at)
    return line
