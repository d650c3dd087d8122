"""Recurring messages that are made and removed at run time, one per tenant, say. No release touches them."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dramatiq.message import Message

from .api import Stored
from .cron import RUNTIME, Cron, CronStore
from .cron_lines import schedule_of
from .names import from_token

#: Seconds for one call.
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """A recurring message on the server."""

    name: str
    #: ``"@every 30s"``, or a cron line of six fields, seconds first.
    every: str
    time_zone: str | None
    #: What each tick enqueues; each has an id and a time of its own.
    message: "Message[Any]"
    #: When it was made, or last changed.
    changed_at: datetime
    #: ``"runtime"``, or ``"code"`` for those that the code declares.
    owner: str


class Schedules:
    """The recurring messages made at run time, by their name. All methods raise BrokerUnavailable."""

    def __init__(self, store: CronStore) -> None:
        self._store = store

    def put(self, name: str, every: str | float, message: "Message[Any]", *, time_zone: str | None = None) -> None:
        """Make a recurring message, or change the one of that name. The same one again changes nothing, its ticks neither.

        Parameters:
          name(str): Any text, unique among those made at run time.
          every(str | float): Seconds, a duration such as ``"30s"``, or a cron line of six fields, seconds first.
          message(Message): What to enqueue at each tick.
          time_zone(str): Of a cron line, such as ``Europe/Berlin``; UTC otherwise.

        Raises:
          ValueError: For a time that cannot be read.
          ServerTooOld: When the server has no recurring schedules.
        """
        cron = Cron(name, schedule_of(every), message, time_zone, RUNTIME)
        self._store.require_server(_deadline())
        self._store.put(cron, self._store.get(RUNTIME, name, _deadline()), _deadline())

    def remove(self, name: str) -> bool:
        """Remove a recurring message.  Ticks that wait for a worker still run.  Returns whether there was one."""
        stored = self._store.get(RUNTIME, name, _deadline())
        return stored is not None and self._store.remove(stored)

    def get(self, name: str, *, owner: str = RUNTIME) -> Schedule | None:
        """The recurring message of that name."""
        stored = self._store.get(owner, name, _deadline())
        return None if stored is None else _schedule(stored)

    def list(self, *, owner: str = RUNTIME) -> list[Schedule]:
        """All recurring messages made at run time, or with ``owner="code"`` those that the code declares, by name."""
        found = self._store.find(owner, _deadline()).values()
        return sorted((_schedule(stored) for stored in found), key=lambda schedule: schedule.name)


def _schedule(stored: Stored) -> Schedule:
    *_, owner, name = stored.subject.split(".")
    return Schedule(
        name=from_token(name),
        every=stored.headers["Nats-Schedule"],
        time_zone=stored.headers.get("Nats-Schedule-Time-Zone"),
        message=Message.decode(stored.body),
        changed_at=stored.stored_at,
        owner=owner,
    )


def _deadline() -> float:
    return time.monotonic() + TIMEOUT
