"""Synced rows a second, from the first question to Shopify to the last commit."""

import contextlib
import io
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import psutil
import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from scripts.benchmarks.stack import Stack, stack

ORDERS = 15_000
#: What a sync writes for the shop's history, parents first.
TABLES = ("products", "variants", "customers", "orders", "line_items", "refunds")
_SYNC_TIMEOUT = 600.0
_MERGE = """
insert into {copy} ({columns}) select {columns} from {incoming}
on conflict (tenant_id, shopify_id) do update set {changes}
"""


def measure() -> Iterator[Mapping[str, object]]:
    """Synced rows/s, beside COPY + merge of the same rows straight into the same Postgres.

    Rows are those of all tables that hold the history, line items and variants included. The yardstick has the same
    columns, constraints and indexes, and none of the totals, versions and checkpoints that a sync keeps.
    """
    with stack(orders=ORDERS) as shopstream:
        before = {name: _cpu_seconds(pid) for name, pid in shopstream.pids.items()}
        tenant = shopstream.onboard(sync=True)
        run = _wait_until_finished(shopstream, tenant["syncId"])
        spent = {name: _cpu_seconds(pid) - before[name] for name, pid in shopstream.pids.items()}
        seconds = (_time(run["finishedAt"]) - _time(run["startedAt"])).total_seconds()
        with contextlib.closing(psycopg2.connect(shopstream.postgres.url)) as connection:
            copied = {table: _copy_and_merge(connection, table) for table in TABLES}
        rows = sum(count for count, _ in copied.values())
        copy_seconds = sum(taken for _, taken in copied.values())
        yield {
            "syncRowsPerSecond": round(rows / seconds, 1),
            "copyAndMergeRowsPerSecond": round(rows / copy_seconds, 1),
            "ratio": round(copy_seconds / seconds, 4),
            "status": run["status"],
            "rows": rows,
            "seconds": round(seconds, 2),
            "workerCpuSeconds": round(spent["worker"], 2),
        }


def _wait_until_finished(shopstream: Stack, sync_id: str) -> Any:
    deadline = time.monotonic() + _SYNC_TIMEOUT
    while True:
        run = shopstream.api.get(f"/api/sync/{sync_id}", shop=shopstream.shop["shopDomain"])
        if run["status"] != "running":
            return run
        if time.monotonic() > deadline:
            raise TimeoutError(f"the sync has not ended after {_SYNC_TIMEOUT:.0f} s: {run}")
        time.sleep(0.25)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _cpu_seconds(pid: int) -> float:
    """What a process and those that it forked have used."""
    process = psutil.Process(pid)
    times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
    return float(sum(each.user + each.system for each in times))


def _copy_and_merge(connection: psycopg2.extensions.connection, table: str) -> tuple[int, float]:
    """Write the rows of a table once more, as COPY into a temporary table and a merge by the unique key.

    Returns how many they are and the seconds it took; committed, as a sync's are.
    """
    names: dict[str, sql.Composable] = {
        "source": sql.Identifier(table),
        "copy": sql.Identifier(f"bench_{table}"),
        "incoming": sql.Identifier("incoming"),
    }
    rows = io.StringIO()
    with connection, connection.cursor() as cursor:
        columns = _columns(cursor, table)
        names["columns"] = sql.SQL(", ").join(columns)
        names["changes"] = sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(column) for column in columns)
        cursor.copy_expert(sql.SQL("copy {source} ({columns}) to stdout").format(**names), rows)
        cursor.execute(sql.SQL("create table {copy} (like {source} including all)").format(**names))
    rows.seek(0)
    begun = time.perf_counter()
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("create temporary table {incoming} (like {source}) on commit drop").format(**names))
        cursor.copy_expert(sql.SQL("copy {incoming} ({columns}) from stdin").format(**names), rows)
        cursor.execute(sql.SQL(_MERGE).format(**names))
        count = cursor.rowcount
    return count, time.perf_counter() - begun


def _columns(cursor: psycopg2.extensions.cursor, table: str) -> list[sql.Identifier]:
    """The columns of a table that are written, not computed."""
    cursor.execute(
        "select column_name from information_schema.columns where table_name = %s and is_generated = 'NEVER'", [table]
    )
    return [sql.Identifier(name) for (name,) in cursor.fetchall()]
