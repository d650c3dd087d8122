"""A tenant's end: its tokens are revoked, its shop stops sending, and everything of it is erased in batches."""

import uuid

import dramatiq
from sqlmodel import Session

from models import erasure, tenant_changes
from models.database import OUTAGES
from models.tenants import Tenant
from tasks import subscriptions
from tasks.outbox import outbox


def begin(session: Session, tenant: Tenant) -> None:
    """Offboard a tenant, whose row is locked for update, when the transaction commits. Safe to repeat."""
    subscriptions.remove_when_committed(session, tenant)
    tenant_changes.revoke(tenant)
    outbox.send(session, erase_tenant, str(tenant.id))


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=20)
def erase_tenant(tenant_id: str) -> None:
    """Erase one batch, then go on with the next message. Safe to run twice: what is gone is gone."""
    if not erasure.erase_batch(uuid.UUID(tenant_id)):
        erase_tenant.send(tenant_id)
