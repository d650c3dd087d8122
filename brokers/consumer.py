"""Takes messages of one queue from its shared pull consumer and hands them to Dramatiq's worker.

One standing pull asks for as many messages as there are free places; the server sends them as they come. It is asked
again when places become free, when the pull ends or falls silent, and on every new connection.
"""

import asyncio
import concurrent.futures
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from .alarm import Alarm
from .batches import Batch, Gathering, Limits
from .connection import Connection
from .errors import BrokerUnavailable, RequestRefused, ServerTooOld
from .identity import Processing
from .leases import ACK, Delivery, Leases, give_back
from .names import Names
from .pauses import QueuePause
from .publisher import DUE, SHORT_DELAY
from .puller import Puller
from .slots import Slots
from .sources import Source, Sources
from .waiting import Waiting

logger = logging.getLogger(__name__)

#: Messages with a short delay that one consumer keeps until they are due, beside its prefetch.
MAX_KEPT = 1000
#: Seconds between tries to find or create the consumer on the server.
BIND_PAUSE = 1.0
#: Seconds until a message goes round again whose outcome could not be stored.
GIVE_BACK_PAUSE = 1.0


class JetStreamMessage(MessageProxy):
    """A message with its delivery, as Dramatiq's worker passes it around."""

    def __init__(
        self, message: "Message[object]", delivery: Delivery, consumer: "JetStreamConsumer", stream: str
    ) -> None:
        super().__init__(message)
        # Dramatiq asks for these again and again, and its proxy looks each up anew.
        self.queue_name, self.actor_name = message.queue_name, message.actor_name
        self.message_id, self.options = message.message_id, message.options
        self.args, self.kwargs = message.args, message.kwargs
        self.delivery = delivery
        self.consumer = consumer
        self.processing = Processing(stream, delivery.sequence, message, consumer.pause, stored_ns=delivery.stored_ns)
        #: Set when the message is not done: the seconds until it goes round again.
        self.give_back_after: float | None = None
        #: Middleware was told that it is processed, and so has to be told of the end.
        self.has_begun = False

    @property
    def message(self) -> "Message[object]":
        return self._message

    @property
    def exception(self) -> BaseException | None:
        """What the actor raised, while the message is being processed."""
        return self._exception


class Bind(Protocol):
    """Finds or creates the queue's consumer on the server. Returns its ack_wait in seconds."""

    def __call__(self, queue: str, *, timeout: float) -> float: ...


