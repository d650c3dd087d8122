"""Webhook bodies: each topic takes its own shape, of its own shop, and nothing else."""

import json
from datetime import UTC, datetime

import pytest

from shopify.errors import PayloadRejected
from shopify.events import (
    AppUninstalled,
    BulkFinished,
    DataRequested,
    Delete,
    Fetch,
    Merge,
    MergeNotDone,
    RedactCustomer,
    RedactShop,
    ScopesUpdated,
    ShopUpdated,
    Unknown,
    Upsert,
)
from shopify.resources import RESOURCES
from shopify.row import RowRejected
from shopify.shop import ShopInfo
from shopify.webhooks import event_of, names_another_shop
from tests.shopify.sample import body, sample

SHOP = "x.myshopify.com"
INFO = ShopInfo(
    shopify_id=954889,
    name="X",
    domain=SHOP,
    currency="CAD",
    timezone="America/Toronto",
    plan="Basic",
    scopes=None,
    updated_at=datetime(2026, 11, 2, 14, tzinfo=UTC),
)
ITEM = 271878346596884015
WHOLE = {
    "orders": ["create", "updated", "paid", "cancelled", "fulfilled", "partially_fulfilled"],
    "customers": ["create", "update", "enable", "disable"],
    "products": ["create", "update"],
    "inventory_items": ["create", "update"],
}
PAYLOADS = {
    "orders": "order_payload",
    "customers": "customer_payload",
    "products": "product_payload",
    "inventory_items": "inventory_item_payload",
}
#: Every topic and the sample that is its body.
BODIES = {
    **{f"{resource}/{verb}": PAYLOADS[resource] for resource, verbs in WHOLE.items() for verb in verbs},
    "orders/delete": "orders_delete",
    "products/delete": "orders_delete",
    "customers/delete": "customers_delete",
    "customers/merge": "customers_merge",
    "inventory_items/delete": "inventory_items_delete",
    "inventory_levels/connect": "inventory_level_payload",
    "inventory_levels/update": "inventory_level_payload",
    "inventory_levels/disconnect": "inventory_levels_disconnect",
    "orders/edited": "orders_edited",
    "refunds/create": "refund_payload",
    "order_transactions/create": "transaction_payload",
    "app/uninstalled": "shop_payload",
    "shop/update": "shop_payload",
    "app/scopes_update": "app_scopes_update",
    "bulk_operations/finish": "bulk_operations_finish",
    "customers/data_request": "customers_data_request",
    "customers/redact": "customers_redact",
    "shop/redact": "shop_redact",
}
#: Bodies that cannot be told apart: another's is taken, since nothing in them says whose they are.
ALIKE = [
    {"orders/delete", "products/delete", "customers/delete", "inventory_items/delete"},
    {"app/uninstalled", "shop/update"},
    {"inventory_levels/connect", "inventory_levels/update", "inventory_levels/disconnect"},
]


@pytest.mark.parametrize(("resource", "verb"), [(name, verb) for name, verbs in WHOLE.items() for verb in verbs])
def test_a_whole_payload_is_an_upsert_of_its_row(resource, verb):
    payload = sample(PAYLOADS[resource])
    row = RESOURCES[resource].from_payload(payload)
    assert event_of(f"{resource}/{verb}", body(PAYLOADS[resource]), SHOP) == Upsert(resource, row)


@pytest.mark.parametrize(
    ("topic", "event"),
    [
        ("orders/delete", Delete("orders", 1001)),
        ("products/delete", Delete("products", 1001)),
        ("customers/delete", Delete("customers", 8759)),
        ("inventory_items/delete", Delete("inventory_items", ITEM)),
        *(
            (f"inventory_levels/{verb}", Fetch("inventory_items", ITEM, f"inventory_levels/{verb} tells of it in part"))
            for verb in ("connect", "update", "disconnect")
        ),
        ("customers/merge", MergeNotDone(kept_id=2, deleted_id=1, status="failed")),
        ("orders/edited", Fetch("orders", 1001, "orders/edited tells of it in part")),
        ("refunds/create", Fetch("orders", 1001, "refunds/create tells of it in part")),
        ("order_transactions/create", Fetch("orders", 1001, "order_transactions/create tells of it in part")),
        ("app/uninstalled", AppUninstalled(INFO)),
        ("shop/update", ShopUpdated(INFO)),
        ("app/scopes_update", ScopesUpdated(frozenset({"read_products"}), frozenset({"read_products", "read_orders"}))),
        ("bulk_operations/finish", BulkFinished("gid://shopify/BulkOperation/72", "completed", None)),
        ("customers/data_request", DataRequested(191167, (299938,), 9999, "j@example.com", "555-625-1199")),
        ("customers/redact", RedactCustomer(191167, (299938,), "j@example.com", "555-625-1199")),
        ("shop/redact", RedactShop(954889)),
    ],
)
def test_a_documented_body_is_its_topics_event(topic, event):
    assert event_of(topic, body(BODIES[topic]), SHOP) == event


@pytest.mark.parametrize("topic", BODIES)
def test_a_body_of_another_topics_shape_is_refused(topic):
    for other, name in BODIES.items():
        if BODIES[topic] == name or any({topic, other} <= alike for alike in ALIKE):
            continue
        # When the signed body of another topic comes under this one
        with pytest.raises(PayloadRejected):
            event_of(topic, body(name), SHOP)


def test_an_unknown_topic_is_unknown_whatever_its_body():
    assert event_of("carts/update", b"\xff not even JSON", SHOP) == Unknown("carts/update")


