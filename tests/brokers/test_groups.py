"""Groups: their callbacks run once, when all members have, whatever is delivered twice or dies in between."""

import time
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AsyncIO, GroupCallbacks

from brokers import BrokerUnavailable, JetStreamBroker, JetStreamRateLimiterBackend
from brokers.consumer import JetStreamConsumer, JetStreamMessage
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


class Killed(BaseException):
    """Stands for the end of the process at that very place."""


class Tasks:
    """Actors on a broker with group callbacks, and what of them ran."""

    def __init__(self, broker: JetStreamBroker) -> None:
        self.broker = broker
        self.ran: list[int] = []
        self.called: list[str] = []
        self.backend = JetStreamRateLimiterBackend(broker=broker)
        broker.add_middleware(GroupCallbacks(self.backend))
        broker.add_middleware(AsyncIO())

        @dramatiq.actor(broker=broker, actor_name="work", min_backoff=20, max_backoff=20)
        def work(number: int, *results: int) -> int:
            self.ran.append(number)
            return number

        @dramatiq.actor(broker=broker, actor_name="work_async")
        async def work_async(number: int) -> None:
            self.ran.append(number)

        @dramatiq.actor(broker=broker, actor_name="finish", queue_name="callbacks")
        def finish(name: str) -> None:
            self.called.append(name)

        self.work, self.work_async, self.finish = work, work_async, finish

    def group(self, *children: Any, callbacks: int = 1) -> Any:
        group = dramatiq.group(children, broker=self.broker)
        for number in range(callbacks):
            group.add_completion_callback(self.finish.message(f"callback-{number}"))
        return group

    def stored_callbacks(self) -> int:
        return self.broker.get_queue_message_counts("callbacks")[0]


@pytest.fixture
def tasks(broker: JetStreamBroker) -> Tasks:
    return Tasks(broker)


class ByHand:
    """Takes messages as a worker does, with a crash where the test wants one."""

    def __init__(self, broker: JetStreamBroker) -> None:
        self.broker = broker
        self.consumer: JetStreamConsumer = broker.consume("default", prefetch=100, timeout=100)

    def take(self, count: int) -> list[JetStreamMessage]:
        return [wait_until(lambda: next(self.consumer)) for _ in range(count)]

    def process(self, message: JetStreamMessage) -> None:
        """Run a message with the middleware around it, and neither acknowledge it nor give it back."""
        self.broker.emit_before("process_message", message)
        try:
            result = self.broker.get_actor(message.actor_name)(*message.args, **message.kwargs)
            self.broker.emit_after("process_message", message, result=result)
        except Killed:
            self.broker.emit_after("skip_message", message)  # the thread goes on in this test

    def redeliver(self, messages: list[JetStreamMessage]) -> list[JetStreamMessage]:
        """What the server does with the messages of a killed worker."""
        self.consumer.requeue(messages)
        return self.take(len(messages))


@pytest.fixture
def by_hand(tasks: Tasks) -> ByHand:
    return ByHand(tasks.broker)


def test_callbacks_run_once_after_members_of_every_kind(tasks: Tasks, start_worker: MakeWorker) -> None:
    work, message = tasks.work, tasks.work.message(1)
    steps = dramatiq.pipeline([work.message(10), work.message(11), work.message(12)], broker=tasks.broker)
    # The same message and the same pipeline twice are two members each
    group = tasks.group(message, message, tasks.work_async.message(2), steps, steps, callbacks=3)
    for _ in range(2):
        group.run()
    start_worker(tasks.broker)
    tasks.broker.join("default", timeout=20_000)
    tasks.broker.join("callbacks", timeout=10_000)
    assert sorted(tasks.ran) == sorted([1, 1, 2, 10, 11, 12, 10, 11, 12] * 2)
    assert sorted(tasks.called) == sorted(["callback-0", "callback-1", "callback-2"] * 2)


