"""The merchants' questions."""

import uuid
from datetime import date, timedelta
from decimal import Decimal

import pytest

from models import analytics, customers, orders, sync_runs, tenants
from models.database import transaction
from models.sync_runs import RunStatus
from tests.models.rows import NEW_YEAR, Version


@pytest.fixture
def ask(tenant):
    def question(function, **options):
        with transaction() as session:
            return function(session, tenants.get(session, tenant.id), **options)

    return question


def test_an_order_counts_unless_it_is_test_cancelled_or_deleted_whatever_its_financial_status(
    ask, order, write_webhook
):
    write_webhook(
        order(1, price="10.10", financial_status="pending"),
        order(2, price="20.20", financial_status="voided"),
        order(3, test=True),
        order(4, cancelled_at=NEW_YEAR),
        at=1,
    )
    stats = ask(analytics.stats)
    assert (stats.orders, stats.own.revenue, stats.currency) == (2, Decimal("30.30"), "USD")
    assert stats.own.average_order_value == Decimal("15.15")


def test_currencies_are_never_added(ask, order, write_webhook):
    write_webhook(order(1, price="10"), order(2, price="10"), order(3, price="7", currency="EUR"), at=1)
    stats = ask(analytics.stats)
    assert stats.orders == 3
    assert stats.own.revenue == Decimal(20)
    assert [(each.currency, each.revenue, each.orders) for each in stats.by_currency] == [
        ("USD", Decimal(20), 2),
        ("EUR", Decimal(7), 1),
    ]


def test_the_trend_holds_every_day_of_the_shops_own_zone(ask, tenant, order, write_webhook):
    with tenants.write(tenant.id) as write:
        orders.rebuild_days(write, "Asia/Tokyo")
        write.tenant.timezone = "Asia/Tokyo"
    late = NEW_YEAR.replace(hour=16)  # 1 a.m. of the second in Tokyo
    write_webhook(order(1), order(2, processed_at=late), order(3, processed_at=late + timedelta(days=3)), at=1)
    trend = ask(analytics.trend)
    assert [(day.date.day, day.orders, day.revenue) for day in trend.days] == [
        (1, 1, Decimal("10.00")),
        (2, 1, Decimal("10.00")),
        (3, 0, Decimal(0)),
        (4, 0, Decimal(0)),
        (5, 1, Decimal("10.00")),
    ]
    assert trend.timezone == "Asia/Tokyo"
    part = ask(analytics.trend, first=date(2025, 12, 31), last=date(2026, 1, 1))
    assert [day.orders for day in part.days] == [0, 1]
    assert ask(analytics.stats, first=date(2026, 1, 2), last=date(2026, 1, 4)).orders == 1


def test_nothing_known_is_nothing_claimed(ask):
    stats = ask(analytics.stats)
    assert (stats.orders, stats.currency, stats.own.average_order_value) == (0, None, Decimal("0.00"))
    assert ask(analytics.trend).days == []
    assert ask(analytics.top_customers, limit=5) == []


def test_top_customers_are_those_who_are_known_and_alive(ask, order, write_webhook):
    known = [Version(number, NEW_YEAR, {"first_name": f"C{number}", "last_name": None}) for number in (7, 8)]
    write_webhook(*known, at=1, table=customers.TABLE)
    write_webhook(
        order(1, price="5", customer_shopify_id=7),
        order(2, price="6", customer_shopify_id=8),
        order(3, price="99", customer_shopify_id=9),  # of a customer that nobody told of
        order(4, price="99", customer_shopify_id=None),
        at=1,
    )
    top = ask(analytics.top_customers, limit=5)
    assert [(each.shopify_id, each.orders_count, each.total_spent) for each in top] == [
        (8, 1, Decimal(6)),
        (7, 1, Decimal(5)),
    ]
    assert len(ask(analytics.top_customers, limit=1)) == 1


def test_coverage_is_complete_once_every_resource_agreed_with_the_store(ask, tenant):
    assert not ask(analytics.stats).coverage.is_complete

    def run(*statuses, reason=None):
        with transaction() as session:
            run = sync_runs.start(session, tenant.id, resources=["orders", "customers", "products"])
            for checkpoint, status in zip(sync_runs.checkpoints(session, [run.id]), statuses, strict=True):
                checkpoint.status, checkpoint.reason = status, reason
            sync_runs.finish_when_all_ended(session, run)
        return ask(analytics.stats).coverage

    completed = RunStatus.COMPLETED
    assert run(completed, completed, completed).is_complete
    coverage = run(completed, RunStatus.INCOMPLETE, completed, reason="two are missing")
    assert not coverage.is_complete
    assert coverage.reason == "orders: the latest sync ended incomplete, two are missing"


def test_one_sync_runs_at_a_time(tenant):
    with transaction() as session:
        run = sync_runs.start(session, tenant.id, resources=["orders"])
    with pytest.raises(sync_runs.RunInProgress) as error, transaction() as session:
        sync_runs.start(session, tenant.id, resources=["orders"])
    assert error.value.run_id == run.id
    with transaction() as session:
        sync_runs.finish(session, sync_runs.get(session, run.id), RunStatus.CANCELLED)
        assert sync_runs.start(session, tenant.id, resources=["orders"]).id != uuid.UUID(int=0)


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        ("13.5", "USD", "13.50"),
        ("0", "USD", "0.00"),
        ("2500315.63", "USD", "2500315.63"),
        ("1200", "JPY", "1200"),
        ("1.5", "KWD", "1.500"),
        ("0.1234", "USD", "0.1234"),
        ("1E+3", "USD", "1000.00"),
        ("-3.1", "EUR", "-3.10"),
    ],
)
def test_money_is_told_exactly_with_its_currencys_minor_units(amount, currency, expected):
    assert analytics.exact(Decimal(amount), currency) == expected
