"""The proof that nothing is missing: for every resource and day, what the store counts and what we have.

A day is the shop's own, and a resource belongs to the one on which it was created. The calendar of a resource goes from
its first day to today; a day that was never counted has no counts.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy
from sqlalchemy import BigInteger, Index, text
from sqlmodel import Field, Session, SQLModel, col, select, tuple_

from models.columns import now_field, time_field
from models.database import sql
from models.resources import TABLES
from models.tenants import Write


class Proof(SQLModel, table=True):
    """One day of a resource, as it was last counted."""

    __tablename__ = "proofs"
    __table_args__ = (
        Index("proofs_due", "tenant_id", "due_at"),
        Index("proofs_differing", "tenant_id", "resource", postgresql_where=text("differed > 1")),
    )

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    resource: str = Field(primary_key=True)
    day: date = Field(primary_key=True)
    #: None: the store did not count it, for ``reason``, or not yet.
    store_count: int | None = Field(default=None, sa_type=BigInteger)
    #: What is stored and alive, and what is quarantined.
    our_count: int | None = Field(default=None, sa_type=BigInteger)
    #: How many were lost and found, of all times.
    mended: int = Field(default=0, sa_type=BigInteger)
    checked_at: datetime | None = time_field()
    #: Why the counts differ, or why there is none.
    reason: str | None = None
    due_at: datetime = now_field()
    #: How often in a row the counts differed.
    differed: int = 0
    #: Ids alive here that the store did not list: a webhook that tells of their deletion may be under way.
    suspects: list[int] = Field(default_factory=list, sa_type=sqlalchemy.ARRAY(BigInteger), nullable=False)


@dataclass(frozen=True, slots=True)
class Span:
    """Moments from ``since``, inclusive, to ``before``, exclusive. ``since`` is None: from the beginning."""

    since: datetime | None
    before: datetime


@dataclass(frozen=True, slots=True)
class Ours:
    """What we have of a span: rows alive, and what could not be stored."""

    live: int
    held: int

    @property
    def total(self) -> int:
        return self.live + self.held


@dataclass(frozen=True, slots=True)
class Finding:
    day: date
    store_count: int | None
    our_count: int
    reason: str | None
    due_at: datetime
    differs: bool = False
    suspects: tuple[int, ...] = ()


_SHOPS_DUE = """
select id from tenants
where status = 'active' and unauthorized_since is null
  and (
      exists (select from proofs where tenant_id = tenants.id and due_at <= :at)
      or exists (  -- the first time follows the history
          select from watermarks
          where tenant_id = tenants.id and resource = any(:resources)
            and not exists (
                select from proofs where tenant_id = tenants.id and proofs.resource = watermarks.resource
            )
      )
  )
"""


def shops_due(session: Session, at: datetime, *, resources: Sequence[str]) -> Sequence[uuid.UUID]:
    """Shops that can be asked and of which something of these resources is to be counted."""
    return list(session.execute(sql(_SHOPS_DUE), {"at": at, "resources": list(resources)}).scalars())


_CALENDAR = (
    "select min(day) as first, max(day) as last from proofs where tenant_id = :tenant_id and resource = :resource"
)

_OLDEST = """
select least(
    (select min(created_at) from {table} where tenant_id = :tenant_id and deleted_at is null and updated_at is not null),
    (
        select min(resource_created_at) from quarantine
        where tenant_id = :tenant_id and resource = :resource and resolved_at is null
    )
)
"""

_EXTEND = """
insert into proofs (tenant_id, resource, day, mended, due_at, differed, suspects)
select :tenant_id, :resource, cast(day as date), 0, :at, 0, '{}'
from generate_series(cast(:first as timestamp), cast(:last as timestamp), interval '1 day') as day
on conflict do nothing
"""


def oldest(write: Write, resource: str) -> datetime | None:
    """When the oldest of a resource that we have was created."""
    found: datetime | None = write.session.execute(
        sql(_OLDEST.format(table=TABLES[resource].name)), {"tenant_id": write.tenant.id, "resource": resource}
    ).scalar_one()
    return found


def extend(write: Write, resource: str, *, first: date, last: date) -> date:
    """Have the calendar reach from ``first`` to ``last`` at least. Returns its first day."""
    key = {"tenant_id": write.tenant.id, "resource": resource}
    held = write.session.execute(sql(_CALENDAR), key).one()
    missing = [(first, last)] if held.first is None else [(first, held.first), (held.last, last)]
    for begin, end in missing:
        if begin < end or held.first is None:
            write.session.execute(sql(_EXTEND), key | {"first": begin, "last": end, "at": write.at})
    return first if held.first is None else min(first, held.first)


_DUE = """
select day from (
    select day from proofs where tenant_id = :tenant_id and resource = :resource and due_at <= :at
    order by day desc limit :limit
) as latest
order by day
"""


def due(write: Write, resource: str, *, limit: int) -> list[date]:
    """The latest days that are to be counted, in their order."""
    values = {"tenant_id": write.tenant.id, "resource": resource, "at": write.at, "limit": limit}
    return list(write.session.execute(sql(_DUE), values).scalars())


_OURS = """
select (
           select count(*) from {table} as stored
           where tenant_id = :tenant_id and deleted_at is null and updated_at is not null
             and created_at >= coalesce(span.since, '-infinity') and created_at < span.before
       ) as live,
       (
           select count(*) from quarantine
           where tenant_id = :tenant_id and resource = :resource and resolved_at is null
             and resource_created_at >= coalesce(span.since, '-infinity') and resource_created_at < span.before
             and not exists (  -- an earlier version of it may be stored, and counts as that
                 select from {table} as stored
                 where stored.tenant_id = quarantine.tenant_id and stored.shopify_id = quarantine.shopify_id
                   and stored.deleted_at is null and stored.updated_at is not null
             )
       ) as held
