"""Writing what Shopify sent: rows that win, children, marks to fetch again, and quarantine for what cannot be stored."""

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import sqlalchemy

from models import customers, forgetting, quarantine, redactions, refetches, versions
from models.event_log import Level, record
from models.incoming import Incoming, incoming
from models.resources import TABLES
from models.tenants import Write
from models.versions import Origin, Outcome
from shopify.row import Row, RowRejected
from shopify.scalars import time as parse_time

#: A read that begins now is not yet settled for a version of this very second; one that waits this long is.
SETTLING = timedelta(seconds=3)
#: Until when a sync sees to what its bulk file told in part: longer than it reads any file.
DETAILED_LATER = timedelta(hours=12)
#: Between two reads of what is on its way: a tenth of the time that it has been so, within these bounds.
PENDING_REREADS = (timedelta(minutes=15), timedelta(days=1))
#: What is on its way for longer is given up.
PENDING_FOR = timedelta(days=60)
_NOTHING = Outcome(frozenset(), frozenset(), 0, frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Fetch:
    """A resource to be fetched by id, ``delay`` from now."""

    resource: str
    shopify_id: int
    delay: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Stored:
    written: frozenset[int]
    fetches: tuple[Fetch, ...]
    #: Ids that the run of the origin had not seen before.
    new_to_run: int
    #: Of those written, the ids that were unknown, or known in an older version.
    mended: frozenset[int]


#: What became of nothing.
NOTHING = Stored(frozenset(), (), 0, frozenset())


def store(
    write: Write,
    resource: str,
    rows: Sequence[Row],
    origin: Origin,
    *,
    source: str,
    by_id: bool = False,
    made_ready: Sequence[Incoming] | None = None,
) -> Stored:
    """Write rows of one resource within the caller's transaction. What cannot be stored costs itself alone.

    ``by_id``: they were fetched one by one, with all that there is of them. ``made_ready``: the rows, if ``ready``
    has been given them.
    """
    outcome = _upsert(write, resource, _versioned(rows), origin, source=source, made_ready=made_ready)
    if resource == "orders" and outcome.stored:
        customers.repoint_orders(write.session, write.tenant.id, sorted(outcome.stored))
    quarantine.resolve(write, resource, outcome.stored)
    in_part = {row.shopify_id for row in rows if not row.is_whole} if origin.is_bulk else frozenset()
    if origin.read_at is not None:
        # A read that lost to something newer lagged behind it, and says nothing of what was to be fetched. Nor does a file that
        # tells a part: the operation or the run before, which marked it, may have ended before its details were read.
        refetches.clear(write, resource, outcome.stored - in_part, read_at=origin.read_at)
    if origin.is_bulk:
        _mark_for_details(write, resource, in_part, outcome)
        marked: tuple[Fetch, ...] = ()
    else:
        marked = _fetches(write, resource, [] if by_id else rows, outcome)
    for row in rows:
        if row.pending_since is not None and row.shopify_id in outcome.stored:
            _read_again(write, resource, row.shopify_id, pending_for=write.at - row.pending_since)
    return Stored(outcome.stored, marked, outcome.new_to_run, outcome.mended)


def ready(resource: str, rows: Sequence[Row], origin: Origin) -> list[Incoming]:
    """Rows made ready to be stored. It needs no connection, and takes half as long as Postgres needs to write them."""
    return incoming(TABLES[resource], _versioned(rows), are_compared=origin.are_compared)


def _versioned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.updated_at is not None]


def _fetches(write: Write, resource: str, rows: Sequence[Row], outcome: Outcome) -> tuple[Fetch, ...]:
    """Mark, and name, what has to be fetched by id: versions that cannot be told apart, and parts of a whole.

    ``rows`` are none after a fetch by id: what that did not give, another would not either.
    """
    partial = [row for row in rows if (not row.is_whole and row.shopify_id in outcome.stored) or row.updated_at is None]
    refetches.mark(write, resource, outcome.ambiguous, "two versions of one second differ")
    for row in partial:
        refetches.mark(write, resource, [row.shopify_id], row.incomplete_because or "the payload has no updated_at")
    settle = [Fetch(resource, shopify_id, SETTLING) for shopify_id in sorted(outcome.ambiguous)]
    whole = [Fetch(resource, row.shopify_id) for row in partial if row.shopify_id not in outcome.ambiguous]
    return tuple(settle + whole)


