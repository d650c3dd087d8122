"""Orders, with the line items and refunds that figures need."""

from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Boolean, Column, Computed, Index, text
from sqlmodel import Field, col, select

from models.columns import json_field, money_field, shopify_id_field, time_field
from models.tenants import Write
from models.versioned import Child, Versioned, one_row_per_id
from models.versions import Derived, Table

#: DESIGN §4, "What counts": whatever its financial status, unless it is test, deleted or cancelled.
COUNTS = (
    "not coalesce(test, false) and cancelled_at is null and deleted_at is null"
    " and day is not null and currency is not null and current_total_price is not null"
)


class Order(Versioned, table=True):
    """An order. Prices are in ``currency``, the shop's; the customer is Shopify's id, without a foreign key."""

    __tablename__ = "orders"
    __table_args__ = (
        one_row_per_id("orders"),
        Index("orders_customer", "tenant_id", "customer_shopify_id"),
    )

    name: str | None = None
    email: str | None = None
    customer_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    currency: str | None = None
    presentment_currency: str | None = None
    total_price: Decimal | None = money_field()
    current_total_price: Decimal | None = money_field()
    subtotal_price: Decimal | None = money_field()
    total_tax: Decimal | None = money_field()
    total_discounts: Decimal | None = money_field()
    total_refunded: Decimal | None = money_field()
    financial_status: str | None = None
    fulfillment_status: str | None = None
    test: bool | None = None
    confirmed: bool | None = None
    cancelled_at: datetime | None = time_field()
    cancel_reason: str | None = None
    closed_at: datetime | None = time_field()
    processed_at: datetime | None = time_field()
    created_at: datetime | None = time_field()
    note: str | None = None
    tags: list[str] | None = json_field()
    source_name: str | None = None

    #: The day of ``processed_at`` in the shop's time zone.
    day: date | None = None
    counts: bool | None = Field(
        default=None, sa_column=Column("counts", Boolean, Computed(COUNTS, persisted=True), nullable=True)
    )


class LineItem(Child, table=True):
    __tablename__ = "line_items"
    __table_args__ = (Index("line_items_order", "tenant_id", "order_shopify_id"),)

    order_shopify_id: int = shopify_id_field()
    product_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    variant_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    title: str | None = None
    variant_title: str | None = None
    sku: str | None = None
    vendor: str | None = None
    quantity: int | None = None
    #: What is left of ``quantity`` after refunds and removals.
    current_quantity: int | None = None
    price: Decimal | None = money_field()
    total_discount: Decimal | None = money_field()


class Refund(Child, table=True):
    __tablename__ = "refunds"
    __table_args__ = (Index("refunds_order", "tenant_id", "order_shopify_id"),)

    order_shopify_id: int = shopify_id_field()
    created_at: datetime | None = time_field()
    processed_at: datetime | None = time_field()
    note: str | None = None
    total_refunded: Decimal | None = money_field()


TABLE = Table(
    model=Order,
    children={"line_items": (LineItem, "order_shopify_id"), "refunds": (Refund, "order_shopify_id")},
    derived={
        "day": Derived(
            needs=frozenset({"processed_at", "created_at"}),
            sql="cast(coalesce(incoming.processed_at, incoming.created_at) at time zone :timezone as date)",
        )
    },
    # Titles too: a line without a product says whatever somebody typed.
    personal=frozenset({"email", "note", "tags", "refunds.note", "line_items.title", "line_items.variant_title"}),
    customer="customer_shopify_id",
)


def created_at(write: Write, shopify_id: int) -> datetime | None:
    found = select(Order.created_at).where(col(Order.tenant_id) == write.tenant.id, col(Order.shopify_id) == shopify_id)
    return write.session.exec(found).one_or_none()


_REBUILD_DAYS = """
update orders set day = cast(coalesce(processed_at, created_at) at time zone :timezone as date)
where tenant_id = :tenant_id
  and day is distinct from cast(coalesce(processed_at, created_at) at time zone :timezone as date)
"""


def rebuild_days(write: Write, timezone: str) -> None:
    """Every order's day again, after the shop moved to another time zone."""
    write.session.execute(text("set local statement_timeout = '30min'"))  # a million orders take half a minute
    write.session.execute(text(_REBUILD_DAYS), {"tenant_id": write.tenant.id, "timezone": timezone})
