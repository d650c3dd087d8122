"""Failures of ours: when the infrastructure is away a queue pauses, and no message pays for it with a retry."""

import functools
import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from dramatiq.errors import Retry

from .errors import BrokerUnavailable

logger = logging.getLogger(__name__)

#: Seconds of the first pause, and of the longest; each is twice the one before.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: Seconds until a message comes again that met a queue which an operator paused.
HELD_PAUSE = 1.0


class GivenBack(Retry):
    """Tells Dramatiq's worker that a message goes back to its queue. A ``Retry``, since the worker logs no traceback of those."""


class QueuePause:
    """Whether one queue in this process pauses, and for how long. Shared by all threads."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._until = 0.0
        self._failures = 0
        self._outage_began = 0.0
        #: An operator paused the queue, for all workers.
        self.is_held = False

    def remaining(self) -> float:
        """Seconds until the queue goes on; 0.0 when it does."""
        return HELD_PAUSE if self.is_held else max(0.0, self._until - time.monotonic())

    def hold(self, is_held: bool) -> bool:
        """Pause until told otherwise, or go on. Returns whether that is news."""
        if self.is_held == is_held:
            return False
        self.is_held = is_held
        logger.warning(
            "queue %s %s", self._queue, "is paused by an operator" if is_held else "goes on, an operator says"
        )
        return True

    def failed(self, error: BaseException) -> float:
        """Note a failure of ours. Returns the seconds until the queue goes on.

        Failures during a pause are of work that had begun before it, and do not lengthen it.
        """
        with self._lock:
            now = time.monotonic()
            if self._until > now:
                return self._until - now
            if self._failures == 0:
                self._outage_began = now
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0**self._failures) * random.uniform(0.75, 1.0)  # noqa: S311
            self._failures = min(self._failures + 1, 16)
            self._until = now + pause
        summary = (str(error).splitlines() or [""])[0][:200]
        logger.warning("queue %s pauses for %.1f s: %s: %s", self._queue, pause, type(error).__name__, summary)
        return pause

    def succeeded(self) -> None:
        if self._failures == 0:
            return
        with self._lock:
            self._failures = 0
            self._until = 0.0
        logger.warning("queue %s goes on after %.1f s", self._queue, time.monotonic() - self._outage_began)


def guarded(
    function: Callable[..., Any],
    errors: tuple[type[BaseException], ...],
    pause_of_caller: Callable[[], QueuePause | None],
) -> Callable[..., Any]:
    """Wrap an actor's function so that a failure of ours gives the message back.

    Called outside of a worker it is the function itself. BrokerUnavailable always is a failure of ours.
    """
    ours: tuple[type[BaseException], ...] = (BrokerUnavailable, *errors)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        pause = pause_of_caller()
        if pause is None:
            return function(*args, **kwargs)
        if pause.remaining() > 0:
            raise GivenBack("the queue pauses")
        try:
            result = function(*args, **kwargs)
        except ours as error:
            pause.failed(error)
            raise GivenBack(f"{type(error).__name__}: {error}") from error
        pause.succeeded()
        return result

    return run
