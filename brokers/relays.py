"""A thread that looks for work when it is told to, and by itself: with pauses that grow while something is away."""

import logging
import random
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Seconds between tries while something is away, at first and at most; each is twice the one before.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
#: Seconds without work after which a thread without an interval ends.
IDLE = 10.0
#: Tries in vain after which a thread without an interval leaves the work to others.
MAX_TRIES = 12
#: Seconds until a thread that found nothing when it was told to looks once more: what announces a commit may precede it.
SECOND_LOOK = 0.05


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row, with jitter."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 16)) * random.uniform(0.5, 1.0)  # noqa: S311


class RelayThread(threading.Thread):
    """Calls ``look``, which returns how much it found, whenever it is woken, and every ``interval`` seconds if there is one.

    ``passing`` are the errors that pass by themselves: they cost one line of log for an outage.
    """

    def __init__(
        self, look: Callable[[], int], *, passing: tuple[type[Exception], ...], interval: float | None = None
    ) -> None:
        super().__init__(name="jetstream-outbox", daemon=True)
        self._look = look
        self._passing = passing
        self._interval = interval
        self._changed = threading.Condition()
        self._is_wanted = True
        self._is_over = False
        self._failures = 0

    def wake(self) -> bool:
        """Have it look now. False when the thread has ended, or is about to."""
        with self._changed:
            self._is_wanted = True
            self._changed.notify_all()
            return not self._is_over

    def stop(self, timeout: float) -> None:
        """End the thread, and wait for what it is at."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()
        self.join(timeout)

    def run(self) -> None:
        while self._await_work():
            try:
                if self._look() == 0 and self._interval is None:
                    time.sleep(SECOND_LOOK)
                    self._look()
            except self._passing as error:
                self._failed(error)
            except Exception:
                logger.exception("the outbox's relay failed")
                self._failures += 1
            else:
                if self._failures:
                    logger.warning("the outbox's relay goes on")
                self._failures = 0

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == 1:
            summary = (str(error).splitlines() or [""])[0][:200]
            logger.warning("the outbox's relay waits: %s: %s", type(error).__name__, summary)

    def _await_work(self) -> bool:
        """Wait until it is time to look. False when the thread is to end."""
        with self._changed:
            if self._failures:  # however many commits there are meanwhile
                self._changed.wait_for(lambda: self._is_over, pause_after(self._failures))
                self._is_over = self._is_over or (self._interval is None and self._failures >= MAX_TRIES)
            else:
                wait = IDLE if self._interval is None else self._interval * random.uniform(0.5, 1.0)  # noqa: S311
                has_come = self._changed.wait_for(lambda: self._is_wanted or self._is_over, wait)
                self._is_over = self._is_over or (self._interval is None and not has_come)
            self._is_wanted = False
            return not self._is_over
