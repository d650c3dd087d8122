"""Streams whose settings would break a promise: put right at the start, or refused in one line that says what is needed."""

import time
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from brokers import JetStreamBroker, UnsafeSetting
from tests.brokers.clusters import Cluster, ConfiguredNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until

#: What somebody sets a stream to with the server's own tools, and what would come of it.
HARMFUL = [
    ({"max_age": 700 * 10**9}, "max_age=700s drops messages"),
    ({"max_msgs": 1}, "max_msgs=1 with discard=old drops messages"),
    ({"max_bytes": 1000}, "max_bytes=1000 with discard=old drops messages"),
    ({"no_ack": True}, "no_ack=true leaves senders without confirmation"),
]


def ask(broker: JetStreamBroker, request: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    return broker._api.ask(request, body, deadline=time.monotonic() + 5)


def config(broker: JetStreamBroker) -> dict[str, Any]:
    found: dict[str, Any] = ask(broker, f"STREAM.INFO.{broker._names.work_stream}")["config"]
    return found


def edit(broker: JetStreamBroker, **changes: object) -> None:
    ask(broker, f"STREAM.UPDATE.{broker._names.work_stream}", {**config(broker), **changes})


@pytest.fixture
def noted(broker: JetStreamBroker) -> "dramatiq.Actor[..., None]":
    return dramatiq.actor(lambda: None, actor_name="noted", broker=broker)


@pytest.mark.parametrize(("changes", "harm"), HARMFUL, ids=lambda value: value if isinstance(value, str) else "")
def test_a_stream_that_would_lose_messages_is_put_right_by_the_release(
    broker: JetStreamBroker, caplog: pytest.LogCaptureFixture, changes: dict[str, object], harm: str
) -> None:
    broker.ensure_streams()
    sound = config(broker)
    edit(broker, **changes)
    broker.ensure_streams()
    assert config(broker) == sound
    assert harm in caplog.text


def test_a_worker_puts_right_what_was_edited_since_the_release(
    broker: JetStreamBroker,
    noted: "dramatiq.Actor[..., None]",
    start_worker: MakeWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a stream that holds what it should, and that somebody limited and gave a subject of his own
    broker.ensure_streams()
    sound = config(broker)
    edit(broker, max_msgs=2, subjects=[*sound["subjects"], f"{broker._names.namespace}.other"])
    # When a worker starts
    start_worker(broker)
    wait_until(lambda: config(broker)["max_msgs"] == -1)
    # Then what is not ours stays as it was
    assert f"{broker._names.namespace}.other" in config(broker)["subjects"]
    wait_until(lambda: "put right: stream" in caplog.text)  # said after it is done
    # And it works
    noted.send()
    broker.join("default", timeout=10_000)


def test_a_consumer_that_would_strand_messages_is_put_right(
    broker: JetStreamBroker, noted: "dramatiq.Actor[..., None]", start_worker: MakeWorker
) -> None:
    broker.ensure_streams()
    name = f"{broker._names.work_stream}.{broker._names.consumer('default')}"
    found = ask(broker, f"CONSUMER.INFO.{name}")["config"]
    body = {"stream_name": broker._names.work_stream, "config": {**found, "max_deliver": 1}}
    ask(broker, f"CONSUMER.CREATE.{name}.{found['filter_subject']}", body)
    start_worker(broker)
    wait_until(lambda: ask(broker, f"CONSUMER.INFO.{name}")["config"]["max_deliver"] == -1)


@pytest.mark.parametrize("change", [{"retention": "limits"}, {"storage": "memory"}], ids=["retention", "storage"])
def test_a_stream_that_cannot_be_put_right_is_refused(broker: JetStreamBroker, change: dict[str, str]) -> None:
    # Given a stream of our name that somebody made otherwise
    ask(broker, f"STREAM.CREATE.{broker._names.work_stream}", {**broker._streams._work_config(), **change})
    # Then neither the release nor a worker goes on with it
    (setting, value), name = *change.items(), broker._names.work_stream
    for attempt in (broker.ensure_streams, lambda: broker._streams.bind("default", timeout=5)):
        with pytest.raises(UnsafeSetting, match=rf"stream {name}: {setting}={value} must be \w+ and cannot") as refused:
            attempt()
        assert "\n" not in str(refused.value)


def test_a_worker_says_so_when_it_consumes_nothing_for_that_reason(
    broker: JetStreamBroker,
    noted: "dramatiq.Actor[..., None]",
    start_worker: MakeWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker.ensure_streams()
    edit(broker, sealed=True)
    start_worker(broker)
    wait_until(lambda: "cannot consume queue default: stream" in caplog.text)
    assert "sealed=true" in caplog.text


def test_a_worker_without_the_permission_to_put_it_right_refuses(tmp_path: Path, start_worker: MakeWorker) -> None:
    settings = """authorization { users: [
        { user: release, password: correct-horse }
        { user: worker, password: correct-horse, permissions: { publish: { deny: "$JS.API.STREAM.UPDATE.>" } } }
    ] }"""
    with ConfiguredNats(tmp_path / "nats", settings) as server:
        release = JetStreamBroker(server.url_of("release", "correct-horse"))
        worker = JetStreamBroker(server.url_of("worker", "correct-horse"))
        try:
            release.declare_queue("default")
            release.ensure_streams()
            edit(release, max_msgs=10)
            with pytest.raises(UnsafeSetting, match=r"max_msgs=10 .* ensure_streams\(\) .* puts that right"):
                worker._streams.bind("default", timeout=3)
            release.ensure_streams()
            assert worker._streams.bind("default", timeout=3) > 0
        finally:
            worker.close()
            release.close()


def test_more_copies_than_servers_are_refused_at_once(make_broker: MakeBroker) -> None:
    broker = make_broker(replicas=3)
    began = time.monotonic()
    with pytest.raises(UnsafeSetting, match=r"replicas=3 needs a cluster of 3 servers or more, and NATS at \S+ is a"):
        broker.ensure_streams()
    assert time.monotonic() - began < 10


def test_a_cluster_that_is_too_small_is_refused(tmp_path: Path, namespace: str) -> None:
    cluster = Cluster(tmp_path)
    try:
        cluster.start()
        broker = JetStreamBroker(cluster.url, namespace=namespace, replicas=5)
        try:
            with pytest.raises(UnsafeSetting, match="replicas=5 needs a cluster of 5 servers or more"):
                broker.ensure_streams(timeout=3)
        finally:
            broker.close()
    finally:
        cluster.stop()
