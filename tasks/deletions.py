"""Deletions that no webhook told of, found quickly: the shop's events name them, and each is looked up by its id.

A help, no proof: events come late and are not sure for every resource. What they leave out the days' counts find.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from models import known, refetches, tenants, watermarks
from models.columns import now
from models.database import transaction
from models.event_log import Level, record
from models.resources import TABLES
from models.tenants import Tenant
from shopify.deletions import KINDS, PAGE_COST, Deletions
from shopify.errors import AccessDenied, QueryRefused
from shopify.resource import Resource
from tasks import fetches, shops
from tasks.shops import RESERVE
from tasks.store import Fetch

logger = logging.getLogger(__name__)

#: How late an event may be told.
LATE = timedelta(minutes=15)
#: A webhook that has not come by then counts as lost: retries and our own queue take seconds to minutes.
LOST_AFTER = timedelta(minutes=10)
#: Pages of one look; what is left is the next one's.
MOST_PAGES = 40
#: Until a shop that refuses to show its events is asked again.
REFUSED_FOR = timedelta(days=1)
#: Ids of a page that are fetched at once; the marks of more are worked by the sweep.
FETCHED_AT_ONCE = 100


def look(tenant: Tenant, resource: Resource) -> None:
    """Have looked up what was deleted since the last look and is alive here. A shop that refuses is told of once.

    Raises Postponed, CredentialsRefused, TenantInactive.
    """
    if resource.gid_kind not in KINDS:
        return
    with transaction() as session:
        mark = watermarks.get(session, tenant.id, resource.name)
    if mark is None or (mark.deletions_refused_at is not None and mark.deletions_refused_at > now() - REFUSED_FOR):
        return
    begun = now()
    try:
        found = find(tenant, resource, mark.deletions_until)
    except (AccessDenied, QueryRefused) as error:
        _note_refusal(tenant, resource, error)
        return
    with tenants.write(tenant.id) as write:
        watermarks.note_deletions(write, resource.name, found.reached or begun - LATE)


@dataclass(frozen=True, slots=True)
class Found:
    #: How many were alive here and are looked up.
    here: int
    #: How far the events were read. None: to their end.
    reached: datetime | None


def find(tenant: Tenant, resource: Resource, since: datetime) -> Found:
    """Have looked up what was deleted since then and is alive here.

    Raises what ``shops.ask`` raises, and TenantInactive.
    """
    cursor, reached, here = None, since, 0
    for _ in range(MOST_PAGES):
        page = _ask(tenant, resource, cursor, since)
        here += _mark(tenant, resource, page)
        if not page.has_next:
            return Found(here, None)
        cursor, reached = page.end_cursor, max(page.deleted_at.values(), default=reached)
    return Found(here, reached)


def _ask(tenant: Tenant, resource: Resource, cursor: str | None, since: datetime) -> Deletions:
    return shops.ask(
        tenant,
        lambda client: client.deletions(resource, cursor, since),
        cost=PAGE_COST,
        spent=lambda page: page.cost,
        reserve=RESERVE,
    )


def _mark(tenant: Tenant, resource: Resource, page: Deletions) -> int:
    before = now() - LOST_AFTER
    with tenants.write(tenant.id) as write:
        here = sorted(known.alive(write, TABLES[resource.name], page.deleted_at))
        lost = [shopify_id for shopify_id in here if page.deleted_at[shopify_id] < before]
        refetches.mark(write, resource.name, here, "the shop's events say that it was deleted")
        refetches.mark(write, resource.name, lost, "the shop's events say that it was deleted", is_lost=True)
        if lost:
            told = f"{len(lost)} {resource.name} were deleted and no webhook had told of it"
            record(write, Level.WARNING, "catch-up", told)
            logger.warning("%s: %s", tenant.shop_domain, told)
    fetches.enqueue(tenant.id, [Fetch(resource.name, shopify_id) for shopify_id in here[:FETCHED_AT_ONCE]])
    return len(here)


def _note_refusal(tenant: Tenant, resource: Resource, error: Exception) -> None:
    with tenants.write(tenant.id) as write:
        if watermarks.refuse_deletions(write, resource.name):
            told = f"deletions of {resource.name} are found by counting alone: {error}"
            record(write, Level.WARNING, "catch-up", told)
