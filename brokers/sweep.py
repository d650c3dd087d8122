"""Runs what the server forgot: a schedule that falls due while its storage is full is not tried again until a restart.

Every process that consumes looks every few seconds, and asks little: a schedule's subject holds the ten seconds in which
it falls due, so only those that have just passed are asked for (at the start all since the oldest schedule). What still
lies there is published to its target on the condition that it still lies there, which removes it in the same step: of
several processes, and the server itself, one runs it.
"""

import logging
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from .api import STREAM_NOT_FOUND, Api, Stored, parse_time
from .cancel import purge_headers
from .errors import BrokerUnavailable, JetStreamError, RequestRefused, StorageFull
from .expectations import publish_if
from .names import Names, due_step
from .publisher import Publisher

logger = logging.getLogger(__name__)

#: Seconds between looks, on average; each waits a quarter more or less, so that processes do not look in step.
PERIOD = 6.0
#: Seconds after which a schedule counts as overdue. The server's own timer takes a quarter, more when it is busy.
GRACE = 5.0
#: Seconds that one look may take.
TIMEOUT = 30.0
#: Steps asked for in one request; it names each.
STEPS_AT_ONCE = 500
#: Seconds that the clock of whoever enqueued a message may have been ahead of the server's.
SKEW = 3600
TOO_MANY_RESULTS = "413"


class Sweeper:
    """One thread of a process that looks for what is overdue, as long as there are consumers."""

    def __init__(self, sweeps: Sequence[Callable[[], None]]) -> None:
        self._sweeps = sweeps
        self._lock = threading.Lock()
        self._consumers: weakref.WeakSet[object] = weakref.WeakSet()
        self._stopped: threading.Event | None = None
        self._complaints: set[str] = set()

    def enter(self, consumer: object) -> None:
        """Sweep from now on, until this consumer and all others have left."""
        with self._lock:
            self._consumers.add(consumer)
            if self._stopped is None:
                self._stopped = threading.Event()
                threading.Thread(target=self._run, args=(self._stopped,), name="jetstream-sweep", daemon=True).start()

    def leave(self, consumer: object) -> None:
        with self._lock:
            self._consumers.discard(consumer)
            if not self._consumers:
                self._stop()

    def stop(self) -> None:
        with self._lock:
            self._stop()

    def _stop(self) -> None:
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None

    def _run(self, stopped: threading.Event) -> None:
        pause = random.uniform(0, PERIOD / 4)  # noqa: S311  many start at once
        while not stopped.wait(pause):
            for sweep in self._sweeps:
                if not stopped.is_set():
                    self._try(sweep)
            if not self._consumers:  # collected without having left
                self.stop()
            pause = PERIOD * random.uniform(0.75, 1.25)  # noqa: S311

    def _try(self, sweep: Callable[[], None]) -> None:
        try:
            sweep()
        except StorageFull:
            logger.debug("the storage is still full: what is overdue has to wait")
        except BrokerUnavailable as error:
            logger.debug("nothing was swept: %s", error)
        except JetStreamError as error:
            self._complain(error)
        except Exception as error:  # noqa: BLE001  nothing may end the thread
            self._complain(error, with_traceback=True)

    def _complain(self, error: Exception, *, with_traceback: bool = False) -> None:
        if str(error) not in self._complaints:  # once: it is looked again soon, for ever
            self._complaints.add(str(error))
            logger.log(logging.ERROR, "cannot look for what is overdue: %s", error, exc_info=with_traceback)


class OverdueSchedules:
    """Delayed messages that should have run. Used by one thread."""

    def __init__(self, names: Names, api: Api, publisher: Publisher) -> None:
        self._names = names
        self._api = api
        self._publisher = publisher
        #: The last step that was found empty, with all before it.
        self._swept: int | None = None
        #: Earlier steps that still held something.
        self._left: set[int] = set()

    def sweep(self) -> None:
        """Run what is overdue. Raises BrokerUnavailable, StorageFull, RequestRefused."""
        deadline = time.monotonic() + TIMEOUT
        clock = server_clock(self._api, self._names, deadline)
        if clock is None:
            return
        now, _ = clock
        last = due_step(now - GRACE) - 1  # the newest step of which everything is overdue
        if self._swept is None:
            self._swept = self._before_oldest(last, deadline)
        # Newest first: at the start the older ones can be many.
        steps = [*range(last, self._swept, -1), *sorted(self._left)]
        left: set[int] = set()
        for begin in range(0, len(steps), STEPS_AT_ONCE):
            for step in self._that_hold_something(steps[begin : begin + STEPS_AT_ONCE], deadline):
                if not self._run_step(step, now, deadline):
                    left.add(step)
        self._swept, self._left = max(last, self._swept), left

    def _before_oldest(self, last: int, deadline: float) -> int:
        """The step before any that can hold a schedule: none falls due before it was stored."""
        oldest = self._api.first(self._names.work_stream, self._names.all_schedules, deadline=deadline)
        return last if oldest is None else min(last, due_step(oldest.stored_at.timestamp() - SKEW) - 1)

    def _that_hold_something(self, steps: list[int], deadline: float) -> Iterator[int]:
        while steps:
            subjects = [self._names.schedules_due(step) for step in steps]
            try:
                found = self._api.any_of(self._names.work_stream, subjects, deadline=deadline)
            except RequestRefused as error:
                if error.status != TOO_MANY_RESULTS:
                    raise
                if len(steps) > 1:
                    yield from self._that_hold_something(steps[: len(steps) // 2], deadline)
                    steps = steps[len(steps) // 2 :]
                    continue
                yield steps[0]
                return
            if found is None:
                return
            step = self._names.step_of(found.subject)
            yield step
            steps = [each for each in steps if each != step]

    def _run_step(self, step: int, now: float, deadline: float) -> bool:
        """Run what is overdue in a step. Returns whether it needs no further look."""
        ran, is_done = 0, True
        for stored in self._api.each(self._names.work_stream, self._names.schedules_due(step), deadline=deadline):
            due = due_of(stored)
            if due is None:
                continue  # not one of ours
            if due > now - 1:
                is_done = False
                continue
            ran += self._run_now(stored)
        if ran:
            logger.warning(
                "ran %d delayed messages that were overdue: the server's storage was full when they fell due", ran
            )
        return is_done

    def _run_now(self, stored: Stored) -> bool:
        """Do what the server's firing does: the same message to the target, and the schedule removed, in one step."""
        own = {name: value for name, value in stored.headers.items() if not name.startswith("Nats-")}
        headers = {**own, **purge_headers(stored.subject, stored.sequence)}
        publish_id = f"overdue:{stored.subject}:{stored.sequence}:{stored.stored_at.timestamp()}"
        target = stored.headers["Nats-Schedule-Target"]
        return publish_if(self._publisher, target, stored.body, publish_id=publish_id, headers=headers) is not None


def server_clock(api: Api, names: Names, deadline: float) -> tuple[float, datetime] | None:
    """The clock by which schedules fire, and when the stream was made. None without a stream."""
    try:
        info = api.ask(f"STREAM.INFO.{names.work_stream}", deadline=deadline)
    except RequestRefused as error:
        if error.code == STREAM_NOT_FOUND:
            return None
        raise
    return parse_time(info["ts"]).timestamp(), parse_time(info["created"])


def due_of(stored: Stored) -> float | None:
    """When a one-time schedule falls due, in seconds since 1970."""
    kind, _, moment = stored.headers.get("Nats-Schedule", "").partition(" ")
    if kind != "@at" or "Nats-Schedule-Target" not in stored.headers:
        return None
    return parse_time(moment).timestamp()
