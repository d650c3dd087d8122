"""Shop one is real: its figures must come out exactly."""

import csv
import gzip
from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from time import process_time

import pytest

from scripts.store import clock
from scripts.store.arithmetic import totals
from scripts.store.cdnow import LOG
from scripts.store.execution import Executor, Request
from scripts.store.market import CDNOW_DOMAIN, Market, source_of
from scripts.store.outbox import Outbox
from scripts.store.shop import Shop
from scripts.store.truth import top_customers, truth

from .queries import ORDERS_IN_FULL


@pytest.fixture(scope="module")
def cdnow(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    market = Market(tmp_path_factory.mktemp("cdnow"))
    return market.add(CDNOW_DOMAIN, name="CDNOW", kind="cdnow", timezone="America/New_York", plan="Plus")


def purchases() -> list[dict[str, str]]:
    with gzip.open(LOG, "rt") as log:
        return list(csv.DictReader(log))


def test_the_shop_holds_exactly_what_the_log_says(cdnow: Shop):
    told = truth(cdnow)
    assert (told["orders"], told["countingOrders"], told["customers"]) == (69_659, 69_659, 23_570)
    assert told["revenue"] == "2500315.63"
    assert sum(1 for row in cdnow.orders.rows.values() if row.total == 0) == 80


def test_every_day_is_the_logs_day_in_the_shops_zone_and_the_last_is_yesterday(cdnow: Shop):
    days = {day["date"]: (day["orders"], Decimal(day["revenue"])) for day in truth(cdnow)["days"]}
    yesterday = date.fromisoformat(clock.local_day(cdnow.settings.anchor, cdnow.settings.timezone)) - timedelta(days=1)
    shift = yesterday - date(1998, 6, 30)
    expected: dict[str, tuple[int, Decimal]] = {}
    for row in purchases():
        day = (date.fromisoformat(row["date"]) + shift).isoformat()
        orders, revenue = expected.get(day, (0, Decimal(0)))
        expected[day] = (orders + 1, revenue + Decimal(row["amount"]))
    assert days == expected
    assert max(days) == yesterday.isoformat()
    assert max(row.updated_at for row in cdnow.orders.rows.values()) < cdnow.settings.anchor


def test_lines_sum_to_the_quantity_and_to_the_amount_to_the_cent(cdnow: Shop):
    log = purchases()
    # Every tenth order, those of no amount, and the largest
    chosen = {*range(0, len(log), 10), *(place for place, row in enumerate(log) if row["amount"] == "0.00")}
    chosen.add(max(range(len(log)), key=lambda place: int(log[place]["quantity"])))
    numbers = sorted(cdnow.orders.rows)
    for place in chosen:
        order = cdnow.orders.get(numbers[place])
        assert order is not None
        assert sum(line.quantity for line in order.lines) == int(log[place]["quantity"])
        amount = sum(line.price.shop * line.quantity for line in order.lines)
        assert Decimal(amount) / 100 == Decimal(log[place]["amount"])
        assert all(line.price.shop >= 0 for line in order.lines)
        assert totals(order).current_total.shop == amount == cdnow.orders.rows[order.id].total


def test_customers_spend_what_the_log_says(cdnow: Shop):
    spent: Counter[str] = Counter()
    for row in purchases():
        spent[row["customer"]] += round(Decimal(row["amount"]) * 100)
    best = spent.most_common(1)[0]
    top = top_customers(cdnow, 1)[0]
    assert Decimal(top["totalSpent"]) * 100 == best[1]
    numbers = sorted(cdnow.customers.rows)
    assert top["id"] == str(numbers[int(best[0]) - 1])
    assert "@example.com" in top["email"]


def test_a_dense_page_is_quick_and_the_next_one_follows_it(cdnow: Shop):
    executor = Executor(Outbox(None))
    request = Request(ORDERS_IN_FULL, {"after": None})
    first = executor.answer(cdnow, request)["data"]["orders"]
    begun = process_time()
    after = first["pageInfo"]["endCursor"]
    second = executor.answer(cdnow, Request(ORDERS_IN_FULL, {"after": after}))["data"]["orders"]
    # 0.08 s of one core's time here; five times that is a fault of ours, not of a busy machine
    assert process_time() - begun < 0.5
    assert not {node["id"] for node in first["nodes"]} & {node["id"] for node in second["nodes"]}
    assert second["nodes"][0]["lineItems"]["nodes"][0]["product"]["id"].startswith("gid://shopify/Product/")


def test_the_same_anchor_gives_the_same_orders_after_a_restart(cdnow: Shop):
    again = source_of(cdnow.settings)
    assert again.order_rows() == cdnow.orders.rows
    number = sorted(cdnow.orders.rows)[4711]
    assert again.order(number).lines == cdnow.orders.get(number).lines  # type: ignore[union-attr]
