"""Lists: pages, cursors, sorting, searching, counting."""

import base64
import json
from typing import Any

import pytest

from scripts.store import clock
from scripts.store.shop import Shop

from .conftest import Store

PAGE = """query($first:Int,$after:String,$last:Int,$before:String,$key:OrderSortKeys,$reverse:Boolean,$query:String){
 orders(first:$first,after:$after,last:$last,before:$before,sortKey:$key,reverse:$reverse,query:$query)
 {edges{cursor node{id updatedAt processedAt createdAt displayFinancialStatus}} pageInfo{hasNextPage hasPreviousPage startCursor endCursor}}}"""


def pages(store: Store, shop: Shop, **variables: Any) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    after = None
    while True:
        page = store.data(shop, PAGE, first=50, after=after, **variables)["orders"]
        found += [edge["node"]["id"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]


@pytest.mark.parametrize("key", ["ID", "UPDATED_AT", "PROCESSED_AT", "CREATED_AT", "TOTAL_PRICE", "FINANCIAL_STATUS"])
@pytest.mark.parametrize("reverse", [False, True])
def test_pages_hold_every_order_once_in_the_order_of_the_sort_key(store: Store, shop: Shop, key: str, reverse: bool):
    found = pages(store, shop, key=key, reverse=reverse)
    assert len(found) == len(set(found)) == 120
    column = {"ID": 0, "CREATED_AT": 1, "UPDATED_AT": 2, "PROCESSED_AT": 3, "TOTAL_PRICE": 6, "FINANCIAL_STATUS": 11}[
        key
    ]
    values = [shop.orders.rows[int(gid.rpartition("/")[2])][column] for gid in found]
    assert values == sorted(values, reverse=reverse)


def test_pages_backwards_give_the_same_orders(store: Store, shop: Shop):
    last = store.data(shop, PAGE, last=10, key="ID")["orders"]
    before = store.data(shop, PAGE, last=10, key="ID", before=last["pageInfo"]["startCursor"])["orders"]
    ids = [edge["node"]["id"] for edge in before["edges"] + last["edges"]]
    assert ids == pages(store, shop, key="ID")[-20:]
    assert last["pageInfo"]["hasPreviousPage"]
    assert before["pageInfo"]["hasNextPage"]


def test_pages_stay_whole_when_orders_come_change_and_go_between_them(store: Store, shop: Shop):
    # Given the first page by the time of update
    first = store.data(shop, PAGE, first=50, key="UPDATED_AT")["orders"]
    seen = [edge["node"]["id"] for edge in first["edges"]]
    everything = pages(store, shop, key="UPDATED_AT")
    # When an order of it is updated, its last one deleted, and one comes in
    store.act(
        shop,
        {"action": "updateOrder", "id": seen[3], "note": "later"},
        {"action": "deleteOrder", "id": seen[-1]},
        {"action": "createOrder"},
    )
    after = first["pageInfo"]["endCursor"]
    rest: list[str] = []
    while True:
        page = store.data(shop, PAGE, first=50, key="UPDATED_AT", after=after)["orders"]
        rest += [edge["node"]["id"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    # Then nothing that stood behind the cursor is missed, and what changed stands at the end
    assert set(everything[50:]) <= set(rest)
    assert rest[-2] == seen[3]
    assert len(rest) == 120 - 50 + 2


def test_a_cursor_holds_the_last_id_and_the_microseconds_that_times_do_not_show(store: Store, shop: Shop):
    page = store.data(shop, PAGE, first=1, key="UPDATED_AT")["orders"]
    held = json.loads(base64.b64decode(page["edges"][0]["cursor"]))
    row = shop.orders.rows[held["last_id"]]
    assert clock.parse(held["last_value"]) == row.updated_at
    assert page["edges"][0]["node"]["updatedAt"] == clock.utc(row.updated_at)


def test_pages_beyond_250_and_without_a_size_are_bad_requests(store: Store, shop: Shop):
    for query in ("{orders(first:251){nodes{id}}}", "{orders{nodes{id}}}", "{orders(first:-1){nodes{id}}}"):
        answer = store.ask(shop, query)
        assert answer["errors"][0]["extensions"]["code"] == "BAD_REQUEST", query


def test_lines_of_a_large_order_come_in_pages_that_say_whether_there_is_more(store: Store, shop: Shop):
    order = store.act(shop, {"action": "createOrder", "lineCount": 300})["done"][0]
    query = "query($id:ID!,$after:String){order(id:$id){lineItems(first:250,after:$after){nodes{id} pageInfo{hasNextPage endCursor}}}}"
    gid = f"gid://shopify/Order/{order['id']}"
    first = store.data(shop, query, id=gid)["order"]["lineItems"]
    second = store.data(shop, query, id=gid, after=first["pageInfo"]["endCursor"])["order"]["lineItems"]
    assert (len(first["nodes"]), first["pageInfo"]["hasNextPage"]) == (250, True)
    assert (len(second["nodes"]), second["pageInfo"]["hasNextPage"]) == (50, False)
    assert len({line["id"] for line in first["nodes"] + second["nodes"]}) == 300


def test_quoted_dates_are_inclusive_and_combine(store: Store, shop: Shop):
    # Given an update at a whole second
    order = store.act(
        shop,
        {"action": "updateOrder", "id": pages(store, shop, key="ID")[0], "note": "x", "at": "2031-05-05T10:00:00Z"},
    )["done"][0]
    gid = f"gid://shopify/Order/{order['id']}"
    assert pages(store, shop, query="updated_at:>='2031-05-05T10:00:00Z'") == [gid]
    assert pages(store, shop, query="updated_at:>'2031-05-05T10:00:00Z'") == []
    assert pages(
        store, shop, query="updated_at:>='2031-05-05T10:00:00Z' AND updated_at:<='2031-05-05T12:00:00+02:00'"
    ) == [gid]
    assert pages(store, shop, query=f"id:{order['id']} updated_at:>'2031-01-01T00:00:00Z'") == [gid]
    assert pages(store, shop, query=f"id:{order['id']} OR test:true", key="ID")[0] == gid


def test_ranges_statuses_and_negation_filter_as_the_rows_say(store: Store, shop: Shop):
    rows = shop.orders.rows.values()
    wanted = {
        "financial_status:paid": {row.id for row in rows if row.financial_status == "paid"},
        "-financial_status:paid": {row.id for row in rows if row.financial_status != "paid"},
        "NOT status:cancelled": {row.id for row in rows if not row.cancelled},
        "status:cancelled OR (test:true AND financial_status:paid,refunded)": {
            row.id for row in rows if row.cancelled or (row.test and row.financial_status in {"paid", "refunded"})
        },
        "customer_id:*": {row.id for row in rows if row.customer_id},
    }
    for query, ids in wanted.items():
        assert {int(gid.rpartition("/")[2]) for gid in pages(store, shop, query=query)} == ids, query


def test_an_unquoted_date_filters_nothing_and_only_a_warning_says_so(store: Store, shop: Shop):
    answer = store.ask(shop, '{orders(first:1,query:"updated_at:>=2031-01-01T00:00:00Z"){nodes{id}}}')
    assert answer["data"]["orders"]["nodes"]
    assert "errors" not in answer
    search = answer["extensions"]["search"][0]
    assert search["path"] == ["orders"]
    assert search["warnings"][0]["field"] == "updated_at"


def test_an_unknown_field_filters_nothing_and_warns(store: Store, shop: Shop):
    answer = store.ask(shop, '{ordersCount(query:"colour:red"){count}}')
    assert answer["data"]["ordersCount"]["count"] == 120
    assert answer["extensions"]["search"][0]["warnings"][0]["code"] == "invalid_field"


def test_customers_count_ignores_all_but_id_and_times(store: Store, shop: Shop):
    answer = store.ask(shop, '{customersCount(query:"email:nobody@example.com"){count precision}}')
    assert answer["data"]["customersCount"] == {"count": 50, "precision": "EXACT"}
    assert answer["extensions"]["search"][0]["warnings"][0]["code"] == "invalid_field"
    first = min(shop.customers.rows)
    assert (
        store.data(shop, "query($q:String){customersCount(query:$q){count}}", q=f"id:{first}")["customersCount"][
            "count"
        ]
        == 1
    )


def test_counts_stop_at_their_limit_unless_null_is_asked_for(store: Store, shop: Shop):
    counted = store.data(
        shop,
        "{a:ordersCount(limit:100){count precision} b:ordersCount(limit:null){count precision} c:ordersCount{count precision}}",
    )
    assert counted["a"] == {"count": 100, "precision": "AT_LEAST"}
    assert counted["b"] == counted["c"] == {"count": 120, "precision": "EXACT"}


def test_orders_past_sixty_days_are_silently_hidden_without_read_all_orders(store: Store, shop: Shop):
    everything = set(pages(store, shop))
    store.control("PATCH", f"/shops/{shop.domain}", {"scopes": ["read_orders", "read_customers", "read_products"]})
    since = clock.now() - 60 * clock.DAY
    recent = {f"gid://shopify/Order/{row.id}" for row in shop.orders.rows.values() if row.created_at >= since}
    assert 0 < len(recent) < len(everything)
    assert set(pages(store, shop)) == recent
    assert store.data(shop, "{ordersCount(limit:null){count precision}}")["ordersCount"] == {
        "count": len(recent),
        "precision": "EXACT",
    }
    hidden = (everything - recent).pop()
    assert store.data(shop, "query($id:ID!){order(id:$id){id}}", id=hidden)["order"] is None
