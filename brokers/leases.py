"""What the server has lent to this process: leases are renewed while held, settlements repeated until confirmed.

Settling (an ack, a nak) never blocks a worker's thread: it is sent with a reply address, and sent again on the next
connection or after a while, until the server confirmed it. A message that is delivered anew while it is still here,
because the server was away for longer than its lease, is recognised and not run twice. Nor is one that was acknowledged
just before the server was killed: it forgets the last moments' acknowledgements, confirmed ones too.
"""

import asyncio
import contextlib
import functools
import json
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass, field

from .connection import Connection
from .names import from_token
from .protocol import Msg

ACK, IN_PROGRESS = b"+ACK", b"+WPI"
#: Seconds between looks at what is due.
TICK = 0.25
#: Seconds without a confirmation after which a settlement is sent again.
REPEAT_AFTER = 2.0
#: How many of the last acknowledgements are remembered; a killed server forgets those of its last second or so.
REMEMBERED = 8192
#: Times that a settlement is sent over a connection that works before it is given up: the consumer is gone then.
MAX_SENDS = 10


def give_back(seconds: float = 0.0) -> bytes:
    """The nak by which a message goes back, to be delivered again after so many seconds."""
    return b"-NAK " + json.dumps({"delay": int(seconds * 1e9)}).encode() if seconds > 0 else b"-NAK"


#: What a message is in its stream: the sequence, and the time, since a stream that is made anew counts from one again.
Key = tuple[int, int]


@dataclass(slots=True, eq=False, weakref_slot=True)
class Delivery:
    """One message lent to this process."""

    queue: str
    sequence: int
    #: How many times the server has lent it out, this one included.
    count: int
    #: The server's clock when it was stored, in nanoseconds since 1970.
    stored_ns: int
    subject: str
    reply: str
    body: bytes
    headers: dict[str, str]
    #: Seconds after which the server lends it to another, unless renewed.
    lease: float
    #: The stream and the consumer that lent it.
    lender: str = ""
    #: How many more its consumer has for anybody.
    pending: int = 0
    lane: str = ""
    priority: int = 0
    #: What lets it run where its lane is limited: goes back when it does.
    slot: "Delivery | None" = None
    renewed_at: float = field(default_factory=time.monotonic)
    #: Our clock when it came, in seconds since 1970.
    received_at: float = field(default_factory=time.time)

    @property
    def key(self) -> "Key":
        return self.sequence, self.stored_ns

    @property
    def actor(self) -> str:
        """The name of its actor, as its subject has it; "" where that has another shape."""
        tokens = self.subject.split(".")
        return from_token(tokens[5]) if len(tokens) == 7 else ""

    @classmethod
    def of(cls, message: Msg, *, queue: str, lease: float, lane: str = "", priority: int = 0) -> "Delivery":
        # $JS.ACK.[domain.account.]stream.consumer.count.stream-seq.consumer-seq.timestamp.pending[.token] (ADR-15)
        tokens = message.reply.split(".")
        tokens = tokens[4:] if len(tokens) > 9 else tokens[2:]
        return cls(
            queue=queue,
            sequence=int(tokens[3]),
            count=int(tokens[2]),
            stored_ns=int(tokens[5]),
            subject=message.subject,
            lender=f"{tokens[0]}.{tokens[1]}",
            reply=message.reply,
            body=message.data,
            headers=dict(message.headers) if message.headers else {},
            lease=lease,
            pending=int(tokens[6]),
            lane=lane,
            priority=priority,
        )


@dataclass(slots=True, eq=False)
class _Settlement:
    key: Key
    lender: str
    reply: str
    payload: bytes
    sends: int = 0
    sent_at: float = 0.0


