"""Proving that nothing is missing: the store counts every day of every resource, and so do we.

A resource's days are counted one by one once its history is here, the last ones again daily and all within a week. Days
on which we have nothing are counted together: if the store has nothing either, that holds for each of them. Where a day
differs its ids are compared, and what was lost is fetched. What is younger than ten minutes is left to webhooks.
"""

import logging
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import dramatiq

from models import proofs, refetches, tenants, watermarks
from models.columns import now
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.proofs import Finding, Ours, Span
from models.tenants import Tenant, TenantInactive, TenantStatus, Write
from shopify import counts, listings, search
from shopify.errors import AccessDenied, QueryRefused
from shopify.listings import Listing
from shopify.resource import Resource
from shopify.resources import RESOURCES
from shopify.resources.orders import ALL_ORDERS
from tasks import fetches, owners, shops
from tasks.connection import broker
from tasks.days import day_of, midnight
from tasks.deletions import LOST_AFTER
from tasks.fetches import VISIBLE_DAYS
from tasks.shops import CredentialsRefused, Postponed
from tasks.store import Fetch

logger = logging.getLogger(__name__)

#: Points kept back from proofs, which wait for everything else.
RESERVE = 500
#: Days that are counted again daily; older ones within OLDER.
RECENT = timedelta(days=7)
DAILY, OLDER = timedelta(days=1), timedelta(days=7)
#: Until a day that differs is looked at again, so often; then daily. What was a webhook under way has come by then.
RECHECK, RECHECKS = LOST_AFTER + timedelta(minutes=1), 3
#: Queries of one minute's look at a shop: a thousand points, of the 6,000 that the smallest plan gives.
MOST_QUERIES = 5
#: Days of one look: more than ten years.
MOST_DAYS = 4_000
#: Pages of a day's ids: 25,000 orders.
MOST_PAGES = 100
#: No history begins before.
EPOCH = date(1970, 1, 1)
#: Ids of a day that are fetched at once; the marks of more are worked by the sweep.
FETCHED_AT_ONCE = 100
#: Milliseconds over which the looks of one minute are spread.
SPREAD = 50_000
#: Milliseconds of one look.
TIME_LIMIT = 300_000

#: Resources that Shopify counts; a sync proves the others by reading them twice.
COUNTED = tuple(name for name, resource in RESOURCES.items() if resource.count_query is not None)

OUT_OF_SIGHT = "history limited to 60 days: the token lacks read_all_orders"


class _Moved(Exception):
    """The shop's days are others since the look began."""


@dataclass(frozen=True, slots=True)
class Days:
    """Days from ``first`` to ``last``, both inclusive. ``first`` is None: all that come before the calendar."""

    first: date | None
    last: date

    def halves(self) -> list["Days"]:
        assert self.first is not None
        middle = self.first + (self.last - self.first) // 2
        return [Days(self.first, middle), Days(middle + timedelta(days=1), self.last)]

    def each(self) -> list[date]:
        assert self.first is not None
        return [self.first + timedelta(days=number) for number in range((self.last - self.first).days + 1)]


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a resource of a shop. ``until``: what was created later is left to webhooks."""

    tenant: Tenant
    resource: Resource
    until: datetime

    @property
    def name(self) -> str:
        return self.resource.name

    def span(self, days: Days) -> Span:
        since = None if days.first is None else midnight(days.first, self.tenant)
        return Span(since, min(midnight(days.last + timedelta(days=1), self.tenant), self.until))

    def check(self, write: Write) -> Write:
        """Raises _Moved when the shop's days are others than this look's."""
        if write.tenant.timezone != self.tenant.timezone:
            raise _Moved
        return write

    @property
    def is_limited(self) -> bool:
        """Whether the token sees the latest days alone."""
        return self.name == "orders" and ALL_ORDERS not in self.tenant.scopes

    def is_hidden(self, day: date) -> bool:
        """Whether the token does not see all of a day."""
        return self.is_limited and midnight(day, self.tenant) <= self.until - VISIBLE_DAYS

    def finding(self, day: date, store_count: int | None, ours: Ours, reason: str | None = None) -> Finding:
        """Of a day that agrees, or cannot be counted."""
        if reason is None and ours.held:
            reason = _quarantined(ours)
        is_recent = midnight(day, self.tenant) > self.until - RECENT
        again = (DAILY if is_recent else OLDER) * random.uniform(0.8, 1.0)  # noqa: S311  spread, no secret
        return Finding(day, store_count, ours.total, reason, due_at=now() + again)


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=0)
def prove_all() -> None:
    """Have those shops looked at of which days are to be counted. Safe to run twice: one look of a shop is queued at a time."""
    with transaction() as session:
        found = proofs.shops_due(session, now(), resources=COUNTED)
    for tenant_id in found:
        prove.send_with_options(args=(str(tenant_id),), delay=(tenant_id.int >> 64) % SPREAD)


@dramatiq.actor(
    queue_name="sync",
    dead_letter_lane=owners.of_first_argument,
    unique=True,
    unique_while="queued",
    infrastructure_errors=OUTAGES,
    max_retries=0,
    time_limit=TIME_LIMIT,
)
def prove(tenant_id: str) -> None:
    """Count some of a shop's days that are due. Safe to run twice, and to be lost: what is due stays due."""
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE or tenant.unreachable_since is not None:
        return  # what is away is tried by what cannot wait
    with transaction() as session:
        names = [mark.resource for mark in watermarks.of(session, tenant.id) if mark.resource in COUNTED]
    queries = MOST_QUERIES
    try:
        for name in names:
            until = (now() - LOST_AFTER).replace(microsecond=0)
            queries -= _prove(Look(tenant, RESOURCES[name], until), queries)
    except (Postponed, TenantInactive, CredentialsRefused, _Moved):
        return  # the next minute's look goes on


