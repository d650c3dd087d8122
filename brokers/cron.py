"""Recurring messages as schedules on the server: no scheduler process, each tick one message for all workers.

What the code declares is compared with what the server has at release: new ones are added, changed ones replaced, those
no longer declared removed. An unchanged one is left alone, so that a deploy does not shift its ticks. Those that were
made at run time (``schedules.py``) have another owner, and no release touches them.

Where no release ever ran, or the stream was lost since, workers add what their code declares. A mark in the stream tells
them that a release decides: an old worker must not bring back what a newer release removed.
"""

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from dramatiq.message import Message

from .api import Api, Stored
from .cancel import remove_schedule
from .cron_lines import check, next_tick
from .errors import NoResponders
from .expectations import last_is, publish_if
from .lanes import work_subject
from .names import Names
from .publisher import Publisher
from .streams import Streams
from .ticks import FINGERPRINT, Mark, Marks

#: Recurring schedules came with this server.
OLDEST_SERVER = (2, 14)
#: Who a recurring message belongs to.
CODE, RUNTIME = "code", "runtime"
#: Tries of a change while others change the same.
CHANGES = 5


@dataclass(frozen=True, slots=True)
class Cron:
    """One recurring message."""

    name: str
    schedule: str
    message: "Message[object]"
    time_zone: str | None = None
    owner: str = field(default=CODE, compare=False)

    def __post_init__(self) -> None:
        try:
            check(self.schedule, self.time_zone)
        except ValueError as error:
            raise ValueError(f"cron {self.name!r}: {error}") from None

    @property
    def fingerprint(self) -> str:
        message = self.message
        parts = [self.schedule, self.time_zone, message.queue_name, message.actor_name, message.args, message.kwargs]
        if message.options:
            parts.append(message.options)
        return hashlib.blake2b(json.dumps(parts, default=repr).encode(), digest_size=12).hexdigest()


class CronStore:
    """The recurring messages on the server. All methods raise BrokerUnavailable."""

    def __init__(
        self,
        names: Names,
        api: Api,
        streams: Streams,
        publisher: Publisher,
        *,
        marks: Marks,
        place: "Callable[[Message[object]], Message[object]]",
    ) -> None:
        self._names = names
        self._api = api
        self._streams = streams
        self._publisher = publisher
        self._marks = marks
        self._place = place

    def require_server(self, deadline: float) -> None:
        """Raises ServerTooOld."""
        self._streams.require(OLDEST_SERVER, "cron needs", deadline)

    def subject_of(self, cron: Cron) -> str:
        return self._names.cron(cron.name, owner=cron.owner)

    def find(self, owner: str, deadline: float) -> dict[str, Stored]:
        """All of an owner, by their subject."""
        try:
            each = self._api.each(self._names.work_stream, self._names.crons_of(owner), deadline=deadline)
            return {stored.subject: stored for stored in each}
        except NoResponders:  # no stream yet
            return {}

    def find_ownerless(self, deadline: float) -> list[Stored]:
        """Those of versions that knew no owners."""
        each = self._api.each(self._names.work_stream, self._names.crons_without_owner, deadline=deadline)
        return [stored for stored in each if "Nats-Schedule" in stored.headers]

    def get(self, owner: str, name: str, deadline: float) -> Stored | None:
        try:
            return self._api.last(self._names.work_stream, self._names.cron(name, owner=owner), deadline=deadline)
        except NoResponders:
            return None

    def put(self, cron: Cron, existing: Stored | None, deadline: float) -> None:
        """Add a recurring message or replace what is there; the same one keeps its ticks."""
        cron = replace(cron, message=self._place(cron.message))
        for _ in range(CHANGES):
            if existing is not None and existing.headers.get(FINGERPRINT) == cron.fingerprint:
                return
            sequence = self._store(cron, 0 if existing is None else existing.sequence)
            if sequence is not None:
                self._mark(cron, sequence, deadline)
                return
            existing = self.get(cron.owner, cron.name, deadline)  # another process was faster

    def remove(self, stored: Stored) -> bool:
        """Remove one. Returns whether this call did."""
        is_removed = remove_schedule(self._publisher, self._names, stored.subject, stored.sequence)
        self._marks.forget(stored.subject)
        return is_removed

    def is_released(self, deadline: float) -> bool:
        return self._api.last(self._names.work_stream, self._names.released, deadline=deadline) is not None

    def mark_released(self) -> None:
        subject = self._names.released
        publish_if(self._publisher, subject, b"", publish_id=uuid.uuid4().hex, headers=last_is(0, subject))

    def _store(self, cron: Cron, expected: int) -> int | None:
        subject = self.subject_of(cron)
        schedule = {
            "Nats-Schedule": cron.schedule,
            "Nats-Schedule-Target": work_subject(self._names, cron.message, default_key=self._names.tick_key(subject)),
            FINGERPRINT: cron.fingerprint,
            **last_is(expected, subject),
        }
        if cron.time_zone is not None:
            schedule["Nats-Schedule-Time-Zone"] = cron.time_zone
        publish_id = uuid.uuid4().hex
        return publish_if(self._publisher, subject, cron.message.encode(), publish_id=publish_id, headers=schedule)

    def _mark(self, cron: Cron, sequence: int, deadline: float) -> None:
        stored = self._api.at(self._names.work_stream, sequence, deadline=deadline)
        if stored is None:
            return
        tick = next_tick(cron.schedule, cron.time_zone, stored.stored_at)
        if tick is not None:
            self._marks.begin(stored.subject, Mark(tick.timestamp(), sequence=sequence))


class Crons:
    """The recurring messages that the code declares."""

    def __init__(self, store: CronStore) -> None:
        self._store = store
        self._declared: dict[str, Cron] = {}

    def declare(self, cron: Cron) -> None:
        """Remember a recurring message. No I/O: ``reconcile`` brings it to the server. Raises ValueError for a second of that name."""
        known = self._declared.get(cron.name)
        if known is not None and known.fingerprint != cron.fingerprint:
            raise ValueError(f"cron {cron.name!r} is declared twice")
        self._declared[cron.name] = cron

    def reconcile(self, *, timeout: float) -> None:
        """Make the server's recurring messages of the code those that are declared. Raises ServerTooOld, BrokerUnavailable."""
        deadline = time.monotonic() + timeout
        if self._declared:
            self._store.require_server(deadline)
        existing = self._store.find(CODE, deadline)
        wanted = {self._store.subject_of(cron): cron for cron in self._declared.values()}
        gone = [existing[subject] for subject in existing.keys() - wanted.keys()]
        for stored in gone + self._store.find_ownerless(deadline):
            self._store.remove(stored)
        for subject, cron in wanted.items():
            self._store.put(cron, existing.get(subject), deadline)
        self._store.mark_released()

    def bring_back(self, *, timeout: float) -> None:
        """Add what is declared, unless a release has decided what there is. Raises ServerTooOld, BrokerUnavailable."""
        deadline = time.monotonic() + timeout
        if not self._declared or self._store.is_released(deadline):
            return
        self._store.require_server(deadline)
        for cron in self._declared.values():
            self._store.put(cron, self._store.get(CODE, cron.name, deadline), deadline)
