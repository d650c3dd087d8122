"""One process's link to NATS: a thread with an event loop, and a client that is made anew whenever it is lost.

nats-py's own reconnect is left off: it goes on buffering publishes while it is away, leaves pulls deaf and gives up for
good on some server errors. A fresh client for each connection has none of these states. Everything that waits for an
answer of a lost connection fails at once with ``ConnectionLost``; the callers know what may be sent again.
"""

import asyncio
import concurrent.futures
import logging
import os
import random
import selectors
import ssl
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client, RawCredentials
from nats.aio.msg import Msg

from .errors import BrokerUnavailable, ServerTooOld
from .servers import Servers
from .session import ConnectionLost, NoAnswer, NoResponders, Request, Session, fail

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Schedules, on which delays and retries stand, came with this server.
OLDEST_SERVER = (2, 12)
#: Seconds between attempts to connect: quick for a restart, gentle in a long outage, never beyond what lets a
#: publish succeed within three seconds of the server's return.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
#: Seconds that a caller still waits for a connection that is known to be gone.
RECONNECT_CHANCE = 0.25
#: Seconds for a TCP and TLS handshake.
CONNECT_TIMEOUT = 2
#: Seconds in which a suspected connection has to answer a ping.
SUSPICION_TIMEOUT = 1

#: Connections of a parent process, in its forked children.
_abandoned: "list[Connection]" = []


@dataclass(frozen=True, slots=True)
class Options:
    """How to reach and enter NATS."""

    servers: Servers
    credentials: Path | str | None = None
    tls: ssl.SSLContext | None = None
    inbox_prefix: str = "_INBOX"

    def as_arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {"servers": list(self.servers.urls), "inbox_prefix": self.inbox_prefix}
        if self.servers.user is not None and self.servers.password is not None:
            arguments |= {"user": self.servers.user, "password": self.servers.password}
        elif self.servers.user is not None:
            arguments["token"] = self.servers.user
        if isinstance(self.credentials, str):
            arguments["user_credentials"] = RawCredentials(self.credentials)
        elif self.credentials is not None:
            arguments["user_credentials"] = self.credentials
        if self.tls is not None:
            arguments["tls"] = self.tls
        return arguments


@dataclass(slots=True)
class _State:
    """What other threads read; written by the event loop alone."""

    up: threading.Event = field(default_factory=threading.Event)
    down_since: float = field(default_factory=time.monotonic)
    refusal: ServerTooOld | None = None
    max_payload: int = 0
    version: tuple[int, int] = (0, 0)
    reason: str = "not connected yet"


