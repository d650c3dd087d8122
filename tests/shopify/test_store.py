"""The client against the simulated Shopify: real paging, real costs, real faults."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from models.orders import TABLE
from shopify import oauth, search
from shopify.client import Client, Page
from shopify.errors import (
    AccessDenied,
    QueryRefused,
    RateLimited429,
    ShopUnavailable,
    Throttled,
    Unauthorized,
)
from shopify.resource import Resource, node_query
from shopify.resources import RESOURCES
from shopify.resources.orders import queries
from shopify.resources.products import PAGE_VARIANTS
from shopify.transport import exact

ROOT = Path(__file__).parents[2]
DOMAIN, BLINDED, LONG = "generated.myshopify.com", "blinded.myshopify.com", "long.myshopify.com"


@dataclass
class Store:
    """The simulated Shopify in a process of its own."""

    origin: str
    shops: dict[str, dict[str, Any]]

    def control(self, method: str, path: str, **body: Any) -> Any:
        answer = requests.request(method, f"{self.origin}/control/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def add(self, domain: str, **settings: Any) -> None:
        self.shops[domain] = self.control("POST", "shops", domain=domain, isLive=False, **settings)

    def act(self, domain: str, **action: Any) -> dict[str, Any]:
        answer = self.control("POST", f"shops/{domain}/actions", webhooks="none", actions=[action])
        done: dict[str, Any] = answer["done"][0]
        return done

    def change(self, **settings: Any) -> None:
        self.control("PATCH", f"shops/{DOMAIN}", **settings)

    def client(self, token: str | None = None, domain: str = DOMAIN) -> Client:
        return Client(domain, token or self.shops[domain]["accessToken"], origin=self.origin, timeout=(1.0, 10.0))


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Store]:
    command = [sys.executable, "-m", "scripts.store", "--empty", "--directory", str(tmp_path_factory.mktemp("store"))]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        store = Store(json.loads(process.stdout.readline())["url"], {})
        store.add(
            DOMAIN,
            seed=3,
            orders=520,
            customers=260,
            products=30,
            currency="EUR",
            presentmentCurrency="USD",
            scopes=["read_all_orders", *(resource.scope for resource in RESOURCES.values())],
        )
        store.add(BLINDED, orders=5, customers=5, products=5, scopes=["read_orders", "read_products"])
        yield store
        process.terminate()
        process.wait(20)


@pytest.fixture
def store(running: Store, monkeypatch) -> Store:
    monkeypatch.setattr("shopify.transport._admit", lambda: None)
    running.change(plan="Enterprise")
    return running


def pages(client: Client, resource: Resource, **options) -> Iterator[Page]:
    after, has_next = None, True
    while has_next:
        page = client.page(resource, after, **options)
        yield page
        after, has_next = page.end_cursor, page.has_next


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda resource: resource.name)
@pytest.mark.parametrize("sort", ["ID", "UPDATED_AT"])
def test_all_pages_hold_every_resource_once_and_all_are_rows(store, resource, sort):
    client = store.client()
    rows = []
    for page in pages(client, resource, sort=sort):
        stored, refused = resource.rows(page.nodes)
        assert refused == []
        assert page.cost.requested == resource.page_cost
        rows += stored
    assert all(row.is_whole for row in rows) == (resource.name != "products")  # one product has very many variants
    ids = [row.shopify_id for row in rows]
    assert len(set(ids)) == len(ids) > 0
    if resource.count_query is not None:
        assert len(ids) == client.count(resource)
    if sort == "ID" or not resource.is_sortable:
        assert ids == sorted(ids)
    else:
        assert [row.updated_at for row in rows] == sorted(row.updated_at for row in rows)


@pytest.mark.parametrize("resource", RESOURCES.values(), ids=lambda resource: resource.name)
def test_one_by_its_id_is_the_same_row_as_on_its_page(store, resource):
    client = store.client()
    for row in [row for row in resource.rows(client.page(resource).nodes)[0] if row.is_whole][:5]:
        found = client.node(resource, row.shopify_id)
        assert resource.shape.from_node(found.node) == row
        assert found.cost.requested == resource.node_cost
    assert client.node(resource, 1).node is None


def test_a_webhook_and_a_read_tell_the_same_of_every_order_in_shop_currency(store):
    """What no webhook carries aside: so an ordinary order's webhook makes no fetch, and differs from no read."""
    client, orders = store.client(), RESOURCES["orders"]
    told = {row.shopify_id: row for page in pages(client, orders) for row in orders.rows(page.nodes)[0]}
    seen = set()
    for shopify_id, read in told.items():
        if read.columns["currency"] != read.columns["presentment_currency"] and read.children["refunds"]:
            continue
        body = store.control("GET", f"shops/{DOMAIN}/payload?kind=orders&id={shopify_id}")
        row = orders.from_payload(json.loads(json.dumps(body), parse_float=exact))
        assert row.is_whole
        differs = TABLE.told_by_reads | (
            {"closed_at"} if row.columns["cancelled_at"] else set()
        )  # null in a payload still
        columns = {name: value for name, value in read.columns.items() if name not in differs}
        assert {name: value for name, value in row.columns.items() if name not in differs} == columns
        assert row.children == {name: parts for name, parts in read.children.items() if name not in TABLE.told_by_reads}
        seen |= {name for name, parts in read.children.items() if parts}
    assert seen == {"line_items", "shipping_lines", "refunds", "refund_line_items", "transactions"}


