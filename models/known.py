"""What is known of single resources, by their ids."""

import uuid
from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session

from models.database import sql
from models.tenants import Write
from models.versioned import ALIVE, Table

_ALIVE_OF = f"""
select shopify_id from {{table}} where tenant_id = :tenant_id and shopify_id = any(:ids) and {ALIVE}
"""  # noqa: S608  no value is formatted into it

_CREATED_BEFORE = """
select exists (select from {table} where tenant_id = :tenant_id and shopify_id = :shopify_id and created_at < :moment)
"""


def alive(write: Write, table: Table, shopify_ids: Iterable[int]) -> frozenset[int]:
    """Those of the ids that are stored and not deleted."""
    values = {"tenant_id": write.tenant.id, "ids": list(shopify_ids)}
    return frozenset(write.session.execute(sql(_ALIVE_OF.format(table=table.name)), values).scalars())


def was_created_before(session: Session, tenant_id: uuid.UUID, table: Table, shopify_id: int, moment: datetime) -> bool:
    """Whether a resource is known, deleted or not, and older than ``moment``."""
    values = {"tenant_id": tenant_id, "shopify_id": shopify_id, "moment": moment}
    return bool(session.execute(sql(_CREATED_BEFORE.format(table=table.name)), values).scalar_one())
