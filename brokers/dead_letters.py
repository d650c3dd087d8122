"""Messages that failed for good: kept with their error until a person replays or purges them.

They lie in a stream of their own without an age limit. The body is the message exactly as it last was; what is known of
its end stands in headers, cut so that the whole fits the server's ``max_payload``.
"""

import itertools
import json
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from dramatiq.errors import DecodeError
from dramatiq.message import Message

from . import headers, history
from .api import Api, Stored
from .errors import DeadLetterNotFound, NoResponders
from .lanes import lane_of
from .leases import Delivery
from .names import Names, from_token
from .publisher import RESERVE, Publisher
from .streams import Streams

ERROR, TRACEBACK, DELIVERIES, SEQUENCE, ENQUEUED, RETRIES, DIED = (
    "Dramatiq-Error",
    "Dramatiq-Traceback",
    "Dramatiq-Deliveries",
    "Dramatiq-Sequence",
    "Dramatiq-Enqueued-At",
    "Dramatiq-Retries",
    "Dramatiq-Died-At",
)
#: Options in which the last failures are noted. A message that grew too large by them goes without.
NOTES = frozenset({"traceback", history.OPTION})
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
    lane: str | None
    message_id: str | None
    error: str
    traceback: str
    dead_at: datetime
    #: When its sender enqueued it, and when it was stored for the last time (by a retry).
    enqueued_at: datetime | None
    stored_at: datetime | None
    #: How often a retry had enqueued it, and how often the server had lent it out since the last one.
    retries: int
    deliveries: int
    #: The deliveries that failed, oldest first: the first and the last nine of them, over retries and replays.
    history: tuple[history.Attempt, ...]
    message: "Message[object] | None"
    body: bytes


class Store(Protocol):
    """Stores a message where its lane and priority belong, once for each publish id."""

    def __call__(self, message: "Message[object]", publish_id: str, delay: float | None) -> None: ...


class DeadLetters:
    """The dead letters of a namespace. All methods raise BrokerUnavailable.

    Where ``queue``, ``actor`` and ``lane`` choose, each that is not None narrows the choice.
    """

    def __init__(self, names: Names, api: Api, streams: Streams, publisher: Publisher, store: Store) -> None:
        self._names = names
        self._api = api
        self._streams = streams
        self._publisher = publisher
        self._store = store

    def bury(
        self,
        delivery: Delivery,
        *,
        error: BaseException | None,
        message: "Message[object] | None",
        lane: str,
        max_payload: int,
    ) -> None:
        """Store a dead letter for a delivery; storing it again, after a crash, stores nothing.  ``lane``: where it is found."""
        body = delivery.body
        if message is not None:
            history.note(message, delivery, error)
            body = message.encode()
        if len(body) + RESERVE > max_payload:  # grew by what Retries and we note in it
            body = delivery.body
        kept = headers.of(message) if message is not None else {}
        notes = kept | {
            ERROR: _one_line(history.described(error), ERROR_BYTES),
            DELIVERIES: str(delivery.count),
            RETRIES: str(_retries(delivery.body)),
            SEQUENCE: str(delivery.sequence),
            ENQUEUED: datetime.fromtimestamp(delivery.stored_ns / 1e9, UTC).isoformat(),
        }
        taken = len(body) + sum(len(name) + len(value.encode()) + 4 for name, value in kept.items())
        room = min(TRACEBACK_BYTES, max_payload - taken - ERROR_BYTES - 600)
        if trace := _traceback_of(error, message):
            notes[TRACEBACK] = _one_line(trace, max(0, room), keep_end=True)
        publish_id = f"dead:{self._names.work_stream}:{delivery.sequence}:{delivery.stored_ns}"
        self._lay_down(delivery.queue, message, publish_id, body=body, notes=notes, lane=lane)

    def put(
        self,
        queue: str,
        body: bytes,
        message: "Message[object] | None",
        *,
        error: str,
        publish_id: str,
        died: int | None = None,
    ) -> None:
        """Store a dead letter that another broker kept, once for each publish id.  ``died``: milliseconds since 1970."""
        notes = {ERROR: _one_line(error, ERROR_BYTES), RETRIES: str(_retries(body))}
        if died is not None:
            notes[DIED] = datetime.fromtimestamp(died / 1000, UTC).isoformat()
        if trace := _traceback_of(None, message):
            notes[TRACEBACK] = _one_line(trace, RESERVE - ERROR_BYTES - 600, keep_end=True)
        lane = "" if message is None else lane_of(message)
        self._lay_down(queue, message, publish_id, body=body, notes=notes, lane=lane)

    def list(
        self,
        queue: str | None = None,
        after: int = 0,
        limit: int = 50,
        *,
        actor: str | None = None,
        lane: str | None = None,
    ) -> list[DeadLetter]:
        """Up to ``limit`` dead letters, oldest first, behind the sequence ``after``: the last one's leads to the next page."""
        letters = self._each(self._names.dead_of(queue, actor=actor, lane=lane), after=after)
        return list(itertools.islice(letters, limit))

    def show(self, sequence: int) -> DeadLetter:
        """One dead letter. Raises DeadLetterNotFound."""
        return _dead_letter(self._stored(sequence))

    def count(self, queue: str | None = None, *, actor: str | None = None, lane: str | None = None) -> int:
        first = self._first(self._names.dead_of(queue, actor=actor, lane=lane), after=0)
        return 0 if first is None else first.more + 1

    def by_lane(self, *, timeout: float = TIMEOUT) -> dict[str, int]:
        """How many there are in each lane that has any: one request, however many. The lane "" has those without one."""
        found: Counter[str] = Counter()
        deadline = time.monotonic() + timeout
        subjects = self._api.subjects(self._names.dead_stream, self._names.dead_of(), deadline=deadline)
        for subject, number in subjects.items():
            found[from_token(subject.split(".")[4])] += number
        return dict(found)

    def replay(self, sequence: int) -> None:
        """Enqueue a dead letter's message anew, with its retries unspent, and remove the dead letter.

        The publish has an id derived from the sequence: two operators at once enqueue it once, and so does one whose first
        try ended between publish and removal. Raises DeadLetterNotFound.
        """
        self._replay(_dead_letter(self._stored(sequence)))

    def replay_all(self, queue: str | None = None, *, actor: str | None = None, lane: str | None = None) -> int:
        """Replay every dead letter there is now. Returns how many this call replayed, others' not counted."""
        subject = self._names.dead_of(queue, actor=actor, lane=lane)
        try:
            newest = self._api.last(self._names.dead_stream, subject, deadline=_deadline())
        except NoResponders:  # no such stream yet
            return 0
        if newest is None:
            return 0
        now = itertools.takewhile(lambda letter: letter.sequence <= newest.sequence, self._each(subject, after=0))
        return sum(self._replay(letter) for letter in now)

    def purge(
        self,
        sequence: int | None = None,
        queue: str | None = None,
        *,
        actor: str | None = None,
        lane: str | None = None,
    ) -> int:
        """Remove one dead letter, or all that are chosen. Returns how many."""
        if sequence is not None:
            return int(self._remove(sequence))
        subject = self._names.dead_of(queue, actor=actor, lane=lane)
        return self._streams.purge(self._names.dead_stream, subject, _deadline())

    def _lay_down(
        self,
        queue: str,
        message: "Message[object] | None",
        publish_id: str,
        *,
        body: bytes,
        notes: Mapping[str, str],
        lane: str,
    ) -> None:
        actor = UNKNOWN_ACTOR if message is None else message.actor_name
        subject = self._names.dead(queue, actor, lane=lane)
        self._publisher.publish(subject, body, publish_id=publish_id, headers=notes, reserve=0)

    def _replay(self, letter: DeadLetter) -> bool:
        publish_id = f"replay:{self._names.dead_stream}:{letter.sequence}:{letter.dead_at.timestamp()}"
        if letter.message is not None:
            self._store(_fresh(letter.message, letter.queue), publish_id, None)
        else:
            subject = self._names.work(letter.queue, letter.actor)
            self._publisher.publish(subject, letter.body, publish_id=publish_id)
        return self._remove(letter.sequence)

    def _each(self, subject: str, *, after: int) -> Iterator[DeadLetter]:
        while (stored := self._first(subject, after=after)) is not None:
            yield _dead_letter(stored)
            after = stored.sequence

    def _first(self, subject: str, *, after: int) -> Stored | None:
        try:
            return self._api.first(self._names.dead_stream, subject, deadline=_deadline(), after=after)
        except NoResponders:  # no such stream yet
            return None

    def _stored(self, sequence: int) -> Stored:
        try:
            stored = self._api.at(self._names.dead_stream, sequence, deadline=_deadline())
        except NoResponders:
            stored = None
        if stored is None:
            raise DeadLetterNotFound(f"there is no dead letter {sequence}")
        return stored

    def _remove(self, sequence: int) -> bool:
        return self._api.delete(self._names.dead_stream, sequence, deadline=_deadline())