class Leases:
    """All deliveries that one connection's process holds or is settling."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        # Weak: when nobody can settle a delivery any more its lease may lapse, and another worker gets it.
        self._held: dict[Key, weakref.ref[Delivery]] = {}
        self._settling: dict[Key, _Settlement] = {}
        self._unsent: deque[_Settlement] = deque()
        self._will_send = False
        self._lock = threading.Lock()
        self._acknowledged: dict[Key, None] = {}
        self._all_settled = asyncio.Event()
        connection.on_session(self._resume)
        connection.on_close(self._finish)
        connection.start_task(self._keep())

    def admit(self, delivery: Delivery) -> bool:
        """Take a delivery in. False when it is here already, or done with: then it is not to be run."""
        key = delivery.key
        if key in self._acknowledged:
            self._begin(_Settlement(key, delivery.lender, delivery.reply, ACK))
            return False
        reference = self._held.get(key)
        held = None if reference is None else reference()
        if held is not None:
            held.reply = delivery.reply
            self._renew(held)
            return False
        self._held[key] = weakref.ref(delivery)
        return True

    def settle(self, delivery: Delivery, payload: bytes = ACK) -> None:
        """Acknowledge a delivery or give it back. Returns at once; unknown and settled ones do no harm."""
        key = delivery.key
        if not self._holds(delivery):
            return
        if payload == ACK:
            self._remember(key)  # first: a redelivery that comes between the two must find it here or there
        self._held.pop(key, None)
        self._begin(_Settlement(key, delivery.lender, delivery.reply, payload))
        slot, delivery.slot = delivery.slot, None
        if slot is not None:
            self._free(slot)

    def _free(self, slot: Delivery) -> None:
        """Give a slot back. Once: said again it would take the slot from whoever has it by then. Unheard, it lapses."""
        if self._holds(slot):
            self._held.pop(slot.key, None)
            self._connection.soon(lambda: self._connection.publish(slot.reply, give_back()))

    def give_back_all(self) -> None:
        """Hand everything back that nobody will finish any more."""
        for delivery in self._everything_held():
            self.settle(delivery, give_back())

    def _remember(self, key: Key) -> None:
        with self._lock:
            self._acknowledged[key] = None
            if len(self._acknowledged) > REMEMBERED:
                del self._acknowledged[next(iter(self._acknowledged))]

    def _holds(self, delivery: Delivery) -> bool:
        reference = self._held.get(delivery.key)
        return reference is not None and reference() is delivery

    def _everything_held(self) -> list[Delivery]:
        found = []
        for key, reference in list(self._held.items()):
            delivery = reference()
            if delivery is not None:
                found.append(delivery)
            elif self._held.get(key) is reference:
                self._held.pop(key, None)
        return found

    def _begin(self, settlement: _Settlement) -> None:
        self._settling[settlement.key] = settlement
        self._unsent.append(settlement)
        if not self._will_send:
            self._will_send = True
            self._connection.soon(self._send)

    def _send(self) -> None:
        """Send what is to be settled. The server settles in order what one consumer lent: the last one's confirmation
        stands for all before it that were sent with it.
        """
        self._will_send = False
        now = time.monotonic()
        together: dict[str, list[_Settlement]] = {}
        while self._unsent:
            settlement = self._unsent.popleft()
            settlement.sends += 1
            settlement.sent_at = now
            together.setdefault(settlement.lender, []).append(settlement)
        for settlements in together.values():
            *others, last = settlements
            for settlement in others:
                self._connection.publish(settlement.reply, settlement.payload)
            self._connection.request(last.reply, last.payload, functools.partial(self._confirmed, settlements))

    def _confirmed(self, settlements: list[_Settlement], answer: Msg | None) -> None:
        if answer is None or answer.status == "503":  # the connection was lost, or the consumer has no leader now
            return  # sent again by _resume or _keep
        for settlement in settlements:
            if self._settling.get(settlement.key) is settlement:
                del self._settling[settlement.key]
        if not self._settling:
            self._all_settled.set()

    def _renew(self, delivery: Delivery) -> None:
        delivery.renewed_at = time.monotonic()
        self._connection.publish(delivery.reply, IN_PROGRESS)

    def _resume(self) -> None:
        """On a new connection renew first: the server may be about to lend everything to others."""
        for delivery in self._everything_held():
            self._renew(delivery)
        for settlement in list(self._settling.values()):
            settlement.sends = 0
            self._begin(settlement)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self._unsent:  # also when a thread was interrupted before it could have it done
                self._send()
            if self._connection.is_up:
                self._renew_due(time.monotonic())
                self._repeat_due(time.monotonic())

    def _renew_due(self, now: float) -> None:
        for delivery in self._everything_held():
            # A third of the lease, less one tick: two renewals may be lost before the third comes too late.
            if now - delivery.renewed_at >= delivery.lease / 3 - TICK:
                self._renew(delivery)

    def _repeat_due(self, now: float) -> None:
        for key, settlement in list(self._settling.items()):
            if settlement.sends == 0 or now - settlement.sent_at < REPEAT_AFTER:
                continue
            if settlement.sends < MAX_SENDS:
                self._begin(settlement)
            else:
                self._settling.pop(key, None)

    async def _finish(self, seconds: float) -> None:
        """Before closing: give back what is held, and wait for the confirmations."""
        self.give_back_all()
        self._all_settled.clear()
        if self._settling and self._connection.is_up:
            with contextlib.suppress(TimeoutError):  # what is not confirmed now is delivered again
                await asyncio.wait_for(self._all_settled.wait(), seconds)
