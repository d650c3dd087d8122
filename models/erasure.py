"""Erasing a tenant: all of its rows, a batch a transaction, children before their parents."""

import uuid

from models import tenants
from models.database import sql, transaction
from models.tenants import TenantStatus

#: Rows of one transaction: short enough to be stopped at any time.
BATCH = 5_000

#: In an order in which no row is left whose parent is gone. The totals go last, since erasing orders changes them.
_TABLES = (
    "line_items",
    "shipping_lines",
    "refund_line_items",
    "transactions",
    "refunds",
    "orders",
    "customers",
    "variants",
    "products",
    "inventory_levels",
    "inventory_items",
    "quarantine",
    "payloads",
    "redactions",
    "refetches",
    "webhook_deliveries",
    "event_log",
    "sync_runs",
    "proofs",
    "watermarks",
    "repairs",
    "daily_sales",
    "customer_sales",
    "resource_totals",
)

_ERASE = """
delete from {table} where ctid = any(array(select ctid from {table} where tenant_id = :tenant_id limit :batch))
"""


def erase_batch(tenant_id: uuid.UUID) -> bool:
    """Erase up to BATCH rows of a tenant that is being erased. Whether nothing is left to do: it is gone, or another does it."""
    with transaction() as session:
        alone = session.execute(
            sql("select pg_try_advisory_xact_lock(hashtextextended(:id, 1))"), {"id": str(tenant_id)}
        ).scalar_one()
        tenant = tenants.get(session, tenant_id, for_update=True) if alone else None
        if tenant is None:
            return True
        if tenant.status != TenantStatus.ERASING:
            raise ValueError(f"tenant {tenant_id} is not being erased")
        left = BATCH
        for table in _TABLES:
            result = session.execute(sql(_ERASE.format(table=table)), {"tenant_id": tenant_id, "batch": left})
            left -= int(result.rowcount)  # type: ignore[attr-defined]
            if left <= 0:
                return False
        session.delete(tenant)
        return True
