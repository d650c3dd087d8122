"""A webhook subscription as an app makes it through the Admin API, and what Shopify has against some."""

import ipaddress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

#: Topics as GraphQL names them; the webhook's header says orders/create.
TOPICS = [
    "APP_SCOPES_UPDATE",
    "APP_UNINSTALLED",
    "BULK_OPERATIONS_FINISH",
    "CUSTOMERS_CREATE",
    "CUSTOMERS_DELETE",
    "CUSTOMERS_DISABLE",
    "CUSTOMERS_ENABLE",
    "CUSTOMERS_MERGE",
    "CUSTOMERS_UPDATE",
    "INVENTORY_ITEMS_CREATE",
    "INVENTORY_ITEMS_DELETE",
    "INVENTORY_ITEMS_UPDATE",
    "INVENTORY_LEVELS_CONNECT",
    "INVENTORY_LEVELS_DISCONNECT",
    "INVENTORY_LEVELS_UPDATE",
    "ORDERS_CANCELLED",
    "ORDERS_CREATE",
    "ORDERS_DELETE",
    "ORDERS_EDITED",
    "ORDERS_FULFILLED",
    "ORDERS_PAID",
    "ORDERS_PARTIALLY_FULFILLED",
    "ORDERS_UPDATED",
    "ORDER_TRANSACTIONS_CREATE",
    "PRODUCTS_CREATE",
    "PRODUCTS_DELETE",
    "PRODUCTS_UPDATE",
    "REFUNDS_CREATE",
    "SHOP_UPDATE",
]
RESOURCES = (
    "order_transactions",
    "bulk_operations",
    "inventory_items",
    "inventory_levels",
    "customers",
    "products",
    "refunds",
    "orders",
    "shop",
    "app",
)


@dataclass
class Subscription:
    id: int
    topic: str  # ORDERS_CREATE
    uri: str
    created_at: int
    updated_at: int
    include_fields: list[str] = field(default_factory=list)
    filter: str | None = None
    name: str | None = None

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def header_topic(topic: str) -> str:
    """``orders/create`` of ``ORDERS_CREATE``."""
    lower = topic.lower()
    for resource in RESOURCES:
        if lower.startswith(resource + "_"):
            return f"{resource}/{lower[len(resource) + 1 :]}"
    raise ValueError(topic)


def address_error(uri: str) -> str | None:
    """Shopify's objection to an address. Plain HTTP passes to this machine alone, so that a laptop can subscribe."""
    if not uri.strip():
        return "Address can't be blank"
    if uri.startswith(("pubsub://", "arn:aws:events:")):
        return None
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "Address is invalid"
    if parts.hostname.endswith((".myshopify.com", ".shopify.com")):
        return "Address cannot be a Shopify or an internal domain"
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        return "Address protocol http:// is not supported"
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