def test_groups_in_groups_and_pipelines_of_groups_own_callbacks(tasks: Tasks, start_worker: MakeWorker) -> None:
    inner = [tasks.group(tasks.work.message(1), tasks.work.message(2)) for _ in range(2)]
    dramatiq.group([*inner, tasks.work.message(3)], broker=tasks.broker).run()
    start_worker(tasks.broker)
    wait_until(lambda: len(tasks.called) == 2)
    tasks.broker.join("default", timeout=10_000)
    assert sorted(tasks.ran) == [1, 1, 2, 2, 3]


def test_a_callback_waits_for_a_member_that_is_retried(tasks: Tasks, start_worker: MakeWorker) -> None:
    attempts: list[int] = []

    @dramatiq.actor(broker=tasks.broker, min_backoff=20, max_backoff=20)
    def fail_twice() -> None:
        attempts.append(len(tasks.called))
        if len(attempts) < 3:
            raise ValueError("not yet")

    tasks.group(fail_twice.message(), tasks.work.message(1)).run()
    start_worker(tasks.broker)
    wait_until(lambda: tasks.called)
    assert attempts == [0, 0, 0]


def test_a_replayed_dead_letter_completes_its_group(tasks: Tasks, start_worker: MakeWorker) -> None:
    attempts: list[int] = []

    @dramatiq.actor(broker=tasks.broker, max_retries=0)
    def fail_once() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("boom")

    tasks.group(fail_once.message(), tasks.work.message(1)).run()
    start_worker(tasks.broker)
    (letter,) = wait_until(tasks.broker.dead_letters.list)
    tasks.broker.join("default", timeout=5000)
    assert tasks.called == []
    tasks.broker.dead_letters.replay(letter.sequence)
    wait_until(lambda: tasks.called)


def test_a_member_that_is_delivered_again_counts_once(tasks: Tasks, by_hand: ByHand) -> None:
    # Given a group of three, of which one completed, was never acknowledged, and so is delivered twice more
    tasks.group(*map(tasks.work.message, range(3))).run()
    messages = by_hand.take(3)
    for _ in range(3):
        by_hand.process(messages[0])
        messages[:1] = by_hand.redeliver(messages[:1])
    assert tasks.stored_callbacks() == 0
    # When the others complete, the callback is stored with the last of them
    by_hand.process(messages[1])
    assert tasks.stored_callbacks() == 0
    by_hand.process(messages[2])
    assert tasks.stored_callbacks() == 1
    # And whoever is delivered again after that changes nothing
    for message in by_hand.redeliver(messages):
        by_hand.process(message)
    assert tasks.stored_callbacks() == 1


@pytest.mark.parametrize("stored", [0, 1, 2])
def test_a_worker_that_dies_between_the_last_completion_and_the_callbacks_loses_and_doubles_none(
    tasks: Tasks, by_hand: ByHand, monkeypatch: pytest.MonkeyPatch, stored: int
) -> None:
    tasks.group(tasks.work.message(1), tasks.work.message(2), callbacks=2).run()
    messages = by_hand.take(2)
    by_hand.process(messages[0])
    # Given a worker that dies when it has stored none, one or both of the callbacks
    with monkeypatch.context() as patch:
        if stored < 2:
            die_after(stored, tasks.broker, patch)
        else:
            patch.setattr(tasks.backend, "_close_group", raise_killed)
        by_hand.process(messages[1])
    assert tasks.stored_callbacks() == stored
    # When its message is delivered to another, and the other's too
    for message in by_hand.redeliver(messages):
        by_hand.process(message)
    assert tasks.stored_callbacks() == 2


def raise_killed(*arguments: object) -> None:
    raise Killed


def die_after(count: int, broker: JetStreamBroker, patch: pytest.MonkeyPatch) -> None:
    """Let the process die at the enqueue that follows so many."""
    enqueue, done = broker._enqueue, []

    def dying(*arguments: Any, **options: Any) -> Any:
        if len(done) == count:
            raise Killed
        done.append(1)
        return enqueue(*arguments, **options)

    patch.setattr(broker, "_enqueue", dying)


