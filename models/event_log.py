"""The event log: what a shop's owner may know of its syncs and webhooks, one line each."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy
from sqlalchemy import BigInteger, Column, Identity, Index, delete
from sqlmodel import Field, Session, SQLModel, col, select

from models.columns import now, now_field
from models.tenants import Write

KEPT_FOR = timedelta(days=7)
#: Characters: a line of a terminal, not a document.
MAX_MESSAGE = 500


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(SQLModel, table=True):
    __tablename__ = "event_log"
    __table_args__ = (Index("event_log_tenant", "tenant_id", "id"), Index("event_log_age", "created_at"))

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    tenant_id: uuid.UUID = Field(foreign_key="tenants.id")
    level: Level = Field(sa_type=sqlalchemy.Text)
    source: str
    message: str
    created_at: datetime = now_field()


def record(write: Write, level: Level, source: str, message: str) -> None:
    """Add a line. Within ``write``, so that a tenant's ids become visible in their order and a reader skips none."""
    printable = message.replace("\x00", "\ufffd").encode(errors="replace").decode()
    write.session.add(Event(tenant_id=write.tenant.id, level=level, source=source, message=printable[:MAX_MESSAGE]))


def read(
    session: Session, tenant_id: uuid.UUID, *, after: int | None, level: Level | None, limit: int
) -> Sequence[Event]:
    """Oldest first: the ``limit`` events after the id ``after``, or without it the latest ones."""
    query = select(Event).where(col(Event.tenant_id) == tenant_id)
    if level is not None:
        query = query.where(col(Event.level) == level)
    if after is not None:
        return session.exec(query.where(col(Event.id) > after).order_by(col(Event.id)).limit(limit)).all()
    return session.exec(query.order_by(col(Event.id).desc()).limit(limit)).all()[::-1]


def prune(session: Session) -> int:
    """Drop what is older than KEPT_FOR. Returns how many lines."""
    result = session.execute(delete(Event).where(col(Event.created_at) < now() - KEPT_FOR))
    return int(result.rowcount)  # type: ignore[attr-defined]
