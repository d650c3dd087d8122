"""The cost of queries, and the bucket that pays for them."""

import pytest

from scripts.store.bucket import Bucket
from scripts.store.cost import size_factor
from scripts.store.shop import Shop

from .conftest import Store
from .queries import ORDERS_IN_FULL

DISCOUNTS = "discountApplications(first:5){nodes{index value{... on PricingPercentageValue{percentage}}}}"
MEASURED = [
    ("{products(first:250){nodes{id}}}", 13),
    ("{orders(first:250){nodes{id lineItems(first:250){nodes{id}}}}}", 156),
    ("{products(first:250){nodes{id variants(first:250){nodes{id}} options{name}}}}", 167),
    (ORDERS_IN_FULL, 772),
    (ORDERS_IN_FULL.replace("lineItems(first:25)", "lineItems(first:50)"), 827),
    (ORDERS_IN_FULL.replace("lineItems(first:25)", "lineItems(first:100)"), 937),
    (
        ORDERS_IN_FULL.replace("customer{id}", f"customer{{id}} {DISCOUNTS}", 1).replace(
            "discountAllocations{", "discountAllocations{discountApplication{index} ", 1
        ),
        926,
    ),
    (
        "{shop{name plan{publicDisplayName}} currentAppInstallation{accessScopes{handle}} ordersCount{count precision}}",
        14,
    ),
    ("{webhookSubscriptions(first:100){nodes{id topic apiVersion{handle}} pageInfo{hasNextPage}}}", 20),
    ("{events(first:250){nodes{id ... on BasicEvent{subjectId subjectType}}}}", 13),
    ('{order(id:"gid://shopify/Order/1"){id}}', 1),
    ('mutation{webhookSubscriptionDelete(id:"gid://shopify/WebhookSubscription/1"){userErrors{message}}}', 10),
]


@pytest.mark.parametrize(("query", "cost"), MEASURED, ids=[str(cost) for _, cost in MEASURED])
def test_a_query_costs_what_shopify_measured(store: Store, shop: Shop, query: str, cost: int):
    assert store.ask(shop, query)["extensions"]["cost"]["requestedQueryCost"] == cost


def test_the_size_of_a_connection_counts_by_twice_its_logarithm():
    assert [size_factor(edges) for edges in (0, 1, 2, 3, 10, 25, 250)] == [0, 1, 1, 2, 4, 6, 11]


def test_a_page_size_in_a_variable_costs_as_much_as_one_in_the_text(store: Store, shop: Shop):
    answer = store.ask(shop, "query($n:Int!){products(first:$n){nodes{id}}}", n=250)
    assert answer["extensions"]["cost"]["requestedQueryCost"] == 13


def test_the_bucket_is_charged_for_the_edges_that_came(store: Store, shop: Shop):
    # Given twelve products only, and a bucket that does not refill
    store.control("PATCH", f"/shops/{shop.domain}", {"restoreRate": 0.001, "bucketSize": 2000})
    cost = store.ask(shop, "{products(first:250){nodes{id}}}")["extensions"]["cost"]
    # Then s(12) is 4, and the bucket shows what is left of it
    assert (cost["requestedQueryCost"], cost["actualQueryCost"]) == (13, 6)
    assert cost["throttleStatus"] == {"maximumAvailable": 2000, "currentlyAvailable": 1994, "restoreRate": 0.001}


def test_a_query_over_a_thousand_points_is_refused_on_any_plan(store: Store, shop: Shop):
    query = "{orders(first:250){nodes{id lineItems(first:250){nodes{id product{id} variant{id product{id title} selectedOptions{name} inventoryItem{id}} taxLines{rate} discountAllocations{__typename}}}}}}"
    answer = store.ask(shop, query)
    assert set(answer) == {"errors"}
    assert answer["errors"][0]["extensions"]["code"] == "MAX_COST_EXCEEDED"
    assert answer["errors"][0]["extensions"]["maxCost"] == 1000
    assert answer["errors"][0]["extensions"]["cost"] > 1000


def test_an_empty_bucket_answers_throttled_with_http_200(store: Store, shop: Shop):
    # Given a Standard shop whose bucket does not refill
    store.control("PATCH", f"/shops/{shop.domain}", {"plan": "Standard", "restoreRate": 0.001, "bucketSize": 800})
    assert "data" in store.post(shop, ORDERS_IN_FULL).json()
    # When the next dense page does not fit any more
    answer = store.post(shop, ORDERS_IN_FULL)
    # Then it says so as Shopify does
    assert answer.status_code == 200
    assert "Retry-After" not in answer.headers
    body = answer.json()
    assert "data" not in body
    assert body["errors"][0]["message"] == "Throttled"
    assert body["errors"][0]["extensions"]["code"] == "THROTTLED"
    cost = body["extensions"]["cost"]
    assert (cost["requestedQueryCost"], cost["actualQueryCost"]) == (772, None)
    assert cost["throttleStatus"]["currentlyAvailable"] < 772


def test_a_bucket_restores_by_the_second_up_to_its_size():
    now = [0.0]
    bucket = Bucket(100, clock=lambda: now[0])
    assert bucket.maximum == 2000
    assert bucket.take(1900).is_granted
    assert not bucket.take(200).is_granted
    now[0] += 1.0
    assert bucket.take(200).is_granted
    now[0] += 60.0
    assert bucket.settle(200, 0) == 2000
