"""Prometheus metrics: what processes count and time, and what the server holds."""

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import SkipMessage
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from brokers import JetStreamBroker, MessageTooLarge
from brokers.metrics import JetStreamCollector, Metrics
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until

ROOT = Path(__file__).parent.parent.parent


class Scrapes:
    """What a scrape of a broker's metrics shows."""

    def __init__(self, broker: JetStreamBroker) -> None:
        self.registry = CollectorRegistry()
        self.broker = broker
        broker.add_middleware(Metrics(registry=self.registry))
        self.registry.register(JetStreamCollector(broker))

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"dramatiq_jetstream_{name}", labels)

    def of_actor(self, name: str, actor: str = "act") -> float | None:
        return self(name, queue="default", actor=actor)

    def of_queue(self, name: str) -> float | None:
        return self(f"queue_{name}", queue="default")


@pytest.fixture
def scraped(broker: JetStreamBroker) -> Scrapes:
    return Scrapes(broker)


# What processes count


def test_runs_failures_retries_and_dead_letters_are_counted_by_queue_and_actor(
    scraped: Scrapes, start_worker: MakeWorker
) -> None:
    @dramatiq.actor(broker=scraped.broker, max_retries=2, min_backoff=10, max_backoff=10)
    def bad() -> None:
        raise ValueError("boom")

    @dramatiq.actor(broker=scraped.broker)
    def good() -> None: ...

    bad.send()
    good.send()
    good.send()
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("messages_rejected_total", "bad") == 1)
    scraped.broker.join("default", timeout=5000)
    wait_until(lambda: scraped.of_actor("messages_running", "good") == 0)
    names = ("messages_enqueued_total", "messages_processed_total", "messages_failed_total", "messages_retried_total")
    assert [scraped.of_actor(name, "bad") for name in names] == [3, 3, 3, 2]
    assert [scraped.of_actor(name, "good") for name in names] == [2, 2, None, None]
    assert scraped.of_actor("messages_rejected_total", "good") is None
    assert scraped.of_actor("messages_running", "bad") == 0


def test_publishes_and_runs_are_timed(scraped: Scrapes, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act() -> None:
        time.sleep(0.02)

    act.send()
    act.send_with_options(delay=20)
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("process_seconds_count") == 2)
    assert (scraped.of_actor("process_seconds_sum") or 0) >= 0.04
    assert scraped.of_actor("publish_seconds_count") == 2
    assert 0 < (scraped.of_actor("publish_seconds_sum") or 0) < 4


def test_a_publish_that_fails_leaves_nothing_behind(scraped: Scrapes) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act(text: str) -> None: ...

    with pytest.raises(MessageTooLarge):
        act.send("x" * 2_000_000)
    gc.collect()
    (metrics,) = (each for each in scraped.broker.middleware if isinstance(each, Metrics))
    assert metrics._publishes == {}
    assert scraped.of_actor("publish_seconds_count") is None


def test_what_runs_at_the_moment_is_shown(scraped: Scrapes, start_worker: MakeWorker) -> None:
    gate = threading.Event()

    @dramatiq.actor(broker=scraped.broker)
    def act() -> None:
        gate.wait(10)

    act.send()
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("messages_running") == 1)
    gate.set()
    wait_until(lambda: scraped.of_actor("messages_running") == 0)


def test_redeliveries_are_counted(scraped: Scrapes, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act() -> None: ...

    act.send()
    consumer = scraped.broker.consume("default", timeout=5000)
    message = next(consumer)
    assert message is not None
    consumer.requeue([message])
    consumer.close()
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("messages_processed_total") == 1)
    assert scraped.of_actor("messages_redelivered_total") == 1


def test_skipped_and_given_back_messages_are_no_runs(scraped: Scrapes, start_worker: MakeWorker) -> None:
    class Ours(Exception): ...

    class Skipping(dramatiq.Middleware):
        def before_process_message(self, broker: Any, message: Any) -> None:
            if message.options.get("skip"):
                raise SkipMessage

    scraped.broker.add_middleware(Skipping())
    runs = []

    @dramatiq.actor(broker=scraped.broker, infrastructure_errors=Ours)
    def act() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise Ours

    act.send_with_options(skip=True)
    act.send()
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("messages_processed_total") == 1)
    assert scraped.of_actor("messages_skipped_total") == 2
    assert scraped.of_actor("messages_failed_total") is None
    assert scraped.of_actor("messages_running") == 0


def test_each_message_of_a_batch_is_a_run(scraped: Scrapes, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=scraped.broker, batch_size=3, batch_wait=1000, max_retries=0)
    def act(messages: list[Any]) -> None:
        if any(message.args == (2,) for message in messages):
            raise ValueError("boom")

    for number in range(3):
        act.send(number)
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("messages_rejected_total") == 1)
    assert scraped.of_actor("messages_processed_total") == 3
    assert scraped.of_actor("messages_failed_total") == 1
    assert scraped.of_actor("process_seconds_count") == 3
    assert scraped.of_actor("messages_running") == 0


def test_processes_add_up_in_prometheus_clients_multiprocess_mode(
    nats: EmbeddedNats, namespace: str, tmp_path: Path, broker: JetStreamBroker
) -> None:
    code = (
        "import sys, dramatiq; from brokers import JetStreamBroker; from brokers.metrics import Metrics\n"
        "broker = JetStreamBroker(sys.argv[1], namespace=sys.argv[2]); broker.add_middleware(Metrics())\n"
        "act = dramatiq.actor(lambda: None, actor_name='act', broker=broker); act.send()"
    )
    for _ in range(2):
        environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", code, nats.url, namespace], cwd=ROOT, env=environment, check=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    labels = {"queue": "default", "actor": "act"}
    assert registry.get_sample_value("dramatiq_jetstream_messages_enqueued_total", labels) == 2
    assert registry.get_sample_value("dramatiq_jetstream_publish_seconds_count", labels) == 2


