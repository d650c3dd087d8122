"""Ticks of recurring messages: their identity, and the mark that tells until when all is well.

All ticks of a recurring message have the same body, so each gets an id and a time of its own from where it lies in the
stream. The server says in each tick when the next one is due; whoever takes a tick notes that, before the tick can be
acknowledged, so that a tick that does not come is missed.
"""

import json
import logging
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from dramatiq.message import Message

from . import headers
from .api import Stored, parse_time
from .errors import BrokerUnavailable, JetStreamError, KeyConflict
from .key_value import KeyValue
from .leases import Delivery
from .names import Names

logger = logging.getLogger(__name__)

#: The bucket of the marks.
BUCKET = "ticks"
#: Says what a recurring message was made from; two with the same fingerprint tick alike. Each tick repeats it.
FINGERPRINT = "Dramatiq-Cron"
#: Tries to write a mark while others write it too.
WRITES = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """When the next tick is due, and who says so: the schedule stored at ``sequence``, or the tick of ``tick_ns``."""

    due: float
    sequence: int = 0
    tick_ns: int = 0

    def is_about(self, stored: Stored) -> bool:
        """Whether it speaks of this schedule, and not of one that it replaced."""
        return self.sequence == stored.sequence or self.tick_ns > stored.stored_at.timestamp() * 1e9

    def encode(self) -> bytes:
        return json.dumps([self.due, self.sequence, self.tick_ns]).encode()

    @classmethod
    def decode(cls, value: bytes) -> "Mark":
        due, sequence, tick_ns = json.loads(value)
        return cls(due, sequence, tick_ns)


class Marks:
    """The marks of a namespace, by the subject of the recurring message."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket
        self._lock = threading.Lock()
        #: Those that could not be written.
        self._unwritten: dict[str, Mark] = {}

    def of(self, subject: str) -> Mark | None:
        """Raises BrokerUnavailable."""
        entry = self._bucket.get(subject)
        return None if entry is None else Mark.decode(entry.value)

    def begin(self, subject: str, mark: Mark) -> None:
        """Note the first tick of a schedule that was just stored."""
        try:
            self._bucket.put(subject, mark.encode())
        except (BrokerUnavailable, JetStreamError) as error:
            logger.debug("no mark for %s: %s", subject, error)  # its ticks will bring one

    def ticked(self, subject: str, mark: Mark) -> None:
        """Note a tick. While that is impossible it is kept for ``flush``."""
        try:
            self._advance(subject, mark)
        except (BrokerUnavailable, JetStreamError) as error:
            logger.debug("no mark for %s: %s", subject, error)
            with self._lock:
                known = self._unwritten.get(subject)
                if known is None or known.tick_ns < mark.tick_ns:
                    self._unwritten[subject] = mark

    def flush(self) -> None:
        """Write what could not be written. Raises BrokerUnavailable."""
        for subject, mark in list(self._unwritten.items()):
            self._advance(subject, mark)
            with self._lock:
                if self._unwritten.get(subject) is mark:
                    del self._unwritten[subject]

    def forget(self, subject: str) -> None:
        try:
            self._bucket.delete(subject)
        except (BrokerUnavailable, JetStreamError) as error:
            logger.debug("the mark of %s stays: %s", subject, error)  # it does no harm

    def _advance(self, subject: str, mark: Mark) -> None:
        """Write a mark unless there is a newer one: ticks are taken by many processes."""
        for _ in range(WRITES):
            entry = self._bucket.get(subject)
            if entry is not None and Mark.decode(entry.value).tick_ns >= mark.tick_ns:
                return
            try:
                if entry is None:
                    self._bucket.create(subject, mark.encode())
                else:
                    self._bucket.update(subject, mark.encode(), entry.revision)
            except KeyConflict:
                continue
            return


def next_due(found: Mapping[str, str]) -> float | None:
    """What the headers of a tick say of the next one, in seconds since 1970. None when it is no tick of a schedule's."""
    moment = found.get("Nats-Schedule-Next", "purge")
    return None if moment == "purge" or "Nats-Scheduler" not in found else parse_time(moment).timestamp()


class Ticks:
    """Turns what lies in the stream into messages, and notes ticks on the way."""

    def __init__(self, names: Names, marks: Marks) -> None:
        self._names = names
        self._marks = marks

    def restore(self, delivery: Delivery) -> "Message[object]":
        """The message of a delivery. Raises DecodeError."""
        message = self._decode(delivery.body, delivery.headers, delivery.sequence, delivery.stored_ns // 1_000_000)
        due = next_due(delivery.headers)
        if due is not None:
            self._marks.ticked(delivery.headers["Nats-Scheduler"], Mark(due, tick_ns=delivery.stored_ns))
        if message.queue_name != delivery.queue:  # Dramatiq's worker looks its consumer up by this name
            message = message.copy(queue_name=delivery.queue)
        return headers.restored(message, delivery.headers)

    def restore_found(self, stored: Stored) -> "Message[object]":
        """The message that lies in the stream. Raises DecodeError."""
        message = self._decode(stored.body, stored.headers, stored.sequence, int(stored.stored_at.timestamp() * 1000))
        return headers.restored(message, stored.headers)

    def _decode(self, body: bytes, found: Mapping[str, str], sequence: int, stored_ms: int) -> "Message[object]":
        message: Message[object] = Message.decode(body)
        if FINGERPRINT not in found:
            return message
        tick = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._names.work_stream}:{sequence}")
        return message.copy(message_id=str(tick), message_timestamp=stored_ms)


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
