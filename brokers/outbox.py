"""Transactional enqueue: a message goes out if and only if the database transaction that it belongs to commits.

``enqueue`` writes the message into a table, in the caller's transaction. A relay publishes what was committed and deletes
it: at once in a thread of the same process, and now and then in every worker (``OutboxRelay``), which finds what a killed
process left behind. Needs SQLAlchemy 2 and a database with ``UPDATE ... RETURNING`` (Postgres, SQLite).

A row is lent to one relay at a time, by a lease that is committed before its message is published: no transaction is open
while NATS is spoken to, and relays do not wait for each other. A relay that dies in between leaves a row whose lease ends;
the next one publishes it with the same id, which JetStream recognises for the broker's ``duplicate_window``. Only when no
relay reached both NATS and the database for that long may such a message, one in flight at the crash, go out twice.
"""

import logging
import os
import threading
import time
import uuid
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import dramatiq
from dramatiq.actor import Actor
from dramatiq.broker import Broker
from dramatiq.errors import DecodeError
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from dramatiq.worker import Worker
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from . import identity
from .broker import JetStreamBroker
from .errors import BrokerUnavailable, MessageTooLarge
from .relays import RelayThread, pause_after

logger = logging.getLogger(__name__)

#: Messages that a relay takes at once.
BATCH = 100
#: Seconds that a relay has for a batch. What a killed relay held goes out after that.
LEASE = 30.0
#: Seconds between the looks of a worker's relay.
INTERVAL = 1.0
#: Seconds that a worker's relay leaves a message to the thread of the process that committed it, which keeps their order.
GRACE = 1.0
#: Seconds that a worker's shutdown waits for its relay.
SHUTDOWN = 5.0


@dataclass(frozen=True, slots=True)
class OutboxCounts:
    """What an outbox holds: messages that wait for a relay, those set aside, and the age of the oldest that waits."""

    waiting: int
    set_aside: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class SetAside:
    """A message that can never be stored, with the reason."""

    id: int
    queue: str
    actor: str
    error: str
    body: bytes


@dataclass(frozen=True, slots=True)
class _Row:
    id: int
    publish_id: str
    message: bytes
    due_at: int | None
    attempts: int
    attempted_at: int

    def given_back(self) -> dict[str, Any]:
        """The columns of a row that was borrowed in vain."""
        is_first = self.attempts == 1
        return {
            "leased_until": 0,
            "attempts": self.attempts - 1,
            "attempted_at": None if is_first else self.attempted_at,
        }


