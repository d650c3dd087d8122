"""The row of a record: what lists sort and filter by."""

from .arithmetic import financial_status, totals
from .records import Customer, Order, Product
from .table import CustomerRow, OrderRow, ProductRow


def order_row(order: Order) -> OrderRow:
    sums = totals(order)
    return OrderRow(
        order.id,
        order.created_at,
        order.updated_at,
        order.processed_at,
        order.number,
        order.customer_id,
        sums.current_total.shop,
        sums.net_payment.shop,
        order.test,
        order.cancelled_at is not None,
        order.closed_at is not None,
        financial_status(order),
        order.fulfillment_status or "unfulfilled",
    )


def customer_row(customer: Customer) -> CustomerRow:
    return CustomerRow(
        customer.id,
        customer.created_at,
        customer.updated_at,
        f"{customer.last_name or ''}, {customer.first_name or ''}",
        customer.email,
        customer.state,
    )


def product_row(product: Product) -> ProductRow:
    return ProductRow(
        product.id,
        product.created_at,
        product.updated_at,
        product.published_at or 0,
        product.title,
        product.status,
        product.vendor,
        product.product_type,
        sum(variant.inventory_quantity for variant in product.variants),
    )
