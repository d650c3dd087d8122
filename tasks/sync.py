"""Syncs: a run is a chain of messages a resource, each of which carries out one step and enqueues the next."""

import random
import uuid
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import dramatiq
from sqlmodel import Session

from models import bulk_operations, sync_runs, tenants
from models.columns import now
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.sync_runs import Mode, RunStatus, SyncRun
from models.tenants import Tenant, TenantInactive, TenantStatus, Write
from shopify import bulk
from shopify.errors import AccessDenied, CountNotExact, QueryRefused, UnknownTimeZone
from shopify.resources import RESOURCES, taken
from tasks import fetches, owners, shops, sync_steps
from tasks.outbox import outbox
from tasks.shops import CredentialsRefused, Postponed
from tasks.sync_work import Position

#: Milliseconds between two looks at a paused shop's run.
PAUSED_RETRY = 60_000
#: Milliseconds of one step, less than a run may be silent: a request takes 27 s at most, a page's transaction one.
TIME_LIMIT = 100_000
#: A run ends when its shop could not be reached for so long; otherwise it would block the next for ever.
LONGEST_WAIT = timedelta(hours=24)
#: What ends a run: asking again does not help.
HOPELESS = (CredentialsRefused, AccessDenied, QueryRefused, CountNotExact, UnknownTimeZone)


def begin(
    tenant_id: uuid.UUID,
    *,
    resources: Sequence[str] | None = None,
    mode: Mode = Mode.AUTO,
    since: date | None = None,
    until: date | None = None,
) -> uuid.UUID:
    """Start a sync and return its run's id. Without ``resources`` it is of all that are taken. Needs no NATS: it goes on when that is there.

    Raises RunInProgress and TenantInactive.
    """
    with tenants.write(tenant_id) as write:
        return _start(write, resources=resources, mode=mode, since=since, until=until)


def begin_first(session: Session, tenant: Tenant) -> uuid.UUID:
    """Start the first sync of a tenant that the same transaction makes, and return its run's id."""
    return _start(Write(session=session, tenant=tenant, at=now()))


def begin_again(session: Session, tenant: Tenant, failed: SyncRun | None = None) -> None:
    """Start a sync of a tenant that is locked for update, of all or of what a failed run was to read, unless one runs."""
    if sync_runs.running(session, tenant.id) is not None:
        return
    write = Write(session=session, tenant=tenant, at=now())
    if failed is None:
        _start(write)
    else:
        named = [each.resource for each in sync_runs.checkpoints(session, [failed.id])]
        resources = None if failed.is_of_all else named
        _start(write, resources=resources, mode=failed.mode, since=failed.since, until=failed.until)


def _start(
    write: Write,
    *,
    resources: Sequence[str] | None = None,
    mode: Mode = Mode.AUTO,
    since: date | None = None,
    until: date | None = None,
) -> uuid.UUID:
    run = sync_runs.start(
        write.session,
        write.tenant.id,
        resources=tuple(resources or taken(())),
        mode=mode,
        since=since,
        until=until,
        is_of_all=not resources,
    )
    record(write, Level.INFO, "sync", "sync started")
    outbox.send(write.session, prepare_run, str(run.id), run.epoch)
    return run.id


@dramatiq.actor(
    queue_name="sync",
    dead_letter_lane=owners.of_first_argument,
    infrastructure_errors=OUTAGES,
    max_retries=8,
    min_backoff=1_000,
    max_backoff=60_000,
    time_limit=TIME_LIMIT,
    on_retry_exhausted="fail_run",
)
def prepare_run(run_id: str, epoch: int) -> None:
    """Read the shop itself, then start the chain of every resource.

    Safe to run twice: the chains start with messages that carry this delivery's identity.
    """
    position = Position(uuid.UUID(run_id), epoch)
    try:
        chains = sync_steps.prepare(position)
    except Postponed as postponed:
        if _may_wait(position.run_id, postponed):
            prepare_run.send_with_options(args=(run_id, epoch), delay=postponed.milliseconds)
    except TenantInactive as inactive:
        if _waits(position.run_id, inactive):
            prepare_run.send_with_options(args=(run_id, epoch), delay=PAUSED_RETRY)
    except HOPELESS as error:
        _fail(position.run_id, str(error))
    else:
        for resource, step in chains:
            advance.send(run_id, resource, epoch, step)


@dramatiq.actor(
    queue_name="sync",
    dead_letter_lane=owners.of_first_argument,
    infrastructure_errors=OUTAGES,
    max_retries=8,
    min_backoff=1_000,
    max_backoff=60_000,
    time_limit=TIME_LIMIT,
    on_retry_exhausted="fail_run",
)
def advance(run_id: str, resource: str, epoch: int, step: int, postponed_since: str | None = None) -> None:
    """Carry out one step of a resource's sync, then enqueue the next. ``postponed_since``: when it was first put off.

    Safe to run twice: a step behind the checkpoint writes nothing and enqueues the same successor.
    """
    position = Position(uuid.UUID(run_id), epoch)
    try:
        done = sync_steps.advance(position, resource, step)
    except Postponed as postponed:
        since = now() if postponed_since is None else datetime.fromisoformat(postponed_since)
        if _may_wait(position.run_id, postponed, since, what=resource):
            again = (run_id, resource, epoch, step, since.isoformat())
            advance.send_with_options(args=again, delay=postponed.milliseconds)
    except TenantInactive as inactive:
        if _waits(position.run_id, inactive):
            advance.send_with_options(args=(run_id, resource, epoch, step), delay=PAUSED_RETRY)
    except HOPELESS as error:
        if RESOURCES[resource].is_optional and isinstance(error, AccessDenied | QueryRefused):
            sync_steps.refuse(position, resource, str(error))
        else:
            _fail(position.run_id, f"{resource}: {error}")
    else:
        if done is None:
            return
        if done.next_step is not None:
            delay = int(done.delay.total_seconds() * 1000 * random.uniform(1.0, 1.2)) or None  # noqa: S311  not a secret
            advance.send_with_options(args=(run_id, resource, epoch, done.next_step), delay=delay)
        fetches.enqueue(done.tenant_id, done.fetches)