def _deadline() -> float:
    return time.monotonic() + TIMEOUT


def _fresh(message: "Message[object]", queue: str) -> "Message[object]":
    """The message as if enqueued now: no retries spent, and its age counted from now."""
    spent = {"retries", "traceback", "requeue_timestamp", "eta"}
    options = {name: value for name, value in message.options.items() if name not in spent}
    return Message(
        queue_name=queue,
        actor_name=message.actor_name,
        args=message.args,
        kwargs=message.kwargs,
        options=options,
        message_id=message.message_id,
    )


def _dead_letter(stored: Stored) -> DeadLetter:
    *_, queue, actor, lane = stored.subject.split(".")
    message = _decoded(stored.body)
    enqueued = None if message is None else message.message_timestamp
    last_stored, died = stored.headers.get(ENQUEUED), stored.headers.get(DIED)
    return DeadLetter(
        sequence=stored.sequence,
        queue=from_token(queue),
        actor=from_token(actor),
        lane=from_token(lane) or None,
        message_id=None if message is None else message.message_id,
        error=_text(stored.headers.get(ERROR)),
        traceback=_text(stored.headers.get(TRACEBACK)),
        dead_at=stored.stored_at if died is None else datetime.fromisoformat(died),
        enqueued_at=None if enqueued is None else datetime.fromtimestamp(enqueued / 1000, UTC),
        stored_at=None if last_stored is None else datetime.fromisoformat(last_stored),
        retries=int(stored.headers.get(RETRIES, 0)),
        deliveries=int(stored.headers.get(DELIVERIES, 0)),
        history=() if message is None else history.of(message),
        message=message,
        body=stored.body,
    )


def _decoded(body: bytes) -> "Message[object] | None":
    try:
        return Message.decode(body)
    except DecodeError:
        return None


def _retries(body: bytes) -> int:
    """The retries that a message had behind it when it was delivered: Retries counts the one that is never made, too."""
    message = _decoded(body)
    retries = 0 if message is None else message.options.get("retries", 0)
    return retries if isinstance(retries, int) else 0


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
