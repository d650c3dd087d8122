"""What a step of a sync does: the shop, a count, a page, or the proof that nothing is missing. A step asks one question.

A full run reads each resource by id up to the moment that it started, then what was updated since, then compares the
distinct ids that it saw with an exact count of the store's; if they differ, what was deleted since is looked up. DESIGN §5.3.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from sqlmodel import Session

import settings
from models import orders, proofs, quarantine, refetches, sync_runs, tenants, watermarks
from models.columns import now
from models.database import transaction
from models.event_log import Level, record
from models.resources import TABLES
from models.seen import Scope, count_seen, unseen
from models.sync_runs import RunStatus, Stage, SyncCheckpoint, SyncRun
from models.tenants import Tenant, TenantInactive, TenantStatus, Write
from models.versions import Origin
from shopify import shop
from shopify.client import Page, SortKey
from shopify.errors import AccessDenied, QueryRefused
from shopify.resources import taken
from shopify.resources.orders import ALL_ORDERS
from tasks import bulk_steps, deletions, shops, subscriptions
from tasks.shops import RESERVE, Postponed
from tasks.store import Fetch, store
from tasks.sync_work import Done, Position, Work, current, filter_of, quarantine_rows, scope_of

#: What was updated shortly before the run started is read again: clocks differ, and Shopify's reads lag.
OVERLAP = timedelta(minutes=1)
#: Waits before the counts are compared again, while a webhook or Shopify's own count may still lag behind.
RECOUNT_DELAYS = (timedelta(seconds=2), timedelta(seconds=10), timedelta(seconds=30))
#: Subscriptions that were looked after so recently need no look before a history is read.
WEBHOOKS_FRESH = timedelta(hours=1)
#: Seconds until a run whose turn has not come asks again.
TURN = 5.0
#: Ids that a full run did not see and that are fetched at once; the marks of more are worked by the sweep.
FETCHED_AT_ONCE = 100


def prepare(position: Position) -> list[tuple[str, int]]:
    """Read the shop. Returns the chains to start: resource and step; none if the run has moved on.

    Its webhooks come first: what happens while the history is read must not be missed.
    """
    run, tenant = _load(position)
    if run is None or tenant is None:
        return []
    if tenant.webhooks_checked_at is None or tenant.webhooks_checked_at < now() - WEBHOOKS_FRESH:
        subscriptions.ensure(tenant)
    with transaction() as session:
        _await_turn(session, run)
    info = shops.ask(tenant, lambda client: client.shop(), cost=shop.QUERY_COST, reserve=RESERVE)
    takes = taken(info.scopes or ())
    if takes.keys() != taken(tenant.scopes).keys():  # of a new shop it is known only now
        subscriptions.ensure(tenant, scopes=info.scopes)
    with tenants.write(tenant.id) as write:
        begun = sync_runs.get(write.session, run.id, for_update=True)
        if begun is None or begun.status != RunStatus.RUNNING or begun.epoch != position.epoch:
            return []
        sync_runs.lock_turns(write.session)  # others may have come meanwhile
        _await_turn(write.session, begun)
        store_shop(write, info)
        if begun.is_of_all:
            sync_runs.take_optional(write.session, begun, takes.keys() - taken(()).keys())
        begun.is_prepared, begun.alive_at = True, now()
        return [(each.resource, each.step) for each in sync_runs.checkpoints(write.session, [run.id])]


def _await_turn(session: Session, run: SyncRun) -> None:
    """Raises Postponed while enough shops' histories are read."""
    if not run.is_full or run.is_prepared:
        return
    if sync_runs.whole_at_work(session) >= settings.load().max_first_syncs:
        raise Postponed(TURN, "enough histories are read now")


def store_shop(write: Write, info: shop.ShopInfo) -> bool:
    """What the shop says of itself, unless something newer is known. A new time zone moves every order's day."""
    tenant = write.tenant
    if info.scopes is not None:  # the token's, not the shop's: a webhook does not tell them
        tenant.scopes = sorted(info.scopes)
    if tenant.shop_updated_at is not None and (info.updated_at is None or info.updated_at < tenant.shop_updated_at):
        return False
    if tenant.timezone != info.timezone:
        orders.rebuild_days(write, info.timezone)
        proofs.forget(write)
    tenant.name, tenant.currency, tenant.timezone, tenant.plan = info.name, info.currency, info.timezone, info.plan
    tenant.shop_updated_at = info.updated_at
    return True