def wake(tenant_id: uuid.UUID, operation_id: str) -> None:
    """Have the resource that waits for a bulk operation look at it now; its own next look does no harm."""
    with transaction() as session:
        waiting = bulk_operations.waiting_for(session, tenant_id, operation_id)
    if waiting is not None:
        run, checkpoint = waiting
        advance.send(str(run.id), checkpoint.resource, run.epoch, checkpoint.step)


def cancel(session: Session, run: SyncRun) -> None:
    """End a run, and the bulk operations that it has started when the transaction commits. Its checkpoints stay."""
    for operation_id in bulk_operations.under_way(session, run.id):
        outbox.send(session, stop_operation, str(run.tenant_id), operation_id)
    sync_runs.finish(session, run, RunStatus.CANCELLED)


@dramatiq.actor(
    queue_name="sync", dead_letter_lane=owners.of_first_argument, infrastructure_errors=OUTAGES, max_retries=3
)
def stop_operation(tenant_id: str, operation_id: str) -> None:
    """Free a place among the five operations of a shop. Safe to run twice: one that has ended is left alone."""
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        return
    try:
        shops.ask(tenant, lambda client: client.cancel_bulk(operation_id), cost=bulk.MUTATION_COST)
    except Postponed as postponed:
        stop_operation.send_with_options(args=(tenant_id, operation_id), delay=postponed.milliseconds)
    except HOPELESS:
        return  # it ends by itself


@dramatiq.actor(
    queue_name="sync", dead_letter_lane=owners.of_failed_message, infrastructure_errors=OUTAGES, max_retries=20
)
def fail_run(message: dict[str, Any], _retries: dict[str, Any]) -> None:
    """End the run of a step whose retries are used up. Safe to run twice: a run that has ended stays as it is."""
    _fail(
        uuid.UUID(message["args"][0]),
        f"a step failed again and again: {message['options'].get('traceback', '')[-300:]}",
    )


def resume(session: Any, run: SyncRun) -> list[tuple[Any, ...]]:
    """Start the chains of a silent run anew: those that may still be out there belong to the old epoch.

    Returns the messages to send once this is committed.
    """
    run.epoch += 1
    run.pickups += 1
    run.alive_at = now()
    if not run.is_prepared:
        return [(prepare_run, str(run.id), run.epoch)]
    return [
        (advance, str(run.id), each.resource, run.epoch, each.step)
        for each in sync_runs.checkpoints(session, [run.id])
        if each.status == RunStatus.RUNNING
    ]


def _may_wait(run_id: uuid.UUID, postponed: Postponed, since: datetime | None = None, *, what: str = "") -> bool:
    """Whether the run may wait for its shop, and is not silent meanwhile. It ends when the shop stays away for too long.

    And when ``what`` waits ``since`` then, although the shop may answer everything else: it fails at this question.
    """
    with transaction() as session:
        run = sync_runs.get(session, run_id, for_update=True)
        if run is None or run.status != RunStatus.RUNNING:
            return False
        tenant = tenants.get(session, run.tenant_id)
        away_since = tenant.unreachable_since if tenant is not None else None
        too_long = now() - LONGEST_WAIT
        is_away = away_since is not None and max(away_since, run.started_at) <= too_long
        if not is_away and (since is None or since > too_long):
            run.alive_at = max(run.alive_at, now() + timedelta(seconds=postponed.seconds))
            run.pickups = 0
            return True
    if is_away:
        _fail(run_id, f"the shop cannot be reached since {away_since:%Y-%m-%d %H:%M} UTC")
    else:
        _fail(run_id, f"{what}: the same question could not be asked for a day, the last time because {postponed}")
    return False


def _waits(run_id: uuid.UUID, inactive: TenantInactive) -> bool:
    """Whether the shop is only paused. Otherwise its run ends here."""
    with transaction() as session:
        run = sync_runs.get(session, run_id, for_update=True)
        if run is None or run.status != RunStatus.RUNNING:
            return False
        if inactive.status == TenantStatus.PAUSED:
            run.alive_at = now() + timedelta(milliseconds=PAUSED_RETRY)
            return True
        sync_runs.finish(session, run, RunStatus.FAILED, error=str(inactive))
        return False


def _fail(run_id: uuid.UUID, error: str) -> None:
    with transaction() as session:
        found = sync_runs.get(session, run_id)
    if found is None:
        return
    try:
        with tenants.write(found.tenant_id) as write:
            run = sync_runs.get(write.session, run_id, for_update=True)
            if run is not None and run.status == RunStatus.RUNNING:
                sync_runs.finish(write.session, run, RunStatus.FAILED, error=error)
                record(write, Level.ERROR, "sync", f"sync failed: {error}")
    except TenantInactive as inactive:
        _waits(run_id, inactive)
