"""What the benchmarks send as webhooks is what Shopify could send: signed, and no two of one order."""

import json

from scripts.benchmarks import load, payloads
from shopify.events import Upsert
from shopify.payloads import event_of
from shopify.webhooks import WebhookHeaders, verify_signature

SHOP = "load.myshopify.com"


def order(shopify_id: int) -> dict[str, object]:
    line = {"id": shopify_id * 10, "quantity": 1, "current_quantity": 1, "price": "9.00", "title": "A", "product_id": 5}
    return {
        "id": shopify_id,
        "admin_graphql_api_id": f"gid://shopify/Order/{shopify_id}",
        "name": f"#{shopify_id}",
        "created_at": "2026-11-01T09:00:00Z",
        "updated_at": "2026-11-01T09:00:00Z",
        "processed_at": "2026-11-01T09:00:00Z",
        "currency": "EUR",
        "current_total_price": "9.00",
        "total_price": "9.00",
        "financial_status": "paid",
        "line_items": [line],
        "refunds": [],
    }


def test_no_two_bodies_are_of_one_order_or_share_a_line() -> None:
    # Given two orders of which five are made, in two goes
    orders = [order(101), order(102)]
    bodies = [*payloads.distinct(orders, first=0, count=3), *payloads.distinct(orders, first=3, count=2)]
    # When they are read as webhooks are
    events = [event_of("orders/updated", body, SHOP) for body in bodies]
    # Then each is an order of its own with lines of its own, and its ids agree with each other
    rows = [event.row for event in events if isinstance(event, Upsert)]
    lines = {line["shopify_id"] for row in rows for line in row.children["line_items"]}
    assert len({row.shopify_id for row in rows}) == len(lines) == 5


def test_requests_are_signed_and_told_apart() -> None:
    wanted = {"domain": SHOP, "secret": "s3cret", "orders": [order(101)], "first": 0, "count": 2, "run": "r"}
    heads, ids = [], set()
    for request in load.requests("http://127.0.0.1:1/api/webhooks", wanted | {"connections": 1}):
        head, _, body = request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        heads.append(first)
        names = dict(line.split(": ", 1) for line in lines)
        headers = WebhookHeaders.of(names)
        assert verify_signature(body, headers.signature, ["s3cret"])
        assert int(names["Content-Length"]) == len(body)
        ids.add((headers.webhook_id, json.loads(body)["id"]))
    assert heads == ["POST /api/webhooks HTTP/1.1"] * 2
    assert len(ids) == 2
