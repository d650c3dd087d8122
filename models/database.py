"""The connection to Postgres: one engine a process, and the errors that mean it is away."""

import functools
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import sqlalchemy
from psycopg2 import errors
from sqlalchemy import Engine, TextClause, create_engine, event
from sqlalchemy.engine import ExceptionContext
from sqlmodel import Session

import settings

#: What SQLAlchemy raises when Postgres is away, restarting or overloaded: failures of ours, not of what was being written.
OUTAGES: tuple[type[Exception], ...] = (
    sqlalchemy.exc.OperationalError,
    sqlalchemy.exc.InterfaceError,
    sqlalchemy.exc.TimeoutError,
)

#: What Postgres says of a row that it does not take.
REFUSALS = (sqlalchemy.exc.IntegrityError, sqlalchemy.exc.DataError)

#: Connections of one process: eight threads of work, and room for the ones that look after the process.
POOL_SIZE = 10
#: Seconds until a connection that cannot be made counts as an outage.
CONNECT_TIMEOUT = 3
#: Bytes that go to Postgres at once in a COPY: of the driver's 8 kilobytes each would wait for Python once more.
COPY_CHUNK = 1024 * 1024
#: Milliseconds: no statement of ours takes this long, a page of 250 orders takes 0.1 s.
STATEMENT_TIMEOUT = 60_000
#: Milliseconds to wait for another writer of the same shop.
LOCK_TIMEOUT = 15_000


@functools.cache
def engine() -> Engine:
    """This process's engine. Made on first use, so that importing needs no Postgres."""
    made = create_engine(
        settings.load().database_url.get_secret_value(),
        pool_size=POOL_SIZE,
        max_overflow=2,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,  # shoppers' data stays out of errors and logs
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT,
            "application_name": "shopstream",
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
            "options": (
                f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT} -c lock_timeout={LOCK_TIMEOUT}"
                " -c idle_in_transaction_session_timeout=60000"
            ),
        },
    )
    event.listen(made, "handle_error", _tell_outages)
    return made


class TooSlow(sqlalchemy.exc.SQLAlchemyError):
    """A statement waited too long for a lock, or took too long: this piece of work is at fault, not Postgres."""

    def __init__(self) -> None:
        super().__init__("Postgres gave up on a statement that waited for a lock or took too long")


#: Why a person gets no answer now, whoever is at fault.
UNANSWERED: tuple[type[Exception], ...] = (*OUTAGES, TooSlow)


def _tell_outages(context: ExceptionContext) -> Exception | None:
    """What is raised in place of a driver's error: it does not tell whether Postgres is away, and tells too much of rows.

    A server that dies in the middle of an answer is at times a plain DatabaseError, which would blame the message; and
    a lock or a statement that takes too long is an OperationalError, which would stop everybody's queue for one shop.
    """
    known, driver_error = context.sqlalchemy_exception, context.original_exception
    if isinstance(driver_error, errors.LockNotAvailable | errors.QueryCanceled):
        return TooSlow()
    if context.is_disconnect and known is not None and not isinstance(known, OUTAGES):
        return sqlalchemy.exc.OperationalError(None, None, known.orig or known, hide_parameters=True)
    if isinstance(known, REFUSALS) and isinstance(driver_error, psycopg2.Error):
        # Its details hold the row, and whatever shopper it is of: neither a log nor a dead letter is to have them.
        told = type(driver_error)(str(driver_error).partition("\n")[0])
        return type(known)(known.statement, None, told, hide_parameters=True)
    return None


def _forget_parents_connections() -> None:
    """A forked child shares no connection with its parent, and closes none of them."""
    if engine.cache_info().currsize:
        engine().dispose(close=False)
        engine.cache_clear()


os.register_at_fork(after_in_child=_forget_parents_connections)


@contextmanager
def transaction() -> Iterator[Session]:
    """A session whose changes are committed at the end of the block, or not at all."""
    try:
        with Session(engine(), expire_on_commit=False) as session, session.begin():
            yield session
    except REFUSALS as error:
        error.__cause__ = None  # the driver's own error, with the row: no traceback is to show it
        raise


def sql(statement: str) -> TextClause:
    """A statement whose ``:tenant_id`` the planner does not look up in its statistics.

    Of a shop that came after they were gathered these say that it has no rows. Then any index that begins with the tenant
    seems as good as the one of the ids, and each lookup by an id reads all of the shop's rows.
    """
    return sqlalchemy.text(statement.replace(":tenant_id", "(select cast(:tenant_id as uuid))"))


def copy(session: Session, statement: str, text: bytes) -> None:
    """Carry out a ``copy … from stdin`` within the session's transaction. Raises what any statement would."""
    connection = session.connection()
    driver: Any = connection.connection.dbapi_connection
    dialect: Any = connection.dialect
    try:
        with driver.cursor() as cursor:
            cursor.copy_expert(statement, io.BytesIO(text), size=COPY_CHUNK)
    except psycopg2.Error as error:
        if dialect.is_disconnect(error, driver, None):
            connection.invalidate(error)
            raise sqlalchemy.exc.OperationalError(None, None, error, hide_parameters=True) from None
        raise sqlalchemy.exc.DBAPIError.instance(statement, None, error, psycopg2.Error, hide_parameters=True) from None


def ping() -> None:
    """Raises one of OUTAGES when Postgres does not answer."""
    with engine().connect() as connection:
        connection.execute(sqlalchemy.text("select 1"))
