"""What a step of a sync does while a bulk operation reads the history: start it, look after it, write its file.

The file is written in slices of whole resources. A slice, the byte that follows it and the progress are one transaction;
nothing of the file is kept anywhere else. Whatever is wrong with an operation ends it: the next is started, and after some
the history is read page by page, which needs nothing but time.
"""

import logging
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic

from models import bulk_operations, refetches, tenants
from models.bulk_operations import BulkOperation
from models.columns import now
from models.database import transaction
from models.event_log import Level, record
from models.incoming import Incoming
from models.sync_runs import Mode, Stage, SyncCheckpoint
from models.tenants import Write
from models.versions import Origin
from shopify import bulk, bulk_file
from shopify.bulk import BulkStatus
from shopify.bulk_file import Slice
from shopify.errors import (
    AccessDenied,
    BulkOperationInProgress,
    FileInvalid,
    LinkExpired,
    QueryRefused,
    ShopUnavailable,
)
from shopify.resource import PAGE_SIZE, Resource
from shopify.row import Row, RowRejected
from tasks import shops
from tasks.connection import broker
from tasks.shops import RESERVE
from tasks.store import Fetch, quarantine_rejected, ready, store
from tasks.sync_work import Done, Work, current, filter_of, quarantine_rows, scope_of

logger = logging.getLogger(__name__)

#: Seconds that a history may take page by page before a bulk operation, which takes a minute for any, is the better way.
LONGEST_BY_PAGES = 120.0
#: Seconds of one page, however much the shop allows: the exchange, and the rows.
SECONDS_OF_A_PAGE = 1.0
#: Between two looks at an operation: a quarter of the time that it has taken, within these bounds.
SHORTEST_LOOK, LONGEST_LOOK = timedelta(seconds=1), timedelta(seconds=30)
#: Until an operation is asked for again where five others run.
SLOT_LOOK = timedelta(seconds=30)
#: An operation that has found nothing new for so long is given up, and so is waiting for others to end.
STUCK_AFTER = timedelta(hours=2)
#: Operations started for one history before it is read page by page.
MOST_OPERATIONS = 3
#: Tries in a row to read a file that got nothing, before another operation is started: over a quarter of an hour, since the
#: file stays for days.
MOST_VAIN_READS = 30
#: Seconds of one step of reading: a thread's turn, far less than a run may be silent.
READING = 10.0
#: Until a file that was cut off is read on.
READ_AGAIN = timedelta(seconds=2)
#: Ids read at once of what a file told only in part. An answer holds all lists of each.
DETAILS_AT_ONCE = 50


