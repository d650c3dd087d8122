"""Kept payloads through today's mapping again, after a mistake in it was mended.

Each goes as the version that it was: it wins over what its own webhook wrote, and over nothing newer or fuller; it raises no
tombstone and names nobody who was redacted.
"""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from models import payloads, refetches, tenants
from models.database import transaction
from models.payloads import Kept
from models.tenants import Write
from models.versions import Origin
from shopify import events
from shopify.errors import PayloadRejected
from shopify.row import Row, RowRejected
from shopify.webhooks import event_of
from tasks import fetches
from tasks.store import Fetch, quarantine_rejected, store

#: Payloads of one transaction.
BATCH = 100
_ORIGIN = Origin(is_replay=True)


@dataclass(frozen=True, slots=True)
class Replayed:
    """How many payloads were read, and how many rows their versions were written into, refused, and asked to be fetched."""

    read: int = 0
    written: int = 0
    refused: int = 0
    fetched: int = 0

    def __add__(self, other: "Replayed") -> "Replayed":
        return Replayed(
            self.read + other.read,
            self.written + other.written,
            self.refused + other.refused,
            self.fetched + other.fetched,
        )


def replay(
    tenant_id: uuid.UUID,
    *,
    resources: Sequence[str] | None = None,
    since: datetime | None = None,
    dry_run: bool = False,
) -> Iterator[Replayed]:
    """Replay a shop's kept payloads in the order in which they came; ``since`` chooses by when. Tells of each batch.

    ``dry_run``: write nothing. Raises TenantInactive.
    """
    after = 0
    while True:
        with transaction() as session:
            batch = payloads.read(session, tenant_id, after=after, resources=resources, since=since, limit=BATCH)
        if not batch:
            return
        done, wanted = _write(tenant_id, batch, dry_run=dry_run)
        if not dry_run:
            fetches.enqueue(tenant_id, wanted)
        yield done
        after = batch[-1].id


def _write(tenant_id: uuid.UUID, batch: Sequence[Kept], *, dry_run: bool) -> tuple[Replayed, list[Fetch]]:
    with tenants.write(tenant_id) as write, write.session.begin_nested() as savepoint:
        done, wanted = Replayed(read=len(batch)), list[Fetch]()
        for kept in batch:
            one, more = _replay(write, kept)
            done += one
            wanted += more
        if dry_run:
            savepoint.rollback()
    return done, wanted


def _replay(write: Write, kept: Kept) -> tuple[Replayed, list[Fetch]]:
    """One by one: several may be versions of one resource, and the newest has to come last."""
    try:
        event = event_of(kept.topic, kept.body, write.tenant.shop_domain)
    except (PayloadRejected, RowRejected) as error:
        refusal = error if isinstance(error, RowRejected) else _refusal(kept, error)
        quarantine_rejected(write, refusal, source="replay", origin=_ORIGIN)
        return Replayed(refused=1), []
    match event:
        case events.Upsert(resource, row):
            version: Row = replace(row, triggered_at=kept.triggered_at)
            stored = store(write, resource, [version], _ORIGIN, source="replay")
            return Replayed(written=len(stored.written), fetched=len(stored.fetches)), list(stored.fetches)
        case events.Fetch(resource, shopify_id, reason):
            refetches.mark(write, resource, [shopify_id], reason)
            return Replayed(fetched=1), [Fetch(resource, shopify_id)]
        case _:
            return Replayed(), []


def _refusal(kept: Kept, error: PayloadRejected) -> RowRejected:
    return RowRejected(kept.topic, kept.shopify_id, error.reason, kept.body.decode("utf-8", "replace"))
