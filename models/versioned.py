"""What every resource of a shop's tables share: who owns a row, which version it is, and whether it is deleted.

A row is written by webhooks and by reads, in any order and any number of times; these columns decide who wins
(``models.versions`` holds the rule).
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import UniqueConstraint
from sqlmodel import Field, SQLModel

from models.columns import id_field, now_field, shopify_id_field, time_field, uuid_field


class Versioned(SQLModel):
    id: uuid.UUID = id_field()
    # No foreign key: whoever writes here holds the tenant's row (models.tenants.write), and a check for every row takes a
    # third of the time that a history takes to be written.
    tenant_id: uuid.UUID = uuid_field(nullable=False)
    shopify_id: int = shopify_id_field()

    #: Shopify's, in whole seconds. None: nothing but the id is known (a tombstone of something never seen).
    updated_at: datetime | None = time_field()
    #: When Shopify triggered the webhook that wrote this version. None: a read wrote it.
    triggered_at: datetime | None = time_field()
    #: When the latest read that wrote this row began, by our clock.
    read_at: datetime | None = time_field()
    #: The tombstone: when we learned that the resource is gone.
    deleted_at: datetime | None = time_field()
    #: The latest sync that saw this id in the store.
    run_id: uuid.UUID | None = uuid_field(default=None, nullable=True)
    #: Of the children lists, so that versions of one second can be compared with one column.
    children_digest: str | None = None
    stored_at: datetime = now_field()


#: Of a row: it is more than an id, and no tombstone.
ALIVE = "deleted_at is null and updated_at is not null"


def one_row_per_id(table: str) -> UniqueConstraint:
    return UniqueConstraint("tenant_id", "shopify_id", name=f"{table}_tenant_id_shopify_id_key")


class Child(SQLModel):
    """A row that lives and is replaced with its parent."""

    tenant_id: uuid.UUID = Field(primary_key=True)
    shopify_id: int = shopify_id_field(primary_key=True, sa_column_kwargs={"autoincrement": False})


@dataclass(frozen=True, slots=True)
class Derived:
    """A column that is computed whenever the columns that it needs are written. ``sql`` reads them from ``incoming``."""

    needs: frozenset[str]
    sql: str


@dataclass(frozen=True, eq=False)
class Table:
    """Where a resource is stored: its rows, its children (with the column that names their parent), what is derived.

    ``personal`` are the columns that may name a person, a child's as ``refunds.note``: they stay null where a redaction is
    marked, whoever writes. ``customer`` is the column that holds the id of the customer that a row is of.
    """

    model: type[Versioned]
    children: Mapping[str, tuple[type[Child], str]] = field(default_factory=dict)
    derived: Mapping[str, Derived] = field(default_factory=dict)
    personal: frozenset[str] = frozenset()
    customer: str | None = None
    #: Whether figures are told of it, so that they are not complete without it.
    is_in_figures: bool = True
    #: Columns and children that no webhook carries: a read that has them does not differ by them from a webhook.
    told_by_reads: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        return str(self.model.__tablename__)

    def personal_columns(self, child: str | None = None) -> list[str]:
        """Of its rows, or of a child table."""
        if child is None:
            return sorted(name for name in self.personal if "." not in name)
        return sorted(name.partition(".")[2] for name in self.personal if name.startswith(f"{child}."))