def test_every_list_of_an_order_is_read_to_its_end(store, monkeypatch):
    # Given an order with more of everything than a page gives
    store.add(LONG, orders=5, customers=5, products=5, plan="Enterprise")
    lines = [{"price": "5.00"} for _ in range(queries.PAGE_LINES + 1)]
    order = store.act(LONG, action="createOrder", lines=lines, shipping="5.00")
    units = dict.fromkeys(order["lineIds"], 1)
    store.act(LONG, action="refundOrder", id=order["id"], units=units, shipping="1.00", amount="100.00")
    for _ in range(60):
        store.act(LONG, action="refundOrder", id=order["id"], amount="0.10")
    # When the page gives a part of it, then it says so
    client, orders = store.client(domain=LONG), RESOURCES["orders"]
    (found,) = (row for row in orders.rows(client.page(orders).nodes)[0] if not row.is_whole)
    assert found.shopify_id == int(order["id"])
    assert "line items" in found.incomplete_because
    assert "refunds" in found.incomplete_because
    # And by its id all of it comes, in however small pages
    whole = orders.shape.from_node(client.node(orders, found.shopify_id).node)
    small = _in_small_pages(orders)
    assert {nested.field for nested in small.nested} == {nested.field for nested in orders.nested}
    for resource in (orders, small):
        row = orders.shape.from_node(client.node(resource, found.shopify_id).node)
        assert row == whole
        assert row.is_whole
        assert {name: len(parts) for name, parts in row.children.items()} == {
            "line_items": len(lines),
            "shipping_lines": 1,
            "refunds": 61,
            "refund_line_items": len(lines),
            "transactions": 62,
        }
    refund = row.children["refunds"][0]
    assert (refund["shipping"], refund["discrepancy"]) == (Decimal("1.00"), Decimal("31.00"))


def test_shipping_lines_that_were_removed_are_asked_for_wherever_others_are():
    orders = RESOURCES["orders"]
    (rest,) = (nested.query for nested in orders.nested if nested.field == "shippingLines")
    for query in (orders.page_query, orders.node_query, orders.nodes_query, orders.bulk.selection, rest):
        (arguments,) = re.findall(r"shippingLines\(([^)]*)\)", query)
        assert "includeRemovals: true" in arguments


def _in_small_pages(orders: Resource) -> Resource:
    """Orders asked for with one of everything at a time."""
    ones = dict.fromkeys(queries.NODE, 1)
    nested = tuple(replace(each, query=each.query.replace("first: 250", "first: 1")) for each in orders.nested)
    return replace(orders, node_query=node_query("order", queries.selection(**ones)), nested=nested)


