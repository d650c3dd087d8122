"""Bulk operations: what they may ask, how they run and end, and what their files hold."""

import http.client
import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from scripts.store import clock
from scripts.store.shop import Shop

from .conftest import Receiver, Store, eventually, is_signed

ORDERS = (
    "{orders{edges{node{id name updatedAt refunds{id totalRefundedSet{shopMoney{amount}}} "
    "lineItems{edges{node{id quantity}}} shippingLines{edges{node{id title}}}}}}}"
)
RUN = (
    "mutation($query:String!){bulkOperationRunQuery(query:$query,groupObjects:%s)"
    "{bulkOperation{id status createdAt completedAt url} userErrors{field message code}}}"
)
SHOWN = "id status errorCode createdAt completedAt objectCount rootObjectCount fileSize url partialDataUrl query type"


class Bulk:
    """Shortcuts to a shop's bulk operations."""

    def __init__(self, store: Store, shop: Shop) -> None:
        self.store = store
        self.shop = shop
        self.path = f"/shops/{shop.domain}/bulk"
        self.change(createdSeconds=0)

    def change(self, **settings: Any) -> None:
        self.store.control("PATCH", self.path, settings)

    def break_(self, **faults: Any) -> None:
        self.store.control("PATCH", f"/shops/{self.shop.domain}", {"faults": faults})

    def ask(self, query: str, *, groups: bool = True) -> dict[str, Any]:
        """What the mutation answers."""
        text = RUN % ("true" if groups else "false")
        return self.store.data(self.shop, text, query=query)["bulkOperationRunQuery"]

    def begin(self, query: str = ORDERS, *, groups: bool = True) -> str:
        answer = self.ask(query, groups=groups)
        assert answer["userErrors"] == []
        return answer["bulkOperation"]["id"]

    def look(self, operation: str) -> dict[str, Any]:
        return self.store.post(self.shop, f'{{bulkOperation(id:"{operation}"){{{SHOWN}}}}}').json()["data"][
            "bulkOperation"
        ]

    def wait(self, operation: str, *statuses: str) -> dict[str, Any]:
        wanted = statuses or ("COMPLETED",)
        eventually(lambda: self.look(operation)["status"] in wanted)
        return self.look(operation)

    def finish(self, query: str = ORDERS, *, groups: bool = True) -> dict[str, Any]:
        return self.wait(self.begin(query, groups=groups))

    def result(self, query: str = ORDERS, *, groups: bool = True) -> list[dict[str, Any]]:
        """The nodes of a whole run."""
        return nodes(self.finish(query, groups=groups)["url"])

    def told(self) -> dict[str, Any]:
        return self.store.control("GET", self.path)

    def is_held(self, kind: str) -> bool:
        return any(item["isHeld"] for item in self.told()[kind])

    def release(self, lines: int | None = None) -> None:
        self.store.control("POST", self.path + "/release", {} if lines is None else {"lines": lines})


@pytest.fixture
def bulk(store: Store, shop: Shop) -> Bulk:
    return Bulk(store, shop)


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, timeout=10)


def nodes(url: str) -> list[dict[str, Any]]:
    answer = get(url)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.content.split(b"\n")[:-1]]


# What may be asked

