"""Messages that kill their worker are dead-lettered; whoever was near them, or lived through deploys, is not."""

import asyncio
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AsyncIO

from brokers import BrokerUnavailable, JetStreamBroker, identity, poison
from brokers.key_value import KeyValue
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until

pytestmark = pytest.mark.long

Start = Callable[..., "subprocess.Popen[bytes]"]
Ran = Callable[[], list[str]]


class OurFault(Exception):
    """Stands for an outage of ours."""


def lend_out(broker: JetStreamBroker, count: int, *, times: int = poison.SUSPECT_FROM - 1) -> None:
    """Let the server lend out the waiting messages at least so many times, as deploys do."""
    for _ in range(times):
        consumer = broker.consume("default", prefetch=count, timeout=200)
        messages: list[Any] = []
        wait_until(lambda: messages.append(next(consumer)) or len([each for each in messages if each]) == count)  # noqa: B023
        consumer.requeue([each for each in messages if each])
        consumer.close()


def marks(broker: JetStreamBroker, *, that_charge: bool = False) -> int:
    """How many messages are marked at the moment, or charged with a death if their worker dies now."""
    stream = f"KV_{broker._names.bucket('starts')}"
    stored = broker._api.each(stream, f"$KV.{broker._names.bucket('starts')}.>", deadline=time.monotonic() + 5)
    found = [json.loads(each.body) for each in stored if each.body]
    return len([mark for mark in found if mark["runs"] or not that_charge])


def buckets(broker: JetStreamBroker) -> KeyValue:
    return broker._suspects._marks._bucket


