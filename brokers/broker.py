"""The Dramatiq broker on NATS JetStream."""

import os
import ssl
import time
import uuid
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dramatiq.actor import Actor
from dramatiq.common import q_name
from dramatiq.errors import QueueJoinTimeout
from dramatiq.message import Message
from dramatiq.middleware import Middleware

from . import discovery, identity, lanes, ticks, unique
from .api import Api
from .batches import Limits, batched
from .cancel import Cancellation
from .census import ActorStats, Census, QueueStats
from .consumer import JetStreamConsumer, Surroundings
from .contents import Contents
from .cron import Cron, Crons, CronStore
from .cron_lines import schedule_of
from .dead_letters import DeadLetters
from .enqueueing import EnqueueingBroker
from .errors import BrokerUnavailable, JetStreamError, NoResponders
from .key_value import KeyValue
from .lane_stats import LaneStats, lane_stats
from .lanes import Bells
from .leases import Delivery
from .links import Links
from .names import Names
from .options import Options
from .pauses import QueuePause, guarded
from .poison import MARK_TTL, Suspects
from .publisher import Publisher
from .schedules import Schedules
from .servers import Servers
from .streams import Streams
from .stub import ACTOR_OPTIONS
from .stuck_crons import StuckCrons
from .sweep import OverdueSchedules, Sweeper
from .ticks import Marks, Ticks
from .unique import Uniques
from .wire import Wire

#: Seconds after which a message that its worker stopped renewing is lent to another: what a SIGKILL costs it.
ACK_WAIT = 30.0
#: Seconds in which a repeated publish is recognised. It has to outlast whatever lies between a publish and its
#: repetition: ack_wait after a killed worker, plus a deploy. The server keeps each id in memory for so long, some 150
#: bytes, so an hour at 1,000 messages a second would take half a gigabyte.
DUPLICATE_WINDOW = 600.0
#: Seconds for ``ensure_streams``, which may meet a server that is just starting.
ENSURE_TIMEOUT = 30.0
#: Seconds between looks while ``join`` waits, at first and at most.
FIRST_LOOK, LONGEST_LOOK = 0.005, 0.1

_brokers: "weakref.WeakSet[JetStreamBroker]" = weakref.WeakSet()


