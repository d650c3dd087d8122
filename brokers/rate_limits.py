"""Counters for Dramatiq's rate limiters, barriers and group callbacks, by compare-and-set in JetStream's key-value store.

A counter is a key of a bucket on file storage with the streams' replicas. The counters of one limiter's windows and buckets
(Dramatiq names them ``<key>@<time>``) share a key, so that their sum is exact; they may live in memory.
"""

import contextlib
import json
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from dramatiq.rate_limits import RateLimiterBackend

from . import groups
from .broker import JetStreamBroker
from .errors import BrokerUnavailable, JetStreamError, KeyConflict
from .groups import Roll
from .key_value import KeyValue

logger = logging.getLogger(__name__)

#: The buckets of counters and events, of windows, and of windows in memory, behind the broker's namespace.
COUNTS, WINDOWS, WINDOWS_IN_MEMORY = "limits", "windows", "windows-memory"
#: The keys of WindowRateLimiter (seconds since 1970) and BucketRateLimiter (milliseconds).
_WINDOW = re.compile(r"(.*@)([0-9]{9,15})", re.DOTALL)
#: Seconds after which an operation that always lost the race gives up.
PATIENCE = 10.0
#: Seconds of the first pause after a lost race at most, and of the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
#: Seconds that a thread waits for another of its process to be done with the same key.
LONGEST_TURN = 0.5
#: Seconds that a wait takes at least: one look at the server.
SHORTEST_WAIT = 0.05

# Threads of one process take turns at a key instead of racing each other through the server.
_turns = [threading.Lock() for _ in range(64)]


