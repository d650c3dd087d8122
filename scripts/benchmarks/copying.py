"""The yardstick of what is written: the same rows once more by COPY and a merge, into tables like those that hold them."""

import contextlib
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from models.resources import TABLES
from models.tables import METADATA

_READ = "copy (select {columns} from {source} where tenant_id = {tenant}) to stdout"
_MERGE = """
insert into {copy} ({columns}) select {columns} from {incoming}
on conflict ({key}) do update set {changes}
"""
#: Rows of a resource are known by these; rows of its parts by their primary key.
_KEY = ["tenant_id", "shopify_id"]


@dataclass(frozen=True, slots=True)
class Copied:
    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        return self.rows / self.seconds


def tables_of(resource: str) -> list[str]:
    """Where a resource and its parts are stored, itself first."""
    table = TABLES[resource]
    return [table.name, *(str(child.__tablename__) for child, _ in table.children.values())]


def rows_of(database_url: str, tenant_id: str, tables: Iterable[str]) -> int:
    """How many rows a tenant has in the tables."""
    count = sql.SQL(" union all ").join(
        sql.SQL("select count(*) as rows from {} where tenant_id = {}").format(
            sql.Identifier(table), sql.Literal(tenant_id)
        )
        for table in tables
    )
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("select sum(rows)::bigint from ({}) as counted").format(count))
        ((rows,),) = cursor.fetchall()
        return int(rows)


def copy_and_merge(database_url: str, tenant_id: str, tables: Iterable[str]) -> Copied:
    """Write a tenant's rows of the tables once more, a transaction for each table.

    The copies have the same columns, constraints and indexes, and none of the totals, versions and checkpoints that a sync
    keeps; they are deleted afterwards.
    """
    rows, seconds = 0, 0.0
    with contextlib.closing(psycopg2.connect(database_url)) as connection:
        for table in tables:
            count, taken = _copy_and_merge(connection, tenant_id, table)
            rows, seconds = rows + count, seconds + taken
    return Copied(rows, seconds)


def _key(table: str) -> list[str]:
    primary = [column.name for column in METADATA.tables[table].primary_key.columns]
    return _KEY if primary == ["id"] else primary


def _copy_and_merge(connection: psycopg2.extensions.connection, tenant_id: str, table: str) -> tuple[int, float]:
    """How many rows there are, and the seconds that they took; committed, as a sync's are."""
    columns = [sql.Identifier(column.name) for column in METADATA.tables[table].columns if column.computed is None]
    names: dict[str, sql.Composable] = {
        "source": sql.Identifier(table),
        "copy": sql.Identifier(f"bench_{table}"),
        "tenant": sql.Literal(tenant_id),
        "incoming": sql.Identifier("incoming"),
        "key": sql.SQL(", ").join(map(sql.Identifier, _key(table))),
        "columns": sql.SQL(", ").join(columns),
        "changes": sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(column) for column in columns),
    }
    with tempfile.TemporaryFile() as rows:
        with connection, connection.cursor() as cursor:
            cursor.copy_expert(sql.SQL(_READ).format(**names), rows)
            cursor.execute(sql.SQL("create table {copy} (like {source} including all)").format(**names))
        rows.seek(0)
        begun = time.perf_counter()
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("create temporary table {incoming} (like {source}) on commit drop").format(**names))
            cursor.copy_expert(sql.SQL("copy {incoming} ({columns}) from stdin").format(**names), rows)
            cursor.execute(sql.SQL(_MERGE).format(**names))
            count = cursor.rowcount
        taken = time.perf_counter() - begun
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("drop table {copy}").format(**names))
    return count, taken
