"""What lies in a namespace's streams, message by message: for whoever must find what a message says, and be rid of it.

Each message read is a request, so this is for rare work that may take its time: erasing a person, an audit.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from dramatiq.errors import DecodeError
from dramatiq.message import Message

from .api import Api, Stored
from .errors import NoResponders
from .names import Names, from_token

#: Seconds for one request.
TIMEOUT = 5.0


class Place(StrEnum):
    """Where a message lies."""

    #: It waits for a worker, or a worker runs it.
    READY = "ready"
    #: It waits for its time: a delay, a retry.
    DELAYED = "delayed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Held:
    """A message as its stream holds it. ``message`` is None when the body cannot be decoded."""

    place: Place
    sequence: int
    queue: str
    actor: str
    message: "Message[object] | None"
    body: bytes
    #: What is noted beside the body: of a dead letter its error and traceback.
    notes: str


class Contents:
    """The messages of a namespace. All methods raise BrokerUnavailable."""

    def __init__(self, names: Names, api: Api) -> None:
        self._names = names
        self._api = api

    def each(self) -> Iterator[Held]:
        """Every message that lies here from before the call until its end, at least once.

        What moves meanwhile is met where it goes: retries and what falls due have a new sequence in the same stream, dead
        letters that are replayed are looked for before the work, and what dies is looked for again behind it.
        """
        newest = 0
        for held in self._in(self._names.dead_stream, self._names.dead_of()):
            newest = held.sequence
            yield held
        yield from self._in(self._names.work_stream, self._names.all_messages)
        yield from self._in(self._names.dead_stream, self._names.dead_of(), after=newest)

    def remove(self, held: Held) -> bool:
        """Remove a message, from the server's disk too. False when it was gone. One that a worker runs is run to its end."""
        stream = self._names.dead_stream if held.place == Place.DEAD else self._names.work_stream
        return self._api.delete(stream, held.sequence, deadline=time.monotonic() + TIMEOUT, overwrite=True)

    def _in(self, stream: str, subject: str, *, after: int = 0) -> Iterator[Held]:
        while True:
            try:
                stored = self._api.first(stream, subject, deadline=time.monotonic() + TIMEOUT, after=after)
            except NoResponders:  # no such stream yet
                return
            if stored is None:
                return
            yield _held(stored)
            after = stored.sequence


#: By the token of a subject that follows the namespace.
_PLACES = {"q": Place.READY, "lane": Place.READY, "sched": Place.DELAYED, "dead": Place.DEAD}


def _held(stored: Stored) -> Held:
    tokens = stored.subject.split(".")
    place = _PLACES[tokens[1]]
    return Held(
        place=place,
        sequence=stored.sequence,
        queue=from_token(tokens[2]),
        actor=from_token(tokens[3] if place == Place.DEAD else tokens[5]),
        message=_decoded(stored.body),
        body=stored.body,
        notes="\n".join(value for name, value in stored.headers.items() if not name.startswith("Nats-")),
    )


def _decoded(body: bytes) -> "Message[object] | None":
    try:
        return Message.decode(body)
    except DecodeError:
        return None
