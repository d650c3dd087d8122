"""Orders: every shape of theirs becomes the row that it means, and what cannot be told whole says so."""

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from shopify.resources.orders import RESOURCE, from_payload
from shopify.row import RowRejected
from shopify.transport import exact
from tests.shopify.sample import money_bag, money_set, sample, without

from_node = RESOURCE.shape.from_node

D = Decimal
#: The buyer's amount of every money set that ``money_bag`` makes.
BUYERS = D("99999.90")

LINE_NODE = {
    "id": "gid://shopify/LineItem/2001",
    "title": "A",
    "variantTitle": "M",
    "sku": "A-M",
    "vendor": "V",
    "quantity": 2,
    "currentQuantity": 1,
    "product": {"id": "gid://shopify/Product/85"},
    "variant": {"id": "gid://shopify/ProductVariant/45"},
    "originalUnitPriceSet": money_bag("50.0"),
    "totalDiscountSet": money_bag("0.0"),
    "isGiftCard": False,
    "taxLines": [{"title": "State Tax", "rate": D("0.1"), "priceSet": money_bag("9.0")}],
    "discountAllocations": [{"allocatedAmountSet": money_bag("10.0")}],
}
LINE_ROW = {
    "shopify_id": 2001,
    "product_shopify_id": 85,
    "variant_shopify_id": 45,
    "title": "A",
    "variant_title": "M",
    "sku": "A-M",
    "vendor": "V",
    "quantity": 2,
    "current_quantity": 1,
    "price": D("50.00"),
    "total_discount": D("0.00"),
    "allocated_discount": D("10.00"),
    "gift_card": False,
    "total_tax": D("9.00"),
    "tax_lines": [{"title": "State Tax", "rate": "0.1", "amount": D("9.00")}],
}
SHIPPING_NODE = {
    "id": "gid://shopify/ShippingLine/3001",
    "title": "Standard",
    "code": "Standard",
    "isRemoved": False,
    "originalPriceSet": money_bag("10.0"),
    "discountedPriceSet": money_bag("10.0"),
    "currentDiscountedPriceSet": money_bag("6.0"),
    "taxLines": [{"title": "State Tax", "rate": D("0.1"), "priceSet": money_bag("1.0")}],
}
SHIPPING_ROW = {
    "shopify_id": 3001,
    "title": "Standard",
    "code": "Standard",
    "is_removed": False,
    "price": D("10.00"),
    "discounted_price": D("10.00"),
    "current_discounted_price": D("6.00"),
    "total_tax": D("1.00"),
    "tax_lines": [{"title": "State Tax", "rate": "0.1", "amount": D("1.00")}],
}
#: What the documented refund comes to, as either shape tells it.
REFUND_ROW = {
    "shopify_id": 7001,
    "created_at": datetime(2026, 11, 3, 15, 15, tzinfo=UTC),
    "processed_at": datetime(2026, 11, 3, 15, 15, tzinfo=UTC),
    "note": "one too many",
    "total_refunded": D("48.90"),
    "shipping": D("4.00"),
    "shipping_tax": D("0.40"),
    "duties": D("0.00"),
    "discrepancy": D("5.00"),
    "discrepancy_tax": D("0.00"),
    "adjustments": [{"reason": "refund_discrepancy", "amount": D("5.00"), "tax": D("0.00")}],
    "is_pending": False,
}
REFUND_LINE_ROW = {
    "shopify_id": 7101,
    "refund_shopify_id": 7001,
    "line_item_shopify_id": 2001,
    "quantity": 1,
    "restock_type": "return",
    "subtotal": D("45.00"),
    "total_tax": D("4.50"),
}
TRANSACTION_NODE = {
    "id": "gid://shopify/OrderTransaction/4002",
    "kind": "REFUND",
    "status": "SUCCESS",
    "gateway": "shopify_payments",
    "test": False,
    "createdAt": "2026-11-03T15:15:00Z",
    "processedAt": "2026-11-03T15:15:00Z",
    "errorCode": None,
    "amountSet": {
        "shopMoney": {"amount": "48.9", "currencyCode": "USD"},
        "presentmentMoney": {"amount": "48.9", "currencyCode": "USD"},
    },
    "parentTransaction": {"id": "gid://shopify/OrderTransaction/4001"},
}
TRANSACTION_ROW = {
    "shopify_id": 4002,
    "parent_shopify_id": 4001,
    "refund_shopify_id": 7001,
    "kind": "refund",
    "status": "success",
    "gateway": "shopify_payments",
    "test": False,
    "error_code": None,
    "amount": D("48.90"),
    "presentment_amount": D("48.90"),
    "created_at": datetime(2026, 11, 3, 15, 15, tzinfo=UTC),
    "processed_at": datetime(2026, 11, 3, 15, 15, tzinfo=UTC),
}


