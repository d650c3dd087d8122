"""Wakes recurring messages whose tick fell due while the server's storage was full: it would never tick again.

The mark of each tells when the next tick is due. One that is overdue, with no tick waiting, is stored anew in one step
with the tick that was missed (however many were: once, as the server does after a restart), on the condition that it was
not replaced and has not ticked: so of several processes one wakes it.
"""

import json
import logging
import time
import uuid
from dataclasses import dataclass
from datetime import datetime

from .api import WRONG_LAST_SEQUENCE, Api, Stored, refusal
from .cron import Crons
from .cron_lines import next_tick
from .errors import RequestRefused
from .names import Names
from .sweep import GRACE, TIMEOUT, server_clock
from .ticks import Mark, Marks, moment, next_due
from .wire import Wire

logger = logging.getLogger(__name__)

#: Seconds for which one has to be seen overdue: a server that has just started runs what is overdue by itself.
PATIENCE = 4.0
#: Seconds for waking one.
WAKE_TIMEOUT = 5.0
SCHEDULE, TARGET, ZONE = "Nats-Schedule", "Nats-Schedule-Target", "Nats-Schedule-Time-Zone"
EXPECTED = "Nats-Expected-Last-Subject-Sequence"


@dataclass(slots=True)
class _Watched:
    """A recurring message, and when to look whether it has ticked."""

    stored: Stored
    due: float
    #: Since when it is seen overdue, on one connection.
    since: float | None = None
    connection: float = 0.0


class StuckCrons:
    """Looks after the recurring messages of a namespace, whoever owns them. Used by one thread."""

    def __init__(self, names: Names, api: Api, wire: Wire, crons: Crons, marks: Marks) -> None:
        self._names = names
        self._api = api
        self._wire = wire
        self._crons = crons
        self._marks = marks
        self._created: datetime | None = None
        self._begun = 0.0
        self._read_to = 0
        self._watched: dict[str, _Watched] = {}

    def sweep(self) -> None:
        """Wake what is stuck. Raises BrokerUnavailable, StorageFull, ServerTooOld, RequestRefused."""
        deadline = time.monotonic() + TIMEOUT
        clock = server_clock(self._api, self._names, deadline)
        if clock is None:
            return
        now, created = clock
        if created != self._created:  # also when the stream was lost and is there again
            self._crons.bring_back(timeout=TIMEOUT)
            self._created, self._begun, self._read_to, self._watched = created, now, 0, {}
        self._read_new(deadline)
        self._marks.flush()
        for watched in list(self._watched.values()):
            if now - watched.due > GRACE:
                self._look_at(watched, now, deadline)

    def _read_new(self, deadline: float) -> None:
        """Take in what was stored since the last look."""
        stream, subject = self._names.work_stream, self._names.crons_of("*")
        for stored in self._api.each(stream, subject, deadline=deadline, after=self._read_to):
            self._read_to = stored.sequence
            if SCHEDULE in stored.headers and TARGET in stored.headers:
                self._watched[stored.subject] = _Watched(stored, due=0.0)

    def _look_at(self, watched: _Watched, now: float, deadline: float) -> None:
        stored, stream = watched.stored, self._names.work_stream
        watched.due = self._due(stored, self._marks.of(stored.subject))
        if now - watched.due <= GRACE:
            watched.since = None
            return
        current = self._api.last(stream, stored.subject, deadline=deadline)
        if current is None:
            del self._watched[stored.subject]
            return
        if current.sequence != stored.sequence:
            return  # the next look reads it
        waiting = self._api.last(stream, stored.headers[TARGET], deadline=deadline)
        if waiting is not None and waiting.headers.get("Nats-Scheduler") == stored.subject:
            said = next_due(waiting.headers)
            watched.due = max(watched.due, said if said is not None and waiting.stored_at > stored.stored_at else 0.0)
            if now - watched.due <= GRACE:
                watched.since = None
                return
        if watched.since is None or watched.connection != self._wire.made_at:
            watched.since, watched.connection = time.monotonic(), self._wire.made_at
        elif time.monotonic() - watched.since >= PATIENCE:
            watched.since = None
            self._wake(stored, 0 if waiting is None else waiting.sequence)

    def _due(self, stored: Stored, mark: Mark | None) -> float:
        if mark is not None and mark.is_about(stored):
            return mark.due
        # Nothing is known of earlier ticks (an older release noted none): the next one since we look has to come.
        begin = max(stored.stored_at, moment(self._begun))
        tick = next_tick(stored.headers[SCHEDULE], stored.headers.get(ZONE), begin)
        return float("inf") if tick is None else tick.timestamp()

    def _wake(self, stored: Stored, last_on_target: int) -> None:
        own = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
        schedule = {name: stored.headers[name] for name in (SCHEDULE, TARGET, ZONE) if name in stored.headers}
        batch = uuid.uuid4().hex
        first = {**own, **schedule, EXPECTED: str(stored.sequence), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": "1"}
        second = {**own, EXPECTED: str(last_on_target), "Nats-Batch-Id": batch, "Nats-Batch-Sequence": "2"}
        deadline = time.monotonic() + WAKE_TIMEOUT
        self._wire.request(stored.subject, stored.body, first, deadline=deadline, attempt=WAKE_TIMEOUT)
        done = {**second, "Nats-Batch-Commit": "1"}
        target = stored.headers[TARGET]
        answer = json.loads(self._wire.request(target, stored.body, done, deadline=deadline, attempt=WAKE_TIMEOUT).data)
        if "error" not in answer:
            logger.warning("woke %s: the server's storage was full when its tick fell due", stored.subject)
            return
        error = refusal(answer["error"], what=f"a tick of {stored.subject}")
        if not (isinstance(error, RequestRefused) and error.code in WRONG_LAST_SEQUENCE):
            raise error