REFUSED = [
    ("{shop{id}}", "at least one connection"),
    (
        "{a:orders{edges{node{id}}} b:orders{edges{node{id}}} c:orders{edges{node{id}}} d:orders{edges{node{id}}} "
        "e:orders{edges{node{id}}} f:orders{edges{node{id}}}}",
        "more than 5 connections",
    ),
    (
        "{customers{edges{node{id orders{edges{node{id agreements{edges{node{id sales{edges{node{id}}}}}}}}}}}}}",
        "nested deeper than 2",
    ),
    ("{orders{nodes{id}}}", "must select 'edges' with 'node' of a connection: orders"),
    ("{orders{edges{node{id lineItems{nodes{id}}}}}}", "must select 'edges' with 'node' of a connection: lineItems"),
    ("{orders{pageInfo{hasNextPage}}}", "must select 'edges' with 'node'"),
    ("{orders{edges{node{name lineItems{edges{node{id}}}}}}}", "Connection fields without 'id': lineItems"),
    ("{orders{edges{node{key:id lineItems{edges{node{id}}}}}}}", "must select the 'id' field without an alias"),
    ("{orders{edges{node{id refunds{id refundLineItems{edges{node{id}}}}}}}}", "connection field within a list field"),
    ("{shop{id} orders{edges{node{id}}}}", "Top-level fields of a bulk query must be connections: shop"),
    ("{orders{edges{node{id}}}", "Invalid bulk query: syntax error"),
    ("{orders{edges{node{nothing}}}}", "Field 'nothing' doesn't exist on type 'Order'"),
    ("query($q:String){orders(query:$q){edges{node{id}}}}", "variables are not supported"),
    ('mutation{orderDelete(orderId:"gid://shopify/Order/1"){deletedId}}', "exactly one query operation"),
    ("{__schema{queryType{name}}}", "at least one connection"),
    ("", "Invalid bulk query"),
]


@pytest.mark.parametrize(("query", "reason"), REFUSED)
def test_a_query_that_breaks_a_rule_is_invalid_and_the_message_says_which(bulk: Bulk, query: str, reason: str):
    answer = bulk.ask(query)
    assert answer["bulkOperation"] is None
    [error] = answer["userErrors"]
    assert (error["code"], error["field"]) == ("INVALID", ["query"])
    assert reason in error["message"]
    assert bulk.told()["operations"] == []


@pytest.mark.parametrize(
    "query",
    [
        "{customers{edges{node{id orders{edges{node{id lineItems{edges{node{id}}}}}}}}}}",
        "{orders{edges{node{id lineItems{edges{node{id}}} shippingLines{edges{node{id}}}"
        " discountApplications{edges{node{index}}} agreements{edges{node{id}}}}}}}",
        "{orders{edges{node{...F lineItems{edges{node{id}}}}}}} fragment F on Order{id}",
        "{orders{edges{node{...F}}}} fragment F on Order{id lineItems{edges{node{id}}}}",
        "{orders(first:3,after:null){pageInfo{hasNextPage} edges{cursor node{id}}}}",
    ],
)
def test_a_query_at_the_limits_of_the_rules_runs(bulk: Bulk, query: str):
    assert bulk.finish(query)["objectCount"] != "0"


def test_a_run_costs_ten_points_and_nothing_for_its_rows(store: Store, shop: Shop, bulk: Bulk):
    # Given a bucket that does not refill
    store.control("PATCH", f"/shops/{shop.domain}", {"restoreRate": 0.001, "bucketSize": 2000})
    answer = store.ask(shop, RUN % "false", query=ORDERS)
    assert answer["extensions"]["cost"]["actualQueryCost"] == 10
    bulk.wait(answer["data"]["bulkOperationRunQuery"]["bulkOperation"]["id"])
    left = store.ask(shop, "{shop{id}}")["extensions"]["cost"]["throttleStatus"]["currentlyAvailable"]
    assert left > 1900


def test_five_run_at_once_and_the_sixth_names_one_of_them(store: Store, bulk: Bulk):
    bulk.break_(bulk_held={"every": 1})
    running = [bulk.begin() for _ in range(5)]
    answer = bulk.ask(ORDERS)
    assert answer["bulkOperation"] is None
    [error] = answer["userErrors"]
    assert (error["field"], error["code"]) == (None, "OPERATION_IN_PROGRESS")
    prefix = "A bulk query operation for this app and shop is already in progress: "
    assert error["message"].removeprefix(prefix) in running
    # Another shop has five of its own
    assert Bulk(store, store.add("other.myshopify.com", seed=4)).finish()
    # And when one has ended there is room again
    eventually(lambda: len([item for item in bulk.told()["operations"] if item["isHeld"]]) == 5)
    bulk.break_(bulk_held=None)
    bulk.release()
    for operation in running:
        bulk.wait(operation)
    assert bulk.ask(ORDERS)["userErrors"] == []