def lines(*nodes, has_next=False):
    return {"nodes": list(nodes), "pageInfo": {"hasNextPage": has_next, "endCursor": "c"}}


def refund_node(**changes):
    """The documented refund, with its lists read to their end."""
    refund = sample("refund_node")
    for name in ("refundLineItems", "refundShippingLines", "orderAdjustments", "transactions"):
        refund[name]["pageInfo"] = {"hasNextPage": False}
    return refund | changes


def order_node(**changes):
    """The recorded node with all that our query selects beside."""
    selected = {
        "note": "ring twice",
        "sourceName": "web",
        "subtotalPriceSet": money_bag("12.0"),
        "totalTaxSet": money_bag("1.5"),
        "totalDiscountsSet": money_bag("0.5"),
        "originalTotalPriceSet": money_bag("14.0"),
        "currentSubtotalPriceSet": money_bag("11.0"),
        "currentTotalTaxSet": money_bag("1.4"),
        "totalShippingPriceSet": money_bag("10.0"),
        "currentShippingPriceSet": money_bag("6.0"),
        "originalTotalDutiesSet": None,
        "totalTipReceivedSet": money_bag("0.0"),
        "totalReceivedSet": money_bag("13.5"),
        "netPaymentSet": money_bag("13.5"),
        "totalOutstandingSet": money_bag("0.0"),
        "refundDiscrepancySet": money_bag("0.0"),
        "edited": False,
        "taxesIncluded": False,
        "discountCodes": ["TEN"],
        "paymentGatewayNames": ["shopify_payments"],
        "lineItems": lines(LINE_NODE),
        "shippingLines": lines(SHIPPING_NODE),
        "transactions": [],
    }
    return sample("order_node", **(selected | changes))


# --- GraphQL ---------------------------------------------------------------------------------------------------------


def test_an_order_node_becomes_its_row_in_shop_money_and_utc():
    row = from_node(order_node())
    assert row.shopify_id == 1001
    assert row.updated_at == datetime(2026, 8, 3, 4, 3, 50, tzinfo=UTC)
    assert row.columns == {
        "name": "#1001",
        "email": "a@example.com",
        "customer_shopify_id": 7,
        "currency": "CAD",
        "presentment_currency": "USD",
        "original_total_price": D("14.00"),
        "total_price": D("13.50"),
        "current_total_price": D("13.50"),
        "subtotal_price": D("12.00"),
        "current_subtotal_price": D("11.00"),
        "total_tax": D("1.50"),
        "current_total_tax": D("1.40"),
        "total_discounts": D("0.50"),
        "total_shipping_price": D("10.00"),
        "current_shipping_price": D("6.00"),
        "original_total_duties": None,
        "total_tip_received": D("0.00"),
        "total_received": D("13.50"),
        "total_refunded": D("0.00"),
        "net_payment": D("13.50"),
        "total_outstanding": D("0.00"),
        "refund_discrepancy": D("0.00"),
        "presentment_original_total_price": BUYERS,
        "presentment_total_price": D("9.00"),
        "presentment_current_total_price": D("9.00"),
        "presentment_subtotal_price": BUYERS,
        "presentment_total_tax": BUYERS,
        "presentment_total_discounts": BUYERS,
        "presentment_total_shipping_price": BUYERS,
        "presentment_total_refunded": D("0.00"),
        "presentment_net_payment": BUYERS,
        "edited": False,
        "taxes_included": False,
        "discount_codes": ["TEN"],
        "payment_gateway_names": ["shopify_payments"],
        "financial_status": "paid",
        "fulfillment_status": None,
        "test": False,
        "confirmed": True,
        "cancelled_at": None,
        "cancel_reason": None,
        "closed_at": None,
        "processed_at": datetime(2026, 8, 2, 8, 17, 10, tzinfo=UTC),
        "created_at": datetime(2026, 8, 2, 8, 17, 13, tzinfo=UTC),
        "note": "ring twice",
        "tags": [],
        "source_name": "web",
    }
    assert row.children == {
        "line_items": [LINE_ROW],
        "shipping_lines": [SHIPPING_ROW],
        "refunds": [],
        "refund_line_items": [],
        "transactions": [],
    }
    assert row.is_whole
    assert row.incomplete_because is None


