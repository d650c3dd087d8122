"""Every table, so that importing this makes the whole schema known."""

from sqlmodel import SQLModel

from models import (
    bulk_operations,
    customers,
    event_log,
    orders,
    products,
    quarantine,
    refetches,
    repairs,
    sales,
    sync_runs,
    tenants,
    watermarks,
    webhook_deliveries,
)

METADATA = SQLModel.metadata

__all__ = [
    "METADATA",
    "bulk_operations",
    "customers",
    "event_log",
    "orders",
    "products",
    "quarantine",
    "refetches",
    "repairs",
    "sales",
    "sync_runs",
    "tenants",
    "watermarks",
    "webhook_deliveries",
]
