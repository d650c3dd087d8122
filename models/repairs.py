"""Repairs by day: what was found missing or outdated although a webhook should have told of it long before."""

import uuid
from datetime import date, datetime, timedelta

import sqlalchemy
from sqlmodel import Field, Session, SQLModel

from models.columns import now
from models.database import sql
from models.tenants import Write

#: A quarter shows whether it gets better.
KEPT_FOR = timedelta(days=92)
#: Days that count as the last week, today's among them.
WEEK = 7


class Repairs(SQLModel, table=True):
    """A day (UTC) on which a resource of a shop had to be mended; a healthy shop has none."""

    __tablename__ = "repairs"

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    day: date = Field(primary_key=True)
    resource: str = Field(primary_key=True)
    repairs: int = Field(sa_type=sqlalchemy.BigInteger)


_ADD = """
insert into repairs (tenant_id, day, resource, repairs) values (:tenant_id, :day, :resource, :number)
on conflict (tenant_id, day, resource) do update set repairs = repairs.repairs + excluded.repairs
"""


def add(write: Write, resource: str, number: int) -> None:
    """Count what was mended of a resource today. Zero leaves no row."""
    if number > 0:
        values = {"tenant_id": write.tenant.id, "day": write.at.date(), "resource": resource, "number": number}
        write.session.execute(sql(_ADD), values)


def first_day_of_week(at: datetime) -> date:
    """The day from which on repairs count as those of the last week."""
    return at.date() - timedelta(days=WEEK - 1)


def prune(session: Session) -> int:
    """Drop days older than KEPT_FOR. Returns how many rows."""
    result = session.execute(sql("delete from repairs where day < :day"), {"day": (now() - KEPT_FOR).date()})
    return int(result.rowcount)  # type: ignore[attr-defined]
