"""Traces across the queue: W3C trace context and baggage travel in a message's NATS headers (needs opentelemetry-api).

What is current at ``enqueue`` is injected with OpenTelemetry's configured propagator (``traceparent``, ``tracestate`` and
``baggage`` by default), and made the parent of the actor's run. Retries, delays, dead letters and replays keep it, since
they keep a message's headers; what an actor, or middleware after it, enqueues belongs to the actor's run.
"""

import threading
from collections.abc import Iterator
from contextvars import Token
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import Retry
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider

from . import headers

#: ``messaging.system`` of OpenTelemetry's semantic conventions.
SYSTEM = "nats"


class Tracing(Middleware):
    """Carries traces in messages, and makes a span of each run of an actor.

    Parameters:
      tracer_provider(TracerProvider): Where spans go; OpenTelemetry's global one otherwise.

    Examples:

      >>> from brokers.tracing import Tracing
      >>> broker.add_middleware(Tracing())
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None) -> None:
        self._provider = tracer_provider
        self._runs = _Runs()

    def before_enqueue(self, broker: Broker, message: "Message[Any]", delay: int | None) -> None:  # noqa: ARG002
        """Note the current trace in a message. One that has a trace already, a retry or a replay, keeps it."""
        kept = message.options.get(headers.OPTION) or {}
        if any(name in kept for name in propagate.get_global_textmap().fields):
            return
        carried: dict[str, str] = {}
        propagate.inject(carried)
        if carried:
            message.options[headers.OPTION] = {**kept, **carried}

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        carried = message.options.get(headers.OPTION)
        # W3C's names are spelled in any case, and something else may have published the message.
        parent = propagate.extract({name.lower(): value for name, value in (carried or {}).items()})
        span = self._tracer.start_span(
            f"process {message.queue_name}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=dict(_attributes(message)),
        )
        self._runs.begin(message, span, trace.set_span_in_context(span, parent))

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        span = self._runs.end(message)
        if span is None:
            return
        if exception is not None:
            span.set_attribute("error.type", type(exception).__qualname__)
            if not isinstance(exception, Retry):  # asks to be run again: no failure
                span.record_exception(exception)
                span.set_status(Status(StatusCode.ERROR, f"{type(exception).__name__}: {exception}"))
        span.end()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        span = self._runs.end(message)
        if span is not None:
            span.set_attribute("dramatiq.skipped", True)
            span.end()

    def before_ack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        self._runs.leave()

    def before_nack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        self._runs.leave()

    @property
    def _tracer(self) -> Tracer:
        return trace.get_tracer("dramatiq_jetstream", tracer_provider=self._provider)


class _Runs(threading.local):
    """The runs of one thread: one at a time, or the members of a batch, of which the last is current during the call.

    A run's context stays current after its span ended, until the message is acknowledged: what other middleware enqueues
    after the actor (a pipeline's next step, a group's callback) belongs to the run, whatever their order.
    """

    def __init__(self) -> None:
        self._under_way: dict[int, tuple[Span, Context]] = {}
        self._before: Token[Context] | None = None

    def begin(self, message: MessageProxy, span: Span, entered: Context) -> None:
        self.leave()
        token = context.attach(entered)
        if self._before is None:
            self._before = token
        self._under_way[id(message)] = span, entered

    def end(self, message: MessageProxy) -> Span | None:
        """The span of a message's run, whose context is current from now on."""
        span, entered = self._under_way.pop(id(message), (None, None))
        if entered is not None:
            context.attach(entered)
        return span

    def leave(self) -> None:
        """Make current again what was so before the runs of this thread, once all are over."""
        if not self._under_way and self._before is not None:
            context.detach(self._before)
            self._before = None


def _attributes(message: MessageProxy) -> Iterator[tuple[str, str | int]]:
    """OpenTelemetry's semantic conventions for messaging, and what is Dramatiq's own."""
    yield "messaging.system", SYSTEM
    yield "messaging.operation.name", "process"
    yield "messaging.operation.type", "process"
    yield "messaging.destination.name", message.queue_name
    yield "messaging.message.id", message.message_id
    yield "dramatiq.actor", message.actor_name
    retries = message.options.get("retries", 0)
    if isinstance(retries, int) and retries:
        yield "dramatiq.retries", retries
    delivery = getattr(message, "delivery", None)
    if delivery is not None:
        yield "dramatiq.deliveries", delivery.count
