"""What is asked of an order, in pieces that pages, fetches by id and bulk operations put together, and what each costs.

``refunds`` and ``transactions`` are plain lists: without ``first`` they come whole, and cost the same however long.
"""

from shopify import cost
from shopify.resource import PAGE_SIZE, Nested, nested_query

#: Lines asked for with each order of a page: more than nearly all orders have. Those with more are fetched by id.
PAGE_LINES = 25
#: The same of the other lists, of which hardly any order has more.
PAGE_SHIPPING_LINES = 3
PAGE_REFUND_LINES = 10
PAGE_REFUND_PARTS = 5
#: Of a refund, when its order is fetched by id. What follows is fetched on its own.
NODE_REFUND_LINES = 100
NODE_REFUND_PARTS = 20
NODE_SHIPPING_LINES = 10

SHOP = "{ shopMoney { amount currencyCode } }"
BOTH = "{ shopMoney { amount currencyCode } presentmentMoney { amount currencyCode } }"

LINE = f"""id title variantTitle sku vendor quantity currentQuantity isGiftCard product {{ id }} variant {{ id }}
      originalUnitPriceSet {SHOP} totalDiscountSet {SHOP}
      taxLines {{ title rate priceSet {SHOP} }} discountAllocations {{ allocatedAmountSet {SHOP} }}"""
LINE_OBJECTS = (cost.OBJECT,) * 4  # product, variant, taxLines, discountAllocations

SHIPPING_LINE = f"""id title code isRemoved
      originalPriceSet {SHOP} discountedPriceSet {SHOP} currentDiscountedPriceSet {SHOP}
      taxLines {{ title rate priceSet {SHOP} }}"""
SHIPPING_LINE_OBJECTS = (cost.OBJECT,)  # taxLines

REFUND_LINE = f"id quantity restockType subtotalSet {SHOP} totalTaxSet {SHOP} lineItem {{ id }}"
REFUND_LINE_OBJECTS = (cost.OBJECT,)  # lineItem
REFUND_SHIPPING_LINE = f"id subtotalAmountSet {SHOP} taxAmountSet {SHOP}"
ADJUSTMENT = f"id reason amountSet {SHOP} taxAmountSet {SHOP}"
REFUND_TRANSACTION = f"id kind status amountSet {SHOP}"

#: A refund without its lists, as a bulk operation may ask for it.
REFUND = f"id createdAt processedAt note totalRefundedSet {BOTH} duties {{ amountSet {SHOP} }}"

TRANSACTION = f"""id kind status gateway test createdAt processedAt errorCode amountSet {BOTH}
      parentTransaction {{ id }}"""
TRANSACTION_OBJECTS = cost.OBJECT + cost.OBJECT  # the list, parentTransaction

#: What only orders sent abroad have.
DUTIES = f"originalTotalDutiesSet {SHOP}"

#: An order without its lists.
ORDER = f"""
      id name email createdAt processedAt updatedAt cancelledAt cancelReason closedAt test confirmed edited note tags
      sourceName taxesIncluded currencyCode presentmentCurrencyCode displayFinancialStatus displayFulfillmentStatus
      discountCodes paymentGatewayNames customer {{ id }}
      originalTotalPriceSet {BOTH} totalPriceSet {BOTH} currentTotalPriceSet {BOTH} subtotalPriceSet {BOTH}
      totalTaxSet {BOTH} totalDiscountsSet {BOTH} totalShippingPriceSet {BOTH} totalRefundedSet {BOTH} netPaymentSet {BOTH}
      currentSubtotalPriceSet {SHOP} currentTotalTaxSet {SHOP} currentShippingPriceSet {SHOP}
      {DUTIES} totalTipReceivedSet {SHOP} totalReceivedSet {SHOP}
      totalOutstandingSet {SHOP} refundDiscrepancySet {SHOP}
"""
ORDER_OBJECTS = cost.OBJECT  # customer

