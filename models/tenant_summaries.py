"""What an administrator sees of a shop: its state and its last signs of life, in one query and without any secret."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlmodel import Session

from models.tenants import TenantStatus


@dataclass(frozen=True, slots=True)
class TenantSummary:
    """A shop that is not being erased. ``quarantined`` counts what could not be stored and still is not."""

    id: uuid.UUID
    shop_domain: str
    status: TenantStatus
    unauthorized_since: datetime | None
    unreachable_since: datetime | None
    name: str | None
    currency: str | None
    timezone: str
    plan: str | None
    scopes: Sequence[str]
    missing_topics: Sequence[str]
    has_access_token: bool
    has_client_credentials: bool
    has_webhook_secret: bool
    created_at: datetime
    last_webhook_at: datetime | None
    #: When the newest run ended, or began if it is running.
    last_sync_at: datetime | None
    last_sync_status: str | None
    quarantined: int

    @property
    def state(self) -> str:
        """The status; of an active shop that Shopify does not serve us, the reason for it."""
        if self.status != TenantStatus.ACTIVE:
            return str(self.status)
        if self.unauthorized_since is not None:
            return "needs_reauthorization"
        return "unreachable" if self.unreachable_since is not None else "active"


_SUMMARIES = """
select tenants.id, shop_domain, tenants.status, unauthorized_since, unreachable_since,
       name, currency, timezone, plan, scopes, missing_topics,
       access_token is not null and client_id is null, client_id is not null, webhook_secret is not null,
       created_at, newest_webhook.received_at, coalesce(newest_run.finished_at, newest_run.started_at), newest_run.status,
       (select count(*) from quarantine where tenant_id = tenants.id and resolved_at is null)
from tenants
left join lateral (  -- each the first entry of an index: no scan grows with a shop's history
    select received_at from webhook_deliveries where tenant_id = tenants.id order by received_at desc limit 1
) as newest_webhook on true
left join lateral (
    select status, started_at, finished_at from sync_runs where tenant_id = tenants.id order by started_at desc limit 1
) as newest_run on true
where tenants.status <> 'erasing'
  and (cast(:id as uuid) is null or tenants.id = :id)
  and (cast(:after as text) is null or shop_domain > :after)
order by shop_domain
limit :limit
"""


def page(session: Session, *, after: str | None, limit: int) -> list[TenantSummary]:
    """Shops by domain, those after ``after``."""
    return _read(session, tenant_id=None, after=after, limit=limit)


def of(session: Session, tenant_id: uuid.UUID) -> TenantSummary | None:
    return next(iter(_read(session, tenant_id=tenant_id, after=None, limit=1)), None)


def _read(session: Session, *, tenant_id: uuid.UUID | None, after: str | None, limit: int) -> list[TenantSummary]:
    rows = session.execute(text(_SUMMARIES), {"id": tenant_id, "after": after, "limit": limit})
    return [TenantSummary(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Census:
    """How many tenants there are by status, and how many rows of all of them are in quarantine."""

    by_status: dict[str, int]
    quarantined: int


def census(session: Session) -> Census:
    """For the metrics; tenants that are being erased are counted as such."""
    counts = dict.fromkeys(map(str, TenantStatus), 0)
    for row in session.execute(text("select status, count(*) as tenants from tenants group by status")):
        counts[row.status] = row.tenants
    quarantined = session.execute(text("select count(*) from quarantine where resolved_at is null")).scalar_one()
    return Census(by_status=counts, quarantined=int(quarantined))