def is_worth_it(work: Work, count: int | None) -> bool:
    """Whether the history of ``count`` resources is read by a bulk operation. None: nobody knows how many there are."""
    if work.run.mode != Mode.AUTO or not work.run.is_full:
        return work.run.mode == Mode.BULK
    if count is None:
        return False
    pages = -(-count // PAGE_SIZE)
    of_a_page = max(work.resource.page_cost / shops.restore_rate(work.tenant), SECONDS_OF_A_PAGE)
    return pages * of_a_page > LONGEST_BY_PAGES


def step(work: Work) -> Done:
    """Start an operation, look whether it has ended, or write a part of its file."""
    with transaction() as session:
        operation = bulk_operations.get(session, work.run.id, work.resource.name)
    if operation is None or operation.operation_id is None:
        return _start(work, operation)
    operation_id = operation.operation_id
    try:
        told = shops.ask(
            work.tenant, lambda client: client.bulk_operation(operation_id), cost=bulk.QUERY_COST, reserve=RESERVE
        )
    except QueryRefused as refusal:
        return _read_pages_instead(work, str(refusal))
    if told is None:
        return _give_up(work, "Shopify does not know it any more")
    if told.status in bulk.UNDER_WAY:
        return _look_again(work, told)
    if told.error_code == "ACCESS_DENIED":
        raise AccessDenied("the bulk operation may not see what was asked for", scopes=[work.resource.scope])
    if told.status != BulkStatus.COMPLETED:
        return _give_up(work, f"it ended {told.status.lower()}{f' ({told.error_code})' if told.error_code else ''}")
    return _read(work, operation, told)


# --- the operation ---------------------------------------------------------------------------------------------------


def _start(work: Work, operation: BulkOperation | None) -> Done:
    if operation is not None and operation.failures >= MOST_OPERATIONS:
        return _read_pages_instead(work, "bulk operations failed again and again")
    asked_at = now()
    try:
        operation_id = shops.ask(
            work.tenant,
            lambda client: client.start_bulk(work.resource, filter_of(scope_of(work.run, work.tenant))),
            cost=bulk.MUTATION_COST,
            reserve=RESERVE,
        )
    except BulkOperationInProgress:
        return _await_slot(work)
    except QueryRefused as refusal:
        return _read_pages_instead(work, str(refusal))
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        begun = _operation(write, work)
        bulk_operations.renew(begun)
        begun.operation_id, begun.asked_at = operation_id, asked_at
        checkpoint.step += 1
        record(write, Level.INFO, "sync", f"{work.resource.name}: Shopify was asked for a file of the whole history")
        return Done(work.tenant.id, checkpoint.step, SHORTEST_LOOK)


def _operation(write: Write, work: Work) -> BulkOperation:
    operation = bulk_operations.get(write.session, work.run.id, work.resource.name, for_update=True)
    if operation is None:
        operation = BulkOperation(run_id=work.run.id, resource=work.resource.name)
        write.session.add(operation)
    return operation


def _await_slot(work: Work) -> Done:
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        operation = _operation(write, work)
        if operation.grew_at > now() - STUCK_AFTER:
            return Done(work.tenant.id, checkpoint.step, SLOT_LOOK)
    return _read_pages_instead(work, "other bulk operations of this app do not end")


def _look_again(work: Work, told: bulk.BulkOperation) -> Done:
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        operation = _operation(write, work)
        if (told.object_count or 0) > operation.object_count:
            operation.object_count, operation.grew_at = told.object_count or 0, now()
        taken = now() - operation.asked_at
        if operation.grew_at > now() - STUCK_AFTER:
            return Done(work.tenant.id, checkpoint.step, min(max(taken / 4, SHORTEST_LOOK), LONGEST_LOOK))
    shops.ask(work.tenant, lambda client: client.cancel_bulk(told.id), cost=bulk.MUTATION_COST)
    return _give_up(work, f"it has found nothing new for {STUCK_AFTER}")


def _give_up(work: Work, reason: str) -> Done:
    """Start another one, a little later each time."""
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        operation = _operation(write, work)
        operation.failures += 1
        bulk_operations.renew(operation)
        checkpoint.step += 1
        record(write, Level.WARNING, "sync", f"{work.resource.name}: the bulk operation is of no use: {reason}")
        return Done(work.tenant.id, checkpoint.step, min(SHORTEST_LOOK * 5**operation.failures, LONGEST_LOOK))


def _read_pages_instead(work: Work, reason: str) -> Done:
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        checkpoint.stage = Stage.HISTORY if work.run.is_full else Stage.CHANGES
        checkpoint.step += 1
        record(write, Level.WARNING, "sync", f"{work.resource.name} will be read page by page: {reason}")
        return Done(work.tenant.id, checkpoint.step)


# --- the file --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """A slice, mapped and made ready."""

    rows: list[Row]
    made_ready: list[Incoming]
    rejected: list[RowRejected]
    objects: int
    end: int


def _read(work: Work, operation: BulkOperation, told: bulk.BulkOperation) -> Done:
    """Write the file from where the last step left it, for as long as a step may take."""
    if told.url is None:
        return _finish(work, operation, told)
    ends = monotonic() + READING
    origin = Origin(read_at=operation.asked_at, run_id=work.run.id, is_bulk=True)
    begun_at = operation.next_byte
    try:
        with bulk_file.download(told.url, start=begun_at) as chunks:
            slices = bulk_file.slices(work.resource, chunks, start=begun_at, size=told.file_size)
            with closing(_parts(work.resource, slices, origin)) as parts:
                for part in parts:
                    moved = _write(work, operation, part, origin)
                    if moved is None:
                        return Done(work.tenant.id)
                    operation = moved
                    broker.note_progress()
                    if monotonic() > ends or broker.is_stopping():
                        return _go_on(work)
    except FileInvalid as error:
        return _give_up(work, str(error))
    except (LinkExpired, ShopUnavailable) as error:
        return _read_again(work, str(error), is_vain=operation.next_byte == begun_at)
    return _finish(work, operation, told)


def _parts(resource: Resource, slices: Iterator[Slice], origin: Origin) -> Generator[_Part]:
    """The file's slices, each read and made ready by a thread of its own while Postgres writes the one before."""

    def following() -> _Part | None:
        found = next(slices, None)
        if found is None:
            return None
        rows, rejected = resource.rows_of_file(found.resources)
        return _Part(rows, ready(resource.name, rows, origin), rejected, found.objects, found.end)

    with ThreadPoolExecutor(1, thread_name_prefix="bulk-file") as thread:
        ahead = thread.submit(following)
        while (part := ahead.result()) is not None:
            ahead = thread.submit(following)
            yield part


def _write(work: Work, operation: BulkOperation, part: _Part, origin: Origin) -> BulkOperation | None:
    """A slice and how far the file has come, in one transaction. None: somebody else writes it, or the run has ended."""
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        moved = bulk_operations.get(write.session, work.run.id, work.resource.name, for_update=True)
        if checkpoint is None or moved is None:
            return None
        if (moved.operation_id, moved.next_byte) != (operation.operation_id, operation.next_byte):
            return None
        stored = store(write, work.resource.name, part.rows, origin, source="sync", made_ready=part.made_ready)
        checkpoint.done += stored.new_to_run + quarantine_rows(write, work, part.rejected, origin)
        moved.next_byte, moved.vain_reads = part.end, 0
        moved.objects += part.objects
        return moved


def _go_on(work: Work) -> Done:
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        _leave(checkpoint)
        return Done(work.tenant.id, checkpoint.step)


def _leave(checkpoint: SyncCheckpoint) -> None:
    """On from a step that two messages may be for, the look that was due and the webhook's: the other finds no successor."""
    checkpoint.step += 2


def _read_again(work: Work, reason: str, *, is_vain: bool) -> Done:
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        operation = _operation(write, work)
        operation.vain_reads += is_vain
        if operation.vain_reads < MOST_VAIN_READS:
            logger.info("%s: the file of %s will be read on: %s", work.tenant.shop_domain, work.resource.name, reason)
            return Done(work.tenant.id, checkpoint.step, min(READ_AGAIN * 2**operation.vain_reads, LONGEST_LOOK))
    return _give_up(work, reason)


def _finish(work: Work, operation: BulkOperation, told: bulk.BulkOperation) -> Done:
    if told.object_count is not None and operation.objects != told.object_count:
        return _give_up(work, f"its file holds {operation.objects} of {told.object_count} objects")
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        checkpoint.stage, checkpoint.cursor = Stage.DETAILS, None
        _leave(checkpoint)
        record(write, Level.INFO, "sync", f"{work.resource.name}: the file of {operation.objects} objects was read")
        return Done(work.tenant.id, checkpoint.step)


# --- what the file told in part --------------------------------------------------------------------------------------


def read_details(work: Work) -> Done:
    """Read, many at once, what a bulk operation can tell only in part, and versions that could not be told apart."""
    resource = work.resource
    with transaction() as session:
        above = int(work.checkpoint.cursor or 0)
        ids = refetches.of(session, work.tenant.id, resource.name, above=above, limit=DETAILS_AT_ONCE)
    if not ids:
        return _end_details(work)
    try:
        found = shops.ask(
            work.tenant,
            lambda client: client.nodes(resource, ids),
            cost=resource.node_cost,
            spent=lambda nodes: nodes.cost,
            reserve=RESERVE,
        )
    except QueryRefused as refusal:
        return _end_details(work, f"{resource.name} cannot be fetched together, but one by one: {refusal}")
    rows, rejected = resource.rows(found.nodes)
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        origin = Origin(read_at=found.read_at)
        stored = store(write, resource.name, rows, origin, source="sync")
        for each in rejected:
            quarantine_rejected(write, each, source="sync", origin=origin)
        missing = set(ids) - {row.shopify_id for row in rows}
        checkpoint.cursor = str(max(ids))
        checkpoint.step += 1
        fetches = (*stored.fetches, *(Fetch(resource.name, each) for each in sorted(missing)))
        return Done(work.tenant.id, checkpoint.step, fetches=fetches)


def _end_details(work: Work, warning: str | None = None) -> Done:
    with tenants.write(work.tenant.id) as write:
        checkpoint = current(write, work)
        if checkpoint is None:
            return Done(work.tenant.id)
        if warning is not None:
            record(write, Level.WARNING, "sync", warning)
            refetches.release(write.session, write.tenant.id, work.resource.name)
        checkpoint.stage = Stage.CHANGES if work.run.is_full else Stage.COUNT
        checkpoint.cursor = None
        checkpoint.step += 1
        return Done(work.tenant.id, checkpoint.step)
