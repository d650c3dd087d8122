"""One connection for consuming, in an event loop: what arrives goes to whoever subscribed, answers to who asked."""

import asyncio
import itertools
import logging
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from .errors import ConnectionLost
from .handshake import INBOX_SID, Login
from .protocol import PING, PONG, Control, Msg, encode_publish, encode_subscribe, encode_unsubscribe
from .sockets import Tls

logger = logging.getLogger(__name__)

#: Takes a message, and must not block.
Take = Callable[[Msg], None]
#: Takes the answer to a request; None, perhaps at once, when the connection is lost.
TakeAnswer = Callable[[Msg | None], None]


class Session(asyncio.Protocol):
    """One connection from its login to its loss. Lives in the event loop alone.

    Once it is ``lost`` nothing is sent any more. ``on_refusal`` is told of errors that the server reports.
    """

    def __init__(self, login: Login, tls: Tls | None, *, on_refusal: Callable[[str], None]) -> None:
        self.lost = asyncio.Event()
        #: When something came last (``time.monotonic``).
        self.heard_at = time.monotonic()
        #: How many messages were sent.
        self.published = 0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._tls = tls
        self._parser = login.parser
        self._inbox = login.inbox
        self._inbox_prefix = login.inbox.rpartition(".")[0]
        self._on_refusal = on_refusal
        self._outgoing: list[bytes] = []
        self._sids = itertools.count(INBOX_SID + 1)
        self._subscriptions: dict[bytes, Take] = {str(INBOX_SID).encode(): self._answered}
        self._tokens = itertools.count()
        self._waiting: dict[int, TakeAnswer] = {}
        self._oldest_wanted = 0
        self._pongs: deque[asyncio.Future[None]] = deque()

    @classmethod
    async def begin(cls, login: Login, *, on_refusal: Callable[[str], None]) -> Self:
        """Take over a connection that a login opened."""
        raw, tls = login.socket.hand_over()
        session = cls(login, tls, on_refusal=on_refusal)
        await session._loop.create_connection(lambda: session, sock=raw)
        return session

    def publish(self, subject: str, payload: bytes = b"", *, reply: str = "") -> None:
        self.published += 1
        self._send(encode_publish(subject, reply, b"", payload))

    def request(self, subject: str, payload: bytes, take: TakeAnswer) -> int:
        """Send a request, and have its answer taken. Returns the request's token."""
        token = next(self._tokens)
        if self.lost.is_set():
            take(None)
        else:
            self._waiting[token] = take
            self.publish(subject, payload, reply=f"{self._inbox}.{token}")
        return token

    async def ask(self, subject: str, payload: bytes = b"", *, timeout: float) -> Msg:  # noqa: ASYNC109
        """Send a request, and wait for its answer. Raises ConnectionLost, TimeoutError."""
        answer: asyncio.Future[Msg | None] = self._loop.create_future()

        def take(message: Msg | None) -> None:
            if not answer.done():
                answer.set_result(message)

        token = self.request(subject, payload, take)
        try:
            message = await asyncio.wait_for(answer, timeout)
        finally:
            self._waiting.pop(token, None)
        if message is None:
            raise ConnectionLost("the connection to NATS was lost")
        return message

    def new_inbox(self) -> str:
        """A subject below which nobody else expects answers."""
        return f"{self._inbox_prefix}.{uuid.uuid4().hex}"

    def subscribe(self, subject: str, take: Take) -> int:
        """Have what comes on a subject taken. Returns the subscription's number."""
        sid = next(self._sids)
        self._subscriptions[str(sid).encode()] = take
        self._send(encode_subscribe(subject, sid))
        return sid

    def unsubscribe(self, sid: int) -> None:
        if self._subscriptions.pop(str(sid).encode(), None) is not None:
            self._send(encode_unsubscribe(sid))

    async def drain(self, sid: int, *, timeout: float) -> None:  # noqa: ASYNC109
        """Unsubscribe, and return when what was on its way has been taken. Raises ConnectionLost, TimeoutError."""
        self._send(encode_unsubscribe(sid))
        try:
            await self.pulse(timeout=timeout)
        finally:
            self._subscriptions.pop(str(sid).encode(), None)

    async def pulse(self, *, timeout: float) -> None:  # noqa: ASYNC109
        """Return when the server has read all that was sent. Raises ConnectionLost, TimeoutError."""
        if self.lost.is_set():
            raise ConnectionLost("the connection to NATS was lost")
        pong: asyncio.Future[None] = self._loop.create_future()
        self._pongs.append(pong)
        self._send(PING)
        await asyncio.wait_for(pong, timeout)

    def forget_old_requests(self) -> None:
        """Give up the answers to what was asked before the last call of this."""
        for token in [token for token in list(self._waiting) if token < self._oldest_wanted]:
            self._waiting.pop(token, None)
        self._oldest_wanted = next(self._tokens)

    def lose(self) -> None:
        """End the connection at once, and fail everything that waits for an answer. Safe to call twice."""
        if self._transport is not None:
            self._transport.abort()
        self._give_up()

    def close(self) -> None:
        """Send what is to be sent, and end the connection."""
        if self._transport is not None:
            self._flush()
            self._transport.close()
        self._give_up()

    def _give_up(self) -> None:
        self.lost.set()
        waiting, self._waiting = self._waiting, {}
        for take in waiting.values():
            self._guarded(take, None)
        while self._pongs:
            pong = self._pongs.popleft()
            if not pong.done():
                pong.set_exception(ConnectionLost("the connection to NATS was lost"))

    def _send(self, frame: bytes) -> None:
        """Send with all else that is to be sent when the event loop comes round."""
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(frame)

    def _flush(self) -> None:
        frames, self._outgoing = self._outgoing, []
        if frames and self._transport is not None and not self.lost.is_set():
            data = frames[0] if len(frames) == 1 else b"".join(frames)
            self._transport.write(data if self._tls is None else self._tls.encrypt(data))

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        logger.debug("a connection to NATS ended: %s", exc)
        self._transport = None
        self._give_up()

    def data_received(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        try:
            frames = self._parser.feed(data if self._tls is None else self._tls.decrypt(data))
        except OSError as error:  # a ProtocolError or an SSLError too
            logger.debug("a connection to NATS broke: %s", error)
            self.lose()
            return
        for frame in frames:
            if isinstance(frame, Msg):
                take = self._subscriptions.get(frame.sid)
                if take is not None:
                    self._guarded(take, frame)
            else:
                self._obey(frame)

    def _guarded(self, take: Callable[[Any], None], message: Msg | None) -> None:
        try:
            take(message)
        except Exception:
            logger.exception("a message from NATS could not be taken")

    def _answered(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        take = self._waiting.pop(int(token), None) if token.isdigit() else None
        if take is not None:
            take(message)

    def _obey(self, frame: Control) -> None:
        if frame.kind == "PING":
            self._send(PONG)
        elif frame.kind == "PONG":
            pong = self._pongs.popleft() if self._pongs else None
            if pong is not None and not pong.done():
                pong.set_result(None)
        elif frame.kind == "-ERR":
            self._on_refusal(frame.text.strip("'"))
        elif frame.kind not in {"+OK", "INFO"}:
            logger.debug("what came is not NATS: %s", frame.kind[:20])
            self.lose()