def _mark_for_details(write: Write, resource: str, in_part: Set[int], outcome: Outcome) -> None:
    """Mark what the sync itself reads again once its file is at its end: there may be a hundred thousand."""
    lacking = in_part & (outcome.mended | outcome.known_by_webhook)
    refetches.mark(write, resource, lacking, refetches.IN_PART, after=DETAILED_LATER)
    refetches.mark(write, resource, outcome.ambiguous, refetches.UNTOLD, after=DETAILED_LATER)


def _read_again(write: Write, resource: str, shopify_id: int, *, pending_for: timedelta) -> None:
    """Shopify tells of the end by a webhook, but a lost one must not leave it on its way for ever."""
    shortest, longest = PENDING_REREADS
    if pending_for < PENDING_FOR:
        refetches.mark_for_later(
            write, resource, shopify_id, due_at=write.at + max(shortest, min(longest, pending_for / 10))
        )


def _upsert(
    write: Write,
    resource: str,
    rows: Sequence[Row],
    origin: Origin,
    *,
    source: str,
    made_ready: Sequence[Incoming] | None = None,
) -> Outcome:
    """Upsert in one statement; if Postgres refuses a value, in halves, until the one row that holds it is found."""
    if not rows:
        return _NOTHING
    try:
        with write.session.begin_nested():
            return versions.upsert(write, TABLES[resource], rows, origin, made_ready=made_ready)
    except sqlalchemy.exc.DataError as error:
        if len(rows) == 1:
            reason = f"Postgres refuses it: {type(error.orig).__name__}"
            refusal = RowRejected(resource, rows[0].shopify_id, reason, dict(rows[0].columns))
            refused = quarantine_rejected(write, refusal, source=source, origin=origin)
            return replace(_NOTHING, new_to_run=int(refused))
    middle = len(rows) // 2
    first = _upsert(write, resource, rows[:middle], origin, source=source)
    second = _upsert(write, resource, rows[middle:], origin, source=source)
    return Outcome(
        first.stored | second.stored,
        first.ambiguous | second.ambiguous,
        first.new_to_run + second.new_to_run,
        first.mended | second.mended,
        first.known_by_webhook | second.known_by_webhook,
    )


def quarantine_rejected(write: Write, refusal: RowRejected, *, source: str, origin: Origin) -> bool:
    """Keep one resource that cannot be stored, and say so where its owner looks. Whether its run met it first now."""
    payload = json.dumps(refusal.payload, default=str)
    if redactions.is_of_marked(write, refusal.resource, refusal.shopify_id, payload):
        payload = forgetting.WITHHELD
    is_new = quarantine.hold(
        write,
        resource=refusal.resource,
        shopify_id=refusal.shopify_id,
        reason=refusal.reason,
        payload=payload,
        source=source,
        run_id=origin.run_id,
        resource_created_at=_created_at(refusal.payload),
    )
    if is_new:
        record(write, Level.ERROR, source, f"quarantined: {refusal}")
    return is_new


def _created_at(payload: object) -> datetime | None:
    """When a resource that cannot be stored was created, as GraphQL, REST or a row of ours say it."""
    if not isinstance(payload, dict):
        return None
    told = payload.get("createdAt") or payload.get("created_at")
    if isinstance(told, datetime):
        return told
    try:
        return parse_time(told)
    except ValueError:
        return None


def bury(write: Write, resource: str, shopify_id: int, *, triggered_at: datetime) -> tuple[Fetch, ...]:
    """Write a tombstone. Where a read after the deletion found the resource alive, it is fetched instead."""
    if versions.bury(write, TABLES[resource], shopify_id, triggered_at=triggered_at):
        quarantine.resolve(write, resource, [shopify_id])
        return ()
    refetches.mark(write, resource, [shopify_id], "a deletion and a read contradict each other")
    return (Fetch(resource, shopify_id),)
