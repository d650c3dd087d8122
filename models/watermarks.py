"""How far a shop's resources are caught up by their updates, and how much catching up had to mend."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy
from sqlalchemy import text
from sqlmodel import Field, Session, SQLModel, col, select

from models.columns import now_field
from models.tenants import Tenant, TenantStatus, Write


class Watermark(SQLModel, table=True):
    """One resource of a shop, from its first whole history on."""

    __tablename__ = "watermarks"

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    resource: str = Field(primary_key=True)
    #: Whatever was updated before has been read.
    updated_until: datetime = now_field()
    checked_at: datetime = now_field()
    #: How many were found missing or outdated although a webhook should have told of them long before.
    repairs: int = Field(default=0, sa_type=sqlalchemy.BigInteger)


_RAISE = """
insert into watermarks (tenant_id, resource, updated_until, checked_at, repairs)
values (:tenant_id, :resource, :until, :at, :repairs)
on conflict (tenant_id, resource) do update
set updated_until = greatest(watermarks.updated_until, excluded.updated_until),
    checked_at = excluded.checked_at,
    repairs = watermarks.repairs + excluded.repairs
"""


def raise_to(write: Write, resource: str, until: datetime, *, repairs: int = 0) -> None:
    """Everything of a resource that was updated before ``until`` has been read. A mark never sinks."""
    write.session.execute(
        text(_RAISE),
        {"tenant_id": write.tenant.id, "resource": resource, "until": until, "at": write.at, "repairs": repairs},
    )


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
    rows = session.execute(text("select resource, sum(repairs) as repairs from watermarks group by resource"))
    return {row.resource: int(row.repairs) for row in rows}
