"""Headers of a message, and the trace that they carry from the one who enqueues to the actor's run."""

import time
from typing import Any

import dramatiq
import pytest

from brokers import JetStreamBroker
from tests.brokers.conftest import MakeWorker, wait_until


def stored_headers(broker: JetStreamBroker, subject: str, stream: str | None = None) -> dict[str, str]:
    """The headers of the newest message of a subject, as another tool would read them."""
    stored = broker._api.first(stream or broker._names.work_stream, subject, deadline=time.monotonic() + 5)
    assert stored is not None
    return dict(stored.headers)


class Noting(dramatiq.Middleware):
    """Notes the headers that each run sees."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def before_process_message(self, broker: dramatiq.Broker, message: dramatiq.MessageProxy) -> None:
        self.seen.append(message.options.get("headers"))


@pytest.fixture
def noting(broker: JetStreamBroker) -> Noting:
    noting = Noting()
    broker.add_middleware(noting)
    return noting


@pytest.mark.parametrize("delay", [None, 100, 600])
def test_headers_of_a_message_are_its_nats_headers_through_delays(
    broker: JetStreamBroker, start_worker: MakeWorker, noting: Noting, delay: int | None
) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    act.send_with_options(headers={"x-origin": "café"}, delay=delay)
    assert stored_headers(broker, broker._names.all_of("default"))["x-origin"] == "café"
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert noting.seen == [{"x-origin": "café"}]


def test_headers_are_kept_through_retries_dead_letters_and_replays(
    broker: JetStreamBroker, start_worker: MakeWorker, noting: Noting
) -> None:
    @dramatiq.actor(broker=broker, max_retries=1, min_backoff=10, max_backoff=10)
    def act() -> None:
        raise ValueError("boom")

    act.send_with_options(headers={"x-origin": "a"})
    worker = start_worker(broker)
    wait_until(lambda: broker.dead_letters.count() == 1)
    assert noting.seen == [{"x-origin": "a"}] * 2
    dead = stored_headers(broker, broker._names.dead_of("default"), broker._names.dead_stream)
    assert dead["x-origin"] == "a"
    worker.stop()
    (letter,) = broker.dead_letters.list()
    broker.dead_letters.replay(letter.sequence)
    assert stored_headers(broker, broker._names.all_of("default"))["x-origin"] == "a"


def test_headers_that_something_else_published_reach_the_run(
    broker: JetStreamBroker, start_worker: MakeWorker, noting: Noting
) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    body = act.message().encode()
    subject = broker._names.work("default", "act")
    broker._publisher.publish(subject, body, publish_id="1", headers={"x-origin": "b"})
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert noting.seen == [{"x-origin": "b"}]


@pytest.mark.parametrize(
    "headers",
    [{"x": "a\r\nNats-Msg-Id: 1"}, {"x y": "a"}, {"": "a"}, {"x:y": "a"}, {"Nats-TTL": "1s"}, {"x": 1}, ["x"]],
)
def test_what_cannot_be_a_header_is_refused_at_once(broker: JetStreamBroker, headers: Any) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    with pytest.raises(ValueError, match="headers"):
        act.send_with_options(headers=headers)
