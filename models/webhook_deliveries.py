"""Webhook deliveries: that each was received, and what became of it."""

import json
import uuid
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

import sqlalchemy
from sqlalchemy import Index, delete, text
from sqlmodel import Field, Session, SQLModel, col

from models.columns import now, now_field, time_field
from models.database import sql
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


#: A delivery's identity within its tenant: Shopify's id of it, and the digest of its body.
Key = tuple[str, str]

_COUNT_REPEATS = """
update webhook_deliveries as known set repeats = repeats + again.times
from json_to_recordset(cast(:again as json)) as again (webhook_id text, body_digest text, times integer)
where known.tenant_id = :tenant_id and known.webhook_id = again.webhook_id and known.body_digest = again.body_digest
returning known.webhook_id, known.body_digest
"""


def count_repeats(write: Write, keys: Iterable[Key]) -> set[Key]:
    """Those of these deliveries that were processed before. Each is counted as often as it is among them."""
    again = [
        {"webhook_id": webhook_id, "body_digest": body_digest, "times": times}
        for (webhook_id, body_digest), times in Counter(keys).items()
    ]
    found = write.session.execute(sql(_COUNT_REPEATS), {"tenant_id": write.tenant.id, "again": json.dumps(again)})
    return {(row.webhook_id, row.body_digest) for row in found}


def prune(session: Session) -> int:
    """Drop what is older than KEPT_FOR. Returns how many."""
    result = session.execute(delete(WebhookDelivery).where(col(WebhookDelivery.received_at) < now() - KEPT_FOR))
    return int(result.rowcount)  # type: ignore[attr-defined]
