"""Rows on their way into a table, by JSON and by COPY."""

import threading
from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy
from sqlmodel import col, select

from models import database, staging, tenants
from models.database import transaction
from models.orders import LineItem, Order
from tests.models.rows import NEW_YEAR

#: What would end a field or a row of COPY, or be taken for null or for an escape.
AWKWARD = "a\tb\nc\rd\\e \\N \\. \"' {}, \u2028 \U0001f600 \x01"


@pytest.fixture(params=["json", "copy"])
def way(request, monkeypatch):
    """How rows travel, however few they are."""
    monkeypatch.setattr(staging, "MANY", 1 if request.param == "copy" else 10**9)
    return request.param


def test_every_value_arrives_as_it_was_sent(way, tenant, order, write_read):
    line = {
        **dict.fromkeys(set(LineItem.model_fields) - {"tenant_id", "order_shopify_id"}),
        "shopify_id": 11,
        "title": AWKWARD,
        "price": Decimal("0.000001"),
        "quantity": -1,
    }
    version = order(
        email=AWKWARD,
        name="",
        tags=["\\", "a\tb", '"'],
        test=True,
        confirmed=None,
        cancelled_at=NEW_YEAR + timedelta(microseconds=1),
        total_price=Decimal("123456789012345.678901"),
        line_items=[line],
    )
    write_read(version, at=20)
    with transaction() as session:
        stored = session.exec(select(Order).where(col(Order.tenant_id) == tenant.id)).one()
        stored_line = session.exec(select(LineItem).where(col(LineItem.tenant_id) == tenant.id)).one()
    assert {name: getattr(stored, name) for name in version.columns} == version.columns
    assert {name: getattr(stored_line, name) for name in line} == line


def test_rows_of_several_shapes_are_staged_one_after_the_other(way, order, write_read):
    whole, partial = order(1), order(2)
    columns = {name: value for name, value in partial.columns.items() if name != "customer_shopify_id"}
    outcome = write_read(whole, type(partial)(2, partial.updated_at, columns), order(3), at=20)
    assert outcome.stored == {1, 2, 3}


def test_a_value_that_postgres_refuses_is_a_data_error_however_it_travels(way, order, write_read):
    with pytest.raises(sqlalchemy.exc.DataError):
        write_read(order(total_price="much"), at=20)


def test_a_connection_that_is_lost_under_a_copy_is_an_outage(tenant, order, write_read, monkeypatch):
    monkeypatch.setattr(staging, "MANY", 1)
    in_staging, killed = threading.Event(), threading.Event()

    def copy(*told):
        in_staging.set()
        assert killed.wait(30)
        return original(*told)

    original = staging.copy
    monkeypatch.setattr(staging, "copy", copy)
    raised: list[BaseException] = []

    def write():
        try:
            write_read(order(), at=20)
        except database.OUTAGES as error:
            raised.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert in_staging.wait(30)
    with transaction() as session:
        session.execute(
            sqlalchemy.text(
                "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
                " and datname = current_database() and state = 'idle in transaction'"
            )
        )
    killed.set()
    writer.join(30)
    assert len(raised) == 1
    with tenants.write(tenant.id):  # and the next transaction has a connection that works
        pass
