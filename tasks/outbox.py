"""Messages that go out when, and only when, a transaction commits: what starts a run and the run itself are one."""

import uuid
from collections.abc import Iterable

from sqlalchemy import text
from sqlmodel import Session, SQLModel

from brokers.outbox import Outbox, OutboxRelay
from models.database import engine
from tasks.connection import broker

outbox = Outbox(SQLModel.metadata, broker=broker)
broker.add_middleware(OutboxRelay(outbox, engine))

_FORGET = f"""
delete from {outbox.table.name} where position(cast(:named as bytea) in message) > 0 and actor <> all(:but)
"""  # noqa: S608  our own name


def forget(session: Session, tenant_id: uuid.UUID, *, but: Iterable[str]) -> None:
    """Drop what names a tenant and did not go out, but for messages of these actors."""
    session.execute(text(_FORGET), {"named": str(tenant_id).encode(), "but": list(but)})
