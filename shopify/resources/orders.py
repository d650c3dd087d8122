"""Orders with their line items and refunds: the queries, the node, the webhook payload."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Required

from pydantic import Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from shopify import cost
from shopify.mapping import GRAPHQL, REST, Connection, children, is_complete, nodes_of, row, validated
from shopify.resource import (
    PAGE_SIZE,
    Bulk,
    Nested,
    Part,
    Resource,
    TopicKind,
    count_query,
    nested_query,
    node_query,
    nodes_query,
    page_query,
)
from shopify.row import Row
from shopify.scalars import (
    Count,
    Currency,
    Flag,
    Id,
    Money,
    RestMoneySet,
    ShopAmount,
    ShopMoney,
    State,
    Tags,
    Text,
    Time,
    gid,
    reference,
    rest_reference,
)

#: Without this scope Shopify shows the orders of 60 days, and counts no others.
ALL_ORDERS = "read_all_orders"
#: Lines asked for with each order of a page: more than nearly all orders have. Those with more are fetched by id.
PAGE_LINES = 50
#: Refunds of an order. A plain list: it costs the same however long, but says nothing of what follows.
REFUNDS = 100

_LINE = """id title variantTitle sku vendor quantity currentQuantity product { id } variant { id }
      originalUnitPriceSet { shopMoney { amount currencyCode } } totalDiscountSet { shopMoney { amount currencyCode } }"""


_OWN = """
      id name email createdAt processedAt updatedAt cancelledAt cancelReason closedAt test confirmed note tags sourceName
      currencyCode presentmentCurrencyCode displayFinancialStatus displayFulfillmentStatus customer { id }
      totalPriceSet { shopMoney { amount currencyCode } } currentTotalPriceSet { shopMoney { amount currencyCode } }
      subtotalPriceSet { shopMoney { amount currencyCode } } totalTaxSet { shopMoney { amount currencyCode } }
      totalDiscountsSet { shopMoney { amount currencyCode } } totalRefundedSet { shopMoney { amount currencyCode } }
