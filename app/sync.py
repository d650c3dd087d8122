"""Syncs of a shop's history: begin, look, cancel, and the log of what happens."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from flask_openapi3.blueprint import APIBlueprint
from sqlmodel import Session

import tasks.sync
from app import auth, schemas
from app.problems import Refusal, documented
from models import event_log, sync_runs, tenants
from models.database import transaction
from models.event_log import Level
from models.sync_runs import Mode, RunStatus, SyncCheckpoint, SyncRun
from models.tenants import Tenant, TenantInactive

#: Runs that ``/api/sync-status`` shows; each can be asked for by its id.
NEWEST_RUNS = 10

blueprint = APIBlueprint(
    "sync",
    __name__,
    url_prefix="/api",
    abp_security=auth.FOR_ANYONE_KNOWN,
    abp_responses=documented(400, 401, 403, 404, 429, 503),
)
blueprint.before_request(auth.require_sign_in)


@blueprint.post("/sync", responses={202: schemas.SyncStarted, **documented(409, 415)})
@auth.of_shop
def begin(tenant: Tenant, query: schemas.ShopQuery, body: schemas.NewSync) -> tuple[schemas.SyncStarted, int]:  # noqa: ARG001
    """Begin a sync: of everything, unless the body says less. An empty body will do.

    While one is running: 409, with its id as `syncId`. `since` and `until` are days of last change, both inclusive.
    """
    run_id = tasks.sync.begin(
        tenant.id, resources=body.resources, mode=Mode(body.mode), since=body.since, until=body.until
    )
    return schemas.SyncStarted(sync_id=run_id), 202


@blueprint.get("/sync/<uuid:id>", responses={200: schemas.SyncRun})
@auth.of_shop
def get(tenant: Tenant, path: schemas.SyncPath, query: schemas.ShopQuery) -> schemas.SyncRun:  # noqa: ARG001
    """One run."""
    with transaction() as session:
        return _described(session, [_of_tenant(sync_runs.get(session, path.id), tenant)])[0]


@blueprint.delete("/sync/<uuid:id>", responses={200: schemas.SyncRun, **documented(415)})
@auth.of_shop
def cancel(tenant: Tenant, path: schemas.SyncPath, query: schemas.ShopQuery) -> schemas.SyncRun:  # noqa: ARG001
    """Cancel a run; its checkpoints stay. One that has ended stays as it ended, and is the answer."""
    try:
        with tenants.write(tenant.id) as write:
            if _cancelled(write.session, tenant, path.id):
                event_log.record(write, Level.INFO, "sync", "sync cancelled")
    except TenantInactive:  # nobody writes for it, but a paused shop's run is there to be cancelled
        with transaction() as session:
            _cancelled(session, tenant, path.id)
    with transaction() as session:
        return _described(session, [_of_tenant(sync_runs.get(session, path.id), tenant)])[0]


def _cancelled(session: Session, tenant: Tenant, run_id: UUID) -> bool:
    run = _of_tenant(sync_runs.get(session, run_id, for_update=True), tenant)
    if run.status != RunStatus.RUNNING:
        return False
    tasks.sync.cancel(session, run)
    return True


@blueprint.get("/sync-status", responses={200: schemas.SyncStatus})
@auth.of_shop
def status(tenant: Tenant, query: schemas.SyncStatusQuery) -> schemas.SyncStatus:
    """The newest runs and the event log. To follow the log, give the last line's `id` as `after`."""
    with transaction() as session:
        runs = _described(session, sync_runs.newest(session, tenant.id, limit=NEWEST_RUNS))
        logs = event_log.read(session, tenant.id, after=query.after, level=query.level, limit=query.limit)
    return schemas.SyncStatus(runs=runs, logs=[_line(each) for each in logs])


def _of_tenant(run: SyncRun | None, tenant: Tenant) -> SyncRun:
    """Another shop's run is as unknown as none."""
    if run is None or run.tenant_id != tenant.id:
        raise Refusal(404, "there is no such sync")
    return run


def _described(session: Session, runs: Sequence[SyncRun]) -> list[schemas.SyncRun]:
    checkpoints = sync_runs.checkpoints(session, [run.id for run in runs])
    return [_run(run, (each for each in checkpoints if each.run_id == run.id)) for run in runs]


def _run(run: SyncRun, checkpoints: Iterable[SyncCheckpoint]) -> schemas.SyncRun:
    progress = [
        schemas.ResourceProgress(
            resource=each.resource, status=each.status, done=each.done, total=_total(each), reason=each.reason
        )
        for each in checkpoints
    ]
    return schemas.SyncRun(
        id=run.id,
        status=RunStatus(run.status).value,
        mode=run.mode,
        since=run.since,
        until=run.until,
        started_at=run.started_at,
        finished_at=run.finished_at,
        error=run.error,
        resources=progress,
    )


def _total(checkpoint: SyncCheckpoint) -> int | None:
    """The store's count as the run began; what came since is read too, and never more than all."""
    return None if checkpoint.total is None else max(checkpoint.total, checkpoint.done)


def _line(event: event_log.Event) -> schemas.LogLine:
    assert event.id is not None
    return schemas.LogLine(
        id=event.id,
        level=Level(event.level),
        source=event.source,
        message=event.message,
        created_at=event.created_at,
    )
