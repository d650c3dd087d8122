"""Webhooks: which ones an action sends, what they hold, how they are signed and how stubbornly they are delivered."""

import json
import re
from datetime import datetime
from typing import Any

import pytest

from scripts.store.shop import Shop

from .conftest import Receiver, Store, eventually, is_signed, payloads


def topics(answer: dict[str, Any]) -> list[str]:
    return [topic for topic, _ in payloads(answer)]


def created(store: Store, shop: Shop, **more: Any) -> dict[str, Any]:
    return store.act(shop, {"action": "createOrder", **more})["done"][0]


def test_each_action_sends_the_topics_that_shopify_sends(store: Store, shop: Shop):
    customer = {"action": "createCustomer"}
    assert topics(store.act(shop, customer)) == ["customers/create"]
    assert topics(store.act(shop, {"action": "createOrder"})) == [
        "orders/create",
        "orders/paid",
        "order_transactions/create",
    ]
    order = created(store, shop, lines=[{"quantity": 3}])["id"]
    expected = {
        "updateOrder": (["orders/updated"], {"note": "x"}),
        "fulfillOrder": (["orders/fulfilled", "orders/updated"], {}),
        "editOrder": (["orders/edited", "orders/updated"], {"remove": {"quantity": 1}}),
        "refundOrder": (["refunds/create", "orders/updated", "order_transactions/create"], {"quantity": 1}),
        "cancelOrder": (["refunds/create", "orders/cancelled", "orders/updated", "order_transactions/create"], {}),
        "deleteOrder": (["orders/delete"], {}),
    }
    for action, (wanted, more) in expected.items():
        assert topics(store.act(shop, {"action": action, "id": order, **more})) == wanted, action
    product = store.act(shop, {"action": "createProduct"})["done"][0]["id"]
    assert topics(store.act(shop, {"action": "updateProduct", "id": product, "title": "New"})) == ["products/update"]
    assert payloads(store.act(shop, {"action": "deleteProduct", "id": product})) == [
        ("products/delete", {"id": int(product)})
    ]


def test_an_order_payload_has_rest_shape_strings_offsets_and_whole_seconds(store: Store, shop: Shop):
    store.act(
        shop,
        {
            "action": "createOrder",
            "email": "a@example.com",
            "lines": [{"quantity": 2, "price": "19.90"}],
            "shipping": "4.90",
            "taxPermille": 190,
            "discountPercent": 10,
            "presentmentCurrency": "EUR",
            "rate": 0.9,
        },
    )
    payload = payloads(
        store.act(
            shop,
            {
                "action": "createOrder",
                "email": "a@example.com",
                "lines": [{"quantity": 2, "price": "19.90"}],
                "shipping": "4.90",
                "taxPermille": 190,
                "discountPercent": 10,
                "presentmentCurrency": "EUR",
                "rate": 0.9,
            },
        )
    )[0][1]
    assert payload["total_line_items_price"] == "39.80"
    assert payload["total_discounts"] == "3.98"
    assert payload["subtotal_price"] == "35.82"
    assert payload["total_price"] == payload["current_total_price"] == "48.46"
    assert payload["total_price_set"]["presentment_money"]["currency_code"] == "EUR"
    assert (payload["currency"], payload["presentment_currency"]) == ("USD", "EUR")
    assert payload["financial_status"] == "paid"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-0[45]:00", payload["updated_at"])
    assert payload["admin_graphql_api_id"] == f"gid://shopify/Order/{payload['id']}"
    assert payload["line_items"][0]["quantity"] == 2
    assert payload["customer"] is None