def test_several_brokers_share_a_registry(make_broker: MakeBroker) -> None:
    registry = CollectorRegistry()
    for _ in range(2):
        make_broker().add_middleware(Metrics(registry=registry))


# What the server holds


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.mark.parametrize("lane", [None, "shop-1"])
def test_depths_and_ages_are_asked_of_the_server(
    scraped: Scrapes, start_worker: MakeWorker, gate: threading.Event, lane: str | None
) -> None:
    options: dict[str, Any] = {} if lane is None else {"lane": lane}

    @dramatiq.actor(broker=scraped.broker)
    def act() -> None:
        gate.wait(20)

    @dramatiq.actor(broker=scraped.broker, max_retries=0)
    def bad() -> None:
        raise ValueError("boom")

    bad.send_with_options(**options)
    for _ in range(2):
        act.send_with_options(**options)
    start_worker(scraped.broker, worker_threads=1)
    wait_until(lambda: scraped.of_actor("messages_rejected_total", "bad") == 1)
    wait_until(lambda: scraped.of_actor("messages_running") == 1)
    for _ in range(5):
        act.send_with_options(**options)
    act.send_with_options(delay=60_000, **options)
    bad.send_with_options(delay=60_000, **options)
    # When the worker holds as many as it takes in advance
    wait_until(lambda: scraped.of_queue("outstanding_messages") == 2 and scraped.of_queue("ready_messages") == 5)
    # Then a scrape tells them apart
    assert scraped.of_queue("delayed_messages") == 2
    assert scraped.of_queue("dead_letters") == 1
    assert scraped.of_actor("actor_waiting_messages") == 7
    assert scraped.of_actor("actor_waiting_messages", "bad") == 0
    assert [scraped.of_actor("actor_delayed_messages", actor) for actor in ("act", "bad")] == [1, 1]
    assert [scraped.of_actor("actor_dead_letters", actor) for actor in ("act", "bad")] == [0, 1]
    assert scraped("up") == 1
    # The oldest is at work, and so no worker lags behind with it
    for prefix in ("queue", "actor"):
        labels = {"queue": "default"} | ({"actor": "act"} if prefix == "actor" else {})
        lag, oldest = scraped(f"{prefix}_lag_seconds", **labels), scraped(f"{prefix}_oldest_seconds", **labels)
        assert lag is not None
        assert oldest is not None
        assert 0 < lag < oldest


def test_nothing_lags_while_all_is_lent_or_delayed(
    scraped: Scrapes, start_worker: MakeWorker, gate: threading.Event
) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act() -> None:
        gate.wait(20)

    act.send()
    act.send_with_options(lane="a")
    act.send_with_options(delay=60_000)
    wait_until(lambda: (scraped.of_queue("lag_seconds") or 0) > 0)
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("messages_running") == 2)
    assert scraped.of_queue("lag_seconds") == 0
    assert scraped.of_actor("actor_lag_seconds") == 0
    assert (scraped.of_queue("oldest_seconds") or 0) > 0


def test_lag_counts_from_the_due_time(scraped: Scrapes) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act() -> None: ...

    began = time.time()
    act.send_with_options(delay=450)
    act.send_with_options(delay=600)
    wait_until(lambda: scraped.of_queue("delayed_messages") == 0 and time.time() > began + 0.5)
    lag = scraped.of_queue("lag_seconds")
    assert lag is not None
    assert 0 < lag <= time.time() - began - 0.45


def test_messages_lent_more_than_once_are_told(scraped: Scrapes) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act() -> None: ...

    act.send()
    consumer = scraped.broker.consume("default", timeout=5000)
    for expected in (0, 1):
        message = next(consumer)
        assert message is not None
        assert scraped.of_queue("redelivered_messages") == expected
        consumer.requeue([message])
    consumer.close()


def test_an_installation_without_streams_holds_nothing(scraped: Scrapes) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act() -> None: ...

    assert scraped("up") == 1
    assert scraped.of_queue("ready_messages") == 0
    assert scraped.of_queue("lag_seconds") == 0
    assert scraped.of_actor("actor_dead_letters") == 0


def test_a_scrape_succeeds_while_nats_is_away() -> None:
    broker = JetStreamBroker("nats://127.0.0.1:1", namespace="away", publish_timeout=0.2)
    broker.declare_queue("default")
    scraped = Scrapes(broker)
    try:
        text = generate_latest(scraped.registry).decode()
    finally:
        broker.close()
    assert "dramatiq_jetstream_up 0.0" in text
    assert "queue_ready" not in text


def test_names_follow_prometheus_and_no_label_grows_with_tenants(scraped: Scrapes, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=scraped.broker)
    def act() -> None: ...

    for number in range(3):
        act.send_with_options(lane=f"shop-{number}")
    start_worker(scraped.broker)
    wait_until(lambda: scraped.of_actor("messages_processed_total") == 3)
    families = list(text_string_to_metric_families(generate_latest(scraped.registry).decode()))
    assert families
    for family in families:
        assert family.name.startswith("dramatiq_jetstream_")
        assert family.documentation
        for sample in family.samples:
            assert set(sample.labels) <= {"queue", "actor", "le"}
            assert "shop-" not in str(sample)
            if family.type == "counter":
                assert sample.name.endswith("_total") or sample.name.endswith("_created")
