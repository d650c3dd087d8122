"""Synced rows a second, from the first question to Shopify to the last commit."""

from collections.abc import Iterator, Mapping
from datetime import datetime

import psutil

from models.resources import TABLES
from scripts.benchmarks.copying import copy_and_merge, tables_of
from scripts.benchmarks.stack import stack

ORDERS = 15_000
_SYNC_TIMEOUT = 600.0


def measure() -> Iterator[Mapping[str, object]]:
    """Synced rows/s, beside COPY + merge of the same rows straight into the same Postgres.

    Rows are those of all tables that hold the history, line items and variants included. The yardstick has the same
    columns, constraints and indexes, and none of the totals, versions and checkpoints that a sync keeps.
    """
    with stack(orders=ORDERS) as shopstream:
        before = {name: _cpu_seconds(pid) for name, pid in shopstream.pids.items()}
        tenant = shopstream.onboard(shopstream.shop, sync=True)
        run = shopstream.finished(shopstream.shop, tenant["syncId"], timeout=_SYNC_TIMEOUT)
        spent = {name: _cpu_seconds(pid) - before[name] for name, pid in shopstream.pids.items()}
        seconds = (_time(run["finishedAt"]) - _time(run["startedAt"])).total_seconds()
        tables = [name for each in TABLES for name in tables_of(each)]
        copied = copy_and_merge(shopstream.postgres.url, tenant["id"], tables)
        yield {
            "syncRowsPerSecond": round(copied.rows / seconds, 1),
            "copyAndMergeRowsPerSecond": round(copied.rows_per_second, 1),
            "ratio": round(copied.seconds / seconds, 4),
            "status": run["status"],
            "rows": copied.rows,
            "seconds": round(seconds, 2),
            "workerCpuSeconds": round(spent["worker"], 2),
        }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _cpu_seconds(pid: int) -> float:
    """What a process and those that it forked have used."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))
