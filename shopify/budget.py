"""The budget a shop gives us: Shopify's leaky bucket of query cost, shared by every worker of every machine.

Admission looks at a query's requested cost, the charge is its actual cost. So a query holds a reservation of what it asks
for until its answer tells what it was charged. The state is one small value in a store with compare-and-set.
"""

import functools
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeVar

from shopify.cost import Cost

#: What the smallest plan gives, points and points a second: assumed of a shop until its first answer.
STANDARD_MAXIMUM = 2000.0
STANDARD_RESTORE_RATE = 100.0
#: Seconds after which a reservation of a worker that was killed counts no more. An exchange ends within 60 s, nearly all
#: within 5.
RESERVATION_LIFE = 30.0
#: Seconds until a probe that met another asks again.
PROBE_PAUSE = 3.0
#: Seconds spent on losing against other workers before ``take`` asks to come again, and before ``settle`` gives up.
CONTENTION_TAKE = 1.0
CONTENTION_SETTLE = 5.0
#: Seconds of the first pause after a lost race; each is random and up to twice the one before.
_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1
#: Waits are stretched by up to this part, so that those who wait do not all come back at once.
_SPREAD = 0.1

Outcome = TypeVar("Outcome")


class Entry(Protocol):
    @property
    def value(self) -> bytes: ...
    @property
    def revision(self) -> int: ...


class BudgetStore(Protocol):
    """Compare-and-set by key: ``create`` and ``update`` raise the conflict that ``Budget`` is given, when they lose."""

    def get(self, key: str, /) -> Entry | None: ...
    def create(self, key: str, value: bytes, /) -> int: ...
    def update(self, key: str, value: bytes, revision: int, /) -> int: ...


@dataclass(frozen=True, slots=True)
class Reservation:
    points: float
    #: Epoch seconds.
    expires_at: float
    #: The bucket's ``charged`` when this was made.
    charged_before: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """What we believe of a shop's bucket at the time ``at`` (epoch seconds)."""

    at: float
    level: float = STANDARD_MAXIMUM
    maximum: float = STANDARD_MAXIMUM
    restore_rate: float = STANDARD_RESTORE_RATE
    #: Points charged since the beginning of counting.
    charged: float = 0.0
    #: Nobody asks before this time: Shopify said so.
    blocked_until: float = 0.0
    is_known: bool = False
    reservations: dict[str, Reservation] = field(default_factory=dict)

    def at_time(self, now: float) -> "Bucket":
        """The same bucket later. A clock behind another machine's makes no time pass, so it restores nothing twice."""
        now = max(self.at, now)
        return replace(
            self,
            at=now,
            level=min(self.maximum, self.level + (now - self.at) * self.restore_rate),
            reservations={key: held for key, held in self.reservations.items() if held.expires_at > now},
        )

    @property
    def reserved(self) -> float:
        return sum(held.points for held in self.reservations.values())

    def wait_for(self, cost: float, reserve: float) -> float:
        """Seconds until ``cost`` is free with ``reserve`` left over; 0.0 when it is now."""
        needed = min(cost + reserve, self.maximum)
        lacking = needed - (self.level - self.reserved)
        return max(0.0, lacking / self.restore_rate, self.blocked_until - self.at)

    def with_reservation(self, key: str, points: float) -> "Bucket":
        held = Reservation(points, self.at + RESERVATION_LIFE, self.charged)
        return replace(self, reservations=self.reservations | {key: held})

    def settled(self, key: str | None, requested: float, cost: Cost | None) -> "Bucket":
        """After the answer to the query that held ``key``.

        The level is our own ledger: each charge once. What the answer reports was true when Shopify worked on it, before
        or after others' queries that are under way or were settled since; it proves no more than a range:
        the level is at most the report and all that is still reserved, and at least the report less all that was charged
        since our reservation. The ledger is moved into that range, never beyond.
        """
        held = self.reservations.get(key) if key is not None else None
        others = {name: other for name, other in self.reservations.items() if name != key}
        if cost is None:
            # Nothing is known: not even whether it was charged. The next answer will tell.
            return replace(self, reservations=others, level=self.level - requested, charged=self.charged + requested)
        charge = cost.actual or 0.0
        level = self.level - charge
        reserved = sum(other.points for other in others.values())
        if not self.is_known:
            level = cost.available
        elif held is not None:
            level = max(level, cost.available - (self.charged - held.charged_before))
        level = min(level, cost.available + reserved, cost.maximum)
        return replace(
            self,
            level=level,
            maximum=cost.maximum,
            restore_rate=cost.restore_rate,
            charged=self.charged + charge,
            is_known=True,
            reservations=others,
        )

    def to_bytes(self) -> bytes:
        held = {key: (r.points, r.expires_at, r.charged_before) for key, r in self.reservations.items()}
        state = {name: getattr(self, name) for name in self.__slots__} | {"reservations": held}
        return json.dumps(state).encode()

    @classmethod
    def from_bytes(cls, value: bytes) -> "Bucket":
        state = json.loads(value)
        state["reservations"] = {key: Reservation(*held) for key, held in state["reservations"].items()}
        return cls(**state)


