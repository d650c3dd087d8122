"""The results of bulk operations: which lines, in which order, as of when."""

import itertools
import json
from typing import Any

import pytest

from scripts.store import clock
from scripts.store.bulk.rendering import STEP
from scripts.store.shop import Shop

from .conftest import Bulk, Store, eventually, get, nodes
from .queries import BULK_ORDERS


def test_grouped_children_stand_right_behind_their_parent(store: Store, shop: Shop, bulk: Bulk):
    parent = None
    for node in bulk.result():
        if "__parentId" in node:
            assert node["__parentId"] == parent
        else:
            parent = node["id"]


@pytest.mark.parametrize("groups", [True, False])
def test_the_lines_are_what_the_pages_show(store: Store, shop: Shop, bulk: Bulk, groups: bool):
    pages = (
        "{orders(first:250){nodes{id name updatedAt refunds{id totalRefundedSet{shopMoney{amount}}} "
        "lineItems(first:50){nodes{id quantity}} shippingLines(first:9){nodes{id title}}}}}"
    )
    expected = store.data(shop, pages)["orders"]["nodes"]
    found = bulk.result(groups=groups)
    roots = [node for node in found if "__parentId" not in node]
    below: dict[str, list[dict[str, Any]]] = {}
    for node in found:
        if "__parentId" in node:
            below.setdefault(node.pop("__parentId"), []).append(node)
    for order in expected:
        children = order.pop("lineItems")["nodes"] + order.pop("shippingLines")["nodes"]
        assert below.pop(order["id"], []) == children
    assert roots == expected
    assert not below


def test_ungrouped_children_come_after_their_parents_but_not_together(bulk: Bulk):
    bulk.change(ungroupedRoots=40)
    found = bulk.result(groups=False)
    seen: set[str] = set()
    for node in found:
        seen.add(node["id"])
        assert node.get("__parentId", node["id"]) in seen
    neighbours = [
        (one["__parentId"], other["__parentId"])
        for one, other in itertools.pairwise(found)
        if "__parentId" in one and "__parentId" in other
    ]
    assert sum(one == other for one, other in neighbours) < len(neighbours) / 20
    # Forty orders at a time, then what belongs to them
    assert ["__parentId" in node for node in found[:41]] == [False] * 40 + [True]
    assert any("__parentId" not in node for node in found[41:])


def test_output_is_ungrouped_unless_grouping_is_asked_for(store: Store, shop: Shop, bulk: Bulk):
    text = "mutation($query:String!){bulkOperationRunQuery(query:$query){bulkOperation{id}}}"
    operation = store.data(shop, text, query=BULK_ORDERS)["bulkOperationRunQuery"]["bulkOperation"]["id"]
    assert nodes(bulk.wait(operation)["url"]) == bulk.result(groups=False)


def test_a_fault_leaves_output_ungrouped_although_grouping_was_asked(bulk: Bulk):
    bulk.break_(bulk_ungrouped={"next": 1})
    assert bulk.result() == bulk.result(groups=False)


def test_deeper_children_name_their_own_parent(bulk: Bulk):
    query = "{customers{edges{node{id orders{edges{node{id lineItems{edges{node{id}}}}}}}}}}"
    for groups in (True, False):
        kinds = {"Customer": None, "Order": "Customer", "LineItem": "Order"}
        found = bulk.result(query, groups=groups)
        assert {kind_of(node["id"]) for node in found} == set(kinds)
        for node in found:
            parent = node.get("__parentId")
            assert (kind_of(parent) if parent else None) == kinds[kind_of(node["id"])]


def kind_of(gid: str) -> str:
    return gid.split("/")[3]


def test_a_connection_in_an_object_hangs_on_that_object(bulk: Bulk):
    found = bulk.result('{orders(query:"customer_id:*"){edges{node{id customer{id orders{edges{node{name}}}}}}}}')
    parents = {kind_of(node["__parentId"]) for node in found if "__parentId" in node}
    assert parents == {"Customer"}
    assert "orders" not in found[0]["customer"]


def test_filters_and_order_are_kept_and_page_sizes_ignored(bulk: Bulk, shop: Shop):
    numbers = sorted(shop.orders.rows)
    since = shop.orders.rows[numbers[60]].created_at
    query = (
        f"{{orders(first:2,sortKey:CREATED_AT,reverse:true,query:\"created_at:<'{clock.utc(since)}'\")"
        "{edges{node{id createdAt}}}}"
    )
    found = bulk.result(query)
    assert [node["id"] for node in found] == [
        f"gid://shopify/Order/{number}"
        for number in reversed(numbers)
        if shop.orders.rows[number].created_at < since // clock.SECOND * clock.SECOND
    ]