def test_a_refund_payload_carries_numbers_adjustments_and_the_buyers_currency(store: Store, shop: Shop):
    order = created(
        store,
        shop,
        lines=[{"quantity": 2, "price": "50.00"}],
        shipping="10.00",
        taxPermille=100,
        presentmentCurrency="EUR",
        rate=0.5,
    )
    answer = store.act(
        shop, {"action": "refundOrder", "id": order["id"], "quantity": 1, "shipping": "4.00", "amount": "54.40"}
    )
    found = dict(payloads(answer))
    refund, transaction = found["refunds/create"], found["order_transactions/create"]
    assert refund["refund_line_items"][0]["subtotal"] == 50.0
    assert refund["refund_shipping_lines"][0]["subtotal_amount_set"]["shop_money"]["amount"] == "4.00"
    kinds = {part["kind"]: part["amount"] for part in refund["order_adjustments"]}
    assert kinds == {"shipping_refund": "-4.00", "refund_discrepancy": "5.00"}
    assert "updated_at" not in refund
    assert (transaction["amount"], transaction["currency"], transaction["kind"]) == ("27.20", "EUR", "refund")
    embedded = found["orders/updated"]["refunds"][0]
    assert "refund_shipping_lines" not in embedded


def test_an_edit_holds_only_the_edit(store: Store, shop: Shop):
    order = created(store, shop, lines=[{"quantity": 3}])
    payload = payloads(store.act(shop, {"action": "editOrder", "id": order["id"], "remove": {"quantity": 2}}))[0][1]
    assert list(payload) == ["order_edit"]
    assert payload["order_edit"]["order_id"] == int(order["id"])
    assert payload["order_edit"]["line_items"]["removals"] == [{"id": int(order["lineIds"][0]), "delta": 2}]


def test_customer_payloads_lack_tags_and_a_merge_names_both(store: Store, shop: Shop):
    answer = store.act(
        shop,
        {"action": "createCustomer", "tags": ["vip"]},
        {"action": "createCustomer"},
        {"action": "createOrder", "customerId": "$0"},
    )
    one, two, order = (done["id"] for done in answer["done"])
    assert "tags" not in payloads(answer)[0][1]
    merge = dict(payloads(store.act(shop, {"action": "mergeCustomers", "one": one, "two": two})))["customers/merge"]
    assert merge["admin_graphql_api_customer_kept_id"] == f"gid://shopify/Customer/{two}"
    assert merge["admin_graphql_api_customer_deleted_id"] == f"gid://shopify/Customer/{one}"
    assert (
        store.data(shop, "query($id:ID!){order(id:$id){customer{id}}}", id=f"gid://shopify/Order/{order}")["order"][
            "customer"
        ]["id"]
        == f"gid://shopify/Customer/{two}"
    )
    assert (
        store.data(shop, "query($id:ID!){customer(id:$id){id}}", id=f"gid://shopify/Customer/{one}")["customer"] is None
    )


def test_a_product_of_many_variants_carries_a_hundred_and_the_ids_of_all(store: Store, shop: Shop):
    product = sorted(shop.products.rows)[1]
    payload = payloads(store.act(shop, {"action": "updateProduct", "id": str(product), "title": "Thread"}))[0][1]
    assert len(payload["variants"]) == 100
    assert len(payload["variant_gids"]) == 130


def test_changes_within_one_second_differ_only_in_microseconds(store: Store, shop: Shop):
    answer = store.act(
        shop,
        {"action": "createOrder"},
        *({"action": "updateOrder", "id": "$0", "note": f"{n}"} for n in range(3)),
        sameSecond=True,
    )
    shown = {payload["updated_at"] for topic, payload in payloads(answer) if topic.startswith("orders/")}
    assert len(shown) == 1
    triggered = [item["headers"]["X-Shopify-Triggered-At"] for item in answer["webhooks"]]
    assert len(set(triggered)) > 3
    query = "query($id:ID!){order(id:$id){note}}"
    assert store.data(shop, query, id=f"gid://shopify/Order/{answer['done'][0]['id']}")["order"]["note"] == "2"


def test_a_delivery_is_signed_and_has_all_headers(store: Store, shop: Shop, receiver: Receiver):
    store.control("PATCH", "/webhooks", {"url": receiver.url})
    created_answer = store.act(shop, {"action": "createOrder"}, webhooks="send")
    assert created_answer["webhooksQueued"] == 3
    received = receiver.wait_for(3)
    for item in received:
        headers = item["headers"]
        assert is_signed(shop.settings.webhook_secret, item["body"], headers["X-Shopify-Hmac-Sha256"])
        assert headers["X-Shopify-Shop-Domain"] == shop.domain
        assert headers["X-Shopify-API-Version"] == "2026-10"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", headers["X-Shopify-Triggered-At"])
    assert len({item["headers"]["X-Shopify-Webhook-Id"] for item in received}) == 3
    assert len({item["headers"]["X-Shopify-Event-Id"] for item in received}) == 1


