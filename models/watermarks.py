"""How far a shop's resources are caught up by their updates, and how much catching up had to mend."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy
from sqlmodel import Field, Session, SQLModel, col, select

from models import repairs as repairs_by_day
from models.columns import now_field, time_field
from models.database import sql
from models.tenants import Tenant, TenantStatus, Write


class Watermark(SQLModel, table=True):
    """One resource of a shop, from its first whole history on."""

    __tablename__ = "watermarks"

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    resource: str = Field(primary_key=True)
    #: Whatever was updated before has been read, as far as the store showed it.
    updated_until: datetime = now_field()
    checked_at: datetime = now_field()
    #: How many were found missing or outdated although a webhook should have told of them long before.
    repairs: int = Field(default=0, sa_type=sqlalchemy.BigInteger)
    #: Why the shop does not show it any more.
    error: str | None = None
    #: Of a resource that is not listed by its updates: where a look was cut short, and what it will have reached at its end.
    cursor: str | None = None
    reaches: datetime | None = time_field()
    #: Whatever was deleted before has been read of the shop's events.
    deletions_until: datetime = now_field()
    #: Since when the shop refuses to show them.
    deletions_refused_at: datetime | None = time_field()


_BEGIN = """
insert into watermarks (tenant_id, resource, updated_until, deletions_until, checked_at, repairs)
values (:tenant_id, :resource, :until, :until, :at, 0)
on conflict do nothing
"""

_NOTE_ERROR = """
update watermarks set error = :error, checked_at = :at, cursor = null, reaches = null
where tenant_id = :tenant_id and resource = :resource and error is distinct from :error
returning resource
"""

_RAISE = """
insert into watermarks (tenant_id, resource, updated_until, deletions_until, checked_at, repairs)
values (:tenant_id, :resource, :until, :until, :at, :repairs)
on conflict (tenant_id, resource) do update
set updated_until = greatest(watermarks.updated_until, excluded.updated_until),
    checked_at = excluded.checked_at,
    error = null,
    cursor = null,
    reaches = null,
    repairs = watermarks.repairs + excluded.repairs
"""


def raise_to(write: Write, resource: str, until: datetime, *, repairs: int = 0) -> None:
    """Everything of a resource that was updated before ``until`` has been read. A mark never sinks.

    ``repairs`` of it had to be mended on the way; they are counted for the mark and for today.
    """
    write.session.execute(
        sql(_RAISE),
        {"tenant_id": write.tenant.id, "resource": resource, "until": until, "at": write.at, "repairs": repairs},
    )
    repairs_by_day.add(write, resource, repairs)


_PAUSE = """
update watermarks set cursor = :cursor, reaches = :reaches, checked_at = :at, repairs = repairs + :repairs
where tenant_id = :tenant_id and resource = :resource
"""


def pause(write: Write, resource: str, *, cursor: str | None, reaches: datetime, repairs: int) -> None:
    """A look at a resource that is not listed by its updates has come to ``cursor``; at its end it reaches ``reaches``."""
    write.session.execute(
        sql(_PAUSE),
        {
            "tenant_id": write.tenant.id,
            "resource": resource,
            "cursor": cursor,
            "reaches": reaches,
            "at": write.at,
            "repairs": repairs,
        },
    )
    repairs_by_day.add(write, resource, repairs)


def begin(write: Write, resource: str, until: datetime) -> None:
    """Catch a resource up from ``until`` on, unless it has a mark already."""
    write.session.execute(
        sql(_BEGIN), {"tenant_id": write.tenant.id, "resource": resource, "until": until, "at": write.at}
    )


def note_error(write: Write, resource: str, error: str) -> bool:
    """Note why a resource cannot be caught up. Whether that is news."""
    noted = write.session.execute(
        sql(_NOTE_ERROR), {"tenant_id": write.tenant.id, "resource": resource, "at": write.at, "error": error}
    )
    return noted.first() is not None


def add_repair(write: Write, resource: str) -> None:
    """One was found missing or outdated although a webhook should have told of it long before."""
    write.session.execute(
        sql("update watermarks set repairs = repairs + 1 where tenant_id = :tenant_id and resource = :resource"),
        {"tenant_id": write.tenant.id, "resource": resource},
    )
    repairs_by_day.add(write, resource, 1)


_REFUSE_DELETIONS = """
with before as (
    select deletions_refused_at from watermarks where tenant_id = :tenant_id and resource = :resource
)
update watermarks set deletions_refused_at = :at from before
where tenant_id = :tenant_id and resource = :resource
returning before.deletions_refused_at is null as is_news
"""


def note_deletions(write: Write, resource: str, until: datetime) -> None:
    """What was deleted before ``until`` has been read. It may sink: what is told late is read again."""
    write.session.execute(
        sql(
            "update watermarks set deletions_until = :until, deletions_refused_at = null"
            " where tenant_id = :tenant_id and resource = :resource"
        ),
        {"tenant_id": write.tenant.id, "resource": resource, "until": until},
    )


def refuse_deletions(write: Write, resource: str) -> bool:
    """The shop does not show what was deleted. Whether that is news."""
    refused = write.session.execute(
        sql(_REFUSE_DELETIONS), {"tenant_id": write.tenant.id, "resource": resource, "at": write.at}
    )
    return any(row.is_news for row in refused)


def get(session: Session, tenant_id: uuid.UUID, resource: str) -> Watermark | None:
    return session.get(Watermark, (tenant_id, resource))


def of(session: Session, tenant_id: uuid.UUID) -> Sequence[Watermark]:
    return session.exec(
        select(Watermark).where(col(Watermark.tenant_id) == tenant_id).order_by(col(Watermark.resource))
    ).all()


def tenants_to_catch_up(session: Session) -> Sequence[uuid.UUID]:
    """Shops whose history is here and that can be asked."""
    return session.exec(
        select(Tenant.id)
        .where(
            col(Tenant.status) == TenantStatus.ACTIVE,
            col(Tenant.unauthorized_since).is_(None),
            col(Tenant.id).in_(select(Watermark.tenant_id)),
        )
        .order_by(col(Tenant.id))
    ).all()


def repairs(session: Session) -> dict[str, int]:
    """By resource, how much was mended in all shops together."""
    rows = session.execute(sql("select resource, sum(repairs) as repairs from watermarks group by resource"))
    return {row.resource: int(row.repairs) for row in rows}
