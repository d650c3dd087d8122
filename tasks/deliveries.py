"""A webhook delivery on its way: packed into a message by the web process, unpacked and written by a worker."""

import base64
import hashlib
import json
import uuid
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from models import customers, refetches, tenants, webhook_deliveries
from models.columns import now
from models.event_log import Level, record
from models.tenants import Write
from models.versions import Origin
from models.webhook_deliveries import DeliveryStatus, WebhookDelivery
from shopify import events
from shopify.errors import PayloadRejected
from shopify.resources import RESOURCES
from shopify.row import Row, RowRejected
from shopify.webhooks import WebhookHeaders, event_of
from tasks.store import Fetch, bury, quarantine_rejected, store
from tasks.sync_steps import store_shop

#: Topics after which the shop itself is asked.
ASKING = frozenset({"app/uninstalled", "app/scopes_update"})
#: Bytes above which a body is worth compressing: smaller ones save less than a packet.
COMPRESSED_ABOVE = 4096


class Delivery(BaseModel):
    """A delivery as its message carries it: the body compressed and in base 64, or nothing of it but an id."""

    model_config = ConfigDict(frozen=True)

    topic: str
    webhook_id: str
    event_id: str | None = None
    triggered_at: datetime
    received_at: datetime
    body_digest: str
    text: str | None = None
    compressed: str | None = None
    #: Of a body that was too large to travel: its resource is fetched instead.
    shopify_id: int | None = None

    @classmethod
    def of(cls, headers: WebhookHeaders, body: bytes) -> Self:
        digest = hashlib.sha256(body).hexdigest()
        text, compressed = None, None
        if len(body) <= COMPRESSED_ABOVE and body.isascii():
            text = body.decode("ascii")
        else:
            compressed = base64.b64encode(zlib.compress(body)).decode("ascii")
        return cls(
            topic=headers.topic,
            webhook_id=headers.webhook_id or digest,
            event_id=headers.event_id,
            triggered_at=headers.triggered_at,
            received_at=now(),
            body_digest=digest,
            text=text,
            compressed=compressed,
        )

    def without_body(self, body: bytes) -> Self:
        """The same with nothing of the body but its id."""
        return self.model_copy(update={"text": None, "compressed": None, "shopify_id": _id_of(body)})

    @property
    def body(self) -> bytes | None:
        if self.compressed is not None:
            return zlib.decompress(base64.b64decode(self.compressed))
        return self.text.encode("ascii") if self.text is not None else None


def _id_of(body: bytes) -> int | None:
    try:
        payload: Any = json.loads(body)
    except (ValueError, RecursionError):
        return None
    found = payload.get("id") if isinstance(payload, dict) else None
    return found if type(found) is int and 0 < found < 2**63 else None


@dataclass(frozen=True, slots=True)
class Written:
    """What a delivery came to."""

    status: DeliveryStatus
    told: str
    fetches: tuple[Fetch, ...] = ()
    #: The shop has to be asked whether it still knows us.
    asks_shop: bool = False


def write(tenant_id: uuid.UUID, delivery: Delivery) -> Written | None:
    """Write what the delivery says and that it came, in one transaction. None: it had come before.

    Raises TenantInactive.
    """
    with tenants.write(tenant_id) as transaction:
        if webhook_deliveries.is_repeat(transaction, webhook_id=delivery.webhook_id, body_digest=delivery.body_digest):
            # Nothing marks that the shop is to be asked, so a delivery that comes again after a crash asks again.
            return Written(DeliveryStatus.RECORDED, "", asks_shop=True) if delivery.topic in ASKING else None
        written = _apply(transaction, delivery)
        transaction.session.add(
            WebhookDelivery(
                tenant_id=tenant_id,
                webhook_id=delivery.webhook_id,
                body_digest=delivery.body_digest,
                topic=delivery.topic,
                event_id=delivery.event_id,
                triggered_at=delivery.triggered_at,
                received_at=delivery.received_at,
                status=written.status,
            )
        )
        if written.status != DeliveryStatus.QUARANTINED:
            record(transaction, Level.INFO, "webhook", f"{delivery.topic}: {written.told}")
        return written


