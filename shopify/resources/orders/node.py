"""An order as GraphQL gives it: on a page, by its id, or put together from a bulk operation's lines."""

from collections.abc import Mapping
from typing import Annotated, Any, Required

from pydantic import Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from shopify.mapping import GRAPHQL, Connection, children, is_complete, nodes_of, row, validated
from shopify.resources.orders.columns import (
    GID_KIND,
    LINE_COLUMNS,
    MONEY,
    NAME,
    REFUND_COLUMNS,
    REFUND_LINE_COLUMNS,
    REQUIRED,
    SHIPPING_LINE_COLUMNS,
    TRANSACTION_COLUMNS,
    ZERO,
    identified,
    keep_money,
    total,
    with_taxes,
)
from shopify.resources.orders.refunds import Adjustment, Refunded, amounts, day_of, pending_since, reason_word
from shopify.row import Row
from shopify.scalars import (
    Count,
    Currency,
    Flag,
    MoneyBag,
    Rate,
    ShopAmount,
    State,
    Tags,
    Text,
    Time,
    gid,
    reference,
)

#: GraphQL's display status in REST's words. Whatever has no shipment yet is null in REST.
_FULFILLMENT = {"FULFILLED": "fulfilled", "PARTIALLY_FULFILLED": "partial", "RESTOCKED": "restocked"}


