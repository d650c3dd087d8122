"""The sums of orders, by the worked example that Shopify's shapes give and over everything a generated shop holds."""

from typing import Any

import pytest

from scripts.store import changes
from scripts.store.arithmetic import financial_status, line_subtotal, totals
from scripts.store.changes import ChangeRefused, Item, Terms
from scripts.store.identity import make_id
from scripts.store.money import Money, graphql_amount, minor_units, rest_amount
from scripts.store.records import Order, Product, Variant
from scripts.store.shop import Shop

from .conftest import Store

DAY = 86_400_000_000
PAIR = "USD/USD"


def product(place: int, price: int) -> Product:
    number = make_id("Product", 1, place)
    variant = Variant(make_id("ProductVariant", 1, place), number, "Default Title", "S", price, None, 1, 9, 0, 0)
    return Product(number, "ABC"[place], "abc"[place], "V", "", 0, 0, 0, [variant])


def usd(text: str) -> Money:
    return Money(minor_units(text, "USD"), minor_units(text, "USD"), PAIR)


@pytest.fixture
def order() -> Order:
    """A 2 x 50, B 1 x 30, C 1 x 20, shipping 10, a tenth tax on all, code minus a tenth."""
    goods = [product(0, 5000), product(1, 3000), product(2, 2000)]
    items = [Item(item, item.variants[0], count) for item, count in zip(goods, (2, 1, 1), strict=True)]
    terms = Terms(PAIR, tax_permille=100, shipping=1000, discount_percent=10)
    return changes.place(make_id("Order", 1, 0), number=1001, at=DAY, items=items, terms=terms)


def figures(order: Order) -> tuple[str, str, str]:
    """Total, current total, net payment."""
    sums = totals(order)
    return tuple(rest_amount(money.shop, "USD") for money in (sums.total, sums.current_total, sums.net_payment))  # type: ignore[return-value]


def test_the_worked_example_comes_out_to_the_cent(order: Order):
    assert figures(order) == ("159.50", "159.50", "0.00")
    # Day 2: unpaid, an edit removes C; then the customer pays
    changes.remove_by_edit(order, 2 * DAY, line_id=order.lines[2].id, count=1)
    assert figures(order) == ("159.50", "139.70", "0.00")
    changes.pay(order, 2 * DAY)
    assert figures(order) == ("159.50", "139.70", "139.70")
    assert financial_status(order) == "paid"
    # Day 3: one A back, some shipping, a fee of 5.00 kept
    changes.refund(order, 3 * DAY, units={order.lines[0].id: 1}, shipping=usd("4.00"), paid=usd("48.90"))
    assert figures(order) == ("159.50", "85.80", "90.80")
    refund = order.refunds[-1]
    assert (refund.lines[0].subtotal, refund.lines[0].tax) == (usd("45.00"), usd("4.50"))
    assert (refund.shipping[0].subtotal, refund.shipping[0].tax) == (usd("4.00"), usd("0.40"))
    assert refund.adjustments[0].amount == usd("5.00")
    assert totals(order).discrepancy == usd("5.00")
    assert financial_status(order) == "partially_refunded"
    # Day 4: cancelled, the rest refunded; the fee stays
    changes.cancel(order, 4 * DAY)
    assert figures(order) == ("159.50", "0.00", "5.00")
    assert totals(order).original_total == usd("159.50")


def test_a_goodwill_refund_does_not_move_the_current_total(order: Order):
    changes.pay(order, DAY)
    changes.refund(order, 2 * DAY, paid=usd("7.00"))
    assert figures(order) == ("159.50", "159.50", "152.50")
    assert order.refunds[0].lines == []
    assert order.refunds[0].adjustments[0].amount == usd("-7.00")


def test_more_than_was_paid_cannot_go_out(order: Order):
    changes.pay(order, DAY)
    with pytest.raises(ChangeRefused):
        changes.refund(order, 2 * DAY, paid=usd("160.00"))
    with pytest.raises(ChangeRefused):
        changes.refund(order, 2 * DAY, units={order.lines[0].id: 3})


def test_an_added_line_raises_the_total_but_not_the_original(order: Order):
    extra = product(1, 3000)
    changes.add_by_edit(order, 2 * DAY, item=Item(extra, extra.variants[0], 1), terms=Terms(PAIR))
    assert figures(order)[:2] == ("189.50", "189.50")
    assert totals(order).original_total == usd("159.50")


def test_every_order_of_a_generated_shop_adds_up_in_both_currencies(store: Store):
    shop = store.add("large.myshopify.com", orders=800, customers=300, currency="EUR", presentment_currency="USD")
    orders = [shop.orders.get(number) for number in shop.orders.rows]
    for order in orders:
        assert order is not None
        sums = totals(order)
        for side in (0, 1):
            lines = sum(line_subtotal(line)[side] for line in order.lines)
            assert sums.subtotal[side] == lines
            assert sums.total[side] == lines + sums.tax[side] + sums.shipping[side]
            left = sum(line_subtotal(line)[side] - line.removed_subtotal[side] for line in order.lines)
            assert sums.current_total[side] == left + sums.current_tax[side] + sums.current_shipping[side]
            assert sums.current_total[side] >= 0
            assert sums.net_payment[side] >= 0
        for refund in order.refunds:
            paid = sum(part.amount.shop for part in order.transactions if part.id in refund.transaction_ids)
            worth = sum(part.subtotal.shop + part.tax.shop for part in [*refund.lines, *refund.shipping])
            withheld = sum(part.amount.shop + part.tax.shop for part in refund.adjustments)
            assert not refund.transaction_ids or paid == worth - withheld
    # And everything that can befall an order is among them
    statuses = {financial_status(order) for order in orders if order}
    assert statuses == {"paid", "pending", "authorized", "partially_refunded", "refunded", "voided"}
    assert {order.currencies for order in orders if order} == {"EUR/EUR", "EUR/USD"}
    for claim in ("test", "edited", "cancelled_at", "discounts", "tags", "note"):
        assert any(getattr(order, claim) for order in orders), claim
    assert any(order and order.customer_id is None for order in orders)


def test_a_shop_gains_customers_all_the_time_and_never_sees_the_future(shop: Shop):
    created = sorted(row.created_at for row in shop.customers.rows.values())
    assert created[0] < shop.settings.anchor - 60 * DAY
    assert created[-1] > shop.settings.anchor - 10 * DAY
    rows: list[Any] = [*shop.orders.rows.values(), *shop.customers.rows.values(), *shop.products.rows.values()]
    assert max(row.updated_at for row in rows) <= shop.settings.anchor
    first = {}
    for row in shop.orders.rows.values():
        if row.customer_id:
            first[row.customer_id] = min(row.processed_at, first.get(row.customer_id, row.processed_at))
    assert all(shop.customers.rows[number].created_at < at for number, at in first.items())


def test_graphql_trims_decimals_and_rest_keeps_the_currencys():
    assert [graphql_amount(minor, "USD") for minor in (1350, 0, -400, 1999)] == ["13.5", "0.0", "-4.0", "19.99"]
    assert [rest_amount(4500, "USD"), rest_amount(20, "VND"), rest_amount(-5, "USD")] == ["45.00", "20", "-0.05"]
