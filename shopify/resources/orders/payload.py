"""An order as its webhooks carry it: REST's shape, with the refunds that it knows and without transactions of its own."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Annotated, Any, Required

from pydantic import BeforeValidator, Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from shopify.mapping import REST, children, row, validated
from shopify.resources.orders.columns import (
    IN_BOTH_CURRENCIES,
    LINE_COLUMNS,
    MONEY,
    NAME,
    REFUND_COLUMNS,
    REFUND_LINE_COLUMNS,
    REQUIRED,
    SHIPPING_LINE_COLUMNS,
    ZERO,
    identified,
    keep_money,
    total,
    with_taxes,
)
from shopify.resources.orders.refunds import (
    SHIPPING_REFUND,
    Adjustment,
    Refunded,
    amounts,
    day_of,
    pending_since,
    reason_word,
)
from shopify.row import Row
from shopify.scalars import (
    Count,
    Currency,
    Flag,
    Id,
    Money,
    Rate,
    RestMoneySet,
    State,
    Tags,
    Text,
    Time,
    rest_reference,
)


class _TaxLine(TypedDict, total=False):
    title: Text | None
    rate: Rate | None
    price: Money | None
    price_set: RestMoneySet


class _Allocation(TypedDict, total=False):
    amount: Money | None
    amount_set: RestMoneySet


@with_config(REST)
class _Line(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    product_shopify_id: Annotated[Id | None, Field(validation_alias="product_id")]
    variant_shopify_id: Annotated[Id | None, Field(validation_alias="variant_id")]
    title: Text | None
    variant_title: Text | None
    sku: Text | None
    vendor: Text | None
    quantity: Count
    current_quantity: Count | None
    gift_card: Flag | None
    price: Money | None
    price_set: RestMoneySet
    total_discount: Money | None
    total_discount_set: RestMoneySet
    tax_lines: list[_TaxLine] | None
    discount_allocations: list[_Allocation] | None


@with_config(REST)
class _ShippingLine(TypedDict, total=False):
    shopify_id: Annotated[Id | None, Field(validation_alias="id")]
    title: Text | None
    code: Text | None
    is_removed: Flag | None
    price: Money | None
    price_set: RestMoneySet
    discounted_price: Money | None
    discounted_price_set: RestMoneySet
    current_discounted_price_set: RestMoneySet
    tax_lines: list[_TaxLine] | None


@with_config(REST)
class _RefundLine(TypedDict, total=False):
    shopify_id: Annotated[Id | None, Field(validation_alias="id")]
    line_item_shopify_id: Annotated[Id | None, Field(validation_alias="line_item_id")]
    quantity: Count | None
    restock_type: State | None
    subtotal: Money | None
    subtotal_set: RestMoneySet
    total_tax: Money | None
    total_tax_set: RestMoneySet


class _RefundShippingLine(TypedDict, total=False):
    subtotal_amount_set: RestMoneySet


@with_config(REST)
class _Adjustment(TypedDict, total=False):
    shopify_id: Annotated[Id | None, Field(validation_alias="id")]
    kind: Text | None
    reason: Text | None
    amount: Money | None
    amount_set: RestMoneySet
    tax_amount: Money | None
    tax_amount_set: RestMoneySet


class _RefundTransaction(TypedDict, total=False):
    kind: Text | None
    status: Text | None
    amount: Money | None
    currency: Currency | None


@with_config(REST)
class _Refund(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    created_at: Time | None
    processed_at: Time | None
    note: Text | None
    duties: Any
    total_duties_set: RestMoneySet
    refund_line_items: list[_RefundLine] | None
    refund_shipping_lines: list[_RefundShippingLine] | None
    order_adjustments: list[_Adjustment] | None
    transactions: list[_RefundTransaction] | None


def _codes(value: object) -> object:
    """The codes alone, as GraphQL gives them."""
    if not isinstance(value, list):
        return value
    return [each.get("code") if isinstance(each, dict) else each for each in value]


@with_config(REST)
class _Payload(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    updated_at: Time | None
    name: Text | None
    email: Text | None
    customer_shopify_id: Annotated[int | None, PlainValidator(rest_reference), Field(validation_alias="customer")]
    currency: Currency | None
    presentment_currency: Currency | None
    total_price: Money | None
    total_price_set: RestMoneySet
    current_total_price: Money | None
    current_total_price_set: RestMoneySet
    subtotal_price: Money | None
    subtotal_price_set: RestMoneySet
    current_subtotal_price: Money | None
    current_subtotal_price_set: RestMoneySet
    total_tax: Money | None
    total_tax_set: RestMoneySet
    current_total_tax: Money | None
    current_total_tax_set: RestMoneySet
    total_discounts: Money | None
    total_discounts_set: RestMoneySet
    total_shipping_price_set: RestMoneySet
    current_shipping_price_set: RestMoneySet
    original_total_duties_set: RestMoneySet
    total_tip_received: Money | None
    total_outstanding: Money | None
    financial_status: State | None
    fulfillment_status: State | None
    test: Flag | None
    confirmed: Flag | None
    taxes_included: Flag | None
    cancelled_at: Time | None
    cancel_reason: State | None
    closed_at: Time | None
    processed_at: Time | None
    created_at: Time | None
    note: Text | None
    tags: Tags | None
    discount_codes: Annotated[list[Text] | None, BeforeValidator(_codes)]
    payment_gateway_names: list[Text] | None
    source_name: Text | None
    line_items: list[_Line] | None
    shipping_lines: list[_ShippingLine] | None
    refunds: list[_Refund] | None


_PAYLOAD: TypeAdapter[Any] = TypeAdapter(_Payload)
_LISTS = ("line_items", "shipping_lines", "refunds")


class _NotTold(Exception):
    """A payload's refund lacks what only a fetch tells."""


