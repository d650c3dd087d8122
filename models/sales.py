"""Totals that the write path keeps exact, so that a figure costs the same at a thousand orders and at ten million.

Triggers keep them: whatever statement writes orders, customers or products, the totals change in its transaction by
exactly what it changed (``migrations/versions/0001_totals.sql``).
"""

import uuid
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import Index, text
from sqlmodel import Field, SQLModel

from models.columns import shopify_id_field, time_field


class DailySales(SQLModel, table=True):
    """Orders that count and their revenue, by the shop's own days; a row a currency."""

    __tablename__ = "daily_sales"

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    day: date = Field(primary_key=True)
    currency: str = Field(primary_key=True)
    orders: int
    revenue: Decimal


class CustomerSales(SQLModel, table=True):
    """Orders that count and what was spent on them, by customer; a row a currency."""

    __tablename__ = "customer_sales"
    __table_args__ = (
        Index("customer_sales_best", "tenant_id", "currency", text("total_spent desc"), "customer_shopify_id"),
    )

    # No foreign key, as for Versioned: a row is touched for nearly every order of a history.
    tenant_id: uuid.UUID = Field(primary_key=True)
    customer_shopify_id: int = shopify_id_field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    currency: str = Field(primary_key=True)
    orders_count: int
    total_spent: Decimal


class ResourceTotal(SQLModel, table=True):
    """How many of a resource's rows are alive, and when one of them last changed."""

    __tablename__ = "resource_totals"

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    resource: str = Field(primary_key=True)
    live: int
    updated_at: datetime = time_field(nullable=False)
