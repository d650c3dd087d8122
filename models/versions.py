"""Which version of a resource wins, and the statements that write it: DESIGN §4, "Which version wins".

Versions compare by (``updated_at``, ``triggered_at``). ``updated_at`` shows whole seconds and nothing signs ``triggered_at``:
of two versions of one second that differ the one triggered later is written, and the resource is reported as *ambiguous*,
so that its caller fetches it by id.
A read is *settled* when it began after the second of its ``updated_at`` was over: nothing of that second can follow it.
"""

import functools
import uuid
from collections.abc import Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import TextClause
from sqlmodel import Session

from models.database import sql
from models.incoming import Incoming, Row, children_of, incoming, key_of, types_of
from models.staging import Ready, staged
from models.tenants import Write
from models.versioned import Table

#: A read that began this long after ``updated_at`` saw the end of that second: one second, and one for differing clocks.
SETTLED_AFTER = "interval '2 seconds'"


class Source(StrEnum):
    WEBHOOK = "webhook"
    READ = "read"
    #: A bulk operation's file, which is written while the shop goes on: it raises no tombstone.
    BULK = "bulk"
    #: A webhook's payload that is mapped anew: it mends what the version that it was had written, and nothing else.
    REPLAY = "replay"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where versions come from: a read that began at ``read_at``, or webhooks, whose rows say when they were triggered."""

    read_at: datetime | None = None
    run_id: uuid.UUID | None = None
    is_bulk: bool = False
    is_replay: bool = False

    @property
    def source(self) -> Source:
        if self.read_at is None:
            return Source.REPLAY if self.is_replay else Source.WEBHOOK
        return Source.BULK if self.is_bulk else Source.READ

    @property
    def are_compared(self) -> bool:
        """Whether rows are compared by their children too. A bulk file's need not be: what lands within its second is fetched."""
        return not self.is_bulk


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the rows: ids that were stored, ids whose version cannot be told from ours, ids new to the run."""

    stored: frozenset[int]
    ambiguous: frozenset[int]
    new_to_run: int
    #: Of those stored, the ids that were unknown, or known in an older version.
    mended: frozenset[int]
    #: Of those stored, the ids that were known by a webhook, which does not tell all that a read does.
    known_by_webhook: frozenset[int]


def upsert(
    write: Write,
    table: Table,
    rows: Sequence[Row],
    origin: Origin,
    *,
    made_ready: Sequence[Incoming] | None = None,
) -> Outcome:
    """Write every row whose version wins, its children with it. ``made_ready``: the rows, if ``incoming`` has been given them.

    Raises ValueError, see ``incoming``.
    """
    stored: set[int] = set()
    ambiguous: set[int] = set()
    new_to_run = 0
    mended: set[int] = set()
    known_by_webhook: set[int] = set()
    for group in incoming(table, rows, are_compared=origin.are_compared) if made_ready is None else made_ready:
        results = _merge(write, table, group.ready, origin)
        won = {row.shopify_id for row in results if row.stored}
        if table.customer is not None:
            _mark_rows(write, table, [row.shopify_id for row in results if row.stored and row.is_redacted])
        stored |= won
        ambiguous |= {row.shopify_id for row in results if row.ambiguous}
        new_to_run += sum(row.new_to_run for row in results)
        mended |= {row.shopify_id for row in results if row.mended}
        known_by_webhook |= {row.shopify_id for row in results if row.stored and row.is_known_by_webhook}
        known = {row.shopify_id for row in results if row.is_known}
        _replace_children(write, table, group, won=won, known=known)
    lost = [row.shopify_id for row in rows if row.shopify_id not in stored]
    if origin.run_id is not None and lost:
        _mark_seen(write.session, write.tenant.id, table, lost, origin.run_id)
    return Outcome(frozenset(stored), frozenset(ambiguous), new_to_run, frozenset(mended), frozenset(known_by_webhook))


def _merge(write: Write, table: Table, rows: Ready, origin: Origin) -> Sequence[Any]:
    """Write the rows of one set of columns. Returns what became of each."""
    with staged(write.session, rows, types_of(table.model)) as sent:
        parameters = {
            "tenant_id": write.tenant.id,
            "timezone": write.tenant.timezone,
            "at": write.at,
            "read_at": origin.read_at,
            "run_id": origin.run_id,
            **sent.parameters,
        }
        statement = _statement(table, rows.columns[1:], origin.source, sent.relation)
        return write.session.execute(statement, parameters).all()


def bury(write: Write, table: Table, shopify_id: int, *, triggered_at: datetime) -> bool:
    """Write a tombstone, also for an id never seen.

    False when a read that began after the deletion was triggered found the resource alive: only a fetch by id can tell.
    """
    buried = write.session.execute(
        sql(_TOMBSTONE.format(table=table.name)),
        {"tenant_id": write.tenant.id, "shopify_id": shopify_id, "at": write.at, "triggered_at": triggered_at},
    )
    return buried.first() is not None


# The columns come from our own models, never from a payload.
_UPSERT = """
with incoming as (  -- of someone who was redacted: nothing but ids and figures
    select triggered_at, is_redacted, {shown}
    from (select distinct on (shopify_id) *, {is_redacted} as is_redacted from {staged}) as staged
),
before as (  -- looked up one by one, whatever the planner knows: a table that grows has statistics of an empty one
    select known.* from incoming
    cross join lateral (
        select * from {table} where tenant_id = :tenant_id and shopify_id = incoming.shopify_id offset 0
    ) as known
),
written as (
    insert into {table} (tenant_id, triggered_at, read_at, run_id, stored_at, {columns})
    select :tenant_id, incoming.triggered_at, cast(:read_at as timestamptz), cast(:run_id as uuid), :at,
           {values}
    from incoming
    on conflict (tenant_id, shopify_id) do update
    set triggered_at = excluded.triggered_at,
        read_at = coalesce(excluded.read_at, {table}.read_at),
        run_id = coalesce(excluded.run_id, {table}.run_id),
        stored_at = excluded.stored_at,
        {assignments}
    where {wins}
    returning shopify_id
)
select incoming.shopify_id,
       written.shopify_id is not null as stored,
       incoming.is_redacted,
       before.shopify_id is not null as is_known,
       before.triggered_at is not null as is_known_by_webhook,
       written.shopify_id is not null
           and (before.updated_at is null or before.updated_at < incoming.updated_at) as mended,
       cast(:run_id as uuid) is not null and before.run_id is distinct from cast(:run_id as uuid) as new_to_run,
       coalesce({ambiguous}, false) as ambiguous
