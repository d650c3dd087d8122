"""The lists and counts at the root of queries."""

from typing import Any

from . import lists

PLAIN = {"Count": {"count": "o[0]", "precision": "o[1]"}}

CALLS: dict[str, dict[str, Any]] = {
    "QueryRoot": {
        "orders": lists.ORDERS.page,
        "customers": lists.CUSTOMERS.page,
        "products": lists.PRODUCTS.page,
        "ordersCount": lists.orders_count,
        "customersCount": lists.customers_count,
        "productsCount": lists.products_count,
    }
}

SCOPES = {
    ("QueryRoot", "orders"): "read_orders",
    ("QueryRoot", "ordersCount"): "read_orders",
    ("QueryRoot", "customers"): "read_customers",
    ("QueryRoot", "customersCount"): "read_customers",
    ("QueryRoot", "products"): "read_products",
    ("QueryRoot", "productsCount"): "read_products",
}