def test_the_recorded_node_alone_keeps_absent_what_was_not_selected():
    row = from_node(sample("order_node"))
    assert {"note", "source_name", "subtotal_price", "total_tax", "total_discounts"}.isdisjoint(row.columns)
    assert row.children == {"refunds": [], "refund_line_items": []}
    assert not row.is_whole


@pytest.mark.parametrize(
    ("field", "column"),
    [
        ("customer", "customer_shopify_id"),
        ("email", "email"),
        ("displayFinancialStatus", "financial_status"),
        ("displayFulfillmentStatus", "fulfillment_status"),
        ("subtotalPriceSet", "subtotal_price"),
        ("totalTaxSet", "total_tax"),
        ("totalDiscountsSet", "total_discounts"),
        ("cancelledAt", "cancelled_at"),
        ("cancelReason", "cancel_reason"),
        ("closedAt", "closed_at"),
        ("note", "note"),
        ("sourceName", "source_name"),
        ("presentmentCurrencyCode", "presentment_currency"),
    ],
)
def test_a_nullable_field_of_the_node_that_is_null_clears_its_column(field, column):
    row = from_node(order_node(**{field: None}))
    assert column in row.columns
    assert row.columns[column] is None
    assert row.is_whole


@pytest.mark.parametrize("field", ["product", "variant", "variantTitle", "sku", "vendor"])
def test_a_nullable_field_of_a_line_that_is_null_is_none(field):
    row = from_node(order_node(lineItems=lines(LINE_NODE | {field: None})))
    columns = {"product": "product_shopify_id", "variant": "variant_shopify_id", "variantTitle": "variant_title"}
    assert row.children["line_items"][0] == LINE_ROW | {columns.get(field, field): None}


@pytest.mark.parametrize(
    ("graphql", "rest"),
    [
        ("FULFILLED", "fulfilled"),
        ("PARTIALLY_FULFILLED", "partial"),
        ("RESTOCKED", "restocked"),
        ("UNFULFILLED", None),
        ("IN_PROGRESS", None),
        ("ON_HOLD", None),
        ("SCHEDULED", None),
    ],
)
def test_a_fulfillment_status_is_told_in_the_words_of_the_webhooks(graphql, rest):
    assert from_node(order_node(displayFulfillmentStatus=graphql)).columns["fulfillment_status"] == rest


@pytest.mark.parametrize("status", ["PARTIALLY_REFUNDED", "EXPIRED", "VOIDED"])
def test_a_financial_status_is_in_lower_case(status):
    assert from_node(order_node(displayFinancialStatus=status)).columns["financial_status"] == status.lower()


def test_the_documented_refund_node_becomes_children_of_its_order():
    row = from_node(order_node(refunds=[refund_node()], transactions=[TRANSACTION_NODE]))
    assert row.children["refunds"] == [REFUND_ROW]
    assert row.children["refund_line_items"] == [REFUND_LINE_ROW]
    assert row.children["transactions"] == [TRANSACTION_ROW]
    assert row.is_whole


def test_a_refund_whose_times_and_note_are_null_is_its_orders_day():
    row = from_node(order_node(refunds=[refund_node(createdAt=None, processedAt=None, note=None)]))
    child = row.children["refunds"][0]
    assert (child["created_at"], child["note"]) == (None, None)
    assert child["processed_at"] == row.columns["processed_at"]
    made = refund_node(processedAt=None)
    assert from_node(order_node(refunds=[made])).children["refunds"][0]["processed_at"] == REFUND_ROW["created_at"]


@pytest.mark.parametrize(
    ("field", "name", "node"),
    [("lineItems", "line_items", LINE_NODE), ("shippingLines", "shipping_lines", SHIPPING_NODE)],
)
def test_lines_that_go_on_beyond_the_page_are_left_out_and_said(field, name, node):
    row = from_node(order_node(**{field: lines(node, has_next=True)}))
    assert name not in row.children
    assert not row.is_whole
    assert name.replace("_", " ") in row.incomplete_because


