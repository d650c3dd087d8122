"""Sync runs and their checkpoints: how far each resource of a run has come, so that a run can be killed at any instant.

A run is one chain of messages a resource. A message names the *epoch* and the *step* that it is for: a message of an older
epoch belongs to a chain that was given up for silent, one behind the step has been carried out; neither does anything.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum

import sqlalchemy
from sqlalchemy import Index, func, text
from sqlmodel import Field, Session, SQLModel, col, select

from models import refetches
from models.columns import id_field, now, now_field, time_field
from models.database import sql
from models.tenants import Tenant, TenantStatus

#: A run whose chains have been silent for so long is picked up anew. A page takes seconds.
SILENT_AFTER = timedelta(minutes=2)
#: A shop that has not answered for so long keeps no other from its turn; a failure now and then is none.
AWAY_AFTER = timedelta(seconds=30)
#: How often a silent run is picked up without moving before it is called failed: something kills it every time.
MAX_PICKUPS = 20


class RunStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Mode(StrEnum):
    """How history is read. ``auto``: by a bulk operation where pages would take long."""

    AUTO = "auto"
    PAGES = "pages"
    BULK = "bulk"


class Stage(StrEnum):
    """What a resource's next step is."""

    TOTAL = "total"
    BULK = "bulk"
    DETAILS = "details"
    HISTORY = "history"
    CHANGES = "changes"
    COUNT = "count"
    DONE = "done"


class SyncRun(SQLModel, table=True):
    __tablename__ = "sync_runs"
    __table_args__ = (
        Index("sync_runs_one_running", "tenant_id", unique=True, postgresql_where=text("status = 'running'")),
        Index("sync_runs_newest", "tenant_id", text("started_at desc")),
    )

    id: uuid.UUID = id_field()
    tenant_id: uuid.UUID = Field(foreign_key="tenants.id")
    mode: Mode = Field(sa_type=sqlalchemy.String)
    status: RunStatus = Field(default=RunStatus.RUNNING, sa_type=sqlalchemy.Text)
    since: date | None = None
    until: date | None = None
    started_at: datetime = now_field()
    finished_at: datetime | None = time_field()
    #: The last sign of life, or the time until which its chains are known to wait.
    alive_at: datetime = now_field()
    #: False until the shop's own data (time zone, currency, scopes) has been read.
    is_prepared: bool = False
    #: Nobody named its resources: it is of all that the shop's token may see.
    is_of_all: bool = False
    epoch: int = 0
    #: How often it was picked up since it last moved.
    pickups: int = 0
    error: str | None = None

    @property
    def is_full(self) -> bool:
        return self.since is None and self.until is None


class SyncCheckpoint(SQLModel, table=True):
    __tablename__ = "sync_checkpoints"

    run_id: uuid.UUID = Field(foreign_key="sync_runs.id", primary_key=True, ondelete="CASCADE")
    resource: str = Field(primary_key=True)
    status: RunStatus = Field(default=RunStatus.RUNNING, sa_type=sqlalchemy.Text)
    stage: Stage = Field(default=Stage.TOTAL, sa_type=sqlalchemy.Text)
    step: int = 0
    cursor: str | None = None
    #: Distinct ids seen.
    done: int = 0
    #: The store's own count when the run began.
    total: int | None = None
    recounts: int = 0
    #: Of a resource that the store does not count: how many its list has shown since it is read for the second time.
    listed: int = 0
    #: Taken since the token may see it: where the store refuses it, it is left out.
    is_optional: bool = False
    reason: str | None = None


class RunInProgress(Exception):
    """The tenant has a running sync. One at a time, so that pages of two cannot race for the same budget."""

    def __init__(self, run_id: uuid.UUID) -> None:
        super().__init__(f"sync {run_id} is running")
        self.run_id = run_id


def start(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    resources: Sequence[str],
    mode: Mode = Mode.AUTO,
    since: date | None = None,
    until: date | None = None,
    is_of_all: bool = False,
) -> SyncRun:
    """A new run with a checkpoint per resource.

    Raises RunInProgress.
    """
    current = running(session, tenant_id)
    if current is not None:
        raise RunInProgress(current.id)
    run = SyncRun(tenant_id=tenant_id, mode=mode, since=since, until=until, is_of_all=is_of_all)
    session.add(run)
    try:
        with session.begin_nested():
            session.flush()
    except sqlalchemy.exc.IntegrityError:
        other = running(session, tenant_id)
        if other is None:
            raise
        raise RunInProgress(other.id) from None
    session.add_all(SyncCheckpoint(run_id=run.id, resource=name) for name in resources)
    session.flush()
    return run


def take_optional(session: Session, run: SyncRun, resources: Iterable[str]) -> None:
    """Have a run of everything read these too, unless it does."""
    held = {each.resource for each in checkpoints(session, [run.id])}
    session.add_all(
        SyncCheckpoint(run_id=run.id, resource=name, is_optional=True) for name in resources if name not in held
    )
    session.flush()


def running(session: Session, tenant_id: uuid.UUID) -> SyncRun | None:
    return session.exec(
        select(SyncRun).where(col(SyncRun.tenant_id) == tenant_id, col(SyncRun.status) == RunStatus.RUNNING)
    ).one_or_none()