class Budget:
    """One shop's bucket. Any number of threads, processes and machines may each have their own Budget of it.

    Every method raises what the store raises when it cannot be reached.
    """

    def __init__(
        self,
        store: BudgetStore,
        shop_domain: str,
        *,
        conflict: type[Exception],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._key = shop_domain
        self._conflict = conflict
        self._clock = clock
        self._held: list[tuple[int, float, str]] = []  # thread, points, reservation
        self._lock = threading.Lock()

    def take(self, cost: float, *, reserve: float = 0, is_probe: bool = False) -> float:
        """Reserve ``cost`` points while ``reserve`` more stay free for others; a probe, while nobody else's query is out.

        Returns 0.0, or the seconds to wait before asking again; nothing is reserved then. Each successful take is
        followed by one ``settle`` of the same thread. What is never settled is free again after 30 s.
        """
        key = uuid.uuid4().hex
        wait = self._change(
            functools.partial(_reserve, key=key, cost=cost, reserve=reserve, is_probe=is_probe), CONTENTION_TAKE
        )
        if wait is None:
            return _FIRST_PAUSE + random.random() * _LONGEST_PAUSE  # noqa: S311 - a pause, no secret
        if wait > 0:
            return wait * (1 + random.random() * _SPREAD)  # noqa: S311
        with self._lock:
            self._held.append((threading.get_ident(), float(cost), key))
        return 0.0

    def settle(self, requested: float, cost: Cost | None) -> None:
        """Give back the reservation of ``requested`` points, and learn from the answer's ``cost``.

        None: no answer told the cost; the points count as charged until the next one corrects it.
        """
        settle = functools.partial(_settle, key=self._let_go(float(requested)), requested=requested, cost=cost)
        # Losing to the end costs accuracy only: the reservation expires, and the next answer reports the bucket again.
        self._change(settle, CONTENTION_SETTLE)

    def release(self, requested: float) -> None:
        """Give back a reservation whose query was never sent."""
        release = functools.partial(_release, key=self._let_go(float(requested)))
        self._change(release, CONTENTION_SETTLE)

    def penalize(self, wait: float) -> None:
        """Nobody asks this shop for ``wait`` seconds: it answered 429, which no cost explains."""
        self._change(functools.partial(_block, wait=wait), CONTENTION_SETTLE)

    def restore_rate(self) -> float:
        """Points a second, as the shop's last answer told; what the smallest plan gives before there was one."""
        entry = self._store.get(self._key)
        return STANDARD_RESTORE_RATE if entry is None else Bucket.from_bytes(entry.value).restore_rate

    def _let_go(self, points: float) -> str | None:
        """The reservation that this thread holds, or else another of the same size."""
        thread = threading.get_ident()
        with self._lock:
            same = [held for held in self._held if held[1] == points]
            if not same:
                return None
            mine = next((held for held in same if held[0] == thread), same[0])
            self._held.remove(mine)
            return mine[2]

    def _change(self, change: Callable[[Bucket], tuple[Bucket | None, Outcome]], seconds: float) -> Outcome | None:
        """Apply ``change`` to the bucket as it is now. None when others won every race for so many seconds."""
        ends = time.monotonic() + seconds
        pause = _FIRST_PAUSE
        while True:
            entry = self._store.get(self._key)
            now = self._clock()
            before = Bucket(at=now) if entry is None else Bucket.from_bytes(entry.value).at_time(now)
            after, outcome = change(before)
            if after is None:
                return outcome
            try:
                if entry is None:
                    self._store.create(self._key, after.to_bytes())
                else:
                    self._store.update(self._key, after.to_bytes(), entry.revision)
            except self._conflict:
                if time.monotonic() > ends:
                    return None
                time.sleep(random.random() * pause)  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                return outcome


def _reserve(bucket: Bucket, *, key: str, cost: float, reserve: float, is_probe: bool) -> tuple[Bucket | None, float]:
    if cost > bucket.maximum:
        raise ValueError(f"{cost} points never fit into a bucket of {bucket.maximum}")
    if is_probe and bucket.reservations:
        return None, PROBE_PAUSE
    wait = bucket.wait_for(cost, reserve)
    return (None, wait) if wait > 0 else (bucket.with_reservation(key, cost), 0.0)


def _settle(bucket: Bucket, *, key: str | None, requested: float, cost: Cost | None) -> tuple[Bucket, bool]:
    return bucket.settled(key, requested, cost), True


def _release(bucket: Bucket, *, key: str | None) -> tuple[Bucket, bool]:
    others = {name: held for name, held in bucket.reservations.items() if name != key}
    return replace(bucket, reservations=others), True


def _block(bucket: Bucket, *, wait: float) -> tuple[Bucket, bool]:
    return replace(bucket, blocked_until=max(bucket.blocked_until, bucket.at + wait)), True
