"""A shop's sales by the day: what counts, on which day, and with which sign."""

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from models import orders, refetches, sales_report, tenants, versions
from models.database import transaction
from models.sales_report import Sales
from tests.models.rows import NEW_YEAR, Version

D = Decimal


@pytest.fixture
def ask(tenant):
    def report(first=None, last=None):
        with transaction() as session:
            ours = tenants.get(session, tenant.id)
            known_first, known_last = sales_report.span(session, ours)
            return sales_report.report(session, ours, first=first or known_first, last=last or known_last)

    return report


@pytest.fixture(autouse=True)
def _dollars(tenant):
    with tenants.write(tenant.id) as write:
        write.tenant.currency = "USD"


def line(number=1, price="10.00", **columns):
    usual = {"quantity": 1, "price": D(price), "allocated_discount": D(0), "total_tax": D(0), "gift_card": False}
    return {"shopify_id": number} | usual | columns


def shipping_line(number=1, price="5.00", **columns):
    usual = {"discounted_price": D(price), "current_discounted_price": D(price), "total_tax": D(0), "is_removed": False}
    return {"shopify_id": number} | usual | columns


def refund(number=1, *, day=1, **columns):
    money = dict.fromkeys(("shipping", "shipping_tax", "duties", "discrepancy", "discrepancy_tax"), D(0))
    return {"shopify_id": number, "processed_at": NEW_YEAR + timedelta(days=day)} | money | columns


def taken_back(number=1, subtotal="10.00", tax="0.00", *, refund=1, line=1):
    return {
        "shopify_id": number,
        "refund_shopify_id": refund,
        "line_item_shopify_id": line,
        "quantity": 1,
        "subtotal": D(subtotal),
        "total_tax": D(tax),
    }


def order(number=1, *, day=0, lines=None, shipping=(), refunds=(), returned=(), **columns):
    usual = {
        "currency": "USD",
        "current_total_price": D(0),
        "processed_at": NEW_YEAR + timedelta(days=day),
        "created_at": NEW_YEAR,
        "test": False,
        "cancelled_at": None,
        "taxes_included": False,
        "total_tax": D(0),
    }
    children = {
        "line_items": [line(number)] if lines is None else lines,
        "shipping_lines": list(shipping),
        "refunds": list(refunds),
        "refund_line_items": list(returned),
    }
    return Version(number, NEW_YEAR, usual | columns, children)


def test_every_day_of_the_range_is_there_and_adds_up(ask, write_webhook):
    back = order(2, day=3, refunds=[refund(day=5)], returned=[taken_back(line=2)])
    write_webhook(order(1, shipping=[shipping_line()], total_tax=D("1.50")), back, at=1)
    report = ask()
    assert [day.date.day for day in report.days] == [1, 2, 3, 4, 5, 6]
    assert report.days[0].sales == Sales(gross=D(10), shipping=D(5), taxes=D("1.50"))
    assert report.days[1].sales == Sales()
    assert (report.days[3].sales.total, report.days[5].sales.returns) == (D(10), D(-10))
    assert report.totals == Sales(gross=D(20), returns=D(-10), shipping=D(5), taxes=D("1.50"))
    assert (report.totals.net, report.totals.total) == (D(10), D("16.50"))
    part = ask(first=date(2026, 1, 2), last=date(2026, 1, 4))
    assert ([day.date.day for day in part.days], part.totals) == ([2, 3, 4], Sales(gross=D(10)))


def test_a_cancelled_or_unpaid_order_counts_and_a_test_or_deleted_one_never(ask, tenant, write_webhook):
    write_webhook(
        order(1, cancelled_at=NEW_YEAR, financial_status="voided"),
        order(2, test=True, lines=[line(2)], refunds=[refund(2)], returned=[taken_back(2, refund=2, line=2)]),
        order(3, lines=[line(3)], refunds=[refund(3)], returned=[taken_back(3, refund=3, line=3)]),
        at=1,
    )
    assert ask().totals == Sales(gross=D(20), returns=D(-10))
    with tenants.write(tenant.id) as write:
        assert versions.bury(write, orders.TABLE, 3, triggered_at=NEW_YEAR)
    assert ask().totals == Sales(gross=D(10))


