"""An order as GraphQL gives it: on a page, by its id, or put together from a bulk operation's lines."""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import Annotated, Any

from msgspec import UNSET, UnsetType, field

from shopify import nodes, scalars
from shopify.mapping import children, row
from shopify.nodes import As, Connection, MoneyBag, Node, Reference, complete, shop_amount, told
from shopify.resources.orders.columns import (
    GID_KIND,
    MONEY,
    REFUND_COLUMNS,
    REQUIRED,
    ZERO,
    identified,
    keep_money,
    total,
)
from shopify.resources.orders.refunds import Adjustment, Refunded, amounts, day_of, pending_since, reason_word
from shopify.row import Row
from shopify.scalars import MoneySet, gid

#: GraphQL's display status in REST's words. Whatever has no shipment yet is null in REST.
_FULFILLMENT = {"FULFILLED": "fulfilled", "PARTIALLY_FULFILLED": "partial", "RESTOCKED": "restocked"}


class _TaxLine(Node):
    title: nodes.Text = UNSET
    rate: nodes.Rate = UNSET
    amount: nodes.ShopAmount = field(name="priceSet", default=UNSET)


class _Allocation(Node):
    amount: nodes.ShopAmount = field(name="allocatedAmountSet", default=UNSET)


class _Line(Node):
    shopify_id: Annotated[str, As(gid("LineItem"))] = field(name="id")
    product_shopify_id: Annotated[Reference | UnsetType | None, nodes.reference("Product")] = field(
        name="product", default=UNSET
    )
    variant_shopify_id: Annotated[Reference | UnsetType | None, nodes.reference("ProductVariant")] = field(
        name="variant", default=UNSET
    )
    title: nodes.Text = UNSET
    variant_title: nodes.Text = UNSET
    sku: nodes.Text = UNSET
    vendor: nodes.Text = UNSET
    quantity: nodes.Count | UnsetType = UNSET
    current_quantity: nodes.Count | UnsetType = UNSET
    gift_card: nodes.Flag = field(name="isGiftCard", default=UNSET)
    price: nodes.ShopAmount = field(name="originalUnitPriceSet", default=UNSET)
    total_discount: nodes.ShopAmount = field(name="totalDiscountSet", default=UNSET)
    tax_lines: list[_TaxLine] | UnsetType = UNSET
    discount_allocations: list[_Allocation] | UnsetType = UNSET


class _ShippingLine(Node):
    shopify_id: Annotated[str | UnsetType | None, As(gid("ShippingLine"))] = field(name="id", default=UNSET)
    title: nodes.Text = UNSET
    code: nodes.Text = UNSET
    is_removed: nodes.Flag = UNSET
    price: nodes.ShopAmount = field(name="originalPriceSet", default=UNSET)
    discounted_price: nodes.ShopAmount = field(name="discountedPriceSet", default=UNSET)
    current_discounted_price: nodes.ShopAmount = field(name="currentDiscountedPriceSet", default=UNSET)
    tax_lines: list[_TaxLine] | UnsetType = UNSET


class _RefundLine(Node):
    shopify_id: Annotated[str | UnsetType | None, As(gid("RefundLineItem"))] = field(name="id", default=UNSET)
    line_item_shopify_id: Annotated[Reference | UnsetType | None, nodes.reference("LineItem")] = field(
        name="lineItem", default=UNSET
    )
    quantity: nodes.Count | UnsetType | None = UNSET
    restock_type: nodes.State = UNSET
    subtotal: nodes.ShopAmount = field(name="subtotalSet", default=UNSET)
    total_tax: nodes.ShopAmount = field(name="totalTaxSet", default=UNSET)


class _RefundShippingLine(Node):
    subtotal: nodes.ShopAmount = field(name="subtotalAmountSet", default=UNSET)
    tax: nodes.ShopAmount = field(name="taxAmountSet", default=UNSET)


class _Adjustment(Node):
    shopify_id: Annotated[str | UnsetType | None, As(gid("OrderAdjustment"))] = field(name="id", default=UNSET)
    reason: nodes.Text = UNSET
    amount: nodes.ShopAmount = field(name="amountSet", default=UNSET)
    tax: nodes.ShopAmount = field(name="taxAmountSet", default=UNSET)


class _RefundTransaction(Node):
    shopify_id: Annotated[str | UnsetType | None, As(gid("OrderTransaction"))] = field(name="id", default=UNSET)
    kind: nodes.State = UNSET
    status: nodes.State = UNSET
    amount: nodes.ShopAmount = field(name="amountSet", default=UNSET)


class _Duty(Node):
    amount: nodes.ShopAmount = field(name="amountSet", default=UNSET)


