"""Messages enqueued inside a database transaction go out if, and only if, it commits."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import sqlalchemy as sa
from dramatiq.errors import QueueNotFound
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from brokers import BrokerUnavailable, JetStreamBroker, RequestRefused, relays
from brokers import outbox as outbox_module
from brokers.outbox import Outbox, OutboxRelay
from brokers.relays import RelayThread, pause_after
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until

COMMITTER = Path(__file__).with_name("outbox_app.py")


@pytest.fixture(params=["postgres", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'outbox.db'}"
    server = request.getfixturevalue("postgres")
    return str(server.url).replace("postgresql:", "postgresql+psycopg2:")


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url)
    yield engine
    engine.dispose()


@dataclass(frozen=True)
class World:
    """A database with an outbox, a broker, and an actor that notes its argument."""

    broker: JetStreamBroker
    engine: sa.Engine
    outbox: Outbox
    act: "dramatiq.Actor[..., Any]"
    ran: list[Any]

    def transaction(self) -> AbstractContextManager[Session]:
        return sessionmaker(self.engine).begin()

    def relay(self) -> int:
        return self.outbox.relay(self.engine)

    def waiting(self) -> int:
        with self.engine.connect() as connection:
            return self.outbox.counts(connection).waiting

    def ready(self) -> int:
        return self.broker.get_queue_message_counts("default")[0]


def make_world(broker: JetStreamBroker, engine: sa.Engine) -> World:
    ran: list[Any] = []

    @dramatiq.actor(broker=broker)
    def act(value: Any) -> None:
        ran.append(value)

    metadata = sa.MetaData()
    outbox = Outbox(metadata, broker=broker, table=f"outbox_{uuid.uuid4().hex[:8]}")
    metadata.create_all(engine)
    return World(broker, engine, outbox, act, ran)


def end_world(world: World) -> None:
    for thread in world.outbox._threads.values():
        thread.stop(5)
    world.outbox.table.drop(world.engine)


@pytest.fixture
def world(broker: JetStreamBroker, engine: sa.Engine) -> Iterator[World]:
    world = make_world(broker, engine)
    yield world
    end_world(world)


@pytest.fixture
def by_hand(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which nothing is relayed but by a call: as if each process were killed right after its commits."""
    monkeypatch.setattr(world.outbox, "_wake", lambda engine: None)
    return world


# The transaction


def test_a_committed_message_goes_out_at_once_and_leaves_the_outbox(world: World, start_worker: MakeWorker) -> None:
    with world.transaction() as session:
        world.outbox.send(session, world.act, 1)
        assert world.ready() == 0
    wait_until(lambda: world.ready() == 1)
    start_worker(world.broker)
    world.broker.join("default", timeout=5000)
    assert world.ran == [1]
    wait_until(lambda: world.waiting() == 0)


@pytest.mark.parametrize("kind", ["core", "scoped"])
def test_whatever_holds_the_transaction_may_be_given(kind: str, world: World) -> None:
    if kind == "core":
        with world.engine.connect() as connection:
            for number in range(2):  # the same connection, twice
                world.outbox.send(connection, world.act, number)
                connection.commit()
                wait_until(lambda number=number: world.ready() == number + 1)
    else:
        sessions = scoped_session(sessionmaker(world.engine))
        for number in range(2):
            world.outbox.send(sessions, world.act, number)
            sessions.commit()
            wait_until(lambda number=number: world.ready() == number + 1)
        sessions.remove()


def test_a_rolled_back_message_never_goes_out(world: World) -> None:
    with Session(world.engine) as session:
        world.outbox.send(session, world.act, 1)
        session.rollback()
        world.outbox.send(session, world.act, 2)
        session.commit()
    wait_until(lambda: world.ready() == 1)
    assert world.relay() == 0
    assert world.ready() == 1


def test_a_rolled_back_savepoint_takes_its_message_along_and_no_other(by_hand: World, start_worker: MakeWorker) -> None:
    with by_hand.transaction() as session:
        by_hand.outbox.send(session, by_hand.act, "before")
        inner = session.begin_nested()
        by_hand.outbox.send(session, by_hand.act, "inside")
        inner.rollback()
        with session.begin_nested():
            by_hand.outbox.send(session, by_hand.act, "kept")
        by_hand.outbox.send(session, by_hand.act, "after")
    assert by_hand.relay() == 3
    start_worker(by_hand.broker, worker_threads=1)
    by_hand.broker.join("default", timeout=5000)
    assert by_hand.ran == ["before", "kept", "after"]


