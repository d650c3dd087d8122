"""Quarantine: what Shopify sent and could not be stored, with its reason, so that one bad row costs itself alone."""

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Index, text
from sqlmodel import Field, Session, SQLModel

from models.columns import id_field, now_field, shopify_id_field, time_field, uuid_field
from models.database import sql
from models.tenants import Write

#: Characters of the payload kept: enough to see what is wrong.
MAX_PAYLOAD = 20_000


class Quarantined(SQLModel, table=True):
    __tablename__ = "quarantine"
    __table_args__ = (
        Index(
            "quarantine_unresolved", "tenant_id", "resource", "shopify_id", postgresql_where=text("resolved_at is null")
        ),
    )

    id: uuid.UUID = id_field()
    tenant_id: uuid.UUID = Field(foreign_key="tenants.id")
    resource: str
    shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    reason: str
    #: JSON with everything but ASCII escaped, so that whatever made the row unstorable can be stored here.
    payload: str
    source: str
    run_id: uuid.UUID | None = uuid_field(default=None, nullable=True)
    created_at: datetime = now_field()
    #: When the resource itself was created, where its payload says so.
    resource_created_at: datetime | None = time_field()
    #: When a later version of the resource could be stored.
    resolved_at: datetime | None = time_field()


_AGAIN = """
update quarantine set reason = :reason, payload = :payload, source = :source, run_id = coalesce(:run_id, quarantine.run_id),
    resource_created_at = coalesce(:resource_created_at, resource_created_at)
from (
    select id, run_id from quarantine
    where tenant_id = :tenant_id and resource = :resource and resolved_at is null
      and (shopify_id = :shopify_id or (cast(:shopify_id as bigint) is null and shopify_id is null and payload = :payload))
) as before
where quarantine.id = before.id
returning before.run_id
"""


def hold(
    write: Write,
    *,
    resource: str,
    shopify_id: int | None,
    reason: str,
    payload: str,
    source: str,
    run_id: uuid.UUID | None = None,
    resource_created_at: datetime | None = None,
) -> bool:
    """Keep what could not be stored: a resource once, as it came last. Whether this run (or no run) met it first now.

    What has no id that can be told is known again by its payload.
    """
    values: dict[str, Any] = {
        "resource": resource,
        "shopify_id": shopify_id,
        "reason": reason,
        "payload": payload[:MAX_PAYLOAD],
        "source": source,
        "run_id": run_id,
        "resource_created_at": resource_created_at,
    }
    before = write.session.execute(sql(_AGAIN), {"tenant_id": write.tenant.id} | values).first()
    if before is not None:
        return run_id is not None and before.run_id != run_id
    write.session.add(Quarantined(tenant_id=write.tenant.id, **values))
    write.session.flush()
    return True


def resolve(write: Write, resource: str, shopify_ids: Iterable[int]) -> None:
    """These could be stored after all."""
    write.session.execute(
        sql(
            "update quarantine set resolved_at = :at where tenant_id = :tenant_id and resource = :resource"
            " and shopify_id = any(:ids) and resolved_at is null"
        ),
        {"at": write.at, "tenant_id": write.tenant.id, "resource": resource, "ids": list(shopify_ids)},
    )


_SEEN_IN_RUN = """
select count(*) from quarantine
where tenant_id = :tenant_id and resource = :resource and run_id = :run_id and resolved_at is null
  and not exists (  -- it was stored in this run before it became unstorable: that is seen once
      select from {resource} as stored
      where stored.tenant_id = quarantine.tenant_id and stored.shopify_id = quarantine.shopify_id
        and stored.run_id = quarantine.run_id and stored.deleted_at is null
  )
"""


def seen_in_run(write: Write, resource: str, run_id: uuid.UUID) -> int:
    """How many of a resource (a table's name) a run saw but could not store."""
    return int(
        write.session.execute(
            sql(_SEEN_IN_RUN.format(resource=resource)),
            {"tenant_id": write.tenant.id, "resource": resource, "run_id": run_id},
        ).scalar_one()
    )


_UNRESOLVED = """
select resource, count(*) as held from quarantine
where tenant_id = :tenant_id and shopify_id is not null and resolved_at is null
group by resource
"""


def unresolved(session: Session, tenant_id: uuid.UUID) -> dict[str, int]:
    """By resource: how many are known by their id and could not be stored to this day."""
    return {row.resource: row.held for row in session.execute(sql(_UNRESOLVED), {"tenant_id": tenant_id})}
