"""Requests to NATS by the threads that make them: no thread of ours, no event loop, one socket for the whole process.

Connects on first use, and anew when the connection turns out to be lost; whoever finds it lost makes the next one, and
the others wait for that. Consuming has a connection of its own (``connection.py``).
"""

import logging
import os
import random
import threading
import time
from collections.abc import Mapping

from .errors import BrokerUnavailable, ConnectionLost, NoAnswer, NoResponders, RequestRefused, ServerTooOld
from .handshake import Order
from .link import DENIED, Link
from .options import CONNECT_TIMEOUT, FIRST_PAUSE, LONGEST_PAUSE, OLDEST_SERVER, Options, version_of
from .outages import Outage
from .protocol import Msg, encode_headers

logger = logging.getLogger(__name__)

#: Seconds that a caller still waits for a connection that is known to be gone.
RECONNECT_CHANCE = 0.25
#: Seconds that a connection has to hold to count as made: one that ends at once must not be tried without a pause.
PROVEN_AFTER = 1.0
NOT_YET = "not connected yet"


class Wire:
    """Belongs to the process that made it (``pid``); a fork makes its own. May be used from any thread."""

    def __init__(self, options: Options, outage: Outage) -> None:
        self.pid = os.getpid()
        self._options = options
        self._outage = outage
        self._link: Link | None = None
        self._lock = threading.Lock()
        self._attempt: _Attempt | None = None
        self._order = Order(options.servers.urls)
        self._down_since = time.monotonic()
        self._made_at = 0.0
        self._pause, self._next_attempt = FIRST_PAUSE, 0.0
        self._reason = NOT_YET
        self._is_closed = False
        self._info: Mapping[str, object] = {}

    @property
    def is_up(self) -> bool:
        """Whether there is a connection that nobody has found lost yet."""
        link = self._link
        return link is not None and link.lost is None

    @property
    def made_at(self) -> float:
        """When the connection was made (``time.monotonic``): another moment when the server may have been away since."""
        return self._made_at

    @property
    def max_payload(self) -> int:
        """Bytes of headers and body that the server takes in one message. Known once connected."""
        size = self._info.get("max_payload", 0)
        return size if isinstance(size, int) else 0

    @property
    def version(self) -> tuple[int, int]:
        return version_of(str(self._info.get("version", OLDEST_SERVER)))

    @property
    def address(self) -> str:
        return self._options.servers.shown

    def request(
        self,
        subject: str,
        payload: bytes = b"",
        headers: Mapping[str, str] | bytes | None = None,
        *,
        deadline: float,
        attempt: float = 1.0,
    ) -> Msg:
        """Ask until there is an answer or ``deadline`` (``time.monotonic``) has passed; ``attempt`` seconds for each try.

        Only for requests that may be executed twice. Raises BrokerUnavailable, NoResponders, RequestRefused, ServerTooOld.
        """
        block = headers if isinstance(headers, bytes) else encode_headers(headers or {})
        while True:
            link = self.connected(deadline)
            sent_at = time.monotonic()
            try:
                answer = link.ask(subject, block, payload, until=min(sent_at + attempt, deadline))
            except ConnectionLost:
                if time.monotonic() >= deadline:
                    raise
                continue
            if answer is None:
                self.suspect(link, sent_at)
                if time.monotonic() >= deadline:
                    raise NoAnswer(f"NATS at {self.address} did not answer in time")
            elif answer.headers is None:
                return answer
            else:
                check(answer, subject)
                return answer

    def tell(self, subject: str, payload: bytes = b"") -> None:
        """Publish without wanting an answer. Nothing is sent, and nobody waits, while there is no connection."""
        link = self._link
        if link is not None and link.lost is None:
            link.tell(subject, b"", payload)

    def await_connection(self, deadline: float, *, patient: bool = False) -> None:
        """Return once connected. Raises as ``connected`` does."""
        self.connected(deadline, patient=patient)

    def connected(self, deadline: float, *, patient: bool = False) -> Link:
        """The connection, made if there is none. An outage that has lasted as long as the caller would wait gets only
        a short chance, unless the caller is ``patient``.

        Raises BrokerUnavailable, or ServerTooOld when the server was reached and is refused.
        """
        link = self._link
        if link is not None:
            if link.lost is None:
                link.catch_up()
            if link.lost is None:
                return link
        now = time.monotonic()
        self._note_loss(link, now)
        chance = deadline - now
        if not patient:
            chance = min(chance, max(RECONNECT_CHANCE, chance - (now - self._down_since)))
        return self._connect_in_turn(now + chance, deadline)

    def suspect(self, link: Link, sent_at: float) -> None:
        """Something sent at that time has no answer. A server that has said nothing at all since then is replaced."""
        if link.heard_at < sent_at:
            link.lose("it does not answer")

    def close(self) -> None:
        """Disconnect. Those who wait fail at once. Safe to call twice."""
        self._is_closed = True
        self._reason = "the broker is closed"
        link, self._link = self._link, None
        if link is not None and self.pid == os.getpid():
            link.lose("the broker was closed")

    def abandon_after_fork(self) -> None:
        """In a forked child: give back our copy of the descriptor, and say nothing on the parent's connection."""
        if self._link is not None:
            self._link.drop()

    # Connecting

    def _note_loss(self, link: Link | None, now: float) -> None:
        with self._lock:
            if link is None or self._link is not link:
                return
            self._link = None
            self._down_since = now
            self._reason = link.lost or ""
            if now - self._made_at >= PROVEN_AFTER:
                self._pause, self._next_attempt = FIRST_PAUSE, 0.0
            else:
                self._put_off(now)
        if link.had_waiting:  # otherwise it ended while nobody used it, which is no news when the next one works
            self._outage.begin(self._reason)

    def _connect_in_turn(self, until: float, deadline: float) -> Link:
        """One thread tries at a time, with all the time that it has; the others wait until ``until`` for what comes of it."""
        while True:
            with self._lock:
                if self._link is not None and self._link.lost is None:
                    return self._link
                if self._is_closed:
                    raise BrokerUnavailable("the broker's connection is closed")
                now = time.monotonic()
                attempt = self._attempt
                is_mine = (attempt is None or attempt.is_stale(now)) and now >= self._next_attempt
                if is_mine:
                    attempt = self._attempt = _Attempt(now)
            if is_mine:
                assert attempt is not None
                self._try(attempt, deadline)
            elif attempt is not None:
                attempt.over.wait(max(0.0, until - time.monotonic()))
            else:
                time.sleep(max(0.0, min(self._next_attempt, until) - now))
            if time.monotonic() >= until and not self.is_up:
                raise BrokerUnavailable(f"NATS at {self.address} cannot be reached: {self._reason}")

    def _try(self, attempt: "_Attempt", deadline: float) -> None:
        try:
            login = self._order.log_in(self._options, min(deadline, attempt.began + CONNECT_TIMEOUT))
        except ServerTooOld as error:
            self._note_failure(error)
            raise
        except (OSError, BrokerUnavailable, ValueError) as error:
            self._note_failure(error)
        else:
            link = Link(login.socket, login.parser, info=login.info, inbox=login.inbox)
            link.on_refusal = self._note_refusal
            with self._lock:
                self._link, self._info, self._made_at = link, link.info, time.monotonic()
                if self._is_closed:
                    link.lose("the broker was closed")
            self._outage.end()
        finally:
            with self._lock:
                if self._attempt is attempt:
                    self._attempt = None
            attempt.over.set()

    def _note_failure(self, error: Exception) -> None:
        with self._lock:
            # A try that the caller's deadline cut short says less than the one before it.
            if not isinstance(error, TimeoutError) or self._reason == NOT_YET:
                self._reason = self._options.servers.mask(str(error)) or type(error).__name__
            self._put_off(time.monotonic())
        self._outage.begin(self._reason)

    def _note_refusal(self, text: str) -> None:
        logger.error("NATS refused: %s", self._options.servers.mask(text))

    def _put_off(self, now: float) -> None:
        self._next_attempt = now + self._pause * random.uniform(0.75, 1.25)  # noqa: S311
        self._pause = min(self._pause * 2, LONGEST_PAUSE)


def check(answer: Msg, subject: str) -> None:
    """Raises NoResponders or RequestRefused for an answer that says that nobody took the request."""
    if answer.status == "503":
        raise NoResponders(f"NATS has nobody at {subject}")
    if answer.status == DENIED:
        raise RequestRefused(f"NATS refused: {answer.data.decode()}")


class _Attempt:
    """One thread's try to connect. A thread that was interrupted may leave one behind; it grows stale."""

    def __init__(self, now: float) -> None:
        self.began = now
        self.over = threading.Event()

    def is_stale(self, now: float) -> bool:
        return self.over.is_set() or now - self.began > 3 * CONNECT_TIMEOUT
