"""One blocking connection to NATS that any number of threads share, until it is lost.

There is no thread behind it. Whoever waits for an answer and finds nobody reading reads for all until its own answer is
there, and then hands the reading on; whoever finds the socket busy leaves its bytes to the one who is sending.

A thread may be interrupted anywhere (Dramatiq's time limits raise in the middle of a call). So whatever goes wrong while
reading or sending loses the connection, and a lock that was never given back is left behind with it: those who wait hear
nothing then, and connect anew.
"""

import itertools
import logging
import time
import weakref
from _thread import allocate_lock
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .alarm import Alarm
from .errors import ConnectionLost
from .protocol import (
    PING,
    PONG,
    Control,
    Msg,
    Parser,
    ProtocolError,
    encode_publish,
)
from .sockets import NatsSocket, NothingYet

logger = logging.getLogger(__name__)

#: Seconds of silence, while somebody waits, after which the server has to show that it is alive.
SILENCE = 0.4
#: Seconds without use after which the connection is looked at before it is used again.
IDLE = 1.0


#: Refusals that the log tells of; they may name a subject for each message.
MAX_REFUSED = 100
#: The status of the answer that we make for a request which a permission forbids: the server only tells of the subject.
DENIED = "403"


class Waiter:
    """What one thread waits for: the answers to one or more requests, or their loss."""

    __slots__ = ("alarm", "answers", "error")

    def __init__(self) -> None:
        #: Token and answer, in the order of their coming.
        self.answers: deque[tuple[str, Msg]] = deque()
        self.error: Exception | None = None
        self.alarm = Alarm()


