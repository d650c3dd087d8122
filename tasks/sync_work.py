"""What a step of a sync has in hand: its run, its checkpoint, what the run has to prove, and what follows the step."""

import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

from models import sync_runs
from models.columns import now
from models.seen import Scope
from models.sync_runs import RunStatus, SyncCheckpoint, SyncRun
from models.tenants import Tenant, Write
from models.versions import Origin
from shopify import search
from shopify.resource import Resource
from shopify.resources import RESOURCES
from shopify.row import RowRejected
from tasks.days import midnight
from tasks.store import Fetch, quarantine_rejected


@dataclass(frozen=True, slots=True)
class Position:
    """A run and the epoch of the chain that a message belongs to."""

    run_id: uuid.UUID
    epoch: int


@dataclass(frozen=True, slots=True)
class Done:
    """What follows a step. ``next_step`` is None at the end of the chain."""

    tenant_id: uuid.UUID
    next_step: int | None = None
    delay: timedelta = timedelta(0)
    fetches: tuple[Fetch, ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    tenant: Tenant
    run: SyncRun
    checkpoint: SyncCheckpoint

    @property
    def resource(self) -> Resource:
        return RESOURCES[self.checkpoint.resource]


def current(write: Write, work: Work) -> SyncCheckpoint | None:
    """The checkpoint to move, unless somebody else has moved it or the run has ended."""
    run = sync_runs.get(write.session, work.run.id, for_update=True)
    if run is None or run.status != RunStatus.RUNNING or run.epoch != work.run.epoch:
        return None
    run.alive_at, run.pickups = now(), 0
    checkpoint = sync_runs.checkpoint(write.session, work.run.id, work.resource.name, for_update=True)
    return checkpoint if checkpoint is not None and checkpoint.step == work.checkpoint.step else None


def quarantine_rows(write: Write, work: Work, rejected: list[RowRejected], origin: Origin) -> int:
    """Keep what cannot be stored. Returns how many of it the run met first now, and has to account for."""
    met = 0
    for refusal in rejected:
        is_counted = _is_counted(work, refusal)
        run = origin if is_counted else replace(origin, run_id=None)
        met += quarantine_rejected(write, refusal, source="sync", origin=run) and is_counted
    return met


def _is_counted(work: Work, refusal: RowRejected) -> bool:
    """Whether the store's count holds it too: what was created since the run began is beyond a full run's scope."""
    before = scope_of(work.run, work.tenant).created_before
    created_at = refusal.payload.get("createdAt") if isinstance(refusal.payload, dict) else None
    return before is None or not isinstance(created_at, str) or created_at < before.strftime("%Y-%m-%dT%H:%M:%SZ")


def scope_of(run: SyncRun, tenant: Tenant) -> Scope:
    """What the run has to prove: everything created before it started, or what was updated on its days."""
    if run.is_full:
        return Scope(created_before=run.started_at.replace(microsecond=0))
    return Scope(
        updated_from=midnight(run.since, tenant) if run.since else None,
        updated_before=midnight(run.until + timedelta(days=1), tenant) if run.until else None,
    )


def filter_of(scope: Scope) -> str | None:
    return search.everything(
        search.created(before=scope.created_before),
        search.updated(since=scope.updated_from, before=scope.updated_before),
    )
