"""Bulk operations of syncs: which one a resource's history is read from, and how far its file has been written.

The byte moves in the transaction that writes what stands before it, so a sync can be killed at any of them.
"""

import uuid
from datetime import datetime

import sqlalchemy
from sqlmodel import Field, Session, SQLModel, col, select

from models.columns import now, now_field
from models.sync_runs import RunStatus, SyncCheckpoint, SyncRun


class BulkOperation(SQLModel, table=True):
    """The latest operation of a run for a resource."""

    __tablename__ = "bulk_operations"

    run_id: uuid.UUID = Field(foreign_key="sync_runs.id", primary_key=True, ondelete="CASCADE")
    resource: str = Field(primary_key=True)
    #: Shopify's global id. None: it has not been started yet.
    operation_id: str | None = None
    #: Before it was started: what its file says is not older.
    asked_at: datetime = now_field()
    #: How many were started before it for the same history, and failed.
    failures: int = 0
    #: What it had found when it was last looked at, and when that last grew.
    object_count: int = Field(default=0, sa_type=sqlalchemy.BigInteger)
    grew_at: datetime = now_field()
    #: The first byte of its file that is not written yet, and the lines before it.
    next_byte: int = Field(default=0, sa_type=sqlalchemy.BigInteger)
    objects: int = Field(default=0, sa_type=sqlalchemy.BigInteger)
    #: Tries in a row to read its file that got nothing.
    vain_reads: int = 0


def get(session: Session, run_id: uuid.UUID, resource: str, *, for_update: bool = False) -> BulkOperation | None:
    query = select(BulkOperation).where(col(BulkOperation.run_id) == run_id, col(BulkOperation.resource) == resource)
    return session.exec(query.with_for_update() if for_update else query).one_or_none()


def renew(operation: BulkOperation) -> None:
    """The next one will be another, read from its beginning."""
    operation.operation_id = None
    operation.asked_at = operation.grew_at = now()
    operation.object_count = operation.next_byte = operation.objects = operation.vain_reads = 0


def waiting_for(session: Session, tenant_id: uuid.UUID, operation_id: str) -> tuple[SyncRun, SyncCheckpoint] | None:
    """The run and the resource that wait for an operation, if any do."""
    found = session.exec(
        select(SyncRun, SyncCheckpoint)
        .join(SyncCheckpoint, col(SyncCheckpoint.run_id) == col(SyncRun.id))
        .join(
            BulkOperation,
            (col(BulkOperation.run_id) == col(SyncCheckpoint.run_id))
            & (col(BulkOperation.resource) == col(SyncCheckpoint.resource)),
        )
        .where(
            col(SyncRun.tenant_id) == tenant_id,
            col(SyncRun.status) == RunStatus.RUNNING,
            col(BulkOperation.operation_id) == operation_id,
        )
    ).one_or_none()
    return None if found is None else (found[0], found[1])


def under_way(session: Session, run_id: uuid.UUID) -> list[str]:
    """The operations that a run has started, to be stopped with it."""
    found = session.exec(
        select(BulkOperation.operation_id).where(
            col(BulkOperation.run_id) == run_id, col(BulkOperation.operation_id).is_not(None)
        )
    )
    return [each for each in found if each is not None]