class Bury(Protocol):
    """Stores a dead letter. Returns once it is stored."""

    def __call__(
        self, delivery: Delivery, *, error: BaseException | None, message: "Message[object] | None"
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a consumer needs of its broker."""

    connection: Connection
    leases: Leases
    names: Names
    #: The limits of the queue's lanes by actor, as far as they are declared by now.
    limits: Mapping[str, int]
    slot_stream_config: Callable[[], Mapping[str, Any]]
    bind: Bind
    bury: Bury
    #: The message of a delivery. Raises DecodeError.
    restore: Callable[[Delivery], "Message[object]"]
    #: How an actor's messages are gathered; None for one that takes single messages.
    batch_limits: Callable[[str], Limits | None]
    #: The worker was told to stop: what came now would only go back.
    is_stopping: Callable[[], bool]
    #: Told of each consumer that closes.
    leave: Callable[[object], None]


class JetStreamConsumer(Consumer):
    """Iterates over one queue. ``ack`` and ``nack`` may be called from any thread, also after ``close``."""

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        queue: str,
        prefetch: int,
        timeout: float,
        pause: QueuePause,
    ) -> None:
        self.queue_name = queue
        self.pause = pause
        self._home = surroundings
        self._connection = surroundings.connection
        self._leases = surroundings.leases
        self._prefetch = max(1, prefetch)
        #: The fewest free places that are worth a request: with a quarter free, Dramatiq's threads still have work.
        self._worthwhile = max(1, prefetch // 4)
        self._timeout = timeout
        self._lock = threading.Lock()
        #: Rings for the thread that iterates.
        self._alarm = Alarm()
        self._waiting = Waiting()
        self._kept: dict[int, tuple[Delivery, asyncio.TimerHandle]] = {}
        self._gathering = Gathering(surroundings.batch_limits)
        self._handed = 0
        self._lease: float | None = None
        self._next_bind = 0.0
        self._is_closed = False
        self._sources = Sources(surroundings.names, queue)
        self._slots = Slots(
            surroundings.names,
            queue,
            surroundings.connection,
            surroundings.leases,
            limits=surroundings.limits,
            stream_config=surroundings.slot_stream_config,
            grant=self._grant,
        )
        self._puller = Puller(self, self._sources, self._slots, surroundings.names, surroundings.connection)

    # Dramatiq's interface

    def __next__(self) -> JetStreamMessage | Batch | None:
        deadline = time.monotonic() + self._timeout
        if self._lease is None and not self._bind(deadline):
            return None
        while True:
            taken = self._next_delivery(deadline)
            if not isinstance(taken, Delivery):
                return taken
            message = self._open(taken)
            if message is None:
                return None
            if self._home.batch_limits(message.actor_name) is None:
                return message
            with self._lock:
                complete = self._gathering.add(message)
                if complete is not None:
                    return complete
                self._handed -= 1  # the batch will have one place when it is complete
                is_last = not self._waiting
            if is_last:
                self._puller.wake()

    def ack(self, message: MessageProxy) -> None:
        if isinstance(message, JetStreamMessage):
            message.consumer.settle(message, is_failed=False)
            message.consumer.free_place()
        elif isinstance(message, Batch):
            for member in message.members:
                if not member.is_settled:
                    message.consumer.settle(member.message, is_failed=member.message.failed)
                    member.is_settled = True
            message.consumer.free_place()

    def nack(self, message: MessageProxy) -> None:
        """Move a message to the dead letters. Raises BrokerUnavailable, the message being still held then."""
        if isinstance(message, JetStreamMessage):
            message.consumer.settle(message, is_failed=True)
            message.consumer.free_place()
        elif isinstance(message, Batch):
            self.ack(message)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        for message in messages:
            if isinstance(message, JetStreamMessage):
                message.consumer.release(message.delivery, give_back())
            elif isinstance(message, Batch):
                for member in message.members:
                    self._leases.settle(member.message.delivery, give_back())
                message.consumer.free_place()

    def close(self) -> None:
        """Stop taking messages and give back those that were not handed out."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        self._alarm.ring()
        self._home.leave(self)
        try:
            stopped = self._connection.start_task(self._puller.stop())
            stopped.result(2.0 if self._connection.is_up else 0.2)
        except (BrokerUnavailable, TimeoutError, concurrent.futures.CancelledError) as error:
            logger.debug("closing the consumer of %s: %s", self.queue_name, error)
        self._give_back_rest()

    # For the threads of the worker

    def release(self, delivery: Delivery, payload: bytes) -> None:
        """Settle a delivery that was handed out, and free its place."""
        self._leases.settle(delivery, payload)
        self.free_place()

    def settle(self, message: JetStreamMessage, *, is_failed: bool) -> None:
        """Acknowledge a message, bury it, or give it back. Its place stays taken. Raises BrokerUnavailable."""
        after = message.give_back_after
        if is_failed and after is None:
            self._home.bury(message.delivery, error=message.exception, message=message.message)
        self._leases.settle(message.delivery, ACK if after is None else give_back(after))

    def free_place(self) -> None:
        """A message or batch that was handed out is done with."""
        with self._lock:
            self._handed = max(0, self._handed - 1)
            waiting = len(self._waiting)
            free = self._prefetch - self._handed - waiting + self._gathering.wanted
        if waiting or self._gathering:
            self._alarm.ring()
        if free >= self._worthwhile or not self._is_simple:
            self._puller.wake()

    def _bind(self, deadline: float) -> bool:
        """Find or create the consumer on the server; every failure of that passes, or is for the operator to mend."""
        pause = self._next_bind - time.monotonic()
        if pause > 0:
            time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
            if time.monotonic() >= deadline:
                return False
        try:
            self._lease = self._home.bind(self.queue_name, timeout=max(0.1, deadline - time.monotonic()))
        except BrokerUnavailable as error:
            logger.debug("cannot bind queue %s yet: %s", self.queue_name, error)
            return False
        except (RequestRefused, ServerTooOld) as error:
            self._next_bind = time.monotonic() + 5 * BIND_PAUSE
            logger.error("cannot consume queue %s: %s", self.queue_name, error)  # noqa: TRY400
            return False
        self._puller.start(self._connection)
        return True

    def _next_delivery(self, deadline: float) -> Delivery | Batch | None:
        """What is to be handed out next, its place taken: a delivery, or a batch that waited for long enough."""
        while not self._is_closed:
            wait = deadline - time.monotonic()
            paused = self.pause.remaining()
            if paused > 0:
                wait = min(wait, paused)
            else:
                with self._lock:
                    if self._handed < self._prefetch:
                        taken = self._gathering.due() or self._waiting.take(self._is_outranked)
                        if taken is not None:
                            self._handed += 1
                            return taken
                        wait = min(wait, self._gathering.wait())
            if deadline <= time.monotonic() or self._lease is None:
                return None
            self._alarm.wait(wait)
        return None

    @property
    def _is_simple(self) -> bool:
        """There are no lanes, as far as is known, and nothing that a single free place could matter to."""
        return self._sources.is_single and not self._slots.best

    def _is_outranked(self, lane: str, priority: int) -> bool:
        # What is parked was not held up by what waits, but by its lane's limit.
        return self._sources.is_outranked(lane, max(priority, self._slots.best.get(lane, 0)))

    def _open(self, delivery: Delivery) -> JetStreamMessage | None:
        try:
            message = self._home.restore(delivery)
        except DecodeError as error:
            logger.warning("message %d of queue %s cannot be decoded: dead letter", delivery.sequence, self.queue_name)
            self._bury_undecodable(delivery, error)
            return None
        return JetStreamMessage(message, delivery, self, self._home.names.work_stream)

    def _bury_undecodable(self, delivery: Delivery, error: DecodeError) -> None:
        try:
            self._home.bury(delivery, error=error, message=None)
        except BrokerUnavailable:
            self.release(delivery, give_back(GIVE_BACK_PAUSE))
        else:
            self.release(delivery, ACK)

    def _give_back_rest(self) -> None:
        with self._lock:
            rest = self._waiting.drain()
            rest += [message.delivery for message in self._gathering.drain()]
        for delivery in rest:
            self._leases.settle(delivery, give_back())

    # For the event loop

    @property
    def lease(self) -> float:
        return self._lease or 30.0

    def plan(self, now: float) -> list[tuple[Source, int]]:
        """Which sources to ask for how many, so that no more messages are out than there are places."""
        with self._lock:
            if self._is_closed or self.pause.is_held or len(self._kept) >= MAX_KEPT or self._home.is_stopping():
                return []
            room = self._prefetch - self._handed - len(self._waiting) + self._gathering.wanted
            best = self._waiting.best()
        best |= {lane: max(priority, best.get(lane, 0)) for lane, priority in self._slots.best.items()}
        self._slots.ask(room)
        return self._sources.plan(
            room=room, worthwhile=self._worthwhile, waiting=best, allowance=self._slots.allowance, now=now
        )

    def take(self, delivery: Delivery) -> None:
        """A message came: keep it until it is due, or make it available."""
        if not self._leases.admit(delivery):
            return
        due = delivery.headers.get(DUE)
        # Bounded, since the clock that wrote it may not be ours.
        wait = 0.0 if due is None else min(float(due) / 1000 - time.time(), SHORT_DELAY / 1000)
        if self._is_closed:
            self._leases.settle(delivery, give_back())
        elif wait > 0:
            timer = self._connection.call_later(wait, self._fall_due, delivery)
            self._kept[delivery.sequence] = (delivery, timer)
            self._puller.hasten()  # it took no place
        else:
            self._make_ready(delivery)

    def sources_changed(self) -> None:
        """A higher priority that waiting messages stood back for may not come after all."""
        if self._waiting:
            self._alarm.ring()

    def hold(self, is_held: bool) -> None:
        """Whether an operator paused the queue."""
        if self.pause.hold(is_held):
            self._alarm.ring()

    def unbind(self) -> None:
        """The consumer is gone from the server: have it made again."""
        self._next_bind = time.monotonic() + BIND_PAUSE / 4
        self._lease = None
        self._alarm.ring()

    def give_back_kept(self) -> None:
        for delivery, timer in self._kept.values():
            timer.cancel()
            self._leases.settle(delivery, give_back())
        self._kept.clear()
        for delivery in self._slots.drain():
            self._leases.settle(delivery, give_back())

    def _fall_due(self, delivery: Delivery) -> None:
        if self._kept.pop(delivery.sequence, None) is not None:
            self._make_ready(delivery)

    def _make_ready(self, delivery: Delivery) -> None:
        if self._slots.limit_of(delivery) is None:
            self._grant(delivery)
            return
        with self._lock:
            outranked = self._waiting.displace(delivery.lane, delivery.priority)
        if outranked is None:
            self._slots.park(delivery)
            self._puller.hasten()  # it took no place
            return
        delivery.slot, outranked.slot = outranked.slot, None
        self._slots.park(outranked)
        self._grant(delivery)

    def _grant(self, delivery: Delivery) -> None:
        with self._lock:
            self._waiting.add(delivery)
        self._alarm.ring()
