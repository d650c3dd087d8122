"""A shop's history, read by bulk operations: when its files were ready, when they were written, what memory that took."""

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

from models.resources import TABLES
from scripts.api import loopback_session
from scripts.benchmarks.copying import copy_and_merge, rows_of, tables_of
from scripts.benchmarks.stack import Stack

#: Seconds that a history may take, and more for each order.
_TIMEOUT, _TIMEOUT_OF_AN_ORDER = 300.0, 0.01
#: Seconds between two looks at the simulated shop's operations and at the worker's memory.
_LOOK = 0.1
#: What the event log says once the last row of the orders is committed.
_WAS_READ = re.compile(r"orders: the file of (\d+) objects was read")


@dataclass(frozen=True, slots=True)
class History:
    """``lines`` are those of the orders' file, which took ``seconds`` from its being ready to its last row's commit.

    ``peak_memory``: bytes of the worker's processes during the whole sync, which took ``sync_seconds``.
    """

    tenant_id: str
    status: str
    orders: int
    lines: int
    seconds: float
    sync_seconds: float
    peak_memory: int

    def beside_copy(self, shopstream: Stack) -> Mapping[str, object]:
        """The orders' rows a second, beside COPY + merge of the same rows into the same Postgres."""
        database_url = shopstream.postgres.url
        copied = copy_and_merge(database_url, self.tenant_id, tables_of("orders"))
        tables = [name for each in TABLES for name in tables_of(each)]
        return {
            "rowsPerSecond": round(copied.rows / self.seconds, 1),
            "copyAndMergeRowsPerSecond": round(copied.rows_per_second, 1),
            "ratio": round(copied.seconds / self.seconds, 3),
            "status": self.status,
            "orders": self.orders,
            "rows": copied.rows,
            "seconds": round(self.seconds, 2),
            "rowsOfTheWholeSync": rows_of(database_url, self.tenant_id, tables),
            "secondsOfTheWholeSync": round(self.sync_seconds, 2),
        }


def read(shopstream: Stack, shop: Mapping[str, Any], *, orders: int) -> History:
    """Onboard a shop and read its history by bulk operations."""
    tenant = shopstream.onboard(shop, sync=False)
    domain = shop["shopDomain"]
    with _Watch(shopstream, domain).running() as watch:
        sync = shopstream.api.post("/api/sync", {"mode": "bulk"}, shop=domain)
        run = shopstream.finished(shop, sync["syncId"], timeout=_TIMEOUT + orders * _TIMEOUT_OF_AN_ORDER)
    written_at, lines = _written(shopstream, domain)
    return History(
        tenant_id=tenant["id"],
        status=run["status"],
        orders=orders,
        lines=lines,
        seconds=(written_at - watch.ready_at(lines)).total_seconds(),
        sync_seconds=(_time(run["finishedAt"]) - _time(run["startedAt"])).total_seconds(),
        peak_memory=watch.peak_memory,
    )


def _written(shopstream: Stack, domain: str) -> tuple[datetime, int]:
    """When the orders' file was at its end, and its lines."""
    for entry in shopstream.api.get("/api/sync-status", shop=domain, limit=100)["logs"]:
        found = _WAS_READ.fullmatch(entry["message"])
        if found is not None:
            return _time(entry["createdAt"]), int(found[1])
    raise LookupError(f"the orders of {domain} were not read by a bulk operation")


class _Watch:
    """Looks, again and again, which files are ready and how much memory the worker takes."""

    def __init__(self, shopstream: Stack, domain: str) -> None:
        self.peak_memory = 0
        self._operations_url = f"{shopstream.control_url}/shops/{domain}/bulk"
        self._shopstream = shopstream
        #: By the lines of the file: those of the orders are like no other's.
        self._ready: dict[int, datetime] = {}
        self._ended = threading.Event()

    def ready_at(self, lines: int) -> datetime:
        """When the file with so many lines was found ready."""
        return self._ready[lines]

    @contextmanager
    def running(self) -> Iterator["_Watch"]:
        thread = threading.Thread(target=self._look_on, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _look_on(self) -> None:
        with loopback_session() as session:
            while not self._ended.wait(_LOOK):
                self.peak_memory = max(self.peak_memory, self._memory())
                operations = session.get(self._operations_url, timeout=30).json()["operations"]
                for each in operations:
                    if each["status"] == "COMPLETED":
                        self._ready.setdefault(each["lines"], datetime.now(UTC))

    def _memory(self) -> int:
        used = 0
        for process in self._shopstream.worker:  # as it is now: Dramatiq forks after its start, and again after a death
            try:
                used += process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
        return used


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
