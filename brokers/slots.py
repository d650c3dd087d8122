"""Limits of lanes: at most k messages of a lane at once, over all workers and priorities.

A lane with a limit has k slots: messages in a stream of their own, lent out like deliveries. Whoever runs a message of the
lane holds a slot, renews it as long as the run takes and gives it back at the end; the server gives it to the next who
asked, and takes it from a worker that died. A message that came without a free slot is parked, and takes no place of
others.
"""

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .connection import Connection
from .errors import BrokerUnavailable
from .leases import ACK, Delivery, Leases, give_back
from .names import Names
from .protocol import Msg
from .session import Session
from .streams import consumer_request

logger = logging.getLogger(__name__)

#: Seconds that one request for a slot stands.
EXPIRES = 20.0
#: Seconds after which a lane's consumer of slots that nobody uses is removed by the server.
INACTIVE = 300.0
#: Seconds for the server to make slots, and until a message comes again whose slots could not be made.
MAKE_TIMEOUT, COME_AGAIN = 5.0, 5.0
#: Seconds until a slot goes round again that is of no use to the messages here.
USELESS_PAUSE = 0.5
#: Lanes whose slots are known to exist.
MAX_KNOWN = 10_000
#: What the server answers when a slot is there already (maximum messages per subject exceeded).
EXISTS = 10077


@dataclass(slots=True)
class _Lane:
    """A lane some of whose messages are parked."""

    name: str
    number: int
    parked: dict[int, deque[Delivery]] = field(default_factory=dict)
    asked: int = 0
    asked_at: float = 0.0
    is_being_made: bool = False

    @property
    def count(self) -> int:
        return sum(map(len, self.parked.values()))

    def add(self, delivery: Delivery) -> None:
        self.parked.setdefault(delivery.priority, deque()).append(delivery)

    def next(self, is_served: Callable[[Delivery], bool]) -> Delivery | None:
        """Remove the first of the highest priority that a slot can serve."""
        for priority in sorted(self.parked, reverse=True):
            for delivery in self.parked[priority]:
                if is_served(delivery):
                    self.parked[priority].remove(delivery)
                    if not self.parked[priority]:
                        del self.parked[priority]
                    return delivery
        return None