"""
_REFUND = "id createdAt processedAt note totalRefundedSet { shopMoney { amount currencyCode } }"


def _selection(lines: int) -> str:
    return f"""
      {_OWN}
      lineItems(first: {lines}) {{ pageInfo {{ hasNextPage endCursor }} nodes {{ {_LINE} }} }}
      refunds(first: {REFUNDS}) {{ {_REFUND} }}
    """


_BULK = f"{_OWN} lineItems {{ edges {{ node {{ {_LINE} }} }} }} refunds(first: {REFUNDS}) {{ {_REFUND} }}"
_LINE_OBJECTS = (cost.OBJECT, cost.OBJECT)  # product, variant


def _objects(lines: int) -> tuple[int, ...]:
    return (cost.OBJECT, cost.connection(lines, *_LINE_OBJECTS), cost.OBJECT)  # customer, lineItems, refunds


#: Without these an order cannot be counted.
_REQUIRED = ("current_total_price", "currency", "processed_at")
_LINE_COLUMNS = (
    "product_shopify_id",
    "variant_shopify_id",
    "title",
    "variant_title",
    "sku",
    "vendor",
    "quantity",
    "current_quantity",
    "price",
    "total_discount",
)
_REFUND_COLUMNS = ("created_at", "processed_at", "note", "total_refunded")

#: GraphQL's display status in REST's words. Whatever has no shipment yet is null in REST.
_FULFILLMENT = {"FULFILLED": "fulfilled", "PARTIALLY_FULFILLED": "partial", "RESTOCKED": "restocked"}


def _fulfillment(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("is not a status")
    return None if value is None else _FULFILLMENT.get(value)


# --- GraphQL ---------------------------------------------------------------------------------------------------------


@with_config(GRAPHQL)
class _LineNode(TypedDict, total=False):
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
    price: Annotated[ShopAmount, Field(validation_alias="originalUnitPriceSet")]
    total_discount: Annotated[ShopAmount, Field(validation_alias="totalDiscountSet")]


@with_config(GRAPHQL)
class _RefundNode(TypedDict, total=False):
    shopify_id: Required[Annotated[int, PlainValidator(gid("Refund")), Field(validation_alias="id")]]
    created_at: Time | None
    processed_at: Time | None
    note: Text | None
    total_refunded: Annotated[ShopAmount, Field(validation_alias="totalRefundedSet")]


@with_config(GRAPHQL)
class _Node(TypedDict, total=False):
    shopify_id: Required[Annotated[int, PlainValidator(gid("Order")), Field(validation_alias="id")]]
    updated_at: Time
    name: Text | None
    email: Text | None
    customer_shopify_id: Annotated[
        int | None, PlainValidator(reference("Customer")), Field(validation_alias="customer")
    ]
    currency: Annotated[Currency, Field(validation_alias="currencyCode")]
    presentment_currency: Annotated[Currency | None, Field(validation_alias="presentmentCurrencyCode")]
    total_price: Annotated[ShopAmount, Field(validation_alias="totalPriceSet")]
    current_total_price: Annotated[ShopAmount, Field(validation_alias="currentTotalPriceSet")]
    subtotal_price: Annotated[ShopAmount, Field(validation_alias="subtotalPriceSet")]
    total_tax: Annotated[ShopAmount, Field(validation_alias="totalTaxSet")]
    total_discounts: Annotated[ShopAmount, Field(validation_alias="totalDiscountsSet")]
    total_refunded: Annotated[ShopAmount, Field(validation_alias="totalRefundedSet")]
    financial_status: Annotated[State | None, Field(validation_alias="displayFinancialStatus")]
    fulfillment_status: Annotated[
        str | None, PlainValidator(_fulfillment), Field(validation_alias="displayFulfillmentStatus")
    ]
    test: Flag
    confirmed: Flag | None
    cancelled_at: Time | None
    cancel_reason: State | None
    closed_at: Time | None
    processed_at: Time | None
    created_at: Time | None
    note: Text | None
    tags: Tags
    source_name: Text | None
    line_items: Connection[_LineNode]
    refunds: list[_RefundNode]


_NODE: TypeAdapter[Any] = TypeAdapter(_Node)


def from_node(node: Mapping[str, Any]) -> Row:
    """An order as a page or a fetch by id gives it. Raises RowRejected."""
    shape = validated(_NODE, node, resource=RESOURCE.name, gid_kind=RESOURCE.gid_kind)
    lines, refunds = shape.pop("line_items", None), shape.pop("refunds", None)
    lists: dict[str, list[dict[str, Any]]] = {}
    gaps: list[str] = []
    if lines is not None and is_complete(lines):
        lists["line_items"] = children(nodes_of(lines), _LINE_COLUMNS)
    else:
        gaps.append("more line items than were read")
    if refunds is not None and len(refunds) < REFUNDS:
        lists["refunds"] = children(refunds, _REFUND_COLUMNS)
    else:
        gaps.append("perhaps more refunds than were read")
    return row(shape, lists=lists, required=_REQUIRED, gaps=gaps)


# --- webhooks --------------------------------------------------------------------------------------------------------


@with_config(REST)
class _LinePayload(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    product_shopify_id: Annotated[Id | None, Field(validation_alias="product_id")]
    variant_shopify_id: Annotated[Id | None, Field(validation_alias="variant_id")]
    title: Text | None
    variant_title: Text | None
    sku: Text | None
    vendor: Text | None
    quantity: Count
    current_quantity: Count | None
    price: Money | None
    price_set: RestMoneySet
    total_discount: Money | None
    total_discount_set: RestMoneySet


@with_config(REST)
class _Transaction(TypedDict, total=False):
    kind: Text | None
    status: Text | None
    amount: Money | None
    currency: Currency | None


@with_config(REST)
class _RefundPayload(TypedDict, total=False):
    shopify_id: Required[Annotated[Id, Field(validation_alias="id")]]
    created_at: Time | None
    processed_at: Time | None
    note: Text | None
    transactions: list[_Transaction]


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
    total_tax: Money | None
    total_tax_set: RestMoneySet
    total_discounts: Money | None
    total_discounts_set: RestMoneySet
    financial_status: State | None
    fulfillment_status: State | None
    test: Flag | None
    confirmed: Flag | None
    cancelled_at: Time | None
    cancel_reason: State | None
    closed_at: Time | None
    processed_at: Time | None
    created_at: Time | None
    note: Text | None
    tags: Tags | None
    source_name: Text | None
    line_items: list[_LinePayload]
    refunds: list[_RefundPayload]


_PAYLOAD: TypeAdapter[Any] = TypeAdapter(_Payload)


def from_payload(payload: Mapping[str, Any]) -> Row:
    """An order as its webhooks carry it. Raises RowRejected.

    The payload has no total refunded, but the refunds' transactions, whose amounts are in the buyer's currency: they
    tell it where that is the shop's, and elsewhere the order has to be fetched.
    """
    shape = validated(_PAYLOAD, payload, resource=RESOURCE.name, gid_kind=RESOURCE.gid_kind)
    lines, refunds = shape.pop("line_items", None), shape.pop("refunds", None)
    _prefer_shop_money(shape, "total_price", "current_total_price", "subtotal_price", "total_tax", "total_discounts")
    lists: dict[str, list[dict[str, Any]]] = {}
    gaps: list[str] = []
    if lines is not None:
        for line in lines:
            _prefer_shop_money(line, "price", "total_discount")
        lists["line_items"] = children(lines, _LINE_COLUMNS)
    if refunds is not None:
        returned = [_returned(refund, shape) for refund in refunds]
        known = [amount for amount in returned if amount is not None]
        if len(known) == len(refunds):
            shape["total_refunded"] = sum(known, Decimal("0.00"))
            told = [refund | {"total_refunded": amount} for refund, amount in zip(refunds, known, strict=True)]
            lists["refunds"] = children(told, _REFUND_COLUMNS)
        else:
            gaps.append("what was refunded is told in the buyer's currency only")
    return row(shape, lists=lists, required=_REQUIRED, gaps=gaps)


def _prefer_shop_money(shape: dict[str, Any], *names: str) -> None:
    """The shop's side of a money set, where there is one, is the column; its currency is the order's."""
    for name in names:
        money: ShopMoney | None = shape.pop(f"{name}_set", None)
        if money is not None:
            shape[name] = money.amount
            if name == "current_total_price":
                shape["currency"] = money.currency


def _returned(refund: Mapping[str, Any], order: Mapping[str, Any]) -> Decimal | None:
    """The money that a refund paid back, in shop currency. None: the payload does not tell."""
    transactions = refund.get("transactions")
    if transactions is None:
        return None
    total = Decimal("0.00")
    for transaction in transactions:
        if transaction.get("kind") != "refund" or transaction.get("status") != "success":
            continue
        buyers = transaction.get("currency") or order.get("presentment_currency")
        amount = transaction.get("amount")
        if amount is None or buyers is None or buyers != order.get("currency"):
            return None
        total += amount
    return total


RESOURCE = Resource(
    name="orders",
    gid_kind="Order",
    node_field="order",
    scope="read_orders",
    page_query=page_query("orders", "OrderSortKeys", _selection(PAGE_LINES)),
    page_cost=cost.connection(PAGE_SIZE, *_objects(PAGE_LINES)),
    node_query=node_query("order", _selection(PAGE_SIZE)),
    node_cost=cost.OBJECT + sum(_objects(PAGE_SIZE)),
    nodes_query=nodes_query("Order", _selection(PAGE_SIZE)),
    count_query=count_query("ordersCount"),
    count_cost=cost.COUNT,
    bulk=Bulk(_BULK, {"LineItem": "lineItems"}),
    from_node=from_node,
    from_payload=from_payload,
    topics={
        "orders/create": TopicKind.WHOLE,
        "orders/updated": TopicKind.WHOLE,
        "orders/paid": TopicKind.WHOLE,
        "orders/cancelled": TopicKind.WHOLE,
        "orders/fulfilled": TopicKind.WHOLE,
        "orders/partially_fulfilled": TopicKind.WHOLE,
        "orders/delete": TopicKind.DELETE,
        "orders/edited": TopicKind.FETCH,
        "refunds/create": TopicKind.FETCH,
        "order_transactions/create": TopicKind.FETCH,
    },
    payload_marks=frozenset({"total_price", "current_total_price", "line_items", "financial_status"}),
    parts={
        "orders/edited": Part(("order_edit", "order_id"), marks=frozenset({"order_edit"})),
        "refunds/create": Part(("order_id",), marks=frozenset({"refund_line_items"}), gid_kind="Refund"),
        "order_transactions/create": Part(("order_id",), marks=frozenset({"kind"}), gid_kind="OrderTransaction"),
    },
    nested=(
        Nested(
            field="lineItems",
            query=nested_query("order", "lineItems", _LINE),
            cost=cost.OBJECT + cost.connection(PAGE_SIZE, *_LINE_OBJECTS),
        ),
    ),
)
