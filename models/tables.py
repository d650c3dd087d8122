"""Every table, so that importing this makes the whole schema known."""

from sqlmodel import SQLModel

from models import (
    customers,
    event_log,
    orders,
    products,
    quarantine,
    refetches,
    sales,
    sync_runs,
    tenants,
    watermarks,
    webhook_deliveries,
)

METADATA = SQLModel.metadata

__all__ = [
    "METADATA",
    "customers",
    "event_log",
    "orders",
    "products",
    "quarantine",
    "refetches",
    "sales",
    "sync_runs",
    "tenants",
    "watermarks",
    "webhook_deliveries",
]
