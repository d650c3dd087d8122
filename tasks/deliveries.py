"""A webhook delivery on its way: packed into a message by the web process, unpacked and written by a worker."""

import base64
import dataclasses
import hashlib
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_snake

import settings
from models import customers, forgetting, payloads, redactions, refetches, tenants, webhook_deliveries
from models.columns import now
from models.event_log import Level, record
from models.payloads import Received
from models.resources import TABLES
from models.tenants import Write
from models.versions import Origin
from models.webhook_deliveries import DeliveryStatus, Key, WebhookDelivery
from shopify import events
from shopify.about import About, about
from shopify.errors import PayloadRejected
from shopify.resource import TopicKind
from shopify.resources import RESOURCES, of_topic, taken
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

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    topic: str
    webhook_id: str
    event_id: str | None = None
    triggered_at: datetime
    received_at: datetime
    body_digest: str
    #: Bytes of the body that travels, unpacked.
    length: int = 0
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
            compressed = base64.b64encode(payloads.compressed(body)).decode("ascii")
        return cls(
            topic=headers.topic,
            webhook_id=headers.webhook_id or digest,
            event_id=headers.event_id,
            triggered_at=headers.triggered_at,
            received_at=now(),
            body_digest=digest,
            length=len(body),
            text=text,
            compressed=compressed,
        )

    def without_body(self, body: bytes) -> Self:
        """The same with nothing of the body but its id."""
        found = about(self.topic, body)
        shopify_id = None if found is None else found.shopify_id
        return self.model_copy(update={"text": None, "compressed": None, "length": 0, "shopify_id": shopify_id})

    @property
    def key(self) -> Key:
        return self.webhook_id, self.body_digest

    def record(self, write: Write, status: DeliveryStatus, *, repeats: int) -> WebhookDelivery:
        """What is kept of it."""
        return WebhookDelivery(
            tenant_id=write.tenant.id,
            webhook_id=self.webhook_id,
            body_digest=self.body_digest,
            topic=self.topic,
            event_id=self.event_id,
            triggered_at=self.triggered_at,
            received_at=self.received_at,
            status=status,
            repeats=repeats,
        )

    @property
    def compressed_body(self) -> bytes | None:
        """As it is kept: what travelled compressed is not compressed again."""
        if self.compressed is not None:
            return base64.b64decode(self.compressed)
        return payloads.compressed(self.text.encode("ascii")) if self.text is not None else None

    @property
    def body(self) -> bytes | None:
        if self.compressed is not None:
            return zlib.decompress(base64.b64decode(self.compressed))
        return self.text.encode("ascii") if self.text is not None else None


@dataclass(frozen=True, slots=True)
class Written:
    """What a delivery came to."""

    status: DeliveryStatus
    told: str
    fetches: tuple[Fetch, ...] = ()
    #: The shop has to be asked whether it still knows us.
    asks_shop: bool = False
    #: The bulk operation that has ended.
    ended_operation: str | None = None


def write(tenant_id: uuid.UUID, deliveries: Sequence[Delivery]) -> list[Written]:
    """Write what the deliveries say, in their order, and that they came, in one transaction.

    What had come before is left out, unless it has to be asked about again. Raises TenantInactive.
    """
    with tenants.write(tenant_id) as transaction:
        known = webhook_deliveries.count_repeats(transaction, (each.key for each in deliveries))
        writing = _Writing(transaction)
        for delivery in deliveries:
            if delivery.key in known:
                writing.note_repeat(delivery)
            else:
                writing.take(delivery)
        return writing.finish()


