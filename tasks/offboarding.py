"""A tenant's end: its tokens are revoked, its shop stops sending, and everything of it is erased in batches."""

import uuid
from collections.abc import Sequence

import dramatiq
from sqlmodel import Session

from models import compliance, erasure, sync_runs, tenant_changes, tenants
from models.database import OUTAGES, transaction
from models.tenants import Tenant
from tasks import held, owners, shops, subscriptions
from tasks.outbox import forget as forget_outbox
from tasks.outbox import outbox

#: Milliseconds of one batch and of one look through NATS.
TIME_LIMIT = 1_800_000
#: Actors whose messages are the erasure.
ERASING = frozenset({"erase_tenant"})


def begin(session: Session, tenant: Tenant) -> None:
    """Offboard a tenant, whose row is locked for update, when the transaction commits. Safe to repeat."""
    subscriptions.remove_when_committed(session, tenant)
    tenant_changes.revoke(tenant)
    compliance.forget_addresses(session, tenant.shop_domain)
    outbox.send(session, erase_tenant, str(tenant.id))


@dramatiq.actor(
    queue_name="maintenance",
    dead_letter_lane=owners.of_first_argument,
    infrastructure_errors=OUTAGES,
    max_retries=20,
    time_limit=TIME_LIMIT,
)
def erase_tenant(tenant_id: str, run_ids: Sequence[str] | None = None) -> None:
    """Erase one batch, then go on with the next message. Safe to run twice: what is gone is gone.

    What NATS holds goes when no row is left, and nothing can enqueue more. Some of it names runs: they are noted before they go.
    """
    found = uuid.UUID(tenant_id)
    with transaction() as session:
        tenant = tenants.get(session, found)
        if run_ids is None:
            run_ids = [str(each) for each in sync_runs.ids(session, found)]
    if not erasure.erase_batch(found):
        erase_tenant.send(tenant_id, list(run_ids))
        return
    with transaction() as session:
        forget_outbox(session, found, but=ERASING)
    held.remove_all(found, map(uuid.UUID, run_ids), but=ERASING)
    if tenant is not None:
        shops.forget_budget(tenant.shop_domain)