@pytest.mark.parametrize("topic", BODIES)
@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"5", b'"x"', b"{", b"{}", b"\xff\xfe{}", b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5000],
    ids=["nothing", "null", "list", "number", "text", "cut", "empty", "not UTF-8", "deep list", "deep", "huge number"],
)
def test_what_is_no_payload_at_all_is_refused(topic, raw):
    with pytest.raises(PayloadRejected):
        event_of(topic, raw, SHOP)


@pytest.mark.parametrize("topic", ["orders/create", "customers/update", "products/update"])
def test_an_id_alone_is_no_resource(topic):
    with pytest.raises(PayloadRejected):
        event_of(topic, b'{"id":1001}', SHOP)


@pytest.mark.parametrize("key", ["updated_at", "email", "note", "tax_exemptions"])
def test_a_delete_has_nothing_but_ids(key):
    with pytest.raises(PayloadRejected, match="nothing but ids"):
        event_of("orders/delete", json.dumps({"id": 1001, key: []}).encode(), SHOP)


@pytest.mark.parametrize("shopify_id", [None, 0, -1, 2**63, "1001", 1001.0, True, {}])
def test_a_delete_without_a_true_id_is_refused(shopify_id):
    with pytest.raises(PayloadRejected):
        event_of("orders/delete", json.dumps({"id": shopify_id}).encode(), SHOP)


@pytest.mark.parametrize("gid", ["gid://shopify/Order/8759", "gid://shopify/Customer/1", 8759, None])
def test_a_delete_whose_ids_contradict_each_other_is_refused(gid):
    with pytest.raises(PayloadRejected):
        event_of("customers/delete", body("customers_delete", admin_graphql_api_id=gid), SHOP)


def test_an_order_whose_global_id_is_another_ones_is_refused():
    with pytest.raises(PayloadRejected):
        event_of("orders/updated", body("order_payload", admin_graphql_api_id="gid://shopify/Order/1"), SHOP)


def test_an_order_that_cannot_be_stored_is_refused_as_a_row():
    with pytest.raises(RowRejected, match="note holds a NUL"):
        event_of("orders/updated", body("order_payload", note="a\x00"), SHOP)


@pytest.mark.parametrize("number", ["1e999999999999999999999", "NaN", "Infinity", "-Infinity"])
def test_an_absurd_number_refuses_the_order_where_it_is_stored_and_nowhere_else(number):
    raw = body("order_payload").decode()
    with pytest.raises(RowRejected, match="total_tax"):
        event_of("orders/updated", raw.replace('"total_tax": "142.64"', f'"total_tax": {number}').encode(), SHOP)
    assert isinstance(event_of("orders/updated", raw.replace("580111", number).encode(), SHOP), Upsert)


@pytest.mark.parametrize("status", ["completed", "success", "COMPLETED", None])
def test_a_merge_that_succeeded_names_the_one_that_is_kept(status):
    raw = body("customers_merge", status=status, errors=[])
    assert event_of("customers/merge", raw, SHOP) == Merge(kept_id=2, deleted_id=1)


@pytest.mark.parametrize("status", ["failed", "FAILED", "in_progress", "requested"])
def test_a_merge_that_is_not_done_changes_nothing(status):
    raw = body("customers_merge", status=status, errors=[])
    assert event_of("customers/merge", raw, SHOP) == MergeNotDone(2, 1, status.lower())


def test_a_merge_of_one_customer_with_itself_is_refused():
    one = "gid://shopify/Customer/1"
    with pytest.raises(PayloadRejected):
        event_of("customers/merge", body("customers_merge", admin_graphql_api_customer_kept_id=one), SHOP)


@pytest.mark.parametrize("topic", ["app/uninstalled", "shop/update", "customers/redact", "shop/redact"])
def test_a_body_that_names_another_shop_is_refused(topic):
    raw = body(BODIES[topic]).replace(b"x.myshopify.com", b"other.myshopify.com")
    with pytest.raises(PayloadRejected, match="another shop"):
        event_of(topic, raw, SHOP)
    assert names_another_shop(topic, raw, SHOP)


@pytest.mark.parametrize("topic", BODIES)
def test_its_own_shop_is_no_other(topic):
    assert not names_another_shop(topic, body(BODIES[topic]), SHOP)
    assert not names_another_shop(topic, body(BODIES[topic]), SHOP.upper())


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff"])
def test_whom_a_broken_body_names_is_left_to_the_worker(raw):
    assert not names_another_shop("shop/update", raw, SHOP)


def test_no_other_topic_is_even_looked_at():
    assert not names_another_shop("orders/create", b'{"shop_domain":"other.myshopify.com"}', SHOP)


@pytest.mark.parametrize("changes", [{"currency": 5}, {"iana_timezone": "Mars/Olympus"}, {"name": "\x00"}])
def test_an_uninstall_counts_whatever_else_is_wrong_with_the_shop_inside(changes):
    raw = body("shop_payload", **changes)
    assert event_of("app/uninstalled", raw, SHOP) == AppUninstalled(None)
    with pytest.raises(PayloadRejected):
        event_of("shop/update", raw, SHOP)


def test_compliance_for_a_person_without_an_account_is_taken():
    raw = body("customers_redact", customer={"email": "j@example.com"}, orders_to_redact=[])
    assert event_of("customers/redact", raw, SHOP) == RedactCustomer(None, (), "j@example.com", None)


def test_what_is_told_of_a_person_stays_out_of_logs():
    text = repr(event_of("customers/redact", body("customers_redact"), SHOP))
    assert "j@example.com" not in text
    assert "555" not in text
