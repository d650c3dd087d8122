"""Prometheus metrics (needs prometheus_client): of what this process does, and of what the server holds.

``Metrics`` is a middleware that counts and times what this process enqueues and processes. ``JetStreamCollector`` asks the
server at each scrape for depths, ages and lags; these are the same whoever asks, so one process of an installation is
enough to expose them. Neither opens a port: expose prometheus_client's registry as the process exposes its other metrics.

Several processes on one machine: set ``PROMETHEUS_MULTIPROC_DIR`` before they start, and have the one that is scraped
register ``prometheus_client.multiprocess.MultiProcessCollector`` beside a ``JetStreamCollector`` in a registry of its own.
What ``Metrics`` holds is counters and histograms, which that mode sums over living and dead processes, and one gauge of what
runs, which it sums over the living (``mark_process_dead`` when one has died).

No label names a lane, a tenant or a message: there are as many series as queues and actors.
"""

import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from dramatiq.broker import Broker, MessageProxy
from dramatiq.errors import BrokerError
from dramatiq.message import Message
from dramatiq.middleware import Middleware
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .broker import JetStreamBroker
from .census import ActorStats, QueueStats

logger = logging.getLogger(__name__)

PREFIX = "dramatiq_jetstream"
#: Seconds. A publish takes about a millisecond, and fails after ``publish_timeout``.
PUBLISH_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
#: Seconds. A task takes anything between a millisecond and hours.
PROCESS_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)

S = TypeVar("S", QueueStats, ActorStats)

_LABELS = ("queue", "actor")


class Metrics(Middleware):
    """Counts and times what this process enqueues and processes, by queue and actor.

    Parameters:
      registry(CollectorRegistry): Where the metrics are registered; prometheus_client's global one otherwise.

    Examples:

      >>> from brokers.metrics import JetStreamCollector, Metrics
      >>> broker.add_middleware(Metrics())
      >>> prometheus_client.REGISTRY.register(JetStreamCollector(broker))
    """

    def __init__(self, *, registry: CollectorRegistry = REGISTRY) -> None:
        self._metrics = _families(registry)
        #: When the publishes under way began; each is forgotten with its message, since those that fail do not end.
        self._publishes: dict[int, tuple[float, weakref.ref[Message[Any]]]] = {}
        self._runs: dict[int, float] = {}

    def before_enqueue(self, broker: Broker, message: "Message[Any]", delay: int | None) -> None:  # noqa: ARG002
        number = id(message)  # messages are not hashable
        forget = weakref.ref(message, lambda _: self._publishes.pop(number, None))
        self._publishes[number] = time.perf_counter(), forget

    def after_enqueue(self, broker: Broker, message: "Message[Any]", delay: int | None) -> None:  # noqa: ARG002
        labels = (message.queue_name, message.actor_name)
        self._metrics.enqueued.labels(*labels).inc()
        if "retries" in message.options:
            self._metrics.retried.labels(*labels).inc()
        began, _ = self._publishes.pop(id(message), (None, None))
        if began is not None:  # an outbox's began elsewhere
            self._metrics.publish.labels(*labels).observe(time.perf_counter() - began)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        labels = (message.queue_name, message.actor_name)
        self._metrics.running.labels(*labels).inc()
        delivery = getattr(message, "delivery", None)
        if delivery is not None and delivery.count > 1:
            self._metrics.redelivered.labels(*labels).inc()
        self._runs[id(message)] = time.perf_counter()

    def after_process_message(
        self,
        broker: Broker,  # noqa: ARG002
        message: MessageProxy,
        *,
        result: Any = None,  # noqa: ARG002
        exception: BaseException | None = None,
    ) -> None:
        labels = (message.queue_name, message.actor_name)
        seconds = self._end(message)
        self._metrics.processed.labels(*labels).inc()
        if exception is not None:
            self._metrics.failed.labels(*labels).inc()
        if seconds is not None:
            self._metrics.process.labels(*labels).observe(seconds)

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        self._end(message)
        self._metrics.skipped.labels(message.queue_name, message.actor_name).inc()

    def after_nack(self, broker: Broker, message: MessageProxy) -> None:  # noqa: ARG002
        if getattr(message, "give_back_after", None) is None:
            self._metrics.rejected.labels(message.queue_name, message.actor_name).inc()

    def _end(self, message: MessageProxy) -> float | None:
        began = self._runs.pop(id(message), None)
        if began is None:  # skipped before it came here
            return None
        self._metrics.running.labels(message.queue_name, message.actor_name).dec()
        return time.perf_counter() - began


