"""A Postgres that is away is told from a value that it refuses."""

import multiprocessing
import traceback

import pytest
import sqlalchemy
from psycopg2 import errors
from sqlalchemy import text

from models import tenants
from models.database import OUTAGES, TooSlow, engine, ping, transaction


def test_a_connection_that_is_lost_in_the_middle_is_an_outage(migrated):
    with pytest.raises(OUTAGES), transaction() as session:
        session.execute(text("select pg_terminate_backend(pg_backend_pid()), pg_sleep(10)"))
    ping()


def test_a_refused_value_is_none(migrated):
    with pytest.raises(sqlalchemy.exc.DataError), transaction() as session:
        session.execute(text("select cast('x' as integer)"))


def test_what_a_constraint_refuses_is_told_without_the_row(migrated):
    query = "insert into tenants (id, shop_domain, status) values (gen_random_uuid(), 'ada@example.com', null)"
    with pytest.raises(sqlalchemy.exc.IntegrityError) as refused, transaction() as session:
        session.execute(text(query))
    told = "".join(traceback.format_exception(refused.value))
    assert "violates not-null constraint" in str(refused.value)
    assert isinstance(refused.value.orig, errors.NotNullViolation)
    assert "Failing row" not in told


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_a_row_that_another_holds_for_long_is_no_outage(tenant, limit):
    with transaction() as holder, transaction() as session:
        tenants.get(holder, tenant.id, for_update=True)
        session.execute(text(f"set local {limit} = '50ms'"))
        with pytest.raises(TooSlow):
            tenants.get(session, tenant.id, for_update=True)


def _ping_in_child(answers):
    ping()
    answers.put(engine().pool.checkedin())


def test_a_forked_child_makes_connections_of_its_own(migrated):
    ping()
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    child = context.Process(target=_ping_in_child, args=(answers,))
    child.start()
    assert answers.get(timeout=10) == 1
    child.join(10)
    assert child.exitcode == 0
    ping()
