"""Bulk operations: what they may ask, how they run, are told of, and end."""

import json
import time
from typing import Any

import pytest
import requests

from scripts.store.bulk.running import STRIDE
from scripts.store.shop import Shop

from .conftest import Bulk, Receiver, Store, eventually, get, is_signed, nodes
from .queries import BULK_ORDERS, RUN_BULK

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
    answer = store.ask(shop, RUN_BULK % "false", query=BULK_ORDERS)
    assert answer["extensions"]["cost"]["actualQueryCost"] == 10
    bulk.wait(answer["data"]["bulkOperationRunQuery"]["bulkOperation"]["id"])
    left = store.ask(shop, "{shop{id}}")["extensions"]["cost"]["throttleStatus"]["currentlyAvailable"]
    assert left > 1900


def test_five_run_at_once_and_the_sixth_names_one_of_them(store: Store, bulk: Bulk):
    bulk.break_(bulk_held={"every": 1})
    running = [bulk.begin() for _ in range(5)]
    answer = bulk.ask(BULK_ORDERS)
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
    assert bulk.ask(BULK_ORDERS)["userErrors"] == []


# How it runs


def test_an_operation_is_created_runs_and_completes_with_its_counts(bulk: Bulk, shop: Shop):
    bulk.break_(bulk_held={"next": 1, "lines": 3})
    bulk.change(createdSeconds=0.3)
    answer = bulk.ask(BULK_ORDERS)["bulkOperation"]
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
    assert done["query"] == BULK_ORDERS
    assert done["type"] == "QUERY"
    assert done["completedAt"] >= done["createdAt"]


def test_lines_come_no_faster_than_told(bulk: Bulk):
    bulk.change(linesPerSecond=500)
    began = time.monotonic()
    lines = int(bulk.finish()["objectCount"])
    assert time.monotonic() - began > (lines - STRIDE) / 500


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


# How it fails


@pytest.mark.parametrize("code", ["INTERNAL_SERVER_ERROR", "TIMEOUT", "ACCESS_DENIED"])
def test_a_failed_operation_leaves_what_it_has_written(bulk: Bulk, code: str):
    bulk.break_(bulk_failed={"next": 1, "lines": 7, "error_code": code})
    ended = bulk.wait(bulk.begin(), "FAILED")
    assert (ended["errorCode"], ended["url"]) == (code, None)
    assert len(nodes(ended["partialDataUrl"])) == 7
    # And the next one is whole
    assert bulk.finish()


def test_a_fault_behind_the_last_line_strikes_there(bulk: Bulk):
    whole = bulk.finish()
    bulk.break_(bulk_failed={"next": 1, "lines": 1_000_000}, bulk_held={"next": 1, "lines": 1_000_000})
    operation = bulk.begin()
    eventually(lambda: bulk.is_held("operations"))
    assert bulk.look(operation)["objectCount"] == whole["objectCount"]
    bulk.release()
    failed = bulk.wait(operation, "FAILED")
    assert nodes(failed["partialDataUrl"]) == nodes(whole["url"])


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
    assert (ended["objectCount"], ended["fileSize"]) == ("7", "0")
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


def test_settings_that_do_not_exist_are_refused(bulk: Bulk):
    answer = requests.patch(bulk.store.url + "/control" + bulk.path, json={"speed": 1}, timeout=5)
    assert answer.status_code == 400
    assert answer.json() == {"error": "unknown: speed"}