_PAGE_INFO = "pageInfo { hasNextPage endCursor }"


def _connection(field: str, arguments: str, selection: str) -> str:
    return f"{field}({arguments}) {{ {_PAGE_INFO} nodes {{ {selection} }} }}"


def selection(*, lines: int, shipping_lines: int, refund_lines: int, refund_parts: int) -> str:
    """A whole order, with so many of each list."""
    return f"""{ORDER}
      {_connection("lineItems", f"first: {lines}", LINE)}
      {_connection("shippingLines", f"first: {shipping_lines}, includeRemovals: true", SHIPPING_LINE)}
      refunds {{ {REFUND}
        {_connection("refundLineItems", f"first: {refund_lines}", REFUND_LINE)}
        {_connection("refundShippingLines", f"first: {refund_parts}", REFUND_SHIPPING_LINE)}
        {_connection("orderAdjustments", f"first: {refund_parts}", ADJUSTMENT)}
        {_connection("transactions", f"first: {refund_parts}", REFUND_TRANSACTION)}
      }}
      transactions {{ {TRANSACTION} }}
    """


def objects(*, lines: int, shipping_lines: int, refund_lines: int, refund_parts: int) -> tuple[int, ...]:
    """What the objects in ``selection`` cost."""
    return (
        ORDER_OBJECTS,
        cost.connection(lines, *LINE_OBJECTS),
        cost.connection(shipping_lines, *SHIPPING_LINE_OBJECTS),
        cost.OBJECT + cost.OBJECT,  # refunds, their duties
        cost.connection(refund_lines, *REFUND_LINE_OBJECTS),
        3 * cost.connection(refund_parts),
        TRANSACTION_OBJECTS,
    )


#: A bulk operation allows no connection inside a list: what a refund took back is fetched by id.
BULK = f"""{ORDER}
      lineItems {{ edges {{ node {{ {LINE} }} }} }}
      shippingLines(includeRemovals: true) {{ edges {{ node {{ {SHIPPING_LINE} }} }} }}
      refunds {{ {REFUND} }} transactions {{ {TRANSACTION} }}
"""
BULK_CONNECTIONS = {"LineItem": "lineItems", "ShippingLine": "shippingLines"}

PAGE = {
    "lines": PAGE_LINES,
    "shipping_lines": PAGE_SHIPPING_LINES,
    "refund_lines": PAGE_REFUND_LINES,
    "refund_parts": PAGE_REFUND_PARTS,
}
NODE = {
    "lines": PAGE_SIZE,
    "shipping_lines": NODE_SHIPPING_LINES,
    "refund_lines": NODE_REFUND_LINES,
    "refund_parts": NODE_REFUND_PARTS,
}


def _of_a_refund(field: str, selected: str, *node_objects: int) -> Nested:
    return Nested(
        field=field,
        query=nested_query("refund", field, selected, parent="order"),
        cost=cost.OBJECT + cost.OBJECT + cost.connection(PAGE_SIZE, *node_objects),  # refund, order
        root="refund",
        inside="refunds",
    )


NESTED = (
    Nested(
        field="lineItems",
        query=nested_query("order", "lineItems", LINE),
        cost=cost.OBJECT + cost.connection(PAGE_SIZE, *LINE_OBJECTS),
        root="order",
    ),
    Nested(
        field="shippingLines",
        query=nested_query("order", "shippingLines", SHIPPING_LINE, arguments="includeRemovals: true"),
        cost=cost.OBJECT + cost.connection(PAGE_SIZE, *SHIPPING_LINE_OBJECTS),
        root="order",
    ),
    _of_a_refund("refundLineItems", REFUND_LINE, *REFUND_LINE_OBJECTS),
    _of_a_refund("refundShippingLines", REFUND_SHIPPING_LINE),
    _of_a_refund("orderAdjustments", ADJUSTMENT),
    _of_a_refund("transactions", REFUND_TRANSACTION),
)