def test_lines_read_as_edges_are_the_same_lines():
    edges = {"edges": [{"node": LINE_NODE}], "pageInfo": {"hasNextPage": False}}
    assert from_node(order_node(lineItems=edges)).children["line_items"] == [LINE_ROW]


@pytest.mark.parametrize("name", ["refundLineItems", "refundShippingLines", "orderAdjustments", "transactions"])
def test_a_refund_of_which_something_may_be_missing_is_left_out_and_said(name):
    cut = refund_node()[name] | {"pageInfo": {"hasNextPage": True}}
    unsaid = without(refund_node()[name], "pageInfo")
    partial = [refund_node(**{name: cut}), refund_node(**{name: unsaid}), without(refund_node(), name)]
    for refund in partial:
        row = from_node(order_node(refunds=[refund]))
        assert not {"refunds", "refund_line_items", "transactions"} & row.children.keys()
        assert not row.is_whole
        assert "refunds" in row.incomplete_because


def test_an_order_without_refunds_is_whole_though_a_bulk_operation_reads_none_of_their_lists():
    bulk = order_node(refunds=[], lineItems=lines(LINE_NODE), shippingLines=lines())
    assert from_node(bulk).is_whole


def test_an_order_of_which_no_shipping_lines_are_told_needs_no_other_question():
    row = from_node(without(order_node(), "shippingLines"))
    assert row.is_whole
    assert "shipping_lines" not in row.children


def test_equal_lists_in_another_order_make_equal_children():
    other = LINE_NODE | {"id": "gid://shopify/LineItem/9"}
    there, back = (from_node(order_node(lineItems=lines(*nodes))) for nodes in ([LINE_NODE, other], [other, LINE_NODE]))
    assert there.children == back.children


# --- webhooks --------------------------------------------------------------------------------------------------------


def test_an_order_payload_becomes_its_row():
    row = from_payload(sample("order_payload"))
    assert row.shopify_id == 6674573197567
    assert row.updated_at == datetime(2026, 2, 6, 5, 13, 38, tzinfo=UTC)
    assert row.columns == {
        "name": "#2537",
        "email": "a@example.com",
        "customer_shopify_id": 8759,
        "currency": "AUD",
        "presentment_currency": "AUD",
        "total_price": D("1569.00"),
        "current_total_price": D("1569.00"),
        "subtotal_price": D("1569.00"),
        "current_subtotal_price": D("1569.00"),
        "total_tax": D("142.64"),
        "current_total_tax": D("142.64"),
        "total_discounts": D("30.00"),
        "total_refunded": D("0.00"),
        "total_outstanding": D("0.00"),
        "presentment_total_price": D("1569.00"),
        "presentment_current_total_price": D("1569.00"),
        "presentment_subtotal_price": D("1569.00"),
        "presentment_total_tax": D("142.64"),
        "presentment_total_discounts": D("30.00"),
        "presentment_total_refunded": D("0.00"),
        "taxes_included": True,
        "discount_codes": [],
        "payment_gateway_names": ["paypal"],
        "financial_status": "paid",
        "fulfillment_status": None,
        "test": False,
        "confirmed": True,
        "cancelled_at": None,
        "cancel_reason": None,
        "closed_at": None,
        "processed_at": datetime(2026, 2, 6, 5, 13, 33, tzinfo=UTC),
        "created_at": datetime(2026, 2, 6, 5, 13, 36, tzinfo=UTC),
        "note": None,
        "tags": [],
        "source_name": "web",
    }
    assert row.children == {
        "line_items": [
            {
                "shopify_id": 161,
                "product_shopify_id": 85,
                "variant_shopify_id": 45,
                "title": "W",
                "variant_title": None,
                "sku": "X",
                "vendor": "V",
                "quantity": 1,
                "current_quantity": 1,
                "price": D("1599.00"),
                "total_discount": D("0.00"),
                "allocated_discount": D("0.00"),
                "gift_card": False,
                "total_tax": D("0.00"),
                "tax_lines": [],
            }
        ],
        "shipping_lines": [],
        "refunds": [],
        "refund_line_items": [],
    }
    assert row.is_whole


def test_the_documented_line_is_read_by_its_shop_money():
    line = sample("line_payload", price="1.00", total_discount="2.00", total_discount_set=money_set("3.00", "USD"))
    row = from_payload(sample("order_payload", line_items=[line]))
    assert row.children["line_items"] == [LINE_ROW | {"total_discount": D("3.00")}]


