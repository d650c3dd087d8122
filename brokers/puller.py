"""The standing pull of a consumer: asks for as many messages as there are free places, and notices silence."""

import asyncio
import concurrent.futures
import itertools
import json
import logging
import threading
import time
from typing import TYPE_CHECKING

import nats.errors
from nats.aio.msg import Msg

from .connection import Connection
from .leases import Delivery
from .session import Session, status

if TYPE_CHECKING:
    from .consumer import JetStreamConsumer

logger = logging.getLogger(__name__)

#: Seconds that one pull stands, between its heartbeats, and of silence after which it is taken for lost.
PULL_EXPIRES, HEARTBEAT, SILENCE = 30.0, 0.5, 1.25


class Puller:
    """The standing pull of one consumer. Lives in the event loop, ``start`` and ``wake`` apart."""

    def __init__(self, consumer: "JetStreamConsumer", subject: str) -> None:
        self._consumer = consumer
        self._subject = subject
        self._is_bound = threading.Event()
        self._connection: Connection | None = None
        self._task: concurrent.futures.Future[None] | None = None
        self._wakeup = asyncio.Event()
        self._numbers = itertools.count()
        self._asked = 0
        self._heard_at = 0.0
        self._not_before = 0.0
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()

    def start(self, connection: Connection) -> None:
        """Pull from now on, or again after the consumer was made anew."""
        self._is_bound.set()
        if self._task is None:
            self._connection = connection
            self._task = connection.start_task(self._run(connection))
        else:
            self._poke()

    def wake(self) -> None:
        """A place became free."""
        if self._task is not None:
            self._poke()

    def hasten(self) -> None:
        """The same, from within the event loop."""
        self._wakeup.set()

    def _poke(self) -> None:
        if self._connection is not None:
            self._connection.from_outside(self._wakeup.set)

    async def stop(self) -> None:
        self._stopping.set()
        self._wakeup.set()
        if self._task is not None:
            await self._stopped.wait()
        self._consumer.give_back_kept()

    async def _run(self, connection: Connection) -> None:
        try:
            while not self._stopping.is_set():
                session = await self._next_session(connection)
                if session is None:
                    return
                try:
                    await self._pull_from(session, connection)
                except (nats.errors.Error, OSError) as error:
                    logger.debug("pulling %s: %s", self._consumer.queue_name, error)
                    session.lose()
        finally:
            self._stopped.set()

    async def _next_session(self, connection: Connection) -> Session | None:
        """A connection, or None when the consumer is closed before there is one."""
        waits = {asyncio.ensure_future(connection.session()), asyncio.ensure_future(self._stopping.wait())}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            results = [task.result() for task in done]
            return next((result for result in results if isinstance(result, Session)), None)
        finally:
            for task in waits:
                task.cancel()

    async def _pull_from(self, session: Session, connection: Connection) -> None:
        inbox = session.client.new_inbox()
        pulls = await session.client.subscribe(f"{inbox}.*", cb=self._came, pending_msgs_limit=0, pending_bytes_limit=0)
        self._asked, self._heard_at = 0, time.monotonic()
        watch = connection.spawn(self._wake_when_lost(session))
        while not (session.lost.is_set() or self._stopping.is_set()):
            self._wakeup.clear()
            if self._is_bound.is_set():
                await self._ask(session, inbox)
            try:
                await asyncio.wait_for(self._wakeup.wait(), HEARTBEAT)
            except TimeoutError:
                self._check_silence(connection)
        watch.cancel()
        if not session.lost.is_set():
            await pulls.drain()  # type: ignore[no-untyped-call]  # what is on its way still arrives, and is given back

    async def _wake_when_lost(self, session: Session) -> None:
        await session.lost.wait()
        self._wakeup.set()

    async def _ask(self, session: Session, inbox: str) -> None:
        """Ask for as many as there is room for; not for single places while there is work in hand."""
        room = self._consumer.room() - self._asked
        if room < self._consumer.worthwhile or time.monotonic() < self._not_before:
            return
        request = {"batch": room, "expires": int(PULL_EXPIRES * 1e9), "idle_heartbeat": int(HEARTBEAT * 1e9)}
        if self._asked == 0:
            self._heard_at = time.monotonic()
        self._asked += room
        reply = f"{inbox}.{next(self._numbers)}"
        await session.client.publish(self._subject, json.dumps(request).encode(), reply=reply)

    async def _came(self, message: Msg) -> None:
        self._heard_at = time.monotonic()
        state = status(message)
        if message.reply.startswith("$JS.ACK."):
            self._asked = max(0, self._asked - 1)
            self._consumer.take(Delivery.of(message, queue=self._consumer.queue_name, lease=self._consumer.lease))
            return
        if state == "100":
            return
        if state == "503":
            self._asked = 0
            self._is_bound.clear()
            self._consumer.unbind()
            return
        # The pull ended: expired (408), nothing there (404), or a leader changed (409).
        if state == "409":
            self._not_before = time.monotonic() + HEARTBEAT / 2
        left = (message.headers or {}).get("Nats-Pending-Messages")
        self._asked = max(0, self._asked - int(left)) if left else 0
        self._wakeup.set()

    def _check_silence(self, connection: Connection) -> None:
        if self._asked > 0 and time.monotonic() - self._heard_at > SILENCE:
            self._asked = 0
            connection.suspect()
