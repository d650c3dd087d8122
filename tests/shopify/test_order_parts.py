"""An order's lines, shipping, taxes, discounts and transactions: what each key means, null, absent or told otherwise."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shopify.resources.orders import RESOURCE, from_payload
from shopify.resources.orders.columns import IN_BOTH_CURRENCIES
from shopify.row import RowRejected
from shopify.scalars import rate
from shopify.transport import exact
from tests.shopify.sample import money_set, sample, without
from tests.shopify.test_orders import (
    LINE_ROW,
    SHIPPING_NODE,
    SHIPPING_ROW,
    TRANSACTION_NODE,
    TRANSACTION_ROW,
    lines,
    order_node,
)

from_node = RESOURCE.shape.from_node

D = Decimal

#: The documented shipping line.
SHIPPING = {
    "id": 3001,
    "carrier_identifier": None,
    "code": "Standard",
    "title": "Standard",
    "source": "shopify",
    "phone": None,
    "requested_fulfillment_service_id": None,
    "is_removed": False,
    "price": "10.00",
    "price_set": money_set("10.00"),
    "discounted_price": "10.00",
    "discounted_price_set": money_set("10.00"),
    "current_discounted_price_set": money_set("6.00"),
    "tax_lines": [{"title": "State Tax", "price": "1.00", "rate": D("0.1"), "price_set": money_set("1.00")}],
    "discount_allocations": [],
}


def shipping_of(**changes):
    return from_payload(sample("order_payload", shipping_lines=[SHIPPING | changes])).children["shipping_lines"][0]


def line_of(**changes):
    return from_payload(sample("order_payload", line_items=[sample("line_payload", **changes)])).children["line_items"][
        0
    ]


def test_the_documented_line_and_shipping_line_are_what_their_nodes_are():
    assert line_of() == LINE_ROW
    assert shipping_of() == SHIPPING_ROW


@pytest.mark.parametrize("key", ["code", "title", "is_removed"])
def test_a_nullable_key_of_a_shipping_line_that_is_null_is_none(key):
    assert shipping_of(**{key: None}) == SHIPPING_ROW | {key: None}
    field = {"is_removed": "isRemoved"}.get(key, key)
    row = from_node(order_node(shippingLines=lines(SHIPPING_NODE | {field: None})))
    assert row.children["shipping_lines"] == [SHIPPING_ROW | {key: None}]


def test_a_shipping_line_without_an_id_is_kept_and_is_the_same_by_either_shape():
    node = from_node(order_node(shippingLines=lines(SHIPPING_NODE | {"id": None}, SHIPPING_NODE)))
    payload = from_payload(sample("order_payload", id=1001, shipping_lines=[SHIPPING | {"id": None}, SHIPPING]))
    kept = node.children["shipping_lines"]
    assert kept == payload.children["shipping_lines"]
    assert (kept[0]["shopify_id"] < 0, kept[1]) == (True, SHIPPING_ROW)


def test_money_sets_go_before_bare_amounts_in_every_part():
    assert shipping_of(price="1.00", discounted_price="1.00") == SHIPPING_ROW
    bare = without(SHIPPING, "price_set", "discounted_price_set", "current_discounted_price_set")
    row = from_payload(sample("order_payload", shipping_lines=[bare])).children["shipping_lines"][0]
    assert row == SHIPPING_ROW | {"current_discounted_price": None}


@pytest.mark.parametrize(
    ("allocations", "discount"),
    [
        ([], "0"),
        ([{"amount": "10.00", "amount_set": money_set("9.00")}, {"amount": "0.50"}], "9.5"),
        ([{"amount": "1", "amount_set": None, "discount_application_index": 0}], "1"),
    ],
)
def test_a_lines_discount_is_the_sum_of_its_allocations(allocations, discount):
    assert line_of(discount_allocations=allocations)["allocated_discount"] == D(discount)


def test_a_lines_tax_is_the_sum_of_its_tax_lines_each_of_which_is_kept():
    taxes = [
        {"title": "GST", "rate": 0, "price": "2.00", "price_set": money_set("1.00"), "channel_liable": None},
        {"title": None, "rate": None, "price": "0.25"},
    ]
    line = line_of(tax_lines=taxes)
    assert line["total_tax"] == D("1.25")
    assert line["tax_lines"] == [
        {"title": "GST", "rate": "0", "amount": D("1.00")},
        {"title": None, "rate": None, "amount": D("0.25")},
    ]


@pytest.mark.parametrize("key", ["tax_lines", "discount_allocations", "gift_card", "current_quantity", "sku"])
def test_a_key_that_is_absent_from_a_line_is_not_made_up(key):
    payload = sample("order_payload", line_items=[without(sample("line_payload"), key)])
    absent = {"tax_lines": ("total_tax", "tax_lines"), "discount_allocations": ("allocated_discount",)}.get(key, (key,))
    assert from_payload(payload).children["line_items"][0] == LINE_ROW | dict.fromkeys(absent)
    assert line_of(**{key: None}) == LINE_ROW | dict.fromkeys(absent)


def test_a_gift_card_is_one():
    assert line_of(gift_card=True)["gift_card"] is True


# --- rates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kept"),
    [(D("0.1"), "0.1"), (D("0.10"), "0.1"), ("0.0725", "0.0725"), (0, "0"), (20, "20"), (D("1E-40"), "1E-40")],
)
def test_a_rate_has_one_spelling(given, kept):
    assert rate(given) == kept


@pytest.mark.parametrize("value", [True, 0.1, "ten", "", D("NaN"), D("Infinity"), [], None])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(ValueError, match="is not a rate"):
        rate(value)


# --- transactions ----------------------------------------------------------------------------------------------------


def transactions_of(**changes):
    return from_node(order_node(transactions=[TRANSACTION_NODE | changes])).children["transactions"]


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("gateway", "gateway"),
        ("processedAt", "processed_at"),
        ("parentTransaction", "parent_shopify_id"),
        ("errorCode", "error_code"),
    ],
)
def test_a_nullable_field_of_a_transaction_that_is_null_is_none(field, column):
    assert transactions_of(**{field: None}) == [TRANSACTION_ROW | {"refund_shopify_id": None, column: None}]


def test_a_transaction_is_kept_in_both_currencies():
    money = {
        "shopMoney": {"amount": "110.0", "currencyCode": "CAD"},
        "presentmentMoney": {"amount": "81.5", "currencyCode": "USD"},
    }
    (kept,) = transactions_of(amountSet=money, kind="SALE", status="AWAITING_RESPONSE", errorCode="CARD_DECLINED")
    assert (kept["amount"], kept["presentment_amount"]) == (D("110.00"), D("81.50"))
    assert (kept["kind"], kept["status"], kept["error_code"]) == ("sale", "awaiting_response", "card_declined")


def test_an_order_payload_has_no_transactions_of_its_own_and_leaves_them_alone():
    assert "transactions" not in from_payload(sample("order_payload")).children


# --- the order's totals ----------------------------------------------------------------------------------------------


def test_the_buyers_money_stands_beside_the_shops():
    sides = {
        "shop_money": {"amount": "13.50", "currency_code": "CAD"},
        "presentment_money": {"amount": "9.00", "currency_code": "USD"},
    }
    names = ("total_price", "current_total_price", "subtotal_price", "total_tax", "total_discounts")
    sets = {f"{name}_set": sides for name in (*names, "total_shipping_price")}
    row = from_payload(sample("order_payload", presentment_currency="USD", **sets))
    for name in (*names, "total_shipping_price"):
        assert (row.columns[name], row.columns[f"presentment_{name}"]) == (D("13.50"), D("9.00"))


def test_a_bare_amount_is_the_buyers_too_where_both_have_one_currency_and_else_says_nothing_of_it():
    bare = without(sample("order_payload"), "total_price_set")
    assert from_payload(bare).columns["presentment_total_price"] == D("1569.00")
    assert "presentment_total_price" not in from_payload(bare | {"presentment_currency": "USD"}).columns


def test_a_money_set_without_the_buyers_side_leaves_it_alone():
    one_sided = {"shop_money": {"amount": "13.50", "currency_code": "AUD"}}
    row = from_payload(sample("order_payload", total_price_set=one_sided))
    assert row.columns["total_price"] == D("13.50")
    assert "presentment_total_price" not in row.columns


@pytest.mark.parametrize("name", ["total_shipping_price", "current_shipping_price", "original_total_duties"])
def test_a_total_that_only_a_money_set_tells_is_cleared_by_its_null(name):
    row = from_payload(sample("order_payload", **{f"{name}_set": None}))
    assert row.columns[name] is None
    assert row.columns.get(f"presentment_{name}") is None
    assert name not in from_payload(sample("order_payload")).columns


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "email",
        "customer",
        "presentment_currency",
        "total_price",
        "subtotal_price",
        "current_subtotal_price",
        "total_tax",
        "current_total_tax",
        "total_discounts",
        "total_tip_received",
        "total_outstanding",
        "financial_status",
        "fulfillment_status",
        "test",
        "confirmed",
        "taxes_included",
        "cancelled_at",
        "cancel_reason",
        "closed_at",
        "created_at",
        "note",
        "tags",
        "discount_codes",
        "payment_gateway_names",
        "source_name",
    ],
)
def test_a_key_of_the_payload_that_is_null_clears_its_column(key):
    row = from_payload(sample("order_payload", **{key: None, f"{key}_set": None}))
    column = "customer_shopify_id" if key == "customer" else key
    assert (column in row.columns, row.columns[column]) == (True, None)
    if key in IN_BOTH_CURRENCIES:
        assert row.columns[f"presentment_{key}"] is None
    assert row.is_whole


@pytest.mark.parametrize(
    "field",
    ["subtotalPriceSet", "totalTaxSet", "totalDiscountsSet", "originalTotalDutiesSet", "discountCodes", "edited"],
)
def test_a_field_of_the_node_that_is_null_clears_both_currencies(field):
    row = from_node(order_node(**{field: None}))
    columns = {"discountCodes": "discount_codes", "originalTotalDutiesSet": "original_total_duties"}
    columns |= {
        "subtotalPriceSet": "subtotal_price",
        "totalTaxSet": "total_tax",
        "totalDiscountsSet": "total_discounts",
    }
    column = columns.get(field, field)
    assert row.columns[column] is None
    assert row.columns.get(f"presentment_{column}") is None
    assert row.is_whole


def test_discount_codes_are_the_codes_alone():
    codes = [{"code": "TEN", "amount": "15.00", "type": "percentage"}, {"code": "SHIP", "amount": "1.00"}]
    assert from_payload(sample("order_payload", discount_codes=codes)).columns["discount_codes"] == ["TEN", "SHIP"]
    with pytest.raises(RowRejected, match="discount_codes"):
        from_payload(sample("order_payload", discount_codes=[{"amount": "1.00"}]))


def test_decimals_are_one_amount_however_they_are_spelled():
    raw = json.dumps(sample("order_payload"), default=float)
    spelled = raw.replace('"total_tax": "142.64"', '"total_tax": 142.640').replace('"30.00"', '"30.0"')
    assert from_payload(json.loads(spelled, parse_float=exact)) == from_payload(json.loads(raw, parse_float=exact))


def test_unknown_keys_say_nothing():
    payload = sample("order_payload")
    strange = payload | {"line_items": [payload["line_items"][0] | {"tip": {"x": "\x00"}}], "returns": [{}], "new": 1}
    assert from_payload(strange) == from_payload(payload)
    assert from_node(order_node(returnStatus="NO_RETURN", agreements={"nodes": []})) == from_node(order_node())


def test_times_are_in_utc_whatever_their_offset():
    refund = sample("refund_payload", processed_at="2026-11-03T23:30:00-05:00")
    child = from_payload(sample("order_payload", refunds=[refund]))
    assert child.children["refunds"][0]["processed_at"] == datetime(2026, 11, 4, 4, 30, tzinfo=UTC)


@pytest.mark.parametrize("name", ["line_items", "shipping_lines", "refunds"])
def test_a_list_that_is_null_or_absent_is_left_alone(name):
    null, absent = sample("order_payload", **{name: None}), without(sample("order_payload"), name)
    assert from_payload(null) == from_payload(absent)
    assert name not in from_payload(null).children
