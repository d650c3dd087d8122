"""Resources marked to be fetched by id: their payload was not the whole of them, or its version could not be told."""

import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Index
from sqlmodel import Field, Session, SQLModel, col, select

from models.columns import now, now_field, shopify_id_field
from models.database import sql
from models.tenants import Tenant, TenantStatus, Write

#: A mark whose fetch has not come by then lost its message to a crash, and is given a new one.
FORGOTTEN_AFTER = timedelta(minutes=2)

#: A fetch takes moments; what takes longer is told of.
OVERDUE_AFTER = timedelta(minutes=1)


class Refetch(SQLModel, table=True):
    """A mark. It goes when a read that began after ``marked_at`` has been written."""

    __tablename__ = "refetches"
    __table_args__ = (Index("refetches_due", "due_at"),)

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    resource: str = Field(primary_key=True)
    shopify_id: int = shopify_id_field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    reason: str
    first_marked_at: datetime = now_field()
    marked_at: datetime = now_field()
    #: When its message is expected to have been worked.
    due_at: datetime = now_field()
    #: A webhook should have told of it long before: what its fetch mends is counted.
    is_lost: bool = False


#: Why a sync marks what its bulk file told: it sees to these itself once the file is at its end.
IN_PART, UNTOLD = "a bulk file tells it only in part", "its versions cannot be told apart"
#: Why something is to be read again later, of a mark for which no message was sent: its time is ``due_at``.
PENDING = "something of it was on its way"

_MARK = """
insert into refetches (tenant_id, resource, shopify_id, reason, first_marked_at, marked_at, due_at, is_lost)
select :tenant_id, :resource, shopify_id, :reason, :at, :at, :due, :is_lost from unnest(cast(:ids as bigint[])) as shopify_id
on conflict (tenant_id, resource, shopify_id) do update
set marked_at = excluded.marked_at, reason = excluded.reason, is_lost = refetches.is_lost or excluded.is_lost,
    due_at = case when refetches.reason = any(:later) then excluded.due_at else refetches.due_at end  -- it has a message now
"""

_MARK_FOR_LATER = """
insert into refetches (tenant_id, resource, shopify_id, reason, first_marked_at, marked_at, due_at, is_lost)
values (:tenant_id, :resource, :shopify_id, :reason, :at, :at, :due_at, false)
on conflict (tenant_id, resource, shopify_id) do nothing
"""

_CLEAR = """
delete from refetches
where tenant_id = :tenant_id and resource = :resource and shopify_id = any(:ids) and marked_at <= :read_at
"""


def mark(
    write: Write,
    resource: str,
    shopify_ids: Iterable[int],
    reason: str,
    *,
    after: timedelta = timedelta(0),
    is_lost: bool = False,
) -> None:
    """These must be fetched by a read that begins from now on. ``after``: until when whoever marks them sees to it."""
    ids = sorted(shopify_ids)
    if ids:
        write.session.execute(
            sql(_MARK),
            {
                "tenant_id": write.tenant.id,
                "resource": resource,
                "ids": ids,
                "reason": reason,
                "at": write.at,
                "due": write.at + after,
                "later": [PENDING, IN_PART, UNTOLD],
                "is_lost": is_lost,
            },
        )


def mark_for_later(write: Write, resource: str, shopify_id: int, *, due_at: datetime) -> None:
    """It is to be read again at ``due_at``, without a message: it is found as one that was forgotten."""
    write.session.execute(
        sql(_MARK_FOR_LATER),
        {"tenant_id": write.tenant.id, "resource": resource, "shopify_id": shopify_id}
        | {"reason": PENDING, "at": write.at, "due_at": due_at},
    )


def clear(write: Write, resource: str, shopify_ids: Iterable[int], *, read_at: datetime) -> None:
    """A read that began at ``read_at`` has been written for these."""
    write.session.execute(
        sql(_CLEAR),
        {"tenant_id": write.tenant.id, "resource": resource, "ids": list(shopify_ids), "read_at": read_at},
    )


def get(session: Session, tenant_id: uuid.UUID, resource: str, shopify_id: int) -> Refetch | None:
    return session.get(Refetch, (tenant_id, resource, shopify_id))


def of(
    session: Session,
    tenant_id: uuid.UUID,
    resource: str,
    *,
    above: int,
    limit: int,
    due_by: datetime | None = None,
) -> Sequence[int]:
    """Marked ids of a resource, those above ``above`` in their order; with ``due_by`` only those that are due by then."""
    query = select(Refetch.shopify_id).where(
        col(Refetch.tenant_id) == tenant_id, col(Refetch.resource) == resource, col(Refetch.shopify_id) > above
    )
    if due_by is not None:
        query = query.where(col(Refetch.due_at) <= due_by)
    return session.exec(query.order_by(col(Refetch.shopify_id)).limit(limit)).all()


_RELEASE = """
update refetches set due_at = :at
where tenant_id = :tenant_id and reason = any(:reasons) and due_at > :at
  and (cast(:resource as text) is null or resource = :resource)
"""


def release(session: Session, tenant_id: uuid.UUID, resource: str | None = None) -> None:
    """No sync sees any more to what its files told: what is left of a resource, or of all, is due now."""
    session.execute(
        sql(_RELEASE), {"tenant_id": tenant_id, "resource": resource, "reasons": [IN_PART, UNTOLD], "at": now()}
    )


def postpone(session: Session, tenant_id: uuid.UUID, resource: str, shopify_id: int, *, until: datetime) -> None:
    """Its message was put off: it is not forgotten before then."""
    found = get(session, tenant_id, resource, shopify_id)
    if found is not None:
        found.due_at = until


_OUTSTANDING = """
select count(*) from refetches
where tenant_id = :tenant_id and resource = :resource and reason <> :pending and first_marked_at < :before
"""


def outstanding(session: Session, tenant_id: uuid.UUID, resource: str) -> int:
    """How many are known in part and should have been fetched by now."""
    values = {"tenant_id": tenant_id, "resource": resource, "pending": PENDING, "before": now() - OVERDUE_AFTER}
    return int(session.execute(sql(_OUTSTANDING), values).scalar_one())


def forgotten(session: Session, *, limit: int) -> Sequence[Refetch]:
    """Marks that lost their message, of tenants that can be asked; their clocks start anew."""
    found = session.exec(
        select(Refetch)
        .join(Tenant)
        .where(
            col(Refetch.due_at) < now() - FORGOTTEN_AFTER,
            col(Tenant.status) == TenantStatus.ACTIVE,
            col(Tenant.unauthorized_since).is_(None),
        )
        .order_by(col(Refetch.due_at))
        .limit(limit)
        .with_for_update(skip_locked=True, of=Refetch)
    ).all()
    for each in found:
        each.due_at = now()
    return found