# How it runs


def test_an_operation_is_created_runs_and_completes_with_its_counts(bulk: Bulk, shop: Shop):
    bulk.break_(bulk_held={"next": 1, "lines": 3})
    bulk.change(createdSeconds=0.3)
    answer = bulk.ask(ORDERS)["bulkOperation"]
    assert (answer["status"], answer["completedAt"], answer["url"]) == ("CREATED", None, None)
    running = bulk.wait(answer["id"], "RUNNING")
    assert (running["errorCode"], running["fileSize"], running["url"]) == (None, None, None)
    eventually(lambda: bulk.is_held("operations"))
    assert bulk.look(answer["id"])["objectCount"] == "3"
    bulk.release()
    done = bulk.wait(answer["id"])
    lines = get(done["url"]).content
    assert done["objectCount"] == str(lines.count(b"\n"))
    assert done["rootObjectCount"] == str(len(shop.orders.rows))
    assert done["fileSize"] == str(len(lines))
    assert done["partialDataUrl"] is None
    assert done["query"] == ORDERS
    assert done["type"] == "QUERY"
    assert done["completedAt"] >= done["createdAt"]


def test_lines_come_no_faster_than_told(bulk: Bulk):
    bulk.change(linesPerSecond=100)
    operation = bulk.begin()
    eventually(lambda: bulk.look(operation)["objectCount"] != "0")
    assert bulk.look(operation)["status"] == "RUNNING"
    bulk.change(linesPerSecond=0)


def test_an_operation_that_never_starts_stays_created_until_released(bulk: Bulk):
    bulk.break_(bulk_never_starts={"next": 1})
    operation = bulk.begin()
    eventually(lambda: bulk.is_held("operations"))
    assert bulk.look(operation)["status"] == "CREATED"
    bulk.release()
    bulk.wait(operation)


def test_an_operation_canceled_before_it_starts_never_runs(store: Store, shop: Shop, bulk: Bulk):
    bulk.break_(bulk_never_starts={"next": 1})
    operation = bulk.begin()
    eventually(lambda: bulk.is_held("operations"))
    store.data(shop, f'mutation{{bulkOperationCancel(id:"{operation}"){{userErrors{{message}}}}}}')
    assert bulk.wait(operation, "CANCELED")["objectCount"] == "0"


def test_nothing_found_completes_without_a_url(bulk: Bulk):
    done = bulk.finish('{orders(query:"id:1"){edges{node{id}}}}')
    assert (done["url"], done["objectCount"], done["fileSize"]) == (None, "0", "0")


def test_a_canceled_operation_goes_over_canceling_to_canceled(store: Store, shop: Shop, bulk: Bulk):
    bulk.break_(bulk_held={"next": 1, "lines": 5})
    operation = bulk.begin()
    eventually(lambda: bulk.is_held("operations"))
    cancel = f'mutation{{bulkOperationCancel(id:"{operation}"){{bulkOperation{{status}} userErrors{{field message}}}}}}'
    answer = store.data(shop, cancel)["bulkOperationCancel"]
    assert answer["userErrors"] == []
    assert answer["bulkOperation"]["status"] in {"CANCELING", "CANCELED"}
    ended = bulk.wait(operation, "CANCELED")
    assert (ended["url"], ended["partialDataUrl"], ended["errorCode"]) == (None, None, None)
    # Again, it is too late, and an unknown one does not exist
    again = store.data(shop, cancel)["bulkOperationCancel"]["userErrors"]
    assert again == [{"field": None, "message": "A bulk operation cannot be canceled when it is canceled"}]
    unknown = store.data(shop, cancel.replace(operation, "gid://shopify/BulkOperation/1"))["bulkOperationCancel"]
    assert unknown["userErrors"] == [{"field": ["id"], "message": "Bulk operation does not exist"}]


