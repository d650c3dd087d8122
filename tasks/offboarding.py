"""A tenant's end: everything of it is erased, in batches, after its tokens were revoked."""

import uuid

import dramatiq

from models import erasure
from models.database import OUTAGES


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=20)
def erase_tenant(tenant_id: str) -> None:
    """Erase one batch, then go on with the next message. Safe to run twice: what is gone is gone."""
    if not erasure.erase_batch(uuid.UUID(tenant_id)):
        erase_tenant.send(tenant_id)
