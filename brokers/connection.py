"""A process's connection for consuming: a thread with an event loop, and a session that is made anew whenever it is lost.

Each connection is a ``Session`` of its own. Everything that waits for an answer of a lost one is told at once; the callers know
what may be sent again.
"""

import asyncio
import concurrent.futures
import functools
import logging
import os
import random
import selectors
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from .errors import BrokerUnavailable, ConnectionLost
from .handshake import Login, Order
from .options import CONNECT_TIMEOUT, FIRST_PAUSE, LONGEST_PAUSE, Options
from .outages import Outage
from .session import Session, TakeAnswer

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds in which a suspected connection has to answer a ping.
SUSPICION_TIMEOUT = 1.0
#: Seconds of silence after which a connection is suspected.
SILENCE = 10.0
#: Seconds between looks at what the threads of a busy worker want done.
LOOK_AGAIN = 0.001
#: Seconds after which nobody waits for an answer any more.
FORGET_AFTER = 30.0

#: Connections of a parent process, in its forked children.
_abandoned: "list[Connection]" = []


class Connection:
    """Belongs to the process that made it (``pid``); a fork makes its own. Connects by itself, for ever, in the background."""

    def __init__(self, options: Options, outage: Outage) -> None:
        self.pid = os.getpid()
        self._options = options
        self._outage = outage
        self._up = threading.Event()
        self._order = Order(options.servers.urls)
        #: What threads want done in the loop.
        self._to_do: deque[Callable[[], None]] = deque()
        #: The loop will look by itself.
        self._is_awake = False
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
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

    def soon(self, call: Callable[[], None]) -> None:
        """Have the event loop run ``call`` soon, or never when it is closed. Cheap where there is much to be done."""
        self._to_do.append(call)
        if not self._is_awake:
            self._is_awake = True
            self.from_outside(self._do_all)

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
        for work in (self._stay_connected(), self._tidy()):
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
            session.close()
            await asyncio.sleep(0)  # asyncio closes the socket when it comes round

    def publish(self, subject: str, payload: bytes) -> None:
        """Send a message that wants no answer. Lost when the connection is."""
        if self._session is not None:
            self._session.publish(subject, payload)

    def request(self, subject: str, payload: bytes, take: TakeAnswer) -> None:
        """Send a request; ``take`` gets the answer, or None when the connection is lost before it comes."""
        if self._session is None:
            take(None)
        else:
            self._session.request(subject, payload, take)

    def _do_all(self) -> None:
        """Do what the threads want done.

        Where there was something there will be more: another look follows, and no thread has to wake the loop until one
        finds nothing. Waking is a system call, which gives Python's one lock away: it cost a busy thread more than its task.
        """
        if not self._to_do:
            self._is_awake = False
            if not self._to_do:  # else a thread relied on it just now
                return
            self._is_awake = True
        self._loop.call_later(LOOK_AGAIN, self._do_all)  # first: what follows may fail
        while self._to_do:
            self._to_do.popleft()()

    async def _tidy(self) -> None:
        tidied_at = time.monotonic()
        while True:
            await asyncio.sleep(SILENCE / 4)
            if self._to_do:  # a thread was interrupted before it could wake the loop
                self._do_all()
            session, now = self._session, time.monotonic()
            if session is None:
                continue
            if now - session.heard_at > SILENCE:
                self._start_checking()
            if now - tidied_at > FORGET_AFTER:
                session.forget_old_requests()
                tidied_at = now

    async def _stay_connected(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                session = await self._connect()
            except Exception as error:  # noqa: BLE001  whatever it is, it may pass
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
            self._outage.begin("the connection was lost")

    async def _connect(self) -> Session:
        login = await self._in_thread(lambda: self._order.log_in(self._options, time.monotonic() + CONNECT_TIMEOUT))
        return await Session.begin(login, on_refusal=self._note_refusal)

    async def _in_thread(self, log_in: Callable[[], Login]) -> Login:
        """A login blocks; the loop goes on meanwhile, since messages at work need it. One that nobody waits for is undone."""
        done: asyncio.Future[Login] = self._loop.create_future()
        is_unwanted = threading.Event()

        def settle(outcome: Login | Exception) -> None:
            if done.done():
                _undo(outcome)
            elif isinstance(outcome, Exception):
                done.set_exception(outcome)
            else:
                done.set_result(outcome)

        def run() -> None:
            outcome: Login | Exception
            try:
                outcome = log_in()
            except Exception as error:  # noqa: BLE001  raised where it is awaited
                outcome = error
            if not self.from_outside(functools.partial(settle, outcome)) or is_unwanted.is_set():
                _undo(outcome)

        threading.Thread(target=run, name="jetstream-login", daemon=True).start()
        try:
            return await done
        except asyncio.CancelledError:
            is_unwanted.set()  # the loop may end before it comes to ``settle``
            if done.done() and not done.cancelled():
                _undo(done.exception() or done.result())
            raise

    def _begin(self, session: Session) -> None:
        self._session = session
        for call in self._on_session:
            call()
        self._up.set()
        self._session_changed.set()

    def _note_refusal(self, text: str) -> None:
        text = self._options.servers.mask(text)
        if "permissions violation" in text.lower() and text not in self._warned:
            self._warned.add(text)
            logger.error("NATS refused: %s", text)
        else:
            logger.debug("NATS reports: %s", text)

    def _start_checking(self) -> None:
        if self._session is not None and not self._suspected:
            self._suspected = True
            self.spawn(self._check_pulse(self._session))

    async def _check_pulse(self, session: Session) -> None:
        try:
            await session.pulse(timeout=SUSPICION_TIMEOUT)
        except (ConnectionLost, TimeoutError):
            session.lose()
        finally:
            self._suspected = False


def _undo(outcome: Login | BaseException) -> None:
    if isinstance(outcome, Login):
        outcome.socket.close()