class Outbox:
    """Messages on their way from a database's transactions to the broker.

    Examples:

      >>> outbox = Outbox(Base.metadata)  # before Alembic looks at the metadata
      >>> with Session(engine) as session, session.begin():
      ...     session.add(order)
      ...     outbox.send(session, send_receipt, order.id)
      >>> broker.add_middleware(OutboxRelay(outbox, engine))  # in the workers

    Parameters:
      metadata(MetaData): Where the table is declared, so that Alembic or ``create_all`` makes it.
      broker(JetStreamBroker): Where messages go; Dramatiq's global broker otherwise.
      table(str): The table's name.
    """

    def __init__(
        self, metadata: MetaData, *, broker: JetStreamBroker | None = None, table: str = "dramatiq_outbox"
    ) -> None:
        self._broker = broker
        self.table = _table(table, metadata)
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._threads: dict[Engine, RelayThread] = {}
        #: The engines at which a transaction has enqueued something.
        self._pending: weakref.WeakKeyDictionary[Session | Connection, set[Engine]] = weakref.WeakKeyDictionary()

    # For the one who has a transaction

    def enqueue(
        self,
        transaction: "Session | scoped_session[Any] | Connection",
        message: "Message[Any]",
        delay: int | None = None,
    ) -> "Message[Any]":
        """Enqueue a message when, and only when, a transaction commits.  Does not speak to NATS.

        Middleware's ``before_enqueue`` runs now, ``after_enqueue`` in the process that publishes the message.

        Parameters:
          transaction(Session | Connection): What the transaction belongs to.  With an ``AsyncSession``:
            ``await session.run_sync(outbox.enqueue, message)``.
          message(Message): The message to enqueue.
          delay(int): Milliseconds from now before which it must not run.

        Raises:
          QueueNotFound: When its queue was never declared.
          TypeError: When it is not what holds a transaction.
        """
        transaction = transaction() if isinstance(transaction, scoped_session) else transaction
        if not isinstance(
            transaction, Session | Connection
        ):  # the coroutine of an asynchronous one would be lost silently
            raise TypeError(f"a Session or a Connection is needed, not {type(transaction).__name__}")
        # Before middleware completes it: a repeated delivery of the message at work enqueues the same again
        publish_id = f"outbox:{uuid.uuid4().hex if identity.current() is None else identity.publish_id(message)}"
        message, wait = self._home().prepare(message, delay)
        now = _now()
        row = {
            "publish_id": publish_id,
            "queue": message.queue_name,
            "actor": message.actor_name,
            "message": message.encode(),
            "enqueued_at": now,
            "due_at": None if wait is None else now + int(wait),
        }
        transaction.execute(insert(self.table).values(row))
        self._look_after_commit(transaction)
        return message

    def send(
        self,
        transaction: "Session | scoped_session[Any] | Connection",
        actor: "Actor[Any, Any]",
        *args: Any,
        **kwargs: Any,
    ) -> "Message[Any]":
        """``actor.send(*args, **kwargs)`` when a transaction commits.  Raises as ``enqueue`` does."""
        return self.enqueue(transaction, actor.message(*args, **kwargs))

    # For the operator

    def counts(self, connection: "Session | Connection") -> OutboxCounts:
        """What the outbox holds."""
        columns = self.table.c
        waiting = func.count().filter(columns.error.is_(None))
        oldest = func.min(columns.enqueued_at).filter(columns.error.is_(None))
        total, kept, first = connection.execute(select(func.count(), waiting, oldest).select_from(self.table)).one()
        return OutboxCounts(kept, total - kept, 0.0 if first is None else max(0.0, (_now() - first) / 1000))

    def set_aside(self, connection: "Session | Connection") -> list[SetAside]:
        """The messages that can never be stored, oldest first."""
        columns = self.table.c
        chosen = select(columns.id, columns.queue, columns.actor, columns.error, columns.message)
        rows = connection.execute(chosen.where(columns.error.is_not(None)).order_by(columns.id))
        return [SetAside(*row) for row in rows]

    def retry(self, connection: "Session | Connection", row_id: int) -> None:
        """Let a message that was set aside be tried again, once what hindered it is mended."""
        chosen = update(self.table).where(self.table.c.id == row_id)
        connection.execute(chosen.values(error=None, leased_until=0, attempts=0))

    # The relay

    def relay(self, engine: Engine, *, older_than: float = 0.0) -> int:
        """Publish all that was committed.  Returns how many this call published.

        Any number of relays may run at once.

        Parameters:
          engine(Engine): Its database.
          older_than(float): Seconds since ``enqueue`` below which a message is left to others.

        Raises:
          BrokerUnavailable: When NATS is away; what is not published stays.
          SQLAlchemyError: When the database is.
        """
        published = 0
        try:
            while rows := self._take(engine, older_than):
                published += self._publish_all(engine, rows)
        except BrokerUnavailable:
            if thread := self._threads.get(engine):
                thread.wake()  # it may have found nothing, since this call had it all
            raise
        return published

    def _take(self, engine: Engine, older_than: float) -> Sequence[_Row]:
        """Borrow the oldest rows that nobody has borrowed."""
        columns, now = self.table.c, _now()
        is_free = [columns.error.is_(None), columns.leased_until <= now]
        if older_than > 0:
            is_free.append(columns.enqueued_at <= now - int(older_than * 1000))
        free = select(columns.id).where(*is_free).order_by(columns.id).limit(BATCH)
        borrowed = {
            "leased_until": now + int(self._lease() * 1000),
            "attempts": columns.attempts + 1,
            "attempted_at": func.coalesce(columns.attempted_at, now),
        }
        with engine.begin() as connection:
            ids = connection.scalars(free.with_for_update(skip_locked=True)).all()
            if not ids:
                return []
            # Where the database cannot lock rows, another relay may have borrowed some since.
            chosen = update(self.table).where(columns.id.in_(ids), columns.leased_until <= now).values(borrowed)
            taken = connection.execute(chosen.returning(*(columns[name] for name in _Row.__slots__)))
            return sorted((_Row(*row) for row in taken), key=lambda row: row.id)

    def _publish_all(self, engine: Engine, rows: Sequence[_Row]) -> int:
        """Publish borrowed rows in their order, delete those that are stored, and give back the rest."""
        began = time.monotonic()
        done: list[int] = []
        later = {row.id: row.given_back() for row in rows}
        try:
            for row in rows:
                if time.monotonic() - began > self._lease() / 2:
                    break
                later[row.id] = {"leased_until": 0}  # whatever happens, it may be stored now
                if outcome := self._try(row):
                    later[row.id] = outcome
                else:
                    done.append(row.id)
                    del later[row.id]
        finally:
            with engine.begin() as connection:
                self._settle(connection, done, later)
        return len(done)

    def _try(self, row: _Row) -> "dict[str, Any] | None":
        """Publish one row. Returns None, or what becomes of the row: no single message holds up the others."""
        try:
            self._publish(row)
        except BrokerUnavailable:
            raise
        except (MessageTooLarge, DecodeError) as error:
            logger.error("message %d of the outbox is set aside: %s", row.id, error)  # noqa: TRY400
            return {"leased_until": 0, "error": f"{type(error).__name__}: {error}"}
        except Exception:
            pause = pause_after(row.attempts)
            logger.exception("message %d of the outbox is tried again in %.1f s", row.id, pause)
            return {"leased_until": _now() + int(pause * 1000)}
        return None

    def _settle(self, connection: Connection, done: list[int], later: dict[int, dict[str, Any]]) -> None:
        if done:
            connection.execute(delete(self.table).where(self.table.c.id.in_(done)))
        for row_id, values in later.items():
            connection.execute(update(self.table).where(self.table.c.id == row_id).values(values))

    def _publish(self, row: _Row) -> None:
        broker, now = self._home(), _now()
        if now - row.attempted_at > broker.duplicate_window * 1000:
            logger.warning("message %d of the outbox was tried too long ago: if it was stored, it runs twice", row.id)
        delay = None if row.due_at is None else max(0, row.due_at - now)
        broker.enqueue_prepared(Message.decode(row.message), delay=delay, publish_id=row.publish_id)

    def _lease(self) -> float:
        return min(LEASE, self._home().duplicate_window / 3)

    def _home(self) -> JetStreamBroker:
        broker = self._broker if self._broker is not None else dramatiq.get_broker()
        if not isinstance(broker, JetStreamBroker):
            raise TypeError(f"the outbox needs a JetStreamBroker, and Dramatiq's broker is a {type(broker).__name__}")
        return broker

    # At once, in this process

    def _look_after_commit(self, transaction: Session | Connection) -> None:
        if isinstance(transaction, Session):
            engine = transaction.connection(bind_arguments={"clause": self.table}).engine
        else:
            engine = transaction.engine
        # A thread cannot use these: they are of one thread, one connection, or one event loop.
        if engine.dialect.is_async or isinstance(engine.pool, StaticPool | SingletonThreadPool):
            return
        if transaction not in self._pending:
            self._pending[transaction] = set()
            event.listen(transaction, "after_commit" if isinstance(transaction, Session) else "commit", self._committed)
        self._pending[transaction].add(engine)

    def _committed(self, transaction: Session | Connection) -> None:
        if isinstance(transaction, Session) and transaction.in_nested_transaction():
            return  # only a savepoint
        engines = self._pending.get(transaction, set())
        while engines:
            with suppress(RuntimeError):  # the interpreter is ending: no more threads, and the commit was a success
                self._wake(engines.pop())

    def _wake(self, engine: Engine) -> None:
        if self._pid != os.getpid():  # a fork has none of its parent's threads
            self._lock, self._threads, self._pid = threading.Lock(), {}, os.getpid()
        with self._lock:
            thread = self._threads.get(engine)
            if thread is None or not thread.wake():
                thread = self._threads[engine] = self.relay_thread(lambda: self.relay(engine), interval=None)
                thread.start()

    @staticmethod
    def relay_thread(look: Callable[[], int], *, interval: float | None) -> RelayThread:
        return RelayThread(look, passing=(BrokerUnavailable, SQLAlchemyError), interval=interval)


