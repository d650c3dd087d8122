"""Fetching one resource by its id: what a payload did not tell whole, or versions that could not be told apart."""

import uuid
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import dramatiq

from models import orders, refetches, tenants
from models.columns import now
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.refetches import Refetch
from models.tenants import Tenant, TenantInactive, TenantStatus, Write
from models.versions import Origin
from shopify.client import Node
from shopify.errors import AccessDenied, QueryRefused
from shopify.resource import Resource
from shopify.resources import RESOURCES
from shopify.resources.orders import ALL_ORDERS
from shopify.row import RowRejected
from tasks import owners, shops
from tasks.shops import CredentialsRefused, Postponed
from tasks.store import Fetch, bury, quarantine_rejected, store

#: Shopify's reads may lag behind its webhooks: what it does not know of counts as gone only after this time.
GONE_AFTER = timedelta(seconds=60)
#: Without ``read_all_orders`` orders are hidden after 60 days; one of them for the clock.
VISIBLE_DAYS = timedelta(days=59)
#: Until a fetch whose retries are used up is tried again: somebody may have mended what failed.
REST = timedelta(hours=1)
#: Seconds between two looks for something that may only be late.
LATE_RETRY = 20.0


def enqueue(tenant_id: uuid.UUID, fetches: Iterable[Fetch]) -> None:
    """Send a message for each. Those lost to a crash are found by their marks (``tasks.tending``)."""
    for fetch in fetches:
        fetch_resource.send_with_options(
            args=(str(tenant_id), fetch.resource, fetch.shopify_id),
            delay=int(fetch.delay.total_seconds() * 1000) or None,
        )


@dramatiq.actor(
    queue_name="fetches",
    dead_letter_lane=owners.of_first_argument,
    infrastructure_errors=OUTAGES,
    max_retries=8,
    time_limit=180_000,
    on_retry_exhausted="rest_fetch",
)
def fetch_resource(tenant_id: str, resource: str, shopify_id: int) -> None:
    """Fetch one resource and write it. Safe to run twice: without its mark there is nothing to do."""
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        return  # a paused shop's marks are found again when it goes on
    with transaction() as session:
        mark = refetches.get(session, tenant.id, resource, shopify_id)
    if mark is None:
        return
    try:
        _fetch(tenant, RESOURCES[resource], mark)
    except Postponed as postponed:
        _postpone(tenant.id, mark, postponed)
    except (TenantInactive, CredentialsRefused):
        return  # the mark stays, and is found again when the shop goes on or has new credentials


@dramatiq.actor(
    queue_name="fetches", dead_letter_lane=owners.of_failed_message, infrastructure_errors=OUTAGES, max_retries=3
)
def rest_fetch(message: dict[str, Any], _retries: dict[str, Any]) -> None:
    """Let a fetch rest whose retries are used up: its dead letter tells why, and its mark has it tried again later."""
    tenant_id, resource, shopify_id = message["args"]
    with transaction() as session:
        refetches.postpone(session, uuid.UUID(tenant_id), resource, shopify_id, until=now() + REST)


def _postpone(tenant_id: uuid.UUID, mark: Refetch, postponed: Postponed) -> None:
    delay = postponed.milliseconds
    with transaction() as session:
        until = now() + timedelta(milliseconds=delay)
        refetches.postpone(session, tenant_id, mark.resource, mark.shopify_id, until=until)
    fetch_resource.send_with_options(args=(str(tenant_id), mark.resource, mark.shopify_id), delay=delay)


def _fetch(tenant: Tenant, resource: Resource, mark: Refetch) -> None:
    try:
        found = shops.ask(
            tenant,
            lambda client: client.node(resource, mark.shopify_id),
            cost=resource.node_cost,
            spent=lambda node: node.cost,
        )
    except (AccessDenied, QueryRefused) as error:
        _give_up(tenant, mark, str(error))
        return
    if found.node is None and mark.first_marked_at > now() - GONE_AFTER:
        raise Postponed(LATE_RETRY, "Shopify does not know of it yet")
    enqueue(tenant.id, _write(tenant.id, resource, mark.shopify_id, found))


def _write(tenant_id: uuid.UUID, resource: Resource, shopify_id: int, found: Node) -> tuple[Fetch, ...]:
    origin = Origin(read_at=found.read_at)
    with tenants.write(tenant_id) as write:
        if found.node is None:
            refetches.clear(write, resource.name, [shopify_id], read_at=found.read_at)
            if _is_out_of_sight(write, resource, shopify_id):
                record(write, Level.WARNING, "fetch", f"{resource.name} {shopify_id}: the token may not see it")
                return ()
            return bury(write, resource.name, shopify_id, triggered_at=found.read_at)
        try:
            row = resource.from_node(found.node)
        except RowRejected as refusal:
            refetches.clear(write, resource.name, [shopify_id], read_at=found.read_at)
            quarantine_rejected(write, refusal, source="fetch", origin=origin)
            return ()
        return store(write, resource.name, [row], origin, source="fetch", by_id=True).fetches


def _is_out_of_sight(write: Write, resource: Resource, shopify_id: int) -> bool:
    """Whether Shopify's not showing it proves nothing: an order beyond the days that the token may see."""
    if resource.name != "orders" or ALL_ORDERS in write.tenant.scopes:
        return False
    created_at = orders.created_at(write, shopify_id)
    return created_at is None or created_at < now() - VISIBLE_DAYS


def _give_up(tenant: Tenant, mark: Refetch, reason: str) -> None:
    """The shop will never answer this: the mark goes, and its owner is told."""
    with tenants.write(tenant.id) as write:
        refetches.clear(write, mark.resource, [mark.shopify_id], read_at=now())
        record(write, Level.ERROR, "fetch", f"{mark.resource} {mark.shopify_id} cannot be fetched: {reason}")
