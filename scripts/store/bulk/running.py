"""One bulk operation from CREATED to its end: a thread that writes the file, with the faults it was given, and the webhook."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from scripts.store import clock
from scripts.store.faults import BULK_ENDS, OPERATIONS, Fault
from scripts.store.shop import Shop

from .operations import LINK_LIFE, BulkOperation, Stopped
from .rendering import Denied, Rendering
from .rules import Invalid

if TYPE_CHECKING:
    from scripts.store.outbox import Outbox

#: Lines between two looks at the clock and at the operation's state.
STRIDE = 200
TOPIC = "bulk_operations/finish"


class End(Exception):
    """The operation ends, before its last line perhaps; ``keeps_file`` whether what is written can be had."""

    def __init__(self, status: str, error_code: str | None = None, *, keeps_file: bool = True) -> None:
        super().__init__(status)
        self.status = status
        self.error_code = error_code
        self.keeps_file = keeps_file


def start(shop: Shop, outbox: "Outbox", query: str, *, groups_objects: bool) -> BulkOperation:
    """Begin an operation; returns it as it is before it runs. Raises rules.Invalid or InProgress."""
    rendering = Rendering(query)
    operation = shop.bulk.create(query, groups_objects=groups_objects)
    work = Work(shop, outbox, operation, rendering, shop.faults.strike(OPERATIONS))
    created = replace(operation)
    shop.bulk.work(work.run, f"bulk-{operation.id}")
    return created


def resume(shop: Shop, outbox: "Outbox") -> None:
    """Begin anew what a stop of the store interrupted."""
    for operation in shop.bulk.all():
        if operation.is_active:
            operation.status, operation.object_count, operation.root_object_count = "CREATED", 0, 0
            try:
                rendering = Rendering(operation.query)
            except Invalid:  # another version of the store took it
                shop.bulk.end(operation, "FAILED", file_size=0, error_code="INTERNAL_SERVER_ERROR")
                continue
            work = Work(shop, outbox, operation, rendering, [])
            shop.bulk.work(work.run, f"bulk-{operation.id}")


class Work:
    """``faults`` are those that hit this operation."""

    def __init__(
        self, shop: Shop, outbox: "Outbox", operation: BulkOperation, rendering: Rendering, faults: list[Fault]
    ) -> None:
        self._shop = shop
        self._outbox = outbox
        self._operation = operation
        self._rendering = rendering
        self._faults = {fault.kind: fault for fault in faults}
        self._bulk = shop.bulk
        hold = self._faults.get("bulk_held")
        self._hold_at = hold.lines if hold else None
        short = self._faults.get("bulk_short")
        self._written = short.lines if short else None
        self._end = next((fault for fault in faults if fault.kind in BULK_ENDS), None)
        self._look_at = 0
        self._began = 0.0

    def run(self) -> None:
        operation = self._operation
        try:
            end = self._run()
        except Stopped:
            return
        except Exception:
            logging.getLogger(__name__).exception("%s broke off", operation.gid)
            end = End("FAILED", "INTERNAL_SERVER_ERROR")
        path = self._bulk.path(operation)
        if not end.keeps_file:
            path.unlink(missing_ok=True)
        size = path.stat().st_size if path.exists() else 0
        life = 0 if "bulk_link_expired" in self._faults else LINK_LIFE
        self._bulk.end(operation, end.status, file_size=size, error_code=end.error_code, link_life=life)
        self._outbox.publish(self._shop, [(TOPIC, self._payload())], at=operation.completed_at or clock.now())

    def _run(self) -> End:
        """How the operation ends."""
        operation = self._operation
        self._bulk.gate.sleep(self._bulk.pace.created_seconds, self._is_canceled)
        if "bulk_never_starts" in self._faults:
            self._bulk.gate.pass_by(operation, self._is_canceled)
        if not self._bulk.begin(operation):
            return End("CANCELED", keeps_file=False)
        try:
            with self._bulk.path(operation).open("wb", buffering=1 << 18) as file:
                self._write(file)
        except Denied:
            return End("FAILED", "ACCESS_DENIED")
        except End as end:
            return end
        return End("COMPLETED")

    def _write(self, file: BinaryIO) -> None:
        """Write the lines. Raises End where a fault or a cancellation ends it."""
        operation = self._operation
        lines = self._rendering.lines(
            self._shop,
            self._outbox,
            is_grouped=operation.groups_objects and "bulk_ungrouped" not in self._faults,
            ungrouped_roots=self._bulk.pace.ungrouped_roots,
        )
        self._began = time.monotonic()
        while True:
            # Before the next line is made, so that it shows what happened while this one was held.
            if operation.object_count >= self._look_at:
                self._look()
            line = next(lines, None)
            if line is None:
                break
            text, is_root = line
            if self._written is None or operation.object_count < self._written:
                file.write(text)
            operation.object_count += 1
            operation.root_object_count += is_root
        self._look(is_last=True)

    def _look(self, *, is_last: bool = False) -> None:
        """Between two lines: be held, be canceled, end, keep the pace. Raises End."""
        operation, bulk = self._operation, self._bulk
        count = operation.object_count
        if self._hold_at is not None and (count >= self._hold_at or is_last):
            more = bulk.gate.pass_by(operation, self._is_canceled)
            self._hold_at = None if more is None else count + more
        if self._is_canceled():
            raise End("CANCELED", keeps_file=False)
        if self._end is not None and (count >= self._end.lines or is_last):
            status = BULK_ENDS[self._end.kind]
            is_failure = status == "FAILED"
            raise End(status, self._end.error_code if is_failure else None, keeps_file=is_failure)
        if bulk.pace.lines_per_second:
            due = self._began + count / bulk.pace.lines_per_second
            bulk.gate.sleep(due - time.monotonic(), self._is_canceled)
        stops = [count + STRIDE]
        stops += [self._hold_at] if self._hold_at is not None else []
        stops += [self._end.lines] if self._end is not None else []
        self._look_at = min(stops)

    def _is_canceled(self) -> bool:
        return self._operation.status == "CANCELING"

    def _payload(self) -> dict[str, str | None]:
        """The finish webhook; its times come with the shop's offset as well as in UTC."""
        operation, zone = self._operation, self._shop.settings.timezone
        shown: Callable[[int | None], str | None] = clock.utc
        if operation.id % 2:
            shown = partial(clock.local, zone=zone)
        return {
            "admin_graphql_api_id": operation.gid,
            "completed_at": shown(operation.completed_at),
            "created_at": shown(operation.created_at),
            "error_code": operation.error_code and operation.error_code.lower(),
            "status": operation.status.lower(),
            "type": "query",
        }