def whole_at_work(session: Session) -> int:
    """How many runs over everything are being read, in all shops together.

    One that waits for its shop is not: a paused shop may be so for ever, one that went away for a day.
    """
    return session.exec(
        select(func.count())
        .select_from(SyncRun)
        .join(Tenant)
        .where(
            col(Tenant.status) == TenantStatus.ACTIVE,
            func.coalesce(col(Tenant.unreachable_since), now()) > now() - AWAY_AFTER,
            col(SyncRun.status) == RunStatus.RUNNING,
            col(SyncRun.is_prepared),
            col(SyncRun.since).is_(None),
            col(SyncRun.until).is_(None),
        )
    ).one()


def lock_turns(session: Session) -> None:
    """Until the transaction ends nobody else's run gets its turn. After the tenant's own lock, never before it."""
    session.execute(text("select pg_advisory_xact_lock(hashtextextended('turns', 3))"))


def get(session: Session, run_id: uuid.UUID, *, for_update: bool = False) -> SyncRun | None:
    query = select(SyncRun).where(col(SyncRun.id) == run_id)
    return session.exec(query.with_for_update() if for_update else query).one_or_none()


def checkpoint(
    session: Session, run_id: uuid.UUID, resource: str, *, for_update: bool = False
) -> SyncCheckpoint | None:
    query = select(SyncCheckpoint).where(col(SyncCheckpoint.run_id) == run_id, col(SyncCheckpoint.resource) == resource)
    return session.exec(query.with_for_update() if for_update else query).one_or_none()


def checkpoints(session: Session, run_ids: Sequence[uuid.UUID]) -> Sequence[SyncCheckpoint]:
    return session.exec(
        select(SyncCheckpoint).where(col(SyncCheckpoint.run_id).in_(run_ids)).order_by(col(SyncCheckpoint.resource))
    ).all()


def ids(session: Session, tenant_id: uuid.UUID) -> Sequence[uuid.UUID]:
    return session.exec(select(SyncRun.id).where(col(SyncRun.tenant_id) == tenant_id)).all()


def newest(session: Session, tenant_id: uuid.UUID, *, limit: int) -> Sequence[SyncRun]:
    return session.exec(
        select(SyncRun)
        .where(col(SyncRun.tenant_id) == tenant_id)
        .order_by(col(SyncRun.started_at).desc(), col(SyncRun.id))
        .limit(limit)
    ).all()


def to_begin_again(session: Session, tenant_id: uuid.UUID, *, failed_since: datetime | None) -> SyncRun | None:
    """The newest run over everything if it failed, else the newest that failed since then."""
    is_full = col(SyncRun.since).is_(None) & col(SyncRun.until).is_(None)
    newest = select(SyncRun).where(col(SyncRun.tenant_id) == tenant_id).order_by(col(SyncRun.started_at).desc())
    full = session.exec(newest.where(is_full).limit(1)).first()
    if full is not None and full.status == RunStatus.FAILED:
        return full
    if failed_since is None:
        return None
    failed = newest.where(col(SyncRun.status) == RunStatus.FAILED, col(SyncRun.finished_at) >= failed_since)
    return session.exec(failed.limit(1)).first()


def finish(session: Session, run: SyncRun, status: RunStatus, *, error: str | None = None) -> None:
    """End the run and, with it, every resource that has not ended."""
    run.status = status
    run.error = error
    run.finished_at = now()
    refetches.release(session, run.tenant_id)
    for unfinished in checkpoints(session, [run.id]):
        if unfinished.status == RunStatus.RUNNING:
            unfinished.status = status
            unfinished.reason = error


def finish_when_all_ended(session: Session, run: SyncRun) -> bool:
    """End the run if its last resource has ended: as badly as the worst of them."""
    ended = checkpoints(session, [run.id])
    if any(each.status == RunStatus.RUNNING for each in ended):
        return False
    lacking = [each for each in ended if each.status != RunStatus.COMPLETED]
    reasons = "; ".join(f"{each.resource}: {each.reason}" for each in lacking)
    finish(session, run, RunStatus.INCOMPLETE if lacking else RunStatus.COMPLETED, error=reasons or None)
    return True


def silent(session: Session) -> Sequence[SyncRun]:
    """Running runs whose chains have not moved for SILENT_AFTER, locked; those that another sweep holds are left out."""
    return session.exec(
        select(SyncRun)
        .where(col(SyncRun.status) == RunStatus.RUNNING, col(SyncRun.alive_at) < now() - SILENT_AFTER)
        .with_for_update(skip_locked=True)
    ).all()


_LATEST_FULL = """
select distinct on (resource) resource, checkpoint.status, reason, run.finished_at
from sync_checkpoints as checkpoint
join sync_runs as run on run.id = checkpoint.run_id
where run.tenant_id = :tenant_id and run.since is null and run.until is null
  and checkpoint.status in ('completed', 'incomplete', 'failed')
order by resource, run.started_at desc
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the latest sync over all of a resource ended."""

    status: RunStatus
    reason: str | None
    #: When its run ended. None: it still reads other resources.
    at: datetime | None


def latest_full(session: Session, tenant_id: uuid.UUID) -> dict[str, Ended]:
    """By resource: how its latest sync over everything ended. A cancelled one says nothing."""
    rows = session.execute(sql(_LATEST_FULL), {"tenant_id": tenant_id})
    return {row.resource: Ended(RunStatus(row.status), row.reason, row.finished_at) for row in rows}