def test_a_closed_group_stays_closed_when_jetstream_has_forgotten_the_callbacks_id(make_broker: MakeBroker) -> None:
    tasks = Tasks(make_broker(duplicate_window=0.1))
    by_hand = ByHand(tasks.broker)
    tasks.group(tasks.work.message(1)).run()
    messages = by_hand.take(1)
    by_hand.process(messages[0])
    time.sleep(1.5)
    for message in by_hand.redeliver(messages):
        by_hand.process(message)
    assert tasks.stored_callbacks() == 1


def test_a_completion_that_cannot_be_stored_gives_its_message_back(
    tasks: Tasks, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    decrement, errors = tasks.backend.decr, [BrokerUnavailable("gone")]

    def failing(*arguments: Any) -> bool:
        if errors:
            raise errors.pop()
        return decrement(*arguments)

    monkeypatch.setattr(tasks.backend, "decr", failing)
    tasks.group(tasks.work.message(1)).run()
    start_worker(tasks.broker)
    wait_until(lambda: tasks.called)
    assert tasks.ran == [1, 1]


@pytest.mark.parametrize("stored", [0, 2, 4])
def test_a_group_that_an_actor_runs_is_run_once_when_the_actor_dies_meanwhile(
    tasks: Tasks, by_hand: ByHand, monkeypatch: pytest.MonkeyPatch, start_worker: MakeWorker, stored: int
) -> None:
    @dramatiq.actor(broker=tasks.broker)
    def begin() -> None:
        steps = dramatiq.pipeline([tasks.work.message(2), tasks.work.message(3)], broker=tasks.broker)
        tasks.group(tasks.work.message(0), tasks.work.message(1), steps).run()
        tasks.group(tasks.work.message(4)).run()

    # Given an actor that was killed when it had stored some of its groups' members
    begin.send()
    (message,) = by_hand.take(1)
    with monkeypatch.context() as patch:
        die_after(stored, tasks.broker, patch)
        by_hand.process(message)
    # When it is delivered again
    by_hand.consumer.requeue([message])
    by_hand.consumer.close()
    start_worker(tasks.broker)
    # Then each member ran once, and each callback
    wait_until(lambda: len(tasks.called) == 2)
    tasks.broker.join("default", timeout=10_000)
    assert sorted(tasks.ran) == [0, 1, 2, 3, 4]
    assert tasks.called == ["callback-0", "callback-0"]


def test_an_actor_that_runs_another_group_the_second_time_completes_that(
    tasks: Tasks, by_hand: ByHand, monkeypatch: pytest.MonkeyPatch, start_worker: MakeWorker
) -> None:
    sizes = [2, 3]

    @dramatiq.actor(broker=tasks.broker)
    def begin() -> None:
        tasks.group(*map(tasks.work.message, range(sizes.pop()))).run()

    begin.send()
    (message,) = by_hand.take(1)
    with monkeypatch.context() as patch:
        die_after(2, tasks.broker, patch)
        by_hand.process(message)
    by_hand.consumer.requeue([message])
    by_hand.consumer.close()
    start_worker(tasks.broker)
    wait_until(lambda: tasks.called)
    tasks.broker.join("default", timeout=10_000)
    assert sorted(tasks.ran) == [0, 0, 1, 1]


def test_a_group_whose_barrier_expired_says_so(
    tasks: Tasks, by_hand: ByHand, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks.group(tasks.work.message(1)).run()
    (message,) = by_hand.take(1)
    tasks.backend._counts.delete(message.options["group_completion_uuid"])
    by_hand.process(message)
    assert "is not known any more" in caplog.text
    assert tasks.stored_callbacks() == 0


def test_a_large_group_completes_once_on_many_threads(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    many = [Tasks(make_broker()) for _ in range(3)]
    many[0].group(*map(many[0].work.message, range(300))).run()
    for tasks in many:
        start_worker(tasks.broker, worker_threads=8)
    wait_until(lambda: any(tasks.called for tasks in many), timeout=60)
    many[0].broker.join("callbacks", timeout=10_000)
    assert sorted(number for tasks in many for number in tasks.ran) == list(range(300))
    assert [name for tasks in many for name in tasks.called] == ["callback-0"]
