"""What an administrator sees of a shop: its state, its last signs of life and what is wrong, in one query and without any secret."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from models import repairs
from models.columns import now
from models.tenants import TenantStatus

#: Seconds that webhooks may wait until the shop counts as lagging: a burst of a large one is written in less.
LAGGING = 300


class ShopProblem(StrEnum):
    """What may be wrong with a shop, worst first."""

    # _SUMMARIES says when, and why in this order.
    NEEDS_REAUTHORIZATION = "needs_reauthorization"
    UNREACHABLE = "unreachable"
    SYNC_FAILED = "sync_failed"
    DEAD_LETTERS = "dead_letters"
    MISSING_TOPICS = "missing_topics"
    SYNC_INCOMPLETE = "sync_incomplete"
    NEVER_SYNCED = "never_synced"
    QUARANTINED = "quarantined"
    LAGGING = "lagging"
    REPAIRED = "repaired"
    UNINSTALLED = "uninstalled"
    PAUSED = "paused"


#: Those that NATS tells of.
OF_BACKLOGS = frozenset({ShopProblem.DEAD_LETTERS, ShopProblem.LAGGING})


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits and what failed for good. ``owner`` is a tenant or one of its runs.

    ``lag_seconds`` is the age of the oldest webhook that is not written, None where that is unknown.
    """

    owner: uuid.UUID
    dead_letters: int
    lag_seconds: float | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a shop stands when the worst come first; equally bad ones by domain."""

    severity: Sequence[int]
    shop_domain: str


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
    access_token_expires_at: datetime | None
    refresh_token_expires_at: datetime | None
    has_access_token: bool
    has_client_credentials: bool
    has_webhook_secret: bool
    created_at: datetime
    last_webhook_at: datetime | None
    #: When the newest run ended, or began if it is running.
    last_sync_at: datetime | None
    last_sync_status: str | None
    quarantined: int
    repairs_last_week: int
    #: None of these two: NATS does not tell.
    dead_letters: int | None
    lag_seconds: float | None
    #: Worst first.
    problems: Sequence[str]
    #: The problems' places in their order, and 99, so that of two shops with the same worst ones the longer list is smaller.
    severity: Sequence[int]

    @property
    def place(self) -> Place:
        return Place(self.severity, self.shop_domain)

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
       access_token_expires_at, refresh_token_expires_at,
       client_id is null and (access_token is not null or refresh_token is not null) as has_access_token,
       client_id is not null as has_client_credentials, webhook_secret is not null as has_webhook_secret,
       created_at, newest_webhook.received_at as last_webhook_at,
       coalesce(newest_run.finished_at, newest_run.started_at) as last_sync_at, newest_run.status as last_sync_status,
       quarantined.number as quarantined, repaired.number as repairs_last_week,
       backlog.dead_letters, backlog.lag_seconds, problems.names as problems, problems.severity
from tenants
left join lateral (  -- each the first entry of an index: no scan grows with a shop's history
    select received_at from webhook_deliveries where tenant_id = tenants.id order by received_at desc limit 1
) as newest_webhook on true
left join lateral (
    select status, started_at, finished_at from sync_runs where tenant_id = tenants.id order by started_at desc limit 1
) as newest_run on true
cross join lateral (
    select count(*) as number from quarantine where tenant_id = tenants.id and resolved_at is null
) as quarantined
cross join lateral (
    select cast(coalesce(sum(repairs), 0) as bigint) as number from repairs
    where tenant_id = tenants.id and day >= :week_begins
) as repaired
left join (  -- a dead letter of a sync names its run
    select coalesce(sync_runs.tenant_id, told.owner) as tenant_id, sum(told.dead_letters) as dead_letters,
           case when bool_and(told.lag_seconds is not null) then max(told.lag_seconds) end as lag_seconds
    from json_to_recordset(cast(:backlogs as json))
        as told (owner uuid, dead_letters bigint, lag_seconds double precision)
    left join sync_runs on sync_runs.id = told.owner
    group by 1
) as told on told.tenant_id = tenants.id
cross join lateral (  -- who is not among those that have one has none, where it is known
    select case when :is_known then coalesce(cast(told.dead_letters as bigint), 0) end as dead_letters,
           case when :is_known and told.tenant_id is null then 0 else told.lag_seconds end as lag_seconds
) as backlog
cross join lateral (
    select coalesce(array_agg(problem.name order by place), '{}') as names,
           coalesce(array_agg(place order by place), '{}') || 99 as severity
    from (values
        -- Nothing more can be read, until a person gives new credentials; and by itself perhaps.
        (1, 'needs_reauthorization', tenants.status = 'active' and unauthorized_since is not null),
        (2, 'unreachable', tenants.status = 'active' and unreachable_since is not null),
        -- History is missing, and nothing fetches it until a person starts it again.
        (3, 'sync_failed', tenants.status = 'active' and newest_run.status = 'failed'),
        -- Single things were given up, and wait for a person; of a shop that left, too.
        (4, 'dead_letters', backlog.dead_letters > 0),
        -- What the shop does not send is read a quarter of an hour late.
        (5, 'missing_topics', tenants.status = 'active' and missing_topics <> '{}'),
        -- Figures lack something, and say so.
        (6, 'sync_incomplete', tenants.status = 'active' and newest_run.status = 'incomplete'),
        (7, 'never_synced', tenants.status = 'active' and newest_run.status is null),
        (8, 'quarantined', quarantined.number > 0),
        -- It will be right by itself; if it is like that often, something is wrong.
        (9, 'lagging', tenants.status = 'active' and backlog.lag_seconds > :lagging),
        -- It is right again.
        (10, 'repaired', repaired.number > 0),
        -- Somebody wanted it so.
        (11, 'uninstalled', tenants.status = 'uninstalled'),
        (12, 'paused', tenants.status = 'paused')
    ) as problem (place, name, is_there)
    where is_there
) as problems
where tenants.status <> 'erasing'
"""