def test_an_unknown_queue_is_refused_in_the_transaction(world: World) -> None:
    with Session(world.engine) as session, pytest.raises(QueueNotFound):
        world.outbox.enqueue(session, dramatiq.Message("nowhere", "act", (), {}, {}))


def test_an_asynchronous_session_is_refused_at_once(by_hand: World) -> None:
    with pytest.raises(TypeError, match="not AsyncSession"):
        by_hand.outbox.send(AsyncSession(), by_hand.act, 1)  # type: ignore[arg-type]


def test_a_due_time_counts_from_the_enqueue_and_not_from_the_relay(
    by_hand: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_now", lambda: 1_000_000)
    with by_hand.transaction() as session:
        by_hand.outbox.enqueue(session, by_hand.act.message("past"), delay=1000)
        by_hand.outbox.enqueue(session, by_hand.act.message("future"), 90_000)
    delays: list[float | None] = []
    enqueue_prepared = by_hand.broker.enqueue_prepared

    def noting(message: Any, *, delay: float | None, publish_id: str) -> None:
        delays.append(delay)
        enqueue_prepared(message, delay=delay, publish_id=publish_id)

    monkeypatch.setattr(by_hand.broker, "enqueue_prepared", noting)
    monkeypatch.setattr(outbox_module, "_now", lambda: 1_030_000)
    by_hand.relay()
    assert delays == [0, 60_000]
    assert by_hand.broker.get_queue_message_counts("default")[:2] == (1, 1)


def test_middleware_completes_the_message_in_the_transaction_and_is_told_after_the_publish(by_hand: World) -> None:
    told: list[Any] = []

    class Tagging(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            message.options["tag"] = "of the caller"
            told.append("before")

        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            told.append(("after", message.options["tag"], by_hand.ready()))

    by_hand.broker.add_middleware(Tagging())
    with by_hand.transaction() as session:
        by_hand.outbox.send(session, by_hand.act, 1)
    assert told == ["before"]
    by_hand.relay()
    assert told == ["before", ("after", "of the caller", 1)]


# Crashes


@pytest.fixture
def commit_and_die(
    url: str, nats: EmbeddedNats, namespace: str, world: World
) -> Callable[[str], "subprocess.CompletedProcess[bytes]"]:
    """Commits a message in a process of its own that is killed by SIGKILL: between commit and relay, or within the relay."""

    def run(when: str) -> "subprocess.CompletedProcess[bytes]":
        environment = os.environ | {
            "OUTBOX_URL": url,
            "OUTBOX_TABLE": world.outbox.table.name,
            "OUTBOX_NATS": nats.url,
            "OUTBOX_NAMESPACE": namespace,
            "OUTBOX_DIE": when,
            "PYTHONPATH": str(COMMITTER.parent.parent.parent),
        }
        return subprocess.run([sys.executable, str(COMMITTER)], env=environment, timeout=60, check=False)

    return run


def test_a_message_survives_sigkill_between_commit_and_relay(
    commit_and_die: Callable[[str], Any], world: World, start_worker: MakeWorker
) -> None:
    assert commit_and_die("before the relay").returncode == -signal.SIGKILL
    assert (world.waiting(), world.ready()) == (1, 0)
    # When a worker comes, it relays
    world.broker.add_middleware(OutboxRelay(world.outbox, lambda: world.engine, interval=0.1))
    start_worker(world.broker)
    wait_until(lambda: world.ran == ["committed"])
    wait_until(lambda: world.waiting() == 0)


def test_a_relay_killed_between_publish_and_delete_doubles_nothing(
    commit_and_die: Callable[[str], Any], world: World, start_worker: MakeWorker
) -> None:
    assert commit_and_die("before the delete").returncode == -signal.SIGKILL
    assert (world.waiting(), world.ready()) == (1, 1)
    start_worker(world.broker)
    world.broker.join("default", timeout=5000)
    # While its lease lasts no other relay touches it
    assert world.relay() == 0
    expire_leases(world)
    assert world.relay() == 1
    world.broker.join("default", timeout=5000)
    assert world.ran == ["committed"]
    assert world.waiting() == 0


def expire_leases(world: World) -> None:
    table = world.outbox.table
    with world.engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.leased_until > 0).values(leased_until=1))


