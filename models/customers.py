"""Customers, and what a merge of two does."""

from datetime import datetime

from sqlalchemy import Index, text
from sqlmodel import Session

from models.columns import json_field, shopify_id_field, time_field
from models.database import sql
from models.tenants import Write
from models.versioned import Table, Versioned, one_row_per_id


class Customer(Versioned, table=True):
    __tablename__ = "customers"
    __table_args__ = (
        one_row_per_id("customers"),
        Index("customers_created", "tenant_id", "created_at"),
        Index("customers_merged", "tenant_id", postgresql_where=text("merged_into is not null")),
    )

    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    phone: str | None = None
    state: str | None = None
    note: str | None = None
    tags: list[str] | None = json_field()
    verified_email: bool | None = None
    created_at: datetime | None = time_field()

    #: The customer that this one was merged into; its own orders belong to that one since.
    merged_into: int | None = shopify_id_field(default=None, nullable=True)


TABLE = Table(
    model=Customer,
    # Nothing is left but the id, and the times by which versions and completeness are told.
    personal=frozenset({"email", "first_name", "last_name", "phone", "state", "note", "tags", "verified_email"}),
)

_MERGED_INTO = """
select merged_into from customers where tenant_id = :tenant_id and shopify_id = :shopify_id
"""

_TOMBSTONE = """
insert into customers (tenant_id, shopify_id, deleted_at, merged_into, stored_at)
values (:tenant_id, :deleted_id, :at, :kept_id, :at)
on conflict (tenant_id, shopify_id) do update
set deleted_at = coalesce(customers.deleted_at, excluded.deleted_at), merged_into = excluded.merged_into
"""

#: Those merged into the deleted one before follow it, so that one step always finds the customer that is left.
_FOLLOW = """
update customers set merged_into = :kept_id where tenant_id = :tenant_id and merged_into = :deleted_id
"""

_REPOINT = """
update orders set customer_shopify_id = :kept_id
where tenant_id = :tenant_id and customer_shopify_id = :deleted_id
"""

_REPOINT_WRITTEN = """
update orders set customer_shopify_id = customers.merged_into
from customers
where orders.tenant_id = :tenant_id and orders.shopify_id = any(:order_ids)
  and customers.tenant_id = :tenant_id and customers.shopify_id = orders.customer_shopify_id
  and customers.merged_into is not null
"""

_HAS_MERGED = """
select exists (select from customers where tenant_id = :tenant_id and merged_into is not null)
"""


def merge(write: Write, *, kept_id: int, deleted_id: int) -> None:
    """The one customer is gone and its orders are the other's, those that arrive later too."""
    kept_id = _left_of(write, kept_id)
    if kept_id == deleted_id:
        return  # of two merges into each other Shopify did one: the other is told by the fetch of what is left
    ids = {"tenant_id": write.tenant.id, "kept_id": kept_id, "deleted_id": deleted_id}
    write.session.execute(sql(_TOMBSTONE), ids | {"at": write.at})
    write.session.execute(sql(_FOLLOW), ids)
    write.session.execute(sql(_REPOINT), ids)


def _left_of(write: Write, shopify_id: int) -> int:
    """The customer that is left of one: itself, or what it was merged into by a merge that happened later and came first."""
    found = write.session.execute(sql(_MERGED_INTO), {"tenant_id": write.tenant.id, "shopify_id": shopify_id})
    return found.scalar_one_or_none() or shopify_id


def repoint_orders(session: Session, tenant_id: object, order_ids: list[int]) -> None:
    """Orders just written from versions older than a merge go to the customer that is left."""
    if session.execute(sql(_HAS_MERGED), {"tenant_id": tenant_id}).scalar_one():  # else no order need be looked up
        session.execute(sql(_REPOINT_WRITTEN), {"tenant_id": tenant_id, "order_ids": order_ids})