def advance(position: Position, resource: str, step: int) -> Done | None:
    """Carry out ``step`` of a resource, unless it was carried out before. None: the run no longer wants it."""
    run, tenant = _load(position)
    with transaction() as session:
        checkpoint = sync_runs.checkpoint(session, position.run_id, resource)
    if run is None or tenant is None or checkpoint is None or checkpoint.status != RunStatus.RUNNING:
        return None
    if checkpoint.step != step:
        return Done(tenant.id, next_step=checkpoint.step if checkpoint.step == step + 1 else None)
    return _STEPS[checkpoint.stage](Work(tenant, run, checkpoint))


def refuse(position: Position, resource: str, reason: str) -> None:
    """End an optional resource alone, which the shop does not show. That is no lack of a run that nobody named it for."""
    with transaction() as session:
        found = sync_runs.get(session, position.run_id)
    if found is None:
        return
    with tenants.write(found.tenant_id) as write:
        run = sync_runs.get(write.session, position.run_id, for_update=True)
        checkpoint = sync_runs.checkpoint(write.session, position.run_id, resource, for_update=True)
        if run is None or run.status != RunStatus.RUNNING or run.epoch != position.epoch or checkpoint is None:
            return
        if checkpoint.is_optional:
            write.session.delete(checkpoint)
            record(write, Level.WARNING, "sync", f"{resource} left out, since the shop does not show it: {reason}")
        else:
            checkpoint.status, checkpoint.reason, checkpoint.stage = RunStatus.FAILED, reason, Stage.DONE
            record(write, Level.ERROR, "sync", f"{resource} failed: {reason}")
        write.session.flush()
        _finish(write, run)


def _load(position: Position) -> tuple[SyncRun | None, Tenant | None]:
    """The run and its tenant, if the run still wants to be worked in this epoch. Raises TenantInactive."""
    with transaction() as session:
        run = sync_runs.get(session, position.run_id)
        if run is None or run.status != RunStatus.RUNNING or run.epoch != position.epoch:
            return None, None
        tenant = tenants.get(session, run.tenant_id)
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        raise TenantInactive(tenant.status if tenant else None)
    return run, tenant


def _read_total(work: Work) -> Done:
    """What the store counts now, if it does, so that progress can be told."""
    total = None if work.resource.count_query is None else _count(work)
    is_bulk = bulk_steps.is_worth_it(work, total)
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        checkpoint.total = total
        if is_bulk:
            checkpoint.stage = Stage.BULK
        else:
            checkpoint.stage = Stage.HISTORY if work.run.is_full else Stage.CHANGES
        checkpoint.step += 1
        return Done(work.tenant.id, checkpoint.step)


# --- pages -----------------------------------------------------------------------------------------------------------


def _read_page(work: Work) -> Done:
    page = shops.ask(
        work.tenant,
        lambda client: client.page(
            work.resource, work.checkpoint.cursor, sort=_sort(work.checkpoint), search=_page_filter(work)
        ),
        cost=work.resource.page_cost,
        spent=lambda page: page.cost,
        reserve=RESERVE,
    )
    return _write_page(work, page)


def _write_page(work: Work, page: Page) -> Done:
    """The rows and the checkpoint, in one transaction."""
    rows, rejected = work.resource.rows(page.nodes)
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        origin = Origin(read_at=page.read_at, run_id=work.run.id)
        stored = store(write, work.resource.name, rows, origin, source="sync")
        checkpoint.done += stored.new_to_run + quarantine_rows(write, work, rejected, origin)
        if checkpoint.stage == Stage.COUNT:
            checkpoint.listed += len(page.nodes)
            if not page.has_next:
                judged = _judge(write, work, checkpoint, checkpoint.listed)
                return replace(judged, fetches=(*stored.fetches, *judged.fetches))
        _move(checkpoint, page)
        return Done(work.tenant.id, checkpoint.step, fetches=stored.fetches)


def _move(checkpoint: SyncCheckpoint, page: Page) -> None:
    checkpoint.step += 1
    if page.has_next:
        checkpoint.cursor = page.end_cursor
    else:
        checkpoint.cursor = None
        checkpoint.stage = Stage.CHANGES if checkpoint.stage == Stage.HISTORY else Stage.COUNT


def _sort(checkpoint: SyncCheckpoint) -> SortKey:
    return "UPDATED_AT" if checkpoint.stage == Stage.CHANGES else "ID"


def _page_filter(work: Work) -> str | None:
    scope = scope_of(work.run, work.tenant)
    if work.run.is_full and work.checkpoint.stage == Stage.CHANGES:
        scope = Scope(updated_from=work.run.started_at - OVERLAP)
    return filter_of(scope)


# --- the proof -------------------------------------------------------------------------------------------------------


