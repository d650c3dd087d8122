"""Moves what Dramatiq's own brokers hold over to JetStream: waiting, delayed and dead messages, with ids and due times.

A block of messages is stored here, and removed there once all of it is confirmed. Each publish has an id derived from the
message and its place, so that a repetition after a crash stores nothing twice. Which block is under way stands in a
journal: where the repetition comes too late for the server to recognise it, nothing is moved without being told to.
"""

import hashlib
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol

from dramatiq.common import current_millis
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from .broker import JetStreamBroker
from .errors import JetStreamError
from .key_value import KeyValue

Kind = Literal["waiting", "delayed", "dead"]
KINDS: tuple[Kind, ...] = ("waiting", "delayed", "dead")
#: Messages stored before any of them is removed at the source: what a crash leaves in both places at most.
BLOCK = 500
#: Seconds before the end of the duplicate window from which on a repetition is not trusted to be recognised.
MARGIN = 60.0


class ImportRefused(JetStreamError):
    """Going on could run messages twice. The message says what a person has to decide or do first."""


@dataclass(frozen=True, slots=True)
class Found:
    """One message at the source."""

    body: bytes
    #: What tells it from all others, where the source has such a thing.
    identity: str | None = None
    #: When it failed for good, in milliseconds since 1970.
    died: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """How many messages of one queue were moved, or would be.  ``held``: left to workers that are at work on them."""

    queue: str
    waiting: int
    delayed: int
    dead: int
    held: int = 0


class Source(Protocol):
    """A broker of Dramatiq's to move messages from."""

    name: str

    def queues(self) -> Sequence[str]:
        """The queues that there are, without those for delayed and dead messages."""

    def count(self, queue: str) -> Moved: ...

    def require_idle(self, queue: str) -> None:
        """Raises ImportRefused while workers take messages from the queue."""

    def blocks(self, queue: str, kind: Kind, size: int) -> Iterator[Sequence[Found]]:
        """What lies there, oldest first.  A block is removed by ``remove`` before the next is asked for."""

    def remove(self, queue: str, kind: Kind, block: Sequence[Found]) -> None:
        """Remove the block that was given last, all of it or nothing."""

    def close(self) -> None: ...


def move(
    source: Source, broker: JetStreamBroker, *, queues: Sequence[str] = (), accept_doubles: bool = False
) -> Iterator[Moved]:
    """Move everything over, and tell of each queue when it is done.

    Parameters:
      source(Source): Where the messages are.  Its workers have to be stopped; producers need not be.
      broker(JetStreamBroker): Where they go.
      queues(Sequence[str]): Only these; all of them otherwise.
      accept_doubles(bool): Go on where an import ended in the middle of a block, too long ago to be recognised.

    Raises:
      ImportRefused: Before anything of a queue is moved that could run twice.
      BrokerUnavailable: When NATS did not confirm; repeat then.
    """
    names = list(queues) or list(source.queues())
    for queue in names:
        source.require_idle(queue)
        broker.declare_queue(queue)
    broker.ensure_streams()
    for queue in names:
        moved = dict.fromkeys(KINDS, 0)
        for kind in KINDS:
            mover = _Mover(source, broker, queue, kind, accept_doubles=accept_doubles)
            for block in source.blocks(queue, kind, BLOCK):
                mover.move(block)
                moved[kind] += len(block)
            mover.finish()
        yield Moved(queue, moved["waiting"], moved["delayed"], moved["dead"], held=source.count(queue).held)


class _Mover:
    """Moves the blocks of one place, that is a queue and a kind."""

    def __init__(
        self, source: Source, broker: JetStreamBroker, queue: str, kind: Kind, *, accept_doubles: bool
    ) -> None:
        self._source = source
        self._broker = broker
        self._queue = queue
        self._kind = kind
        self._accept_doubles = accept_doubles
        self._journal = _Journal(broker.key_value("imports"), f"{source.name}:{queue}:{kind}")

    def move(self, block: Sequence[Found]) -> None:
        marks = [found.identity or hashlib.blake2b(found.body, digest_size=16).hexdigest() for found in block]
        session = self._session(marks)
        seen: Counter[str] = Counter()  # the same message may lie there twice on purpose
        for found, mark in zip(block, marks, strict=True):
            seen[mark] += 1
            is_unique = found.identity is not None
            place = f"import:{self._queue}:{self._kind}:{mark}"
            self._store(found, place if is_unique else f"{place}:{seen[mark]}:{session}")
        self._source.remove(self._queue, self._kind, block)
        self._journal.close()

    def finish(self) -> None:
        """Forget a block that was removed although its import crashed: all is moved."""
        if self._journal.read() is not None:
            self._journal.close()

    def _session(self, marks: list[str]) -> str:
        """What tells this block's messages from equal ones in others; the same as before when it is a repetition."""
        entry = self._journal.read()
        doubtful = 0 if entry is None else (Counter(entry.marks) & Counter(marks)).total()
        session, now = uuid.uuid4().hex, time.time()
        if entry is not None and doubtful:
            is_late = now - entry.began > self._broker.duplicate_window - MARGIN
            if is_late and not self._accept_doubles:
                began = datetime.fromtimestamp(entry.began, UTC)
                raise ImportRefused(
                    f"queue {self._queue}: an import that began to move {doubtful} {self._kind} messages at"
                    f" {began:%Y-%m-%d %H:%M:%S} UTC did not finish, and some may be in both places: look, then repeat"
                    " with --accept-doubles"
                )
            if entry.marks == marks[: len(entry.marks)]:
                session = entry.session
            if not is_late:
                now = entry.began
        self._journal.open(_Entry(session, now, marks))
        return session

    def _store(self, found: Found, publish_id: str) -> None:
        try:
            message: Message[object] = Message.decode(found.body)
        except DecodeError as error:
            self._bury(found, None, f"DecodeError: {error}", publish_id)
            return
        options = {name: value for name, value in message.options.items() if name not in {"eta", "redis_message_id"}}
        eta = message.options.get("eta")
        message = message._replace(queue_name=self._queue, options=options)
        if self._kind == "dead":
            trace = str(options.get("traceback") or "").strip()
            self._bury(found, message, trace.rpartition("\n")[2] or f"dead in {self._source.name}", publish_id)
        else:
            delay = eta - current_millis() if self._kind == "delayed" and isinstance(eta, int | float) else None
            self._broker.enqueue_prepared(message, delay=delay, publish_id=publish_id)

    def _bury(self, found: Found, message: "Message[object] | None", error: str, publish_id: str) -> None:
        body = found.body if message is None else message.encode()
        self._broker.dead_letters.put(self._queue, body, message, error=error, publish_id=publish_id, died=found.died)


@dataclass(frozen=True, slots=True)
class _Entry:
    session: str
    #: Seconds since 1970.
    began: float
    marks: list[str]


class _Journal:
    """The block that is under way, kept beside where it goes."""

    def __init__(self, bucket: KeyValue, key: str) -> None:
        self._bucket = bucket
        self._key = key

    def read(self) -> _Entry | None:
        entry = self._bucket.get(self._key)
        return None if entry is None else _Entry(**json.loads(entry.value))

    def open(self, entry: _Entry) -> None:
        content = {"session": entry.session, "began": entry.began, "marks": entry.marks}
        self._bucket.put(self._key, json.dumps(content).encode())

    def close(self) -> None:
        self._bucket.delete(self._key)