class Link:
    """A connection that has been made. Sends of one thread keep their order."""

    def __init__(self, connection: NatsSocket, parser: Parser, *, info: Mapping[str, Any], inbox: str) -> None:
        self._socket = connection
        # When nobody uses it any more, and not before: another connection would get the descriptor's number.
        weakref.finalize(self, connection.close)
        self.info = info
        #: Why it is lost, once it is.
        self.lost: str | None = None
        self.heard_at = time.monotonic()
        self._pinged_at = 0.0
        self._inbox = inbox
        self._tokens = itertools.count()
        self._parser = parser
        self._waiting: dict[str, tuple[Waiter, str]] = {}
        self._followers: dict[Waiter, None] = {}
        self._reading = allocate_lock()
        self._outbox: deque[bytes] = deque()
        self._sending = allocate_lock()
        self._refused: set[str] = set()
        #: Whether somebody waited when it was lost.
        self.had_waiting = False
        #: Called with the text of an error that concerns no request of ours.
        self.on_refusal: Callable[[str], None] = logger.error

    # Requests

    def ask(self, subject: str, headers: bytes, body: bytes, *, until: float) -> Msg | None:
        """Send a request and wait for its answer; None when there was none in time. Raises ConnectionLost."""
        waiter = Waiter()
        token = self.send(waiter, subject, headers, body)
        try:
            if not self.wait(waiter, until):
                return None
        finally:
            self.forget(token)
        if waiter.answers:
            return waiter.answers[0][1]
        assert waiter.error is not None
        raise waiter.error

    def send(self, waiter: Waiter, subject: str, headers: bytes, body: bytes) -> str:
        """Send a request whose answer goes to ``waiter``; returns the token of the answer. Raises ConnectionLost."""
        token = str(next(self._tokens))
        self._waiting[token] = (waiter, subject)
        self._put(encode_publish(subject, f"{self._inbox}.{token}", headers, body))
        if self.lost is not None:  # perhaps before it was among the waiting
            self._waiting.pop(token, None)
            raise self._loss()
        return token

    def send_all(self, waiter: Waiter, requests: "Iterable[tuple[str, bytes, bytes]]") -> list[str]:
        """Send several requests (subject, headers, body) in one go; returns their tokens. Raises ConnectionLost."""
        tokens, frames = [], []
        for subject, headers, body in requests:
            token = str(next(self._tokens))
            tokens.append(token)
            self._waiting[token] = (waiter, subject)
            frames.append(encode_publish(subject, f"{self._inbox}.{token}", headers, body))
        self._put(b"".join(frames))
        if self.lost is not None:
            for token in tokens:
                self.forget(token)
            raise self._loss()
        return tokens

    def tell(self, subject: str, headers: bytes, body: bytes) -> None:
        """Publish without wanting an answer. Raises ConnectionLost."""
        self._put(encode_publish(subject, "", headers, body))

    def forget(self, token: str) -> None:
        """The answer has come, or is not wanted any more. Tokens are never used again, so a late one reaches nobody."""
        self._waiting.pop(token, None)

    def wait(self, waiter: Waiter, until: float) -> bool:
        """Wait until the waiter has something, or ``until`` (``time.monotonic``) has come: then False."""
        try:
            while not waiter.answers and waiter.error is None:
                self._followers[waiter] = None
                if self._reading.acquire(False):
                    try:
                        self._followers.pop(waiter, None)
                        self._read_for_all(waiter, until)
                    finally:
                        self._reading.release()
                else:
                    waiter.alarm.wait(until - time.monotonic())
                if time.monotonic() >= until:
                    break
        finally:
            self._followers.pop(waiter, None)
            self._hand_on()
        return bool(waiter.answers) or waiter.error is not None

    def catch_up(self) -> None:
        """Look whether an idle connection is still there, and answer the server's pings."""
        if time.monotonic() - self.heard_at > IDLE and self._reading.acquire(False):
            try:
                while True:
                    self._read(wait=False)
            except NothingYet:
                self.heard_at = time.monotonic()
            except ConnectionLost:
                return
            finally:
                self._reading.release()
                self._hand_on()

    def lose(self, reason: str) -> None:
        """Fail everything that waits. The first reason counts. Safe to call from any thread and twice."""
        if self.lost is None:
            self.had_waiting = bool(self._waiting)
            self.lost = reason
        self._socket.shut()
        while self._waiting:
            try:
                _, (waiter, _) = self._waiting.popitem()
            except KeyError:
                return
            self._fail(waiter, self._loss())

    def drop(self) -> None:
        """Close our descriptor and say nothing to the server."""
        self._socket.close()

    def _loss(self) -> ConnectionLost:
        return ConnectionLost(f"the connection to NATS was lost: {self.lost}")

    # Sending

    def _put(self, data: bytes) -> None:
        self._outbox.append(data)
        while self._outbox and self._sending.acquire(False):
            try:
                self._flush()
            except BaseException as error:
                self.lose(_reason(error))
                if not isinstance(error, OSError):
                    raise
            finally:
                self._sending.release()

    def _flush(self) -> None:
        parts = []
        while self._outbox:
            parts.append(self._outbox.popleft())
        if self.lost is None and parts:
            self._socket.send(parts[0] if len(parts) == 1 else b"".join(parts))

    # Reading

    def _read_for_all(self, waiter: Waiter, until: float) -> None:
        while not waiter.answers and waiter.error is None:
            try:
                self._read()
            except NothingYet:
                self._check_pulse()
            except ConnectionLost:
                return
            if time.monotonic() >= until:
                return

    def _read(self, *, wait: bool = True) -> None:
        if self.lost is not None:
            raise self._loss()
        try:
            for frame in self._receive(wait=wait):
                if isinstance(frame, Msg):
                    self._deliver(frame)
                else:
                    self._obey(frame)
        except NothingYet:
            raise
        except BaseException as error:
            self.lose(_reason(error))
            if isinstance(error, OSError):
                raise self._loss() from None
            raise

    def _receive(self, *, wait: bool = True) -> "list[Msg | Control]":
        data = self._socket.receive(wait=wait)
        if not data:
            raise ConnectionResetError("the server closed it")
        self.heard_at = time.monotonic()
        return self._parser.feed(data)

    def _deliver(self, answer: Msg) -> None:
        token = answer.subject.rpartition(".")[2]
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            self._give(waiting[0], token, answer)

    def _give(self, waiter: Waiter, token: str, answer: Msg) -> None:
        waiter.answers.append((token, answer))
        self._followers.pop(waiter, None)
        waiter.alarm.ring()

    def _obey(self, frame: Control) -> None:
        if frame.kind == "PING":
            self._put(PONG)
        elif frame.kind == "-ERR":
            self._refuse(frame.text.strip("'"))
        elif frame.kind not in {"PONG", "+OK", "INFO"}:
            raise ProtocolError("what came is not NATS")

    def _refuse(self, text: str) -> None:
        """A permission that we lack: the requests on that subject fail. The server ends the connection for all else."""
        if not text.lower().startswith("permissions violation"):
            logger.debug("NATS reports: %s", text)
            return
        if text not in self._refused and len(self._refused) < MAX_REFUSED:
            self._refused.add(text)
            self.on_refusal(text)
        subject = text.partition('"')[2].partition('"')[0]
        for token, (waiter, asked) in list(self._waiting.items()):
            if asked == subject and self._waiting.pop(token, None) is not None:
                self._give(waiter, token, Msg(subject, text.encode(), {"Status": DENIED}))

    def _fail(self, waiter: Waiter, error: Exception) -> None:
        waiter.error = error
        self._followers.pop(waiter, None)
        waiter.alarm.ring()

    def _hand_on(self) -> None:
        """Let another read. The newest: its answer comes last."""
        if self._followers and not self._reading.locked():
            try:
                follower, _ = self._followers.popitem()
            except KeyError:
                return
            follower.alarm.ring()

    def _check_pulse(self) -> None:
        now = time.monotonic()
        if now - self.heard_at > SILENCE and now - self._pinged_at > SILENCE:
            self._pinged_at = now
            self._put(PING)


def _reason(error: BaseException) -> str:
    if isinstance(error, BlockingIOError):
        return "the server did not read in time"
    return str(error) or type(error).__name__
