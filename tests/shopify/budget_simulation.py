"""A shop's real bucket and workers that share a Budget, in simulated time: no thread, no waiting, the same every run."""

import heapq
import itertools
import random
from dataclasses import dataclass, field

from shopify.budget import Budget
from shopify.cost import Cost


class Conflict(Exception):
    """Another writer was faster."""


@dataclass(frozen=True)
class MemoryEntry:
    value: bytes
    revision: int


@dataclass
class MemoryStore:
    """Compare-and-set in memory. ``lose`` makes the next writes lose their race."""

    entries: dict[str, MemoryEntry] = field(default_factory=dict)
    lose: int = 0
    conflicts: int = 0

    def get(self, key: str, /) -> MemoryEntry | None:
        return self.entries.get(key)

    def create(self, key: str, value: bytes, /) -> int:
        return self._write(key, value, 0)

    def update(self, key: str, value: bytes, revision: int, /) -> int:
        return self._write(key, value, revision)

    def _write(self, key: str, value: bytes, revision: int) -> int:
        current = self.entries.get(key)
        if self.lose > 0 or (current.revision if current else 0) != revision:
            self.lose = max(0, self.lose - 1)
            self.conflicts += 1
            raise Conflict
        self.entries[key] = MemoryEntry(value, revision + 1)
        return revision + 1


@dataclass
class RealBucket:
    """What Shopify keeps: admission by requested cost, charge of the actual one."""

    maximum: float
    restore_rate: float
    level: float
    at: float = 0.0
    charged: float = 0.0
    throttled: int = 0
    admitted: int = 0

    def ask(self, now: float, requested: float, actual: float) -> Cost:
        self.level = min(self.maximum, self.level + (now - self.at) * self.restore_rate)
        self.at = now
        if self.level < requested:
            self.throttled += 1
            return self._cost(requested, None)
        self.admitted += 1
        self.level -= actual
        self.charged += actual
        return self._cost(requested, actual)

    def _cost(self, requested: float, actual: float | None) -> Cost:
        return Cost(requested, actual, self.level, self.maximum, self.restore_rate)


@dataclass
class Simulation:
    bucket: RealBucket
    workers: int
    #: Seconds from the request to its admission, and from there to the answer, at most.
    latency: float
    requested: float
    actual: float
    seed: int = 1
    now: float = 1_700_000_000.0

    def run(self, seconds: float) -> None:
        """Every worker takes, asks, settles, and starts again at once."""
        dice = random.Random(self.seed)
        store = MemoryStore()
        budgets = [
            Budget(store, "x.myshopify.com", conflict=Conflict, clock=lambda: self.now) for _ in range(self.workers)
        ]
        self.bucket.at = self.now
        order = itertools.count()
        agenda = [(self.now, next(order), worker, "take", None) for worker in range(self.workers)]
        ends = self.now + seconds

        def later(delay: float, worker: int, step: str, cost: Cost | None = None) -> None:
            heapq.heappush(agenda, (self.now + delay, next(order), worker, step, cost))

        while agenda and agenda[0][0] < ends:
            self.now, _, worker, step, cost = heapq.heappop(agenda)
            if step == "take":
                wait = budgets[worker].take(self.requested)
                later(wait, worker, "take") if wait else later(dice.uniform(0, self.latency), worker, "ask")
            elif step == "ask":
                actual = dice.uniform(0.5, 1.0) * self.actual
                cost = self.bucket.ask(self.now, self.requested, actual)
                later(dice.uniform(0, self.latency), worker, "settle", cost)
            else:
                budgets[worker].settle(self.requested, cost)
                later(0.0, worker, "take")