def from_payload(payload: Mapping[str, Any]) -> Row:
    """An order as its webhooks carry it. Raises RowRejected.

    The payload has no total refunded, but the refunds' transactions, whose amounts are in the buyer's currency: they
    tell it where that is the shop's, and elsewhere the order has to be fetched.
    """
    shape = validated(_PAYLOAD, payload, resource=NAME)
    told = {name: found for name in _LISTS if (found := shape.pop(name, None)) is not None}
    _keep_totals(shape)
    lists: dict[str, list[dict[str, Any]]] = {}
    gaps: list[str] = []
    if "line_items" in told:
        lists["line_items"] = children(map(_line, told["line_items"]), LINE_COLUMNS)
    shipping_lines = identified(told.get("shipping_lines", ()), "ShippingLine", shape["shopify_id"])
    if "shipping_lines" in told:
        lists["shipping_lines"] = children(map(_shipping_line, shipping_lines), SHIPPING_LINE_COLUMNS)
    if "refunds" in told:
        try:
            refunds = [_refund(refund, shape, _taxes_of(shipping_lines)) for refund in told["refunds"]]
        except _NotTold as gap:
            gaps.append(str(gap))
        else:
            _keep_refunded(shape, refunds)
            lists["refunds"] = children(refunds, REFUND_COLUMNS)
            lines = (line for refund in told["refunds"] for line in _refund_lines(refund))
            lists["refund_line_items"] = children(lines, REFUND_LINE_COLUMNS)
    since = pending_since(lists.get("refunds", ()))
    return row(shape, lists=lists, required=REQUIRED, gaps=gaps, pending_since=since)


def _keep_totals(shape: dict[str, Any]) -> None:
    """The shop's side of a money set, where there is one, is the column; its currency is the order's."""
    current = shape.get("current_total_price_set")
    if current is not None:
        shape["currency"] = current.currency
    is_one_currency = shape.get("currency") is not None and shape["currency"] == shape.get("presentment_currency")
    for name in MONEY:
        is_told = f"{name}_set" in shape
        money = shape.pop(f"{name}_set", None)
        if money is not None or (is_told and name not in shape):
            keep_money(shape, name, money)
        elif name in shape and name in IN_BOTH_CURRENCIES and (is_one_currency or shape[name] is None):
            shape[f"presentment_{name}"] = shape[name]


def _shop_amount(shape: Mapping[str, Any], name: str) -> Decimal | None:
    """The shop's side of a money set; without one the bare amount."""
    money = shape.get(f"{name}_set")
    found: Decimal | None = shape.get(name) if money is None else money.amount
    return found


def _amount(shape: Mapping[str, Any], name: str) -> Decimal:
    return _shop_amount(shape, name) or ZERO


def _taxed(line: Mapping[str, Any]) -> dict[str, Any]:
    taxes = line.get("tax_lines")
    return with_taxes(line, None if taxes is None else [(tax, _shop_amount(tax, "price")) for tax in taxes])


def _line(line: Mapping[str, Any]) -> dict[str, Any]:
    allocations = line.get("discount_allocations")
    return _taxed(line) | {
        "price": _shop_amount(line, "price"),
        "total_discount": _shop_amount(line, "total_discount"),
        "allocated_discount": None if allocations is None else total(_amount(each, "amount") for each in allocations),
    }