def test_what_a_page_could_not_hold_is_whole_when_fetched_by_its_id(store):
    client, products = store.client(), RESOURCES["products"]
    cut = [row for row in products.rows(client.page(products).nodes)[0] if not row.is_whole]
    for row in cut:
        found = products.shape.from_node(client.node(products, row.shopify_id).node)
        assert found.is_whole
        assert len(found.children["variants"]) > PAGE_VARIANTS
    assert cut


def test_a_search_by_time_finds_what_was_updated_and_counts_the_same(store):
    client, orders = store.client(), RESOURCES["orders"]
    times = sorted(row.updated_at for page in pages(client, orders) for row in orders.rows(page.nodes)[0])
    since = times[len(times) // 2]
    recent = search.updated(since=since)
    found = [row for page in pages(client, orders, search=recent) for row in orders.rows(page.nodes)[0]]
    assert len(found) == len([time for time in times if time >= since]) == client.count(orders, recent)


def test_a_filter_that_does_not_exist_is_never_taken_for_one(store):
    with pytest.raises(QueryRefused):
        store.client().page(RESOURCES["orders"], search="colour:blue")
    with pytest.raises(QueryRefused):
        store.client().count(RESOURCES["customers"], "email:a@example.com")


def test_the_shop_tells_what_it_is(store):
    info = store.client().shop()
    assert (info.domain, info.currency, info.timezone) == (DOMAIN, "EUR", "America/New_York")
    assert "read_orders" in info.scopes


def test_a_bucket_run_dry_throttles_and_says_when_to_come_again(store):
    store.change(plan="Standard")
    counts = " ".join(f"c{number}: ordersCount {{ count }}" for number in range(95))

    def drain() -> None:
        for _ in range(10):
            store.client().execute(f"query {{ {counts} }}")

    with pytest.raises(Throttled) as throttled:
        drain()
    cost = throttled.value.cost
    assert (cost.requested, cost.actual, cost.maximum, cost.restore_rate) == (950, None, 2000, 100)
    assert throttled.value.wait_seconds == pytest.approx((950 - cost.available) / 100)


def test_a_token_that_is_none_is_unauthorized(store):
    with pytest.raises(Unauthorized):
        store.client("shpat_dead").shop()


def test_what_the_token_may_not_see_is_never_short_data(store):
    with pytest.raises(AccessDenied) as denied:
        store.client(domain=BLINDED).page(RESOURCES["orders"])
    assert "read_customers" in denied.value.scopes
    with pytest.raises(AccessDenied):
        store.client(domain=BLINDED).count(RESOURCES["customers"])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"rate_limited": {"next": 1, "retry_after": "1.5"}}, RateLimited429),
        ({"server_error": {"next": 1, "status": 502}}, ShopUnavailable),
        ({"internal": {"next": 1}}, ShopUnavailable),
        ({"drop": {"next": 1}}, ShopUnavailable),
        ({"cut": {"next": 1}}, ShopUnavailable),
        ({"state": "locked"}, ShopUnavailable),
        ({"state": "frozen"}, ShopUnavailable),
    ],
    ids=str,
)
def test_every_fault_is_an_error_and_passes(store, fault, error):
    client = store.client()
    store.change(faults=fault)
    with pytest.raises(error):
        client.page(RESOURCES["orders"])
    store.change(faults={"state": None})
    assert client.page(RESOURCES["orders"]).nodes


def test_client_credentials_give_a_token_that_works(store):
    shop = store.shops[DOMAIN]
    granted = oauth.client_credentials_token(
        DOMAIN, oauth.App(shop["clientId"], (shop["clientSecret"],)), origin=store.origin
    )
    assert store.client(granted.token).shop().domain == DOMAIN
    with pytest.raises(Unauthorized):
        oauth.client_credentials_token(DOMAIN, oauth.App(shop["clientId"], ("wrong",)), origin=store.origin)
