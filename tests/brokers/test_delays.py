"""Delays: kept by the server, precise when short."""

import time

import dramatiq
import pytest
from dramatiq.errors import Retry

from brokers import JetStreamBroker
from tests.brokers.conftest import MakeWorker, wait_until


@pytest.mark.parametrize("delay", [20, 100, 400, 700])
def test_a_delayed_message_runs_when_due_and_never_before(
    broker: JetStreamBroker, start_worker: MakeWorker, delay: int
) -> None:
    runs = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        runs.append(time.monotonic())

    start_worker(broker)
    act.send()
    broker.join("default", timeout=5000)
    runs.clear()
    began = time.monotonic()
    act.send_with_options(delay=delay)
    broker.join("default", timeout=5000)
    late = runs[0] - began - delay / 1000
    # The server's own timer is coarse, ours for short delays is not
    assert -0.005 <= late < (0.1 if delay < 500 else 0.4)


def test_a_retry_with_a_short_delay_runs_again_within_50_ms_of_it(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    runs: list[float] = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        runs.append(time.monotonic())
        if len(runs) % 2:
            raise Retry(delay=100)

    start_worker(broker)
    for _ in range(5):
        act.send()
        broker.join("default", timeout=5000)
    pauses = sorted(second - first for first, second in zip(runs[::2], runs[1::2], strict=True))
    assert pauses[0] >= 0.1
    assert pauses[2] < 0.15  # the median: this machine has other work, too


def test_delayed_messages_wait_on_the_server_and_not_in_a_worker(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    start_worker(broker)
    message = act.send_with_options(delay=60_000)
    assert "eta" not in message.options
    assert message.queue_name == "default"
    assert broker.get_queue_message_counts("default") == (0, 1, 0)


def test_messages_with_short_delays_do_not_hold_up_others(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    runs: list[str] = []

    @dramatiq.actor(broker=broker)
    def act(name: str) -> None:
        runs.append(name)

    start_worker(broker, worker_threads=1)
    for number in range(20):
        act.send_with_options(args=(f"late-{number}",), delay=450)
    act.send("now")
    wait_until(lambda: runs)
    assert runs[0] == "now"
    broker.join("default", timeout=5000)
    assert len(runs) == 21