class Connection:
    """Belongs to the process that made it (``pid``); a fork makes its own. Connects by itself, for ever, in the background."""

    def __init__(self, options: Options) -> None:
        self.pid = os.getpid()
        self._options = options
        self._state = _State()
        self._outbox: deque[Request] = deque()
        self._is_awake = False
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._wakeup = asyncio.Event()
        self._closing = asyncio.Event()
        self._session: Session | None = None
        self._session_changed = asyncio.Event()
        self._suspected = False
        self._on_session: list[Callable[[], None]] = []
        self._on_close: list[Callable[[float], Awaitable[None]]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._warned: set[str] = set()
        self._thread = threading.Thread(target=self._run, name="jetstream-io", daemon=True)
        self._thread.start()

    # What any thread may call

    @property
    def is_up(self) -> bool:
        return self._state.up.is_set()

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body that the server takes in one message. Known once connected."""
        return self._state.max_payload

    @property
    def version(self) -> tuple[int, int]:
        return self._state.version

    @property
    def address(self) -> str:
        return self._options.servers.shown

    def send(
        self, subject: str, payload: bytes, headers: dict[str, str] | None = None
    ) -> "concurrent.futures.Future[Msg]":
        """Send a request; the future holds the answer or the loss. Sends of one thread keep their order."""
        answer: concurrent.futures.Future[Msg] = concurrent.futures.Future()
        self._hand_over(Request(subject, payload, headers, answer))
        return answer

    def tell(self, subject: str, payload: bytes) -> None:
        """Publish without wanting an answer. Lost when the connection is."""
        self._hand_over(Request(subject, payload, None, None))

    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        deadline: float,
        attempt: float = 1.0,
    ) -> Msg:
        """Ask until there is an answer or ``deadline`` (``time.monotonic``) has passed; ``attempt`` seconds for each try.

        Only for requests that may be executed twice. Raises BrokerUnavailable, NoResponders, ServerTooOld.
        """
        while True:
            self.await_connection(deadline)
            answer = self.send(subject, payload, headers)
            try:
                message = answer.result(max(0.0, min(attempt, deadline - time.monotonic())))
            except TimeoutError:
                answer.cancel()
                self.suspect()
                if time.monotonic() >= deadline:
                    raise NoAnswer(f"NATS at {self.address} did not answer in time") from None
            except ConnectionLost:
                if time.monotonic() >= deadline:
                    raise
            else:
                if message.headers and message.headers.get("Status") == "503":
                    raise NoResponders(f"NATS at {self.address} has nobody at {subject}")
                return message

    def await_connection(self, deadline: float, *, patient: bool = False) -> None:
        """Return once connected. An outage that has lasted as long as the caller would wait gets only a short chance.

        Raises BrokerUnavailable, or ServerTooOld when the server was reached and refused.
        """
        state = self._state
        if state.up.is_set():
            return
        now = time.monotonic()
        chance = deadline - now
        if not patient:
            chance = min(chance, max(RECONNECT_CHANCE, chance - (now - state.down_since)))
        if not state.up.wait(max(0.0, chance)):
            if state.refusal is not None:
                raise ServerTooOld(str(state.refusal))
            raise BrokerUnavailable(f"NATS at {self.address} cannot be reached: {state.reason}")

    def suspect(self) -> None:
        """Something did not answer: let the connection prove itself, or be replaced."""
        self.from_outside(self._start_checking)

    def start_task(self, work: Coroutine[Any, Any, T]) -> "concurrent.futures.Future[T]":
        """Run a coroutine in the event loop."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:
            work.close()
            raise BrokerUnavailable("the broker's connection is closed") from None

    def close(self, timeout: float = 2.0) -> None:
        """Settle what can be settled within ``timeout`` seconds, then disconnect. Safe to call twice."""
        if self.pid != os.getpid():
            return
        self._state.reason = "the broker is closed"
        self.from_outside(self._closing.set)
        self._thread.join(timeout + 2.0)

    def abandon_after_fork(self) -> None:
        """In a forked child: never touch the parent's connection again.

        The child shares the parent's epoll and sockets. Its copy of the epoll is closed, so that no finalizer can take
        the parent's sockets out of it, and everything is kept alive, so that there is nothing to finalize.
        """
        _abandoned.append(self)
        self._selector.close()

    def _hand_over(self, request: Request) -> None:
        self._outbox.append(request)
        if not self._is_awake:  # one wake-up serves everything that gathers until the loop comes round
            self._is_awake = True
            if not self.from_outside(self._wakeup.set):
                fail(request.answer, ConnectionLost("the broker's connection is closed"))

    def from_outside(self, call: Callable[[], None]) -> bool:
        """Have the event loop run ``call`` soon. False when it is closed."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed
            return False
        return True

    # What runs in the event loop

    def on_session(self, call: Callable[[], None]) -> None:
        """Have ``call`` run in the event loop on every new connection, before anything else is sent."""
        self._on_session.append(call)

    def on_close(self, call: Callable[[float], Awaitable[None]]) -> None:
        """Have ``call(seconds)`` awaited before the connection is closed for good."""
        self._on_close.append(call)

    async def session(self) -> Session:
        """The current connection, as soon as there is one."""
        while self._session is None:
            self._session_changed.clear()
            await self._session_changed.wait()
        return self._session

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: object) -> asyncio.TimerHandle:
        return self._loop.call_later(seconds, call, *arguments)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            self._loop.close()

    async def _main(self) -> None:
        for work in (self._pump(), self._stay_connected(), self._tidy()):
            self.spawn(work)
        await self._closing.wait()
        for call in self._on_close:
            await call(1.5)
        self._state.up.clear()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            session.lose()
            await _close(session.client)
        while self._outbox:
            fail(self._outbox.popleft().answer, ConnectionLost("the broker's connection is closed"))

    async def _pump(self) -> None:
        """Send what the threads handed over, everything that is there in one go."""
        while True:
            await self._wakeup.wait()
            self._wakeup.clear()
            self._is_awake = False
            while self._outbox:
                request = self._outbox.popleft()
                if self._session is None:
                    fail(request.answer, ConnectionLost("there is no connection to NATS"))
                else:
                    await self._session.send(request)

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(5)
            if self._session is not None:
                self._session.forget_abandoned()

    async def _stay_connected(self) -> None:
        pause, failed = FIRST_PAUSE, False
        while True:
            try:
                session = await self._connect()
            except (OSError, nats.errors.Error, TimeoutError, ServerTooOld) as error:
                self._note_failure(error, is_first=not failed)
                failed = True
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            if failed:
                logger.info(
                    "connected to NATS at %s after %.1f s", self.address, time.monotonic() - self._state.down_since
                )
            self._begin(session)
            pause, failed = FIRST_PAUSE, False
            await session.lost.wait()
            self._end(session)
            failed = True
            logger.warning("lost the connection to NATS at %s, reconnecting", self.address)
            await _close(session.client)

    async def _connect(self) -> Session:
        client = Client()
        session: Session | None = None

        async def closed() -> None:
            if session is not None:
                session.lose()

        try:
            await asyncio.wait_for(
                client.connect(
                    **self._options.as_arguments(),
                    name=f"dramatiq-{self.pid}",
                    allow_reconnect=False,
                    # nats-py tries each server once more than this, without a pause; ours follows.
                    max_reconnect_attempts=1,
                    reconnect_time_wait=0,
                    connect_timeout=CONNECT_TIMEOUT,
                    ping_interval=10,
                    error_cb=self._on_error,
                    closed_cb=closed,
                    disconnected_cb=closed,
                ),
                timeout=3 * CONNECT_TIMEOUT,
            )
            self._check(client)
            session = Session(client)
            await session.start()
        except BaseException:
            await _close(client)
            raise
        return session

    def _check(self, client: Client) -> None:
        try:
            found = client.connected_server_version
            version = (found.major, found.minor)
        except ValueError:  # a build of one's own, named as one likes
            version = OLDEST_SERVER
        self._state.version = version
        self._state.max_payload = client.max_payload
        if version < OLDEST_SERVER:
            raise too_old(version, self.address, what="schedules need", oldest=OLDEST_SERVER)

    def _begin(self, session: Session) -> None:
        self._session = session
        for call in self._on_session:
            call()
        self._state.refusal = None
        self._state.up.set()
        self._session_changed.set()

    def _end(self, session: Session) -> None:
        self._state.up.clear()
        self._state.down_since = time.monotonic()
        self._state.reason = "the connection was lost"
        self._session = None
        session.lose()

    def _note_failure(self, error: Exception, *, is_first: bool) -> None:
        self._state.reason = self._options.servers.mask(str(error)) or type(error).__name__
        self._state.refusal = error if isinstance(error, ServerTooOld) else None
        if is_first:
            logger.warning("cannot reach NATS at %s (%s), trying again", self.address, self._state.reason)

    async def _on_error(self, error: Exception) -> None:
        text = self._options.servers.mask(str(error))
        if "permissions violation" in text.lower() and text not in self._warned:
            self._warned.add(text)
            logger.error("NATS refused: %s", text)
        else:
            logger.debug("nats-py reports %s: %s", type(error).__name__, text)

    def _start_checking(self) -> None:
        if self._session is not None and not self._suspected:
            self._suspected = True
            self.spawn(self._check_pulse(self._session))

    async def _check_pulse(self, session: Session) -> None:
        try:
            await session.client.flush(timeout=SUSPICION_TIMEOUT)
        except (nats.errors.Error, OSError, TimeoutError):
            session.lose()
        finally:
            self._suspected = False


async def _close(client: Client) -> None:
    """Close without waiting for a server that does not read any more."""
    try:
        await asyncio.wait_for(client.close(), 1)
    except (nats.errors.Error, OSError, TimeoutError, RuntimeError) as error:
        logger.debug("closing the connection: %s", error)


def too_old(version: tuple[int, int], address: str, *, what: str, oldest: tuple[int, int]) -> ServerTooOld:
    found, needed = (".".join(map(str, each)) for each in (version, oldest))
    return ServerTooOld(f"NATS {found} at {address} is too old: {what} {needed} or newer")