def _prove(look: Look, most_queries: int) -> int:
    """Count what is due, within so many queries. Returns how many it took."""
    todo, queries = _due(look) if most_queries > 0 else [], 0
    while todo and queries < most_queries and not broker.is_stopping():
        batch, todo = todo[: counts.MOST], todo[counts.MOST :]
        queries += 1
        try:
            numbers = _count(look, batch)
            compared = _compare(look, batch, numbers)
            for day in compared.differing:
                if broker.is_stopping():
                    return queries
                queries += _mend(look, day)
        except (AccessDenied, QueryRefused) as error:
            _note_refusal(look, error)
            break
        todo = compared.halves + todo
    return queries


def _due(look: Look) -> list[Days]:
    """The days to be counted: those on which we have something one by one, the others together."""
    with tenants.write(look.tenant.id) as write:
        look.check(write)
        today = day_of(look.until, look.tenant)
        oldest = proofs.oldest(write, look.name)
        first = min(today, max(EPOCH, day_of(oldest, look.tenant))) if oldest else today
        if look.is_limited:  # there may be more than is seen, and the calendar tells so
            first = min(first, day_of(look.until - VISIBLE_DAYS, look.tenant))
        first = proofs.extend(write, look.name, first=first, last=today)
        due = proofs.due(write, look.name, limit=MOST_DAYS)
        settled = _settle(write, look, due)
        todo = [day for day in due if day not in settled]
        empty = dict(
            zip(todo, proofs.are_empty(write, look.name, [look.span(Days(day, day)) for day in todo]), strict=True)
        )
    spans = _together(todo, empty)
    if first in empty:
        spans.insert(0, Days(None, first - timedelta(days=1)))
    return spans


def _settle(write: Write, look: Look, due: Sequence[date]) -> set[date]:
    """Note the days that need no count: those out of the token's sight, and those that the zone left out or only began."""
    hidden = [day for day in due if look.is_hidden(day)]
    ours = proofs.ours(write, look.name, [look.span(Days(day, day)) for day in hidden])
    findings = [look.finding(day, None, own, OUT_OF_SIGHT) for day, own in zip(hidden, ours, strict=True)]
    moments = [day for day in due if look.span(Days(day, day)).before <= midnight(day, look.tenant)]
    findings += [look.finding(day, 0, Ours(0, 0)) for day in moments if midnight(day, look.tenant) < look.until]
    proofs.note(write, look.name, findings)
    return {*hidden, *moments}


def _together(due: Sequence[date], empty: Mapping[date, bool]) -> list[Days]:
    spans: list[Days] = []
    for day in due:
        is_next = bool(spans) and spans[-1].last == day - timedelta(days=1)
        if is_next and empty[day] and empty[spans[-1].last]:
            spans[-1] = Days(spans[-1].first, day)
        else:
            spans.append(Days(day, day))
    return spans


def _count(look: Look, batch: Sequence[Days]) -> list[int | None]:
    spans = [look.span(days) for days in batch]
    searches = [search.created(since=span.since, before=span.before) or "" for span in spans]
    found = shops.ask(
        look.tenant,
        lambda client: client.counts(look.resource, searches),
        cost=counts.cost_of(len(searches)),
        spent=lambda answer: answer.cost,
        reserve=RESERVE,
    )
    return found.numbers


@dataclass(frozen=True, slots=True)
class _Compared:
    #: Days whose counts differ.
    differing: list[date]
    #: Of what we have nothing and the store has something: to be counted in halves.
    halves: list[Days]


