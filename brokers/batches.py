"""Actors that take many messages in one call: gathering them, running them, and what becomes of each.

A batch travels through Dramatiq's worker as one message with members. Middleware sees the members alone: their
``before_process_message`` all run before the call, their ``after_process_message`` after it, each with its own outcome.
"""

import functools
import heapq
import itertools
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from dramatiq.broker import MessageProxy
from dramatiq.message import Message
from dramatiq.middleware import TimeLimitExceeded

from . import identity
from .identity import Processing
from .pauses import GivenBack
from .poison import SUSPECT_FROM

if TYPE_CHECKING:
    from .consumer import JetStreamMessage

logger = logging.getLogger(__name__)

SIZE, WAIT = "batch_size", "batch_wait"
OPTIONS = frozenset({SIZE, WAIT})
#: The most messages of one call: what they hold is in memory at once, and one failure makes them run again one by one.
LARGEST = 1000
#: Milliseconds that the first message of a batch waits for others, unless the actor says otherwise.
DEFAULT_WAIT = 50.0
#: Messages that one consumer keeps in half-gathered batches, whatever their size; twice the largest batch where that is more.
MAX_GATHERED = 200


class BatchResultError(TypeError):
    """A batch actor returned what cannot be told apart by message."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a batch is complete: so many messages, or so many seconds after the first."""

    size: int
    wait: float

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Limits | None":
        """Of an actor's options; None when it takes single messages. Raises ValueError."""
        size, wait = options.get(SIZE), options.get(WAIT)
        if size is None:
            if wait is not None:
                raise ValueError(f"{WAIT} needs {SIZE}")
            return None
        if isinstance(size, bool) or not isinstance(size, int) or not 2 <= size <= LARGEST:
            raise ValueError(f"{SIZE} must be a whole number from 2 to {LARGEST}, not {size!r}")
        if wait is None:
            wait = DEFAULT_WAIT
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < float("inf"):
            raise ValueError(f"{WAIT} must be milliseconds, not {wait!r}")
        return cls(size, wait / 1000)


@dataclass(slots=True, eq=False)
class Member:
    """One message of a batch, and what became of it."""

    message: "JetStreamMessage"
    is_skipped: bool = False
    result: Any = None
    error: BaseException | None = None
    is_finished: bool = False
    is_settled: bool = False


class AloneRunner(Protocol):
    """What a batch needs of its broker to run its members one by one."""

    def prepare_alone(self, message: MessageProxy) -> None: ...

    def note_failure(self, message: MessageProxy, error: BaseException) -> None: ...

    def is_stopping(self) -> bool: ...


class _Gathered(list["Message[Any]"]):
    """What a worker calls a batch actor with: tells it apart from a direct call."""

    batch: "Batch"


class Batch(MessageProxy):
    """Messages of one actor that are run in one call and acknowledged together."""

    def __init__(self, messages: "list[JetStreamMessage]") -> None:
        first = messages[0]
        super().__init__(Message(first.queue_name, first.actor_name, (), {}, {}, first.message_id))
        self.consumer = first.consumer
        self.members = [Member(message) for message in messages]
        self.processing = first.processing

    def begin(self, runner: AloneRunner) -> bool:
        """Make ready for the call. False when no member is left to be run."""
        self._runner = runner
        self._to_run = [
            member
            for member in self.members
            if not (member.is_skipped or member.error is not None or member.message.failed)
        ]
        if not self._to_run:
            return False
        gathered = _Gathered(member.message.message for member in self._to_run)
        gathered.batch = self
        self._message = self._message.copy(args=(gathered,))
        self.processing = Processing.of_all([member.message.processing for member in self._to_run])
        return True

    def run(self, function: Callable[["list[Message[Any]]"], Any]) -> None:
        """Call the actor's function for all, and when that fails for each alone. Failures of ours are raised."""
        members = self._to_run
        try:
            results = function([member.message.message for member in members])
        except GivenBack:
            raise
        except (Exception, TimeLimitExceeded) as error:
            if len(members) == 1:
                raise
            logger.warning("%s failed and is run one by one: %s: %s", self, type(error).__name__, error)
        else:
            self._note_results(members, results)
            return
        for member in members:
            if self._runner.is_stopping():
                member.error = GivenBack("the worker stops")
            else:
                self._run_alone(function, member)

    def _run_alone(self, function: Callable[["list[Message[Any]]"], Any], member: Member) -> None:
        identity.begin(member.message.processing)
        try:
            self._runner.prepare_alone(member.message)
            self._note_results([member], function([member.message.message]))
        except BaseException as error:  # noqa: BLE001  as Dramatiq's worker, which leaves it to the middleware
            member.error = error
            self._runner.note_failure(member.message, error)

    def _note_results(self, members: list[Member], results: Any) -> None:
        for member, result in zip(members, results_of(self.actor_name, results, len(members)), strict=True):
            member.result = result

    def clear_exception(self) -> None:
        super().clear_exception()
        for member in self.members:
            member.error = None
            member.message.clear_exception()

    def __str__(self) -> str:
        return f"{self.actor_name}({len(self.members)} messages)"


