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


def sold(shopify_id, *, day=0, currency="USD", refunded_on=None):
    """An order of 20.00 with 2.00 off and 1.80 of tax, taken back whole on a day if one is given."""
    line = {"shopify_id": shopify_id, "quantity": 2, "price": Decimal(10), "allocated_discount": Decimal(2)}
    refunds, returned = [], []
    if refunded_on is not None:
        refunds = [{"shopify_id": shopify_id, "processed_at": NEW_YEAR + timedelta(days=refunded_on)}]
        amounts = {"subtotal": Decimal(18), "total_tax": Decimal("1.8")}
        returned = [{"shopify_id": shopify_id, "refund_shopify_id": shopify_id} | amounts]
    version = order(shopify_id, "19.80", day=day, currency=currency)
    children = {"line_items": [line], "refunds": refunds, "refund_line_items": returned}
    return replace(version, columns={**version.columns, "total_tax": Decimal("1.8")}, children=children)


def test_sales_are_told_by_the_day_with_their_totals(ask, write):
    write(orders.TABLE, sold(1), sold(2, refunded_on=2), sold(3, currency="EUR"))
    nothing = dict.fromkeys(("grossSales", "discounts", "returns", "netSales", "shipping", "taxes"), "0.00")
    nothing |= {"duties": "0.00", "totalSales": "0.00"}
    first = {"grossSales": "40.00", "discounts": "-4.00", "netSales": "36.00", "taxes": "3.60", "totalSales": "39.60"}
    back = {"returns": "-18.00", "netSales": "-18.00", "taxes": "-1.80", "totalSales": "-19.80"}
    found = ask("sales").json
    assert (found["timezone"], found["currency"], found["coverage"]["complete"]) == ("UTC", "USD", False)
    assert found["days"] == [
        nothing | {"date": "2026-01-01"} | first,
        nothing | {"date": "2026-01-02"},
        nothing | {"date": "2026-01-03"} | back,
    ]
    assert found["totals"] == nothing | first | {
        "returns": "-18.00",
        "netSales": "18.00",
        "taxes": "1.80",
        "totalSales": "19.80",
    }


def test_a_range_of_sales_holds_both_of_its_days_and_may_lie_beyond_them(ask, write):
    write(orders.TABLE, sold(1), sold(2, day=1), sold(3, day=2))

    def gross(**query):
        return [day["grossSales"] for day in ask("sales", **query).json["days"]]

    assert gross() == ["20.00"] * 3
    assert gross(**{"from": "2026-01-02"}) == ["20.00"] * 2
    assert gross(to="2026-01-02") == ["20.00"] * 2
    assert gross(**{"from": "2025-12-31", "to": "2026-01-01"}) == ["0.00", "20.00"]
    assert gross(**{"from": "2026-02-01"}) == ["0.00"]
    assert gross(to="2025-01-01") == []


def test_a_shop_without_orders_has_no_days_of_sales(ask):
    found = ask("sales").json
    assert (found["currency"], found["days"], found["totals"]["totalSales"]) == (None, [], "0.00")


def test_sales_of_ten_years_at_most_are_told(ask, write):
    write(orders.TABLE, sold(1), sold(2, day=-365 * 50))
    assert 3650 < len(ask("sales").json["days"]) < 3660
    assert ask("sales", **{"from": "1900-01-01"}).status_code == 400


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


@pytest.mark.parametrize("path", ["stats", "orders-trend", "sales"])
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
    assert client.get("/api/sales", headers=other.headers).json["days"] == []
    assert client.get("/api/top-customers", headers=other.headers).json["customers"] == []


def test_the_administrator_sees_the_figures_of_the_shop_it_names(write, admin, shop, new_shop):
    write(orders.TABLE, order(1, "10"))
    assert admin("GET", f"/api/stats?shop={shop.domain}").json["totalOrders"] == 1
    assert admin("GET", f"/api/stats?shop={new_shop().domain}").json["totalOrders"] == 0
