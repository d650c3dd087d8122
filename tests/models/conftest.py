"""A tenant of the test's own, and rows as they come from Shopify."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from models import tenants
from models.database import transaction
from models.orders import TABLE
from models.tenants import Tenant
from models.versions import Origin, Outcome, upsert
from tests.models.rows import NEW_YEAR, Version


@pytest.fixture
def tenant(migrated) -> Tenant:
    with transaction() as session:
        return tenants.create(session, shop_domain=f"{uuid.uuid4().hex}.myshopify.com")[0]


@pytest.fixture
def order() -> Callable[..., Version]:
    """An order, ``second`` seconds into the new year."""

    def build(shopify_id: int = 1, *, second: int = 0, price: str = "10.00", **columns: Any) -> Version:
        children = {"line_items": columns.pop("line_items")} if "line_items" in columns else {}
        usual = {
            "name": f"#{shopify_id}",
            "currency": "USD",
            "current_total_price": Decimal(price),
            "processed_at": NEW_YEAR,
            "created_at": NEW_YEAR,
            "test": False,
            "cancelled_at": None,
            "customer_shopify_id": 7,
        }
        return Version(shopify_id, NEW_YEAR + timedelta(seconds=second), usual | columns, children)

    return build


@pytest.fixture
def write_webhook(tenant) -> Callable[..., Outcome]:
    """Write rows as a webhook does, triggered ``at`` seconds into the new year."""

    def write(*rows: Version, at: float = 0.0, table=TABLE) -> Outcome:
        with tenants.write(tenant.id) as write:
            triggered_at = NEW_YEAR + timedelta(seconds=at)
            return upsert(write, table, [replace(row, triggered_at=triggered_at) for row in rows], Origin())

    return write


@pytest.fixture
def write_read(tenant) -> Callable[..., Outcome]:
    """Write rows as a read does that began ``at`` seconds into the new year."""

    def write(*rows: Version, at: float, table=TABLE, run_id: uuid.UUID | None = None) -> Outcome:
        with tenants.write(tenant.id) as write:
            origin = Origin(read_at=NEW_YEAR + timedelta(seconds=at), run_id=run_id)
            return upsert(write, table, rows, origin)

    return write


@pytest.fixture
def write_bulk(tenant) -> Callable[..., Outcome]:
    """Write rows of a bulk operation's file that was begun ``at`` seconds into the new year."""

    def write(*rows: Version, at: float, table=TABLE, run_id: uuid.UUID | None = None) -> Outcome:
        with tenants.write(tenant.id) as write:
            origin = Origin(read_at=NEW_YEAR + timedelta(seconds=at), run_id=run_id, is_bulk=True)
            return upsert(write, table, rows, origin)

    return write
