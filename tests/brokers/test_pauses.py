"""A queue that an operator paused: nothing starts in any worker, whatever is restarted, until it goes on."""

import subprocess
import threading
import time
from collections.abc import Callable

import dramatiq
import pytest
from dramatiq.errors import QueueNotFound

from brokers import JetStreamBroker
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


def is_held(worker: dramatiq.Worker) -> bool:
    consumer = worker.consumers["default"].consumer
    return consumer is not None and consumer.pause.is_held  # type: ignore[attr-defined]


def test_running_tasks_finish_and_prefetched_ones_do_not_start_until_the_queue_goes_on(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    began: list[int] = []
    ended: list[int] = []
    go_on = threading.Event()

    def act(number: int) -> None:
        began.append(number)
        go_on.wait(20)
        ended.append(number)

    brokers = [make_broker(), make_broker()]
    for broker in brokers:
        dramatiq.actor(act, broker=broker)
    operator, other = brokers
    # Given two workers that are busy, with more prefetched, delayed and laned
    for number in range(20):
        operator.enqueue(dramatiq.Message("default", "act", (number,), {}, {"lane": "a" if number % 2 else None}))
    workers = [start_worker(broker) for broker in brokers]
    wait_until(lambda: len(began) == 4)
    operator.enqueue(dramatiq.Message("default", "act", (20,), {}, {}), delay=600)
    operator.enqueue(dramatiq.Message("default", "act", (21,), {}, {}), delay=100)
    # When one of them pauses the queue
    operator.pause("default")
    assert other.is_paused("default")
    wait_until(lambda: all(is_held(worker) for worker in workers))
    go_on.set()
    # Then what ran is finished, and nothing else begins
    wait_until(lambda: len(ended) == 4)
    time.sleep(1.5)
    assert len(began) == 4
    assert operator.get_queue_message_counts("default")[1] <= 1
    # Nor in a worker that starts now
    late = start_worker(other)
    wait_until(lambda: is_held(late))
    time.sleep(0.3)
    assert len(began) == 4
    # And when it goes on, all run
    other.resume("default")
    assert not operator.is_paused("default")
    wait_until(lambda: sorted(ended) == list(range(22)), timeout=20)


def test_a_pause_survives_a_restart_of_the_server(
    own_nats: EmbeddedNats, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(own_nats.url, publish_timeout=10.0)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    worker = start_worker(broker)
    broker.pause("default")
    wait_until(lambda: is_held(worker))
    act.send()
    own_nats.stop()
    own_nats.start()
    act.send()
    time.sleep(1.5)
    assert broker.is_paused("default")
    assert ran == []
    broker.resume("default")
    wait_until(lambda: len(ran) == 2)
    broker.close()


def test_a_worker_process_stops_and_goes_on(
    nats: EmbeddedNats,
    make_broker: MakeBroker,
    start_process: Callable[..., "subprocess.Popen[bytes]"],
    ran: Callable[[], list[str]],
) -> None:
    broker = make_broker(ack_wait=1.5)
    broker.declare_queue("default")

    def send(text: str) -> None:
        broker.enqueue(dramatiq.Message("default", "noted", (text,), {}, {}))

    broker.pause("default")
    start_process(nats.url, "--processes", "2")
    send("early")
    time.sleep(3)
    assert ran() == []
    broker.resume("default")
    wait_until(lambda: ran() == ["early"], timeout=20)


def test_other_queues_go_on(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    ran: list[str] = []

    @dramatiq.actor(broker=broker, queue_name="one")
    def one() -> None:
        ran.append("one")

    @dramatiq.actor(broker=broker, queue_name="two")
    def two() -> None:
        ran.append("two")

    broker.pause("one")
    one.send()
    two.send()
    start_worker(broker)
    wait_until(lambda: ran == ["two"])
    broker.resume("one")
    wait_until(lambda: ran == ["two", "one"])


def test_a_pause_is_no_message_of_the_queue(broker: JetStreamBroker) -> None:
    broker.declare_queue("default")
    assert not broker.is_paused("default")
    broker.resume("default")
    broker.pause("default")
    broker.pause("default")
    assert broker.get_queue_message_counts("default") == (0, 0, 0)
    broker.join("default", timeout=1000)
    broker.flush("default")
    assert broker.is_paused("default")
    broker.resume("default")
    assert not broker.is_paused("default")
    with pytest.raises(QueueNotFound):
        broker.pause("never-declared")