def test_operations_are_listed_by_status_and_found_as_nodes(store: Store, shop: Shop, bulk: Bulk):
    first = bulk.finish()["id"]
    bulk.break_(bulk_held={"next": 1})
    second = bulk.begin()
    eventually(lambda: bulk.is_held("operations"))

    def listed(query: str) -> list[str]:
        text = f'{{bulkOperations(first:10,query:"{query}"){{nodes{{id}}}}}}'
        return [item["id"] for item in store.data(shop, text)["bulkOperations"]["nodes"]]

    assert listed("") == [first, second]
    assert listed("status:running") == [second]
    node = store.data(shop, f'{{node(id:"{first}"){{id ... on BulkOperation{{status}}}}}}')["node"]
    assert node == {"id": first, "status": "COMPLETED"}
    assert store.data(shop, '{bulkOperation(id:"gid://shopify/BulkOperation/1"){id}}')["bulkOperation"] is None


@pytest.mark.parametrize("zoned", [False, True])
def test_the_end_is_told_by_a_webhook_in_either_form_of_time(store: Store, shop: Shop, receiver: Receiver, zoned: bool):
    bulk = Bulk(store, shop)
    create = (
        "mutation($uri:String!){webhookSubscriptionCreate(topic:BULK_OPERATIONS_FINISH,"
        "webhookSubscription:{uri:$uri}){userErrors{message}}}"
    )
    assert store.data(shop, create, uri=receiver.url)["webhookSubscriptionCreate"]["userErrors"] == []
    done = bulk.finish()
    if zoned == (int(done["id"].rpartition("/")[2]) % 2 == 0):
        done = bulk.finish()
        receiver.wait_for(2)
    received = receiver.wait_for(1)[-1]
    assert received["headers"]["X-Shopify-Topic"] == "bulk_operations/finish"
    assert is_signed(shop.settings.webhook_secret, received["body"], received["headers"]["X-Shopify-Hmac-Sha256"])
    payload = json.loads(received["body"])
    assert payload["admin_graphql_api_id"] == done["id"]
    assert (payload["status"], payload["error_code"], payload["type"]) == ("completed", None, "query")
    assert payload["completed_at"].endswith("Z") is not zoned


def test_a_restart_keeps_results_and_begins_anew_what_it_interrupted(tmp_path: Any):
    first = Store(tmp_path)
    bulk = Bulk(first, first.add())
    done = bulk.finish()
    content = get(done["url"]).content
    bulk.break_(bulk_held={"next": 1, "lines": 4})
    interrupted = bulk.begin()
    eventually(lambda: bulk.is_held("operations"))
    first.close()
    second = Store(tmp_path)
    try:
        shop = second.market.get(bulk.shop.domain)
        assert shop is not None
        again = Bulk(second, shop)
        assert get(again.look(done["id"])["url"]).content == content
        assert get(again.wait(interrupted)["url"]).content == content
    finally:
        second.close()


# What the file holds


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
    operation = store.data(shop, text, query=ORDERS)["bulkOperationRunQuery"]["bulkOperation"]["id"]
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


# How it fails


@pytest.mark.parametrize("code", ["INTERNAL_SERVER_ERROR", "TIMEOUT", "ACCESS_DENIED"])
def test_a_failed_operation_leaves_what_it_has_written(bulk: Bulk, code: str):
    bulk.break_(bulk_failed={"next": 1, "lines": 7, "error_code": code})
    ended = bulk.wait(bulk.begin(), "FAILED")
    assert (ended["errorCode"], ended["url"]) == (code, None)
    assert len(nodes(ended["partialDataUrl"])) == 7
    # And the next one is whole
    assert bulk.finish()


def test_an_operation_may_complete_with_lines_missing(bulk: Bulk):
    whole = bulk.finish()
    bulk.break_(bulk_short={"next": 1, "lines": 9})
    short = bulk.finish()
    assert short["objectCount"] == whole["objectCount"]
    assert len(nodes(short["url"])) == 9