def test_the_shops_side_of_a_money_set_goes_before_the_bare_amount():
    names = ("total_price", "current_total_price", "subtotal_price", "total_tax", "total_discounts")
    changes = dict.fromkeys(names, "1.00") | {f"{name}_set": money_set("2.50", "NZD") for name in names}
    row = from_payload(sample("order_payload", **changes))
    assert {row.columns[name] for name in names} == {D("2.50")}
    assert row.columns["currency"] == "NZD"
    assert not [name for name in row.columns if name.endswith("_set")]


def test_without_a_money_set_the_bare_amount_counts():
    row = from_payload(without(sample("order_payload", current_total_price="7.10"), "current_total_price_set"))
    assert (row.columns["current_total_price"], row.columns["currency"]) == (D("7.10"), "AUD")


def test_a_guest_order_has_no_customer():
    assert from_payload(sample("order_payload", customer=None)).columns["customer_shopify_id"] is None


def test_tags_are_split_at_commas():
    assert from_payload(sample("order_payload", tags="big, gift ,, vip")).columns["tags"] == ["big", "gift", "vip"]


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "email",
        "customer",
        "total_price",
        "subtotal_price",
        "total_tax",
        "total_discounts",
        "financial_status",
        "fulfillment_status",
        "test",
        "confirmed",
        "cancelled_at",
        "cancel_reason",
        "closed_at",
        "created_at",
        "note",
        "tags",
        "source_name",
        "taxes_included",
        "current_subtotal_price",
        "current_total_tax",
        "total_outstanding",
        "discount_codes",
        "payment_gateway_names",
    ],
)
def test_a_key_that_is_absent_from_the_payload_stays_absent(key):
    whole = from_payload(sample("order_payload")).columns
    row = from_payload(without(sample("order_payload"), key, f"{key}_set"))
    column = "customer_shopify_id" if key == "customer" else key
    assert row.columns == without(dict(whole), column, f"presentment_{column}")
    assert row.is_whole


@pytest.mark.parametrize("key", ["current_total_price", "currency", "processed_at", "updated_at"])
def test_an_order_without_what_it_is_counted_by_has_to_be_fetched(key):
    row = from_payload(without(sample("order_payload"), key, "current_total_price_set"))
    assert not row.is_whole
    assert f"{key} is missing" in row.incomplete_because


def test_refunded_money_is_that_of_successful_refund_transactions():
    def transaction(kind, status, amount):
        return {"id": 1, "kind": kind, "status": status, "amount": amount}

    refund = sample("refund_payload")
    refund["transactions"] = [
        transaction("refund", "success", "48.90"),
        transaction("refund", "pending", "10.00"),
        transaction("refund", "failure", "11.00"),
        transaction("void", "success", "12.00"),
        transaction("refund", "success", "0.10"),
    ]
    goodwill = sample("refund_payload", id=7002, transactions=[transaction("refund", "success", "7.00")])
    row = from_payload(sample("order_payload", refunds=[goodwill, refund]))
    assert row.columns["total_refunded"] == row.columns["presentment_total_refunded"] == D("56.00")
    assert [(each["shopify_id"], each["total_refunded"]) for each in row.children["refunds"]] == [
        (7001, D("49.00")),
        (7002, D("7.00")),
    ]
    assert row.is_whole


@pytest.mark.parametrize(
    ("order", "refund"),
    [
        ({"presentment_currency": "USD"}, {}),
        ({}, {"transactions": [{"kind": "refund", "status": "success", "amount": "1.00", "currency": "USD"}]}),
        ({}, {"transactions": [{"kind": "refund", "status": "success"}]}),
        ({}, {"transactions": None}),
    ],
    ids=["order in the buyer's currency", "transaction in it", "without an amount", "without transactions"],
)
def test_what_was_refunded_in_the_buyers_money_has_to_be_fetched(order, refund):
    shape = sample("refund_payload", **refund)
    if shape["transactions"] is None:
        del shape["transactions"]
    row = from_payload(sample("order_payload", refunds=[shape], **order))
    assert "total_refunded" not in row.columns
    assert "refunds" not in row.children
    assert not row.is_whole


def test_an_edit_that_paid_nothing_back_is_whole_in_any_currency():
    refund = sample("refund_payload", transactions=[])
    row = from_payload(sample("order_payload", refunds=[refund], presentment_currency="USD"))
    assert row.columns["total_refunded"] == 0
    assert row.is_whole