@dataclass(slots=True)
class Count:
    """A counter that lives until a time in milliseconds since 1970; the server removes it within the second after that."""

    value: int
    until: float
    #: Of a group's barrier: who arrived.
    roll: Roll | None = None

    def as_json(self) -> dict[str, Any]:
        content: dict[str, Any] = {"value": self.value, "until": self.until}
        return content if self.roll is None else content | {"roll": self.roll.as_json()}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Count":
        roll = content.get("roll")
        return cls(content["value"], content["until"], None if roll is None else Roll.from_json(roll))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a counter is kept: a bucket, a key in it, and its name among the counters of that key."""

    bucket: KeyValue
    key: str
    name: str = ""


#: All counters of one key of a bucket.
Counts = dict[str, Count]


class JetStreamRateLimiterBackend(RateLimiterBackend):
    """A rate limiter backend for NATS JetStream, for limiters, barriers and ``GroupCallbacks``.

    Making one does no I/O; the buckets are made by the broker's ``ensure_streams``, or on first use. Counters expire to the
    millisecond as long as the clocks of those who write them agree.

    With this backend groups complete exactly once: ``broker.add_middleware(GroupCallbacks(backend))`` is all there is to do
    (see ``groups.py``).

    Examples:

      >>> from dramatiq.rate_limits import ConcurrentRateLimiter
      >>> from brokers import JetStreamBroker, JetStreamRateLimiterBackend
      >>> broker = JetStreamBroker("nats://127.0.0.1:4222")
      >>> backend = JetStreamRateLimiterBackend(broker=broker)
      >>> with ConcurrentRateLimiter(backend, "a-mutex").acquire():
      ...     print("Mutex acquired.")

    Parameters:
      broker(JetStreamBroker): Whose connection to use.
      url(str): Where to connect to without a broker.
      windows_in_memory(bool): Keep the counters of WindowRateLimiter and BucketRateLimiter in the server's memory, which is
        faster; a limit may then be exceeded after all servers stopped.  Barriers, groups and ConcurrentRateLimiter are on
        file storage always.
      **parameters: Further parameters of the connection, as JetStreamBroker has them.

    Raises:
      TypeError: When both a broker and how to connect are given.
    """

    def __init__(
        self,
        *,
        broker: JetStreamBroker | None = None,
        url: str | None = None,
        windows_in_memory: bool = False,
        **parameters: Any,
    ) -> None:
        self.broker = JetStreamBroker.given_or_at(broker, url, parameters)
        self._counts = self.broker.key_value(COUNTS)
        self._windows = self.broker.key_value(
            WINDOWS_IN_MEMORY if windows_in_memory else WINDOWS, memory=windows_in_memory
        )

    def add(self, key: str, value: int, ttl: int) -> bool:
        """Set a counter for ``ttl`` milliseconds if there is none.  Returns whether it was set."""
        place = self._place(key)

        def add(counts: Counts) -> bool:
            if place.name in counts:
                return False
            counts[place.name] = _count(value, ttl)
            return True

        return _change(place, add)

    def incr(self, key: str, amount: int, maximum: int, ttl: int) -> bool:
        """Raise a counter unless it would exceed ``maximum``.  Returns whether it was raised."""
        place = self._place(key)

        def raise_it(counts: Counts) -> bool:
            value = _value(counts, place.name) + amount
            counts[place.name] = _count(value, ttl)
            return value <= maximum

        return _change(place, raise_it)

    def decr(self, key: str, amount: int, minimum: int, ttl: int) -> bool:
        """Lower a counter unless it would fall below ``minimum``.  Returns whether it was lowered.

        Of a group's barrier, when a member of the group has just been processed: unless all have arrived, this one included.
        """
        place = self._place(key)
        member = groups.arriving(key)
        if member is not None:
            return not self._arrive(place, member, ttl)

        def lower(counts: Counts) -> bool:
            value = _value(counts, place.name) - amount
            counts[place.name] = _count(value, ttl)
            return value >= minimum

        return _change(place, lower)

    def incr_and_sum(self, key: str, keys: Callable[[], Iterable[str]], amount: int, maximum: int, ttl: int) -> bool:
        """Raise a counter unless it, or the sum of the counters ``keys()``, would exceed ``maximum``."""
        place = self._place(key)
        # The windows of one limiter are one key. Any other counters are guarded by their whole bucket.
        is_one_key = all((other.bucket, other.key) == (place.bucket, place.key) for other in map(self._place, keys()))

        def raise_it(counts: Counts) -> bool:
            value = _value(counts, place.name) + amount
            if value > maximum:
                return False
            total = amount + sum(self._read(self._place(other), counts, known=place) for other in keys())
            counts[place.name] = _count(value, ttl)
            return total <= maximum

        return _change(place, raise_it, guard_all=not is_one_key)

    def wait(self, key: str, timeout: int | None) -> bool:
        """Wait without polling for ``wait_notify``, for ``timeout`` milliseconds or for ever (None).

        Returns whether it was notified, before or meanwhile. An outage of NATS meanwhile is waited out.
        """
        seconds = None if timeout is None else max(timeout / 1000, SHORTEST_WAIT)
        return self._counts.wait(key, seconds) is not None

    def wait_notify(self, key: str, ttl: int) -> None:
        """Wake all who wait for a key, and those who will within ``ttl`` milliseconds."""
        self._counts.put(key, b"x", ttl=ttl / 1000)

    def adopt_group(self, key: str, *, owner: str) -> str:
        """Give the barrier of a group a name after its owner, the same each time, and return it (``groups.py``)."""
        place = self._place(key)
        counts, _ = _load(place)
        if place.name not in counts:
            return key
        barrier = counts[place.name]
        name = f"{owner}:{barrier.value}"
        self.add(name, barrier.value, ttl=round(barrier.until - time.time() * 1000))
        place.bucket.delete(place.key)
        return name

    def close(self) -> None:
        """Disconnect the broker."""
        self.broker.close()

    def _arrive(self, place: _Place, member: str, ttl: int) -> bool:
        """Note a member of a group. Returns whether the group is complete, and its callbacks may not be stored yet."""
        is_due = False

        def arrive(counts: Counts) -> bool:
            nonlocal is_due
            if place.name not in counts:
                logger.error("group %s is not known any more (its barrier_ttl is over): no callback", place.key)
                return False
            roll = counts[place.name].roll or Roll(counts[place.name].value)
            is_new = roll.arrive(member)
            is_due = roll.is_complete and not roll.is_closed
            counts[place.name] = Count(max(1, roll.missing), time.time() * 1000 + ttl, roll)
            return is_new

        _change(place, arrive)
        if is_due:
            groups.once_all_is_stored(lambda: self._close_group(place, ttl))
        return is_due

    def _close_group(self, place: _Place, ttl: int) -> None:
        def close(counts: Counts) -> bool:
            roll = counts[place.name].roll if place.name in counts else None
            if roll is None or roll.is_closed:
                return False
            roll.is_closed = True
            counts[place.name].until = time.time() * 1000 + ttl
            return True

        try:
            _change(place, close)
        except (BrokerUnavailable, JetStreamError) as error:  # the callbacks' ids still protect them
            logger.warning("group %s stays open: %s", place.key, error)

    def _place(self, key: str) -> _Place:
        window = _WINDOW.fullmatch(key)
        return _Place(self._counts, key) if window is None else _Place(self._windows, window[1], window[2])

    def _read(self, place: _Place, counts: Counts, *, known: _Place) -> int:
        """A counter's value, from ``counts`` where those are of the key that it belongs to."""
        if (place.bucket, place.key) != (known.bucket, known.key):
            counts, _ = _load(place)
        return _value(counts, place.name)


