"""Priority: what has a higher one goes first, whenever it was enqueued and whoever took the rest already."""

import threading

import dramatiq
import pytest

from brokers import JetStreamBroker
from brokers.consumer import JetStreamConsumer
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


def test_messages_run_by_priority_also_with_a_prefetch_of_one(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act(priority: int) -> None:
        ran.append(priority)

    # Given three messages of each priority, before there is a worker
    priorities = [0, 3, 1, 2] * 3
    for priority in priorities:
        act.send_with_options(args=(priority,), broker_priority=priority)
    # When a worker takes one at a time
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=50)
    worker.queue_prefetch = 1
    worker.start()
    try:
        broker.join("default", timeout=10_000)
        worker.join()
    finally:
        worker.stop()
    # Then they ran by priority
    assert ran == sorted(priorities, reverse=True)


def test_a_higher_priority_goes_before_what_is_prefetched_already(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran: list[int] = []
    started, go_on = threading.Event(), threading.Event()

    @dramatiq.actor(broker=broker)
    def act(priority: int) -> None:
        ran.append(priority)
        started.set()
        go_on.wait(10)

    for _ in range(20):
        act.send(0)
    worker = start_worker(broker, worker_threads=1)
    assert started.wait(10)
    # Given a worker that is busy, with the next ones prefetched
    wait_until(lambda: broker.queue_stats()[0].outstanding >= 2)
    act.send_with_options(args=(9,), broker_priority=9)
    consumer = worker.consumers["default"].consumer
    assert isinstance(consumer, JetStreamConsumer)
    wait_until(lambda: consumer._sources.is_outranked("", 0))
    go_on.set()
    # Then only what waits for a thread comes before it
    broker.join("default", timeout=10_000)
    assert ran.index(9) <= 2


def test_an_actors_priority_is_its_messages_unless_they_have_their_own(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker, broker_priority=7)
    def act() -> None: ...

    assert act.send().options["broker_priority"] == 7
    assert act.send_with_options(broker_priority=2).options["broker_priority"] == 2


@pytest.mark.parametrize("priority", [-1, 256, "high", 1.5, True])
def test_a_priority_that_cannot_be_kept_is_refused_at_once(broker: JetStreamBroker, priority: object) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    with pytest.raises(ValueError, match="broker_priority"):
        act.send_with_options(broker_priority=priority)
    with pytest.raises(ValueError, match="broker_priority"):
        dramatiq.actor(broker=broker, actor_name="other", broker_priority=priority)(lambda: None)


def test_retries_and_replays_keep_lane_and_priority(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    broker = make_broker()
    places: list[tuple[object, object]] = []

    class Note(dramatiq.Middleware):
        def before_process_message(self, _broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
            places.append((message.options.get("lane"), message.options.get("broker_priority")))

    broker.add_middleware(Note())
    computed = iter(["first"])  # a second call would fail

    @dramatiq.actor(
        broker=broker,
        lane=lambda _message: next(computed),
        broker_priority=3,
        max_retries=1,
        min_backoff=1,
        max_backoff=1,
    )
    def act() -> None:
        raise ValueError("always")

    act.send()
    start_worker(broker)
    wait_until(lambda: broker.dead_letters.count() == 1)
    (letter,) = broker.dead_letters.list()
    broker.dead_letters.replay(letter.sequence)
    wait_until(lambda: len(places) == 4)
    assert set(places) == {("first", 3)}