def page(
    session: Session, backlogs: Sequence[Backlog] | None, *, after: str | None, limit: int | None
) -> list[TenantSummary]:
    """Shops by domain, those after ``after``. ``backlogs``: of whoever has one; None when they are not known."""
    chosen = "" if after is None else "and shop_domain > :after"
    return _read(session, backlogs, f"{chosen} order by shop_domain limit :limit", after=after, limit=limit)


def worst(
    session: Session, backlogs: Sequence[Backlog] | None, *, after: Place | None, limit: int | None
) -> list[TenantSummary]:
    """Shops with the worst problems first, those after ``after``; those without any by domain at the end."""
    chosen, values = "", {}
    if after is not None:
        chosen = "and (severity, shop_domain) > (cast(:severity as integer[]), :after)"
        values = {"severity": list(after.severity), "after": after.shop_domain}
    return _read(session, backlogs, f"{chosen} order by severity, shop_domain limit :limit", limit=limit, **values)


def of(session: Session, backlogs: Sequence[Backlog] | None, tenant_id: uuid.UUID) -> TenantSummary | None:
    return next(iter(_read(session, backlogs, "and tenants.id = :id", id=tenant_id)), None)


def _read(session: Session, backlogs: Sequence[Backlog] | None, choice: str, **values: Any) -> list[TenantSummary]:
    rows = session.execute(text(f"{_SUMMARIES} {choice}"), _values(backlogs) | values)
    return [TenantSummary(*row) for row in rows]


def _values(backlogs: Sequence[Backlog] | None) -> dict[str, Any]:
    told = [asdict(each) | {"owner": str(each.owner)} for each in backlogs or ()]
    return {
        "backlogs": json.dumps(told),
        "is_known": backlogs is not None,
        "lagging": LAGGING,
        "week_begins": repairs.first_day_of_week(now()),
    }


@dataclass(frozen=True, slots=True)
class Census:
    """How many tenants there are by status and by problem, and how many rows of all of them are in quarantine."""

    by_status: dict[str, int]
    #: A tenant counts once for each of its problems. "none": those without any. What is not known is left out.
    by_problem: dict[str, int]
    quarantined: int


_BY_PROBLEM = """
select coalesce(problem, 'none') as problem, count(*) as tenants
from ({summaries}) as summaries left join lateral unnest(problems) as problem on true
group by 1
"""


def census(session: Session, backlogs: Sequence[Backlog] | None) -> Census:
    """For the metrics; tenants that are being erased are counted as such."""
    counts = dict.fromkeys(map(str, TenantStatus), 0)
    for row in session.execute(text("select status, count(*) as tenants from tenants group by status")):
        counts[row.status] = row.tenants
    with_problem = dict.fromkeys([*map(str, ShopProblem), "none"], 0)
    for row in session.execute(text(_BY_PROBLEM.format(summaries=_SUMMARIES)), _values(backlogs)):
        with_problem[row.problem] = row.tenants
    if backlogs is None:
        for unknown in (*OF_BACKLOGS, "none"):
            del with_problem[unknown]
    quarantined = session.execute(text("select count(*) from quarantine where resolved_at is null")).scalar_one()
    return Census(by_status=counts, by_problem=with_problem, quarantined=int(quarantined))
