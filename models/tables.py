"""Every table, so that importing this makes the whole schema known."""

from sqlmodel import SQLModel

from models import (
    api_notices,
    bulk_operations,
    compliance,
    customers,
    event_log,
    inventory_levels,
    orders,
    payloads,
    products,
    proofs,
    quarantine,
    redactions,
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
    "api_notices",
    "bulk_operations",
    "compliance",
    "customers",
    "event_log",
    "inventory_levels",
    "orders",
    "payloads",
    "products",
    "proofs",
    "quarantine",
    "redactions",
    "refetches",
    "repairs",
    "sales",
    "sync_runs",
    "tenants",
    "watermarks",
    "webhook_deliveries",
]