class Overlaps:
    """Notes who runs beside whom."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[str] = set()
        self.of: dict[str, set[str]] = {}

    def begin(self, name: str) -> None:
        with self._lock:
            for other in self._running:
                self.of[other].add(name)
            self.of[name] = set(self._running)
            self._running.add(name)

    def end(self, name: str) -> None:
        with self._lock:
            self._running.discard(name)


def test_a_suspect_runs_alone_in_its_process_and_others_together(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    overlaps = Overlaps()

    @dramatiq.actor(broker=broker)
    def act(name: str) -> None:
        overlaps.begin(name)
        time.sleep(0.15)
        overlaps.end(name)

    other = dramatiq.actor(act.fn, broker=broker, actor_name="other", queue_name="other")
    # Given two messages that have been lent out before, in one of two queues
    for name in ("suspect-1", "suspect-2"):
        act.send(name)
    lend_out(broker, 2)
    for number in range(4):
        act.send(f"normal-{number}")
        other.send(f"other-{number}")
    start_worker(broker, worker_threads=4)
    broker.join("default", timeout=20000)
    broker.join("other", timeout=20000)
    assert len(overlaps.of) == 10
    assert overlaps.of["suspect-1"] == overlaps.of["suspect-2"] == set()
    assert any(beside for name, beside in overlaps.of.items() if not name.startswith("suspect"))
    assert marks(broker) == 0


def test_async_suspects_run_alone_too(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    broker = make_broker(middleware=[AsyncIO(), dramatiq.middleware.Retries()])
    overlaps = Overlaps()

    @dramatiq.actor(broker=broker)
    async def act(name: str) -> None:
        overlaps.begin(name)
        await asyncio.sleep(0.15)
        overlaps.end(name)

    act.send("suspect")
    lend_out(broker, 1)
    for number in range(4):
        act.send(f"normal-{number}")
    start_worker(broker, worker_threads=4)
    broker.join("default", timeout=20000)
    assert overlaps.of["suspect"] == set()
    assert any(overlaps.of.values())


@pytest.mark.parametrize("outcome", ["success", "failure", "failure of ours", "interrupt"])
def test_a_suspect_is_marked_while_it_runs_and_never_after(
    outcome: str, broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    marked: list[int] = []

    @dramatiq.actor(broker=broker, infrastructure_errors=OurFault, max_retries=0)
    def act() -> None:
        marked.append(marks(broker))
        if outcome == "failure":
            raise ValueError
        if outcome == "failure of ours" and len(marked) < 3:
            raise OurFault
        if outcome == "interrupt":
            raise dramatiq.middleware.Shutdown

    act.send()
    lend_out(broker, 1)
    start_worker(broker)
    broker.join("default", timeout=20000)
    assert marked == ([1, 1, 1] if outcome == "failure of ours" else [1])
    wait_until(lambda: marks(broker) == 0)
    letters = [letter.error.partition(":")[0] for letter in broker.dead_letters.list()]
    assert letters == {"failure": ["ValueError"], "interrupt": ["Shutdown"]}.get(outcome, [])


def test_a_message_with_too_many_marks_is_dead_without_being_run_and_tells_its_history(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    message = act.send()
    lend_out(broker, 1)
    # Given three lone runs that never ended
    suspects = broker._suspects
    for _ in range(poison.DEATHS):
        consumer = broker.consume("default", prefetch=1, timeout=200)
        delivered = wait_until(lambda: next(consumer))  # noqa: B023
        suspects.begin(delivered)
        suspects._run = None  # as a killed process forgets it
        suspects._gate.leave()
        consumer.requeue([delivered])
        consumer.close()
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert not ran
    (letter,) = broker.dead_letters.list()
    assert letter.message_id == message.message_id
    assert letter.error.startswith("WorkerKilled: its worker was killed each of the last 3 times")
    assert letter.error.count(f":{os.getpid()}, delivery ") == 3
    assert letter.deliveries >= poison.SUSPECT_FROM + poison.DEATHS
    deaths = [attempt for attempt in letter.history if attempt.error == "the worker was killed"]
    assert [attempt.worker.rpartition(":")[2] for attempt in deaths] == 3 * [str(os.getpid())]
    # A replay begins without suspicion
    broker.dead_letters.replay(letter.sequence)
    broker.join("default", timeout=10000)
    assert ran == [1]


def test_a_suspect_whose_mark_cannot_be_stored_goes_back_and_is_not_run(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poison, "COME_AGAIN", 0.1)
    ran = []

    @dramatiq.actor(broker=broker, max_retries=0)
    def act() -> None:
        ran.append(1)

    act.send()
    lend_out(broker, 1)
    create, refused = buckets(broker).create, []

    def failing(*arguments: Any, **options: Any) -> int:
        if len(refused) < 2:
            refused.append(len(ran))
            raise BrokerUnavailable("gone")
        return create(*arguments, **options)

    monkeypatch.setattr(buckets(broker), "create", failing)
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert refused == [0, 0]
    assert ran == [1]
    assert broker.dead_letters.count() == 0


def test_a_mark_that_cannot_be_removed_at_once_is_removed_later(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    act.send()
    lend_out(broker, 1)
    delete, refused = buckets(broker).delete, []

    def failing(key: str) -> None:
        if not refused:
            refused.append(key)
            raise BrokerUnavailable("gone")
        delete(key)

    monkeypatch.setattr(buckets(broker), "delete", failing)
    start_worker(broker)
    broker.join("default", timeout=10000)
    wait_until(lambda: marks(broker) == 0)
    assert len(refused) == 1


def test_a_worker_that_is_told_to_stop_charges_nobody_with_its_death(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    began, may_end = threading.Event(), threading.Event()

    @dramatiq.actor(broker=broker)
    def act() -> None:
        began.set()
        may_end.wait(20)

    act.send()
    lend_out(broker, 1)
    worker = start_worker(broker)
    assert began.wait(10)
    assert marks(broker) == 1
    # When the worker stops, and its grace period ends before the task does
    worker.stop(timeout=100)
    assert marks(broker) == 0
    may_end.set()


def test_a_stopping_worker_does_not_wait_for_those_who_wait_for_a_suspect(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    began, ran = threading.Event(), []

    @dramatiq.actor(broker=broker)
    def act(seconds: float) -> None:
        ran.append(seconds)
        began.set()
        time.sleep(seconds)

    act.send(1.0)
    lend_out(broker, 1)
    worker = start_worker(broker, worker_threads=3)
    assert began.wait(10)
    for _ in range(3):
        act.send(0.0)
    wait_until(lambda: len(broker._suspects._gate._line) == 2)
    worker.stop(timeout=10000)
    assert ran == [1.0]
    assert broker._streams.unfinished("default") == 3
    # They run in the next one
    start_worker(broker)
    broker.join("default", timeout=30000)
    assert ran == [1.0, 0.0, 0.0, 0.0]


def test_a_stopping_worker_takes_nothing_new(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    may_end = [threading.Event(), threading.Event()]
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act(number: int) -> None:
        ran.append(number)
        may_end[number].wait(20)

    act.send(0)
    act.send(1)
    worker = start_worker(broker, worker_threads=2)
    wait_until(lambda: len(ran) == 2)
    stopping = threading.Thread(target=worker.stop, kwargs={"timeout": 20000})
    stopping.start()
    wait_until(broker.is_stopping)
    # When one ends, and there is more
    may_end[0].set()
    wait_until(lambda: broker._streams.unfinished("default") == 1)
    for _ in range(6):
        act.send(0)
    time.sleep(0.5)
    # Then what comes is what had been asked for before: two are prefetched for two threads
    assert broker.queue_stats()[0].outstanding <= 3
    may_end[1].set()
    stopping.join(20)
    assert broker._streams.unfinished("default") == 6


def test_a_suspect_that_lives_on_is_not_alone_for_ever(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poison, "FIRST_LONELINESS", 0.2)
    may_end, ran = threading.Event(), []

    @dramatiq.actor(broker=broker)
    def act(name: str) -> None:
        ran.append(name)
        if name == "long":
            may_end.wait(20)

    act.send("long")
    lend_out(broker, 1)
    start_worker(broker)
    wait_until(lambda: ran)
    act.send("other")
    wait_until(lambda: ran == ["long", "other"])
    assert marks(broker, that_charge=True) == 0
    may_end.set()
    broker.join("default", timeout=10000)
    assert marks(broker) == 0


def test_loneliness_grows_so_that_whatever_kills_late_is_found() -> None:
    lengths = [poison.Mark(outlived=times).loneliness for times in (0, 1, 2, 100, 10_000)]
    assert lengths == [60.0, 120.0, 240.0, 3600.0, 3600.0]


def test_a_message_that_kills_later_than_it_was_alone_is_alone_for_longer(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(poison, "FIRST_LONELINESS", 0.1)

    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    act.send()
    lend_out(broker, 1)
    loneliness = []

    def noted(suspects: poison.Suspects) -> None:
        assert suspects._run is not None
        loneliness.append(suspects._run.mark.loneliness)

    def outlives(suspects: poison.Suspects) -> None:
        noted(suspects)
        wait_until(lambda: suspects._gate._alone is None)

    for life in (outlives, outlives, noted):
        mark = killed_while_it_runs(broker, life)
    assert loneliness == [0.1, 0.2, 0.4]
    # Only the death while it was alone is charged
    assert (len(mark.runs), mark.outlived) == (1, 2)


@pytest.mark.parametrize("is_admitted", [False, True])
def test_deaths_before_a_run_that_gets_on_are_forgotten(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch, *, is_admitted: bool
) -> None:
    # Given a message whose workers were killed twice while it ran alone
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    act.send()
    lend_out(broker, 1)
    for _ in range(poison.DEATHS - 1):
        killed_while_it_runs(broker, lambda _: None)

    # When it gets on, alone or when others run beside it, before its worker is killed again
    def gets_on(suspects: poison.Suspects) -> None:
        if is_admitted:
            wait_until(lambda: suspects._gate._alone is None)
        suspects.note_progress()

    if is_admitted:
        monkeypatch.setattr(poison, "FIRST_LONELINESS", 0.1)
    mark = killed_while_it_runs(broker, gets_on)
    # Then only that death is charged, and none where others might have been at fault
    assert len(mark.runs) == (0 if is_admitted else 1)
    # And it goes on for ever as long as it gets on, which no other message says for it
    monkeypatch.setattr(poison, "FIRST_LONELINESS", 60.0)
    for _ in range(poison.DEATHS):
        mark = killed_while_it_runs(broker, lambda suspects: suspects.note_progress())
    assert len(mark.runs) == 1
    mark = killed_while_it_runs(broker, lambda suspects: elsewhere(suspects.note_progress))
    assert len(mark.runs) == 2


def elsewhere(call: Callable[[], None]) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)


def killed_while_it_runs(broker: JetStreamBroker, act: Callable[[poison.Suspects], None]) -> poison.Mark:
    """Run the waiting suspect in a process of its own that dies after ``act``; return its mark."""
    consumer = broker.consume("default", prefetch=1, timeout=200)
    delivered = wait_until(lambda: next(consumer))
    suspects = broker._new_suspects()
    suspects.begin(delivered)
    identity.begin(delivered.processing)
    act(suspects)
    identity.end()
    run = suspects._run
    assert run is not None
    run.is_marked = False  # as a killed process does nothing more
    consumer.requeue([delivered])
    consumer.close()
    return broker._suspects._marks.read(run.key)


def send(broker: JetStreamBroker, actor: str, *args: object) -> None:
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", actor, args, {}, {}))


def test_one_poison_message_among_a_hundred_and_five_deploys(
    nats: EmbeddedNats, make_broker: MakeBroker, start_process: Start, ran: Ran
) -> None:
    broker = make_broker(ack_wait=1.5)  # as the processes' own
    for number in range(100):
        if number == 30:
            send(broker, "kill_the_worker", "poison")
        send(broker, "slow", str(number), 0.15)
    # Given five deploys of two worker processes
    for _ in range(5):
        before = len(ran())
        worker = start_process(nats.url, "--processes", "2")
        wait_until(lambda: worker.poll() is not None or len(ran()) >= before + 12, timeout=20)  # noqa: B023
        if worker.poll() is None:
            worker.send_signal(signal.SIGTERM)
        worker.wait(20)
    # And a supervisor that starts a worker again whenever it died
    worker = start_process(nats.url, "--processes", "2")
    deadline = time.monotonic() + 60
    while broker._streams.unfinished("default") and time.monotonic() < deadline:
        if worker.poll() is not None:
            worker = start_process(nats.url, "--processes", "2")
        time.sleep(0.05)
    broker.join("default", timeout=1000)
    (letter,) = broker.dead_letters.list()
    assert letter.actor == "kill_the_worker"
    assert letter.error.startswith("WorkerKilled")
    assert {f"end-{number}" for number in range(100)} <= set(ran())
    # A deploy may have lent it out, too, and so made it a suspect earlier
    assert poison.DEATHS <= ran().count("poison") <= poison.SUSPECT_FROM - 1 + poison.DEATHS


@pytest.mark.timeout(240)
def test_a_batch_with_a_poison_message_costs_no_other_message(
    nats: EmbeddedNats, make_broker: MakeBroker, start_process: Start, ran: Ran
) -> None:
    broker = make_broker(ack_wait=1.5)  # as the processes' own
    for text in ("a", "b", "poison", "c"):
        send(broker, "kill_the_worker_in_a_batch", text)
    worker = start_process(nats.url, "--processes", "1")
    deadline = (
        time.monotonic() + 180
    )  # a suspect that met others comes again up to fifteen seconds later, and there are three deaths
    while broker._streams.unfinished("default") and time.monotonic() < deadline:
        if worker.poll() is not None:
            worker = start_process(nats.url, "--processes", "1")
        time.sleep(0.05)
    assert broker._streams.unfinished("default") == 0
    (letter,) = broker.dead_letters.list()
    assert letter.message is not None
    assert letter.message.args == ("poison",)
    assert letter.error.startswith("WorkerKilled")
    assert sorted(ran()) == ["a", "b", "c"]