class _Refund(Node):
    shopify_id: Annotated[str, As(gid("Refund"))] = field(name="id")
    created_at: nodes.Time = UNSET
    processed_at: nodes.Time = UNSET
    note: nodes.Text = UNSET
    total_refunded: nodes.ShopAmount = field(name="totalRefundedSet", default=UNSET)
    duties: list[_Duty] | UnsetType | None = UNSET
    refund_line_items: Connection[_RefundLine] | UnsetType = UNSET
    refund_shipping_lines: Connection[_RefundShippingLine] | UnsetType = UNSET
    order_adjustments: Connection[_Adjustment] | UnsetType = UNSET
    transactions: Connection[_RefundTransaction] | UnsetType = UNSET


class _Transaction(Node):
    shopify_id: Annotated[str, As(gid("OrderTransaction"))] = field(name="id")
    parent_shopify_id: Annotated[Reference | UnsetType | None, nodes.reference("OrderTransaction")] = field(
        name="parentTransaction", default=UNSET
    )
    kind: nodes.State = UNSET
    status: nodes.State = UNSET
    gateway: nodes.Text = UNSET
    test: nodes.Flag = UNSET
    error_code: nodes.State = UNSET
    amount_set: nodes.BothAmounts = UNSET
    created_at: nodes.Time = UNSET
    processed_at: nodes.Time = UNSET


class OrderNode(Node):
    shopify_id: Annotated[str, As(gid(GID_KIND))] = field(name="id")
    updated_at: nodes.Version = UNSET
    name: nodes.Text = UNSET
    email: nodes.Text = UNSET
    customer_shopify_id: Annotated[Reference | UnsetType | None, nodes.reference("Customer")] = field(
        name="customer", default=UNSET
    )
    currency: Annotated[str | UnsetType, As(scalars.currency)] = field(name="currencyCode", default=UNSET)
    presentment_currency: nodes.Currency = field(name="presentmentCurrencyCode", default=UNSET)
    original_total_price: nodes.BothAmounts = field(name="originalTotalPriceSet", default=UNSET)
    total_price: nodes.BothAmounts = field(name="totalPriceSet", default=UNSET)
    current_total_price: nodes.BothAmounts = field(name="currentTotalPriceSet", default=UNSET)
    subtotal_price: nodes.BothAmounts = field(name="subtotalPriceSet", default=UNSET)
    current_subtotal_price: nodes.BothAmounts = field(name="currentSubtotalPriceSet", default=UNSET)
    total_tax: nodes.BothAmounts = field(name="totalTaxSet", default=UNSET)
    current_total_tax: nodes.BothAmounts = field(name="currentTotalTaxSet", default=UNSET)
    total_discounts: nodes.BothAmounts = field(name="totalDiscountsSet", default=UNSET)
    total_shipping_price: nodes.BothAmounts = field(name="totalShippingPriceSet", default=UNSET)
    current_shipping_price: nodes.BothAmounts = field(name="currentShippingPriceSet", default=UNSET)
    original_total_duties: nodes.BothAmounts = field(name="originalTotalDutiesSet", default=UNSET)
    total_tip_received: nodes.BothAmounts = field(name="totalTipReceivedSet", default=UNSET)
    total_received: nodes.BothAmounts = field(name="totalReceivedSet", default=UNSET)
    total_refunded: nodes.BothAmounts = field(name="totalRefundedSet", default=UNSET)
    net_payment: nodes.BothAmounts = field(name="netPaymentSet", default=UNSET)
    total_outstanding: nodes.BothAmounts = field(name="totalOutstandingSet", default=UNSET)
    refund_discrepancy: nodes.BothAmounts = field(name="refundDiscrepancySet", default=UNSET)
    financial_status: nodes.State = field(name="displayFinancialStatus", default=UNSET)
    fulfillment_status: Annotated[str | UnsetType | None, As(_FULFILLMENT.get)] = field(
        name="displayFulfillmentStatus", default=UNSET
    )
    test: bool | UnsetType = UNSET
    confirmed: nodes.Flag = UNSET
    edited: nodes.Flag = UNSET
    taxes_included: nodes.Flag = UNSET
    cancelled_at: nodes.Time = UNSET
    cancel_reason: nodes.State = UNSET
    closed_at: nodes.Time = UNSET
    processed_at: nodes.Time = UNSET
    created_at: nodes.Time = UNSET
    note: nodes.Text = UNSET
    tags: nodes.Tags = UNSET
    discount_codes: nodes.Texts = UNSET
    payment_gateway_names: nodes.Texts = UNSET
    source_name: nodes.Text = UNSET
    line_items: Connection[_Line] | UnsetType = UNSET
    shipping_lines: Connection[_ShippingLine] | UnsetType = UNSET
    refunds: list[_Refund] | UnsetType = UNSET
    transactions: list[_Transaction] | UnsetType = UNSET


