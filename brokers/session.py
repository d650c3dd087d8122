"""One connection to NATS: requests go out, answers find their callers, and a loss fails all who wait."""

import asyncio
import concurrent.futures
import itertools
import logging
from collections.abc import Mapping
from typing import NamedTuple

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from .errors import BrokerUnavailable

logger = logging.getLogger(__name__)


class ConnectionLost(BrokerUnavailable):
    """The connection went away before the answer came: the request may or may not have been executed."""


class NoAnswer(BrokerUnavailable):
    """The server did not answer in time: the request may or may not have been executed."""


class NoResponders(BrokerUnavailable):
    """Nobody serves that subject: the stream or bucket does not exist, or has no leader at the moment."""


class Request(NamedTuple):
    """What a thread hands over to be sent. Without ``answer`` none is wanted."""

    subject: str
    payload: bytes
    headers: dict[str, str] | None
    answer: "concurrent.futures.Future[Msg] | None"


class Session:
    """One connection from its handshake to its loss. Lives in the event loop alone."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.lost = asyncio.Event()
        self._inbox = client.new_inbox()
        self._tokens = itertools.count()
        self._waiting: dict[str, concurrent.futures.Future[Msg]] = {}

    async def start(self) -> None:
        # No limits: nats-py drops what exceeds them, and an answer is never unexpected.
        await self.client.subscribe(f"{self._inbox}.*", cb=self._answered, pending_msgs_limit=0, pending_bytes_limit=0)

    async def send(self, request: Request) -> None:
        try:
            if request.answer is None:
                await self.client.publish(request.subject, request.payload, headers=request.headers)
                return
            token = str(next(self._tokens))
            self._waiting[token] = request.answer
            reply = f"{self._inbox}.{token}"
            await self.client.publish(request.subject, request.payload, reply=reply, headers=request.headers)
        except (nats.errors.Error, OSError) as error:
            fail(request.answer, ConnectionLost(f"the connection to NATS was lost: {type(error).__name__}"))

    async def _answered(self, message: Msg) -> None:
        future = self._waiting.pop(message.subject.rpartition(".")[2], None)
        if future is not None and not future.done():
            try:
                future.set_result(message)
            except concurrent.futures.InvalidStateError:
                logger.debug("an answer came just as its caller gave up")

    def forget_abandoned(self) -> None:
        for token in [token for token, future in self._waiting.items() if future.done()]:
            del self._waiting[token]

    def lose(self) -> None:
        """Fail everything that waits for an answer of this connection."""
        self.lost.set()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            fail(future, ConnectionLost("the connection to NATS was lost"))


def fail(future: "concurrent.futures.Future[Msg] | None", error: Exception) -> None:
    if future is not None and not future.done():
        try:
            future.set_exception(error)
        except concurrent.futures.InvalidStateError:
            logger.debug("a request failed just as its caller gave up")


def status(message: Msg) -> str | None:
    """The status of an answer that carries no data: 404, 408, 409 and so on."""
    headers: Mapping[str, str] | None = message.headers
    return headers.get("Status") if headers else None