from unnest(cast(:since as timestamptz[]), cast(:before as timestamptz[])) with ordinality as span (since, before, place)
order by place
"""


def ours(write: Write, resource: str, spans: Sequence[Span]) -> list[Ours]:
    """What we have of each span."""
    rows = write.session.execute(
        sql(_OURS.format(table=TABLES[resource].name)),
        {
            "tenant_id": write.tenant.id,
            "resource": resource,
            "since": [span.since for span in spans],
            "before": [span.before for span in spans],
        },
    )
    return [Ours(row.live, row.held) for row in rows]


_ARE_EMPTY = """
select not exists (
           select from {table}
           where tenant_id = :tenant_id and deleted_at is null and updated_at is not null
             and created_at >= span.since and created_at < span.before
       )
       and not exists (
           select from quarantine
           where tenant_id = :tenant_id and resource = :resource and resolved_at is null
             and resource_created_at >= span.since and resource_created_at < span.before
       ) as is_empty
from unnest(cast(:since as timestamptz[]), cast(:before as timestamptz[])) with ordinality as span (since, before, place)
order by place
"""


def are_empty(write: Write, resource: str, spans: Sequence[Span]) -> list[bool]:
    """Of each span that has a beginning, whether we have nothing: cheaper than counting."""
    rows = write.session.execute(
        sql(_ARE_EMPTY.format(table=TABLES[resource].name)),
        {
            "tenant_id": write.tenant.id,
            "resource": resource,
            "since": [span.since for span in spans],
            "before": [span.before for span in spans],
        },
    )
    return [row.is_empty for row in rows]


_LACKING = """
select listed.shopify_id
from unnest(cast(:ids as bigint[]), cast(:versions as timestamptz[])) as listed (shopify_id, updated_at)
left join {table} as stored on stored.tenant_id = :tenant_id and stored.shopify_id = listed.shopify_id
where (
        stored.shopify_id is null or stored.deleted_at is not null or stored.updated_at is null
        or stored.created_at is null or stored.created_at < :since or stored.created_at >= :before
        or (stored.updated_at < listed.updated_at and listed.updated_at < :lost_before)  -- later: a webhook is under way
    )
  and not exists (
      select from quarantine
      where quarantine.tenant_id = :tenant_id and quarantine.resource = :resource
        and quarantine.shopify_id = listed.shopify_id and quarantine.resolved_at is null
  )
order by 1
"""

_GONE = """
select shopify_id from {table} as stored
where tenant_id = :tenant_id and deleted_at is null and updated_at is not null
  and created_at >= :since and created_at < :before
  and not exists (select from unnest(cast(:ids as bigint[])) as listed (id) where listed.id = stored.shopify_id)
order by 1
"""


def lacking(
    write: Write, resource: str, span: Span, listed: dict[int, datetime | None], *, lost_before: datetime
) -> list[int]:
    """Of the ids that the store lists for a span, those that are missing here, or outdated since before ``lost_before``."""
    return list(
        write.session.execute(
            sql(_LACKING.format(table=TABLES[resource].name)),
            {
                "tenant_id": write.tenant.id,
                "resource": resource,
                "ids": list(listed),
                "versions": list(listed.values()),
                "since": span.since,
                "before": span.before,
                "lost_before": lost_before,
            },
        ).scalars()
    )


def gone(write: Write, resource: str, span: Span, listed: Iterable[int]) -> list[int]:
    """Ids of a span that are alive here and that the store does not list."""
    return list(
        write.session.execute(
            sql(_GONE.format(table=TABLES[resource].name)),
            {"tenant_id": write.tenant.id, "since": span.since, "before": span.before, "ids": list(listed)},
        ).scalars()
    )


def get(write: Write, resource: str, day: date) -> Proof | None:
    return write.session.get(Proof, (write.tenant.id, resource, day))


_NOTE = """
update proofs
set store_count = finding.store_count, our_count = finding.our_count, reason = finding.reason, checked_at = :at,
    due_at = finding.due_at, suspects = '{}', differed = case when finding.differs then differed + 1 else 0 end