def test_an_operation_that_failed_at_once_has_no_partial_data(bulk: Bulk):
    bulk.break_(bulk_failed={"next": 1})
    assert bulk.wait(bulk.begin(), "FAILED")["partialDataUrl"] is None


@pytest.mark.parametrize(("fault", "status"), [("bulk_expired", "EXPIRED"), ("bulk_canceled", "CANCELED")])
def test_an_operation_can_end_without_data(bulk: Bulk, fault: str, status: str, store: Store, receiver: Receiver):
    store.control("PATCH", "/webhooks", {"url": receiver.url})
    bulk.break_(**{fault: {"next": 1, "lines": 7}})
    ended = bulk.wait(bulk.begin(), status)
    assert (ended["errorCode"], ended["url"], ended["partialDataUrl"]) == (None, None, None)
    assert json.loads(receiver.wait_for(1)[0]["body"])["status"] == status.lower()


def test_a_held_operation_goes_on_by_as_many_lines_as_released(bulk: Bulk):
    bulk.break_(bulk_held={"next": 1, "lines": 2})
    operation = bulk.begin()
    for lines in (2, 3, 6):
        eventually(lambda lines=lines: bulk.is_held("operations") and bulk.look(operation)["objectCount"] == str(lines))
        bulk.release(lines=3 if lines == 3 else 1)
    eventually(lambda: bulk.is_held("operations"))
    assert bulk.look(operation)["objectCount"] == "7"
    bulk.release()
    bulk.wait(operation)


# How it is downloaded


def test_a_download_is_the_same_bytes_every_time_and_needs_no_token(bulk: Bulk):
    url = bulk.finish()["url"]
    first, second = get(url), get(url)
    assert first.content == second.content
    assert first.headers["Content-Type"] == "application/jsonl"
    assert first.headers["Accept-Ranges"] == "bytes"
    assert first.headers["ETag"] == second.headers["ETag"]
    assert first.headers["Last-Modified"]
    assert not bulk.told()["downloads"][-1]["hasToken"]
    get(url, **{"X-Shopify-Access-Token": "shpat_leaked"})
    assert bulk.told()["downloads"][-1]["hasToken"]


