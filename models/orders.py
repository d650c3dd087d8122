"""Orders, with the lines, shipping, refunds and transactions that figures and accounts need."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Boolean, Column, Computed, Index, text
from sqlmodel import Field

from models.columns import json_field, money_field, shopify_id_field, time_field
from models.database import sql
from models.tenants import Write
from models.versioned import Child, Derived, Table, Versioned, one_row_per_id

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
        Index("orders_day", "tenant_id", "day"),
        Index("orders_created", "tenant_id", "created_at"),
    )

    name: str | None = None
    email: str | None = None
    customer_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    currency: str | None = None
    presentment_currency: str | None = None
    #: As placed: unlike ``total_price`` no edit changes it.
    original_total_price: Decimal | None = money_field()
    total_price: Decimal | None = money_field()
    current_total_price: Decimal | None = money_field()
    subtotal_price: Decimal | None = money_field()
    current_subtotal_price: Decimal | None = money_field()
    total_tax: Decimal | None = money_field()
    current_total_tax: Decimal | None = money_field()
    total_discounts: Decimal | None = money_field()
    total_shipping_price: Decimal | None = money_field()
    current_shipping_price: Decimal | None = money_field()
    original_total_duties: Decimal | None = money_field()
    total_tip_received: Decimal | None = money_field()
    total_received: Decimal | None = money_field()
    total_refunded: Decimal | None = money_field()
    #: Received less refunded.
    net_payment: Decimal | None = money_field()
    total_outstanding: Decimal | None = money_field()
    #: Positive: in the merchant's favour.
    refund_discrepancy: Decimal | None = money_field()
    #: The same amounts in ``presentment_currency``, the buyer's.
    presentment_original_total_price: Decimal | None = money_field()
    presentment_total_price: Decimal | None = money_field()
    presentment_current_total_price: Decimal | None = money_field()
    presentment_subtotal_price: Decimal | None = money_field()
    presentment_total_tax: Decimal | None = money_field()
    presentment_total_discounts: Decimal | None = money_field()
    presentment_total_shipping_price: Decimal | None = money_field()
    presentment_total_refunded: Decimal | None = money_field()
    presentment_net_payment: Decimal | None = money_field()
    taxes_included: bool | None = None
    edited: bool | None = None
    discount_codes: list[str] | None = json_field()
    payment_gateway_names: list[str] | None = json_field()
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
    """``price``, discounts and taxes go on describing the full ``quantity``, whatever was refunded or removed."""

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
    gift_card: bool | None = None
    price: Decimal | None = money_field()
    #: Of the line alone; discounts of the whole order are in ``allocated_discount``, which holds both.
    total_discount: Decimal | None = money_field()
    allocated_discount: Decimal | None = money_field()
    total_tax: Decimal | None = money_field()
    #: ``{title, rate, amount}`` of each tax.
    tax_lines: list[dict[str, Any]] | None = json_field()


class ShippingLine(Child, table=True):
    """An id below zero stands for one that Shopify did not give, here and in every table of parts."""

    __tablename__ = "shipping_lines"
    __table_args__ = (
        Index("shipping_lines_order", "tenant_id", "order_shopify_id"),
        Index("shipping_lines_removed", "tenant_id", "order_shopify_id", postgresql_where=text("is_removed")),
    )

    order_shopify_id: int = shopify_id_field()
    title: str | None = None
    code: str | None = None
    is_removed: bool | None = None
    price: Decimal | None = money_field()
    discounted_price: Decimal | None = money_field()
    #: What is left of ``discounted_price`` after refunds.
    current_discounted_price: Decimal | None = money_field()
    total_tax: Decimal | None = money_field()
    tax_lines: list[dict[str, Any]] | None = json_field()


class Refund(Child, table=True):
    """What was taken back, at an edit or a cancellation too; ``total_refunded`` is the money that went out for it."""

    __tablename__ = "refunds"
    __table_args__ = (
        Index("refunds_order", "tenant_id", "order_shopify_id"),
        Index("refunds_processed", "tenant_id", "processed_at"),
        Index("refunds_pending", "tenant_id", "order_shopify_id", postgresql_where=text("is_pending")),
    )

    order_shopify_id: int = shopify_id_field()
    created_at: datetime | None = time_field()
    #: Its day in the sales: when it was made, or its order's time, if Shopify does not tell.
    processed_at: datetime | None = time_field()
    note: str | None = None
    total_refunded: Decimal | None = money_field()
    shipping: Decimal | None = money_field()
    shipping_tax: Decimal | None = money_field()
    duties: Decimal | None = money_field()
    #: Withheld; negative, it went out beyond what the lines justify. Without the entries for money on its way.
    discrepancy: Decimal | None = money_field()
    discrepancy_tax: Decimal | None = money_field()
    #: ``{reason, amount, tax}`` of each entry, those for money on its way included.
    adjustments: list[dict[str, Any]] | None = json_field()
    #: Whether money is on its way: it is read again until that has arrived or failed.
    is_pending: bool | None = None


class RefundLineItem(Child, table=True):
    """Units that a refund took back. ``subtotal`` is after all discounts."""

    __tablename__ = "refund_line_items"
    __table_args__ = (Index("refund_line_items_order", "tenant_id", "order_shopify_id"),)

    order_shopify_id: int = shopify_id_field()
    refund_shopify_id: int = shopify_id_field()
    line_item_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    quantity: int | None = None
    restock_type: str | None = None
    subtotal: Decimal | None = money_field()
    total_tax: Decimal | None = money_field()


class Transaction(Child, table=True):
    """Money that moved, or should have. Amounts are never negative: ``kind`` says which way."""

    __tablename__ = "transactions"
    __table_args__ = (Index("transactions_order", "tenant_id", "order_shopify_id"),)

    order_shopify_id: int = shopify_id_field()
    parent_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    refund_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    kind: str | None = None
    status: str | None = None
    gateway: str | None = None
    test: bool | None = None
    error_code: str | None = None
    amount: Decimal | None = money_field()
    #: In the order's ``presentment_currency``.
    presentment_amount: Decimal | None = money_field()
    created_at: datetime | None = time_field()
    processed_at: datetime | None = time_field()


TABLE = Table(
    model=Order,
    children={
        "line_items": (LineItem, "order_shopify_id"),
        "shipping_lines": (ShippingLine, "order_shopify_id"),
        "refunds": (Refund, "order_shopify_id"),
        "refund_line_items": (RefundLineItem, "order_shopify_id"),
        "transactions": (Transaction, "order_shopify_id"),
    },
    told_by_reads=frozenset(
        {
            "original_total_price",
            "presentment_original_total_price",
            "edited",
            "total_received",
            "net_payment",
            "presentment_net_payment",
            "refund_discrepancy",
            "transactions",
        }
    ),
    derived={
        "day": Derived(
            needs=frozenset({"processed_at", "created_at"}),
            sql="cast(coalesce(incoming.processed_at, incoming.created_at) at time zone :timezone as date)",
        )
    },
    # Titles too: a line without a product says whatever somebody typed.
    personal=frozenset(
        {
            "email",
            "note",
            "tags",
            "discount_codes",
            "refunds.note",
            "line_items.title",
            "line_items.variant_title",
            "shipping_lines.title",
            "shipping_lines.code",
        }
    ),
    customer="customer_shopify_id",
)


_CREATED_AT = "select created_at from orders where tenant_id = :tenant_id and shopify_id = :shopify_id"


def created_at(write: Write, shopify_id: int) -> datetime | None:
    values = {"tenant_id": write.tenant.id, "shopify_id": shopify_id}
    found: datetime | None = write.session.execute(sql(_CREATED_AT), values).scalar_one_or_none()
    return found


_OF_CUSTOMER = """
select shopify_id from orders
where tenant_id = :tenant_id and customer_shopify_id = :customer_id and deleted_at is null and updated_at is not null
order by shopify_id
"""


def of_customer(write: Write, customer_id: int) -> list[int]:
    """The orders of a customer, by Shopify's ids."""
    values = {"tenant_id": write.tenant.id, "customer_id": customer_id}
    return list(write.session.execute(sql(_OF_CUSTOMER), values).scalars())


_REBUILD_DAYS = """
update orders set day = cast(coalesce(processed_at, created_at) at time zone :timezone as date)
where tenant_id = :tenant_id
  and day is distinct from cast(coalesce(processed_at, created_at) at time zone :timezone as date)
"""


def rebuild_days(write: Write, timezone: str) -> None:
    """Every order's day again, after the shop moved to another time zone."""
    write.session.execute(sql("set local statement_timeout = '30min'"))  # a million orders take half a minute
    write.session.execute(sql(_REBUILD_DAYS), {"tenant_id": write.tenant.id, "timezone": timezone})
