"""Webhook deliveries: that each was received, and what became of it."""

import uuid
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy
from sqlalchemy import Index, delete, text
from sqlmodel import Field, Session, SQLModel, col

from models.columns import now, now_field, time_field
from models.tenants import Write

#: Shopify retries for four hours and may be a day late; a month answers every question about a lost order.
KEPT_FOR = timedelta(days=30)


class DeliveryStatus(StrEnum):
    WRITTEN = "written"
    SUPERSEDED = "superseded"
    QUARANTINED = "quarantined"
    RECORDED = "recorded"


class WebhookDelivery(SQLModel, table=True):
    """One delivery, by Shopify's ``X-Shopify-Webhook-Id`` (unsigned: the body's digest tells two apart that share it)."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("webhook_deliveries_received", "tenant_id", text("received_at desc")),
        Index("webhook_deliveries_age", "received_at"),
    )

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    webhook_id: str = Field(primary_key=True)
    body_digest: str = Field(primary_key=True)
    topic: str
    event_id: str | None = None
    triggered_at: datetime | None = time_field()
    received_at: datetime = now_field()
    processed_at: datetime = now_field()
    status: DeliveryStatus = Field(sa_type=sqlalchemy.Text)
    #: How many times it came again.
    repeats: int = 0


_COUNT_REPEAT = """
update webhook_deliveries set repeats = repeats + 1
where tenant_id = :tenant_id and webhook_id = :webhook_id and body_digest = :body_digest
"""


def is_repeat(write: Write, *, webhook_id: str, body_digest: str) -> bool:
    """Whether this very delivery was processed before; it is counted then."""
    result = write.session.execute(
        text(_COUNT_REPEAT),
        {"tenant_id": write.tenant.id, "webhook_id": webhook_id, "body_digest": body_digest},
    )
    return bool(result.rowcount)  # type: ignore[attr-defined]


def prune(session: Session) -> int:
    """Drop what is older than KEPT_FOR. Returns how many."""
    result = session.execute(delete(WebhookDelivery).where(col(WebhookDelivery.received_at) < now() - KEPT_FOR))
    return int(result.rowcount)  # type: ignore[attr-defined]
