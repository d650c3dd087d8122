"""Refunds: what they come to, settled, on their way or cut short, and that both shapes tell the same."""

from decimal import Decimal

import pytest

from shopify.resources.orders import RESOURCE, from_payload
from shopify.scalars import MAX_ID
from tests.shopify.sample import sample, without

from_node = RESOURCE.shape.from_node

D = Decimal


def bag(amount, buyers=None):
    return {
        "shopMoney": {"amount": amount, "currencyCode": "USD"},
        "presentmentMoney": {"amount": buyers or amount, "currencyCode": "USD"},
    }


def money(amount):
    return {
        "shop_money": {"amount": amount, "currency_code": "USD"},
        "presentment_money": {"amount": amount, "currency_code": "USD"},
    }


def whole(*nodes):
    return {"nodes": list(nodes), "pageInfo": {"hasNextPage": False}}


def node_of(*, lines=(), shipping=(), adjustments=(), transactions=(), **changes):
    """Lines and shipping as (amount, tax), adjustments as (reason, amount, tax), transactions as (status, amount)."""
    refund = {
        "id": "gid://shopify/Refund/7001",
        "createdAt": "2026-11-03T15:15:00Z",
        "processedAt": "2026-11-03T15:15:00Z",
        "note": None,
        "duties": [],
        "totalRefundedSet": bag("0.0"),
        "refundLineItems": whole(
            *(
                {
                    "id": f"gid://shopify/RefundLineItem/{number}",
                    "quantity": 1,
                    "restockType": "RETURN",
                    "lineItem": {"id": "gid://shopify/LineItem/2001"},
                    "subtotalSet": bag(amount),
                    "totalTaxSet": bag(tax),
                }
                for number, (amount, tax) in enumerate(lines, 7101)
            )
        ),
        "refundShippingLines": whole(
            *({"subtotalAmountSet": bag(amount), "taxAmountSet": bag(tax)} for amount, tax in shipping)
        ),
        "orderAdjustments": whole(
            *(
                {
                    "id": f"gid://shopify/OrderAdjustment/{number}",
                    "reason": reason and reason.upper(),
                    "amountSet": bag(amount),
                    "taxAmountSet": bag(tax),
                }
                for number, (reason, amount, tax) in enumerate(adjustments, 7301)
            )
        ),
        "transactions": whole(
            *(
                {
                    "id": f"gid://shopify/OrderTransaction/{number}",
                    "kind": "REFUND",
                    "status": status.upper(),
                    "amountSet": bag(amount),
                }
                for number, (status, amount) in enumerate(transactions, 4001)
            )
        ),
    }
    return sample("order_node", refunds=[refund | changes])


def payload_of(*, lines=(), shipping=(), adjustments=(), transactions=(), order=None, **changes):
    """The same as a webhook tells it: shipping stands among the adjustments, and among lines only outside of orders."""
    booked = [("shipping_refund", "Shipping refund", f"-{amount}", f"-{tax}") for amount, tax in shipping]
    booked += [
        ("refund_discrepancy", reason and reason.replace("_", " ").capitalize(), *rest) for reason, *rest in adjustments
    ]
    refund = sample(
        "refund_payload",
        note=None,
        refund_line_items=[
            {
                "id": number,
                "line_item_id": 2001,
                "quantity": 1,
                "restock_type": "return",
                "subtotal": D(amount),
                "total_tax": D(tax),
                "subtotal_set": money(amount),
                "total_tax_set": money(tax),
            }
            for number, (amount, tax) in enumerate(lines, 7101)
        ],
        order_adjustments=[
            {"id": number, "kind": kind, "reason": reason, "amount_set": money(amount), "tax_amount_set": money(tax)}
            for number, (kind, reason, amount, tax) in enumerate(booked, 7301 - len(shipping))
        ],
        transactions=[
            {"id": number, "kind": "refund", "status": status, "amount": amount}
            for number, (status, amount) in enumerate(transactions, 4001)
        ],
    )
    kept = without(refund | changes, "refund_shipping_lines" if "refund_shipping_lines" not in changes else "")
    return sample("order_payload", currency="USD", presentment_currency="USD", refunds=[kept], **(order or {})) | {
        "current_total_price_set": money("10.00")
    }


SHAPES = {"node": lambda **told: from_node(node_of(**told)), "payload": lambda **told: from_payload(payload_of(**told))}