from unnest(
    cast(:days as date[]), cast(:store_counts as bigint[]), cast(:our_counts as bigint[]), cast(:reasons as text[]),
    cast(:due_ats as timestamptz[]), cast(:differ as boolean[])
) as finding (day, store_count, our_count, reason, due_at, differs)
where tenant_id = :tenant_id and resource = :resource and proofs.day = finding.day
"""


def note(write: Write, resource: str, findings: Sequence[Finding]) -> None:
    """Write what was found of some days."""
    if not findings:
        return
    write.session.execute(
        sql(_NOTE),
        {
            "tenant_id": write.tenant.id,
            "resource": resource,
            "at": write.at,
            "days": [each.day for each in findings],
            "store_counts": [each.store_count for each in findings],
            "our_counts": [each.our_count for each in findings],
            "reasons": [each.reason for each in findings],
            "due_ats": [each.due_at for each in findings],
            "differ": [each.differs for each in findings],
        },
    )
    for each in findings:
        if each.suspects:
            found = write.session.get(Proof, (write.tenant.id, resource, each.day), populate_existing=True)
            assert found is not None
            found.suspects = list(each.suspects)


_REFUSE = """
with due as (
    select day, reason from proofs where tenant_id = :tenant_id and resource = :resource and due_at <= :at
),
refused as (
    update proofs set store_count = null, reason = :reason, checked_at = :at, due_at = :due_at, suspects = '{}', differed = 0
    from due
    where tenant_id = :tenant_id and resource = :resource and proofs.day = due.day
)
select coalesce(bool_and(reason is distinct from :reason), false) from due
"""


def refuse(write: Write, resource: str, reason: str, *, due_at: datetime) -> bool:
    """The store counts nothing of a resource that is due now. Whether that is news."""
    values = {"tenant_id": write.tenant.id, "resource": resource, "reason": reason, "at": write.at, "due_at": due_at}
    return bool(write.session.execute(sql(_REFUSE), values).scalar_one())


_MENDED = """
update proofs set mended = mended + 1, due_at = least(due_at, :at)
where tenant_id = :tenant_id and resource = :resource
  and day = (
      select cast(created_at at time zone :timezone as date) from {table}
      where tenant_id = :tenant_id and shopify_id = :shopify_id
  )
"""


def add_mended(write: Write, resource: str, shopify_id: int) -> None:
    """Something that was lost has been found; its day is to be counted again."""
    write.session.execute(
        sql(_MENDED.format(table=TABLES[resource].name)),
        {
            "tenant_id": write.tenant.id,
            "resource": resource,
            "shopify_id": shopify_id,
            "timezone": write.tenant.timezone,
            "at": write.at,
        },
    )


_IS_PROVED = """
select coalesce(bool_and(coalesce(store_count = our_count, false) and checked_at > :since), false) from proofs
where tenant_id = :tenant_id and resource = :resource
  and day <= (  -- a new day is counted some minutes after its beginning
      select max(day) from proofs where tenant_id = :tenant_id and resource = :resource and checked_at is not null
  )
"""


def is_proved(session: Session, tenant_id: uuid.UUID, resource: str, *, since: datetime) -> bool:
    """Whether every day of a resource has been counted since then, and agrees."""
    values = {"tenant_id": tenant_id, "resource": resource, "since": since}
    return bool(session.execute(sql(_IS_PROVED), values).scalar_one())


_DIFFERING = """
select resource, count(*) as days from proofs
where tenant_id = :tenant_id and differed > 1 and store_count <> our_count
group by resource
order by resource
"""


def differing(session: Session, tenant_id: uuid.UUID) -> dict[str, int]:
    """By resource, on how many days the counts differed twice in a row: no webhook under way explains it."""
    return {row.resource: row.days for row in session.execute(sql(_DIFFERING), {"tenant_id": tenant_id})}


def forget(write: Write) -> None:
    """The shop's days are others now: all are to be counted anew."""
    write.session.execute(sql("delete from proofs where tenant_id = :id"), {"id": write.tenant.id})


def page(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    resource: str | None,
    first: date | None,
    last: date | None,
    after: tuple[str, date] | None,
    limit: int,
) -> Sequence[Proof]:
    """Days by resource and date: those after ``after``."""
    query = select(Proof).where(col(Proof.tenant_id) == tenant_id)
    if resource is not None:
        query = query.where(col(Proof.resource) == resource)
    if first is not None:
        query = query.where(col(Proof.day) >= first)
    if last is not None:
        query = query.where(col(Proof.day) <= last)
    if after is not None:
        query = query.where(tuple_(col(Proof.resource), col(Proof.day)) > after)
    return session.exec(query.order_by(col(Proof.resource), col(Proof.day)).limit(limit)).all()
