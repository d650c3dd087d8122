"""Publishing that is stored when it returns: one id for all tries of one publish, one deadline for all tries."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from .api import RETRY_PAUSE, refusal
from .errors import BrokerUnavailable, MessageTooLarge, NoResponders, StorageFull
from .protocol import encode_headers
from .wire import Wire

#: A delay below this many milliseconds is kept by the worker that gets the message: the server's timer is too coarse
#: for it (250 ms), and nothing is lost with that worker, since the message stays in the stream.
SHORT_DELAY = 500
#: The server counts nanoseconds in 64 bits: a schedule for a later moment runs at once.
LAST_MOMENT = datetime(2262, 1, 1, tzinfo=UTC)
#: The header that tells the worker until when to keep it, in milliseconds since 1970.
DUE = "Dramatiq-Due"
#: Bytes kept free in every message, so that a dead letter can add its error to it.
RESERVE = 4096


def at(moment: datetime) -> str:
    """A schedule for one moment, in the form that JetStream reads."""
    return f"@at {moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def _moment(delay: float) -> datetime:
    now = datetime.now(UTC)
    longest = (LAST_MOMENT - now) / timedelta(milliseconds=1)
    return now + timedelta(milliseconds=min(delay, longest))


def placed(work_subject: str, schedule_subject: str, delay: float) -> tuple[str, dict[str, str]]:
    """Where a message is published that is to run in ``delay`` milliseconds, and the headers that say so."""
    if delay <= 0:
        return work_subject, {}
    if delay < SHORT_DELAY:
        return work_subject, {DUE: str(time.time() * 1000 + delay)}
    return schedule_subject, {"Nats-Schedule": at(_moment(delay)), "Nats-Schedule-Target": work_subject}


def check_size(limit: int, body: bytes, headers: bytes, reserve: int = RESERVE) -> None:
    """Raises MessageTooLarge for what the server would not take: it counts headers and body together."""
    size = len(body) + len(headers)
    if size + reserve > limit:
        raise MessageTooLarge(
            f"the message has {size:,} bytes, but NATS takes {limit:,} (max_payload),"
            f" of which {reserve:,} are kept for a dead letter's error"
        )


class Publisher:
    """Stores messages in JetStream. ``create_streams`` is called when there turn out to be none."""

    def __init__(
        self, connection: Callable[[], Wire], *, timeout: float, create_streams: Callable[[float], None]
    ) -> None:
        self._connection = connection
        self._timeout = timeout
        self._create_streams = create_streams

    def publish_delayed(
        self,
        body: bytes,
        *,
        work_subject: str,
        schedule_subject: str,
        publish_id: str,
        delay: float,
        headers: Mapping[str, str],
    ) -> int:
        """Store a message that is to run in ``delay`` milliseconds, or now for 0 and less. Returns its sequence."""
        subject, more = placed(work_subject, schedule_subject, delay)
        return self.publish(subject, body, publish_id=publish_id, headers={**headers, **more})

    def publish(
        self,
        subject: str,
        body: bytes,
        *,
        publish_id: str,
        headers: Mapping[str, str] | None = None,
        reserve: int = RESERVE,
    ) -> int:
        """Store a message and return its sequence, also when an earlier try of the same id had stored it already.

        Raises BrokerUnavailable after the timeout, StorageFull, MessageTooLarge, RequestRefused, ServerTooOld.
        """
        deadline = time.monotonic() + self._timeout
        block = encode_headers({"Nats-Msg-Id": publish_id, **(headers or {})})
        wire = self._connection()
        wire.await_connection(deadline)
        check_size(wire.max_payload, body, block, reserve)
        while True:
            try:
                return self._publish_once(wire, subject, body, block, deadline)
            except StorageFull:
                raise
            except NoResponders:
                self.find_out_why(deadline)
            except BrokerUnavailable:
                if time.monotonic() + RETRY_PAUSE >= deadline:
                    raise
                time.sleep(RETRY_PAUSE)

    def _publish_once(self, wire: Wire, subject: str, body: bytes, headers: bytes, deadline: float) -> int:
        content = json.loads(wire.request(subject, body, headers, deadline=deadline).data)
        if "error" in content:
            raise refusal(content["error"], what=f"a message on {subject}")
        return int(content["seq"])

    def find_out_why(self, deadline: float) -> None:
        """Nobody took the message: create the streams if there are none, otherwise let them elect a leader."""
        if time.monotonic() + RETRY_PAUSE >= deadline:
            raise BrokerUnavailable("NATS is up, but its streams have no leader or do not exist")
        self._create_streams(max(0.1, deadline - time.monotonic()))
        time.sleep(RETRY_PAUSE / 4)
