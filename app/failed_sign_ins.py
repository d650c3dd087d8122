"""Failed sign-ins by address, so that a password cannot be guessed at leisure."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

#: Failures of one address within WINDOW seconds, after which it has to wait. A person needs three.
MOST_FAILURES = 60
WINDOW = 60.0
#: Addresses remembered by one process; with more, the one that failed longest ago is forgotten.
MOST_ADDRESSES = 10_000


class FailedSignIns:
    """Counts failures per address in windows that begin with the first. Kept in this process alone."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: Address to the end of its window and the failures in it; the oldest window first.
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def seconds_to_wait(self, address: str) -> float:
        """0.0 when the address may try."""
        with self._lock:
            end, failures = self._windows.get(address, (0.0, 0))
        return max(0.0, end - self._clock()) if failures >= MOST_FAILURES else 0.0

    def record(self, address: str) -> None:
        now = self._clock()
        with self._lock:
            end, failures = self._windows.get(address, (0.0, 0))
            if end <= now:
                self._windows.pop(address, None)
                end, failures = now + WINDOW, 0
            self._windows[address] = (end, failures + 1)
            while len(self._windows) > MOST_ADDRESSES:
                self._windows.popitem(last=False)

    def __len__(self) -> int:
        return len(self._windows)