def test_what_is_not_taken_is_sent_again_as_it_was(store: Store, shop: Shop, receiver: Receiver):
    store.control("PATCH", "/webhooks", {"url": receiver.url, "firstPauseSeconds": 0.02, "longestPauseSeconds": 0.05})
    # Given a receiver that first fails, then redirects
    receiver.statuses = [500, 302, 503]
    store.act(shop, {"action": "updateOrder", "id": str(min(shop.orders.rows)), "note": "x"}, webhooks="send")
    received = receiver.wait_for(4)
    # Then every attempt is the same webhook
    assert [item["status"] for item in received] == [500, 302, 503, 200]
    assert len({(item["headers"]["X-Shopify-Webhook-Id"], item["body"]) for item in received}) == 1
    eventually(lambda: store.control("GET", "/webhooks")["pending"] == 0)
    stats = store.control("GET", "/webhooks")
    assert (stats["sent"], stats["failedAttempts"], stats["failed"]) == (1, 3, 0)


def test_a_receiver_that_was_away_gets_everything_on_its_return(store: Store, shop: Shop, receiver: Receiver):
    store.control("PATCH", "/webhooks", {"url": "http://127.0.0.1:9/closed", "firstPauseSeconds": 30})
    store.act(shop, {"action": "createCustomer"}, {"action": "createProduct"}, webhooks="send")
    eventually(lambda: store.control("GET", "/webhooks")["failedAttempts"] >= 2)
    assert store.control("GET", "/webhooks")["pending"] == 2
    assert not store.control("POST", "/webhooks/flush?timeout=0.1")["flushed"]


def test_giving_up_after_the_last_retry_counts_as_failed(store: Store, shop: Shop):
    store.control(
        "PATCH",
        "/webhooks",
        {
            "url": "http://127.0.0.1:9/",
            "firstPauseSeconds": 0.01,
            "longestPauseSeconds": 0.01,
            "retries": 2,
            "giveUp": True,
        },
    )
    store.act(shop, {"action": "createCustomer"}, webhooks="send")
    eventually(lambda: store.control("GET", "/webhooks")["failed"] == 1)
    assert store.control("GET", "/webhooks")["failedAttempts"] == 3


def test_duplicates_keep_their_webhook_id(store: Store, shop: Shop, receiver: Receiver):
    store.control("PATCH", "/webhooks", {"url": receiver.url, "twicePermille": 1000, "lateSeconds": 0.1})
    store.act(shop, {"action": "createCustomer"}, webhooks="send")
    received = receiver.wait_for(2)
    assert len({item["headers"]["X-Shopify-Webhook-Id"] for item in received}) == 1


def test_live_traffic_goes_to_live_shops_alone_and_its_webhooks_add_up(store: Store, shop: Shop, receiver: Receiver):
    quiet = store.add("quiet.myshopify.com", is_live=False)
    before = dict(quiet.orders.rows)
    store.control("PATCH", "/webhooks", {"url": receiver.url, "webhooksPerSecond": 400})
    receiver.wait_for(250, timeout=20)
    store.control("PATCH", "/webhooks", {"webhooksPerSecond": 0})
    assert store.control("POST", "/webhooks/flush?timeout=10")["flushed"]
    assert quiet.orders.rows == before
    assert {item["headers"]["X-Shopify-Shop-Domain"] for item in receiver.received} == {shop.domain}
    # The last whole order that webhooks told of is what the shop holds
    latest: dict[int, tuple[str, str]] = {}
    for item in receiver.received:
        topic, body = item["headers"]["X-Shopify-Topic"], json.loads(item["body"])
        stamp = item["headers"]["X-Shopify-Triggered-At"]
        if topic == "orders/delete":
            latest.pop(body["id"], None)
            assert body["id"] not in shop.orders.rows
        elif topic.startswith("orders/") and topic != "orders/edited" and body["id"] in shop.orders.rows:
            latest[body["id"]] = max(latest.get(body["id"], ("", "")), (stamp, body["current_total_price"]))
    assert len(latest) > 20
    for number, (_, total) in latest.items():
        assert f"{shop.orders.rows[number].total / 100:.2f}" == total


