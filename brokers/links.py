"""The connections that a process has to NATS: one for requests, another with a thread only where messages are consumed.

Both are made on first use, again after ``close``, and anew in a forked child.
"""

import atexit
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass

from .connection import Connection
from .leases import Leases
from .options import Options
from .outages import Outage
from .sweep import Sweeper
from .wire import Wire

_all: "weakref.WeakSet[Links]" = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Consuming:
    """What consuming takes."""

    connection: Connection
    leases: Leases
    sweeper: Sweeper


class Links:
    """One broker's connections in this process. ``sweeper_of`` makes what sweeps over a connection while it consumes."""

    def __init__(self, options: Options, sweeper_of: Callable[[Wire], Sweeper]) -> None:
        self._options = options
        self._sweeper_of = sweeper_of
        self._lock = threading.Lock()
        self._outage = Outage(options.servers.shown)
        self._wire: Wire | None = None
        self._consuming: Consuming | None = None
        _all.add(self)

    @property
    def are_used(self) -> bool:
        return self._wire is not None or self._consuming is not None

    def wire(self) -> Wire:
        """For requests, by any thread."""
        wire = self._wire
        if wire is None or wire.pid != os.getpid():
            with self._lock:
                if self._wire is None or self._wire.pid != os.getpid():
                    self._wire = Wire(self._options, self._outage)
                wire = self._wire
        return wire

    def consuming(self) -> Consuming:
        """For consuming. Starts a thread."""
        consuming = self._consuming
        if consuming is None or consuming.connection.pid != os.getpid():
            wire = self.wire()
            with self._lock:
                if self._consuming is None or self._consuming.connection.pid != os.getpid():
                    connection = Connection(self._options, self._outage)
                    atexit.register(_close_at_exit, weakref.ref(connection))
                    self._consuming = Consuming(connection, Leases(connection), self._sweeper_of(wire))
                consuming = self._consuming
        return consuming

    def close(self) -> None:
        """Give back what is held, wait for confirmations, and disconnect."""
        with self._lock:
            wire, self._wire = self._wire, None
            consuming, self._consuming = self._consuming, None
        if consuming is not None:
            consuming.sweeper.stop()
            consuming.connection.close()
        if wire is not None:
            wire.close()

    def forget_after_fork(self) -> None:
        """In a forked child: drop what belongs to the parent. A lock may have been held by a thread that is not here."""
        self._lock = threading.Lock()
        self._outage = Outage(self._options.servers.shown)
        if self._wire is not None:
            self._wire.abandon_after_fork()
            self._wire = None
        if self._consuming is not None:
            self._consuming.connection.abandon_after_fork()
            self._consuming = None


def _close_at_exit(reference: "weakref.ref[Connection]") -> None:
    connection = reference()
    if connection is not None:
        connection.close()


def _forget_after_fork() -> None:
    for links in list(_all):
        links.forget_after_fork()


os.register_at_fork(after_in_child=_forget_after_fork)
