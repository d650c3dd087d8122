"""A Postgres that is away is told from a value that it refuses."""

import multiprocessing

import pytest
import sqlalchemy
from sqlalchemy import text

from models.database import OUTAGES, engine, ping, transaction


def test_a_connection_that_is_lost_in_the_middle_is_an_outage(migrated):
    with pytest.raises(OUTAGES), transaction() as session:
        session.execute(text("select pg_terminate_backend(pg_backend_pid()), pg_sleep(10)"))
    ping()


def test_a_refused_value_is_none(migrated):
    with pytest.raises(sqlalchemy.exc.DataError), transaction() as session:
        session.execute(text("select cast('x' as integer)"))


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
