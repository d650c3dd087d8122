"""Inventory items: every shape of theirs becomes the row that it means, with all levels or none."""

from datetime import UTC, datetime

import pytest

from shopify import scopes
from shopify.resources import RESOURCES, of_topic, taken
from shopify.resources.inventory_levels import RESOURCE, from_payload
from shopify.row import RowRejected
from shopify.subscriptions import optional_topics, wanted_topics
from tests.shopify.sample import sample, without

from_node = RESOURCE.shape.from_node


def level(node, number):
    return node["inventoryLevels"]["nodes"][number]


def test_an_item_node_becomes_its_row_with_its_levels():
    row = from_node(sample("inventory_item_node"))
    assert (row.shopify_id, row.updated_at, row.is_whole) == (43729076, datetime(2026, 2, 1, 10, tzinfo=UTC), True)
    assert row.columns == {"sku": "A-M", "tracked": True, "created_at": datetime(2026, 1, 1, 10, tzinfo=UTC)}
    assert row.children == {
        "inventory_levels": [
            {
                "shopify_id": 523463154,
                "location_shopify_id": 346779380,
                "updated_at": datetime(2026, 3, 2, 10, tzinfo=UTC),
                "available": 6,
                "on_hand": None,
                "committed": None,
                "incoming": None,
                "reserved": None,
            },
            {
                "shopify_id": 523463155,
                "location_shopify_id": 346779381,
                "updated_at": datetime(2026, 3, 1, 10, tzinfo=UTC),
                "available": -2,
                "on_hand": 1,
                "committed": 3,
                "incoming": 0,
                "reserved": 0,
            },
        ]
    }


@pytest.mark.parametrize("page_info", [{"hasNextPage": True, "endCursor": "c"}, None])
def test_levels_that_may_go_on_are_left_alone_and_fetched(page_info):
    node = sample("inventory_item_node")
    node["inventoryLevels"]["pageInfo"] = page_info
    if page_info is None:
        del node["inventoryLevels"]["pageInfo"]
    row = from_node(node)
    assert (row.children, row.is_whole) == ({}, False)
    assert row.incomplete_because == "more levels than were read"


@pytest.mark.parametrize("key", ["sku", "tracked", "createdAt"])
def test_an_item_says_null_where_it_has_nothing(key):
    row = from_node(sample("inventory_item_node", **{key: None}))
    assert row.is_whole
    assert None in row.columns.values()


def test_a_level_without_its_location_or_time_is_a_level():
    node = sample("inventory_item_node")
    level(node, 0).update(location=None, updatedAt=None, quantities=[])
    found = from_node(node).children["inventory_levels"][1]
    assert (found["shopify_id"], found["location_shopify_id"], found["available"]) == (523463155, None, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "gid://shopify/InventoryLevel/0?inventory_item_id=43729076"),
        ("id", "gid://shopify/Location/7"),
        ("id", None),
        ("location", {"id": "gid://shopify/InventoryLevel/7"}),
        ("quantities", [{"name": "available", "quantity": 2**31}]),
        ("quantities", [{"name": "available", "quantity": 1.5}]),
    ],
)
def test_an_item_with_an_absurd_level_is_refused(key, value):
    node = sample("inventory_item_node")
    level(node, 0)[key] = value
    with pytest.raises(RowRejected) as refusal:
        from_node(node)
    assert (refusal.value.resource, refusal.value.shopify_id) == ("inventory_items", 43729076)


def test_an_items_payload_has_no_levels_so_that_it_is_fetched():
    row = from_payload(sample("inventory_item_payload"))
    assert (row.shopify_id, row.children, row.is_whole) == (271878346596884015, {}, False)
    assert row.updated_at == datetime(2026, 2, 1, 17, tzinfo=UTC)
    assert row.columns["sku"] == "example-sku"
    assert "sku" not in from_payload(without(sample("inventory_item_payload"), "sku")).columns


@pytest.mark.parametrize("granted", [(), ("read_orders",), ("read_inventory_shipments",)])
def test_it_is_not_taken_of_a_shop_whose_token_may_not_see_it(granted):
    assert taken(granted).keys() == RESOURCES.keys() - {RESOURCE.name}
    assert optional_topics(granted) == ()


@pytest.mark.parametrize("scope", ["read_inventory", "write_inventory"])
def test_it_is_taken_where_the_token_may_see_it(scope):
    assert taken(["read_orders", scope]).keys() == RESOURCES.keys()
    assert set(optional_topics([scope])) == RESOURCE.topics.keys()


def test_its_topics_are_wanted_of_no_shop_without_asking():
    assert not set(wanted_topics()) & RESOURCE.topics.keys()
    assert of_topic("inventory_levels/update") is RESOURCE
    assert of_topic("shop/update") is None


def test_nobody_has_to_grant_it():
    assert RESOURCE.scope not in scopes.DEFAULT
    assert {each.scope for each in taken(()).values()} <= set(scopes.DEFAULT)
