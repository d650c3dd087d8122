"""The merchants' questions over HTTP."""

import uuid
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from models import customers, orders, tenants
from models.versions import Origin, upsert
from tests.models.rows import NEW_YEAR, Version


@pytest.fixture
def write(shop):
    def write(table, *rows):
        with tenants.write(uuid.UUID(shop.id)) as writing:
            writing.tenant.currency = "USD"
            upsert(writing, table, [replace(row, triggered_at=NEW_YEAR) for row in rows], Origin())

    return write


def order(shopify_id, price, *, day=0, currency="USD", customer=None):
    columns = {
        "name": f"#{shopify_id}",
        "currency": currency,
        "current_total_price": Decimal(price),
        "processed_at": NEW_YEAR + timedelta(days=day),
        "created_at": NEW_YEAR,
        "test": False,
        "cancelled_at": None,
        "customer_shopify_id": customer,
    }
    return Version(shopify_id, NEW_YEAR, columns, {})


@pytest.fixture
def ask(client, shop):
    def ask(path, **query):
        return client.get(f"/api/{path}", query_string=query, headers=shop.headers)

    return ask


def test_a_shop_without_orders_has_figures_of_zero(ask):
    stats = ask("stats").json
    assert (stats["currency"], stats["totalRevenue"], stats["totalOrders"]) == (None, "0.00", 0)
    assert (stats["averageOrderValue"], stats["byCurrency"], stats["lastUpdatedAt"]) == ("0.00", [], None)
    assert stats["coverage"]["complete"] is False
    assert stats["coverage"]["reason"]
    assert ask("orders-trend").json["days"] == []
    assert ask("top-customers").json == {"customers": []}


def test_money_is_an_exact_decimal_string(ask, write):
    write(
        orders.TABLE, order(1, "0.1"), order(2, "0.2"), order(3, "12345678901234567.89"), order(4, "5", currency="JPY")
    )
    stats = ask("stats").json
    assert stats["totalRevenue"] == "12345678901234568.19"
    assert stats["totalOrders"] == 4
    assert [(each["currency"], each["revenue"], each["orders"]) for each in stats["byCurrency"]] == [
        ("USD", "12345678901234568.19", 3),
        ("JPY", "5", 1),
    ]
    assert stats["averageOrderValue"] == "4115226300411522.73"
    assert stats["lastUpdatedAt"].endswith("Z")


def test_a_range_holds_both_of_its_days(ask, write):
    write(orders.TABLE, *(order(number, "10", day=number) for number in range(5)))
    range_ = {"from": "2026-01-02", "to": "2026-01-03"}
    assert ask("stats", **range_).json["totalOrders"] == 2
    days = ask("orders-trend", **range_).json["days"]
    assert days == [
        {"date": "2026-01-02", "orders": 1, "revenue": "10.00"},
        {"date": "2026-01-03", "orders": 1, "revenue": "10.00"},
    ]
    assert ask("stats", **{"from": "2026-01-04"}).json["totalOrders"] == 2
    assert ask("stats", to="2026-01-02").json["totalOrders"] == 2


def test_every_day_of_the_range_is_there(ask, write):
    write(orders.TABLE, order(1, "10"), order(2, "10", day=3))
    assert [day["orders"] for day in ask("orders-trend").json["days"]] == [1, 0, 0, 1]
    assert len(ask("orders-trend", **{"from": "2025-12-01", "to": "2026-01-31"}).json["days"]) == 62


def test_one_order_with_an_absurd_date_does_not_make_the_trend_endless(ask, write):
    write(orders.TABLE, order(1, "10"), order(2, "10", day=-365 * 50))
    days = ask("orders-trend").json["days"]
    assert 3650 < len(days) < 3660
    assert days[-1]["orders"] == 1
    assert ask("stats").json["totalOrders"] == 2
    assert ask("orders-trend", **{"from": "1900-01-01"}).status_code == 400


@pytest.mark.parametrize("path", ["stats", "orders-trend"])
@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"from": "2026-1-1"}, "from"),
        ({"from": "20260101"}, "from"),
        ({"from": "2026-01-01T00:00:00"}, "from"),
        ({"from": "1767225600"}, "from"),
        ({"from": ""}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"to": "yesterday"}, "to"),
        ({"to": "0000-01-01"}, "to"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
        ({"from": "2010-01-01", "to": "2026-01-01"}, "ten years"),
    ],
)
def test_a_malformed_range_is_refused(ask, path, query, named):
    answer = ask(path, **query)
    assert answer.status_code == 400
    assert named in answer.json["detail"]


def test_exactly_ten_years_may_be_asked_for(ask):
    assert ask("stats", **{"from": "2016-01-01", "to": "2026-01-01"}).status_code == 200


def test_the_best_customers_come_first_with_shopifys_ids_as_text(ask, write):
    people = [
        Version(number, NEW_YEAR, {"first_name": first, "last_name": last, "email": email}, {})
        for number, first, last, email in ((7, "Ada", "Lovelace", "a@example.com"), (2**53 + 1, None, None, None))
    ]
    write(customers.TABLE, *people)
    write(orders.TABLE, order(1, "10", customer=7), order(2, "30.5", customer=2**53 + 1))
    found = ask("top-customers").json["customers"]
    assert [(each["shopifyId"], each["name"], each["totalSpent"]) for each in found] == [
        ("9007199254740993", None, "30.50"),
        ("7", "Ada Lovelace", "10.00"),
    ]
    assert found[1]["email"] == "a@example.com"
    assert (found[1]["ordersCount"], found[1]["currency"]) == (1, "USD")
    assert len(ask("top-customers", limit=1).json["customers"]) == 1


@pytest.mark.parametrize("limit", ["0", "101", "-1", "x", "", "1.5", "99999999999999999999"])
def test_a_malformed_limit_is_refused(ask, limit):
    assert ask("top-customers", limit=limit).status_code == 400


def test_a_shop_sees_its_own_figures_alone(write, client, new_shop):
    write(orders.TABLE, order(1, "10", customer=7))
    write(customers.TABLE, Version(7, NEW_YEAR, {"first_name": "Ada"}, {}))
    other = new_shop()
    assert client.get("/api/stats", headers=other.headers).json["totalOrders"] == 0
    assert client.get("/api/orders-trend", headers=other.headers).json["days"] == []
    assert client.get("/api/top-customers", headers=other.headers).json["customers"] == []


def test_the_administrator_sees_the_figures_of_the_shop_it_names(write, admin, shop, new_shop):
    write(orders.TABLE, order(1, "10"))
    assert admin("GET", f"/api/stats?shop={shop.domain}").json["totalOrders"] == 1
    assert admin("GET", f"/api/stats?shop={new_shop().domain}").json["totalOrders"] == 0
