"""Orders with all that belongs to them: lines, shipping, discounts, taxes, refunds, transactions.

``queries`` is what is asked, ``node`` and ``payload`` what the two shapes become, ``refunds`` and ``columns`` what both share.
"""

from shopify import cost
from shopify.resource import (
    PAGE_SIZE,
    Bulk,
    Part,
    Resource,
    TopicKind,
    count_query,
    node_query,
    nodes_query,
    page_query,
)
from shopify.resources.orders import queries
from shopify.resources.orders.columns import GID_KIND, NAME
from shopify.resources.orders.node import OrderNode, to_row
from shopify.resources.orders.payload import from_payload

__all__ = ["ALL_ORDERS", "RESOURCE", "from_payload"]

#: Without this scope Shopify shows the orders of 60 days, and counts no others.
ALL_ORDERS = "read_all_orders"

RESOURCE = Resource(
    name=NAME,
    gid_kind=GID_KIND,
    node_field="order",
    scope="read_orders",
    page_query=page_query("orders", "OrderSortKeys", queries.selection(**queries.PAGE)),
    page_cost=cost.connection(PAGE_SIZE, *queries.objects(**queries.PAGE)),
    node_query=node_query("order", queries.selection(**queries.NODE)),
    node_cost=cost.OBJECT + sum(queries.objects(**queries.NODE)),
    nodes_query=nodes_query(GID_KIND, queries.selection(**queries.NODE)),
    count_query=count_query("ordersCount"),
    count_cost=cost.COUNT,
    bulk=Bulk(queries.BULK, queries.BULK_CONNECTIONS, unnamed="shippingLines"),
    node=OrderNode,
    to_row=to_row,
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
    nested=queries.NESTED,
    dispensable=(queries.DUTIES,),
)
