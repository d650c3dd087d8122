"""What the lanes of a queue hold, for whoever has as many lanes as customers: one request for all, and one for each first message."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from dramatiq.errors import DecodeError
from dramatiq.message import Message

from .api import Api, Stored
from .errors import NoResponders
from .lanes import lane_of
from .names import Names, from_token

#: Lanes whose first message is read, those with most messages first; and delayed messages that are read, oldest first.
LANES_READ, DELAYED_READ = 256, 100


@dataclass(frozen=True, slots=True)
class LaneStats:
    """What a lane holds at one moment: ``messages`` are ready, lent to workers, or wait for their time (a retry, say).

    ``oldest_seconds`` is how long ago the oldest was enqueued, retries and delays included; None for a lane that was not
    looked into. Within a lane the first message counts as the oldest.
    """

    lane: str
    messages: int
    oldest_seconds: float | None


def lane_stats(names: Names, api: Api, queue: str, *, timeout: float = 2.0) -> list[LaneStats]:
    """The lanes of a queue that hold something.

    Of many lanes (LANES_READ) and delayed messages (DELAYED_READ) not all are read; lanes for half of ``timeout`` at most,
    then delayed messages for a quarter. Raises BrokerUnavailable.
    """
    began = time.monotonic()
    deadline, enough, enough_delayed = began + timeout, began + timeout / 2, began + timeout * 3 / 4
    messages: Counter[str] = Counter()
    for subject, number in api.subjects(names.work_stream, names.lanes_of(queue), deadline=deadline).items():
        messages[from_token(subject.split(".")[3])] += number
    messages.pop("", None)  # a priority without a lane
    ages: dict[str, float] = {}
    for lane, _ in messages.most_common(LANES_READ):
        if time.monotonic() >= enough:
            break
        first = api.first(names.work_stream, names.whole_lane(queue, lane), deadline=deadline)
        ages[lane] = 0.0 if first is None else _age(first, _decoded(first))  # worked off meanwhile
    for stored in _delayed(names, api, queue, deadline):
        message = _decoded(stored)
        if message is not None and (lane := lane_of(message)):
            is_known = lane in ages or lane not in messages
            messages[lane] += 1
            if is_known:
                ages[lane] = max(_age(stored, message), ages.get(lane, 0.0))
        if time.monotonic() >= enough_delayed:
            break
    return [LaneStats(lane, number, ages.get(lane)) for lane, number in messages.items()]


def _delayed(names: Names, api: Api, queue: str, deadline: float) -> Iterator[Stored]:
    with contextlib.suppress(NoResponders):  # no such stream yet
        yield from api.each(names.work_stream, names.schedules_of(queue), deadline=deadline, limit=DELAYED_READ)


def _decoded(stored: Stored) -> "Message[object] | None":
    try:
        return Message.decode(stored.body)
    except DecodeError:
        return None


def _age(stored: Stored, message: "Message[object] | None") -> float:
    """Seconds since a message was enqueued first."""
    since = stored.stored_at.timestamp() if message is None else message.message_timestamp / 1000
    return max(0.0, time.time() - since)
