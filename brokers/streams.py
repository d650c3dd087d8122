"""The streams and consumers of a namespace: what they are, and how they come to be.

Work waits in one stream with work-queue retention, next to its schedules, because a schedule's target has to be in the
same stream. A stream with schedules cannot refuse what exceeds a limit of its own (``discard: new``), and discarding old
messages would break what ``send()`` promised: so it has no limits, and the account's or server's storage bounds it; a
publish then fails with StorageFull. Dead letters have a stream of their own, which no schedule can reach.
"""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from . import bounds
from .api import (
    CONSUMER_NOT_FOUND,
    NO_PEERS,
    NOT_CLUSTERED,
    RETRY_PAUSE,
    STREAM_EXISTS_OTHERWISE,
    STREAM_NOT_FOUND,
    Api,
)
from .errors import NoAnswer, NoResponders, RequestRefused, UnsafeSetting
from .names import Names
from .options import OLDEST_SERVER, too_old
from .wire import Wire

logger = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
#: Each lane and priority that is in use has a consumer; unless told otherwise the server stops at 1,000 of a stream.
MAX_CONSUMERS = 100_000


class Streams:
    """Creates, updates and purges what the broker keeps in JetStream."""

    def __init__(
        self,
        names: Names,
        connection: Callable[[], Wire],
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
        """Create a stream, or put the one of that name right. Raises UnsafeSetting when it cannot be."""
        name = config["name"]
        while True:
            try:
                self._api.ask(f"STREAM.CREATE.{name}", config, deadline=deadline)
            except RequestRefused as error:
                if error.code == STREAM_EXISTS_OTHERWISE:
                    break
                if error.code != NO_PEERS or time.monotonic() + RETRY_PAUSE >= deadline:
                    raise self._explained(error, name) from None
                time.sleep(RETRY_PAUSE)  # the cluster may be starting
            else:
                return
        flaws = bounds.of_stream(self._stream_config(name, deadline), config)
        _refuse_incurable(f"stream {name}", flaws)
        self._update(name, config, flaws, deadline)

    def _update(self, name: str, config: Mapping[str, Any], flaws: "list[bounds.Flaw]", deadline: float) -> None:
        try:
            self._api.ask(f"STREAM.UPDATE.{name}", config, deadline=deadline)
        except RequestRefused as error:
            raise self._explained(error, name) from None
        if flaws:
            logger.warning("put right: %s", bounds.described(f"stream {name}", flaws))

    def _stream_config(self, name: str, deadline: float) -> dict[str, Any]:
        config: dict[str, Any] = self._api.ask(f"STREAM.INFO.{name}", deadline=deadline)["config"]
        return config

    def _explained(self, error: RequestRefused, name: str) -> RequestRefused:
        if error.code not in {NO_PEERS, NOT_CLUSTERED}:
            return error
        found = "is a single server" if error.code == NOT_CLUSTERED else "has fewer that can keep one"
        needed = f"replicas={self._replicas} needs a cluster of {self._replicas} servers or more"
        return UnsafeSetting(f"stream {name}: {needed}, and NATS at {self._connection().address} {found}")

    def bind(self, queue: str, *, timeout: float) -> float:
        """See that a queue's consumer exists and that nothing can be lost. Returns its ``ack_wait`` in seconds."""
        deadline = time.monotonic() + timeout
        try:
            self._mend_work_stream(deadline)
            config = self._consumer_info(queue, deadline)["config"]
        except RequestRefused as error:
            if error.code not in {STREAM_NOT_FOUND, CONSUMER_NOT_FOUND}:
                raise
            self.ensure([queue], timeout=timeout)
            config = self._consumer_info(queue, deadline)["config"]
        if flaws := bounds.of_consumer(config):
            self._mend_consumer(queue, flaws, deadline)
        return float(config["ack_wait"]) / NANOSECONDS

    def _mend_work_stream(self, deadline: float) -> None:
        name, wanted = self._names.work_stream, self._work_config()
        found = self._stream_config(name, deadline)
        # How many copies there are is the release's business: workers need not know.
        flaws = bounds.of_stream(found, {**wanted, "num_replicas": 1})
        if not flaws:
            return
        _refuse_incurable(f"stream {name}", flaws)
        try:
            self._update(name, bounds.mended(found, wanted), flaws, deadline)
        except (RequestRefused, NoAnswer) as error:
            raise _needs_release(f"stream {name}", flaws) from error

    def _mend_consumer(self, queue: str, flaws: "list[bounds.Flaw]", deadline: float) -> None:
        name = f"consumer {self._names.consumer(queue)} of stream {self._names.work_stream}"
        _refuse_incurable(name, flaws)
        try:
            self._apply_consumer(queue, deadline)
        except (RequestRefused, NoAnswer) as error:
            raise _needs_release(name, flaws) from error
        logger.warning("put right: %s", bounds.described(name, flaws))

    def unfinished(self, queue: str, *, timeout: float = 5.0) -> int:
        """Messages ready, delayed and lent out, counted at one instant."""
        deadline = time.monotonic() + timeout
        try:
            first = self._api.first(self._names.work_stream, self._names.all_of(queue), deadline=deadline)
        except NoResponders:  # no such stream yet
            first = None
        return 0 if first is None else first.more + 1

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

    def slot_config(self) -> dict[str, Any]:
        """Of the stream that holds the slots of limited lanes, one message each."""
        return self._config(self._names.slot_stream, self._names.slot_subjects) | {
            "description": "Slots of Dramatiq's limited lanes",
            "retention": "workqueue",
            "discard": "new",
            "discard_new_per_subject": True,
            "max_msgs_per_subject": 1,
        }

    def _config(self, name: str, subjects: list[str]) -> dict[str, Any]:
        return {
            "name": name,
            "subjects": subjects,
            "storage": "file",
            "num_replicas": self._replicas,
            "max_consumers": MAX_CONSUMERS,
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


def _refuse_incurable(name: str, flaws: "list[bounds.Flaw]") -> None:
    incurable = [flaw for flaw in flaws if not flaw.is_curable]
    if incurable:
        needed = "work it off and delete it, or choose another namespace"
        raise UnsafeSetting(f"{bounds.described(name, incurable)}: {needed}")


def _needs_release(name: str, flaws: "list[bounds.Flaw]") -> UnsafeSetting:
    return UnsafeSetting(
        f"{bounds.described(name, flaws)}: ensure_streams() by a user who may update it puts that right"
    )