def results_of(actor_name: str, results: Any, count: int) -> "list[Any]":
    """What a batch actor returned, by message. Raises BatchResultError."""
    if results is None:
        return [None] * count
    if not isinstance(results, list | tuple) or len(results) != count:
        what = f"{len(results)} results" if isinstance(results, list | tuple) else type(results).__name__
        raise BatchResultError(
            f"{actor_name} returned {what} for {count} messages: "
            "a batch actor returns None, or a list with one result for each message, in their order"
        )
    return list(results)


def batched(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a batch actor's function so that each message gets its own outcome. Called directly it is the function itself."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and isinstance(args[0], _Gathered):
            return args[0].batch.run(function)
        return function(*args, **kwargs)

    return run


@dataclass(slots=True, eq=False)
class _Half:
    """A batch that is not complete yet."""

    limits: Limits
    due: float
    messages: "list[JetStreamMessage]"

    @property
    def missing(self) -> int:
        return self.limits.size - len(self.messages)


_Key = tuple[str, str]


class Gathering:
    """The half-gathered batches of one consumer, by actor and lane. Not thread-safe: its consumer holds a lock."""

    def __init__(self, limits: Callable[[str], Limits | None]) -> None:
        self._limits = limits
        self._halves: dict[_Key, _Half] = {}
        self._dues: list[tuple[float, int, _Key]] = []
        self._numbers = itertools.count()
        self._count = 0
        self._missing = 0
        self._largest = 0

    def __bool__(self) -> bool:
        return bool(self._halves)

    def add(self, message: "JetStreamMessage") -> "JetStreamMessage | Batch | None":
        """A message that came. Returns what can be run now: itself, a batch that it completes, or nothing yet."""
        limits = self._limits(message.actor_name)
        if limits is None:
            return message
        if message.delivery.count >= SUSPECT_FROM:  # runs alone, so that it cannot harm others
            return Batch([message])
        key = message.actor_name, message.delivery.lane
        half = self._halves.get(key)
        if half is None:
            half = self._begin(key, limits)
        half.messages.append(message)
        self._count += 1
        self._missing -= 1
        if half.missing <= 0:
            return self._complete(key)
        if self._count >= self._most:
            return self._complete(self._oldest())
        return None

    def due(self) -> "Batch | None":
        """A batch that waited for long enough."""
        return self._complete(self._oldest()) if self.wait() <= 0 else None

    def wait(self) -> float:
        """Seconds until the next batch waited for long enough; infinite when there is none."""
        while self._dues and not self._is_current(self._dues[0]):
            heapq.heappop(self._dues)
        return self._dues[0][0] - time.monotonic() if self._dues else float("inf")

    @property
    def wanted(self) -> int:
        """How many more messages would complete the batches that are half gathered, within bounds."""
        return max(0, min(self._missing, self._most - self._count))

    def drain(self) -> "list[JetStreamMessage]":
        """Everything that is gathered, which then is no more."""
        messages = [message for half in self._halves.values() for message in half.messages]
        self._halves.clear()
        self._dues.clear()
        self._count = self._missing = 0
        return messages

    @property
    def _most(self) -> int:
        return max(MAX_GATHERED, 2 * self._largest)

    def _begin(self, key: _Key, limits: Limits) -> _Half:
        half = self._halves[key] = _Half(limits, time.monotonic() + limits.wait, [])
        heapq.heappush(self._dues, (half.due, next(self._numbers), key))
        self._missing += limits.size
        self._largest = max(self._largest, limits.size)
        return half

    def _is_current(self, entry: tuple[float, int, _Key]) -> bool:
        half = self._halves.get(entry[2])
        return half is not None and half.due == entry[0]

    def _oldest(self) -> _Key:
        self.wait()  # forgets those that were completed
        return self._dues[0][2]

    def _complete(self, key: _Key) -> Batch:
        half = self._halves.pop(key)
        self._count -= len(half.messages)
        self._missing -= half.missing
        return Batch(half.messages)
