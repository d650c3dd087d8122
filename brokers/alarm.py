"""Waking the one thread that waits for something: a bare lock does it in one call, a Condition takes dozens of lines of Python."""

from _thread import allocate_lock


class Alarm:
    """One thread waits, any others ring. A ring before the wait ends it at once; what was meant has to be looked up then."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._lock.acquire()

    def ring(self) -> None:
        if self._lock.locked():
            try:
                self._lock.release()
            except RuntimeError:  # another rang it just now
                return

    def wait(self, seconds: float) -> None:
        """Return when it rings, or after so many seconds."""
        self._lock.acquire(True, max(0.0, seconds))