def test_currencies_are_never_added(ask, write_webhook):
    foreign = order(2, currency="EUR", refunds=[refund(day=0)], returned=[taken_back(line=2)])
    write_webhook(order(1), foreign, at=1)
    assert ask().totals == Sales(gross=D(10))


def test_discounts_are_the_allocated_ones_of_the_whole_quantity(ask, write_webhook):
    discounted = line(1, "10.00", quantity=3, current_quantity=1, total_discount=D(0), allocated_discount=D("3.30"))
    alone = line(2, "1.00", allocated_discount=None, total_discount=D("0.25"))
    write_webhook(order(1, lines=[discounted, alone]), at=1)
    assert ask().totals == Sales(gross=D(31), discounts=D("-3.55"))


def test_what_is_withheld_lowers_a_return_and_what_goes_out_beyond_it_raises_it(ask, write_webhook):
    fee = refund(1, day=0, discrepancy=D(3), discrepancy_tax=D("0.30"))
    goodwill = refund(2, day=1, discrepancy=D(-7))
    write_webhook(order(1, lines=[], refunds=[fee, goodwill], returned=[taken_back(1, "10.00", "1.00")]), at=1)
    first, second = (day.sales for day in ask().days)
    assert first == Sales(returns=D(-7), taxes=D("-0.70"))
    assert second == Sales(returns=D(-7))


def test_refunded_shipping_and_duties_come_off_on_the_refunds_day(ask, write_webhook):
    back = refund(1, shipping=D(4), shipping_tax=D("0.40"), duties=D(2))
    kept = shipping_line(current_discounted_price=D(1))
    write_webhook(order(1, lines=[], shipping=[kept], refunds=[back], original_total_duties=D(6)), at=1)
    first, second = (day.sales for day in ask().days)
    assert first == Sales(shipping=D(5), duties=D(6))
    assert second == Sales(shipping=D(-4), taxes=D("-0.40"), duties=D(-2))


@pytest.mark.parametrize(("refunded", "sold"), [("0", "5.00"), ("3.00", "8.00"), ("9.00", "12.00")])
def test_a_removed_shipping_line_counts_as_far_as_refunds_take_it_back(ask, write_webhook, refunded, sold):
    lines = [shipping_line(1), shipping_line(2, "7.00", is_removed=True, current_discounted_price=D(0))]
    write_webhook(order(1, lines=[], shipping=lines, refunds=[refund(1, shipping=D(refunded))]), at=1)
    assert ask().days[0].sales == Sales(shipping=D(sold))


def test_shipping_taken_back_of_a_line_that_is_left_is_no_removed_ones(ask, write_webhook):
    left = shipping_line(1, current_discounted_price=D(2))
    gone = shipping_line(2, "7.00", is_removed=True, current_discounted_price=D(0))
    write_webhook(order(1, lines=[], shipping=[left, gone], refunds=[refund(1, shipping=D(3))]), at=1)
    assert ask().days[0].sales == Sales(shipping=D(5))


def test_gift_cards_are_money_owed_and_no_sale(ask, write_webhook):
    lines = [line(1, "50.00", gift_card=True), line(2, "10.00"), line(3, "1.00", gift_card=None)]
    returned = [taken_back(1, "50.00", line=1), taken_back(2, "10.00", line=2)]
    write_webhook(order(1, lines=lines, refunds=[refund(1)], returned=returned), at=1)
    assert ask().totals == Sales(gross=D(11), returns=D(-10))