@pytest.mark.parametrize("reverse", ["true", "false"])
def test_a_result_of_many_steps_has_every_order_once(store: Store, reverse: str):
    shop = store.add("many.myshopify.com", orders=2 * STEP + 3)
    found = Bulk(store, shop).result(f"{{orders(sortKey:ID,reverse:{reverse}){{edges{{node{{legacyResourceId}}}}}}}}")
    assert [int(node["legacyResourceId"]) for node in found] == sorted(shop.orders.rows, reverse=reverse == "true")


def test_products_and_customers_have_their_own_lines(bulk: Bulk, shop: Shop):
    found = bulk.result("{products{edges{node{id title options{name} variants{edges{node{id sku}}}}}}}")
    variants = sum(len(shop.products.get(number).variants) for number in shop.products.rows)  # type: ignore[union-attr]
    assert len(found) == len(shop.products.rows) + variants
    assert len(bulk.result("{customers{edges{node{id email amountSpent{amount}}}}}")) == len(shop.customers.rows)


def test_removed_shipping_lines_are_hidden_unless_asked_for(bulk: Bulk):
    line = "shippingLines(includeRemovals:%s){edges{node{id isRemoved}}}"
    query = "{orders{edges{node{id %s}}}}"
    assert len(bulk.result(query % (line % "true"))) >= len(bulk.result(query % (line % "false")))


def test_text_stands_unescaped_and_only_the_line_feed_ends_a_line(store: Store, shop: Shop, bulk: Bulk):
    made = store.act(shop, {"action": "createProduct", "title": "Späti\u2028\u0085\r\nKaffee"})["done"][0]["id"]
    done = bulk.finish(f'{{products(query:"id:{made}"){{edges{{node{{id title}}}}}}}}')
    content = get(done["url"]).content
    assert content.count(b"\n") == 1
    assert "Späti\u2028\u0085".encode() in content
    assert json.loads(content)["title"] == "Späti\u2028\u0085\r\nKaffee"


def test_a_node_shows_the_store_as_it_is_when_its_turn_comes(store: Store, shop: Shop, bulk: Bulk):
    numbers = sorted(shop.orders.rows)
    bulk.break_(bulk_held={"next": 1, "lines": 10})
    operation = bulk.begin("{orders(sortKey:ID){edges{node{id note}}}}")
    eventually(lambda: bulk.is_held("operations"))
    # When, behind the tenth line, orders on both sides of it change and one goes
    store.act(
        shop,
        {"action": "updateOrder", "id": numbers[3], "note": "too late"},
        {"action": "updateOrder", "id": numbers[10], "note": "in time"},
        {"action": "deleteOrder", "id": numbers[11]},
        webhooks="none",
    )
    bulk.release()
    found = nodes(bulk.wait(operation)["url"])
    notes = {node["id"]: node["note"] for node in found}
    assert notes[f"gid://shopify/Order/{numbers[3]}"] != "too late"
    assert notes[f"gid://shopify/Order/{numbers[10]}"] == "in time"
    assert f"gid://shopify/Order/{numbers[11]}" not in notes
    assert len(found) == len(numbers) - 1


def test_orders_beyond_sixty_days_are_silently_missing_without_their_scope(store: Store, shop: Shop, bulk: Bulk):
    whole = len(bulk.result("{orders{edges{node{id}}}}"))
    store.control("PATCH", f"/shops/{shop.domain}", {"scopes": ["read_orders"]})
    assert 0 < len(bulk.result("{orders{edges{node{id}}}}")) < whole


def test_a_missing_scope_fails_the_operation(store: Store, shop: Shop, bulk: Bulk):
    store.control("PATCH", f"/shops/{shop.domain}", {"scopes": ["read_orders", "read_all_orders"]})
    for query in ("{customers{edges{node{id}}}}", "{orders{edges{node{id customer{id}}}}}"):
        ended = bulk.wait(bulk.begin(query), "FAILED")
        assert (ended["errorCode"], ended["url"], ended["objectCount"]) == ("ACCESS_DENIED", None, "0")
