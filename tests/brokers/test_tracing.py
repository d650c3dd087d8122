"""Headers of a message, and the trace that they carry from the one who enqueues to the actor's run."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import sqlalchemy as sa
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy.orm import Session

from brokers import JetStreamBroker
from brokers.outbox import Outbox
from brokers.tracing import Tracing
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


# Traces


class Traced:
    """A broker whose runs are traced, and the spans that were."""

    def __init__(self, broker: JetStreamBroker) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")
        self.broker = broker
        broker.add_middleware(Tracing(tracer_provider=provider))

    def runs(self) -> list[ReadableSpan]:
        """The spans of runs in the order of their beginning."""
        spans = [span for span in self._exporter.get_finished_spans() if span.kind is SpanKind.CONSUMER]
        return sorted(spans, key=lambda span: span.start_time or 0)


@pytest.fixture
def traced(broker: JetStreamBroker) -> Traced:
    return Traced(broker)


def trace_of(span: ReadableSpan) -> int:
    return span.get_span_context().trace_id  # type: ignore[no-any-return, union-attr]


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


@pytest.mark.parametrize("delay", [None, 100, 600])
def test_a_run_is_a_child_of_who_enqueued_it(traced: Traced, start_worker: MakeWorker, delay: int | None) -> None:
    current = []

    @dramatiq.actor(broker=traced.broker)
    def act() -> None:
        current.append((trace.get_current_span().get_span_context().span_id, baggage.get_baggage("shop")))

    with traced.tracer.start_as_current_span("request") as request:
        token = context.attach(baggage.set_baggage("shop", "a b"))
        message = act.send_with_options(delay=delay)
        context.detach(token)
    stored = stored_headers(traced.broker, traced.broker._names.all_of("default"))
    assert stored["traceparent"].split("-")[1] == f"{request.get_span_context().trace_id:032x}"
    assert stored["baggage"] == "shop=a+b"
    start_worker(traced.broker)
    traced.broker.join("default", timeout=5000)
    (run,) = wait_until(traced.runs)
    assert run.get_span_context() is not None
    assert trace_of(run) == request.get_span_context().trace_id
    assert parent_of(run) == request.get_span_context().span_id
    assert current == [(run.get_span_context().span_id, "a b")]  # type: ignore[union-attr]
    assert run.name == "process default"
    assert run.attributes == {
        "messaging.system": "nats",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": message.message_id,
        "dramatiq.actor": "act",
        "dramatiq.deliveries": 1,
    }


def test_retries_and_replays_belong_to_the_trace_and_tell_their_failure(
    traced: Traced, start_worker: MakeWorker
) -> None:
    is_mended = False

    @dramatiq.actor(broker=traced.broker, max_retries=1, min_backoff=10, max_backoff=10)
    def act() -> None:
        if not is_mended:
            raise ValueError("boom")

    with traced.tracer.start_as_current_span("request") as request:
        act.send()
    start_worker(traced.broker)
    wait_until(lambda: traced.broker.dead_letters.count() == 1)
    is_mended = True
    with traced.tracer.start_as_current_span("an operator"):
        traced.broker.dead_letters.replay_all()
    wait_until(lambda: len(traced.runs()) == 3)
    runs = traced.runs()
    assert {trace_of(run) for run in runs} == {request.get_span_context().trace_id}
    assert [run.status.status_code for run in runs] == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    assert [(run.attributes or {}).get("dramatiq.retries") for run in runs] == [None, 1, None]
    assert (runs[0].attributes or {})["error.type"] == "ValueError"
    assert [event.name for event in runs[0].events] == ["exception"]


def test_what_a_run_enqueues_and_a_next_step_are_its_children(traced: Traced, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=traced.broker)
    def child(_: Any = None) -> None: ...

    @dramatiq.actor(broker=traced.broker)
    def parent() -> int:
        child.send()
        return 1

    pipeline = parent.message() | child.message()
    pipeline.broker = traced.broker
    pipeline.run()
    start_worker(traced.broker)
    wait_until(lambda: len(traced.runs()) == 3)
    runs = traced.runs()
    (root,) = (run for run in runs if run.parent is None)
    assert [parent_of(run) for run in runs if run is not root] == [root.get_span_context().span_id] * 2  # type: ignore[union-attr]


def test_each_message_of_a_batch_keeps_its_own_trace(traced: Traced, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=traced.broker)
    def following(_: Any) -> None: ...

    @dramatiq.actor(broker=traced.broker, batch_size=3, batch_wait=1000, max_retries=0)
    def act(messages: list[Any]) -> list[int]:
        if any(message.args == (2,) for message in messages):
            raise ValueError("boom")
        return [0 for _ in messages]

    requests = []
    for number in range(3):
        with traced.tracer.start_as_current_span("request") as request:
            pipeline = act.message(number) | following.message()
            pipeline.broker = traced.broker
            pipeline.run()
            requests.append(request.get_span_context())
    start_worker(traced.broker, worker_threads=1)
    wait_until(lambda: len(traced.runs()) == 5)
    runs = traced.runs()
    batch = [run for run in runs if (run.attributes or {})["dramatiq.actor"] == "act"]
    assert [(trace_of(run), parent_of(run)) for run in batch] == [(each.trace_id, each.span_id) for each in requests]
    assert [run.status.status_code for run in batch] == [StatusCode.UNSET, StatusCode.UNSET, StatusCode.ERROR]
    # The next step of each belongs to it, and not to its neighbour
    steps = [run for run in runs if (run.attributes or {})["dramatiq.actor"] == "following"]
    assert (
        sorted((trace_of(run), parent_of(run)) for run in steps)
        == sorted(
            (trace_of(run), run.get_span_context().span_id)  # type: ignore[union-attr]
            for run in batch[:2]
        )
    )
    # And the thread is left as it was
    act.send_with_options(args=(7,))
    wait_until(lambda: len(traced.runs()) == 6)
    assert traced.runs()[-1].parent is None


def test_an_asynchronous_actor_runs_in_its_trace(traced: Traced, start_worker: MakeWorker) -> None:
    traced.broker.add_middleware(dramatiq.middleware.AsyncIO())
    current = []

    @dramatiq.actor(broker=traced.broker)
    async def act() -> None:
        current.append(trace.get_current_span().get_span_context().span_id)

    act.send()
    start_worker(traced.broker)
    (run,) = wait_until(traced.runs)
    assert current == [run.get_span_context().span_id]


def test_a_message_that_waits_for_a_commit_keeps_the_trace_of_its_transaction(
    traced: Traced, start_worker: MakeWorker, tmp_path: Path
) -> None:
    @dramatiq.actor(broker=traced.broker)
    def act() -> None: ...

    metadata, engine = sa.MetaData(), sa.create_engine(f"sqlite:///{tmp_path / 'outbox.db'}")
    outbox = Outbox(metadata, broker=traced.broker)
    metadata.create_all(engine)
    with traced.tracer.start_as_current_span("request") as request, Session(engine) as session, session.begin():
        outbox.send(session, act)
    start_worker(traced.broker)
    (run,) = wait_until(traced.runs)
    assert parent_of(run) == request.get_span_context().span_id
    for thread in outbox._threads.values():
        thread.stop(5)
    engine.dispose()


def test_a_message_without_a_trace_begins_one_of_its_own(traced: Traced, start_worker: MakeWorker) -> None:
    @dramatiq.actor(broker=traced.broker)
    def act() -> None: ...

    left: list[bool] = []

    class AfterAck(dramatiq.Middleware):
        def after_ack(self, broker: Any, message: Any) -> None:
            left.append(trace.get_current_span().get_span_context().is_valid)

    traced.broker.add_middleware(AfterAck())
    act.send()
    act.send()
    assert "traceparent" not in stored_headers(traced.broker, traced.broker._names.all_of("default"))
    start_worker(traced.broker, worker_threads=1)
    wait_until(lambda: len(traced.runs()) == 2)
    first, second = traced.runs()
    assert first.parent is None
    assert second.parent is None
    wait_until(lambda: left == [False, False])  # nothing of a run is left in its thread
    assert trace_of(first) != trace_of(second)


def test_a_trace_that_something_else_put_into_the_headers_is_continued(
    traced: Traced, start_worker: MakeWorker
) -> None:
    @dramatiq.actor(broker=traced.broker)
    def act() -> None: ...

    traced.broker._publisher.publish(
        traced.broker._names.work("default", "act"),
        act.message().encode(),
        publish_id="1",
        headers={"Traceparent": f"00-{7:032x}-{9:016x}-01"},
    )
    start_worker(traced.broker)
    (run,) = wait_until(traced.runs)
    assert (trace_of(run), parent_of(run)) == (7, 9)


def test_the_broker_alone_imports_no_telemetry() -> None:
    code = "import sys, brokers; sys.exit('opentelemetry' in sys.modules or 'prometheus_client' in sys.modules)"
    root = Path(__file__).parent.parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