def _fulfillment(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("is not a status")
    return None if value is None else _FULFILLMENT.get(value)


def _own_id(kind: str) -> Any:
    """The id of a part that may have none."""
    parse = gid(kind)
    return PlainValidator(lambda value: None if value is None else parse(value))


class _TaxLine(TypedDict, total=False):
    title: Text | None
    rate: Rate | None
    priceSet: ShopAmount


class _Allocation(TypedDict, total=False):
    allocatedAmountSet: ShopAmount


@with_config(GRAPHQL)
class _Line(TypedDict, total=False):
    shopify_id: Required[Annotated[int, PlainValidator(gid("LineItem")), Field(validation_alias="id")]]
    product_shopify_id: Annotated[int | None, PlainValidator(reference("Product")), Field(validation_alias="product")]
    variant_shopify_id: Annotated[
        int | None, PlainValidator(reference("ProductVariant")), Field(validation_alias="variant")
    ]
    title: Text | None
    variant_title: Text | None
    sku: Text | None
    vendor: Text | None
    quantity: Count
    current_quantity: Count
    gift_card: Annotated[Flag | None, Field(validation_alias="isGiftCard")]
    price: Annotated[ShopAmount, Field(validation_alias="originalUnitPriceSet")]
    total_discount: Annotated[ShopAmount, Field(validation_alias="totalDiscountSet")]
    tax_lines: list[_TaxLine]
    discount_allocations: list[_Allocation]


@with_config(GRAPHQL)
class _ShippingLine(TypedDict, total=False):
    shopify_id: Annotated[int | None, _own_id("ShippingLine"), Field(validation_alias="id")]
    title: Text | None
    code: Text | None
    is_removed: Flag | None
    price: Annotated[ShopAmount, Field(validation_alias="originalPriceSet")]
    discounted_price: Annotated[ShopAmount, Field(validation_alias="discountedPriceSet")]
    current_discounted_price: Annotated[ShopAmount, Field(validation_alias="currentDiscountedPriceSet")]
    tax_lines: list[_TaxLine]


@with_config(GRAPHQL)
class _RefundLine(TypedDict, total=False):
    shopify_id: Annotated[int | None, _own_id("RefundLineItem"), Field(validation_alias="id")]
    line_item_shopify_id: Annotated[
        int | None, PlainValidator(reference("LineItem")), Field(validation_alias="lineItem")
    ]
    quantity: Count | None
    restock_type: State | None
    subtotal: Annotated[ShopAmount, Field(validation_alias="subtotalSet")]
    total_tax: Annotated[ShopAmount, Field(validation_alias="totalTaxSet")]


class _RefundShippingLine(TypedDict, total=False):
    subtotalAmountSet: ShopAmount
    taxAmountSet: ShopAmount


@with_config(GRAPHQL)
class _Adjustment(TypedDict, total=False):
    shopify_id: Annotated[int | None, _own_id("OrderAdjustment"), Field(validation_alias="id")]
    reason: Text | None
    amount: Annotated[ShopAmount, Field(validation_alias="amountSet")]
    tax: Annotated[ShopAmount, Field(validation_alias="taxAmountSet")]


@with_config(GRAPHQL)
class _RefundTransaction(TypedDict, total=False):
    shopify_id: Annotated[int | None, _own_id("OrderTransaction"), Field(validation_alias="id")]
    kind: State | None
    status: State | None
    amount: Annotated[ShopAmount, Field(validation_alias="amountSet")]


class _Duty(TypedDict, total=False):
    amountSet: ShopAmount


@with_config(GRAPHQL)
class _Refund(TypedDict, total=False):
    shopify_id: Required[Annotated[int, PlainValidator(gid("Refund")), Field(validation_alias="id")]]
    created_at: Time | None
    processed_at: Time | None
    note: Text | None
    total_refunded: Annotated[ShopAmount, Field(validation_alias="totalRefundedSet")]
    duties: list[_Duty] | None
    refund_line_items: Connection[_RefundLine]
    refund_shipping_lines: Connection[_RefundShippingLine]
    order_adjustments: Connection[_Adjustment]
    transactions: Connection[_RefundTransaction]


@with_config(GRAPHQL)
class _Transaction(TypedDict, total=False):
    shopify_id: Required[Annotated[int, PlainValidator(gid("OrderTransaction")), Field(validation_alias="id")]]
    parent_shopify_id: Annotated[
        int | None, PlainValidator(reference("OrderTransaction")), Field(validation_alias="parentTransaction")
    ]
    kind: State | None
    status: State | None
    gateway: Text | None
    test: Flag | None
    error_code: State | None
    amount_set: MoneyBag
    created_at: Time | None
    processed_at: Time | None


@with_config(GRAPHQL)
class _Node(TypedDict, total=False):
    shopify_id: Required[Annotated[int, PlainValidator(gid(GID_KIND)), Field(validation_alias="id")]]
    updated_at: Time
    name: Text | None
    email: Text | None
    customer_shopify_id: Annotated[
        int | None, PlainValidator(reference("Customer")), Field(validation_alias="customer")
    ]
    currency: Annotated[Currency, Field(validation_alias="currencyCode")]
    presentment_currency: Annotated[Currency | None, Field(validation_alias="presentmentCurrencyCode")]
    original_total_price: Annotated[MoneyBag, Field(validation_alias="originalTotalPriceSet")]
    total_price: Annotated[MoneyBag, Field(validation_alias="totalPriceSet")]
    current_total_price: Annotated[MoneyBag, Field(validation_alias="currentTotalPriceSet")]
    subtotal_price: Annotated[MoneyBag, Field(validation_alias="subtotalPriceSet")]
    current_subtotal_price: Annotated[MoneyBag, Field(validation_alias="currentSubtotalPriceSet")]
    total_tax: Annotated[MoneyBag, Field(validation_alias="totalTaxSet")]
    current_total_tax: Annotated[MoneyBag, Field(validation_alias="currentTotalTaxSet")]
    total_discounts: Annotated[MoneyBag, Field(validation_alias="totalDiscountsSet")]
    total_shipping_price: Annotated[MoneyBag, Field(validation_alias="totalShippingPriceSet")]
    current_shipping_price: Annotated[MoneyBag, Field(validation_alias="currentShippingPriceSet")]
    original_total_duties: Annotated[MoneyBag, Field(validation_alias="originalTotalDutiesSet")]
    total_tip_received: Annotated[MoneyBag, Field(validation_alias="totalTipReceivedSet")]
    total_received: Annotated[MoneyBag, Field(validation_alias="totalReceivedSet")]
    total_refunded: Annotated[MoneyBag, Field(validation_alias="totalRefundedSet")]
    net_payment: Annotated[MoneyBag, Field(validation_alias="netPaymentSet")]
    total_outstanding: Annotated[MoneyBag, Field(validation_alias="totalOutstandingSet")]
    refund_discrepancy: Annotated[MoneyBag, Field(validation_alias="refundDiscrepancySet")]
    financial_status: Annotated[State | None, Field(validation_alias="displayFinancialStatus")]
    fulfillment_status: Annotated[
        str | None, PlainValidator(_fulfillment), Field(validation_alias="displayFulfillmentStatus")
    ]
    test: Flag
    confirmed: Flag | None
    edited: Flag | None
    taxes_included: Flag | None
    cancelled_at: Time | None
    cancel_reason: State | None
    closed_at: Time | None
    processed_at: Time | None
    created_at: Time | None
    note: Text | None
    tags: Tags
    discount_codes: list[Text] | None
    payment_gateway_names: list[Text] | None
    source_name: Text | None
    line_items: Connection[_Line]
    shipping_lines: Connection[_ShippingLine]
    refunds: list[_Refund]
    transactions: list[_Transaction]


_NODE: TypeAdapter[Any] = TypeAdapter(_Node)
_LISTS = ("line_items", "shipping_lines", "refunds", "transactions")


def from_node(node: Mapping[str, Any]) -> Row:
    """An order as a page or a fetch by id gives it. Raises RowRejected."""
    shape = validated(_NODE, node, resource=NAME, gid_kind=GID_KIND)
    told = {name: shape.pop(name) for name in _LISTS if name in shape}
    for name in MONEY & shape.keys():
        keep_money(shape, name, shape[name])
    lists: dict[str, list[dict[str, Any]]] = {}
    gaps: list[str] = []
    if "line_items" in told and is_complete(told["line_items"]):
        lists["line_items"] = children(map(_line, nodes_of(told["line_items"])), LINE_COLUMNS)
    else:
        gaps.append("more line items than were read")
    if "shipping_lines" in told and is_complete(told["shipping_lines"]):
        shipping_lines = identified(nodes_of(told["shipping_lines"]), "ShippingLine", shape["shopify_id"])
        lists["shipping_lines"] = children(map(_taxed, shipping_lines), SHIPPING_LINE_COLUMNS)
    elif "shipping_lines" in told:  # where they are not told at all, another question would not tell them either
        gaps.append("more shipping lines than were read")
    refunds = told.get("refunds")
    if refunds is None or not all(map(_is_whole, refunds)):
        gaps.append("refunds are told without all of their lines")
    else:
        lists["refunds"] = children((_refund(refund, shape) for refund in refunds), REFUND_COLUMNS)
        lines = (line for refund in refunds for line in _refund_lines(refund))
        lists["refund_line_items"] = children(lines, REFUND_LINE_COLUMNS)
        if "transactions" in told:
            transactions = (_transaction(each, refunds) for each in told["transactions"])
            lists["transactions"] = children(transactions, TRANSACTION_COLUMNS)
    since = pending_since(lists.get("refunds", ()))
    return row(shape, lists=lists, required=REQUIRED, gaps=gaps, pending_since=since)


def _taxed(line: Mapping[str, Any]) -> dict[str, Any]:
    taxes = line.get("tax_lines")
    return with_taxes(line, None if taxes is None else [(tax, tax.get("priceSet")) for tax in taxes])


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    allocations = line.get("discount_allocations")
    allocated = None if allocations is None else total(each.get("allocatedAmountSet") or ZERO for each in allocations)
    return _taxed(line) | {"allocated_discount": allocated}


_REFUND_LISTS = ("refund_line_items", "refund_shipping_lines", "order_adjustments", "transactions")


def _is_whole(refund: Mapping[str, Any]) -> bool:
    """Whether all of its lists were read to their end: a bulk operation reads none of them."""
    return all(name in refund and is_complete(refund[name]) for name in _REFUND_LISTS)


def _refund(refund: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    shipping = nodes_of(refund["refund_shipping_lines"])
    adjustments = [
        Adjustment(
            each["shopify_id"], reason_word(each.get("reason")), each.get("amount") or ZERO, each.get("tax") or ZERO
        )
        for each in identified(nodes_of(refund["order_adjustments"]), "OrderAdjustment", refund["shopify_id"])
    ]
    transactions = [
        Refunded(each.get("kind"), each.get("status"), each.get("amount") or ZERO)
        for each in nodes_of(refund["transactions"])
    ]
    shipping_amount = total(line.get("subtotalAmountSet") or ZERO for line in shipping)
    shipping_tax = total(line.get("taxAmountSet") or ZERO for line in shipping)
    duties = total(duty.get("amountSet") or ZERO for duty in refund.get("duties") or ())
    lines = nodes_of(refund["refund_line_items"])
    of_lines = total((line.get("subtotal") or ZERO) + (line.get("total_tax") or ZERO) for line in lines)
    return {
        **refund,
        "processed_at": day_of(refund, order),
        "shipping": shipping_amount,
        "shipping_tax": shipping_tax,
        "duties": duties,
        **amounts(adjustments, transactions, worth=of_lines + shipping_amount + shipping_tax + duties),
    }


def _refund_lines(refund: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = identified(nodes_of(refund["refund_line_items"]), "RefundLineItem", refund["shopify_id"])
    return [{**line, "refund_shopify_id": refund["shopify_id"]} for line in lines]


def _transaction(transaction: Mapping[str, Any], refunds: list[dict[str, Any]]) -> dict[str, Any]:
    money = transaction.get("amount_set")
    number = transaction["shopify_id"]
    of_refund = [
        refund["shopify_id"]
        for refund in refunds
        if any(each.get("shopify_id") == number for each in nodes_of(refund.get("transactions") or {}))
    ]
    return {
        **transaction,
        "refund_shopify_id": of_refund[0] if of_refund else None,
        "amount": None if money is None else money.amount,
        "presentment_amount": None if money is None else money.presentment,
    }
