"""What the law asked of us, and that it was done: one row a request, kept for good, since it is the proof.

It outlives its tenant, so nothing refers to one; and it holds ids only, but for the addresses that are needed until a
request is done, encrypted.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy
from pydantic import SecretStr
from sqlalchemy import BigInteger, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import aliased
from sqlmodel import Field, Session, SQLModel, col, select

from models.columns import id_field, now, now_field, shopify_id_field, time_field
from models.encryption import EncryptedText

#: In which Shopify wants a request to be done.
TIME_TO_ACT = timedelta(days=30)
#: A request that nobody worked on for so long lost its message: longer than one go takes, and than one waits for the next.
FORGOTTEN_AFTER = timedelta(hours=1)


class Kind(StrEnum):
    """By the topics that ask."""

    DATA_REQUEST = "customers/data_request"
    REDACT_CUSTOMER = "customers/redact"
    REDACT_SHOP = "shop/redact"


class ComplianceRequest(SQLModel, table=True):
    __tablename__ = "compliance_requests"
    __table_args__ = (
        UniqueConstraint("shop_domain", "kind", "webhook_id", name="compliance_requests_delivery"),
        Index("compliance_requests_open", "received_at", postgresql_where=text("done_at is null")),
    )

    id: uuid.UUID = id_field()
    kind: Kind = Field(sa_type=sqlalchemy.Text)
    shop_domain: str
    #: Shopify's own id of the shop.
    shop_id: int | None = shopify_id_field(default=None, nullable=True)
    customer_shopify_id: int | None = shopify_id_field(default=None, nullable=True)
    order_ids: list[int] = Field(default_factory=list, sa_type=ARRAY(BigInteger), nullable=False)
    #: Shopify's id of a data request.
    data_request_id: int | None = shopify_id_field(default=None, nullable=True)
    webhook_id: str
    received_at: datetime = now_field()
    due_at: datetime = Field(
        default_factory=lambda: now() + TIME_TO_ACT, sa_type=sqlalchemy.DateTime(timezone=True), nullable=False
    )
    #: When somebody last worked on it.
    attempted_at: datetime = now_field()
    done_at: datetime | None = time_field()
    #: What became of it, in a line.
    outcome: str | None = None
    #: How much of each kind was erased.
    erased: dict[str, int] = Field(default_factory=dict, sa_type=JSONB, nullable=False)
    #: JSON: emails and phones by which the person is found. Gone when the request is done.
    addresses: SecretStr | None = Field(default=None, sa_type=EncryptedText)


_OPEN = """
insert into compliance_requests (kind, shop_domain, shop_id, customer_shopify_id, order_ids, data_request_id, webhook_id,
                                 received_at, due_at, attempted_at, erased, addresses)
values (:kind, :shop_domain, :shop_id, :customer_id, :order_ids, :data_request_id, :webhook_id,
        :received_at, :due_at, :at, '{}', :addresses)
on conflict (shop_domain, kind, webhook_id) do nothing
returning id
"""


def open_request(session: Session, values: Mapping[str, Any]) -> uuid.UUID | None:
    """A new request. None when its delivery came before. ``values``: the columns of _OPEN; addresses are encrypted."""
    times = {"at": now(), "due_at": values["received_at"] + TIME_TO_ACT}
    found: uuid.UUID | None = session.execute(text(_OPEN), {**values, **times}).scalar_one_or_none()
    return found


def get(session: Session, request_id: uuid.UUID, *, for_update: bool = False) -> ComplianceRequest | None:
    query = select(ComplianceRequest).where(col(ComplianceRequest.id) == request_id)
    return session.exec(query.with_for_update() if for_update else query).one_or_none()


def page(
    session: Session, *, after: uuid.UUID | None = None, only_open: bool = False, limit: int
) -> Sequence[ComplianceRequest]:
    """The newest first, behind the request ``after``."""
    query = select(ComplianceRequest).order_by(
        col(ComplianceRequest.received_at).desc(), col(ComplianceRequest.id).desc()
    )
    if only_open:
        query = query.where(col(ComplianceRequest.done_at).is_(None))
    if after is not None:
        last = aliased(ComplianceRequest)
        place = sqlalchemy.tuple_(col(ComplianceRequest.received_at), col(ComplianceRequest.id))
        query = query.join(last, col(last.id) == after).where(place < sqlalchemy.tuple_(last.received_at, last.id))
    return session.exec(query.limit(limit)).all()


def forgotten(session: Session) -> Sequence[ComplianceRequest]:
    """Erasures that lost their message; their clocks start anew."""
    found = session.exec(
        select(ComplianceRequest)
        .where(
            col(ComplianceRequest.done_at).is_(None),
            col(ComplianceRequest.kind) != Kind.DATA_REQUEST,
            sqlalchemy.not_(func.coalesce(col(ComplianceRequest.outcome), "").startswith(NOT_UNDERSTOOD)),
            col(ComplianceRequest.attempted_at) < now() - FORGOTTEN_AFTER,
        )
        .order_by(col(ComplianceRequest.received_at))
        .limit(100)
        .with_for_update(skip_locked=True)
    ).all()
    for each in found:
        each.attempted_at = now()
    return found


def due(session: Session, *, before: datetime) -> Sequence[ComplianceRequest]:
    """What is open and has to be done before then."""
    query = select(ComplianceRequest).where(
        col(ComplianceRequest.done_at).is_(None), col(ComplianceRequest.due_at) < before
    )
    return session.exec(query.order_by(col(ComplianceRequest.due_at))).all()


#: Begins the outcome of a request whose body is not what its topic says: only a person can say what it was.
NOT_UNDERSTOOD = "not understood, look at it yourself"


def is_for_a_person(request: ComplianceRequest) -> bool:
    return request.outcome is not None and request.outcome.startswith(NOT_UNDERSTOOD)


def attempt(request: ComplianceRequest, erased: Mapping[str, int]) -> None:
    """Somebody works on it, and erased so much more."""
    request.attempted_at = now()
    request.erased = {
        name: count
        for name in sorted({*request.erased, *erased})
        if (count := request.erased.get(name, 0) + erased.get(name, 0))
    }


def finish(request: ComplianceRequest, outcome: str) -> None:
    request.done_at, request.outcome, request.addresses = now(), outcome, None


_FORGET_ADDRESSES = """
update compliance_requests set addresses = null
where shop_domain = :shop_domain and addresses is not null
  and (cast(:customers as bigint[]) is null
       or kind = 'customers/data_request' and customer_shopify_id = any(:customers))
"""


def forget_addresses(session: Session, shop_domain: str, *, of_customers: Sequence[int] | None = None) -> None:
    """Of all requests of a shop that leaves; or of what these customers asked to be told, who are forgotten."""
    parameters = {"shop_domain": shop_domain, "customers": None if of_customers is None else list(of_customers)}
    session.execute(text(_FORGET_ADDRESSES), parameters)