def _compare(look: Look, batch: Sequence[Days], numbers: Sequence[int | None]) -> _Compared:
    findings: list[Finding] = []
    differing: list[date] = []
    halves: list[Days] = []
    with tenants.write(look.tenant.id) as write:
        look.check(write)
        ours = proofs.ours(write, look.name, [look.span(days) for days in batch])
        for days, number, own in zip(batch, numbers, ours, strict=True):
            if days.first is None:
                if number != own.total and days.last > EPOCH:  # there is more: a year more of calendar
                    proofs.extend(write, look.name, first=max(EPOCH, days.last - timedelta(days=364)), last=days.last)
            elif number is not None and number == own.total and (days.first == days.last or not number):
                findings += [look.finding(day, number, own) for day in days.each()]
            elif days.first < days.last:
                halves += days.halves()
            elif number is None:
                findings.append(look.finding(days.first, None, own, "the shop does not count them exactly"))
            else:
                differing.append(days.first)
        proofs.note(write, look.name, findings)
    return _Compared(differing, halves)


def _note_refusal(look: Look, error: Exception) -> None:
    with tenants.write(look.tenant.id) as write:
        if proofs.refuse(write, look.name, f"the shop does not count them: {error}"[:300], due_at=now() + DAILY):
            record(write, Level.ERROR, "proof", f"{look.name} cannot be proved: {error}")


# --- a day that differs ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Listed:
    """What the store lists of a day. ``is_whole``: all of it."""

    versions: dict[int, datetime | None]
    is_whole: bool
    pages: int


def _mend(look: Look, day: date) -> int:
    """Compare the ids of a day, have fetched what was lost, and count again. Returns how many queries it took."""
    span = look.span(Days(day, day))
    listed = _list(look, span)
    (number,) = _count(look, [Days(day, day)])
    before = now() - LOST_AFTER
    with tenants.write(look.tenant.id) as write:
        look.check(write)
        known = proofs.get(write, look.name, day)
        if known is None:
            raise _Moved
        lacking = proofs.lacking(write, look.name, span, listed.versions, lost_before=before)
        gone = proofs.gone(write, look.name, span, listed.versions) if listed.is_whole else []
        # Those that were missing there ten minutes ago, too: no webhook told of their deletion.
        was_before = known.checked_at is not None and known.checked_at <= before
        deleted = sorted(set(gone) & set(known.suspects)) if was_before else []
        lost = lacking + deleted
        refetches.mark(write, look.name, lost, f"the counts of {day} differ", is_lost=True)
        if lost:
            told = f"{day}: {len(lacking)} {look.name} lost and {len(deleted)} deleted that no webhook had told of"
            record(write, Level.WARNING, "proof", told)
            logger.warning("%s: %s", look.tenant.shop_domain, told)
        (own,) = proofs.ours(write, look.name, [span])
        finding = look.finding(day, number, own, _reason(number, own, listed, lacking=len(lacking), gone=len(gone)))
        if lost or gone or number != own.total:
            due_at = now() + RECHECK if known.differed < RECHECKS else finding.due_at
            suspects = tuple(each for each in gone if each not in deleted)
            finding = replace(finding, due_at=due_at, differs=True, suspects=suspects)
        proofs.note(write, look.name, [finding])
    fetches.enqueue(look.tenant.id, [Fetch(look.name, shopify_id) for shopify_id in lost[:FETCHED_AT_ONCE]])
    return listed.pages + 1


def _reason(number: int | None, own: Ours, listed: _Listed, *, lacking: int, gone: int) -> str | None:
    reasons = []
    if lacking:
        reasons.append(f"{lacking} of the store's {_are(lacking)} missing or outdated here")
    if gone:
        reasons.append(f"{gone} here {_are(gone)} not among the store's")
    if not listed.is_whole:
        reasons.append("there are too many to compare them one by one")
    elif not reasons and number != own.total:
        reasons.append(f"the store counts {number} and lists {len(listed.versions)}")
    if own.held:
        reasons.append(_quarantined(own))
    return "; ".join(reasons) or None


def _quarantined(own: Ours) -> str:
    return f"{own.held} could not be stored and {_are(own.held)} quarantined"


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _list(look: Look, span: Span) -> _Listed:
    """The ids that the store has of a span."""
    versions: dict[int, datetime | None] = {}
    cursor: str | None = None
    query = search.created(since=span.since, before=span.before) or ""
    for number in range(MOST_PAGES):
        page = _ask_listing(look, cursor, query)
        versions |= page.versions
        if not page.has_next:
            return _Listed(versions, is_whole=True, pages=number + 1)
        cursor = page.end_cursor
    return _Listed(versions, is_whole=False, pages=MOST_PAGES)


def _ask_listing(look: Look, cursor: str | None, query: str) -> Listing:
    return shops.ask(
        look.tenant,
        lambda client: client.listing(look.resource, cursor, query),
        cost=listings.PAGE_COST,
        spent=lambda page: page.cost,
        reserve=RESERVE,
    )


broker.cron("prove", "30 * * * * *", prove_all.message())
