"""Recurring messages as schedules on the server: no scheduler process, each tick one message for all workers.

What the code declares is compared with what the server has at release: new ones are added, changed ones replaced, those
no longer declared removed. An unchanged one is left alone, so that a deploy does not shift its ticks.
"""

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dramatiq.message import Message

from . import headers
from .api import Api, Stored
from .lanes import work_subject
from .leases import Delivery
from .names import Names
from .publisher import Publisher
from .streams import Streams
from .wire import Wire

#: Recurring schedules came with this server.
OLDEST_SERVER = (2, 14)
#: Says what a schedule was made from; two with the same fingerprint tick alike.
FINGERPRINT = "Dramatiq-Cron"
_DURATION = re.compile(r"@every (\d+(\.\d+)?(h|m|s|ms))+")
_FIELDS = 6


@dataclass(frozen=True, slots=True)
class Cron:
    """One recurring message."""

    name: str
    schedule: str
    message: "Message[object]"
    time_zone: str | None = None

    def __post_init__(self) -> None:
        is_named = self.schedule in {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
        if not (is_named or _DURATION.fullmatch(self.schedule) or len(self.schedule.split()) == _FIELDS):
            raise ValueError(
                f"cron {self.name!r}: {self.schedule!r} is neither '@every 30s' nor a cron line of six fields, seconds first"
            )

    @property
    def fingerprint(self) -> str:
        message = self.message
        parts = [self.schedule, self.time_zone, message.queue_name, message.actor_name, message.args, message.kwargs]
        return hashlib.blake2b(json.dumps(parts, default=repr).encode(), digest_size=12).hexdigest()


def schedule_of(every: str | float) -> str:
    """``30`` (seconds), ``"30s"``, ``"@every 30s"`` or a six-field cron line, as JetStream writes it."""
    if isinstance(every, int | float):
        return f"@every {every:g}s"
    return f"@every {every}" if re.fullmatch(r"(\d+(\.\d+)?(h|m|s|ms))+", every) else every


class Crons:
    """The recurring messages that the code declares."""

    def __init__(self, names: Names, connection: Callable[[], Wire], streams: Streams, publisher: Publisher) -> None:
        self._names = names
        self._api = Api(connection)
        self._streams = streams
        self._publisher = publisher
        self._declared: dict[str, Cron] = {}

    def declare(self, cron: Cron) -> None:
        """Remember a recurring message. No I/O: ``reconcile`` brings it to the server. Raises ValueError for a second of that name."""
        known = self._declared.get(cron.name)
        if known is not None and known.fingerprint != cron.fingerprint:
            raise ValueError(f"cron {cron.name!r} is declared twice")
        self._declared[cron.name] = cron

    def reconcile(self, *, timeout: float) -> None:
        """Make the server's recurring messages those that are declared. Raises ServerTooOld, BrokerUnavailable."""
        deadline = time.monotonic() + timeout
        if self._declared:
            self._streams.require(OLDEST_SERVER, "cron needs", deadline)
        wanted = {self._names.cron(cron.name): cron for cron in self._declared.values()}
        existing = {
            stored.subject: stored
            for stored in self._api.each(self._names.work_stream, self._names.crons_of("code"), deadline=deadline)
        }
        for subject in existing.keys() - wanted.keys():
            self._streams.purge(self._names.work_stream, subject, deadline)
        for subject, cron in wanted.items():
            if not _is_same(existing.get(subject), cron):
                self._store(subject, cron)

    def _store(self, subject: str, cron: Cron) -> None:
        schedule = {
            "Nats-Schedule": cron.schedule,
            "Nats-Schedule-Target": work_subject(self._names, cron.message),
            FINGERPRINT: cron.fingerprint,
        }
        if cron.time_zone is not None:
            schedule["Nats-Schedule-Time-Zone"] = cron.time_zone
        self._publisher.publish(subject, cron.message.encode(), publish_id=uuid.uuid4().hex, headers=schedule)

    def restore(self, delivery: Delivery) -> "Message[object]":
        """The message of a delivery. Raises DecodeError."""
        message = self._decode(delivery.body, delivery.headers, delivery.sequence, delivery.stored_ns // 1_000_000)
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
        # All ticks have the same body: each gets an id and a time of its own.
        tick = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._names.work_stream}:{sequence}")
        return message.copy(message_id=str(tick), message_timestamp=stored_ms)


def _is_same(stored: Stored | None, cron: Cron) -> bool:
    return stored is not None and stored.headers.get(FINGERPRINT) == cron.fingerprint
