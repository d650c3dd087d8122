"""Pulls what a consumer has free places for: from the main line by a standing pull, from lanes as long as they have something.

A standing pull is asked again when places become free, when it ends or falls silent, and on every new connection. A lane's
source is asked without waiting; its consumer on the server is made when it turns out to be missing, and vanishes by itself.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from .connection import Connection
from .errors import ConnectionLost
from .lanes import BELL_PAUSE, rung
from .leases import Delivery
from .looks import Looks
from .names import Names
from .protocol import Msg
from .session import Session
from .slots import Slots
from .sources import Source, Sources
from .streams import consumer_request

if TYPE_CHECKING:
    from .consumer import JetStreamConsumer

logger = logging.getLogger(__name__)

#: Seconds that one pull stands, between its heartbeats, and of silence after which it is taken for lost.
PULL_EXPIRES, HEARTBEAT, SILENCE = 30.0, 0.5, 1.25
#: Seconds after which a lane's consumer that nobody asks and that has nothing lent out is removed by the server.
INACTIVE = 300.0
#: Seconds in which what is on its way has to have come, once nothing is asked for any more.
DRAIN_TIMEOUT = 1.0
#: Seconds until a source is asked again that refused, and that could not be made.
REFUSED_PAUSE, UNMADE_PAUSE = 0.25, 5.0


class Puller:
    """All pulls of one consumer. Lives in the event loop, ``start`` and ``wake`` apart."""

    def __init__(
        self, consumer: "JetStreamConsumer", sources: Sources, slots: Slots, names: Names, connection: Connection
    ) -> None:
        self._consumer = consumer
        self._sources = sources
        self._slots = slots
        self._stream = names.work_stream
        self._bell = names.bell(consumer.queue_name)
        self._looks = Looks(names, consumer.queue_name, connection, on_pause=consumer.hold, on_failure=self._complain)
        self._is_bound = threading.Event()
        self._connection: Connection | None = None
        self._session: Session | None = None
        self._task: concurrent.futures.Future[None] | None = None
        self._inbox = ""
        #: The loop is about to ask.
        self._will_ask = False
        self._heard_at = 0.0
        self._has_looked = False
        self._looked_at = 0.0
        self._has_complained = False
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()

    def start(self, connection: Connection) -> None:
        """Pull from now on, or again after the consumer was made anew."""
        self._is_bound.set()
        if self._task is None:
            self._connection = connection
            self._task = connection.start_task(self._run(connection))
        else:
            self.wake()

    def wake(self) -> None:
        """A place became free."""
        if self._connection is not None and not self._will_ask:
            self._will_ask = True
            self._connection.soon(self._ask)

    def hasten(self) -> None:
        """The same, from within the event loop: ask when it has done what it is at."""
        if self._connection is not None and not self._will_ask:
            self._will_ask = True
            self._connection.call_later(0, self._ask)

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._stopped.wait()
        self._consumer.give_back_kept()

    async def _run(self, connection: Connection) -> None:
        try:
            while not self._stopping.is_set():
                session = await self._next_session(connection)
                if session is None:
                    return
                await self._pull_from(session, connection)
        finally:
            self._stopped.set()

    async def _next_session(self, connection: Connection) -> Session | None:
        """A connection, or None when the consumer is closed before there is one."""
        coming = asyncio.ensure_future(connection.session())
        await self._first_of(coming, asyncio.ensure_future(self._stopping.wait()))
        return coming.result() if coming.done() and not coming.cancelled() else None

    async def _end_of(self, session: Session) -> None:
        """Return when the connection is lost, or the consumer closed."""
        await self._first_of(asyncio.ensure_future(session.lost.wait()), asyncio.ensure_future(self._stopping.wait()))

    async def _first_of(self, *waits: "asyncio.Future[Any]") -> None:
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _pull_from(self, session: Session, connection: Connection) -> None:
        self._inbox = session.new_inbox()
        pulls = session.subscribe(f"{self._inbox}.*", self._came)
        bells = session.subscribe(self._bell, self._rang)
        self._slots.lease = self._consumer.lease
        self._slots.begin(session)
        self._sources.forget_all()
        self._session, self._heard_at, self._has_looked = session, time.monotonic(), False
        helpers = [connection.spawn(self._tick(connection)), connection.spawn(self._look())]
        try:
            await self._end_of(session)
        finally:
            self._session = None
            for helper in helpers:
                helper.cancel()
        session.unsubscribe(bells)
        with contextlib.suppress(ConnectionLost, TimeoutError):
            await session.drain(pulls, timeout=DRAIN_TIMEOUT)  # what is on its way still arrives, and is given back

    async def _tick(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            self._check_silence(connection)
            self._ask()  # also when a thread was interrupted before it could have it done

    async def _look(self) -> None:
        """Find now and then what no bell told of: schedules that fired, and what was there before."""
        async for places in self._looks.each():
            if places is not None:
                self._sources.found(places, asked_at=self._looks.asked_at)
            self._has_looked = True
            self._consumer.sources_changed()
            self.hasten()

    def _rang(self, message: Msg) -> None:
        place = rung(message.data)
        if place is None:
            self._looks.hasten()
            return
        self._tell(place)
        if self._connection is not None:  # the next messages of its sender come without a bell
            self._connection.call_later(2 * BELL_PAUSE, self._tell, place)

    def _tell(self, place: tuple[str, int]) -> None:
        self._sources.tell(place, time.monotonic())
        self.hasten()

    def _ask(self) -> None:
        """Ask for as many as there is room for; not for single places while there is work in hand."""
        self._will_ask = False
        session = self._session
        if session is None or not (self._is_bound.is_set() and self._has_looked):
            return
        now = time.monotonic()
        for source, batch in self._consumer.plan(now):
            request: dict[str, object] = {"batch": batch}
            if source is self._sources.main:
                if source.not_before > now:
                    continue
                if source.asked == 0:
                    self._heard_at = now
                request |= {"expires": int(PULL_EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
            else:
                request["no_wait"] = True
            self._sources.asked_for(source, batch, now)
            subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._stream}.{source.consumer}"
            session.publish(subject, json.dumps(request).encode(), reply=f"{self._inbox}.{source.number}")

    def _came(self, message: Msg) -> None:
        self._heard_at = time.monotonic()
        if message.reply.startswith("$JS.ACK."):
            self._take(message)
            return
        state = message.status
        source = self._sources.of_number(message.subject.rpartition(".")[2])
        if state == "100" or source is None:
            return
        if state == "503":
            self._is_missing(source)
            return
        # The pull ended: expired (408), nothing there (404), or a leader changed (409).
        if state == "409":
            self._sources.refused(source, until=self._heard_at + REFUSED_PAUSE, now=self._heard_at)
        else:
            left = (message.headers or {}).get("Nats-Pending-Messages")
            source.asked = max(0, source.asked - int(left)) if left else 0
            self._sources.emptied(source)
        self._consumer.sources_changed()
        self.hasten()

    def _take(self, message: Msg) -> None:
        consumer, name = self._consumer, _consumer_of(message.reply)
        source = self._sources.of_consumer(name)
        lane, priority = ("", 0) if source is None else (source.lane, source.priority)
        delivery = Delivery.of(message, queue=consumer.queue_name, lease=consumer.lease, lane=lane, priority=priority)
        if source is not None:
            source.asked = max(0, source.asked - 1)
            if source is not self._sources.main:
                if delivery.pending == 0:
                    self._sources.emptied(source)
                if source.asked == 0:
                    self.hasten()
        consumer.take(delivery)

    def _is_missing(self, source: Source) -> None:
        source.asked = 0
        if source is self._sources.main:
            self._is_bound.clear()
            self._consumer.unbind()
        elif self._connection is not None:
            source.is_being_made = True
            self._connection.spawn(self._make(source, self._connection))
            self.hasten()

    async def _make(self, source: Source, connection: Connection) -> None:
        subject, body = consumer_request(
            self._stream, source.consumer, source.filter_subject, ack_wait=self._consumer.lease, inactive=INACTIVE
        )
        try:
            session = await connection.session()
            answer = await session.ask(f"$JS.API.{subject}", json.dumps(body).encode(), timeout=UNMADE_PAUSE)
            content = json.loads(answer.data or b"{}")
        except (TimeoutError, ConnectionLost) as error:
            content = {"error": {"description": f"no answer ({type(error).__name__}), as where a permission lacks"}}
        now = time.monotonic()
        if "error" in content:
            self._complain(f"no consumer for lane {source.lane!r}: {content['error'].get('description')}")
            self._sources.made(source, now, not_before=now + UNMADE_PAUSE)
        else:
            self._sources.made(source, now)
        self._consumer.sources_changed()
        self.hasten()

    def _complain(self, reason: str) -> None:
        if not self._has_complained and not self._stopping.is_set():
            self._has_complained = True
            logger.warning(
                "queue %s: this worker cannot take from its lanes and priorities, and goes on with the rest: %s",
                self._consumer.queue_name,
                reason,
            )

    def _check_silence(self, connection: Connection) -> None:
        now = time.monotonic()
        for source in self._sources.asked():
            # A lane's source answers at once; the main line's pull stands, with heartbeats.
            if now - (self._heard_at if source is self._sources.main else source.asked_at) > SILENCE:
                source.asked = 0
                connection.suspect()


def _consumer_of(reply: str) -> str:
    # $JS.ACK.stream.consumer.… or $JS.ACK.domain.account.stream.consumer.… (ADR-15)
    tokens = reply.split(".")
    return tokens[5] if len(tokens) > 9 else tokens[3]
