"""Messages that came and are not yet handed out: in turn over their lanes, by priority within a lane."""

from collections import deque
from collections.abc import Callable

from .leases import Delivery


class Waiting:
    """Not thread-safe: its consumer guards it."""

    def __init__(self) -> None:
        self._lanes: dict[str, dict[int, deque[Delivery]]] = {}
        self._turns: deque[str] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, delivery: Delivery) -> None:
        lane = self._lanes.get(delivery.lane)
        if lane is None:
            lane = self._lanes[delivery.lane] = {}
            self._turns.append(delivery.lane)
        level = lane.get(delivery.priority)
        if level is None:
            level = lane[delivery.priority] = deque()
        level.append(delivery)
        self._count += 1

    def take(self, is_outranked: Callable[[str, int], bool]) -> Delivery | None:
        """The next message, of the next lane in turn; of none whose lane is about to bring a higher priority."""
        for _ in range(len(self._turns)):
            name = self._turns[0]
            lane = self._lanes[name]
            priority = max(lane) if len(lane) > 1 else next(iter(lane))
            self._turns.rotate(-1)
            if not is_outranked(name, priority):
                return self._remove(name, priority)
        return None

    def displace(self, lane: str, priority: int) -> Delivery | None:
        """Remove the last that has a slot in a lane and a priority lower than this."""
        levels = self._lanes.get(lane, {})
        lower = (each for level in sorted(levels) if level < priority for each in reversed(levels[level]))
        found = next((delivery for delivery in lower if delivery.slot is not None), None)
        if found is not None:
            self._discard(found)
        return found

    def best(self) -> dict[str, int]:
        """The highest priority that waits, by lane."""
        return {name: max(lane) for name, lane in self._lanes.items()}

    def drain(self) -> list[Delivery]:
        """Remove everything."""
        everything = [delivery for lane in self._lanes.values() for level in lane.values() for delivery in level]
        self._lanes.clear()
        self._turns.clear()
        self._count = 0
        return everything

    def _remove(self, name: str, priority: int) -> Delivery:
        delivery = self._lanes[name][priority][0]
        self._discard(delivery)
        return delivery

    def _discard(self, delivery: Delivery) -> None:
        name, priority = delivery.lane, delivery.priority
        lane = self._lanes[name]
        lane[priority].remove(delivery)
        self._count -= 1
        if not lane[priority]:
            del lane[priority]
        if not lane:
            del self._lanes[name]
            self._turns.remove(name)