def _apply(write: Write, delivery: Delivery) -> Written:
    origin = Origin(triggered_at=delivery.triggered_at)
    if delivery.body is None:
        return _too_large(write, delivery, origin)
    try:
        event = event_of(delivery.topic, delivery.body, write.tenant.shop_domain)
    except RowRejected as refusal:
        quarantine_rejected(write, refusal, source=f"webhook {delivery.topic}", origin=origin)
        return Written(DeliveryStatus.QUARANTINED, refusal.reason)
    except PayloadRejected as refusal:
        rejected = RowRejected(delivery.topic, None, refusal.reason, delivery.body.decode("utf-8", "replace"))
        quarantine_rejected(write, rejected, source=f"webhook {delivery.topic}", origin=origin)
        return Written(DeliveryStatus.QUARANTINED, refusal.reason)
    return _carry_out(write, event, origin)


def _carry_out(write: Write, event: events.Event, origin: Origin) -> Written:  # noqa: PLR0911  one for each event
    assert origin.triggered_at is not None
    match event:
        case events.Upsert(resource, row):
            stored = store(write, resource, [row], origin, source="webhook")
            status = DeliveryStatus.WRITTEN if stored.written else DeliveryStatus.SUPERSEDED
            outcome = "written" if stored.written else "known in a newer version"
            fetched = ", will be fetched" if stored.fetches else ""
            return Written(status, f"{_one(resource)} {_name(row)} {outcome}{fetched}", stored.fetches)
        case events.Delete(resource, shopify_id):
            fetches = bury(write, resource, shopify_id, triggered_at=origin.triggered_at)
            return Written(DeliveryStatus.WRITTEN, f"{_one(resource)} {shopify_id} deleted", fetches)
        case events.Fetch(resource, shopify_id, reason):
            refetches.mark(write, resource, [shopify_id], reason)
            return Written(
                DeliveryStatus.WRITTEN, f"{_one(resource)} {shopify_id} will be fetched", (Fetch(resource, shopify_id),)
            )
        case events.Merge(kept_id, deleted_id):
            customers.merge(write, kept_id=kept_id, deleted_id=deleted_id)
            refetches.mark(write, "customers", [kept_id], "another customer was merged into it")
            return Written(
                DeliveryStatus.WRITTEN, f"customer {deleted_id} merged into {kept_id}", (Fetch("customers", kept_id),)
            )
        case events.ShopUpdated(info):
            status = DeliveryStatus.WRITTEN if store_shop(write, info) else DeliveryStatus.SUPERSEDED
            return Written(status, f"the shop's currency, time zone and plan {status}")
        case events.ScopesUpdated():
            return Written(DeliveryStatus.RECORDED, "the token's scopes changed: Shopify is asked", asks_shop=True)
        case events.AppUninstalled():
            return Written(
                DeliveryStatus.RECORDED, "the app was uninstalled, it says: Shopify is asked", asks_shop=True
            )
        case _:
            return Written(DeliveryStatus.RECORDED, "recorded")


def _one(resource: str) -> str:
    return RESOURCES[resource].gid_kind.lower()


def _name(row: Row) -> object:
    """What the shop's owner calls it: an order's number, a product's title."""
    return row.columns.get("name") or row.columns.get("title") or row.shopify_id


def _too_large(write: Write, delivery: Delivery, origin: Origin) -> Written:
    for resource in RESOURCES.values():
        if delivery.topic in resource.topics and delivery.shopify_id is not None:
            refetches.mark(write, resource.name, [delivery.shopify_id], "its webhook was too large to travel")
            fetch = Fetch(resource.name, delivery.shopify_id)
            return Written(
                DeliveryStatus.WRITTEN, f"{_one(resource.name)} {delivery.shopify_id} will be fetched", (fetch,)
            )
    refusal = RowRejected(delivery.topic, None, "the body is too large for NATS and tells of nothing to fetch", None)
    quarantine_rejected(write, refusal, source=f"webhook {delivery.topic}", origin=origin)
    return Written(DeliveryStatus.QUARANTINED, refusal.reason)