def to_row(order: OrderNode) -> Row:
    """The row of an order. Raises ValueError for what cannot be stored."""
    shape = told(order)
    for name in MONEY:
        if name in shape:
            keep_money(shape, name, shape[name])
    lists: dict[str, list[dict[str, Any]]] = {}
    gaps: list[str] = []
    if order.line_items is not UNSET and order.line_items.is_complete:
        lists["line_items"] = _by_id(map(_line, order.line_items.listed))
    else:
        gaps.append("more line items than were read")
    if order.shipping_lines is not UNSET and order.shipping_lines.is_complete:
        shipping_lines = map(_taxed, order.shipping_lines.listed)
        lists["shipping_lines"] = _by_id(identified(shipping_lines, "ShippingLine", shape["shopify_id"]))
    elif (
        order.shipping_lines is not UNSET
    ):  # where they are not told at all, another question would not tell them either
        gaps.append("more shipping lines than were read")
    if order.refunds is UNSET or not all(map(_is_whole, order.refunds)):
        gaps.append("refunds are told without all of their lines")
    else:
        refunds = [_told_with_lists(refund) for refund in order.refunds]
        lists["refunds"] = children((_refund(refund, shape) for refund in refunds), REFUND_COLUMNS)
        lists["refund_line_items"] = _by_id(line for refund in refunds for line in _refund_lines(refund))
        if order.transactions is not UNSET:
            lists["transactions"] = _by_id(_transactions(order.transactions, refunds))
    since = pending_since(lists.get("refunds", ()))
    return row(shape, lists=lists, required=REQUIRED, gaps=gaps, pending_since=since)


def _by_id(complete_children: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """A complete list, so ordered that equal lists are equal."""
    return sorted(complete_children, key=itemgetter("shopify_id"))


def _taxed(line: _Line | _ShippingLine) -> dict[str, Any]:
    shape = complete(line)
    told_taxes = None if line.tax_lines is UNSET else [complete(tax) for tax in line.tax_lines]
    shape["tax_lines"] = told_taxes
    shape["total_tax"] = None if told_taxes is None else total(tax["amount"] or ZERO for tax in told_taxes)
    return shape


def _line(line: _Line) -> dict[str, Any]:
    shape, allocations = _taxed(line), line.discount_allocations
    shape["allocated_discount"] = None if allocations is UNSET else _sum(each.amount for each in allocations)
    return shape


def _sum(amounts: Iterable[MoneyBag | UnsetType | None]) -> Decimal:
    return total(shop_amount(each) for each in amounts if isinstance(each, MoneyBag))


def _is_whole(refund: _Refund) -> bool:
    """Whether all of its lists were read to their end: a bulk operation reads none of them."""
    lists = (refund.refund_line_items, refund.refund_shipping_lines, refund.order_adjustments, refund.transactions)
    return all(each is not UNSET and each.is_complete for each in lists)


_REFUND_LISTS = ("refund_line_items", "refund_shipping_lines", "order_adjustments", "transactions")


def _told_with_lists(refund: _Refund) -> dict[str, Any]:
    """A whole refund, and what its lists tell."""
    lists = {name: [complete(each) for each in getattr(refund, name).listed] for name in _REFUND_LISTS}
    return told(refund) | lists | {"duties": _sum(each.amount for each in refund.duties or ())}


def _refund(refund: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    shipping = refund["refund_shipping_lines"]
    adjustments = [
        Adjustment(each["shopify_id"], reason_word(each["reason"]), each["amount"] or ZERO, each["tax"] or ZERO)
        for each in identified(refund["order_adjustments"], "OrderAdjustment", refund["shopify_id"])
    ]
    transactions = [Refunded(each["kind"], each["status"], each["amount"] or ZERO) for each in refund["transactions"]]
    shipping_amount = total(line["subtotal"] or ZERO for line in shipping)
    shipping_tax = total(line["tax"] or ZERO for line in shipping)
    duties = refund["duties"]
    lines = refund["refund_line_items"]
    of_lines = total((line["subtotal"] or ZERO) + (line["total_tax"] or ZERO) for line in lines)
    return {
        **refund,
        "processed_at": day_of(refund, order),
        "shipping": shipping_amount,
        "shipping_tax": shipping_tax,
        **amounts(adjustments, transactions, worth=of_lines + shipping_amount + shipping_tax + duties),
    }


def _refund_lines(refund: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = identified(refund["refund_line_items"], "RefundLineItem", refund["shopify_id"])
    return [{**line, "refund_shopify_id": refund["shopify_id"]} for line in lines]


def _transactions(transactions: Sequence[_Transaction], refunds: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each with the refund that it is of, and its amounts."""
    refund_of = {each["shopify_id"]: refund["shopify_id"] for refund in refunds for each in refund["transactions"]}
    found = []
    for transaction in transactions:
        shape = complete(transaction)
        money: MoneySet | None = shape.pop("amount_set")
        shape["refund_shopify_id"] = refund_of.get(shape["shopify_id"])
        shape["amount"] = None if money is None else money.amount
        shape["presentment_amount"] = None if money is None else money.presentment
        found.append(shape)
    return found