def test_a_delayed_message_is_recognised_too_when_it_has_become_due_meanwhile(
    by_hand: World, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with by_hand.transaction() as session:
        by_hand.outbox.enqueue(session, by_hand.act.message(1), delay=700)
    with monkeypatch.context() as patch:
        patch.setattr(by_hand.outbox, "_settle", lambda *_: None)  # as if killed
        by_hand.relay()
    start_worker(by_hand.broker)
    by_hand.broker.join("default", timeout=5000)
    expire_leases(by_hand)
    assert by_hand.relay() == 1
    by_hand.broker.join("default", timeout=5000)
    assert by_hand.ran == [1]


def test_what_may_have_gone_out_before_the_servers_memory_is_named_in_the_log(
    by_hand: World, caplog: pytest.LogCaptureFixture
) -> None:
    with by_hand.transaction() as session:
        by_hand.outbox.send(session, by_hand.act, 1)
        session.execute(sa.update(by_hand.outbox.table).values(attempted_at=int(time.time() * 1000) - 601_000))
    assert by_hand.relay() == 1
    assert "runs twice" in caplog.text


def test_a_delivery_that_comes_again_enqueues_nothing_twice(by_hand: World, start_worker: MakeWorker) -> None:
    class Ours(Exception): ...

    attempts: list[int] = []

    @dramatiq.actor(broker=by_hand.broker, infrastructure_errors=Ours)
    def parent() -> None:
        with by_hand.transaction() as session:
            by_hand.outbox.send(session, by_hand.act, "child")
            by_hand.outbox.send(session, by_hand.act, "child")
        attempts.append(1)
        if len(attempts) == 1:
            raise Ours  # after the commit

    parent.send()
    start_worker(by_hand.broker)
    by_hand.broker.join("default", timeout=10_000)
    assert by_hand.relay() == 4
    by_hand.broker.join("default", timeout=5000)
    # The actor wanted two; its second run was the same delivery
    assert by_hand.ran == ["child", "child"]


# The relay


def test_messages_of_a_transaction_keep_their_order_over_many_batches(
    by_hand: World, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "BATCH", 7)
    with by_hand.transaction() as session:
        for number in range(30):
            by_hand.outbox.send(session, by_hand.act, number)
    assert by_hand.relay() == 30
    start_worker(by_hand.broker, worker_threads=1)
    by_hand.broker.join("default", timeout=5000)
    assert by_hand.ran == list(range(30))


def test_several_relays_at_once_share_the_work_and_double_nothing(
    by_hand: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "BATCH", 5)
    with by_hand.transaction() as session:
        for number in range(60):
            by_hand.outbox.send(session, by_hand.act, number)
    published: list[int] = []
    relays = [
        RelayThread(lambda: published.append(by_hand.relay()) or 0, passing=(sa.exc.SQLAlchemyError,), interval=0.05)
        for _ in range(4)
    ]
    for relay in relays:
        relay.start()
    wait_until(lambda: by_hand.waiting() == 0, timeout=20)
    for relay in relays:
        relay.stop(10)
    # Each was published by one relay alone
    assert sum(published) == 60
    assert by_hand.ready() == 60


def test_what_another_relay_has_does_not_hold_up_the_rest(by_hand: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "BATCH", 1)
    with by_hand.transaction() as session:
        for number in range(3):
            by_hand.outbox.send(session, by_hand.act, number)
    table, first = by_hand.outbox.table, sa.select(sa.func.min(by_hand.outbox.table.c.id)).scalar_subquery()
    # Given one that is lent
    with by_hand.engine.begin() as connection:
        lent = sa.update(table).where(table.c.id == first).values(leased_until=2**60)
        connection.execute(lent)
    if by_hand.engine.dialect.name == "postgresql":
        # And one that is just being taken
        with by_hand.engine.begin() as connection:
            second = sa.select(table.c.id).where(table.c.leased_until == 0).order_by(table.c.id).limit(1)
            connection.execute(second.with_for_update())
            assert by_hand.relay() == 1
    assert by_hand.relay() >= 1
    assert by_hand.waiting() == 1


def test_a_dead_nats_delays_no_commit_and_loses_nothing(
    own_nats: EmbeddedNats, make_broker: MakeBroker, engine: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(make_broker(own_nats.url), engine)
    world.broker.ensure_streams()
    own_nats.kill()
    began = time.monotonic()
    for number in range(5):
        with world.transaction() as session:
            world.outbox.send(session, world.act, number)
    assert time.monotonic() - began < 2  # each publish alone would wait as long
    wait_until(lambda: "relay waits" in caplog.text)
    wait_until(lambda: _is_refused(world))
    assert world.waiting() == 5
    # When NATS is back everything goes out by itself
    own_nats.start()
    wait_until(lambda: world.waiting() == 0, timeout=30)
    assert world.ready() == 5
    assert len([record for record in caplog.records if "relay waits" in record.getMessage()]) <= 2
    end_world(world)


def _is_refused(world: World) -> bool:
    try:
        world.relay()  # takes nothing while the thread has everything
    except BrokerUnavailable:
        return True
    return False


def test_a_message_that_can_never_be_stored_is_set_aside_visibly_and_blocks_nobody(by_hand: World) -> None:
    with by_hand.transaction() as session:
        by_hand.outbox.send(session, by_hand.act, "first")
        by_hand.outbox.send(session, by_hand.act, "x" * 2_000_000)
        by_hand.outbox.send(session, by_hand.act, "last")
    assert by_hand.relay() == 2
    assert by_hand.relay() == 0
    with by_hand.engine.begin() as connection:
        (kept,) = by_hand.outbox.set_aside(connection)
        counts = by_hand.outbox.counts(connection)
        assert (counts.waiting, counts.set_aside) == (0, 1)
        assert (kept.queue, kept.actor) == ("default", "act")
        assert kept.error.startswith("MessageTooLarge: the message has 2,")
        # When it is told to, it is tried again
        by_hand.outbox.retry(connection, kept.id)
        assert by_hand.outbox.counts(connection).waiting == 1
    assert by_hand.relay() == 0


def test_a_message_that_is_refused_waits_and_blocks_nobody(by_hand: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with by_hand.transaction() as session:
        by_hand.outbox.send(session, by_hand.act, "first")
        by_hand.outbox.send(session, by_hand.act, "second")
    publish, errors = by_hand.broker.enqueue_prepared, [RequestRefused("no permission", 1)]

    def refusing(*arguments: Any, **options: Any) -> None:
        if errors:
            raise errors.pop()
        publish(*arguments, **options)

    monkeypatch.setattr(by_hand.broker, "enqueue_prepared", refusing)
    monkeypatch.setattr(outbox_module, "pause_after", lambda failures: 60.0)
    assert by_hand.relay() == 1
    assert by_hand.waiting() == 1
    expire_leases(by_hand)
    assert by_hand.relay() == 1


def test_pauses_grow_with_jitter_to_half_a_minute() -> None:
    assert 0.125 <= pause_after(1) <= 0.25
    assert 15 <= pause_after(100) <= 30
    assert len({pause_after(5) for _ in range(10)}) > 1


def test_a_worker_leaves_fresh_messages_to_the_process_that_committed_them(by_hand: World) -> None:
    with by_hand.transaction() as session:
        by_hand.outbox.send(session, by_hand.act, 1)
    assert by_hand.outbox.relay(by_hand.engine, older_than=60) == 0
    assert by_hand.relay() == 1


def test_the_broker_alone_needs_no_database() -> None:
    code = "import sys, brokers; sys.exit('sqlalchemy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=COMMITTER.parent.parent.parent, check=False).returncode == 0


def test_an_idle_thread_ends_and_the_next_commit_starts_another(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays, "IDLE", 0.01)
    for number in range(2):
        with world.transaction() as session:
            world.outbox.send(session, world.act, number)
        wait_until(lambda number=number: world.ready() == number + 1)
        (thread,) = world.outbox._threads.values()
        wait_until(lambda thread=thread: not thread.is_alive())


def test_a_fork_relays_what_it_commits(world: World) -> None:
    # Given what a fork has of its parent: a thread that does not run
    world.outbox._threads[world.engine] = world.outbox.relay_thread(lambda: 0, interval=None)
    world.outbox._pid = os.getppid()
    with world.transaction() as session:
        world.outbox.send(session, world.act, "child")
    wait_until(lambda: world.ready() == 1)
