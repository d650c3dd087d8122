"""What a queue's messages come from: the main line, and a source for each lane and priority that may have something.

The main line is always asked. Of the others a worker knows what bells told it, and what it found by looking; it asks them
in turn, those alone that may have something, and in a lane only the highest priority. Lives in the event loop;
``is_outranked`` may be asked from any thread.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from .names import Names

#: A lane and a priority.
Place = tuple[str, int]
MAIN: Place = ("", 0)


@dataclass(slots=True, eq=False)
class Source:
    """One consumer on the server, and what is known and asked of it."""

    lane: str
    priority: int
    #: Its name in the replies that we ask for.
    number: int
    consumer: str
    filter_subject: str
    #: Messages asked for that have not come.
    asked: int = 0
    asked_at: float = 0.0
    #: Something may be there: a bell, a look or its last message said so.
    may_have: bool = False
    told_at: float = 0.0
    #: Not asked since a bell or a look brought it up.
    is_new: bool = True
    #: It turned out to be missing, and its consumer is being made.
    is_being_made: bool = False
    #: When it may be asked again after it refused, on the monotonic clock.
    not_before: float = 0.0


@dataclass(slots=True)
class _Lane:
    sources: dict[int, Source] = field(default_factory=dict)

    def best(self, now: float) -> Source | None:
        """The source of the highest priority that may have something and may be asked."""
        having = [source for source in self.sources.values() if source.may_have and source.not_before <= now]
        return max(having, key=lambda source: source.priority, default=None)

    def askable(self, now: float) -> Source | None:
        """The same, when it exists and nothing of the lane is awaited."""
        best = self.best(now)
        return None if best is None or best.is_being_made or self.asked else best

    @property
    def asked(self) -> int:
        return sum(source.asked for source in self.sources.values())


class Sources:
    """The sources of one queue."""

    def __init__(self, names: Names, queue: str) -> None:
        self._names = names
        self._queue = queue
        self._numbers = 0
        self.main = Source("", 0, 0, names.consumer(queue), names.work_of(queue))
        self._lanes: dict[str, _Lane] = {}
        self._by_consumer = {self.main.consumer: self.main}
        self._by_number = {0: self.main}
        #: The lanes that may have something, the next to be asked first.
        self._turns: deque[str] = deque()
        #: By lane, the highest priority that may have something. Read by other threads.
        self._highest: dict[str, int] = {}

    def of_consumer(self, name: str) -> Source | None:
        return self._by_consumer.get(name)

    def of_number(self, number: str) -> Source | None:
        return self._by_number.get(int(number))

    def is_outranked(self, lane: str, priority: int) -> bool:
        """Whether a lane may have something of a higher priority than this."""
        return self._highest.get(lane, -1) > priority

    @property
    def is_single(self) -> bool:
        """Only the main line has something, as far as is known."""
        return not self._turns

    def tell(self, place: Place, now: float) -> None:
        """Something may be at a place."""
        source = self._source(place)
        source.told_at = now
        self._awaken(source)

    def found(self, places: Iterable[Place], *, asked_at: float) -> None:
        """What a look found. What it did not find, and no bell told of since, is forgotten."""
        present = set(places)
        for place in present:
            source = self._source(place)
            if source.asked == 0:
                self._awaken(source)
        for lane in list(self._lanes.values()):
            for source in list(lane.sources.values()):
                is_gone = (source.lane, source.priority) not in present and source.told_at < asked_at
                if is_gone and source.asked == 0:
                    self._forget(source)

    def asked_for(self, source: Source, batch: int, now: float) -> None:
        source.asked += batch
        source.asked_at = now
        source.is_new = False
        if source is not self.main:
            self._update(source.lane, now)

    def emptied(self, source: Source) -> None:
        """A source said that there is nothing, or nothing more, unless a bell rang since it was asked."""
        if source is not self.main and source.told_at <= source.asked_at:
            source.may_have = False
            self._update(source.lane, source.asked_at)

    def refused(self, source: Source, *, until: float, now: float) -> None:
        source.asked = 0
        source.not_before = until
        if source is not self.main:
            self._update(source.lane, now)

    def made(self, source: Source, now: float, *, not_before: float = 0.0) -> None:
        """A source that was missing can be asked: the turn that it missed comes first."""
        source.is_being_made = False
        self.refused(source, until=not_before, now=now)
        if source.lane in self._highest:
            self._turns.remove(source.lane)
            self._turns.appendleft(source.lane)

    def forget_all(self) -> None:
        """On a new connection nothing is asked, and what is there has to be looked up."""
        self.main.asked = 0
        for lane in list(self._lanes.values()):
            for source in list(lane.sources.values()):
                self._forget(source)

    def asked(self) -> list[Source]:
        """Those of which something is awaited."""
        return [source for source in self._by_number.values() if source.asked]

    def plan(
        self,
        *,
        room: int,
        worthwhile: int,
        waiting: Mapping[str, int],
        allowance: Callable[[str], int | None],
        now: float,
    ) -> list[tuple[Source, int]]:
        """Whom to ask for how many.

        ``room`` is the number of free places, of which fewer than ``worthwhile`` are not worth a request. ``waiting`` has the
        highest priority that waits here, by lane. ``allowance`` tells how many more of a lane are of use, None for any number.
        """
        asked = sum(source.asked for source in self._by_number.values()) if len(self._by_number) > 1 else 0
        if self.is_single:
            free = room - max(asked, self.main.asked)
            return [(self.main, free)] if free >= worthwhile else []
        beside = asked - self.main.asked
        plan = self._share_out(room - beside, worthwhile, allowance, now)
        planned = {source.lane for source, _ in plan}
        above = self._above(waiting, now)
        plan += [(source, 1) for source in above if source.lane not in planned]
        return plan

    def _share_out(
        self, free: int, worthwhile: int, allowance: Callable[[str], int | None], now: float
    ) -> list[tuple[Source, int]]:
        """Free places in turn over the lanes. The main line has its turn too, but may stand idle: it takes none from others."""
        plan: list[tuple[Source, int]] = []
        parts = len(self._turns) + (self.main.asked == 0)
        share, least = max(1, free // parts), max(1, worthwhile // parts)
        if self.main.asked == 0 and free >= least and not self.is_outranked("", 0):
            plan.append((self.main, share))
        for _ in range(len(self._turns)):
            if free <= 0:
                break
            name = self._turns[0]
            self._turns.rotate(-1)
            lane = self._lanes[name]
            source = lane.askable(now)
            if source is None or (free < least and not source.is_new):
                continue
            allowed = allowance(name)
            batch = min(share, free) if allowed is None else min(share, free, allowed)
            if batch > 0:
                plan.append((source, batch))
                free -= batch
        return plan

    def _above(self, waiting: Mapping[str, int], now: float) -> list[Source]:
        """The sources that outrank everything of their lane that waits here: asked for one each, room or not."""
        lanes = ((self._lanes.get(name), priority) for name, priority in waiting.items())
        best = ((lane.askable(now), priority) for lane, priority in lanes if lane is not None)
        return [source for source, priority in best if source is not None and source.priority > priority]

    def _source(self, place: Place) -> Source:
        lane = self._lanes.setdefault(place[0], _Lane())
        source = lane.sources.get(place[1])
        if source is None:
            self._numbers += 1
            source = Source(
                *place,
                number=self._numbers,
                consumer=self._names.lane_consumer(self._queue, *place),
                filter_subject=self._names.lane(self._queue, *place),
            )
            lane.sources[place[1]] = source
            self._by_consumer[source.consumer] = self._by_number[source.number] = source
        return source

    def _awaken(self, source: Source) -> None:
        if source.may_have:
            return
        source.may_have, source.is_new = True, True
        if source.lane not in self._highest:
            self._turns.append(source.lane)
        self._highest[source.lane] = max(source.priority, self._highest.get(source.lane, 0))

    def _update(self, name: str, now: float) -> None:
        lane = self._lanes.get(name)
        having = [] if lane is None else [source.priority for source in lane.sources.values() if source.may_have]
        best = None if lane is None else lane.best(now)
        if having:
            self._highest[name] = -1 if best is None else best.priority
        elif self._highest.pop(name, None) is not None:
            self._turns.remove(name)

    def _forget(self, source: Source) -> None:
        source.may_have = False
        lane = self._lanes[source.lane]
        del lane.sources[source.priority], self._by_consumer[source.consumer], self._by_number[source.number]
        if not lane.sources:
            del self._lanes[source.lane]
        self._update(source.lane, source.told_at)
