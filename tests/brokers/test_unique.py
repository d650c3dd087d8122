"""Unique tasks: at most one for each key, queued or running, or only queued."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import Retry
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

from brokers import AlreadyQueued, BrokerUnavailable, JetStreamBroker
from brokers.consumer import JetStreamConsumer
from brokers.identity import nothing_is_processed
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until

Send = Callable[..., "dramatiq.Message[Any]"]


class Gate:
    """Holds tasks while they run."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.started = threading.Semaphore(0)
        self.open = threading.Event()

    def run(self, what: Any = None) -> None:
        self.ran.append(what)
        self.started.release()
        self.open.wait(20)

    def wait_for_start(self) -> None:
        assert self.started.acquire(timeout=10)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def waiting(broker: JetStreamBroker, queue: str = "default") -> tuple[int, int]:
    """Ready and delayed."""
    ready, delayed, _ = broker.get_queue_message_counts(queue)
    return ready, delayed


def is_new(message: "dramatiq.Message[Any]") -> bool:
    return "already_queued" not in message.options


def test_only_one_is_queued_for_the_same_arguments_and_enqueue_returns_it(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker, unique=True)
    def act(shop: str, deep: bool = False) -> None: ...

    first = act.send("a")
    again = act.send("a")
    assert is_new(first)
    assert not is_new(again)
    assert again.message_id == first.message_id
    # The same call spelled otherwise is the same
    assert not is_new(act.send(shop="a"))
    assert not is_new(act.send("a", deep=False))
    assert is_new(act.send("a", deep=True))
    assert is_new(act.send("b"))
    assert waiting(broker) == (3, 0)


def test_keys_are_an_actors_own_and_may_be_made_by_a_function_or_given_with_a_message(broker: JetStreamBroker) -> None:
    def by_shop(message: "dramatiq.Message[Any]") -> str | None:
        return message.args[0] or None

    @dramatiq.actor(broker=broker, unique=by_shop)
    def one(shop: str, number: int) -> None: ...

    @dramatiq.actor(broker=broker, unique=by_shop)
    def other(shop: str, number: int) -> None: ...

    @dramatiq.actor(broker=broker)
    def plain(number: int) -> None: ...

    assert is_new(one.send("a.b >", 1))
    assert not is_new(one.send("a.b >", 2))
    assert is_new(other.send("a.b >", 3))
    assert is_new(one.send("x" * 10_000, 4))
    assert not is_new(one.send("x" * 10_000, 5))
    # None is not unique
    assert is_new(one.send("", 6))
    assert is_new(one.send("", 7))
    # A message's own key wins
    assert is_new(one.send_with_options(args=("a.b >", 8), unique="mine"))
    assert is_new(one.send_with_options(args=("a.b >", 9), unique=False))
    assert is_new(plain.send_with_options(args=(10,), unique="k"))
    assert not is_new(plain.send_with_options(args=(11,), unique="k"))
    assert is_new(plain.send(12))
    assert waiting(broker) == (9, 0)


def test_of_many_that_enqueue_at_once_one_wins(make_broker: MakeBroker) -> None:
    brokers = [make_broker() for _ in range(2)]
    for broker in brokers:

        @dramatiq.actor(broker=broker, unique=True)
        def act(number: int) -> None: ...

    brokers[0].ensure_streams()
    sent: list[Any] = []
    start = threading.Barrier(8)

    def send(number: int) -> None:
        for key in range(10):
            start.wait(10)
            delay = 60_000 if number % 2 else None
            sent.append(brokers[number % 2].get_actor("act").send_with_options(args=(key,), delay=delay))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sent) == 80
    assert sum(is_new(message) for message in sent) == 10
    assert sum(waiting(brokers[0])) == 10


def test_a_running_one_counts_until_it_ends(broker: JetStreamBroker, start_worker: MakeWorker, gate: Gate) -> None:
    @dramatiq.actor(broker=broker, unique=True)
    def act() -> None:
        gate.run()

    start_worker(broker)
    act.send()
    gate.wait_for_start()
    assert not is_new(act.send())
    gate.open.set()
    broker.join("default", timeout=5000)
    assert is_new(act.send())
    broker.join("default", timeout=5000)
    assert len(gate.ran) == 2


