"""Limits of lanes: at most so many of a lane at once, over all workers, and nobody else waits for it."""

import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable

import dramatiq
import pytest

from brokers import JetStreamBroker
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


class Meter:
    """Notes what runs, and how many of a lane did at once at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ran: list[str] = []
        self._running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def run(self, lane: str, seconds: float) -> None:
        with self._lock:
            self._running[lane] += 1
            self.most[lane] = max(self.most[lane], self._running[lane])
        time.sleep(seconds)
        with self._lock:
            self._running[lane] -= 1
            self.ran.append(lane)


def declare(broker: JetStreamBroker, meter: Meter, limit: int, **options: object) -> "dramatiq.Actor[..., None]":
    @dramatiq.actor(broker=broker, actor_name="act", lane=lambda message: message.args[0], lane_limit=limit, **options)
    def act(lane: str, seconds: float) -> None:
        meter.run(lane, seconds)

    return act


def test_no_more_of_a_lane_run_at_once_than_its_limit_over_all_workers_and_priorities(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    meter = Meter()
    brokers = [make_broker(), make_broker()]
    act, _ = (declare(broker, meter, 2) for broker in brokers)
    for number in range(30):
        act.send_with_options(args=("a", 0.02), broker_priority=number % 3)
        act.send("b", 0.02)
    for broker in brokers:
        start_worker(broker, worker_threads=4)
    brokers[0].join("default", timeout=60_000)
    assert Counter(meter.ran) == {"a": 30, "b": 30}
    assert meter.most == {"a": 2, "b": 2}


def test_a_lane_at_its_limit_blocks_no_other(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    meter, go_on = Meter(), threading.Event()

    @dramatiq.actor(broker=broker, lane=lambda _message: "full", lane_limit=1)
    def wait() -> None:
        go_on.wait(30)

    act = declare(broker, meter, 1)
    for _ in range(50):
        wait.send()
    start_worker(broker, worker_threads=4)
    wait_until(lambda: broker.queue_stats()[0].outstanding > 0)
    for number in range(10):
        act.send(f"lane-{number}", 0.0)
    act.send_with_options(args=("", 0.0), lane=None)
    wait_until(lambda: len(meter.ran) == 11)
    wait_until(lambda: _unfinished(broker) == 50)
    broker.flush("default")
    go_on.set()


def _unfinished(broker: JetStreamBroker) -> int:
    (stats,) = broker.queue_stats()
    return stats.ready + stats.outstanding


def test_a_limit_is_of_the_actor_that_has_one(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    meter, free = Meter(), threading.Semaphore(0)

    @dramatiq.actor(broker=broker, lane=lambda _message: "a")
    def unlimited() -> None:
        free.release()
        both.wait(10)

    both = threading.Barrier(3)
    declare(broker, meter, 1)
    # Three at once of the same lane, or none gets through the barrier
    for _ in range(3):
        unlimited.send()
    start_worker(broker, worker_threads=4)
    broker.join("default", timeout=20_000)
    assert both.n_waiting == 0
    assert not both.broken


def test_a_long_task_keeps_its_slot(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    meter = Meter()
    brokers = [make_broker(ack_wait=1.0), make_broker(ack_wait=1.0)]
    act, _ = (declare(broker, meter, 1) for broker in brokers)
    for _ in range(3):
        act.send("a", 2.0)
    for broker in brokers:
        start_worker(broker)
    brokers[0].join("default", timeout=30_000)
    assert meter.most == {"a": 1}
    assert meter.ran == ["a"] * 3


def test_a_killed_workers_slot_is_free_again(
    nats: EmbeddedNats,
    make_broker: MakeBroker,
    start_process: Callable[..., "subprocess.Popen[bytes]"],
    ran: Callable[[], list[str]],
) -> None:
    broker = make_broker(ack_wait=1.5)
    broker.declare_queue("default")

    def send(text: str, seconds: float) -> None:
        broker.enqueue(dramatiq.Message("default", "limited", (text, seconds), {}, {"lane": "a"}))

    send("first", 60)
    worker = start_process(nats.url, "--processes", "1")
    wait_until(lambda: "begin-first" in ran(), timeout=30)
    send("second", 0)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(10)
    broker.flush("default")
    send("third", 0)
    start_process(nats.url, "--processes", "1")
    wait_until(lambda: "end-third" in ran(), timeout=30)


def test_priority_orders_within_a_limited_lane(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=broker, lane=lambda _message: "a", lane_limit=1)
    def act(priority: int) -> None:
        ran.append(priority)

    priorities = [0, 3, 1, 2] * 3
    for priority in priorities:
        act.send_with_options(args=(priority,), broker_priority=priority)
    start_worker(broker, worker_threads=1)
    broker.join("default", timeout=30_000)
    # A message that is about to start may have been overtaken by the one before
    assert ran[:3] == [3, 3, 3]
    assert sorted(ran) == sorted(priorities)


@pytest.mark.parametrize("raised", [True, False])
def test_a_limit_may_change_with_a_release(make_broker: MakeBroker, start_worker: MakeWorker, raised: bool) -> None:
    limits = (1, 3) if raised else (3, 1)
    for limit in limits:
        meter, broker = Meter(), make_broker()
        act = declare(broker, meter, limit)
        for _ in range(9):
            act.send("a", 0.1)
        worker = start_worker(broker, worker_threads=4)
        broker.join("default", timeout=20_000)
        worker.stop()
        assert meter.most["a"] == limit


@pytest.mark.parametrize("limit", [0, -1, "2", 1.5])
def test_a_limit_that_cannot_be_kept_is_refused_at_once(broker: JetStreamBroker, limit: object) -> None:
    with pytest.raises(ValueError, match="lane_limit"):
        dramatiq.actor(broker=broker, lane_limit=limit)(lambda: None)
