"""What queues and actors hold, and how far their workers lag behind: read from the server alone, for metrics and operators.

One listing of the consumers tells what is lent out and how far each has come; direct reads tell how many messages match a
subject and how old the first of them is. No request touches more than its own subjects, so a backlog costs nothing.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .api import STREAM_NOT_FOUND, Api, Stored
from .errors import NoResponders, RequestRefused
from .names import Names
from .publisher import DUE

#: Messages of lanes that are looked through for the first that nobody works on. Behind so many the age is near enough.
LOOKED_THROUGH = 32


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What a queue holds at one moment.

    ``ready`` waits for a worker, ``delayed`` for its time, ``outstanding`` is lent to workers, ``dead`` waits for a person.
    ``redelivered`` of the outstanding were lent out before. ``oldest_seconds`` is the age of the oldest message that could
    have been worked off, ``lag_seconds`` that of the oldest which no worker has yet (both 0.0 when there is none).
    """

    queue: str
    ready: int
    delayed: int
    outstanding: int
    redelivered: int
    dead: int
    oldest_seconds: float
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class ActorStats:
    """What there is of one actor. ``waiting`` has what is ready and what is lent out: the server tells those apart by queue only."""

    queue: str
    actor: str
    waiting: int
    delayed: int
    dead: int
    oldest_seconds: float
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class _Position:
    """How far a consumer has come: everything up to the sequence ``delivered`` was lent out at least once."""

    delivered: int
    outstanding: int
    redelivered: int


@dataclass(frozen=True, slots=True)
class _Found:
    """What one question found: how many messages, and the first."""

    messages: int
    first: Stored | None

    @property
    def age(self) -> float:
        return 0.0 if self.first is None else _age(self.first)


class Census:
    """Counts. All methods raise BrokerUnavailable."""

    def __init__(self, names: Names, api: Api) -> None:
        self._names = names
        self._api = api

    def queues(self, queues: Iterable[str], *, timeout: float = 5.0) -> list[QueueStats]:
        """What each of these queues holds. One that does not exist yet holds nothing."""
        look = _Look(self._names, self._api, time.monotonic() + timeout)
        return [self._queue(look, queue) for queue in queues]

    def actors(self, actors: Iterable[tuple[str, str]], *, timeout: float = 5.0) -> list[ActorStats]:
        """What there is of each of these pairs of a queue and an actor."""
        look = _Look(self._names, self._api, time.monotonic() + timeout)
        return [self._actor(look, queue, actor) for queue, actor in actors]

    def _queue(self, look: "_Look", queue: str) -> QueueStats:
        main, lanes = look.work(self._names.work_of(queue)), look.work(self._names.lanes_of(queue))
        lent = look.positions_of(queue)
        outstanding = sum(position.outstanding for position in lent)
        return QueueStats(
            queue=queue,
            ready=max(0, main.messages + lanes.messages - outstanding),
            delayed=look.work(self._names.schedules_of(queue)).messages,
            outstanding=outstanding,
            redelivered=sum(position.redelivered for position in lent),
            dead=look.dead(self._names.dead_of(queue)).messages,
            oldest_seconds=max(main.age, lanes.age),
            lag_seconds=max(
                look.lag(queue, main, self._names.work_of(queue)), look.lag_of_lanes(lanes, self._names.lanes_of(queue))
            ),
        )

    def _actor(self, look: "_Look", queue: str, actor: str) -> ActorStats:
        subjects = {kind: self._names.of_actor(kind, queue, actor) for kind in ("q", "lane", "sched")}
        main, lanes = look.work(subjects["q"]), look.work(subjects["lane"])
        return ActorStats(
            queue=queue,
            actor=actor,
            waiting=main.messages + lanes.messages,
            delayed=look.work(subjects["sched"]).messages,
            dead=look.dead(self._names.dead_of(queue, actor=actor)).messages,
            oldest_seconds=max(main.age, lanes.age),
            lag_seconds=max(look.lag(queue, main, subjects["q"]), look.lag_of_lanes(lanes, subjects["lane"])),
        )


class _Look:
    """One look at everything: its deadline, and the consumers as they were at its beginning."""

    def __init__(self, names: Names, api: Api, deadline: float) -> None:
        self._names = names
        self._api = api
        self._deadline = deadline
        self._positions = dict(self._list_consumers())

    def work(self, subject: str, *, after: int = 0) -> _Found:
        return self._find(self._names.work_stream, subject, after)

    def dead(self, subject: str) -> _Found:
        return self._find(self._names.dead_stream, subject, 0)

    def positions_of(self, queue: str) -> list[_Position]:
        """The consumers of a queue's main line and lanes."""
        main, lanes = self._names.work_of(queue), self._names.lanes_of(queue).rstrip(".*") + "."
        return [found for subject, found in self._positions.items() if subject == main or subject.startswith(lanes)]

    def lag(self, queue: str, waiting: _Found, subject: str) -> float:
        """The age of the oldest message of the main line that was never lent out."""
        position = self._positions.get(self._names.work_of(queue))
        if waiting.first is None or position is None or waiting.first.sequence > position.delivered:
            return waiting.age
        return self.work(subject, after=position.delivered).age

    def lag_of_lanes(self, waiting: _Found, subject: str) -> float:
        """The same of the lanes, each of which has a consumer of its own."""
        first = waiting.first
        if first is None:
            return 0.0
        for _ in range(LOOKED_THROUGH):
            position = self._positions.get(f"{'.'.join(first.subject.split('.')[:5])}.>")
            if position is None or first.sequence > position.delivered:
                return _age(first)
            following = self.work(subject, after=first.sequence).first
            if following is None:
                return 0.0
            first = following
        return _age(first)

    def _find(self, stream: str, subject: str, after: int) -> _Found:
        try:
            first = self._api.first(stream, subject, deadline=self._deadline, after=after)
        except NoResponders:  # no such stream yet
            first = None
        return _Found(0 if first is None else first.more + 1, first)

    def _list_consumers(self) -> Iterable[tuple[str, _Position]]:
        offset = 0
        while True:
            request = f"CONSUMER.LIST.{self._names.work_stream}"
            try:
                page = self._api.ask(request, {"offset": offset}, deadline=self._deadline)
            except RequestRefused as error:
                if error.code == STREAM_NOT_FOUND:
                    return
                raise
            consumers: list[Mapping[str, Any]] = page.get("consumers") or []
            for each in consumers:
                position = _Position(
                    delivered=int(each["delivered"]["stream_seq"]),
                    outstanding=int(each["num_ack_pending"]),
                    redelivered=int(each["num_redelivered"]),
                )
                yield str(each["config"].get("filter_subject", "")), position
            offset += len(consumers)
            if not consumers or offset >= int(page["total"]):
                return


def _age(stored: Stored) -> float:
    """Seconds since a message could have run."""
    since = stored.stored_at.timestamp()
    if due := stored.headers.get(DUE):
        since = max(since, float(due) / 1000)
    return max(0.0, datetime.now(UTC).timestamp() - since)
