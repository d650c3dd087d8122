"""The streams and consumers of a namespace: what they are, how they come to be, what they hold.

Work waits in one stream with work-queue retention, next to its schedules, because a schedule's target has to be in the
same stream. A stream with schedules cannot refuse what exceeds a limit of its own (``discard: new``), and discarding old
messages would break what ``send()`` promised: so it has no limits, and the account's or server's storage bounds it; a
publish then fails with StorageFull. Dead letters have a stream of their own, which no schedule can reach.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .api import CONSUMER_NOT_FOUND, STREAM_EXISTS_OTHERWISE, STREAM_NOT_FOUND, Api, Stored
from .connection import OLDEST_SERVER, Connection, too_old
from .errors import RequestRefused
from .names import Names
from .session import NoResponders

NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class QueueStats:
    """What a queue holds at one moment.

    ``ready`` waits for a worker, ``delayed`` for its time, ``outstanding`` is lent to workers, ``dead`` waits for a person.
    ``oldest_seconds`` is the age of the oldest message that could have been worked off (0.0 when there is none).
    """

    queue: str
    ready: int
    delayed: int
    outstanding: int
    dead: int
    oldest_seconds: float


class Streams:
    """Creates, updates, counts and purges what the broker keeps in JetStream."""

    def __init__(
        self,
        names: Names,
        connection: Callable[[], Connection],
        *,
        replicas: int,
        ack_wait: float,
        duplicate_window: float,
    ) -> None:
        self._names = names
        self._connection = connection
        self._api = Api(connection)
        self._replicas = replicas
        self._ack_wait = ack_wait
        self._duplicate_window = duplicate_window

    def ensure(self, queues: Iterable[str], *, timeout: float) -> None:
        """Create or update both streams and the consumers of these queues.

        Raises ServerTooOld, BrokerUnavailable, RequestRefused.
        """
        deadline = time.monotonic() + timeout
        self.require(OLDEST_SERVER, "schedules need", deadline)
        for config in (self._work_config(), self._dead_config()):
            self.apply(config, deadline)
        for queue in sorted(queues):
            self._apply_consumer(queue, deadline)

    def require(self, oldest: tuple[int, int], what: str, deadline: float) -> None:
        connection = self._connection()
        connection.await_connection(deadline, patient=True)
        if connection.version < oldest:
            raise too_old(connection.version, connection.address, what=what, oldest=oldest)

    def apply(self, config: Mapping[str, Any], deadline: float) -> None:
        """Create a stream, or update the one of that name."""
        name = config["name"]
        try:
            self._api.ask(f"STREAM.CREATE.{name}", config, deadline=deadline)
        except RequestRefused as error:
            if error.code != STREAM_EXISTS_OTHERWISE:
                raise
            self._api.ask(f"STREAM.UPDATE.{name}", config, deadline=deadline)

    def bind(self, queue: str, *, timeout: float) -> float:
        """See that a queue's consumer exists, without changing one that does. Returns its ``ack_wait`` in seconds."""
        deadline = time.monotonic() + timeout
        try:
            info = self._consumer_info(queue, deadline)
        except RequestRefused as error:
            if error.code not in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
                raise
            self.ensure([queue], timeout=timeout)
            info = self._consumer_info(queue, deadline)
        return float(info["config"]["ack_wait"]) / NANOSECONDS

    def counts(self, queue: str, *, timeout: float = 5.0) -> QueueStats:
        """What a queue holds. A queue that does not exist yet holds nothing."""
        deadline = time.monotonic() + timeout
        main = self._count(self._names.work_stream, self._names.work_of(queue), deadline)
        lanes = self._count(self._names.work_stream, self._names.lanes_of(queue), deadline)
        outstanding = self._outstanding(queue, deadline) if main.messages else 0
        outstanding += self._outstanding_of_lanes(queue, deadline) if lanes.messages else 0
        return QueueStats(
            queue=queue,
            ready=max(0, main.messages + lanes.messages - outstanding),
            delayed=self._count(self._names.work_stream, self._names.schedules_of(queue), deadline).messages,
            outstanding=outstanding,
            dead=self._count(self._names.dead_stream, self._names.dead_of(queue), deadline).messages,
            oldest_seconds=max(main.oldest_seconds, lanes.oldest_seconds),
        )

    def unfinished(self, queue: str, *, timeout: float = 5.0) -> int:
        """Messages ready, delayed and lent out, counted at one instant."""
        return self._count(self._names.work_stream, self._names.all_of(queue), time.monotonic() + timeout).messages

    def flush(self, queue: str, *, timeout: float = 5.0) -> None:
        """Drop the work, the schedules and the dead letters of a queue."""
        deadline = time.monotonic() + timeout
        self.purge(self._names.work_stream, self._names.schedules_of(queue), deadline)
        self.purge(self._names.work_stream, self._names.work_of(queue), deadline)
        self.purge(self._names.work_stream, self._names.lanes_of(queue), deadline)
        self.purge(self._names.dead_stream, self._names.dead_of(queue), deadline)

    def purge(self, stream: str, subject: str, deadline: float) -> int:
        try:
            return int(self._api.ask(f"STREAM.PURGE.{stream}", {"filter": subject}, deadline=deadline)["purged"])
        except RequestRefused as error:
            if error.code == STREAM_NOT_FOUND:
                return 0
            raise

    def _consumer_info(self, queue: str, deadline: float) -> dict[str, Any]:
        name = f"{self._names.work_stream}.{self._names.consumer(queue)}"
        return self._api.ask(f"CONSUMER.INFO.{name}", deadline=deadline)

    def _outstanding(self, queue: str, deadline: float) -> int:
        try:
            return int(self._consumer_info(queue, deadline)["num_ack_pending"])
        except RequestRefused as error:
            if error.code in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
                return 0
            raise

    def _outstanding_of_lanes(self, queue: str, deadline: float) -> int:
        """Lent out of all lanes: their consumers are made on demand, so the server has to say which there are."""
        prefix, outstanding, offset = self._names.lane_consumers(queue), 0, 0
        while True:
            request = f"CONSUMER.LIST.{self._names.work_stream}"
            answer = self._api.ask(request, {"offset": offset}, deadline=deadline)
            page = answer.get("consumers") or []
            outstanding += sum(int(each["num_ack_pending"]) for each in page if each["name"].startswith(prefix))
            offset += len(page)
            if not page or offset >= int(answer["total"]):
                return outstanding

    def _count(self, stream: str, subject: str, deadline: float) -> "_Count":
        try:
            first = self._api.first(stream, subject, deadline=deadline)
        except NoResponders:  # no such stream yet
            return _Count(0, 0.0)
        return _Count(0, 0.0) if first is None else _Count.behind(first)

    def _apply_consumer(self, queue: str, deadline: float) -> None:
        stream, name, subject = self._names.work_stream, self._names.consumer(queue), self._names.work_of(queue)
        request, body = consumer_request(stream, name, subject, ack_wait=self._ack_wait)
        self._api.ask(request, body, deadline=deadline)

    def _work_config(self) -> dict[str, Any]:
        return self._config(self._names.work_stream, self._names.work_subjects) | {
            "description": "Dramatiq messages and their schedules",
            "retention": "workqueue",
            "discard": "old",  # see above: there is no limit that could discard
            "allow_msg_schedules": True,
            "allow_msg_ttl": True,
            "allow_atomic": True,
        }

    def _dead_config(self) -> dict[str, Any]:
        return self._config(self._names.dead_stream, self._names.dead_subjects) | {
            "description": "Dramatiq messages that failed for good",
            "retention": "limits",
            "discard": "new",
        }

    def _config(self, name: str, subjects: list[str]) -> dict[str, Any]:
        return {
            "name": name,
            "subjects": subjects,
            "storage": "file",
            "num_replicas": self._replicas,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "allow_direct": True,
            "duplicate_window": int(self._duplicate_window * NANOSECONDS),
        }


def consumer_request(
    stream: str, name: str, subject: str, *, ack_wait: float, inactive: float | None = None
) -> tuple[str, dict[str, Any]]:
    """What makes a consumer: the request's subject and body.

    ``inactive``: seconds without a pull or anything lent out after which the server removes it.
    """
    config = {
        "name": name,
        "durable_name": name,
        "filter_subject": subject,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": int(ack_wait * NANOSECONDS),
        "max_deliver": -1,
        # Each worker bounds itself; one bound for all would let held messages block idle workers.
        "max_ack_pending": -1,
        "max_waiting": 2048,
    }
    if inactive is not None:
        config["inactive_threshold"] = int(inactive * NANOSECONDS)
    return f"CONSUMER.CREATE.{stream}.{name}.{subject}", {"stream_name": stream, "config": config}


@dataclass(frozen=True, slots=True)
class _Count:
    messages: int
    oldest_seconds: float

    @classmethod
    def behind(cls, first: Stored) -> "_Count":
        age = (datetime.now(UTC) - first.stored_at).total_seconds()
        return cls(first.more + 1, max(0.0, age))