class _Writing:
    """One transaction's deliveries on their way.

    Versions of different resources do not concern each other: they gather, to be written in one statement. Everything else,
    and a second version of the same resource, waits until those before it are written.
    """

    def __init__(self, write: Write) -> None:
        self._write = write
        self._written: list[tuple[Delivery, Written]] = []
        self._again: dict[Key, int] = {}
        self._asks_again = False
        self._gathered: dict[str, dict[int, tuple[Delivery, Row]]] = {}
        self._keeps = settings.load().payloads_kept_days > 0
        self._kept: list[Received] = []

    def note_repeat(self, delivery: Delivery) -> None:
        # Nothing marks that the shop is to be asked, so a delivery that comes again after a crash asks again.
        self._asks_again = self._asks_again or delivery.topic in ASKING

    def take(self, delivery: Delivery) -> None:
        if delivery.key in self._again:
            self._again[delivery.key] += 1
            return
        self._again[delivery.key] = 0
        resource = of_topic(delivery.topic)
        if resource is not None and resource.name not in taken(self._write.tenant.scopes):
            told = f"{resource.name} are not taken: the token lacks {resource.scope}"
            self._written.append((delivery, Written(DeliveryStatus.RECORDED, told)))
            return
        try:
            event = _event(self._write, delivery)
        except RowRejected as refusal:
            self._write_gathered()  # an older version that can be stored must not seem to have mended it
            quarantine_rejected(self._write, refusal, source=f"webhook {delivery.topic}", origin=Origin())
            self._keep(delivery)
            self._written.append((delivery, Written(DeliveryStatus.QUARANTINED, refusal.reason)))
            return
        if isinstance(event, events.Upsert):
            self._gather(delivery, event)
            self._keep(delivery, event)
        else:
            self._write_gathered()
            self._keep(delivery)
            self._written.append((delivery, _carry_out(self._write, event, delivery.triggered_at)))

    def finish(self) -> list[Written]:
        """Write what is left, and that each came. Returns what each came to."""
        self._write_gathered()
        payloads.keep(self._write, self._kept)
        for delivery, written in self._written:
            self._write.session.add(delivery.record(self._write, written.status, repeats=self._again[delivery.key]))
            if written.status != DeliveryStatus.QUARANTINED:
                record(self._write, Level.INFO, "webhook", f"{delivery.topic}: {written.told}")
        asked_again = [Written(DeliveryStatus.RECORDED, "", asks_shop=True)] if self._asks_again else []
        return [written for _, written in self._written] + asked_again

    def _keep(self, delivery: Delivery, event: events.Upsert | None = None) -> None:
        """Keep the payload as it was received, if there is anything in it that could be mapped anew."""
        body = delivery.compressed_body if self._keeps else None
        if body is None:
            return
        found = about(delivery.topic, delivery.body or b"") if event is None else _about(event)
        if found is None or not found.may_name_a_person:  # nothing but ids: there is nothing to map
            return
        moments = delivery.triggered_at, delivery.received_at
        self._kept.append(Received(delivery.topic, found.resource, found.shopify_id, found.customer_id, *moments, body))

    def _gather(self, delivery: Delivery, event: events.Upsert) -> None:
        row = dataclasses.replace(event.row, triggered_at=delivery.triggered_at)
        if row.shopify_id in self._gathered.get(event.resource, {}):
            self._write_gathered()
        self._gathered.setdefault(event.resource, {})[row.shopify_id] = delivery, row

    def _write_gathered(self) -> None:
        gathered, self._gathered = self._gathered, {}
        for resource, by_id in gathered.items():
            stored = store(self._write, resource, [row for _, row in by_id.values()], Origin(), source="webhook")
            for shopify_id, (delivery, row) in by_id.items():
                status = DeliveryStatus.WRITTEN if shopify_id in stored.written else DeliveryStatus.SUPERSEDED
                outcome = "written" if status == DeliveryStatus.WRITTEN else "known in a newer version"
                fetches = tuple(each for each in stored.fetches if each.shopify_id == shopify_id)
                told = f"{_one(resource)} {_name(row)} {outcome}{', will be fetched' if fetches else ''}"
                self._written.append((delivery, Written(status, told, fetches)))


def _event(write: Write, delivery: Delivery) -> events.Event:
    """What a delivery tells. Raises RowRejected for what cannot be stored."""
    body = delivery.body
    if body is None:
        return _to_be_fetched(delivery)
    try:
        return event_of(delivery.topic, body, write.tenant.shop_domain)
    except PayloadRejected as refusal:
        raise RowRejected(delivery.topic, None, refusal.reason, body.decode("utf-8", "replace")) from refusal


def _about(event: events.Upsert) -> About:
    """The same as ``about`` tells, without reading the body again."""
    customer = TABLES[event.resource].customer
    customer_id = None if customer is None else event.row.columns.get(customer)
    return About(event.resource, TopicKind.WHOLE, event.row.shopify_id, customer_id)


def _to_be_fetched(delivery: Delivery) -> events.Event:
    resource = of_topic(delivery.topic)
    if resource is not None and delivery.shopify_id is not None:
        return events.Fetch(resource.name, delivery.shopify_id, "its webhook was too large to travel")
    raise RowRejected(delivery.topic, None, "the body is too large for NATS and tells of nothing to fetch", None)


def _carry_out(write: Write, event: events.Event, triggered_at: datetime) -> Written:  # noqa: PLR0911  one for each event
    match event:
        case events.Delete(resource, shopify_id):
            fetches = bury(write, resource, shopify_id, triggered_at=triggered_at)
            return Written(DeliveryStatus.WRITTEN, f"{_one(resource)} {shopify_id} deleted", fetches)
        case events.Fetch(resource, shopify_id, reason):
            refetches.mark(write, resource, [shopify_id], reason)
            return Written(
                DeliveryStatus.WRITTEN, f"{_one(resource)} {shopify_id} will be fetched", (Fetch(resource, shopify_id),)
            )
        case events.Merge(kept_id, deleted_id):
            customers.merge(write, kept_id=kept_id, deleted_id=deleted_id)
            if redactions.are_marked(
                write, redactions.PEOPLE, [kept_id, deleted_id]
            ):  # the merge came before, and is told late
                forgetting.forget(write)
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
        case events.BulkFinished(operation_id, status, _):
            return Written(DeliveryStatus.RECORDED, f"a bulk operation {status}", ended_operation=operation_id)
        case _:
            return Written(DeliveryStatus.RECORDED, "recorded")


def _one(resource: str) -> str:
    return to_snake(RESOURCES[resource].gid_kind).replace("_", " ")


def _name(row: Row) -> object:
    """What the shop's owner calls it: an order's number, a product's title."""
    return row.columns.get("name") or row.columns.get("title") or row.shopify_id
