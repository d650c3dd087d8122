"""Who may run beside whom in one process: everything together, or one message alone.

A line of those who wait keeps it fair: whoever wants to be alone waits until those before it are done, and holds back those
behind it, but only for so long.
"""

import random
import threading
import time
from collections import deque
from dataclasses import dataclass

#: Seconds that one who wants to be alone holds others back at first, and at most: Dramatiq's own limit for a task is ten
#: minutes, so that whoever waits for that long is alone even where threads are always at work.
FIRST_PATIENCE, LONGEST_PATIENCE = 10.0, 600.0
#: After waiting in vain nobody waits for this many times as long, so that a process which is busy with long tasks starts
#: others for four fifths of the time.
REST = 4.0
#: Seconds after which one that stood in line in vain tries again, here or in another process.
TRY_AGAIN = (5.0, 15.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Ticket:
    thread: int
    wants_to_be_alone: bool


class Gate:
    """Shared by the worker threads of one process. Each thread runs one message at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        # Threads and no counters: a thread that was interrupted before it could leave is known when it comes again.
        self._together: set[int] = set()
        self._alone: int | None = None
        self._line: deque[_Ticket] = deque()
        self._is_closed = False
        self._patience = FIRST_PATIENCE
        self._rests_until = 0.0

    def enter(self) -> bool:
        """Run together with others; waits for one that is alone, or wants to be. False when the gate closes meanwhile."""
        me = threading.get_ident()
        if self._alone == me:
            self.leave()  # it was interrupted before it could
        # Without the lock, since every message comes through here. This thread shows itself before it looks at the line, and
        # whoever wants to be alone stands in line until it has looked at who is running, and says so before it leaves the line.
        self._together.add(me)
        if not self._line and self._alone is None:
            return True
        with self._changed:
            self._forget(me)
            return self._stand_in_line(_Ticket(me, wants_to_be_alone=False), None)

    def enter_alone(self) -> float:
        """Run alone. Returns 0.0 when this thread is, otherwise the seconds after which to try again."""
        me = threading.get_ident()
        with self._changed:
            self._forget(me)
            rest = self._rests_until - time.monotonic()
            if rest > 0 and self._together:
                return rest + _some_seconds()
            if self._stand_in_line(_Ticket(me, wants_to_be_alone=True), self._patience):
                self._patience = FIRST_PATIENCE
                return 0.0
            if self._together and not self._is_closed:  # long tasks, and not others who stood in line
                self._rests_until = time.monotonic() + REST * self._patience
                self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            return _some_seconds()

    def leave(self) -> None:
        """This thread is done. Does no harm when it was not in."""
        me = threading.get_ident()
        self._together.discard(me)
        if self._line or self._alone == me:
            with self._changed:
                self._forget(me)

    def admit_others(self, thread: int) -> None:
        """Let others run beside a thread that was alone until now."""
        with self._changed:
            if self._alone == thread:
                self._alone = None
                self._together.add(thread)
                self._changed.notify_all()

    def close(self) -> None:
        """Send away all who wait: the worker stops."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def open(self) -> None:
        with self._changed:
            self._is_closed = False

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def _forget(self, thread: int) -> None:
        self._together.discard(thread)
        if self._alone == thread:
            self._alone = None
        if self._line:
            self._changed.notify_all()

    def _stand_in_line(self, ticket: _Ticket, patience: float | None) -> bool:
        deadline = None if patience is None else time.monotonic() + patience
        self._line.append(ticket)
        try:
            while not self._is_closed:
                if self._line[0] is ticket and self._is_free_for(ticket):
                    self._let_in(ticket)
                    return True
                wait = None if deadline is None else deadline - time.monotonic()
                if wait is not None and wait <= 0:
                    return False
                self._changed.wait(wait)
            return False
        finally:
            self._line.remove(ticket)
            self._changed.notify_all()

    def _is_free_for(self, ticket: _Ticket) -> bool:
        return self._alone is None and not (ticket.wants_to_be_alone and self._together)

    def _let_in(self, ticket: _Ticket) -> None:
        if ticket.wants_to_be_alone:
            self._alone = ticket.thread
        else:
            self._together.add(ticket.thread)


def _some_seconds() -> float:
    return random.uniform(*TRY_AGAIN)  # noqa: S311
