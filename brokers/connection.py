"""A process's connection for consuming: a thread with an event loop, and a client that is made anew whenever it is lost.

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
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from .errors import BrokerUnavailable, ServerTooOld
from .options import CONNECT_TIMEOUT, FIRST_PAUSE, LONGEST_PAUSE, OLDEST_SERVER, Options, too_old
from .outages import Outage
from .session import ConnectionLost, Request, Session, fail
from .strict_client import StrictClient

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds in which a suspected connection has to answer a ping.
SUSPICION_TIMEOUT = 1

#: Connections of a parent process, in its forked children.
_abandoned: "list[Connection]" = []


class Connection:
    """Belongs to the process that made it (``pid``); a fork makes its own. Connects by itself, for ever, in the background."""

    def __init__(self, options: Options, outage: Outage) -> None:
        self.pid = os.getpid()
        self._options = options
        self._outage = outage
        self._up = threading.Event()
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
        return self._up.is_set()

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
        self._up.clear()
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
        pause = FIRST_PAUSE
        while True:
            try:
                session = await self._connect()
            except (OSError, nats.errors.Error, TimeoutError, ServerTooOld, BrokerUnavailable) as error:
                self._outage.begin(self._options.servers.mask(str(error)) or type(error).__name__)
                await asyncio.sleep(pause * random.uniform(0.75, 1.25))  # noqa: S311
                pause = min(pause * 2, LONGEST_PAUSE)
                continue
            self._outage.end()
            self._begin(session)
            pause = FIRST_PAUSE
            await session.lost.wait()
            self._up.clear()
            self._session = None
            session.lose()
            self._outage.begin("the connection was lost")
            await _close(session.client)

    async def _connect(self) -> Session:
        client = StrictClient(needs_tls=self._options.needs_tls)
        session: Session | None = None

        async def closed() -> None:
            if session is not None:
                session.lose()

        try:
            await asyncio.wait_for(
                client.connect(
                    **self._options.for_nats_py(),
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
            version = client.connected_server_version
        except ValueError:  # a build of one's own, named as one likes
            return
        found = (version.major, version.minor)
        if found < OLDEST_SERVER:
            raise too_old(found, self.address, what="schedules need", oldest=OLDEST_SERVER)

    def _begin(self, session: Session) -> None:
        self._session = session
        for call in self._on_session:
            call()
        self._up.set()
        self._session_changed.set()

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
