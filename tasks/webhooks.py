"""Webhooks: one publish in the web process, one transaction for many of them in a worker."""

import logging
import uuid
from collections.abc import Iterator
from typing import Any

import dramatiq

from brokers.errors import MessageTooLarge
from models.database import OUTAGES
from models.tenants import TenantInactive, TenantStatus
from shopify.webhooks import WebhookHeaders
from tasks import compliance, deliveries, fetches, owners, standing, sync
from tasks.connection import broker
from tasks.deliveries import Delivery

#: Milliseconds between two looks at a paused shop: what it was sent waits, and is not lost.
PAUSED_RETRY = 60_000
#: Deliveries written in one transaction, and milliseconds that the first of them waits for others.
BATCH_SIZE, BATCH_WAIT = 100, 20
#: Bytes of the deliveries' bodies in one transaction: a burst of large ones is divided.
MOST_BYTES = 10 * 2**20


def accept(tenant_id: uuid.UUID, headers: WebhookHeaders, body: bytes) -> None:
    """Hand a verified delivery to the workers: one publish, stored by the server when this returns.

    A body that fits no message even compressed travels as its id. What the law asks for is work of its own, which is done
    for shops that rest, too. Raises BrokerUnavailable and StorageFull.
    """
    if headers.topic in compliance.TOPICS:
        compliance.accept(headers, body)
        return
    delivery = Delivery.of(headers, body)
    try:
        _send(tenant_id, delivery)
    except MessageTooLarge:
        _send(tenant_id, delivery.without_body(body))


def _send(tenant_id: uuid.UUID, delivery: Delivery) -> None:
    process_webhooks.send_with_options(args=(str(tenant_id), delivery.model_dump(mode="json", exclude_none=True)))


@dramatiq.actor(
    queue_name="webhooks",
    lane=owners.of_first_argument,  # a shop's burst delays no other shop's
    batch_size=BATCH_SIZE,
    batch_wait=BATCH_WAIT,
    infrastructure_errors=OUTAGES,
    max_retries=8,
)
def process_webhooks(messages: list[dramatiq.Message[Any]]) -> None:
    """Write what a shop's deliveries say, in one transaction. Takes (tenant id, delivery) each.

    Safe to run twice: a delivery that was recorded is only counted again.
    """
    for tenant_id, of_tenant in _by_tenant(messages).items():  # a lane holds one; a replay may have come without
        try:
            for portion in _portions([Delivery.model_validate(each.args[1]) for each in of_tenant]):
                _write(uuid.UUID(tenant_id), portion)
        except TenantInactive as inactive:
            if inactive.status == TenantStatus.PAUSED:
                again = [process_webhooks.message_with_options(args=each.args) for each in of_tenant]
                broker.enqueue_many(again, delay=PAUSED_RETRY)


process_webhooks.logger.setLevel(logging.INFO)  # at DEBUG it tells what Shopify sent


def _write(tenant_id: uuid.UUID, portion: list[Delivery]) -> None:
    written = deliveries.write(tenant_id, portion)
    fetches.enqueue(tenant_id, [fetch for each in written for fetch in each.fetches])
    for each in written:
        if each.ended_operation is not None:
            sync.wake(tenant_id, each.ended_operation)
    if any(each.asks_shop for each in written):
        standing.ask_shop.send(str(tenant_id))


def _portions(found: list[Delivery]) -> Iterator[list[Delivery]]:
    """In their order, each of at most MOST_BYTES, or of one delivery."""
    portion: list[Delivery] = []
    for delivery in found:
        if portion and sum(each.length for each in portion) + delivery.length > MOST_BYTES:
            yield portion
            portion = []
        portion.append(delivery)
    yield portion


def _by_tenant(messages: list[dramatiq.Message[Any]]) -> dict[str, list[dramatiq.Message[Any]]]:
    groups: dict[str, list[dramatiq.Message[Any]]] = {}
    for message in messages:
        groups.setdefault(str(message.args[0]), []).append(message)
    return groups