def test_a_range_gives_a_part(bulk: Bulk):
    url = bulk.finish()["url"]
    whole = get(url)
    size = len(whole.content)
    for asked, start, end in (
        ("bytes=10-19", 10, 20),
        (f"bytes={size - 5}-", size - 5, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=3-{size * 2}", 3, size),
    ):
        answer = get(url, Range=asked)
        assert answer.status_code == 206
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{size}"
        assert answer.content == whole.content[start:end]
    beyond = get(url, Range=f"bytes={size}-")
    assert beyond.status_code == 416
    assert beyond.headers["Content-Range"] == f"bytes */{size}"
    # Another version of the file than the one begun is sent whole
    assert get(url, Range="bytes=10-", **{"If-Range": '"other"'}).status_code == 200
    assert get(url, Range="bytes=10-", **{"If-Range": whole.headers["ETag"]}).status_code == 206


def test_a_link_is_signed_and_ends(bulk: Bulk):
    operation = bulk.finish()
    url = operation["url"]
    assert get(url[:-1] + ("0" if url[-1] != "0" else "1")).status_code == 403
    assert get(url.replace("Expires=1", "Expires=2")).status_code == 403
    assert get(url.partition("?")[0]).status_code == 403
    bulk.store.control("POST", bulk.path + "/expire", {"id": operation["id"]})
    gone = get(url)
    assert gone.status_code == 403
    assert "<Code>ExpiredToken</Code>" in gone.text
    # And still when the next operation has cleared its file away
    bulk.finish('{orders(query:"id:1"){edges{node{id}}}}')
    assert not bulk.shop.bulk.path(bulk.shop.bulk.all()[0]).exists()
    assert get(url).status_code == 403
    assert bulk.store.control("DELETE", bulk.path) == {"forgotten": 2}
    assert get(url).status_code == 404


def test_a_link_may_have_expired_at_its_first_use(bulk: Bulk):
    bulk.break_(bulk_link_expired={"next": 1})
    assert get(bulk.finish()["url"]).status_code == 403
    # Or only once
    bulk.break_(download_expired={"next": 1})
    url = bulk.finish()["url"]
    assert [get(url).status_code for _ in range(2)] == [403, 200]


def test_a_download_may_break_off(bulk: Bulk):
    url = bulk.finish()["url"]
    whole = get(url).content
    bulk.break_(download_cut={"next": 1, "bytes": 100})
    with requests.get(url, stream=True, timeout=10) as answer:
        assert answer.headers["Content-Length"] == str(len(whole))
        assert answer.raw.read(100, decode_content=False) == whole[:100]
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            list(answer.iter_content(50))
    assert get(url).content == whole


def test_a_download_may_end_early_as_if_it_were_whole(bulk: Bulk):
    done = bulk.finish()
    bulk.break_(download_short={"next": 1, "bytes": 100})
    short = get(done["url"])
    assert (short.status_code, len(short.content), short.headers["Content-Length"]) == (200, 100, "100")
    assert done["fileSize"] != "100"


def test_a_download_may_be_unavailable_trickle_or_ignore_ranges(bulk: Bulk):
    url = bulk.finish('{orders(query:"order_number:<1010"){edges{node{id}}}}')["url"]
    whole = get(url).content
    bulk.break_(download_unavailable={"next": 1})
    assert [get(url).status_code for _ in range(2)] == [503, 200]
    bulk.break_(download_ignores_range={"next": 1})
    ignored = get(url, Range="bytes=5-")
    assert (ignored.status_code, ignored.content) == (200, whole)
    bulk.break_(download_slow={"next": 1, "bytes_per_second": len(whole) * 2})
    began = time.monotonic()
    assert get(url).content == whole
    assert time.monotonic() - began > 0.4
    assert bulk.told()["downloads"][-1]["faults"] == ["download_slow"]


def test_a_held_download_waits_between_two_lines_until_released(bulk: Bulk):
    url = bulk.finish()["url"]
    whole = get(url).content.splitlines(keepends=True)
    bulk.break_(download_held={"next": 1, "lines": 4})
    taken: list[bytes] = []
    thread = threading.Thread(target=read, args=(url, taken.append))
    thread.start()
    eventually(lambda: bulk.is_held("downloads"))
    eventually(lambda: b"".join(taken) == b"".join(whole[:4]))
    bulk.release(lines=1)
    eventually(lambda: b"".join(taken) == b"".join(whole[:5]))
    eventually(lambda: bulk.is_held("downloads"))
    assert bulk.told()["downloads"][-1]["lines"] == 5
    bulk.release()
    thread.join(10)
    assert b"".join(taken) == b"".join(whole)


def read(url: str, take: Callable[[bytes], None]) -> None:
    """Take what comes as it comes."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    while data := answer.read1(65536):
        take(data)
    connection.close()


def test_a_download_that_resumes_is_held_behind_the_same_line(bulk: Bulk):
    url = bulk.finish()["url"]
    whole = get(url).content.split(b"\n")
    start = len(whole[0]) + 3
    bulk.break_(download_held={"next": 1, "lines": 2})
    taken: list[bytes] = []
    thread = threading.Thread(
        target=lambda: taken.append(get(url, Range=f"bytes={start}-").content),
    )
    thread.start()
    eventually(lambda: bulk.is_held("downloads"))
    assert bulk.told()["downloads"][-1]["bytes"] == len(whole[0]) + 1 + len(whole[1]) + 1 - start
    bulk.release()
    thread.join(10)
    assert taken == [b"\n".join(whole)[start:]]


def test_settings_that_do_not_exist_are_refused(bulk: Bulk):
    answer = requests.patch(bulk.store.url + "/control" + bulk.path, json={"speed": 1}, timeout=5)
    assert answer.status_code == 400
    assert answer.json() == {"error": "unknown: speed"}
