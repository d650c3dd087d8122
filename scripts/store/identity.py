"""Shopify's ids: numbers that say the kind and the shop, and the gid that GraphQL makes of them.

Everything hangs on a thing's place in its shop (the n-th order), so that ids need no counter that a crash could lose:
``KIND + salt * SALT_STEP + n * STEP + part``. No two shops of different salt share an id.
"""

import re
import zlib

STEP = 10_000
SALT_STEP = 100_000_000_000
SALTS = 90

#: Where the ids of each kind begin; ten trillion apart, all below 2**53.
KINDS = {
    "Order": 10_000_000_000_000,
    "LineItem": 20_000_000_000_000,
    "ShippingLine": 30_000_000_000_000,
    "Refund": 40_000_000_000_000,
    "RefundLineItem": 50_000_000_000_000,
    "RefundShippingLine": 60_000_000_000_000,
    "OrderAdjustment": 70_000_000_000_000,
    "OrderTransaction": 80_000_000_000_000,
    "Customer": 90_000_000_000_000,
    "MailingAddress": 100_000_000_000_000,
    "Product": 110_000_000_000_000,
    "ProductVariant": 120_000_000_000_000,
    "InventoryItem": 130_000_000_000_000,
    "Fulfillment": 140_000_000_000_000,
    "OrderEdit": 150_000_000_000_000,
    "SalesAgreement": 160_000_000_000_000,
    "BasicEvent": 170_000_000_000_000,
    "WebhookSubscription": 180_000_000_000_000,
    "BulkOperation": 190_000_000_000_000,
    "Location": 200_000_000_000_000,
}
SPAN = 10_000_000_000_000
GID = re.compile(r"gid://shopify/(\w+)/(\d{1,19})(?:\?.*)?\Z")


def salt_of(domain: str) -> int:
    return zlib.crc32(domain.encode()) % SALTS


def make_id(kind: str, salt: int, place: int, part: int = 0) -> int:
    return KINDS[kind] + salt * SALT_STEP + place * STEP + part


def place_of(number: int) -> int:
    """The n of the n-th order, customer or product that the id belongs to."""
    return number % SALT_STEP // STEP


def sibling(kind: str, number: int, part: int = 0) -> int:
    """The id of another kind at the same place, e.g. the order of a line item."""
    return KINDS[kind] + number % SPAN // STEP * STEP + part


def gid(kind: str, number: int) -> str:
    return f"gid://shopify/{kind}/{number}"


def parse_gid(text: str) -> tuple[str, int] | None:
    """The kind and number of a gid, None when it is malformed."""
    match = GID.match(text)
    return (match[1], int(match[2])) if match else None