#: What foretells money on its way has now this reason, now that; the one that takes it back is named for what it is.
PLAIN, PENDING = "refund_discrepancy", "pending_refund_discrepancy"


@pytest.mark.parametrize("read", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(
    ("told", "discrepancy", "is_pending"),
    [
        ({"lines": [("45.00", "4.50")], "transactions": [("success", "49.50")]}, "0", False),
        ({"lines": [("45.00", "4.50")], "adjustments": [(PLAIN, "5.00", "0.00")], "transactions": [("success", "44.50")]}, "5", False),
        ({"adjustments": [(PLAIN, "-6.00", "0.00")], "transactions": [("success", "6.00")]}, "-6", False),
        ({"lines": [("18.00", "1.80")]}, "0", False),
        ({"lines": [("9.00", "1.00")], "adjustments": [("restock", "2.00", "0.00"), (None, "1.00", "0.00")], "transactions": [("success", "7.00")]}, "3", False),
        # on its way, with what foretells it, and without
        ({"lines": [("100.00", "10.00")], "adjustments": [(PLAIN, "110.00", "0.00")], "transactions": [("pending", "110.00")]}, "0", True),
        ({"lines": [("100.00", "10.00")], "adjustments": [(PENDING, "110.00", "0.00")], "transactions": [("pending", "110.00")]}, "0", True),
        ({"lines": [("100.00", "10.00")], "adjustments": [(PENDING, "100.00", "10.00")], "transactions": [("pending", "110.00")]}, "0", True),
        ({"lines": [("100.00", "10.00")], "adjustments": [(PENDING, "110.00", "0.00")]}, "0", True),
        ({"lines": [("100.00", "10.00")], "transactions": [("pending", "110.00")]}, "0", True),
        ({"lines": [("100.00", "10.00")], "adjustments": [(PLAIN, "5.00", "0.00")], "transactions": [("pending", "105.00")]}, "5", True),
        ({"lines": [("100.00", "10.00")], "adjustments": [(PLAIN, "5.00", "0.00"), (PENDING, "105.00", "0.00")], "transactions": [("pending", "105.00")]}, "5", True),
        ({"adjustments": [(PLAIN, "-60.00", "0.00"), (PLAIN, "60.00", "0.00")], "transactions": [("pending", "60.00")]}, "-60", True),
        ({"adjustments": [(PLAIN, "-60.00", "0.00"), (PENDING, "60.00", "0.00")], "transactions": [("pending", "60.00")]}, "-60", True),
        # of two payments one has arrived
        ({"lines": [("100.00", "10.00")], "adjustments": [(PLAIN, "60.00", "0.00")], "transactions": [("success", "50.00"), ("pending", "60.00")]}, "0", True),
        # arrived
        ({"lines": [("100.00", "10.00")], "adjustments": [(PLAIN, "110.00", "0.00"), (PENDING, "-110.00", "0.00")], "transactions": [("success", "110.00")]}, "0", False),
        ({"lines": [("100.00", "10.00")], "adjustments": [(PENDING, "110.00", "0.00"), (PENDING, "-110.00", "0.00")], "transactions": [("success", "110.00")]}, "0", False),
        ({"adjustments": [(PLAIN, "-60.00", "0.00"), (PLAIN, "60.00", "0.00"), (PENDING, "-60.00", "0.00")], "transactions": [("success", "60.00")]}, "-60", False),
    ],
)  # fmt: skip
def test_a_discrepancy_is_what_is_left_once_the_money_has_arrived(read, told, discrepancy, is_pending):
    row = read(**told)
    refund = row.children["refunds"][0]
    assert (refund["discrepancy"] + refund["discrepancy_tax"], refund["is_pending"]) == (D(discrepancy), is_pending)
    assert row.pending_since == (refund["processed_at"] if is_pending else None)


@pytest.mark.parametrize(
    "told",
    [
        {"lines": [("45.00", "4.50"), ("9.99", "0.00")], "transactions": [("success", "59.49")]},
        {"lines": [("45.00", "4.50")], "shipping": [("4.00", "0.40")], "adjustments": [(PLAIN, "5.00", "0.00")], "transactions": [("success", "48.90")]},
        {"shipping": [("4.00", "0.40"), ("1.00", "0.10")], "transactions": [("success", "5.50")]},
        {"adjustments": [("full_return_balancing_adjustment", "-0.01", "0.00")], "transactions": [("pending", "0.01")]},
    ],
)  # fmt: skip
def test_both_shapes_tell_the_same(told):
    node, payload = (read(**told).children for read in SHAPES.values())
    assert [without(refund, "total_refunded") for refund in node["refunds"]] == [
        without(refund, "total_refunded") for refund in payload["refunds"]
    ]
    assert node["refund_line_items"] == payload["refund_line_items"]


def test_refunded_shipping_that_stands_twice_is_taken_once():
    refund = sample("refund_payload")
    row = from_payload(payload_of() | {"refunds": [refund]})
    child = row.children["refunds"][0]
    assert (child["shipping"], child["shipping_tax"], child["discrepancy"]) == (D("4.00"), D("0.40"), D("5.00"))


SHIPPING = [{"id": 7201, "shipping_line_id": 3001, "subtotal_amount_set": money("4.00")}]


def test_the_tax_of_refunded_shipping_that_only_lines_tell_of_has_to_be_fetched():
    taxed = sample("line_payload")["tax_lines"]
    for order in ({"shipping_lines": [{"id": 3001, "tax_lines": taxed}]}, {"shipping_lines": [{"id": 3001}]}):
        row = from_payload(payload_of(refund_shipping_lines=SHIPPING, order=order))
        assert "refunds" not in row.children
        assert "tax of refunded shipping" in row.incomplete_because


def test_refunded_shipping_without_taxes_is_told_by_its_lines_alone():
    untaxed = {"shipping_lines": [{"id": 3001, "tax_lines": []}]}
    row = from_payload(payload_of(refund_shipping_lines=SHIPPING, order=untaxed))
    assert (row.children["refunds"][0]["shipping"], row.is_whole) == (D("4.00"), True)


@pytest.mark.parametrize("key", ["refund_line_items", "order_adjustments", "transactions"])
def test_a_refund_that_lacks_a_list_has_to_be_fetched(key):
    null, absent = payload_of(), payload_of()
    null["refunds"][0][key] = None
    del absent["refunds"][0][key]
    for payload in (null, absent):
        row = from_payload(payload)
        assert not {"refunds", "refund_line_items"} & row.children.keys()
        assert "total_refunded" not in row.columns
        assert not row.is_whole


def test_pending_money_in_the_buyers_currency_has_to_be_fetched():
    row = from_payload(payload_of(transactions=[("pending", "5.00")], order={}) | {"presentment_currency": "EUR"})
    assert not row.is_whole


def test_duties_that_are_paid_back_are_kept():
    row = SHAPES["node"](duties=[{"amountSet": bag("3.5")}, {"amountSet": bag("1.0")}])
    assert row.children["refunds"][0]["duties"] == D("4.50")
    row = SHAPES["payload"](duties={"duties": [{"duty_id": 1}]}, total_duties_set=money("4.50"))
    assert row.children["refunds"][0]["duties"] == D("4.50")


def test_duties_that_are_paid_back_without_their_amount_have_to_be_fetched():
    row = SHAPES["payload"](duties={"duties": [{"duty_id": 1}]}, total_duties_set=None)
    assert "refunds" not in row.children
    assert not row.is_whole


@pytest.mark.parametrize("field", ["createdAt", "processedAt", "note", "duties", "return"])
def test_a_nullable_field_of_a_refund_may_be_null(field):
    assert SHAPES["node"](**{field: None}).children["refunds"]


@pytest.mark.parametrize("key", ["created_at", "processed_at", "note", "user_id", "return", "refund_shipping_lines"])
def test_a_nullable_key_of_a_refund_may_be_null(key):
    assert SHAPES["payload"](**{key: None}).children["refunds"]


def test_parts_without_an_id_are_told_apart_always_alike():
    node = node_of(lines=[("1.00", "0.00"), ("2.00", "0.00")])
    for line in node["refunds"][0]["refundLineItems"]["nodes"]:
        line |= {"id": None, "lineItem": None}
    lines, again = (from_node(node).children["refund_line_items"] for _ in range(2))
    assert lines == again
    assert len({line["shopify_id"] for line in lines}) == 2
    assert all(-MAX_ID <= line["shopify_id"] < 0 for line in lines)
    assert {line["line_item_shopify_id"] for line in lines} == {None}
