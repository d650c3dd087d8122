"""Orders in full: shipping, taxes and discounts of lines, what refunds take back, transactions, the buyer's money."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"

_MONEY_OF_ORDERS = (
    "original_total_price",
    "current_subtotal_price",
    "current_total_tax",
    "total_shipping_price",
    "current_shipping_price",
    "original_total_duties",
    "total_tip_received",
    "total_received",
    "net_payment",
    "total_outstanding",
    "refund_discrepancy",
    "presentment_original_total_price",
    "presentment_total_price",
    "presentment_current_total_price",
    "presentment_subtotal_price",
    "presentment_total_tax",
    "presentment_total_discounts",
    "presentment_total_shipping_price",
    "presentment_total_refunded",
    "presentment_net_payment",
)


def _money(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Numeric(), nullable=True) for name in names]


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(astext_type=sa.Text()), nullable=True)


def _create_part(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        name,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("shopify_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("order_shopify_id", sa.BigInteger(), nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("tenant_id", "shopify_id"),
    )
    op.create_index(f"{name}_order", name, ["tenant_id", "order_shopify_id"], unique=False)


def upgrade() -> None:
    for column in _money(*_MONEY_OF_ORDERS):
        op.add_column("orders", column)
    op.add_column("orders", sa.Column("taxes_included", sa.Boolean(), nullable=True))
    op.add_column("orders", sa.Column("edited", sa.Boolean(), nullable=True))
    op.add_column("orders", _json("discount_codes"))
    op.add_column("orders", _json("payment_gateway_names"))
    op.create_index("orders_day", "orders", ["tenant_id", "day"], unique=False)

    op.add_column("line_items", sa.Column("gift_card", sa.Boolean(), nullable=True))
    for column in _money("allocated_discount", "total_tax"):
        op.add_column("line_items", column)
    op.add_column("line_items", _json("tax_lines"))

    for column in _money("shipping", "shipping_tax", "duties", "discrepancy", "discrepancy_tax"):
        op.add_column("refunds", column)
    op.add_column("refunds", _json("adjustments"))
    op.add_column("refunds", sa.Column("is_pending", sa.Boolean(), nullable=True))
    op.create_index("refunds_processed", "refunds", ["tenant_id", "processed_at"], unique=False)
    op.create_index(
        "refunds_pending",
        "refunds",
        ["tenant_id", "order_shopify_id"],
        unique=False,
        postgresql_where=sa.text("is_pending"),
    )
    op.execute("update refunds set processed_at = created_at where processed_at is null")

    _create_part(
        "shipping_lines",
        sa.Column("title", sa.String(), nullable=True),
        sa.Column("code", sa.String(), nullable=True),
        sa.Column("is_removed", sa.Boolean(), nullable=True),
        *_money("price", "discounted_price", "current_discounted_price", "total_tax"),
        _json("tax_lines"),
    )
    op.create_index(
        "shipping_lines_removed",
        "shipping_lines",
        ["tenant_id", "order_shopify_id"],
        unique=False,
        postgresql_where=sa.text("is_removed"),
    )
    _create_part(
        "refund_line_items",
        sa.Column("refund_shopify_id", sa.BigInteger(), nullable=False),
        sa.Column("line_item_shopify_id", sa.BigInteger(), nullable=True),
        sa.Column("quantity", sa.Integer(), nullable=True),
        sa.Column("restock_type", sa.String(), nullable=True),
        *_money("subtotal", "total_tax"),
    )
    _create_part(
        "transactions",
        sa.Column("parent_shopify_id", sa.BigInteger(), nullable=True),
        sa.Column("refund_shopify_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=True),
        sa.Column("gateway", sa.String(), nullable=True),
        sa.Column("test", sa.Boolean(), nullable=True),
        sa.Column("error_code", sa.String(), nullable=True),
        *_money("amount", "presentment_amount"),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
    )
