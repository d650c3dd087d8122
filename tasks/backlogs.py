"""What waits and what failed for good of each shop, as NATS tells it: asked for all shops at once, and not at every look."""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from dramatiq.errors import BrokerError

from models.tenant_summaries import Backlog
from tasks.connection import broker
from tasks.webhooks import process_webhooks

logger = logging.getLogger(__name__)

#: Seconds for which an answer holds, a failure too: whoever pages through the shops asks once.
FRESH = 5.0
#: Seconds for each of the two questions.
TIMEOUT = 2.0


class Backlogs:
    """The last answer of this process. ``read`` raises BrokerError when NATS is away."""

    def __init__(self, read: Callable[[], Sequence[Backlog]]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._known: Sequence[Backlog] | None = None
        self._asked_at: float | None = None

    def now(self) -> Sequence[Backlog] | None:
        """Every owner that has a backlog; None when NATS does not tell, within some seconds."""
        with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at >= FRESH:
                self._known = self._ask()
                self._asked_at = time.monotonic()
            return self._known

    def _ask(self) -> Sequence[Backlog] | None:
        try:
            return self._read()
        except BrokerError as error:
            logger.warning("NATS does not tell the backlogs of the shops: %s", error)
            return None


def _read() -> list[Backlog]:
    found: dict[uuid.UUID, Backlog] = {}
    for lane in broker.lane_stats(process_webhooks.queue_name, timeout=TIMEOUT):
        if (owner := _id(lane.lane)) is not None:
            found[owner] = Backlog(owner, dead_letters=0, lag_seconds=lane.oldest_seconds)
    for name, number in broker.dead_letters.by_lane(timeout=TIMEOUT).items():
        if (owner := _id(name)) is not None:
            lag = found[owner].lag_seconds if owner in found else 0.0
            found[owner] = Backlog(owner, dead_letters=number, lag_seconds=lag)
    return list(found.values())


def _id(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:  # a dead letter of nobody's
        return None


backlogs = Backlogs(_read)
