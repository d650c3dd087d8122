"""Fetching one resource by its id: what a payload did not tell whole, or versions that could not be told apart."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dramatiq

from models import known, orders, proofs, refetches, tenants, watermarks
from models.columns import now
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.refetches import Refetch
from models.resources import TABLES
from models.tenants import Tenant, TenantInactive, TenantStatus, Write
from models.versions import Origin
from shopify.client import Node
from shopify.errors import AccessDenied, QueryRefused
from shopify.resource import Resource
from shopify.resources import RESOURCES
from shopify.resources.orders import ALL_ORDERS
from shopify.row import RowRejected
from tasks import owners, shops
from tasks.shops import RESERVE, CredentialsRefused, Postponed
from tasks.store import NOTHING, Fetch, Stored, bury, quarantine_rejected, store

#: Shopify's reads may lag behind its webhooks: what it does not know of counts as gone only after this time.
GONE_AFTER = timedelta(seconds=60)
#: Without ``read_all_orders`` orders are hidden after 60 days; one of them for the clock.
VISIBLE_DAYS = timedelta(days=59)
#: Until a fetch whose retries are used up is tried again: somebody may have mended what failed.
REST = timedelta(hours=1)
#: Points kept back from fetches of what changes often: the dearest page of a sync, and what that keeps back, go first.
PATIENCE = max(resource.page_cost for resource in RESOURCES.values()) + RESERVE
#: How long what changes often is gathered: further changes of it come soon, and one fetch is enough for all.
GATHERING = timedelta(seconds=10)
#: So many are fetched together. An answer holds all lists of each.
TOGETHER = 50
#: Until when those that are to be fetched alone after all are left to that.
ALONE = timedelta(minutes=5)
#: Orders of one customer that are fetched at once; the marks of more are worked by the sweep.
ORDERS_AT_ONCE = 100
#: Seconds between two looks for something that may only be late.
LATE_RETRY = 20.0


def enqueue(tenant_id: uuid.UUID, fetches: Iterable[Fetch]) -> None:
    """Send a message for each, or one for all of a resource that changes often, which are fetched together.

    Those lost to a crash are found by their marks (``tasks.tending``).
    """
    gathered = set()
    for fetch in fetches:
        if RESOURCES[fetch.resource].changes_often:
            gathered.add(fetch.resource)
        else:
            _enqueue_alone(tenant_id, fetch)
    for resource in gathered:
        fetch_marked.send_with_options(args=(str(tenant_id), resource, 0), delay=int(GATHERING.total_seconds() * 1000))


def _enqueue_alone(tenant_id: uuid.UUID, fetch: Fetch) -> None:
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
    queue_name="fetches",
    dead_letter_lane=owners.of_first_argument,
    unique=True,
    unique_while="queued",
    infrastructure_errors=OUTAGES,
    max_retries=8,
    time_limit=180_000,
    on_retry_exhausted="rest_marked",
)
def fetch_marked(tenant_id: str, resource: str, above: int) -> None:
    """Fetch what is marked of a resource with ids above ``above``, many in a question; whoever counts a shop's stock marks all.

    Safe to run twice: without marks there is nothing to do. One message of a shop is queued at a time: what is marked
    while it waits is its, and what is marked when it has begun gets another.
    """
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        return
    with transaction() as session:
        ids = refetches.of(session, tenant.id, resource, above=above, limit=TOGETHER, due_by=now())
    if not ids:
        return
    try:
        _fetch_together(tenant, RESOURCES[resource], ids)
    except Postponed as postponed:
        fetch_marked.send_with_options(args=(tenant_id, resource, above), delay=postponed.milliseconds)
    except (TenantInactive, CredentialsRefused):
        return
    else:
        if len(ids) == TOGETHER:
            fetch_marked.send(tenant_id, resource, ids[-1])


@dramatiq.actor(
    queue_name="fetches", dead_letter_lane=owners.of_failed_message, infrastructure_errors=OUTAGES, max_retries=3
)
def rest_marked(message: dict[str, Any], _retries: dict[str, Any]) -> None:
    """Let those rest whose retries to be fetched together are used up, as ``rest_fetch`` does with a single one."""
    tenant_id, resource, above = message["args"]
    with transaction() as session:
        tenant = uuid.UUID(tenant_id)
        for shopify_id in refetches.of(session, tenant, resource, above=above, limit=TOGETHER, due_by=now()):
            refetches.postpone(session, tenant, resource, shopify_id, until=now() + REST)


def _fetch_together(tenant: Tenant, resource: Resource, ids: Sequence[int]) -> None:
    """What an answer to many does not hold, or not whole, is fetched alone."""
    try:
        found = shops.ask(
            tenant,
            lambda client: client.nodes(resource, ids),
            cost=resource.node_cost,
            spent=lambda nodes: nodes.cost,
            reserve=PATIENCE,
        )
        nodes, read_at = found.nodes, found.read_at
    except AccessDenied as error:
        _give_up(tenant, resource.name, ids, str(error))
        return
    except QueryRefused:  # perhaps so many are too much
        nodes, read_at = [], now()
    whole = [row for row in resource.rows(nodes)[0] if row.is_whole]
    with tenants.write(tenant.id) as write:
        stored = store(write, resource.name, whole, Origin(read_at=read_at), source="fetch", by_id=True)
        left = {each: Fetch(resource.name, each) for each in ids if each not in stored.written}
        left |= {fetch.shopify_id: fetch for fetch in stored.fetches}
        for each in left:
            refetches.postpone(write.session, tenant.id, resource.name, each, until=write.at + ALONE)
    for fetch in left.values():
        _enqueue_alone(tenant.id, fetch)


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
            reserve=PATIENCE if resource.changes_often else 0,
        )
    except (AccessDenied, QueryRefused) as error:
        _give_up(tenant, mark.resource, [mark.shopify_id], str(error))
        return
    if found.node is None and not _can_be_gone(tenant, resource, mark):
        raise Postponed(LATE_RETRY, "Shopify does not know of it yet")
    enqueue(tenant.id, _write(tenant.id, resource, mark, found))


def _can_be_gone(tenant: Tenant, resource: Resource, mark: Refetch) -> bool:
    """Whether Shopify's not knowing it means that it is deleted. Otherwise it may only be new."""
    before = now() - GONE_AFTER
    if mark.first_marked_at <= before:
        return True
    with transaction() as session:
        table = TABLES[resource.name]
        return known.was_created_before(session, tenant.id, table, mark.shopify_id, before)


