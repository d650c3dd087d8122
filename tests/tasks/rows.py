"""What the tables hold of a shop."""

from typing import Any

from sqlmodel import col, select

from models.database import transaction


def one(model: Any, shop: Any, **chosen: Any) -> Any:
    """The shop's only row of a table with these values; None without one."""
    with transaction() as session:
        query = select(model).where(col(model.tenant_id) == shop.tenant_id)
        for name, value in chosen.items():
            query = query.where(col(getattr(model, name)) == value)
        return session.exec(query).one_or_none()
