"""Products: every shape of theirs becomes the row that it means, with all variants or none."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shopify.resources.products import RESOURCE, from_payload
from shopify.row import RowRejected
from tests.shopify.sample import sample, without

from_node = RESOURCE.shape.from_node

AT = datetime(2026, 1, 2, 15, tzinfo=UTC)


def complete(node):
    return node | {"variants": node["variants"] | {"pageInfo": {"hasNextPage": False, "endCursor": None}}}


def test_a_product_node_becomes_its_row():
    row = from_node(complete(sample("product_node")))
    assert (row.shopify_id, row.updated_at, row.is_whole) == (5, AT, True)
    assert row.columns == {
        "title": "T",
        "handle": "t",
        "status": "active",
        "vendor": "v",
        "product_type": "",
        "tags": [],
        "published_at": None,
        "created_at": AT,
    }
    assert row.children == {
        "variants": [
            {
                "shopify_id": 9,
                "title": None,
                "sku": "S",
                "price": Decimal("19.99"),
                "compare_at_price": None,
                "position": 1,
                "inventory_quantity": 4,
                "updated_at": AT,
            }
        ]
    }


def test_variants_of_which_nobody_said_that_they_are_all_are_left_out():
    # Given the recorded node, whose variants come without pageInfo
    row = from_node(sample("product_node"))
    assert row.children == {}
    assert not row.is_whole


@pytest.mark.parametrize("status", ["ACTIVE", "ARCHIVED", "DRAFT", "UNLISTED"])
def test_every_status_is_in_lower_case(status):
    assert from_node(complete(sample("product_node", status=status))).columns["status"] == status.lower()


def test_a_product_payload_becomes_its_row():
    row = from_payload(sample("product_payload"))
    assert (row.shopify_id, row.updated_at, row.is_whole) == (78803, AT, True)
    assert row.columns == {
        "title": "T",
        "handle": "t",
        "status": "active",
        "vendor": "V",
        "product_type": "",
        "tags": ["a", "b"],
        "published_at": None,
        "created_at": AT,
    }
    assert row.children == {
        "variants": [
            {
                "shopify_id": 7576,
                "title": "M",
                "sku": "S",
                "price": Decimal("19.99"),
                "compare_at_price": None,
                "position": 1,
                "inventory_quantity": 75,
                "updated_at": AT,
            }
        ]
    }


def variant(number):
    return sample("product_payload")["variants"][0] | {"id": number}


def gid(number):
    return {"admin_graphql_api_id": f"gid://shopify/ProductVariant/{number}", "updated_at": "2026-01-02T15:00:00.000Z"}


def test_a_payload_that_names_more_variants_than_it_carries_has_to_be_fetched():
    carried = [variant(number) for number in range(1, 101)]
    named = [gid(number) for number in range(1, 102)]
    row = from_payload(sample("product_payload", variants=carried, variant_gids=named))
    assert row.children == {}
    assert not row.is_whole
    assert "variants" in row.incomplete_because


def test_a_payload_that_names_a_variant_in_another_ones_place_has_to_be_fetched():
    assert not from_payload(sample("product_payload", variants=[variant(1)], variant_gids=[gid(2)])).is_whole


def test_a_hundred_variants_without_the_names_of_all_may_be_cut_short():
    payload = without(sample("product_payload", variants=[variant(number) for number in range(1, 101)]), "variant_gids")
    assert not from_payload(payload).is_whole
    assert from_payload(payload | {"variants": payload["variants"][1:]}).is_whole


@pytest.mark.parametrize("key", ["title", "handle", "status", "vendor", "product_type", "tags", "published_at"])
def test_an_absent_key_stays_absent_and_a_null_one_clears(key):
    whole = sample("product_payload")
    assert key not in from_payload(without(whole, key)).columns
    assert from_payload(whole | {key: None}).columns[key] is None


@pytest.mark.parametrize("key", ["title", "sku", "price", "compare_at_price", "position", "inventory_quantity"])
def test_a_field_of_a_variant_that_is_null_is_none(key):
    payload = sample("product_payload", variants=[variant(7576) | {key: None}])
    assert from_payload(payload).children["variants"][0][key] is None


def test_a_variant_that_cannot_be_stored_refuses_the_product():
    with pytest.raises(RowRejected, match=r"variants\.0\.price"):
        from_payload(sample("product_payload", variants=[variant(1) | {"price": "1e3"}]))