from incoming
left join written using (shopify_id)
left join before using (shopify_id)
"""

_WEBHOOK_WINS = """
    {table}.deleted_at is null                                       -- a tombstone stays down
    and (
        {table}.updated_at is null
        or excluded.updated_at > {table}.updated_at                  -- newer wins
        or (excluded.updated_at = {table}.updated_at
            and excluded.triggered_at > {table}.triggered_at)        -- null: a read wrote it, and is fuller
    )
"""

_REPLAY_WINS = """
    {table}.deleted_at is null
    and (
        {table}.updated_at is null
        or excluded.updated_at > {table}.updated_at
        or (excluded.updated_at = {table}.updated_at
            and excluded.triggered_at >= {table}.triggered_at)       -- equal: it is the payload that wrote the row
    )
"""

_READ_RAISES = """
    ({table}.deleted_at is null or excluded.read_at > {table}.deleted_at)  -- only a read from after it raises a tombstone
"""

_BULK_RAISES = """
    {table}.deleted_at is null  -- whether it was deleted before or after its line was written, nobody knows
"""

_READ_WINS = """
    {raises}
    and (
        {table}.updated_at is null
        or excluded.updated_at > {table}.updated_at
        or (excluded.updated_at = {table}.updated_at
            and ({table}.triggered_at is not null                          -- fuller than any webhook
                 or {table}.read_at is null or excluded.read_at >= {table}.read_at))
    )
"""

_SAME_SECOND = """
    before.deleted_at is null and incoming.updated_at = before.updated_at and ({differs})
"""

#: Two webhooks, whose times nothing signs and a clock that lags cuts off; or one after a read that began before the
#: second was over.
_WEBHOOK_AMBIGUOUS = (
    _SAME_SECOND
    + """
    and (before.triggered_at is not null or before.read_at < before.updated_at + {settled_after})
"""
)

#: A read that began before its second was over may have missed what the webhook tells.
_READ_AMBIGUOUS = (
    _SAME_SECOND
    + """
    and cast(:read_at as timestamptz) < incoming.updated_at + {settled_after}
"""
)

#: A file that shows what is deleted here, and was begun after that: a fetch by id tells.
_BULK_AMBIGUOUS = (
    _READ_AMBIGUOUS
    + """
    or before.deleted_at < cast(:read_at as timestamptz)
