"""The leaky bucket: points of query cost that a shop grants an app, restored every second."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Points restored per second; the bucket holds twenty times that.
PLANS = {"Standard": 100, "Advanced": 200, "Plus": 1000, "Enterprise": 2000}
SECONDS_HELD = 20


@dataclass(frozen=True)
class Grant:
    """What became of a request for points: granted or not, and what is left."""

    is_granted: bool
    available: float


class Bucket:
    """Admission looks at the requested cost; the bucket is charged the actual cost."""

    def __init__(self, restore_rate: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.restore_rate = restore_rate
        self.maximum = restore_rate * SECONDS_HELD
        self._available = self.maximum
        self._at = clock()
        #: Since the beginning: points charged, queries granted and throttled.
        self.charged = self.granted = self.throttled = 0

    def set_rate(self, restore_rate: float, maximum: float | None = None) -> None:
        """Another plan: the bucket starts full."""
        with self._lock:
            self.restore_rate = restore_rate
            self.maximum = maximum or restore_rate * SECONDS_HELD
            self._available = self.maximum
            self._at = self._clock()

    def take(self, requested: int) -> Grant:
        """Reserve the requested cost; ``settle`` gives back what was not used."""
        with self._lock:
            self._restore()
            if requested > self._available:
                self.throttled += 1
                return Grant(False, self._available)
            self.granted += 1
            self._available -= requested
            return Grant(True, self._available)

    def settle(self, requested: int, actual: int) -> float:
        """Charge the actual cost instead of the requested one. Returns what is left."""
        with self._lock:
            self._restore()
            self.charged += actual
            self._available = min(self.maximum, self._available + requested - actual)
            return self._available

    def _restore(self) -> None:
        now = self._clock()
        self._available = min(self.maximum, self._available + (now - self._at) * self.restore_rate)
        self._at = now

    def spending(self) -> dict[str, int]:
        """What was asked of it since the beginning, and what is left."""
        with self._lock:
            self._restore()
            asked = {"charged": self.charged, "granted": self.granted, "throttled": self.throttled}
            return {**asked, "available": int(self._available)}

    def status(self, available: float) -> dict[str, Any]:
        """``throttleStatus`` of an answer."""
        return {
            "maximumAvailable": _whole(self.maximum),
            "currentlyAvailable": int(available),
            "restoreRate": _whole(self.restore_rate),
        }

    def throttled_status(self, available: float) -> dict[str, Any]:
        """``throttleStatus`` of a THROTTLED answer, whose numbers are floats."""
        return {
            "maximumAvailable": float(self.maximum),
            "currentlyAvailable": int(available),
            "restoreRate": float(self.restore_rate),
        }


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number
