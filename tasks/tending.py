"""What keeps everything going without anyone looking: silent runs, lost fetches, old logs."""

import dramatiq

import settings
from models import compliance, event_log, payloads, refetches, repairs, sync_runs, tenants, webhook_deliveries
from models.database import OUTAGES, transaction
from models.sync_runs import MAX_PICKUPS, RunStatus
from tasks import fetches, offboarding, sync
from tasks.compliance import act
from tasks.connection import broker
from tasks.store import Fetch

#: Marks given a new message by one sweep: enough for any crash, few enough for one transaction.
LOST_FETCHES = 500


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=0)
def tend() -> None:
    """Pick up runs that fell silent, fetches and requests that lost their message, and erasures that never began.

    Safe to run twice, also at once: what one sweep took up is not silent for the next.
    """
    with transaction() as session:
        messages = []
        for run in sync_runs.silent(session):
            if run.pickups >= MAX_PICKUPS:
                sync_runs.finish(session, run, RunStatus.FAILED, error="it fell silent again and again")
            else:
                messages += sync.resume(session, run)
        lost = [
            (mark.tenant_id, Fetch(mark.resource, mark.shopify_id))
            for mark in refetches.forgotten(session, limit=LOST_FETCHES)
        ]
        erasing = tenants.being_erased(session)
        owed = [request.id for request in compliance.forgotten(session)]
    for tenant_id in erasing:
        offboarding.erase_tenant.send(str(tenant_id))
    for request_id in owed:
        act.send(str(request_id))
    for actor, *arguments in messages:
        actor.send(*arguments)
    for tenant_id, fetch in lost:
        fetches.enqueue(tenant_id, [fetch])


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=3)
def prune() -> None:
    """Drop event lines, delivery records, days of repairs and kept payloads past their time. Safe to run twice."""
    with transaction() as session:
        event_log.prune(session)
    with transaction() as session:
        webhook_deliveries.prune(session)
    with transaction() as session:
        repairs.prune(session)
    is_done = False
    while not is_done:
        with transaction() as session:
            is_done = payloads.prune(session, days=settings.load().payloads_kept_days)


broker.cron("tend", "@every 30s", tend.message())
broker.cron("prune", "@every 1h", prune.message())