def test_json_numbers_of_a_refund_are_never_rounded():
    raw = json.dumps(sample("order_payload"), default=float).replace('"total_tax": "142.64"', '"total_tax": 0.1234565')
    with pytest.raises(RowRejected, match="more than 6 decimals"):
        from_payload(json.loads(raw, parse_float=exact))
    tenth = json.loads(raw.replace("0.1234565", "0.10"), parse_float=exact)
    assert from_payload(tenth).columns["total_tax"] == D("0.1")


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"note": "a\x00b"}, "note holds a NUL"),
        ({"note": "a\ud800b"}, "note holds a lone surrogate"),
        ({"tags": "good, b\x00d"}, "tags.1 holds a NUL"),
        ({"name": 5}, "name"),
        ({"total_tax": "NaN"}, "total_tax is not a decimal"),
        ({"total_tax": "Infinity"}, "total_tax is not a decimal"),
        ({"total_tax": D("NaN")}, "total_tax is not finite"),
        ({"total_tax": D("1E+16")}, "total_tax is beyond"),
        ({"total_tax": "1000000000000000.01"}, "total_tax is beyond"),
        ({"total_tax": "0.0000001"}, "total_tax has more than 6"),
        ({"total_tax": "1_0"}, "total_tax is not a decimal"),
        ({"total_tax": " 10"}, "total_tax is not a decimal"),
        ({"total_tax": "١٢"}, "total_tax is not a decimal"),
        ({"total_tax": True}, "total_tax is not a decimal"),
        ({"total_tax": 1.5}, "total_tax is not a decimal"),
        ({"currency": "aud"}, "currency"),
        ({"updated_at": "2026-02-06T16:13:38"}, "updated_at is a time without an offset"),
        ({"updated_at": "yesterday"}, "updated_at is not a time"),
        ({"updated_at": 1770000000}, "updated_at is not a time"),
        ({"updated_at": "0001-01-01T00:00:00+14:00"}, "updated_at is a time out of range"),
        ({"id": 0}, "id"),
        ({"id": -1}, "id"),
        ({"id": 2**63}, "id"),
        ({"id": "6674573197567"}, "id"),
        ({"id": True}, "id"),
        ({"id": None}, "id"),
        ({"customer": {"id": 2**63}}, "customer is not an id"),
        ({"customer": {}}, "customer is not an id"),
        ({"test": "no"}, "test"),
        ({"line_items": [{"title": "T"}]}, "line_items.0.id is missing"),
        ({"line_items": [{"id": 1, "quantity": 2**31}]}, "line_items.0.quantity"),
        ({"line_items": {"0": {}}}, "line_items"),
    ],
)
def test_what_cannot_be_stored_refuses_the_order_and_names_the_field(changes, reason):
    payload = sample("order_payload", **changes)
    with pytest.raises(RowRejected) as refusal:
        from_payload(payload)
    assert reason in refusal.value.reason
    assert refusal.value.resource == "orders"
    assert refusal.value.payload is payload


def test_a_refusal_names_the_order_if_it_has_an_id():
    with pytest.raises(RowRejected) as refusal:
        from_payload(sample("order_payload", note="\x00"))
    assert refusal.value.shopify_id == 6674573197567
    with pytest.raises(RowRejected) as refusal:
        from_node(order_node(note="\x00"))
    assert refusal.value.shopify_id == 1001


def test_a_missing_id_refuses_the_order():
    with pytest.raises(RowRejected, match="id is missing") as refusal:
        from_payload(without(sample("order_payload"), "id"))
    assert refusal.value.shopify_id is None


def test_a_nul_in_what_is_not_stored_refuses_nothing():
    assert from_payload(sample("order_payload", contact_email="\x00", landing_site="\ud800")).is_whole


@pytest.mark.parametrize("gid", ["gid://shopify/Customer/1", "gid://shopify/Order/0", "gid://shopify/Order/x", 1, None])
def test_a_node_of_another_kind_is_refused(gid):
    with pytest.raises(RowRejected):
        from_node(order_node(id=gid))


@pytest.mark.parametrize("thing", [None, [], "order", 5])
def test_what_is_no_object_is_refused(thing):
    with pytest.raises(RowRejected):
        from_node(thing)
    with pytest.raises(RowRejected):
        from_payload(thing)
