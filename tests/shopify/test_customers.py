"""Customers: every shape of theirs becomes the row that it means."""

from datetime import UTC, datetime

import pytest

from shopify.resources.customers import RESOURCE, from_payload
from shopify.row import RowRejected
from tests.shopify.sample import sample, without

from_node = RESOURCE.shape.from_node

AT = datetime(2026, 1, 2, 15, tzinfo=UTC)


def test_a_customer_node_becomes_its_row():
    node = sample("customer_node", note="vip", tags=["b", "a"], defaultPhoneNumber={"phoneNumber": "+1555"})
    row = from_node(node)
    assert (row.shopify_id, row.updated_at, row.children, row.is_whole) == (7, AT, {}, True)
    assert row.columns == {
        "email": "a@example.com",
        "first_name": "A",
        "last_name": "B",
        "phone": "+1555",
        "state": "disabled",
        "note": "vip",
        "tags": ["b", "a"],
        "verified_email": True,
        "created_at": AT,
    }


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("defaultEmailAddress", "email"),
        ("defaultPhoneNumber", "phone"),
        ("firstName", "first_name"),
        ("lastName", "last_name"),
        ("note", "note"),
    ],
)
def test_a_nullable_field_of_the_node_that_is_null_clears_its_column(field, column):
    assert from_node(sample("customer_node", **{field: None})).columns[column] is None


def test_a_customer_payload_becomes_its_row_and_leaves_alone_the_tags_that_it_lacks():
    row = from_payload(sample("customer_payload"))
    assert (row.shopify_id, row.updated_at, row.children, row.is_whole) == (8759, AT, {}, True)
    assert row.columns == {
        "email": "a@example.com",
        "first_name": "A",
        "last_name": "B",
        "phone": None,
        "state": "enabled",
        "note": "",
        "verified_email": True,
        "created_at": AT,
    }


def test_tags_of_an_older_payload_are_taken():
    assert from_payload(sample("customer_payload", tags="a, b")).columns["tags"] == ["a", "b"]


@pytest.mark.parametrize("key", ["email", "first_name", "last_name", "phone", "state", "note", "verified_email"])
def test_an_absent_key_stays_absent_and_a_null_one_clears(key):
    whole = sample("customer_payload")
    assert key not in from_payload(without(whole, key)).columns
    assert from_payload(whole | {key: None}).columns[key] is None


def test_a_payload_without_its_version_has_to_be_fetched():
    assert not from_payload(without(sample("customer_payload"), "updated_at")).is_whole


@pytest.mark.parametrize("text", ["\x00", "\udfff"])
@pytest.mark.parametrize("key", ["email", "first_name", "last_name", "phone", "note"])
def test_text_that_cannot_be_stored_refuses_the_customer(key, text):
    with pytest.raises(RowRejected, match=key):
        from_payload(sample("customer_payload", **{key: f"a{text}b"}))


@pytest.mark.parametrize("field", [{"defaultEmailAddress": {"emailAddress": "\x00"}}, {"defaultPhoneNumber": "555"}])
def test_text_inside_an_object_that_cannot_be_stored_refuses_the_customer(field):
    with pytest.raises(RowRejected, match="default"):
        from_node(sample("customer_node", **field))