def test_a_delayed_one_counts_as_queued_also_when_it_falls_due(
    broker: JetStreamBroker, start_worker: MakeWorker, gate: Gate
) -> None:
    @dramatiq.actor(broker=broker, unique=True)
    def act() -> None:
        gate.run()

    delayed = act.send_with_options(delay=700)
    standing = act.send()
    assert not is_new(standing)
    assert standing.message_id == delayed.message_id
    wait_until(lambda: waiting(broker) == (1, 0))
    assert not is_new(act.send())
    assert not is_new(act.send_with_options(delay=60_000))
    start_worker(broker)
    gate.wait_for_start()
    gate.open.set()
    broker.join("default", timeout=5000)
    assert len(gate.ran) == 1
    # The one that stands can be cancelled by whoever was told of it, and frees the key
    act.send_with_options(delay=60_000)
    assert broker.cancel(act.send())
    assert is_new(act.send())


def test_queued_means_that_exactly_one_more_may_wait_while_one_runs(
    broker: JetStreamBroker, start_worker: MakeWorker, gate: Gate
) -> None:
    @dramatiq.actor(broker=broker, unique=True, unique_while="queued")
    def act() -> None:
        gate.run()

    first = act.send()
    assert not is_new(act.send())
    start_worker(broker, worker_threads=1)
    gate.wait_for_start()
    # When one runs and many enqueue at once
    sent: list[Any] = []
    threads = [threading.Thread(target=lambda: sent.append(act.send())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then one of them is queued
    new = [message for message in sent if is_new(message)]
    assert len(new) == 1
    assert {message.message_id for message in sent} == {new[0].message_id}
    assert new[0].message_id != first.message_id
    gate.open.set()
    broker.join("default", timeout=5000)
    assert len(gate.ran) == 2


def test_what_is_enqueued_while_one_runs_is_never_lost(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    # Given a task that copies the newest number
    newest, copied = [0], [0]

    @dramatiq.actor(broker=broker, unique=True, unique_while="queued")
    def copy() -> None:
        copied.append(newest[0])

    start_worker(broker)
    # When numbers come as fast as they can, each with a wish to copy it
    for number in range(300):
        newest[0] = number
        copy.send()
    broker.join("default", timeout=10000)
    # Then the last has been copied, however the wishes and the runs met
    assert copied[-1] == 299


def test_retries_pass_and_keep_the_key_until_the_last_has_ended(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    attempts: list[int] = []

    @dramatiq.actor(broker=broker, unique=True, max_retries=3, min_backoff=2500, max_backoff=2500)
    def act() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise Retry(delay=50)
        if len(attempts) == 2:
            raise ValueError("again")

    act.send()
    start_worker(broker)
    wait_until(lambda: len(attempts) == 2 and waiting(broker) == (0, 1))
    assert not is_new(act.send())
    broker.join("default", timeout=10000)
    assert len(attempts) == 3
    assert is_new(act.send())


def test_a_dead_letter_frees_the_key_and_its_replay_passes(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=broker, unique=True, max_retries=0)
    def act() -> None:
        raise ValueError("no")

    act.send()
    worker = start_worker(broker)
    broker.join("default", timeout=5000)
    worker.stop(timeout=5000)
    assert broker.dead_letters.count() == 1
    assert is_new(act.send())
    assert broker.dead_letters.replay_all() == 1
    assert waiting(broker) == (2, 0)
    # And while the replayed one waits no other is queued
    assert not is_new(act.send())
    broker.flush("default")
    assert is_new(act.send())


def test_a_publish_whose_answer_was_lost_is_no_conflict_with_itself(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker, unique=True)
    def act(number: int) -> None: ...

    for delay in (None, 60_000):
        message, _ = broker.prepare(act.message(delay or 0))
        for _ in range(2):
            stored = broker.enqueue_prepared(message, delay=delay, publish_id=f"same-{delay}")
            assert is_new(stored)
            assert stored.message_id == message.message_id
    assert broker.cancel(stored)
    assert waiting(broker) == (1, 0)


def test_the_successor_of_a_repeated_delivery_is_no_conflict_with_itself(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran: list[str] = []

    @dramatiq.actor(broker=broker, unique=True, queue_name="other")
    def child() -> None:
        ran.append("child")

    @dramatiq.actor(broker=broker)
    def parent() -> None:
        ran.append("new" if is_new(child.send()) else "old")
        if len(ran) == 1:
            raise BrokerUnavailable("as if the process had died here")

    parent.send()
    start_worker(broker, queues={"default"})
    broker.join("default", timeout=10000)
    assert ran == ["new", "new"]
    assert waiting(broker, "other") == (1, 0)


def test_pipelines_and_groups_of_unique_tasks_work_or_say_that_they_cannot(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    broker.add_middleware(Results(backend=StubBackend()))

    @dramatiq.actor(broker=broker, unique=True, store_results=True)
    def add(left: int, right: int) -> int:
        return left + right

    # A chain whose middle is queued already would end there in silence
    with nothing_is_processed():
        add.send(1, 2)
        with pytest.raises(AlreadyQueued):
            (add.message(1, 2) | add.message(3)).run()
        # Its end may be: what the pipeline was to do last is going to be done
        (add.message(5, 2) | add.message(1)).run()
    start_worker(broker)
    broker.join("default", timeout=5000)
    pipe = (add.message(1, 2) | add.message(3)).run()
    assert pipe.get_result(block=True, timeout=5000) == 6
    group = dramatiq.group([add.message(1, number) for number in range(3)]).run()
    assert sorted(group.get_results(block=True, timeout=5000)) == [1, 2, 3]


def test_a_result_comes_from_the_message_that_stands(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dramatiq.broker.global_broker", broker)
    broker.add_middleware(Results(backend=StubBackend()))

    @dramatiq.actor(broker=broker, unique=True, store_results=True)
    def answer() -> int:
        return 42

    answer.send()
    second = answer.send()
    start_worker(broker)
    assert second.get_result(block=True, timeout=5000) == 42


def test_a_killed_worker_leaves_the_key_with_the_message(
    broker: JetStreamBroker, make_broker: MakeBroker, start_worker: MakeWorker, gate: Gate
) -> None:
    # Given a message that one process took and never finished
    holder = make_broker(ack_wait=1.0)

    @dramatiq.actor(broker=holder, unique=True)
    def act() -> None:
        gate.run()

    @dramatiq.actor(broker=broker, unique=True, actor_name="act")
    def same() -> None:
        gate.run()

    act.send()
    consumer = holder.consume("default", timeout=5000)
    assert next(consumer) is not None
    # Then it is not free, neither while that one holds it nor when it goes to another
    assert not is_new(same.send())
    consumer.close()
    holder.close()
    assert not is_new(same.send())
    start_worker(broker)
    gate.wait_for_start()
    gate.open.set()
    broker.join("default", timeout=10000)
    assert len(gate.ran) == 1


def test_options_that_mean_nothing_are_refused_where_they_are_written(broker: JetStreamBroker) -> None:
    for options in ({"unique": "key"}, {"unique": True, "unique_while": "waiting"}):
        with pytest.raises(ValueError, match="unique"):
            dramatiq.actor(lambda: None, actor_name="bad", broker=broker, **options)

    @dramatiq.actor(broker=broker, unique=lambda message: 5)
    def act() -> None: ...

    with pytest.raises(ValueError, match="text"):
        act.send()


def test_a_started_message_that_is_given_back_waits_again(
    broker: JetStreamBroker, start_worker: MakeWorker, gate: Gate
) -> None:
    failed = []

    @dramatiq.actor(broker=broker, unique=True, unique_while="queued")
    def act() -> None:
        if not failed:
            failed.append(1)
            raise BrokerUnavailable("an outage of ours")
        gate.run()

    message = act.send()
    start_worker(broker)
    wait_until(lambda: failed)
    standing = wait_until(lambda: (seen := act.send()) and not is_new(seen) and seen)
    assert standing.message_id == message.message_id
    gate.wait_for_start()
    time.sleep(0.05)
    assert is_new(act.send())


def test_one_that_has_ended_is_in_nobodys_way_before_its_acknowledgement_has_arrived(
    broker: JetStreamBroker, start_worker: MakeWorker, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    ack, ended = JetStreamConsumer.ack, threading.Event()

    def ack_late(consumer: JetStreamConsumer, message: dramatiq.broker.MessageProxy) -> None:
        ended.set()
        gate.open.wait(20)
        ack(consumer, message)

    monkeypatch.setattr(JetStreamConsumer, "ack", ack_late)

    @dramatiq.actor(broker=broker, unique=True, unique_while="queued")
    def act() -> None: ...

    act.send()
    worker = start_worker(broker, worker_threads=1)
    assert ended.wait(10)
    assert is_new(act.send())
    assert not is_new(act.send())
    gate.open.set()
    worker.stop(timeout=5000)