class OutboxRelay(Middleware):
    """Relays an outbox in every worker: what a killed process committed and could not publish any more.

    Parameters:
      outbox(Outbox): The outbox.
      engine(Engine | Callable[[], Engine]): Its database; or what returns it, for engines that are made after a fork.
      interval(float): Seconds between its looks.
    """

    def __init__(self, outbox: Outbox, engine: Engine | Callable[[], Engine], *, interval: float = INTERVAL) -> None:
        self._outbox = outbox
        self._engine = engine
        self._interval = interval
        self._threads: dict[Worker, RelayThread] = {}

    def after_worker_boot(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        thread = self._threads[worker] = self._outbox.relay_thread(self._look, interval=self._interval)
        thread.start()

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:  # noqa: ARG002
        thread = self._threads.pop(worker, None)
        if thread is not None:
            thread.stop(SHUTDOWN)

    def _look(self) -> int:
        engine = self._engine if isinstance(self._engine, Engine) else self._engine()
        return self._outbox.relay(engine, older_than=GRACE)


def _table(name: str, metadata: MetaData) -> Table:
    """All times are milliseconds since 1970, as Dramatiq's are."""
    return Table(
        name,
        metadata,
        Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
        Column("publish_id", Text, nullable=False, comment="by which JetStream recognises a repetition"),
        Column("queue", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("message", LargeBinary, nullable=False),
        Column("enqueued_at", BigInteger, nullable=False),
        Column("due_at", BigInteger, comment="when a delayed message is to run"),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("attempted_at", BigInteger, comment="the first time that it may have been published"),
        Column("leased_until", BigInteger, nullable=False, server_default="0", comment="a relay has it until then"),
        Column("error", Text, comment="why it can never be stored: it is set aside"),
        sqlite_autoincrement=True,
    )


def _now() -> int:
    return int(time.time() * 1000)
