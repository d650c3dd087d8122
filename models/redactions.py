"""People who are to be forgotten: the marks, which are ids and nothing else, and the statements that obey them.

A mark outlives what it erased: whatever writes a marked customer, or an order of theirs, later (a late webhook, a replay, a
sync) keeps the ids and the figures, and nothing that the table of the resource calls personal (``models.versions``).
"""

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlmodel import Field, Session, SQLModel, col, select

from models.columns import now_field, shopify_id_field
from models.database import sql
from models.tenants import Write
from models.versioned import Table

#: The resource whose marks are of people; those of every other resource are of single rows.
PEOPLE = "customers"


class Redaction(SQLModel, table=True):
    """A customer, or an order of a customer's or guest's, of whom nothing personal may be kept."""

    __tablename__ = "redactions"

    tenant_id: uuid.UUID = Field(foreign_key="tenants.id", primary_key=True)
    resource: str = Field(primary_key=True)
    shopify_id: int = shopify_id_field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    redacted_at: datetime = now_field()


_MARK = """
insert into redactions (tenant_id, resource, shopify_id, redacted_at)
select :tenant_id, :resource, shopify_id, :at from unnest(cast(:ids as bigint[])) as shopify_id
on conflict do nothing
"""

#: Customers by email or phone too: one who is known by nothing else, or under an id that was deleted since.
_MARK_NAMESAKES = """
insert into redactions (tenant_id, resource, shopify_id, redacted_at)
select tenant_id, 'customers', shopify_id, :at from customers
where tenant_id = :tenant_id and (lower(email) = any(:emails) or phone = any(:phones))
on conflict do nothing
"""

#: Whoever a marked customer was merged into is the same person, and so is whoever was merged into them.
_MARK_MERGED = """
insert into redactions (tenant_id, resource, shopify_id, redacted_at)
with recursive same (shopify_id) as (
    select shopify_id from redactions where tenant_id = :tenant_id and resource = 'customers'
    union
    select unnest(array[customers.merged_into, customers.shopify_id])
    from customers join same on same.shopify_id in (customers.shopify_id, customers.merged_into)
    where customers.tenant_id = :tenant_id and customers.merged_into is not null
)
select :tenant_id, 'customers', shopify_id, :at from same
on conflict do nothing
"""

_MARK_ORDERS = """
insert into redactions (tenant_id, resource, shopify_id, redacted_at)
select orders.tenant_id, 'orders', orders.shopify_id, :at
from redactions join orders
    on orders.tenant_id = redactions.tenant_id and orders.customer_shopify_id = redactions.shopify_id
where redactions.tenant_id = :tenant_id and redactions.resource = 'customers'
on conflict do nothing
"""

_MARK_ORDERS_BY_EMAIL = """
insert into redactions (tenant_id, resource, shopify_id, redacted_at)
select tenant_id, 'orders', shopify_id, :at from orders
where tenant_id = :tenant_id and lower(email) = any(:emails)
on conflict do nothing
"""


def mark(write: Write, resource: str, shopify_ids: Iterable[int]) -> None:
    """From now on nothing personal of these is written."""
    ids = sorted(set(shopify_ids))
    if ids:
        parameters = {"tenant_id": write.tenant.id, "resource": resource, "ids": ids, "at": write.at}
        write.session.execute(sql(_MARK), parameters)


def mark_everything_of(write: Write, *, emails: Sequence[str], phones: Sequence[str]) -> None:
    """Mark whoever is the same person as one who is marked, or has one of these addresses, and every order of theirs."""
    parameters = {
        "tenant_id": write.tenant.id,
        "at": write.at,
        "emails": [email.lower() for email in emails],
        "phones": list(phones),
    }
    for statement in (_MARK_NAMESAKES, _MARK_MERGED, _MARK_ORDERS, _MARK_ORDERS_BY_EMAIL):
        write.session.execute(sql(statement), parameters)


