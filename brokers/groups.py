"""Groups whose callbacks run once: Dramatiq's ``GroupCallbacks`` on our rate limiter backend.

    broker.add_middleware(GroupCallbacks(JetStreamRateLimiterBackend(broker=broker)))

is all that a program does. Dramatiq counts completions down, so that a member which is delivered again after a crash counts
twice, and the callbacks run early, or twice. Here three things differ, on this broker:

- Each member has a number, given when the group is run, and a group keeps which of them arrived: it completes when all did.
- The callbacks' publish ids derive from the group, so that JetStream recognises them whichever member enqueues them. After
  they are stored the group is closed, which holds for longer than JetStream remembers an id (for ``barrier_ttl``).
  A worker that dies between the two leaves its member unacknowledged: whoever gets that enqueues them again.
- A group that an actor runs is named after the actor's delivery. When that is repeated after a crash it is the same group,
  whose members that were stored already are not stored again.
"""

import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from dramatiq.message import Message
from dramatiq.middleware import GroupCallbacks, Middleware

from . import identity, members
from .members import Run

#: Groups of one thread whose members are being enqueued; more than one only when their making is nested.
REMEMBERED = 16


@runtime_checkable
class KeepsGroups(Protocol):
    """A rate limiter backend that keeps who of a group arrived."""

    def adopt_group(self, key: str, *, owner: str) -> str:
        """Give the barrier of a group a name after its owner, the same each time, and return it."""


@dataclass(slots=True)
class Roll:
    """Which members of a group have arrived."""

    parties: int
    #: Of each series of numbers those that arrived, as bits.
    arrived: dict[str, int] = field(default_factory=dict)
    #: The callbacks are stored.
    is_closed: bool = False

    @property
    def is_complete(self) -> bool:
        return self.missing <= 0

    @property
    def missing(self) -> int:
        return self.parties - sum(bits.bit_count() for bits in self.arrived.values())

    def arrive(self, member: str) -> bool:
        """Note a member. False when it had arrived before."""
        series, _, number = member.rpartition(":")
        before = self.arrived.get(series, 0)
        self.arrived[series] = before | 1 << int(number)
        return self.arrived[series] != before

    def as_json(self) -> dict[str, Any]:
        arrived = {series: f"{bits:x}" for series, bits in self.arrived.items()}
        return {"parties": self.parties, "arrived": arrived, "is_closed": self.is_closed}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Roll":
        arrived = {series: int(bits, 16) for series, bits in content["arrived"].items()}
        return cls(content["parties"], arrived, content["is_closed"])


class _Runs(threading.local):
    """The groups that a thread has just run outside of any processing."""

    def __init__(self) -> None:
        self.latest: dict[str, Run] = {}


_runs = _Runs()


def enrol(message: "Message[Any]", middleware: Iterable[Middleware]) -> None:
    """Number a message that its group is just enqueueing; others stay as they are."""
    processing = identity.current()
    if processing is not None and processing.is_after_actor:
        return  # a retry, next step or callback: what had to be numbered is

    def give_number(group: str) -> tuple[str, str]:
        if processing is None:
            run = _run_outside(group)
        else:
            runs = processing.groups
            if group not in runs:
                owner = f"{processing.stream}:{processing.sequence}:{processing.stored_ns}:{len(runs)}"
                runs[group] = Run(_adopt(group, owner, middleware), "")
            run = runs[group]
        return run.group, f"{run.series}:{next(run.numbers)}"

    options = members.enrolled(message.options, give_number)
    if options is not None:
        message.options.update(options)


def arriving(group: str) -> str | None:
    """The member of this group that has just been processed in this thread, if so."""
    processing = identity.current()
    if processing is None or processing.message is None or not processing.is_after_actor:
        return None
    message = processing.message
    return members.member_of(message) if message.options.get(members.GROUP) == group else None


def once_all_is_stored(call: Callable[[], None]) -> None:
    """Have ``call`` run when everything that follows from the message being processed is stored."""
    processing = identity.current()
    if processing is not None:
        processing.once_all_is_stored.append(call)


def _run_outside(group: str) -> Run:
    latest = _runs.latest
    if group not in latest:
        latest[group] = Run(group, uuid.uuid4().hex[:8])
        if len(latest) > REMEMBERED:
            del latest[next(iter(latest))]
    return latest[group]


def _adopt(group: str, owner: str, middleware: Iterable[Middleware]) -> str:
    for each in middleware:
        if isinstance(each, GroupCallbacks):
            backend: object = each.rate_limiter_backend
            return backend.adopt_group(group, owner=owner) if isinstance(backend, KeepsGroups) else group
    return group