def _shipping_line(line: Mapping[str, Any]) -> dict[str, Any]:
    names = ("price", "discounted_price", "current_discounted_price")
    return _taxed(line) | {name: _shop_amount(line, name) for name in names}


def _taxes_of(lines: Iterable[Mapping[str, Any]]) -> Decimal | None:
    """The tax of all shipping. None: it is not told."""
    taxes = [_taxed(line)["total_tax"] for line in lines]
    return None if not taxes or None in taxes else total(taxes)


def _refund(refund: Mapping[str, Any], order: Mapping[str, Any], shipping_taxes: Decimal | None) -> dict[str, Any]:
    """A refund's columns. Raises _NotTold."""
    if refund.get("refund_line_items") is None or refund.get("order_adjustments") is None:
        raise _NotTold("a refund is told without its lines")
    if refund.get("duties") not in _NO_DUTIES and refund.get("total_duties_set") is None:
        raise _NotTold("a refund's duties are told without their amount")
    transactions = _transactions(refund, order)
    booked = identified(refund["order_adjustments"], "OrderAdjustment", refund["shopify_id"])
    adjustments = [
        Adjustment(
            each["shopify_id"], reason_word(each.get("reason")), _amount(each, "amount"), _amount(each, "tax_amount")
        )
        for each in booked
        if not _is_of_shipping(each)
    ]
    shipping, shipping_tax = _shipping(refund, shipping_taxes)
    duties = _amount(refund, "total_duties")
    of_lines = total(_amount(line, "subtotal") + _amount(line, "total_tax") for line in refund["refund_line_items"])
    try:
        columns = amounts(adjustments, transactions, worth=of_lines + shipping + shipping_tax + duties)
    except ValueError:
        raise _NotTold(_BUYERS_ALONE) from None
    return {
        **refund,
        "processed_at": day_of(refund, order),
        "total_refunded": total(each.amount or ZERO for each in transactions if each.is_paid),
        "presentment_refunded": total(
            each.get("amount") or ZERO
            for each in refund["transactions"]
            if each.get("kind") == "refund" and each.get("status") == "success"
        ),
        "shipping": shipping,
        "shipping_tax": shipping_tax,
        "duties": duties,
        **columns,
    }


_NO_DUTIES: tuple[Any, ...] = (None, [], {"duties": []})
_BUYERS_ALONE = "what was refunded is told in the buyer's currency only"


def _transactions(refund: Mapping[str, Any], order: Mapping[str, Any]) -> list[Refunded]:
    """Amounts only where the buyer's currency, in which they are told, is the shop's."""
    if refund.get("transactions") is None:
        raise _NotTold("a refund is told without its transactions")

    def amount_of(transaction: Mapping[str, Any]) -> Decimal | None:
        buyers = transaction.get("currency") or order.get("presentment_currency")
        return transaction.get("amount") if buyers is not None and buyers == order.get("currency") else None

    return [Refunded(each.get("kind"), each.get("status"), amount_of(each)) for each in refund["transactions"]]


def _shipping(refund: Mapping[str, Any], taxes: Decimal | None) -> tuple[Decimal, Decimal]:
    """Refunded shipping and its tax: told by lines without tax, by adjustments with it, or by both. Raises _NotTold."""
    booked = [each for each in refund["order_adjustments"] if _is_of_shipping(each)]
    amount, tax = (
        -total(_amount(each, "amount") for each in booked),
        -total(_amount(each, "tax_amount") for each in booked),
    )
    lines = refund.get("refund_shipping_lines") or ()
    of_lines = total(_amount(line, "subtotal_amount") for line in lines)
    if not lines or of_lines == amount:
        return amount or ZERO, tax or ZERO
    if taxes == ZERO:
        return of_lines, ZERO
    raise _NotTold("the tax of refunded shipping is not told")


def _is_of_shipping(adjustment: Mapping[str, Any]) -> bool:
    return SHIPPING_REFUND in {adjustment.get("kind"), reason_word(adjustment.get("reason"))}


def _refund_lines(refund: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = identified(refund["refund_line_items"], "RefundLineItem", refund["shopify_id"])
    return [
        {
            **line,
            "refund_shopify_id": refund["shopify_id"],
            "subtotal": _shop_amount(line, "subtotal"),
            "total_tax": _shop_amount(line, "total_tax"),
        }
        for line in lines
    ]


def _keep_refunded(shape: dict[str, Any], refunds: list[dict[str, Any]]) -> None:
    shape["total_refunded"] = total(refund["total_refunded"] for refund in refunds)
    shape["presentment_total_refunded"] = total(refund["presentment_refunded"] for refund in refunds)
