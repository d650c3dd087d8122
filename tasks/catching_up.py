"""Reading what was updated since the last look: it mends what no webhook told of, and serves shops that cannot reach us.

Every resource of a shop has a watermark from its first whole history on. A look reads what was updated since, with some
overlap, for clocks differ and Shopify's reads lag. What it finds newer than ours although it is old was lost on the way:
that is counted, and a healthy system counts nothing.
"""

import logging
import uuid
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import dramatiq

import settings
from models import tenants, watermarks
from models.columns import now
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.tenants import Tenant, TenantInactive, TenantStatus
from models.versions import Origin
from models.watermarks import Watermark
from shopify import search
from shopify.client import Page
from shopify.errors import AccessDenied, QueryRefused
from shopify.resource import Resource
from shopify.resources import taken
from shopify.row import Row
from tasks import deletions, fetches, owners, shops
from tasks.connection import broker
from tasks.deletions import LOST_AFTER
from tasks.shops import RESERVE, CredentialsRefused, Postponed
from tasks.store import quarantine_rejected, store

logger = logging.getLogger(__name__)

#: What was updated shortly before the last look is read again.
OVERLAP = timedelta(minutes=2)
#: Minutes between two looks at a shop: as a safety net under webhooks, and where nothing says how webhooks reach us.
INTERVAL, INTERVAL_WITHOUT_WEBHOOKS = 15, 1
#: Milliseconds over which the looks of one minute are spread.
SPREAD = 50_000
#: Pages of one look: what is left is the next one's. No shop updates ten thousand things within one second.
MOST_PAGES = 40
#: Milliseconds until the next look at what one left.
NEXT_LOOK = 1_000
#: Milliseconds of one look.
TIME_LIMIT = 300_000


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=0)
def catch_up_all() -> None:
    """Have those shops looked at whose minute it is. Safe to run twice: one look of a shop is queued at a time."""
    interval = INTERVAL_WITHOUT_WEBHOOKS if settings.load().webhook_uri is None else INTERVAL
    minute = int(now().timestamp()) // 60
    with transaction() as session:
        found = watermarks.tenants_to_catch_up(session)
    for tenant_id in found:
        if tenant_id.int % interval == minute % interval:
            catch_up.send_with_options(args=(str(tenant_id),), delay=(tenant_id.int >> 64) % SPREAD)


@dramatiq.actor(
    queue_name="sync",
    dead_letter_lane=owners.of_first_argument,
    unique=True,
    unique_while="queued",
    infrastructure_errors=OUTAGES,
    max_retries=3,
    time_limit=TIME_LIMIT,
)
def catch_up(tenant_id: str) -> None:
    """Read what was updated and deleted in one shop. Safe to run twice: what is known is not newer."""
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        return
    with transaction() as session:
        marks = watermarks.of(session, tenant.id)
    resources = taken(tenant.scopes)
    try:
        are_done = [_catch_up(tenant, resources[mark.resource], mark) for mark in marks if mark.resource in resources]
        if tenant.unreachable_since is None:  # else it may be this question that it fails at
            for mark in marks:
                if mark.resource in resources:
                    deletions.look(tenant, resources[mark.resource])
    except Postponed as postponed:
        catch_up.send_with_options(args=(tenant_id,), delay=postponed.milliseconds)
    except (TenantInactive, CredentialsRefused):
        return
    else:
        if not all(are_done):
            catch_up.send_with_options(args=(tenant_id,), delay=NEXT_LOOK)


def _catch_up(tenant: Tenant, resource: Resource, mark: Watermark) -> bool:
    """Whether there is nothing left to read of a resource, or nothing that the shop shows."""
    safe, cursor = mark.reaches or now() - OVERLAP, mark.cursor
    query = search.updated(since=mark.updated_until)
    for _ in range(MOST_PAGES):
        if broker.is_stopping():
            return False
        try:
            page = _ask(tenant, resource, cursor, query)
        except (AccessDenied, QueryRefused) as error:
            _note_error(tenant, resource, error)
            return True
        _write(tenant, resource, page, safe=safe)
        if not page.has_next:
            return True
        cursor = page.end_cursor
    return False


def _reached(resource: Resource, page: Page, safe: datetime) -> datetime | None:
    """Until when everything has been read with this page. None: of a list that is not in the order of its updates, nobody knows."""
    if not page.has_next:
        return safe  # and not the latest update: others may be shown late
    if not resource.is_sortable:
        return None
    updates = (moment for moment in map(_updated_at, page.nodes) if moment is not None)
    return min(safe, max(updates, default=safe))


def _updated_at(node: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(node.get("updatedAt")))
    except ValueError:
        return None


def _note_error(tenant: Tenant, resource: Resource, error: Exception) -> None:
    with tenants.write(tenant.id) as write:
        if watermarks.note_error(write, resource.name, str(error)):
            record(write, Level.ERROR, "catch-up", f"{resource.name} cannot be caught up: {error}")


def _ask(tenant: Tenant, resource: Resource, cursor: str | None, query: str | None) -> Page:
    return shops.ask(
        tenant,
        lambda client: client.page(resource, cursor, sort="UPDATED_AT", search=query),
        cost=resource.page_cost,
        spent=lambda page: page.cost,
        reserve=RESERVE,
    )


def _write(tenant: Tenant, resource: Resource, page: Page, *, safe: datetime) -> None:
    """The rows and the watermark, in one transaction."""
    rows, rejected = resource.rows(page.nodes)
    with tenants.write(tenant.id) as write:
        origin = Origin(read_at=page.read_at)
        stored = store(write, resource.name, rows, origin, source="catch-up")
        for refusal in rejected:
            quarantine_rejected(write, refusal, source="catch-up", origin=origin)
        lost = _lost(rows, stored.mended, page.read_at)
        if lost:
            told = f"{len(lost)} {resource.name} mended that no webhook had told of: {_some(lost)}"
            record(write, Level.WARNING, "catch-up", told)
            logger.warning("%s: %s", tenant.shop_domain, told)
        reached = _reached(resource, page, safe)
        if reached is None:
            watermarks.pause(write, resource.name, cursor=page.end_cursor, reaches=safe, repairs=len(lost))
        else:
            watermarks.raise_to(write, resource.name, reached, repairs=len(lost))
    fetches.enqueue(tenant.id, stored.fetches)


def _lost(rows: Iterable[Row], mended: frozenset[int], read_at: datetime) -> list[int]:
    before = read_at - LOST_AFTER
    return [row.shopify_id for row in rows if row.shopify_id in mended and row.updated_at and row.updated_at < before]


def _some(ids: list[int]) -> str:
    return ", ".join(map(str, ids[:10])) + (", …" if len(ids) > 10 else "")


broker.cron("catch-up", "0 * * * * *", catch_up_all.message())
