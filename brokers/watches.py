"""Waiting for a key to get a value, without polling: the server tells who subscribed to the key once it stored it.

A bucket republishes what it stored (never what it refused) under subjects of its own; a waiter subscribes to its key's,
then looks once, so that nothing falls between the two. All waiters of a process share its connection, and those of one key
its subscription. A lost connection is followed by a new subscription and a new look.
"""

import asyncio
import concurrent.futures
import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from .connection import Connection
from .errors import BrokerUnavailable
from .protocol import Msg
from .session import Session

#: Seconds between further looks: core NATS tells at most once, and a waiter must not sleep on a lost word for ever.
LOOK_AGAIN = 5.0
#: Seconds until the second look where there are replicas: the first may have met one that was not up to date.
LOOK_AT_REPLICAS = 0.25
#: Seconds for one look to be answered.
LOOK_TIMEOUT = 2.0

#: A value and its sequence in the bucket's stream.
Value = tuple[bytes, int]


@dataclass(slots=True, eq=False)
class _Watch:
    """One key that somebody waits for."""

    waiting: "set[concurrent.futures.Future[Value]]" = field(default_factory=set)
    task: "asyncio.Task[None] | None" = None
    #: Set when the key has a value.
    found: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, value: Value) -> None:
        self.found.set()
        for future in self.waiting:
            if not future.done():
                with contextlib.suppress(concurrent.futures.InvalidStateError):  # its caller just gave up
                    future.set_result(value)


class Watches:
    """The keys of one bucket that this process waits for, over one connection."""

    def __init__(self, connection: Connection, *, stream: str, source: str, told: str, replicas: int) -> None:
        self.connection = connection
        self._stream = stream
        self._source = source
        self._told = told
        self._replicas = replicas
        self._watches: dict[str, _Watch] = {}

    @contextlib.contextmanager
    def value_of(self, token: str) -> "Iterator[concurrent.futures.Future[Value]]":
        """A future that holds the key's value as soon as it has one. Raises BrokerUnavailable when the broker is closed."""
        future: concurrent.futures.Future[Value] = concurrent.futures.Future()
        if not self.connection.from_outside(lambda: self._add(token, future)):
            raise BrokerUnavailable("the broker's connection is closed")
        try:
            yield future
        finally:
            future.cancel()
            self.connection.from_outside(lambda: self._remove(token, future))

    # What runs in the event loop

    def _add(self, token: str, future: "concurrent.futures.Future[Value]") -> None:
        watch = self._watches.get(token)
        if watch is None or watch.found.is_set():
            watch = self._watches[token] = _Watch()
            watch.task = self.connection.spawn(self._follow(token, watch))
        watch.waiting.add(future)

    def _remove(self, token: str, future: "concurrent.futures.Future[Value]") -> None:
        watch = self._watches.get(token)
        if watch is None:
            return
        watch.waiting.discard(future)
        if not watch.waiting or watch.found.is_set():
            del self._watches[token]
            if watch.task is not None:
                watch.task.cancel()

    async def _follow(self, token: str, watch: _Watch) -> None:
        while not watch.found.is_set():
            session = await self.connection.session()
            try:
                await self._follow_in(session, token, watch)
            except (BrokerUnavailable, TimeoutError):
                await asyncio.sleep(LOOK_AT_REPLICAS)  # the connection is gone, or its server busy

    async def _follow_in(self, session: Session, token: str, watch: _Watch) -> None:
        def stored(message: Msg) -> None:
            if (value := _value(message)) is not None:
                watch.tell(value)

        subscription = session.subscribe(f"{self._told}.{token}", stored)
        lost = asyncio.ensure_future(session.lost.wait())
        found = asyncio.ensure_future(watch.found.wait())
        pause = LOOK_AGAIN if self._replicas == 1 else LOOK_AT_REPLICAS
        try:
            while not (lost.done() or found.done()):
                value = await self._look(session, token)
                if value is not None:
                    watch.tell(value)
                    return
                await asyncio.wait({lost, found}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                pause = LOOK_AGAIN
        finally:
            lost.cancel()
            found.cancel()
            session.unsubscribe(subscription)

    async def _look(self, session: Session, token: str) -> Value | None:
        question = json.dumps({"last_by_subj": f"{self._source}.{token}"}).encode()
        message = await session.ask(f"$JS.API.DIRECT.GET.{self._stream}", question, timeout=LOOK_TIMEOUT)
        # Not found, or no bucket yet: whoever stores the first value makes it, and we are told.
        return None if message.status is not None else _value(message)


def _value(message: Msg) -> Value | None:
    headers = message.headers or {}
    if "KV-Operation" in headers:  # a deletion
        return None
    return message.data, int(headers["Nats-Sequence"])
