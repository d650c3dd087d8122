"""Clients that send slowly, or stop: a request has to arrive in time, or its connection is read no further.

gunicorn's threads read from blocking sockets, heads and bodies alike, and there are few of them: as many silent clients
would stop the process. A socket's own timeout does not help, since it begins anew with every byte.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

#: Seconds in which a request's head has to arrive, and a body that its route does not read: Shopify gives up after as many.
PATIENCE = 5.0
#: Seconds between two looks at the clock.
INTERVAL = 0.5


class Arrival:
    """A request that is being read from ``connection``, gunicorn's."""

    def __init__(self, connection: Any) -> None:
        self.due = time.monotonic() + PATIENCE
        self.is_cut = False
        self._connection = connection

    def cut(self) -> None:
        """Whoever reads from the connection sees its end; an answer can still be written."""
        self.is_cut = True
        with contextlib.suppress(OSError):  # the client has gone, and its reader knows
            self._connection.sock.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        """Let the answer say that the connection ends with it. gunicorn drops such a header of the application's."""
        self._connection.parser.mesg.force_close()
        self.cut()


_lock = threading.Lock()
_arrivals: set[Arrival] = set()
_threads = threading.local()


def current() -> Arrival | None:
    """The arrival of this thread's request; None where no gunicorn serves, as in tests."""
    return getattr(_threads, "arrival", None)


def watch(handle: Callable[[Any], object]) -> Callable[[Any], object]:
    """gunicorn's ``handle(connection)``, with an end to its patience."""
    threading.Thread(target=_cut_overdue, name="connections", daemon=True).start()

    def handle_in_time(connection: Any) -> object:
        arrival = _threads.arrival = Arrival(connection)
        with _lock:
            _arrivals.add(arrival)
        try:
            outcome = handle(connection)
        finally:
            with _lock:
                _arrivals.discard(arrival)
            _threads.arrival = None
        # Where the next request would begin is unknown after a cut: it is not kept alive.
        return False if arrival.is_cut else outcome

    return handle_in_time


def _cut_overdue() -> None:
    while True:
        time.sleep(INTERVAL)
        with _lock:  # so that no connection is cut whose next request has begun
            overdue = {each for each in _arrivals if each.due < time.monotonic()}
            for each in overdue:
                each.cut()
            _arrivals.difference_update(overdue)
