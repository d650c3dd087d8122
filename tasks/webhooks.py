"""Webhooks: one publish in the web process, one transaction in a worker."""

import uuid
from typing import Any

import dramatiq

from brokers.errors import MessageTooLarge
from models.database import OUTAGES
from models.tenants import TenantInactive, TenantStatus
from shopify.webhooks import WebhookHeaders
from tasks import deliveries, fetches, standing
from tasks.deliveries import Delivery

#: Milliseconds between two looks at a paused shop: what it was sent waits, and is not lost.
PAUSED_RETRY = 60_000


def accept(tenant_id: uuid.UUID, headers: WebhookHeaders, body: bytes) -> None:
    """Hand a verified delivery to the workers: one publish, stored by the server when this returns.

    A body that fits no message even compressed travels as its id. Raises BrokerUnavailable and StorageFull.
    """
    delivery = Delivery.of(headers, body)
    try:
        process_webhook.send(str(tenant_id), _plain(delivery))
    except MessageTooLarge:
        process_webhook.send(str(tenant_id), _plain(delivery.without_body(body)))


def _plain(delivery: Delivery) -> dict[str, Any]:
    return delivery.model_dump(mode="json", exclude_none=True)


@dramatiq.actor(queue_name="webhooks", infrastructure_errors=OUTAGES, max_retries=8)
def process_webhook(tenant_id: str, delivery: dict[str, Any]) -> None:
    """Write what a delivery says. Safe to run twice: a delivery that was recorded is only counted again."""
    tenant = uuid.UUID(tenant_id)
    try:
        written = deliveries.write(tenant, Delivery.model_validate(delivery))
    except TenantInactive as inactive:
        if inactive.status == TenantStatus.PAUSED:
            process_webhook.send_with_options(args=(tenant_id, delivery), delay=PAUSED_RETRY)
        return
    if written is not None:
        fetches.enqueue(tenant, written.fetches)
        if written.asks_shop:
            standing.ask_shop.send(tenant_id)