class JetStreamCollector(Collector):
    """What the server holds, by queue and by each actor that the broker knows, asked for at each scrape.

    While NATS is away ``dramatiq_jetstream_up`` is 0 and the others are left out: a scrape never fails for it.

    Parameters:
      broker(JetStreamBroker): The broker whose queues and actors these are.
    """

    def __init__(self, broker: JetStreamBroker) -> None:
        self._broker = broker

    def describe(self) -> list[Metric]:
        return []  # or else registering would ask the server

    def collect(self) -> Iterator[Metric]:
        up = GaugeMetricFamily(f"{PREFIX}_up", "Whether NATS answered.")
        try:
            queues, actors = self._broker.queue_stats(), self._broker.actor_stats()
        except BrokerError as error:
            logger.warning("NATS is left out of the metrics: %s", error)
            up.add_metric((), 0)
        else:
            yield from _gauges(_OF_QUEUES, queues, lambda stats: (stats.queue,), ("queue",))
            yield from _gauges(_OF_ACTORS, actors, lambda stats: (stats.queue, stats.actor), _LABELS)
            up.add_metric((), 1)
        yield up


_OF_QUEUES: dict[str, tuple[str, Callable[[QueueStats], float]]] = {
    "queue_ready_messages": ("Messages that wait for a worker.", lambda stats: stats.ready),
    "queue_delayed_messages": ("Messages that wait for their time.", lambda stats: stats.delayed),
    "queue_outstanding_messages": ("Messages lent to workers.", lambda stats: stats.outstanding),
    "queue_redelivered_messages": ("Of those, lent more than once.", lambda stats: stats.redelivered),
    "queue_oldest_seconds": ("Age of the oldest message that is due.", lambda stats: stats.oldest_seconds),
    "queue_lag_seconds": (
        "Time that the oldest ready message waits beyond its due time.",
        lambda stats: stats.lag_seconds,
    ),
    "queue_dead_letters": ("Messages that failed for good.", lambda stats: stats.dead),
}
_OF_ACTORS: dict[str, tuple[str, Callable[[ActorStats], float]]] = {
    "actor_waiting_messages": ("Messages that are ready or lent to workers.", lambda stats: stats.waiting),
    "actor_delayed_messages": ("Messages that wait for their time.", lambda stats: stats.delayed),
    "actor_oldest_seconds": ("Age of the oldest message that is due.", lambda stats: stats.oldest_seconds),
    "actor_lag_seconds": (
        "Time that the oldest ready message waits beyond its due time.",
        lambda stats: stats.lag_seconds,
    ),
    "actor_dead_letters": ("Messages that failed for good.", lambda stats: stats.dead),
}


def _gauges(
    families: "Mapping[str, tuple[str, Callable[[S], float]]]",
    all_stats: Iterable[S],
    labels_of: Callable[[S], tuple[str, ...]],
    labels: tuple[str, ...],
) -> Iterator[Metric]:
    all_stats = list(all_stats)
    for name, (description, read) in families.items():
        family = GaugeMetricFamily(f"{PREFIX}_{name}", description, labels=labels)
        for stats in all_stats:
            family.add_metric(labels_of(stats), read(stats))
        yield family


class _Families:
    """The metrics of one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, description: str) -> Counter:
            return Counter(f"{PREFIX}_{name}", description, _LABELS, registry=registry)

        def histogram(name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"{PREFIX}_{name}", description, _LABELS, registry=registry, buckets=buckets)

        self.enqueued = counter("messages_enqueued", "Messages that this process stored.")
        self.processed = counter("messages_processed", "Runs that ended, well or not.")
        self.failed = counter("messages_failed", "Runs that raised.")
        self.retried = counter("messages_retried", "Retries that were enqueued.")
        self.rejected = counter("messages_rejected", "Messages that became dead letters.")
        self.skipped = counter("messages_skipped", "Messages that were skipped, or given back for a failure of ours.")
        self.redelivered = counter("messages_redelivered", "Runs of messages that had been lent out before.")
        self.publish = histogram("publish_seconds", "Seconds until the server had stored a message.", PUBLISH_BUCKETS)
        self.process = histogram("process_seconds", "Seconds that a run took.", PROCESS_BUCKETS)
        self.running = Gauge(
            f"{PREFIX}_messages_running", "Runs under way.", _LABELS, registry=registry, multiprocess_mode="livesum"
        )


_known: "weakref.WeakKeyDictionary[CollectorRegistry, _Families]" = weakref.WeakKeyDictionary()


def _families(registry: CollectorRegistry) -> _Families:
    """The metrics of a registry, which takes each name once, however many brokers there are."""
    if registry not in _known:
        _known[registry] = _Families(registry)
    return _known[registry]
