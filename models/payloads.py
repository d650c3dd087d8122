"""The payloads of webhooks as they were received, compressed, for a set number of days: a mapping mistake is mended from them.

Shopify tells them once. What is read from it is not kept: it can be read again.
"""

import json
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import BigInteger, Column, Identity, Index, LargeBinary
from sqlmodel import Field, Session, SQLModel

from models.columns import now, now_field, shopify_id_field, time_field
from models.database import sql
from models.tenants import Write

#: Rows that are pruned in one transaction.
BATCH = 5_000
#: Of zlib: a tenth larger than the best, in a quarter of the time.
COMPRESSION = 1


class Payload(SQLModel, table=True):
    """One body, and what it is of: so it is found when its customer is to be forgotten."""

    __tablename__ = "payloads"
    __table_args__ = (
        Index("payloads_resource", "tenant_id", "resource", "shopify_id"),
        Index("payloads_age", "received_at"),
    )

    id: int | None = Field(default=None, sa_column=Column(BigInteger, Identity(), primary_key=True))
    tenant_id: uuid.UUID = Field(foreign_key="tenants.id")
    topic: str
    resource: str
    #: None: the body does not tell.
    shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    customer_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    triggered_at: datetime = time_field(nullable=False)
    received_at: datetime = now_field()
    body: bytes = Field(sa_type=LargeBinary)


@dataclass(frozen=True, slots=True)
class Received:
    """A payload that is to be kept. ``body`` is compressed."""

    topic: str
    resource: str
    shopify_id: int | None
    customer_id: int | None
    triggered_at: datetime
    received_at: datetime
    body: bytes


# One statement for a batch. What is of somebody who was redacted is not kept.
_KEEP = """
insert into payloads (tenant_id, topic, resource, shopify_id, customer_shopify_id, triggered_at, received_at, body)
select :tenant_id, received.*
from unnest(
    cast(:topics as text[]), cast(:resources as text[]), cast(:ids as bigint[]), cast(:customers as bigint[]),
    cast(:triggered as timestamptz[]), cast(:received as timestamptz[]), cast(:bodies as bytea[])
) as received (topic, resource, shopify_id, customer_shopify_id, triggered_at, received_at, body)
where not exists (
    select from redactions
    where redactions.tenant_id = :tenant_id
      and (redactions.resource = received.resource and redactions.shopify_id = received.shopify_id
           or redactions.resource = 'customers' and redactions.shopify_id = received.customer_shopify_id)
)
"""


def keep(write: Write, received: Sequence[Received]) -> None:
    if not received:
        return
    parameters = {
        "tenant_id": write.tenant.id,
        "topics": [each.topic for each in received],
        "resources": [each.resource for each in received],
        "ids": [each.shopify_id for each in received],
        "customers": [each.customer_id for each in received],
        "triggered": [each.triggered_at for each in received],
        "received": [each.received_at for each in received],
        "bodies": [each.body for each in received],
    }
    write.session.execute(sql(_KEEP), parameters)


def compressed(body: bytes) -> bytes:
    return zlib.compress(body, COMPRESSION)


@dataclass(frozen=True, slots=True)
class Kept:
    id: int
    topic: str
    resource: str
    shopify_id: int | None
    triggered_at: datetime
    received_at: datetime
    body: bytes


_READ = """
select id, topic, resource, shopify_id, triggered_at, received_at, body from payloads
where tenant_id = :tenant_id and id > :after
  and (cast(:resources as text[]) is null or resource = any(:resources))
  and (cast(:since as timestamptz) is null or received_at >= :since)
order by id limit :limit
"""


def read(
    session: Session,
    tenant_id: uuid.UUID,
    *,
    after: int = 0,
    resources: Sequence[str] | None = None,
    since: datetime | None = None,
    limit: int = 100,
) -> list[Kept]:
    """As they came, behind the id ``after``; bodies as Shopify sent them."""
    parameters = {
        "tenant_id": tenant_id,
        "after": after,
        "resources": None if resources is None else list(resources),
        "since": since,
        "limit": limit,
    }
    return _kept(session, _READ, parameters)


_OF = """
select id, topic, resource, shopify_id, triggered_at, received_at, body from payloads
where tenant_id = :tenant_id
  and (resource = 'customers' and shopify_id = any(:customers) or customer_shopify_id = any(:customers)
       or resource = 'orders' and shopify_id = any(:orders))
order by id
"""


def of_person(session: Session, tenant_id: uuid.UUID, *, customers: Sequence[int], orders: Sequence[int]) -> list[Kept]:
    parameters = {"tenant_id": tenant_id, "customers": list(customers), "orders": list(orders)}
    return _kept(session, _OF, parameters)


def _kept(session: Session, query: str, parameters: dict[str, object]) -> list[Kept]:
    found = session.execute(sql(query), parameters)
    return [Kept(**{**row, "body": zlib.decompress(row["body"])}) for row in found.mappings()]


_FORGET = """
delete from payloads using redactions
where redactions.tenant_id = :tenant_id and payloads.tenant_id = redactions.tenant_id
  and (redactions.resource = payloads.resource and redactions.shopify_id = payloads.shopify_id
       or redactions.resource = 'customers' and redactions.shopify_id = payloads.customer_shopify_id)
"""

#: Of a body that could not be read nobody knows whom it names; nor of a guest's order that could not be stored.
_UNTOLD = """
select id, body from payloads
where tenant_id = :tenant_id and customer_shopify_id is null
  and (shopify_id is null
       or resource = 'orders' and not exists (
           select from orders where orders.tenant_id = :tenant_id and orders.shopify_id = payloads.shopify_id
       ))
"""


def forget(write: Write, addresses: Iterable[str]) -> int:
    """Erase what is of somebody who is marked, or tells nothing but one of their addresses. Returns how many."""
    done = write.session.execute(sql(_FORGET), {"tenant_id": write.tenant.id})
    said = [text for address in addresses for text in (address, json.dumps(address)[1:-1])]  # as it is, and escaped
    wanted = [text.casefold().encode() for text in said]
    untold = write.session.execute(sql(_UNTOLD), {"tenant_id": write.tenant.id}).all()
    naming = [row.id for row in untold if any(each in zlib.decompress(row.body).lower() for each in wanted)]
    if naming:
        write.session.execute(sql("delete from payloads where id = any(:ids)"), {"ids": naming})
    return int(done.rowcount) + len(naming)  # type: ignore[attr-defined]


_PRUNE = """
delete from payloads where id = any(array(select id from payloads where received_at < :before limit :batch))
"""


def prune(session: Session, *, days: int) -> bool:
    """Drop up to BATCH that were received longer ago. Whether that was all."""
    parameters = {"before": now() - timedelta(days=days), "batch": BATCH}
    return int(session.execute(sql(_PRUNE), parameters).rowcount) < BATCH  # type: ignore[attr-defined]