class JetStreamBroker(EnqueueingBroker):
    """A broker that keeps messages, delays, dead letters and recurring messages in NATS JetStream.

    ``enqueue`` returns once the server has stored the message. Making a broker does no I/O; it connects on first use, and
    again by itself whenever the connection is lost. It may be used from any thread and after a fork. A process that only
    enqueues has one connection and no thread of ours; consuming has a connection of its own, with a thread.

    Examples:

      >>> import dramatiq
      >>> from brokers import JetStreamBroker
      >>> dramatiq.set_broker(JetStreamBroker("nats://127.0.0.1:4222"))

    Parameters:
      url(str | Sequence[str]): One address, several, or several separated by commas.  May hold a user and password, or a
        token; they appear in no log and no error.
      namespace(str): Begins the name of every stream, subject and bucket.
      credentials(Path | str): A ``.creds`` file, or the text of one.
      replicas(int): Copies of each stream in a cluster: 1, 3 or 5.
      publish_timeout(float): Seconds after which an enqueue that the server did not confirm raises BrokerUnavailable.
      middleware(list[Middleware]): Replaces Dramatiq's default middleware.
      ack_wait(float): Seconds after which messages of a killed worker go to another.  Not a limit for tasks: leases of
        messages at work are renewed.
      duplicate_window(float): Seconds in which the server recognises a repeated publish.
      tls(ssl.SSLContext): How to verify the servers, and our certificate.
      inbox_prefix(str): Where answers arrive, for servers that permit each user its own.
    """

    def __init__(
        self,
        url: str | Sequence[str] = "nats://127.0.0.1:4222",
        *,
        namespace: str = "dramatiq",
        credentials: Path | str | None = None,
        replicas: int = 1,
        publish_timeout: float = 2.0,
        middleware: list[Middleware] | None = None,
        ack_wait: float = ACK_WAIT,
        duplicate_window: float = DUPLICATE_WINDOW,
        tls: ssl.SSLContext | None = None,
        inbox_prefix: str = "_INBOX",
    ) -> None:
        if ack_wait < 1:
            raise ValueError("ack_wait must be at least one second: leases are renewed every third of it")
        self._links = Links(Options(Servers.parse(url), credentials, tls, inbox_prefix), self._sweeper_of)
        self._names = Names(namespace)
        self._replicas = replicas
        self._publish_timeout = publish_timeout
        self.duplicate_window = duplicate_window
        #: By queue and actor, how many of a lane may run at once.
        self._lane_limits: dict[str, dict[str, int]] = {}
        self._pauses: dict[str, QueuePause] = {}
        self._buckets: dict[str, KeyValue] = {}
        self._streams = Streams(
            self._names, self._links.wire, replicas=replicas, ack_wait=ack_wait, duplicate_window=duplicate_window
        )
        self._api = Api(self._links.wire)
        self._bells = Bells(self._names, self._links.wire)
        self._census = Census(self._names, self._api)
        self._publisher = Publisher(self._links.wire, timeout=publish_timeout, create_streams=self._create_streams)
        self._marks = Marks(self.key_value(ticks.BUCKET))
        self._ticks = Ticks(self._names, self._marks)
        store = CronStore(self._names, self._api, self._streams, self._publisher, marks=self._marks, place=self._placed)
        self._crons = Crons(store)
        self._schedules = Schedules(store)
        self._cancellation = Cancellation(self._names, self._api, self._publisher)
        self._dead_letters = DeadLetters(self._names, self._api, self._streams, self._publisher, self._store)
        self._contents = Contents(self._names, self._api)
        self._batch_limits: dict[str, Limits] = {}
        self._suspects = self._new_suspects()
        self._uniques = Uniques(
            self._names,
            self._api,
            self.key_value(unique.STARTED_BUCKET, ttl=unique.STARTED_TTL),
            restore=self._ticks.restore_found,
            timeout=publish_timeout,
        )
        self.started = self._uniques.started
        super().__init__(middleware)
        self.queues = set()
        self.actor_options |= ACTOR_OPTIONS
        _brokers.add(self)

    @classmethod
    def given_or_at(
        cls, broker: "JetStreamBroker | None", url: str | None, parameters: dict[str, Any]
    ) -> "JetStreamBroker":
        """The broker that a backend was given, or one for its connection alone.  Raises TypeError when it is told both."""
        if broker is None:
            at = parameters if url is None else parameters | {"url": url}
            return cls(**{"middleware": [], **at})
        if url is not None or parameters:
            raise TypeError("give either broker= or url= with its parameters: a broker has its connection already")
        return broker

    # Declarations: no I/O

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue.  It is made on the server by ``ensure_streams`` or on first use."""
        queue_name = q_name(queue_name)
        if queue_name in self.queues:
            return
        self.emit_before("declare_queue", queue_name)
        self.queues.add(queue_name)
        self.emit_after("declare_queue", queue_name)

    def declare_actor(self, actor: "Actor[Any, Any]") -> None:
        """Declare an actor.

        Its option ``infrastructure_errors``, an exception class or a tuple of them, names failures that are ours and
        not the message's: such a message goes back to its queue, which pauses, and no retry is consumed.

        Its option ``lane``, a function of the message that returns a text or None, keeps messages apart: lanes get their
        turns, and a long one delays no other.  ``broker_priority``, 0 to 255, orders within a lane, higher first.  Both may
        also be given to ``send_with_options``.  At most ``lane_limit`` messages of one lane run at once, over all workers.
        ``dead_letter_lane``, likewise a text or a function, names the lane of dead letters whose message has none.

        Its option ``unique`` lets at most one of its messages with the same key be queued or running: True makes the key
        from the arguments, a function of the message may return another text, or None for a message that is not unique.
        With ``unique_while="queued"`` another may be queued once one has started. Enqueueing one that is queued already
        stores nothing and returns the message that is, with the option ``already_queued``.

        With its option ``batch_size`` (2 to 1000) its function gets a list of up to so many messages (``dramatiq.Message``)
        in one call, or of those that came within ``batch_wait`` milliseconds of the first, and returns None or a list with
        a result for each.  When the call fails each message is run alone.

        Raises:
          ValueError: For an option that cannot be kept.
        """
        lanes.check_actor(actor.options)
        if (limit := actor.options.get(lanes.LIMIT)) is not None:
            self._lane_limits.setdefault(q_name(actor.queue_name), {})[actor.actor_name] = limit
        unique.check_actor(actor.options)
        limits = Limits.of(actor.options)
        errors = actor.options.get("infrastructure_errors") or ()
        ours = errors if isinstance(errors, tuple) else (errors,)
        actor.fn = guarded(actor.fn, ours, _pause_of_caller)
        if limits is not None:
            actor.fn = batched(actor.fn)
            self._batch_limits[actor.actor_name] = limits
        super().declare_actor(actor)

    def cron(self, name: str, every: str | float, message: "Message[Any]", *, time_zone: str | None = None) -> None:
        """Declare a recurring message; ``ensure_streams`` brings it to the server, and removes what is no longer declared.

        Where ``ensure_streams`` never ran, or the stream was lost since, workers add what their code declares.

        Parameters:
          name(str): Its name, unique in the namespace.
          every(str | float): Seconds, a duration such as ``"30s"``, or a cron line of six fields, seconds first.
          message(Message): What to enqueue at each tick, with an id and time of its own each.
          time_zone(str): Of a cron line, such as ``Europe/Berlin``; UTC otherwise.
        """
        self._crons.declare(Cron(name, schedule_of(every), message, time_zone))

    @property
    def schedules(self) -> Schedules:
        """The recurring messages that are made and removed at run time, one per tenant, say."""
        return self._schedules

    def key_value(self, bucket: str, *, ttl: float | None = None, memory: bool = False) -> KeyValue:
        """A key-value bucket of this namespace, made on the server by ``ensure_streams`` or on first use.

        ``ttl``: seconds that every key lives at most. ``memory``: for what may be lost when the server stops.
        """
        if bucket not in self._buckets:
            self._buckets[bucket] = KeyValue(
                self._names.bucket(bucket),
                self._links.wire,
                self._streams,
                consuming=lambda: self._links.consuming().connection,
                told=self._names.told(bucket),
                ttl=ttl,
                memory=memory,
                replicas=self._replicas,
                timeout=self._publish_timeout,
            )
        return self._buckets[bucket]

    @property
    def dead_letters(self) -> DeadLetters:
        """The messages that failed for good."""
        return self._dead_letters

    @property
    def contents(self) -> Contents:
        """Every message that lies in the streams, to be found by what it says, and removed."""
        return self._contents

    def get_declared_queues(self) -> set[str]:
        return self.queues.copy()

    # The server

    def ensure_streams(self, *, timeout: float = ENSURE_TIMEOUT) -> None:
        """Create or update the streams, the consumers of the declared queues, the buckets and the recurring messages.

        Raises ServerTooOld with one line that says what is needed, BrokerUnavailable, RequestRefused.
        """
        deadline = time.monotonic() + timeout
        self._streams.ensure(self.queues, timeout=timeout)
        if any(self._lane_limits.values()):
            self._streams.apply(self._streams.slot_config(), deadline)
        for bucket in self._buckets.values():
            bucket.ensure(deadline)
        self._crons.reconcile(timeout=max(1.0, deadline - time.monotonic()))

    def ping(self, timeout: float = 1.0) -> None:
        """Return when messages can be stored.  Raises BrokerUnavailable, ServerTooOld."""
        deadline = time.monotonic() + timeout
        subject = f"{self._names.namespace}.q.ping"
        try:
            self._api.last(self._names.work_stream, subject, deadline=deadline)
        except NoResponders:
            self._create_streams(max(0.1, deadline - time.monotonic()))

    def close(self) -> None:
        """Give back what is held, wait for confirmations, and disconnect.  The next use connects anew."""
        self._links.close()

    # Messages

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> JetStreamConsumer:
        """Iterate over a queue's messages.  Does not wait for the server: while it is away there are no messages.

        Raises:
          QueueNotFound: When the queue was never declared.

        Parameters:
          queue_name(str): The queue.
          prefetch(int): How many messages may be out at once: handed out and not acknowledged, or about to be.
          timeout(int): Milliseconds after which an idle consumer returns None.
        """
        queue_name = self._known(queue_name)
        consuming = self._links.consuming()
        surroundings = Surroundings(
            connection=consuming.connection,
            leases=consuming.leases,
            names=self._names,
            limits=self._lane_limits.setdefault(queue_name, {}),
            slot_stream_config=self._streams.slot_config,
            bind=self._streams.bind,
            bury=self._bury,
            restore=self._ticks.restore,
            batch_limits=self._batch_limits.get,
            is_stopping=self.is_stopping,
            leave=consuming.sweeper.leave,
        )
        pause = self._pauses.setdefault(queue_name, QueuePause(queue_name))
        consumer = JetStreamConsumer(
            surroundings, queue=queue_name, prefetch=prefetch, timeout=timeout / 1000, pause=pause
        )
        consuming.sweeper.enter(consumer)
        return consumer

    def flush(self, queue_name: str) -> None:
        """Drop a queue's messages: waiting, delayed and dead."""
        self._streams.flush(self._known(queue_name))

    def flush_all(self) -> None:
        for queue_name in self.queues:
            self.flush(queue_name)

    def pause(self, queue_name: str) -> None:
        """Pause a queue for all workers, until ``resume``, whatever is restarted meanwhile.

        What runs is finished; nothing else is started about a second later, prefetched, delayed and recurring messages
        neither.  Messages can still be enqueued.

        Raises:
          QueueNotFound: When the queue was never declared.
          BrokerUnavailable: When the server did not confirm in time.
        """
        queue_name = self._known(queue_name)
        if not self.is_paused(queue_name):
            self._publisher.publish(self._names.pause(queue_name), b"", publish_id=uuid.uuid4().hex)
        self._bells.look(queue_name)

    def resume(self, queue_name: str) -> None:
        """Let a paused queue go on.  Does no harm to one that is not paused."""
        queue_name = self._known(queue_name)
        deadline = time.monotonic() + self._publish_timeout
        self._streams.purge(self._names.work_stream, self._names.pause(queue_name), deadline)
        self._bells.look(queue_name)

    def is_paused(self, queue_name: str) -> bool:
        """Whether ``pause`` stopped a queue."""
        subject = self._names.pause(self._known(queue_name))
        try:
            marker = self._api.last(self._names.work_stream, subject, deadline=time.monotonic() + self._publish_timeout)
        except NoResponders:  # no such stream yet
            return False
        return marker is not None

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue holds nothing ready, delayed or at work.

        Raises:
          QueueNotFound: When the queue was never declared.
          QueueJoinTimeout: After ``timeout`` milliseconds.
        """
        queue_name = self._known(queue_name)
        deadline = None if timeout is None else time.monotonic() + timeout / 1000
        pause = FIRST_LOOK
        while True:
            with suppress(BrokerUnavailable):  # the queue may still empty when the server is back
                if self._streams.unfinished(queue_name, timeout=self._publish_timeout) == 0:
                    return
            if deadline is not None and time.monotonic() >= deadline:
                raise QueueJoinTimeout(f"queue {queue_name} is not empty after {timeout} ms")  # type: ignore[no-untyped-call]
            time.sleep(pause)
            pause = min(pause * 1.5, LONGEST_LOOK)

    def get_queue_message_counts(self, queue_name: str) -> tuple[int, int, int]:
        """How many messages of a queue are ready, delayed and dead."""
        (stats,) = self._census.queues([self._known(queue_name)])
        return stats.ready, stats.delayed, stats.dead

    def known_queues(self) -> list[str]:
        """The queues that there are on the server, declared here or not.  Raises BrokerUnavailable."""
        return discovery.known_queues(self._names, self._api)

    def queue_stats(self) -> list[QueueStats]:
        """What each declared queue holds, for metrics and operators.  Raises BrokerUnavailable."""
        return self._census.queues(sorted(self.queues))

    def actor_stats(self) -> list[ActorStats]:
        """What there is of each declared actor, for metrics.  Raises BrokerUnavailable."""
        return self._census.actors(sorted((actor.queue_name, actor.actor_name) for actor in self.actors.values()))

    def lane_stats(self, queue_name: str, *, timeout: float = 2.0) -> list[LaneStats]:
        """What each lane of a queue holds that holds something, within ``timeout`` seconds.  Raises BrokerUnavailable."""
        return lane_stats(self._names, self._api, self._known(queue_name), timeout=timeout)

    # Parts

    def _bury(self, delivery: Delivery, *, error: BaseException | None, message: "Message[Any] | None") -> None:
        wire = self._links.wire()
        wire.await_connection(time.monotonic() + self._publish_timeout)
        actor = None if message is None else self.actors.get(message.actor_name)
        lane = "" if message is None else lanes.dead_lane_of(message, actor.options if actor else {})
        self._dead_letters.bury(delivery, error=error, message=message, lane=lane, max_payload=wire.max_payload)

    def _new_suspects(self) -> Suspects:
        return Suspects(self.key_value("starts", ttl=MARK_TTL))

    def _create_streams(self, timeout: float) -> None:
        self._streams.ensure(self.queues, timeout=timeout)
        try:
            self._crons.bring_back(timeout=timeout)
        except JetStreamError as error:  # no reason to refuse the message for which the streams are made
            self.logger.warning("the recurring messages are missing: %s", error)

    def _sweeper_of(self, wire: Wire) -> Sweeper:
        # On this connection alone: a sweep must not connect anew what was closed.
        api = Api(lambda: wire)
        publisher = Publisher(lambda: wire, timeout=self._publish_timeout, create_streams=self._create_streams)
        overdue = OverdueSchedules(self._names, api, publisher)
        stuck = StuckCrons(self._names, api, wire, self._crons, self._marks)
        return Sweeper([overdue.sweep, stuck.sweep])

    def forget_after_fork(self) -> None:
        """In a forked child: drop what belongs to the parent.  Called by the fork itself."""
        self._pauses = {}
        self._suspects = self._new_suspects()


def _pause_of_caller() -> QueuePause | None:
    processing = identity.current()
    return None if processing is None else processing.pause


def _forget_after_fork() -> None:
    for broker in list(_brokers):
        broker.forget_after_fork()


os.register_at_fork(after_in_child=_forget_after_fork)