_ADDRESSES = """
select distinct 'email' as kind, lower(email) as address from customers join redactions using (tenant_id, shopify_id)
where tenant_id = :tenant_id and resource = 'customers' and email is not null
union
select 'phone', phone from customers join redactions using (tenant_id, shopify_id)
where tenant_id = :tenant_id and resource = 'customers' and phone is not null
union
select 'besides', lower(email) from orders join redactions using (tenant_id, shopify_id)
where tenant_id = :tenant_id and resource = 'orders' and email is not null
"""


def addresses(write: Write) -> tuple[list[str], list[str], list[str]]:
    """Emails and phones that rows of marked people still hold, and the emails of their orders, which may be somebody else's."""
    found = write.session.execute(sql(_ADDRESSES), {"tenant_id": write.tenant.id}).all()
    emails, phones, besides = (
        [row.address for row in found if row.kind == each] for each in ("email", "phone", "besides")
    )
    return emails, phones, besides


# The names come from our own models.
_STRIP = """
update {table} set {cleared}
from redactions
where redactions.tenant_id = :tenant_id and redactions.resource = :resource
  and {table}.tenant_id = redactions.tenant_id and {table}.{key} = redactions.shopify_id
  and ({held})
"""


def strip(write: Write, tables: Mapping[str, Table]) -> dict[str, int]:
    """Clear what is personal in every row that a mark is of. Returns how many rows held any, by table."""
    stripped = {}
    for table in tables.values():
        parts = [(table.name, "shopify_id", table.personal_columns())]
        parts += [(name, parent, table.personal_columns(name)) for name, (_, parent) in table.children.items()]
        for name, key, columns in parts:
            if columns:
                statement = _STRIP.format(
                    table=name,
                    key=key,
                    cleared=", ".join(f"{column} = null" for column in columns),
                    held=" or ".join(f"{name}.{column} is not null" for column in columns),
                )
                done = write.session.execute(sql(statement), {"tenant_id": write.tenant.id, "resource": table.name})
                stripped[name] = int(done.rowcount)  # type: ignore[attr-defined]
    return stripped


#: Whatever may be an id in a text.
_NUMBER = re.compile(r"(?<!\d)\d{1,19}(?!\d)")

_NAMED = """
select exists (
    select from redactions
    where tenant_id = :tenant_id and (resource = :resource and shopify_id = :shopify_id
       or resource in ('customers', 'orders') and shopify_id = any(:ids))
)
"""


def is_of_marked(write: Write, resource: str, shopify_id: int | None, said: str) -> bool:
    """Whether ``said``, a payload of a resource as text, is of a marked row, or may name a marked customer or order by its id."""
    numbers = {int(number) for number in _NUMBER.findall(said)}
    parameters = {
        "tenant_id": write.tenant.id,
        "resource": resource,
        "shopify_id": shopify_id,
        "ids": [number for number in numbers if number < 2**63],
    }
    return bool(write.session.execute(sql(_NAMED), parameters).scalar_one())


_MARKED = "select shopify_id from redactions where tenant_id = :tenant_id and resource = :resource"


def are_marked(write: Write, resource: str, shopify_ids: Sequence[int]) -> bool:
    """Whether any of these is."""
    found = sql(f"select exists ({_MARKED} and shopify_id = any(:ids))")
    parameters = {"tenant_id": write.tenant.id, "resource": resource, "ids": list(shopify_ids)}
    return bool(write.session.execute(found, parameters).scalar_one())


def marked(write: Write, resource: str) -> list[int]:
    return list(write.session.execute(sql(_MARKED), {"tenant_id": write.tenant.id, "resource": resource}).scalars())


def tenants_with_marks(session: Session, *, since: datetime) -> Sequence[uuid.UUID]:
    """Tenants of whom somebody was marked since then."""
    return session.exec(select(Redaction.tenant_id).where(col(Redaction.redacted_at) >= since).distinct()).all()