SUBSCRIBE = """mutation($uri:String!,$topic:WebhookSubscriptionTopic!){webhookSubscriptionCreate(topic:$topic,webhookSubscription:{uri:$uri})
 {webhookSubscription{id topic uri format filter apiVersion{handle} createdAt} userErrors{field message}}}"""


def test_a_subscription_gets_its_topic_only(store: Store, shop: Shop, receiver: Receiver):
    made = store.data(shop, SUBSCRIBE, uri=receiver.url, topic="ORDERS_UPDATED")["webhookSubscriptionCreate"]
    assert made["userErrors"] == []
    store.act(shop, {"action": "createOrder"}, {"action": "updateOrder", "id": "$0", "note": "x"}, webhooks="send")
    receiver.wait_for(1)
    assert store.control("POST", "/webhooks/flush")["flushed"]
    assert receiver.topics() == ["orders/updated"]
    listed = store.data(shop, "{webhookSubscriptions(first:100){nodes{id topic uri}}}")["webhookSubscriptions"]["nodes"]
    assert [item["id"] for item in listed] == [made["webhookSubscription"]["id"]]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "Address can't be blank"),
        ("not an address", "Address is invalid"),
        ("http://example.com/hooks", "Address protocol http:// is not supported"),
        ("https://x.myshopify.com/hooks", "Address cannot be a Shopify or an internal domain"),
    ],
)
def test_a_bad_address_is_a_user_error(store: Store, shop: Shop, uri: str, message: str):
    made = store.data(shop, SUBSCRIBE, uri=uri, topic="ORDERS_CREATE")["webhookSubscriptionCreate"]
    assert made == {
        "webhookSubscription": None,
        "userErrors": [{"field": ["webhookSubscription", "callbackUrl"], "message": message}],
    }


def test_an_address_is_taken_once_per_topic_and_a_deleted_subscription_is_gone(store: Store, shop: Shop):
    made = store.data(shop, SUBSCRIBE, uri="https://example.com/h", topic="ORDERS_CREATE")
    gid = made["webhookSubscriptionCreate"]["webhookSubscription"]["id"]
    again = store.data(shop, SUBSCRIBE, uri="https://example.com/h", topic="ORDERS_CREATE")["webhookSubscriptionCreate"]
    assert again["userErrors"][0]["message"] == "Address for this topic has already been taken"
    delete = (
        "mutation($id:ID!){webhookSubscriptionDelete(id:$id){deletedWebhookSubscriptionId userErrors{field message}}}"
    )
    assert store.data(shop, delete, id=gid)["webhookSubscriptionDelete"]["deletedWebhookSubscriptionId"] == gid
    gone = store.data(shop, delete, id=gid)["webhookSubscriptionDelete"]
    assert gone["userErrors"] == [{"field": ["id"], "message": "Webhook subscription does not exist"}]


def test_a_delivery_time_never_lies_in_the_future(store: Store, shop: Shop):
    answer = store.act(shop, {"action": "createOrder"}, {"action": "cancelOrder", "id": "$0"})
    for item in answer["webhooks"]:
        stamp = item["headers"]["X-Shopify-Triggered-At"]
        assert datetime.fromisoformat(stamp[:26] + "+00:00").timestamp() < datetime.now().astimezone().timestamp() + 1


def test_a_subscription_whose_delivery_is_given_up_is_deleted(store: Store, shop: Shop):
    store.control("PATCH", "/webhooks", {"firstPauseSeconds": 0.01, "longestPauseSeconds": 0.01, "giveUp": True})
    store.data(shop, SUBSCRIBE, uri="http://127.0.0.1:9/closed", topic="CUSTOMERS_CREATE")
    store.act(shop, {"action": "createCustomer"}, webhooks="send")
    eventually(lambda: not shop.subscriptions)
    assert store.data(shop, "{webhookSubscriptionsCount{count}}")["webhookSubscriptionsCount"]["count"] == 0