def _write(tenant_id: uuid.UUID, resource: Resource, mark: Refetch, found: Node) -> tuple[Fetch, ...]:
    with tenants.write(tenant_id) as write:
        table = TABLES[resource.name]
        was_alive = known.alive(write, table, [mark.shopify_id])
        stored = _store(write, resource, mark.shopify_id, found)
        is_mended = mark.shopify_id in stored.mended or known.alive(write, table, [mark.shopify_id]) != was_alive
        if mark.is_lost and is_mended:
            watermarks.add_repair(write, resource.name)
            proofs.add_mended(write, resource.name, mark.shopify_id)
        return stored.fetches


def _store(write: Write, resource: Resource, shopify_id: int, found: Node) -> Stored:
    """What became of it, in the caller's transaction."""
    origin = Origin(read_at=found.read_at)
    if found.node is None:
        refetches.clear(write, resource.name, [shopify_id], read_at=found.read_at)
        if _is_out_of_sight(write, resource, shopify_id):
            record(write, Level.WARNING, "fetch", f"{resource.name} {shopify_id}: the token may not see it")
            return NOTHING
        buried = bury(write, resource.name, shopify_id, triggered_at=found.read_at)
        return replace(NOTHING, fetches=buried + _fetch_orders_of_the_gone(write, resource, shopify_id))
    try:
        row = resource.shape.from_node(found.node)
    except RowRejected as refusal:
        refetches.clear(write, resource.name, [shopify_id], read_at=found.read_at)
        quarantine_rejected(write, refusal, source="fetch", origin=origin)
        return NOTHING
    return store(write, resource.name, [row], origin, source="fetch", by_id=True)


def _fetch_orders_of_the_gone(write: Write, resource: Resource, shopify_id: int) -> tuple[Fetch, ...]:
    """Mark the orders of a customer who is gone: Shopify deletes none that has orders, so they are another's by a merge.

    A merge changes no order, so nothing but a fetch tells whose they are.
    """
    if resource.name != "customers":
        return ()
    theirs = orders.of_customer(write, shopify_id)
    refetches.mark(write, "orders", theirs, "its customer is gone: merged into another")
    return tuple(Fetch("orders", each) for each in theirs[:ORDERS_AT_ONCE])


def _is_out_of_sight(write: Write, resource: Resource, shopify_id: int) -> bool:
    """Whether Shopify's not showing it proves nothing: an order beyond the days that the token may see."""
    if resource.name != "orders" or ALL_ORDERS in write.tenant.scopes:
        return False
    created_at = orders.created_at(write, shopify_id)
    return created_at is None or created_at < now() - VISIBLE_DAYS


def _give_up(tenant: Tenant, resource: str, ids: Sequence[int], reason: str) -> None:
    """The shop will never answer this: the marks go, and its owner is told."""
    with tenants.write(tenant.id) as write:
        refetches.clear(write, resource, ids, read_at=now())
        told = ", ".join(map(str, ids[:3])) + (f" and {len(ids) - 3} others" if len(ids) > 3 else "")
        record(write, Level.ERROR, "fetch", f"{resource} {told} cannot be fetched: {reason}")
