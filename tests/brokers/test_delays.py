"""Delays: kept by the server, precise when short."""

import time
from pathlib import Path

import dramatiq
import pytest
from dramatiq.errors import Retry

from brokers import JetStreamBroker
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until
from tests.brokers.small_server import nats_server


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


def test_a_delayed_message_that_is_cancelled_does_not_run(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    ran: list[str] = []

    @dramatiq.actor(broker=broker)
    def act(name: str) -> None:
        ran.append(name)

    kept = act.send_with_options(args=("kept",), delay=900)
    gone = act.send_with_options(args=("gone",), delay=800)
    assert broker.cancel(gone) is True
    assert broker.cancel(gone) is False
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert ran == ["kept"]
    # Best effort: what ran cannot be cancelled any more
    assert broker.cancel(kept) is False


def test_a_message_is_cancelled_by_its_id_too(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker, queue_name="some.queue")
    def act() -> None: ...

    message = act.message()
    broker.enqueue(message, delay=3_600_000)
    broker.enqueue(message, delay=7_200_000)
    act.send_with_options(delay=3_600_000)
    assert broker.cancel(message.message_id) is True
    assert broker.get_queue_message_counts("some.queue") == (0, 1, 0)
    assert broker.cancel(message) is False  # this copy was not enqueued, so it is looked up
    assert broker.cancel("unknown") is False


def test_a_message_that_waits_for_no_time_is_not_cancelled(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    assert broker.cancel(act.message()) is False  # there is not even a stream
    message = act.send()
    assert broker.cancel(message) is False
    assert broker.get_queue_message_counts("default") == (1, 0, 0)


def test_a_message_enqueued_anew_is_not_mistaken_for_its_earlier_self(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    first = act.send_with_options(delay=60_000)
    second = broker.enqueue(first, delay=90_000)
    third = broker.enqueue(first)
    assert broker.cancel(third) is True  # by its id: both
    assert broker.cancel(first) is False
    assert broker.cancel(second) is False


def test_cancelling_needs_no_permission_but_to_publish(tmp_path: Path, make_broker: MakeBroker, namespace: str) -> None:
    subjects = f'"{namespace}.q.>", "{namespace}.sched.>"'
    users = f"""authorization {{ users: [
      {{ user: admin, password: admin }},
      {{ user: web, password: web,
         permissions: {{ publish: [{subjects}], subscribe: ["_INBOX_web.>"] }} }} ] }}"""
    with nats_server(tmp_path, more=users) as url:
        admin = make_broker(url.replace("://", "://admin:admin@"))
        admin.ensure_streams()
        web = make_broker(url.replace("://", "://web:web@"), inbox_prefix="_INBOX_web")

        @dramatiq.actor(broker=web)
        def act() -> None: ...

        message = act.send_with_options(delay=60_000)
        assert admin.get_queue_message_counts("default") == (0, 1, 0)
        assert web.cancel(message) is True
        assert web.cancel(message) is False
        assert admin.get_queue_message_counts("default") == (0, 0, 0)
        web.close()
        admin.close()


@pytest.mark.parametrize("years", [1, 200, 1000, 100_000])
def test_delays_may_be_of_any_length(broker: JetStreamBroker, start_worker: MakeWorker, years: int) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    start_worker(broker)
    message = act.send_with_options(delay=years * 365 * 86_400_000)
    time.sleep(0.6)  # the server's timer has gone off meanwhile
    assert broker.get_queue_message_counts("default") == (0, 1, 0)
    assert ran == []
    assert broker.cancel(message)