def test_taxes_included_in_prices_are_taken_out_of_them(ask, write_webhook):
    # 110.00 less 11.00, of which 9.00 are tax, and shipping 11.00 with 1.00: 110.00 in all
    bought = line(1, "110.00", allocated_discount=D(11), total_tax=D(9))
    sent = shipping_line(1, "11.00", total_tax=D(1))
    back = refund(1, shipping=D(11), shipping_tax=D(1))
    inclusive = order(
        1,
        taxes_included=True,
        total_tax=D(10),
        lines=[bought],
        shipping=[sent],
        refunds=[back],
        returned=[taken_back(1, "99.00", "9.00")],
    )
    write_webhook(inclusive, at=1)
    first, second = (day.sales for day in ask().days)
    assert first == Sales(gross=D(101), discounts=D(-11), shipping=D(10), taxes=D(10))
    assert (first.net, first.total) == (D(90), D(110))
    assert second == Sales(returns=D(-90), shipping=D(-10), taxes=D(-10))


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_a_refund_is_of_the_shops_own_day(ask, tenant, write_webhook, zone):
    with tenants.write(tenant.id) as write:
        write.tenant.timezone = zone
    midnight = datetime(2026, 1, 10, tzinfo=ZoneInfo(zone)).astimezone(UTC)
    refunds = [
        refund(number, processed_at=midnight + timedelta(seconds=second)) for number, second in ((1, -1), (2, 0))
    ]
    returned = [taken_back(1, "1.00", refund=1), taken_back(2, "2.00", refund=2)]
    write_webhook(order(1, lines=[], refunds=refunds, returned=returned), at=1)
    assert {day.date.day: day.sales.returns for day in ask().days if day.sales.returns} == {9: D(-1), 10: D(-2)}
    assert ask(first=date(2026, 1, 9), last=date(2026, 1, 9)).totals.returns == D(-1)
    assert ask(first=date(2026, 1, 10), last=date(2026, 1, 10)).totals.returns == D(-2)


def test_a_refund_line_of_a_line_that_nobody_knows_is_a_return(ask, write_webhook):
    write_webhook(order(1, lines=[], refunds=[refund(1)], returned=[taken_back(1, line=None)]), at=1)
    assert ask().totals == Sales(returns=D(-10))


def test_nothing_known_is_nothing_claimed(ask):
    assert (ask().days, ask().totals) == ([], Sales())


def test_what_should_have_been_fetched_by_now_may_be_missing(ask, tenant, monkeypatch):
    with tenants.write(tenant.id) as write:
        refetches.mark(write, "orders", [1], "its refunds are told without their lines")
        refetches.mark(write, "products", [1], "more variants than were read")
        refetches.mark_for_later(write, "orders", 2, due_at=NEW_YEAR)
    assert "fetched" not in ask().coverage.reason  # it was told of just now
    monkeypatch.setattr(refetches, "OVERDUE_AFTER", timedelta(0))
    assert ask().coverage.reason.endswith("; orders: 1 is still to be fetched")
    assert not ask().coverage.is_complete


def test_the_range_leads_to_what_is_read(tenant, write_webhook):
    def of(number):
        back = {"refunds": [refund(number, day=number)], "returned": [taken_back(number, refund=number, line=number)]}
        return order(number, day=number, lines=[line(number)], shipping=[shipping_line(number)], **back)

    write_webhook(*map(of, range(1, 1000)), at=1)
    with transaction() as session:
        session.connection().exec_driver_sql("analyze orders, line_items, shipping_lines, refunds, refund_line_items")
        values = {"tenant_id": tenant.id, "timezone": "UTC", "currency": "USD"}
        days = {"first": date(2026, 2, 1), "last": date(2026, 2, 2)}
        explained = text(f"explain (format json) {sales_report._REPORT}")
        plan = json.dumps(session.execute(explained, values | days).scalar_one())
    assert {"orders_day", "refunds_processed"} <= set(re.findall(r'"Index Name": "(\w+)"', plan))
    assert "Seq Scan" not in plan
