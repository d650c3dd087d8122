"""Messages that failed for good: kept with their error until a person replays or purges them.

They lie in a stream of their own without an age limit. The body is the message exactly as it last was; what is known of
its end stands in headers, cut so that the whole fits the server's ``max_payload``.
"""

import json
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from dramatiq.errors import DecodeError
from dramatiq.message import Message

from . import headers
from .api import MESSAGE_NOT_FOUND, STREAM_NOT_FOUND, Api, Stored
from .errors import DeadLetterNotFound, RequestRefused
from .leases import Delivery
from .names import Names, from_token
from .publisher import RESERVE, Publisher
from .session import NoResponders
from .streams import Streams

ERROR, TRACEBACK, DELIVERIES, SEQUENCE, ENQUEUED = (
    "Dramatiq-Error",
    "Dramatiq-Traceback",
    "Dramatiq-Deliveries",
    "Dramatiq-Sequence",
    "Dramatiq-Enqueued-At",
)
#: The actor's name in the subject of what could not be decoded.
UNKNOWN_ACTOR = "?"
#: Bytes of a header for the error; the rest of the reserve, and what the body leaves free, is for the traceback.
ERROR_BYTES = 1000
TRACEBACK_BYTES = 16_000
#: Seconds that one command of an operator's may take for each message.
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that failed for good. ``message`` is None when the body cannot be decoded."""

    sequence: int
    queue: str
    actor: str
    message_id: str | None
    error: str
    traceback: str
    dead_at: datetime
    deliveries: int
    message: "Message[object] | None"
    body: bytes


class DeadLetters:
    """The dead letters of a namespace. All methods raise BrokerUnavailable."""

    def __init__(self, names: Names, api: Api, streams: Streams, publisher: Publisher) -> None:
        self._names = names
        self._api = api
        self._streams = streams
        self._publisher = publisher

    def bury(
        self, delivery: Delivery, *, error: BaseException | None, message: "Message[object] | None", max_payload: int
    ) -> None:
        """Store a dead letter for a delivery; storing it again, after a crash, stores nothing."""
        body = delivery.body if message is None else message.encode()
        if len(body) + RESERVE > max_payload:  # grew by what Retries notes in it
            body = delivery.body
        described = f"{type(error).__name__}: {error}" if error is not None else "rejected"
        kept = headers.of(message) if message is not None else {}
        notes = kept | {
            ERROR: _one_line(described, ERROR_BYTES),
            DELIVERIES: str(delivery.count),
            SEQUENCE: str(delivery.sequence),
            ENQUEUED: datetime.fromtimestamp(delivery.stored_ns / 1e9, UTC).isoformat(),
        }
        taken = len(body) + sum(len(name) + len(value.encode()) + 4 for name, value in kept.items())
        room = min(TRACEBACK_BYTES, max_payload - taken - ERROR_BYTES - 600)
        if trace := _traceback_of(error, message):
            notes[TRACEBACK] = _one_line(trace, max(0, room), keep_end=True)
        self._publisher.publish(
            self._names.dead(delivery.queue, UNKNOWN_ACTOR if message is None else message.actor_name),
            body,
            publish_id=f"dead:{self._names.work_stream}:{delivery.sequence}:{delivery.stored_ns}",
            headers=notes,
            reserve=0,
        )

    def list(self, queue: str | None = None, after: int = 0, limit: int = 50) -> list[DeadLetter]:
        """Up to ``limit`` dead letters, oldest first, behind the sequence ``after``."""
        return list(self._each(queue, after=after, limit=limit))

    def show(self, sequence: int) -> DeadLetter:
        """One dead letter. Raises DeadLetterNotFound."""
        return _dead_letter(self._stored(sequence))

    def count(self, queue: str | None = None) -> int:
        return self._streams.dead(queue)

    def replay(self, sequence: int) -> None:
        """Enqueue a dead letter's message anew, with its retries unspent, and remove the dead letter.

        The publish has an id derived from the sequence: two operators at once enqueue it once. Raises DeadLetterNotFound.
        """
        self._replay(_dead_letter(self._stored(sequence)))

    def replay_all(self, queue: str | None = None) -> int:
        """Replay every dead letter there is now (of a queue). Returns how many this call replayed."""
        newest = (
            self._api.last(self._names.dead_stream, self._names.dead_of(queue), deadline=_deadline())
            if self.count(queue)
            else None
        )
        replayed = 0
        for letter in self._each(queue, after=0, limit=None):
            if newest is None or letter.sequence > newest.sequence:
                break  # died again meanwhile
            replayed += self._replay(letter)
        return replayed

    def purge(self, sequence: int | None = None, queue: str | None = None) -> int:
        """Remove one dead letter, those of a queue, or all. Returns how many."""
        if sequence is not None:
            return int(self._remove(sequence))
        return self._streams.purge(self._names.dead_stream, self._names.dead_of(queue), _deadline())

    def _replay(self, letter: DeadLetter) -> bool:
        body, actor, kept = letter.body, letter.actor, {}
        if letter.message is not None:
            body, kept = _fresh(letter.message).encode(), headers.of(letter.message)
        self._publisher.publish(
            self._names.work(letter.queue, actor),
            body,
            publish_id=f"replay:{self._names.dead_stream}:{letter.sequence}:{letter.dead_at.timestamp()}",
            headers=kept,
        )
        return self._remove(letter.sequence)

    def _each(self, queue: str | None, *, after: int, limit: int | None) -> Iterator[DeadLetter]:
        stored = self._api.each(
            self._names.dead_stream, self._names.dead_of(queue), deadline=_deadline(), after=after, limit=limit
        )
        try:
            for each in stored:
                yield _dead_letter(each)
        except NoResponders:
            return

    def _stored(self, sequence: int) -> Stored:
        try:
            stored = self._api.at(self._names.dead_stream, sequence, deadline=_deadline())
        except NoResponders:
            stored = None
        if stored is None:
            raise DeadLetterNotFound(f"there is no dead letter {sequence}")
        return stored

    def _remove(self, sequence: int) -> bool:
        request = {"seq": sequence, "no_erase": True}
        try:
            self._api.ask(f"STREAM.MSG.DELETE.{self._names.dead_stream}", request, deadline=_deadline())
        except RequestRefused as error:
            # 10057 is what the server answers for a sequence that is gone.
            if error.code in {MESSAGE_NOT_FOUND, STREAM_NOT_FOUND, 10057}:
                return False
            raise
        return True


def _deadline() -> float:
    return time.monotonic() + TIMEOUT


def _fresh(message: "Message[object]") -> "Message[object]":
    """The message as if enqueued now: no retries spent, and its age counted from now."""
    spent = {"retries", "traceback", "requeue_timestamp"}
    options = {name: value for name, value in message.options.items() if name not in spent}
    return Message(
        queue_name=message.queue_name,
        actor_name=message.actor_name,
        args=message.args,
        kwargs=message.kwargs,
        options=options,
        message_id=message.message_id,
    )


def _dead_letter(stored: Stored) -> DeadLetter:
    *_, queue, actor, _lane = stored.subject.split(".")
    message: Message[object] | None
    try:
        message = Message.decode(stored.body)
    except DecodeError:
        message = None
    return DeadLetter(
        sequence=stored.sequence,
        queue=from_token(queue),
        actor=from_token(actor),
        message_id=None if message is None else message.message_id,
        error=_text(stored.headers.get(ERROR)),
        traceback=_text(stored.headers.get(TRACEBACK)),
        dead_at=stored.stored_at,
        deliveries=int(stored.headers.get(DELIVERIES, 0)),
        message=message,
        body=stored.body,
    )


def _traceback_of(error: BaseException | None, message: "Message[object] | None") -> str:
    if error is not None and error.__traceback__ is not None:
        return "".join(traceback.format_exception(error))
    noted = None if message is None else message.options.get("traceback")  # by Retries, for the last run
    return noted if isinstance(noted, str) else ""


def _one_line(text: str, size: int, *, keep_end: bool = False) -> str:
    """A text as one line of ASCII of at most ``size`` bytes. A traceback's end is what matters."""
    text = text[-size:] if keep_end and size else text[:size]
    while len(line := json.dumps(text)) > size and text:
        excess = max(1, (len(line) - size) // 6)
        text = text[excess:] if keep_end else text[:-excess]
    return line if size >= 2 else '""'


def _text(header: str | None) -> str:
    if header is None:
        return ""
    try:
        return str(json.loads(header))
    except ValueError:
        return header