"""
)

_TOMBSTONE = """
insert into {table} (tenant_id, shopify_id, deleted_at, stored_at)
values (:tenant_id, :shopify_id, :at, :at)
on conflict (tenant_id, shopify_id) do update
set deleted_at = coalesce({table}.deleted_at, excluded.deleted_at)
where {table}.read_at is null or {table}.read_at <= :triggered_at or {table}.deleted_at is not null
returning shopify_id
"""

#: Subqueries without a row of their own: each is run once a statement, and nearly always finds nothing.
_IS_MARKED = """
{column} in (select shopify_id from redactions where tenant_id = :tenant_id and resource = '{resource}')
"""

#: A later version may name another customer, or none.
_MARK_ROWS = """
insert into redactions (tenant_id, resource, shopify_id, redacted_at)
select :tenant_id, :resource, shopify_id, :at from unnest(cast(:ids as bigint[])) as shopify_id
on conflict do nothing
"""

_MARK_SEEN = """
update {table} set run_id = :run_id
where tenant_id = :tenant_id and shopify_id = any(:ids) and run_id is distinct from :run_id
"""


@functools.cache
def _statement(table: Table, columns: tuple[str, ...], source: Source, staged: str) -> TextClause:
    derived = {name: column.sql for name, column in table.derived.items() if column.needs.issubset(columns)}
    every = (*columns, *derived)
    compared = [name for name in columns if name not in {"shopify_id", "updated_at"} | table.told_by_reads]
    raises = ["deleted_at = null"] if source == Source.READ else []
    wins, ambiguous = _RULES[source]
    personal = table.personal_columns()
    filled = _UPSERT.format(
        table=table.name,
        staged=staged,
        shown=", ".join(_unless_redacted(name) if name in personal else name for name in columns),
        is_redacted=_is_redacted(table, columns),
        columns=", ".join(every),
        values=", ".join([*(f"incoming.{name}" for name in columns), *derived.values()]),
        assignments=",\n        ".join([*(f"{name} = excluded.{name}" for name in every[1:]), *raises]),
        wins=wins.format(table=table.name),
        ambiguous=ambiguous.format(
            differs=" or ".join(f"incoming.{name} is distinct from before.{name}" for name in compared) or "false",
            settled_after=SETTLED_AFTER,
        ),
    )
    return sql(filled)


def _is_redacted(table: Table, columns: tuple[str, ...]) -> str:
    if not table.personal:
        return "false"
    own = _IS_MARKED.format(column="shopify_id", resource=table.name)
    if table.customer not in columns:
        return own
    return f"({own} or coalesce({_IS_MARKED.format(column=table.customer, resource='customers')}, false))"


def _unless_redacted(column: str) -> str:
    return f"case when not is_redacted then {column} end as {column}"


def _mark_rows(write: Write, table: Table, shopify_ids: list[int]) -> None:
    """Rows of a redacted customer stay theirs. Before their children are written, which obey the row's own mark."""
    if shopify_ids:
        parameters = {"tenant_id": write.tenant.id, "resource": table.name, "ids": shopify_ids, "at": write.at}
        write.session.execute(sql(_MARK_ROWS), parameters)


#: By source: which versions win, and which cannot be told from ours.
_RULES = {
    Source.WEBHOOK: (_WEBHOOK_WINS, _WEBHOOK_AMBIGUOUS),
    Source.READ: (_READ_WINS.replace("{raises}", _READ_RAISES), _READ_AMBIGUOUS),
    Source.REPLAY: (_REPLAY_WINS, "false"),  # whatever was ambiguous was fetched when the webhook came
    Source.BULK: (_READ_WINS.replace("{raises}", _BULK_RAISES), _BULK_AMBIGUOUS),
}

_DELETE_CHILDREN = "delete from {table} where tenant_id = :tenant_id and {parent} = any(:parents)"

_INSERT_CHILDREN = """
insert into {table} (tenant_id, {columns})
select :tenant_id, {values}
from (select *, {is_redacted} as is_redacted from {staged} offset 0) as staged  -- 0: looked up once a row, not once a column
on conflict (tenant_id, {key}) do update set {assignments}
"""


def _replace_children(write: Write, table: Table, group: Incoming, *, won: Set[int], known: Set[int]) -> None:
    """The children lists of rows that won are complete: what they do not hold is gone. Only ``known`` rows can have any."""
    rows = [row for row in group.rows if row.shopify_id in won]
    for name, (_, parent) in table.children.items():
        parents = [row.shopify_id for row in rows if name in row.children and row.shopify_id in known]
        if parents:
            write.session.execute(
                sql(_DELETE_CHILDREN.format(table=name, parent=parent)),
                {"tenant_id": write.tenant.id, "parents": parents},
            )
        children = group.children[name] if len(rows) == len(group.rows) else children_of(table, name, rows)
        if children.values or children.text:
            _insert_children(write, table, name, children)


def _insert_children(write: Write, table: Table, name: str, children: Ready) -> None:
    model, parent = table.children[name]
    personal, key = table.personal_columns(name), key_of(model)
    with staged(write.session, children, types_of(model)) as sent:
        statement = _INSERT_CHILDREN.format(
            table=name,
            staged=sent.relation,
            columns=", ".join(children.columns),
            key=", ".join(key),
            values=", ".join(_unless_redacted(column) if column in personal else column for column in children.columns),
            is_redacted=_IS_MARKED.format(column=parent, resource=table.name) if personal else "false",
            assignments=", ".join(f"{column} = excluded.{column}" for column in children.columns if column not in key),
        )
        write.session.execute(sql(statement), {"tenant_id": write.tenant.id, **sent.parameters})


def _mark_seen(session: Session, tenant_id: uuid.UUID, table: Table, ids: list[int], run_id: uuid.UUID) -> None:
    """Ids whose version lost were seen all the same."""
    session.execute(sql(_MARK_SEEN.format(table=table.name)), {"tenant_id": tenant_id, "run_id": run_id, "ids": ids})