def _count(value: int, ttl: int) -> Count:
    return Count(value, time.time() * 1000 + ttl)


def _value(counts: Counts, name: str) -> int:
    return counts[name].value if name in counts else 0


def _load(place: _Place) -> tuple[Counts, int]:
    """The counters of a place's key that live, and the key's revision (0: there is none)."""
    entry = place.bucket.get(place.key)
    if entry is None:
        return {}, 0
    now = time.time() * 1000
    counts = {name: Count.from_json(count) for name, count in json.loads(entry.value).items()}
    return {name: count for name, count in counts.items() if count.until > now}, entry.revision


def _change(place: _Place, change: Callable[[Counts], bool], *, guard_all: bool = False) -> bool:
    """Apply ``change`` to the counters of a key and store them when it returned True, unless others changed them meanwhile:
    then again. ``guard_all``: unless anything in the bucket changed.

    Raises BrokerUnavailable when others were quicker for too long.
    """
    with _turn(place):
        deadline, pause = time.monotonic() + PATIENCE, FIRST_PAUSE
        while True:
            guard = place.bucket.revision() if guard_all else None
            counts, revision = _load(place)
            if not change(counts):
                return False
            try:
                _store(place, counts, revision, guard)
            except KeyConflict:
                if time.monotonic() + pause >= deadline:
                    raise BrokerUnavailable(f"counter {place.key!r} is changed by too many at once") from None
                time.sleep(random.uniform(0, pause))  # noqa: S311
                pause = min(pause * 2, LONGEST_PAUSE)
            else:
                return True


@contextlib.contextmanager
def _turn(place: _Place) -> Iterator[None]:
    """Take turns at a key in this process; a turn that lasts (an outage) is not waited for: compare-and-set decides anyway."""
    lock = _turns[hash((id(place.bucket), place.key)) % len(_turns)]
    is_mine = lock.acquire(timeout=LONGEST_TURN)
    try:
        yield
    finally:
        if is_mine:
            lock.release()


def _store(place: _Place, counts: Counts, revision: int, guard: int | None) -> None:
    now = time.time() * 1000
    value = json.dumps({name: count.as_json() for name, count in counts.items()}).encode()
    ttl = max(count.until - now for count in counts.values()) / 1000
    if guard is not None:
        place.bucket.put_if_unchanged(place.key, value, guard, ttl=ttl)
    elif revision == 0:
        place.bucket.create(place.key, value, ttl=ttl)
    else:
        place.bucket.update(place.key, value, revision, ttl=ttl)


def _take_turns_anew() -> None:
    """In a forked child, where nobody will ever give back a turn that a thread of the parent had."""
    _turns[:] = [threading.Lock() for _ in _turns]


os.register_at_fork(after_in_child=_take_turns_anew)