def _compare(work: Work) -> Done:
    """Compare what was seen with the store's exact count. Where it does not count, its list is read a second time."""
    if work.resource.count_query is None:
        return _read_page(work)
    has_deleted = _look_for_the_deleted(work)
    count = _count(work)
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        return _judge(write, work, checkpoint, count, has_deleted=has_deleted)


def _judge(write: Write, work: Work, checkpoint: SyncCheckpoint, count: int, *, has_deleted: bool = False) -> Done:
    """Equal ends the resource, else it is read and counted again."""
    seen = count_seen(write, TABLES[work.resource.name], work.run.id, scope_of(work.run, work.tenant))
    seen += quarantine.seen_in_run(write, work.resource.name, work.run.id)
    checkpoint.total = max(count, checkpoint.done)
    is_last = checkpoint.recounts >= len(RECOUNT_DELAYS)
    if seen == count and (is_last or not has_deleted):  # else what is missing may make up for what was deleted
        return _end(write, work, checkpoint, RunStatus.COMPLETED, None)
    if not is_last:
        delay = RECOUNT_DELAYS[checkpoint.recounts]
        checkpoint.recounts += 1
        checkpoint.step += 1
        checkpoint.stage, checkpoint.cursor, checkpoint.listed = Stage.CHANGES, None, 0
        return Done(work.tenant.id, checkpoint.step, delay)
    counts = "counts" if work.resource.count_query is not None else "lists"
    reason = f"the store {counts} {count}, the sync saw {seen}"
    return _end(write, work, checkpoint, RunStatus.INCOMPLETE, reason)


def _end(write: Write, work: Work, checkpoint: SyncCheckpoint, status: RunStatus, reason: str | None) -> Done:
    is_proved = status == RunStatus.COMPLETED
    if work.resource.name == "orders" and ALL_ORDERS not in write.tenant.scopes:
        limited = "history limited to 60 days: the token lacks read_all_orders"
        status, reason = RunStatus.INCOMPLETE, f"{limited}; {reason}" if reason else limited
    checkpoint.status, checkpoint.reason, checkpoint.stage = status, reason, Stage.DONE
    checkpoint.step += 1
    level = Level.INFO if status == RunStatus.COMPLETED else Level.WARNING
    record(
        write, level, "sync", f"{checkpoint.resource} {status}: {checkpoint.done} read{f', {reason}' if reason else ''}"
    )
    if work.run.is_full:
        until = work.run.started_at - OVERLAP
        (watermarks.raise_to if is_proved else watermarks.begin)(write, work.resource.name, until)
    fetches = _look_for_the_gone(write, work) if status == RunStatus.COMPLETED and work.run.is_full else ()
    write.session.flush()
    run = sync_runs.get(write.session, work.run.id)
    if run is not None:
        _finish(write, run)
    return Done(work.tenant.id, fetches=fetches)


def _finish(write: Write, run: SyncRun) -> None:
    """End the run if its last resource has ended."""
    if sync_runs.finish_when_all_ended(write.session, run):
        level = Level.INFO if run.status == RunStatus.COMPLETED else Level.WARNING
        record(write, level, "sync", f"sync {run.status}{f': {run.error}' if run.error else ''}")


def _look_for_the_deleted(work: Work) -> bool:
    """Whether something was deleted since the start that is alive here: it will be gone at the next count.

    Asked after a count that differed, and not while the shop fails: it may fail at this question alone.
    """
    if not work.checkpoint.recounts or work.tenant.unreachable_since is not None:
        return False
    try:
        return deletions.find(work.tenant, work.resource, work.run.started_at - OVERLAP).here > 0
    except (AccessDenied, QueryRefused):
        return False  # the counts of its days find it later


def _look_for_the_gone(write: Write, work: Work) -> tuple[Fetch, ...]:
    """What is alive here and was not seen in the whole store was deleted there: each is looked up by id."""
    scope = scope_of(work.run, work.tenant)
    name = work.resource.name
    gone = unseen(write, TABLES[name], work.run.id, scope, stored_before=work.run.started_at)
    refetches.mark(write, name, gone, "a full sync did not see it")
    return tuple(Fetch(name, shopify_id) for shopify_id in gone[:FETCHED_AT_ONCE])


def _count(work: Work) -> int:
    query = filter_of(scope_of(work.run, work.tenant))
    return shops.ask(
        work.tenant,
        lambda client: client.count(work.resource, query),
        cost=work.resource.count_cost,
        reserve=RESERVE,
    )


_STEPS: Mapping[Stage, Callable[[Work], Done]] = {
    Stage.TOTAL: _read_total,
    Stage.BULK: bulk_steps.step,
    Stage.DETAILS: bulk_steps.read_details,
    Stage.HISTORY: _read_page,
    Stage.CHANGES: _read_page,
    Stage.COUNT: _compare,
}
