"""What a run saw: the ids that it counted, and those that are alive here and that it did not find in the store."""

import uuid
from dataclasses import dataclass
from datetime import datetime

from models.database import sql
from models.tenants import Write
from models.versioned import ALIVE, Table


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run reads: resources created before, or updated from (inclusive) to (exclusive) a time. None: no bound."""

    created_before: datetime | None = None
    updated_from: datetime | None = None
    updated_before: datetime | None = None


def count_seen(write: Write, table: Table, run_id: uuid.UUID, scope: Scope) -> int:
    """How many distinct ids of ``scope`` the run saw, less those deleted since."""
    return int(
        write.session.execute(
            sql(_COUNT_SEEN.format(table=table.name)),
            {"tenant_id": write.tenant.id, "run_id": run_id, **_bounds(scope)},
        ).scalar_one()
    )


def unseen(write: Write, table: Table, run_id: uuid.UUID, scope: Scope, *, stored_before: datetime) -> list[int]:
    """Ids of ``scope`` that are alive here and that the run did not see: gone from the store, unless it erred."""
    return list(
        write.session.execute(
            sql(_UNSEEN.format(table=table.name)),
            {"tenant_id": write.tenant.id, "run_id": run_id, "stored_before": stored_before, **_bounds(scope)},
        ).scalars()
    )


def _bounds(scope: Scope) -> dict[str, datetime | None]:
    return {
        "created_before": scope.created_before,
        "updated_from": scope.updated_from,
        "updated_before": scope.updated_before,
    }


_IN_SCOPE = f"""
      tenant_id = :tenant_id and {ALIVE}
  and (cast(:created_before as timestamptz) is null or created_at < :created_before)
  and (cast(:updated_from as timestamptz) is null or updated_at >= :updated_from)
  and (cast(:updated_before as timestamptz) is null or updated_at < :updated_before)
"""

_COUNT_SEEN = f"""
select count(*) from {{table}} where {_IN_SCOPE} and run_id = :run_id
"""  # noqa: S608  no value is formatted into it

_UNSEEN = f"""
select shopify_id from {{table}}
where {_IN_SCOPE} and run_id is distinct from :run_id and stored_at < :stored_before
"""  # noqa: S608
