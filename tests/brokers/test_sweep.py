"""Schedules that fell due while the storage was full run once it has room, each once."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from brokers import BrokerUnavailable, JetStreamBroker, StorageFull
from brokers.api import Stored
from brokers.stuck_crons import StuckCrons
from brokers.sweep import OverdueSchedules, Sweeper
from brokers.ticks import Mark
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until
from tests.brokers.small_server import nats_server

pytestmark = pytest.mark.long


@pytest.fixture
def small_nats(tmp_path: Path) -> Iterator[str]:
    """A server that is soon full."""
    with nats_server(tmp_path, max_file="4MB") as url:
        yield url


def fill(broker: JetStreamBroker) -> None:
    """Fill the server until it refuses the smallest message."""
    broker.declare_queue("filling")
    for size in (400_000, 40_000, 1_000, 0):
        message: dramatiq.Message[Any] = dramatiq.Message("filling", "none", ("x" * size,), {}, {})
        try:
            while True:
                broker.enqueue(message)
        except StorageFull:
            continue


def overdue(broker: JetStreamBroker) -> OverdueSchedules:
    return OverdueSchedules(broker._names, broker._api, broker._publisher)


def test_what_fell_due_while_the_storage_was_full_runs_once_when_there_is_room(
    small_nats: str, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    ran: list[int] = []
    ids: dict[int, str] = {}

    def processes() -> list[JetStreamBroker]:
        brokers = [make_broker(small_nats) for _ in range(3)]
        for broker in brokers:

            @dramatiq.actor(broker=broker)
            def act(number: int) -> None:
                message = dramatiq.middleware.CurrentMessage.get_current_message()
                assert message is not None
                assert ids[number] == message.message_id
                ran.append(number)

            broker.add_middleware(dramatiq.middleware.CurrentMessage())
        return brokers

    # Given delayed messages that fall due while the server has no room
    brokers = processes()
    act = brokers[0].get_actor("act")
    for number in range(5):
        ids[number] = act.send_with_options(args=(number,), delay=1500 + 100 * number).message_id
    fill(brokers[0])
    for broker in brokers:
        start_worker(broker)
    time.sleep(3)
    assert ran == []
    # When there is room again
    brokers[0].flush("filling")
    freed = time.monotonic()
    # Then all run soon, each once, whatever the number of processes
    wait_until(lambda: len(ran) >= 5, timeout=30)
    assert time.monotonic() - freed < 30
    brokers[0].join("default", timeout=5000)
    time.sleep(0.5)
    assert sorted(ran) == [0, 1, 2, 3, 4]


def test_recurring_messages_tick_on_after_the_storage_was_full_and_make_up_for_one_tick(
    small_nats: str, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    ran: list[tuple[str, float]] = []

    def processes() -> list[JetStreamBroker]:
        brokers = [make_broker(small_nats) for _ in range(3)]
        for broker in brokers:

            @dramatiq.actor(broker=broker)
            def act(name: str) -> None:
                ran.append((name, time.time()))

        return brokers

    def times(name: str) -> list[float]:
        return sorted(at for who, at in ran if who == name)

    # Given recurring messages of both owners, of which some tick for the first time while the server has no room
    brokers = processes()
    broker = brokers[0]
    act = broker.get_actor("act")
    broker.cron("seconds", 2, act.message("seconds"))
    broker.ensure_streams()
    line = f"{(time.gmtime().tm_sec + 3) % 60} * * * * *"
    broker.schedules.put("minute", line, act.message("minute"))
    broker.schedules.put("later", "30s", act.message("later"))
    fill(broker)
    for each in brokers:
        start_worker(each)
    time.sleep(5.5)
    # When there is room again
    broker.flush("filling")
    freed = time.time()
    # Then what is missing runs, once for all missed ticks, and then all tick as before
    wait_until(lambda: times("minute") and times("seconds"), timeout=30)
    assert time.time() - freed < 30
    wait_until(lambda: len(times("seconds")) > 4, timeout=15)
    resumed = [at for at in times("seconds") if at > freed]
    # One that was missed, and the schedule's, which begins anew
    assert len(resumed) <= 2.5 + (resumed[-1] - resumed[0]) / 2
    assert len(times("minute")) <= 1 + (times("minute")[-1] - times("minute")[0]) // 50
    assert all(at > freed + 15 for at in times("later"))


def put_overdue(broker: JetStreamBroker, number: int = 0, *, seconds: float = 60) -> None:
    """Store a schedule that looks overdue to a sweep: its subject says so, the server's timer has it for later."""
    message: dramatiq.Message[Any] = dramatiq.Message("default", "act", (number,), {}, {})
    subject = broker._names.schedule(
        "default", "act", f"id-{number}", due=time.time() - seconds, message_id=message.message_id
    )
    target = broker._names.work("default", "act")
    headers = {"Nats-Schedule": "@at 2150-01-01T00:00:00Z", "Nats-Schedule-Target": target, "Mine": "kept"}
    broker._publisher.publish(subject, message.encode(), publish_id=message.message_id, headers=headers)


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sweeps believe the subject: the server itself would run what is truly due."""
    monkeypatch.setattr("brokers.sweep.due_of", lambda stored: 0.0)


@pytest.mark.usefixtures("believed")
def test_of_many_that_sweep_at_once_each_message_is_run_by_one(broker: JetStreamBroker) -> None:
    broker.ensure_streams()
    for number in range(20):
        put_overdue(broker, number, seconds=60 + 3 * number)
    threads = [threading.Thread(target=overdue(broker).sweep) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert broker.get_queue_message_counts("default") == (20, 0, 0)
    stored = list(broker._api.each(broker._names.work_stream, broker._names.work_of("default"), deadline=_soon()))
    assert {each.headers["Mine"] for each in stored} == {"kept"}
    assert len({each.body for each in stored}) == 20


@pytest.mark.usefixtures("believed")
def test_a_process_asks_for_all_past_times_at_first_and_only_for_new_ones_then(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.ensure_streams()
    put_overdue(broker, 1)
    put_overdue(broker, 2, seconds=3000)
    put_overdue(broker, 3, seconds=-300)  # is not due
    sweeping = overdue(broker)
    sweeping.sweep()
    assert broker.get_queue_message_counts("default") == (2, 1, 0)
    asked: list[str] = []
    any_of = broker._api.any_of
    monkeypatch.setattr(
        broker._api,
        "any_of",
        lambda stream, subjects, **more: asked.extend(subjects) or any_of(stream, subjects, **more),
    )
    sweeping.sweep()
    assert len(asked) <= 1


@pytest.mark.usefixtures("believed")
def test_more_overdue_messages_than_one_answer_holds_are_all_run(broker: JetStreamBroker) -> None:
    broker.ensure_streams()
    now = time.time()
    names = broker._names
    schedule = {"Nats-Schedule": "@at 2150-01-01T00:00:00Z", "Nats-Schedule-Target": names.work("default", "act")}
    for number in range(1500):
        subject = names.schedule("default", "act", f"{number}", due=now - 30 - 10 * (number % 3), message_id="m")
        broker._publisher.publish(subject, b"{}", publish_id=f"{number}", headers=schedule)
    overdue(broker).sweep()
    assert broker.get_queue_message_counts("default") == (1500, 0, 0)


@pytest.mark.usefixtures("believed")
def test_what_could_not_be_run_is_tried_at_the_next_look(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.ensure_streams()
    put_overdue(broker, 1)
    put_overdue(broker, 2)
    sweeping = overdue(broker)
    with monkeypatch.context() as broken:

        def refuse(*_: object, **__: object) -> int:
            raise StorageFull("no room")

        broken.setattr(broker._publisher, "publish", refuse)
        with pytest.raises(StorageFull):
            sweeping.sweep()
    sweeping.sweep()
    assert broker.get_queue_message_counts("default") == (2, 0, 0)


def test_sweeping_begins_with_the_first_consumer_outlives_failures_and_ends_with_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("brokers.sweep.PERIOD", 0.02)
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        raise BrokerUnavailable("away") if len(looks) % 2 else ValueError("unforeseen")

    class Consumer: ...

    first, second = Consumer(), Consumer()
    sweeper = Sweeper([look])
    assert looks == []
    sweeper.enter(first)
    sweeper.enter(second)
    wait_until(lambda: len(looks) > 4)
    sweeper.leave(first)
    seen = len(looks)
    wait_until(lambda: len(looks) > seen + 2)
    sweeper.leave(second)
    wait_until(lambda: not any(thread.name == "jetstream-sweep" for thread in threading.enumerate()))
    seen = len(looks)
    sweeper.enter(first)
    wait_until(lambda: len(looks) > seen)
    sweeper.stop()
    wait_until(lambda: not any(thread.name == "jetstream-sweep" for thread in threading.enumerate()))


def test_workers_sweep_while_they_run(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    def sweepers() -> int:
        return sum(thread.name == "jetstream-sweep" for thread in threading.enumerate())

    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    @dramatiq.actor(broker=broker, queue_name="other")
    def other() -> None: ...

    assert sweepers() == 0
    worker = start_worker(broker)
    wait_until(lambda: sweepers() == 1)
    worker.stop(timeout=5000)
    wait_until(lambda: sweepers() == 0)


def stuck_crons(broker: JetStreamBroker) -> StuckCrons:
    return StuckCrons(broker._names, broker._api, broker._links.wire(), broker._crons, broker._marks)


def put_stuck(broker: JetStreamBroker) -> Stored:
    """A recurring message whose mark says that it has missed a tick; the server itself has it for later."""
    broker.schedules.put("tick", "1h", dramatiq.Message("default", "act", (), {}, {}))
    subject = broker._names.cron("tick", owner="runtime")
    stored = broker._api.last(broker._names.work_stream, subject, deadline=_soon())
    assert stored is not None
    broker._marks.begin(subject, Mark(time.time() - 60, sequence=stored.sequence))
    return stored


def test_a_recurring_message_is_woken_only_when_it_is_seen_overdue_twice_on_one_connection(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokers.stuck_crons.PATIENCE", 0.0)
    broker.ensure_streams()
    put_stuck(broker)
    stuck = stuck_crons(broker)
    # A server that has just started runs what is overdue by itself
    stuck.sweep()
    assert broker.get_queue_message_counts("default")[0] == 0
    broker._links.wire()._made_at += 1
    stuck.sweep()
    assert broker.get_queue_message_counts("default")[0] == 0
    # Then it is woken, and once
    for _ in range(4):
        stuck.sweep()
    assert broker.get_queue_message_counts("default")[0] == 1
    assert broker.schedules.get("tick") is not None


def test_of_many_that_wake_a_recurring_message_one_does_even_when_its_tick_has_run(broker: JetStreamBroker) -> None:
    broker.ensure_streams()
    stored = put_stuck(broker)
    stuck = stuck_crons(broker)
    stuck._wake(stored, 0)
    assert broker.get_queue_message_counts("default")[0] == 1
    broker.flush("default")
    stuck._wake(stored, 0)
    assert broker.get_queue_message_counts("default")[0] == 0


def test_a_tick_that_came_meanwhile_is_not_made_up_for(broker: JetStreamBroker) -> None:
    broker.ensure_streams()
    stored = put_stuck(broker)
    target = stored.headers["Nats-Schedule-Target"]
    broker._publisher.publish(target, stored.body, publish_id="the server's own")
    stuck_crons(broker)._wake(stored, 0)
    assert broker.get_queue_message_counts("default")[0] == 1


def test_a_tick_that_waits_for_a_worker_is_not_missing(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokers.stuck_crons.PATIENCE", 0.0)
    broker.ensure_streams()
    # Given a recurring message whose ticks nobody takes: no mark tells of them
    broker.schedules.put("tick", 1, dramatiq.Message("default", "act", (), {}, {}))
    wait_until(lambda: broker.get_queue_message_counts("default")[0] >= 2)
    before = broker.schedules.get("tick")
    broker._marks.begin(broker._names.cron("tick", owner="runtime"), Mark(time.time() - 60, tick_ns=2**62))
    stuck = stuck_crons(broker)
    for _ in range(3):
        stuck.sweep()
    after = broker.schedules.get("tick")
    assert before is not None
    assert after is not None
    assert after.changed_at == before.changed_at


def _soon() -> float:
    return time.monotonic() + 10