class Slots:
    """The limits of one consumer's queue. Lives in the event loop; ``best`` may be read from any thread."""

    def __init__(
        self,
        names: Names,
        queue: str,
        connection: Connection,
        leases: Leases,
        *,
        limits: Mapping[str, int],
        stream_config: Callable[[], Mapping[str, Any]],
        grant: Callable[[Delivery], None],
    ) -> None:
        self._names = names
        self._queue = queue
        self._connection = connection
        self._leases = leases
        self._limits = limits
        self._stream_config = stream_config
        self._grant = grant
        self._room = 1
        self._lanes: dict[str, _Lane] = {}
        self._by_number: dict[str, _Lane] = {}
        self._numbers = 0
        #: By lane, whether its last message was of an actor with a limit.
        self._is_limited: dict[str, bool] = {}
        self._made: set[tuple[str, int]] = set()
        self._session: Session | None = None
        self._inbox = ""
        #: Seconds after which the server takes a slot from a worker that does not renew it: as with messages.
        self.lease = 30.0
        #: By lane, the highest priority that is parked.
        self.best: dict[str, int] = {}

    def limit_of(self, delivery: Delivery) -> int | None:
        """How many of a message's lane may run at once; None when it is not limited."""
        if not delivery.lane:
            return None
        limits = self._limits
        limit = limits.get(delivery.actor) if limits else None
        if limits:
            if len(self._is_limited) >= MAX_KNOWN:
                self._is_limited.clear()
            self._is_limited[delivery.lane] = limit is not None
        return limit

    def allowance(self, lane: str) -> int | None:
        """How many more messages of a lane are of use here; None for any number."""
        limits = self._limits
        if not limits or not lane or not self._is_limited.get(lane, True):
            return None
        known = self._lanes.get(lane)
        return max(0, max(limits.values()) - (0 if known is None else known.count))

    def park(self, delivery: Delivery) -> None:
        """Keep a message until there is a slot for it."""
        lane = self._lanes.get(delivery.lane)
        if lane is None:
            self._numbers += 1
            lane = self._lanes[delivery.lane] = self._by_number[str(self._numbers)] = _Lane(
                delivery.lane, self._numbers
            )
        lane.add(delivery)
        self._changed(lane)
        self._ask(lane)

    def drain(self) -> list[Delivery]:
        """Remove everything that is parked."""
        lanes, self._lanes, self._by_number = list(self._lanes.values()), {}, {}
        self.best.clear()
        return [delivery for lane in lanes for level in lane.parked.values() for delivery in level]

    def begin(self, session: Session) -> None:
        """Ask on this connection from now on."""
        self._inbox = session.new_inbox()
        session.subscribe(f"{self._inbox}.*", self._came)
        self._session = session
        for lane in list(self._lanes.values()):
            lane.asked = 0
            self._ask(lane)

    def ask(self, room: int) -> None:
        """Ask for slots for what is parked, as far as there are places: a slot must not lie here idle."""
        self._room = room
        for lane in list(self._lanes.values()):
            if lane.asked and time.monotonic() - lane.asked_at > EXPIRES + 2:
                lane.asked = 0  # the answer was lost
            self._ask(lane)

    def _ask(self, lane: _Lane) -> None:
        if self._room <= 0:
            return
        limit = max(self._limits.values(), default=0)
        wanted = min(lane.count, limit) - lane.asked
        if wanted <= 0 or lane.is_being_made or self._session is None or self._session.lost.is_set():
            return
        if (lane.name, limit) not in self._made:
            lane.is_being_made = True
            self._connection.spawn(self._make(lane, limit))
            return
        lane.asked += wanted
        lane.asked_at = time.monotonic()
        self._request(self._session, lane, wanted)

    def _request(self, session: Session, lane: _Lane, batch: int) -> None:
        consumer = self._names.slot_consumer(self._queue, lane.name)
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._names.slot_stream}.{consumer}"
        body = json.dumps({"batch": batch, "expires": int(EXPIRES * 1e9)}).encode()
        session.publish(subject, body, reply=f"{self._inbox}.{lane.number}")

    def _came(self, message: Msg) -> None:
        if message.reply.startswith("$JS.ACK."):
            self._take(Delivery.of(message, queue=self._queue, lease=self.lease))
            return
        lane = self._by_number.get(message.subject.rpartition(".")[2])
        if lane is None:
            return
        lane.asked = 0
        if message.status == "503":
            self._made = {known for known in self._made if known[0] != lane.name}
        self._ask(lane)

    def _take(self, slot: Delivery) -> None:
        if not self._leases.admit(slot):
            return
        name, number = self._names.lane_of_slot(slot.subject)
        lane = self._lanes.get(name)
        if lane is not None:
            lane.asked = max(0, lane.asked - 1)
            limits = self._limits
            delivery = lane.next(lambda delivery: number < limits.get(delivery.actor, number + 1))
            if delivery is not None:
                delivery.slot = slot
                self._changed(lane)
                self._grant(delivery)
                return
        if number >= max(self._limits.values(), default=number + 1):
            self._leases.settle(slot, ACK)  # of a limit that was higher: it is removed
        else:
            self._leases.settle(slot, give_back(USELESS_PAUSE if lane is not None else 0.0))

    def _changed(self, lane: _Lane) -> None:
        if lane.parked:
            self.best[lane.name] = max(lane.parked)
            return
        self.best.pop(lane.name, None)
        if not lane.is_being_made:
            self._lanes.pop(lane.name, None)
            self._by_number.pop(str(lane.number), None)

    async def _make(self, lane: _Lane, limit: int) -> None:
        """Make a lane's slots, and what lends them."""
        try:
            await asyncio.wait_for(self._make_all(lane, limit), MAKE_TIMEOUT)
        except (TimeoutError, BrokerUnavailable, ValueError) as error:
            logger.warning(
                "the slots of lane %r of queue %s cannot be made, its messages come again in %.0f s: %s: %s",
                lane.name, self._queue, COME_AGAIN, type(error).__name__, error,
            )  # fmt: skip
            lane.is_being_made = False
            rest = [delivery for level in lane.parked.values() for delivery in level]
            lane.parked.clear()
            self._changed(lane)
            for delivery in rest:
                self._leases.settle(delivery, give_back(COME_AGAIN))
            return
        if len(self._made) >= MAX_KNOWN:
            self._made.clear()
        self._made.add((lane.name, limit))
        lane.is_being_made = False
        self._ask(lane)

    async def _make_all(self, lane: _Lane, limit: int) -> None:
        for number in range(limit):
            answer = await self._answer(self._names.slot(self._queue, lane.name, number))
            if answer.status == "503":
                config = dict(self._stream_config())
                _check(await self._answer(f"$JS.API.STREAM.CREATE.{config['name']}", config))
                answer = await self._answer(self._names.slot(self._queue, lane.name, number))
            _check(answer)
        request, body = consumer_request(
            self._names.slot_stream,
            self._names.slot_consumer(self._queue, lane.name),
            self._names.slots_of(self._queue, lane.name),
            ack_wait=self.lease,
            inactive=INACTIVE,
        )
        _check(await self._answer(f"$JS.API.{request}", body))

    async def _answer(self, subject: str, body: Mapping[str, Any] | None = None) -> Msg:
        payload = b"" if body is None else json.dumps(body).encode()
        session = await self._connection.session()
        return await session.ask(subject, payload, timeout=MAKE_TIMEOUT)


def _check(answer: Msg) -> None:
    """Raises ValueError for an error, unless it says that the thing is there."""
    error = json.loads(answer.data or b"{}").get("error")
    if error is not None and error.get("err_code") != EXISTS:
        raise ValueError(error.get("description"))
