"""Messages that kill their worker (SIGKILL, out of memory): found by running suspects alone, and then dead-lettered.

JetStream counts how often a message was lent out, but that rises for all that a killed worker held, and with deploys. So
the count only makes a message a suspect. A suspect runs alone in its process, and before it does, a mark is stored; when
the run ends, however it ends, the mark is removed. Only a death of the worker meanwhile leaves it, and nobody else was
running then. A message with too many marks is a dead letter, without being run again.

What is no such death: the end of a run by an exception; being given back; and a worker that was told to stop before it was
killed (a deploy that kills after its grace period), since the mark is removed as soon as the worker begins to stop. And the
deaths before a run that gets on, where an actor says so: a machine that dies every minute is no fault of a task of ten.
"""

import contextlib
import json
import logging
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from . import history, identity
from .errors import BrokerUnavailable, JetStreamError, KeyConflict, WorkerKilled
from .gate import Gate
from .key_value import KeyValue
from .pauses import GivenBack

if TYPE_CHECKING:
    from .consumer import JetStreamMessage

logger = logging.getLogger(__name__)

#: Deliveries from which on a message is a suspect: one death of a worker, or one deploy, is not worth running anything
#: alone for.
SUSPECT_FROM = 3
#: Deaths of workers in which it ran alone after which a message is not run again: machines are lost, but not three times
#: in a row under the same message.
DEATHS = 3
#: Seconds that a suspect stays alone at first; twice as many each time that it outlives them and kills its worker later;
#: and at most. So a long innocent task does not hold up its process, and one that kills late is still found.
FIRST_LONELINESS, LONGEST_LONELINESS = 60.0, 3600.0
#: Seconds that a mark is kept, which outlasts every pause between two deliveries of a worker that lives.
MARK_TTL = 7 * 86400.0
#: Seconds after which a suspect comes again whose mark could not be stored, or that another process runs.
COME_AGAIN = 5.0
#: Tries, a second apart at first, to remove a mark when NATS is away.
REMOVALS = 12


@dataclass(frozen=True, slots=True)
class LoneRun:
    """One run of a suspect that began; stored before it, so that it is known if it never ends."""

    at: str
    worker: str
    delivery: int


@dataclass(frozen=True, slots=True)
class Mark:
    """What is known of a suspect's earlier lone runs."""

    #: Those that never ended.
    runs: tuple[LoneRun, ...] = ()
    #: How often it outlived the time that it was given alone, and then was not heard of again.
    outlived: int = 0
    #: What a write has to name in order to win; None where nothing is stored.
    revision: int | None = None

    @property
    def loneliness(self) -> float:
        return min(FIRST_LONELINESS * 2.0 ** min(self.outlived, 16), LONGEST_LONELINESS)


class Marks:
    """The marks of suspects in a key-value bucket."""

    def __init__(self, bucket: KeyValue) -> None:
        self._bucket = bucket

    def read(self, key: str) -> Mark:
        entry = self._bucket.get(key)
        if entry is None:
            return Mark()
        stored = json.loads(entry.value)
        return Mark(tuple(LoneRun(**run) for run in stored["runs"]), stored["outlived"], entry.revision)

    def write(self, key: str, mark: Mark) -> int:
        """Returns the new revision once it is stored. Raises KeyConflict when another process was faster."""
        value = json.dumps({"runs": [asdict(run) for run in mark.runs], "outlived": mark.outlived}).encode()
        if mark.revision is None:
            return self._bucket.create(key, value)
        return self._bucket.update(key, value, mark.revision)

    def remove(self, key: str) -> None:
        """Remove a mark, later if that cannot be now: a run that ended must not count as a death."""
        try:
            self._bucket.delete(key)
        except (BrokerUnavailable, JetStreamError):
            threading.Thread(target=self._remove_later, args=(key,), name="poison-mark", daemon=True).start()

    def _remove_later(self, key: str) -> None:
        for attempt in range(REMOVALS):
            time.sleep(min(2.0**attempt, 60.0))
            with contextlib.suppress(BrokerUnavailable, JetStreamError):
                self._bucket.delete(key)
                return
        logger.warning("the mark of message %s could not be removed: it counts as a death of its worker", key)


@dataclass(slots=True, eq=False)
class _Running:
    """The suspect that runs in this process."""

    key: str
    thread: int
    processing: identity.Processing
    #: What is stored, without this run.
    mark: Mark
    #: This run, as long as it is charged with the death of its worker.
    charged: tuple[LoneRun, ...]
    timer: threading.Timer | None = None
    is_marked: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)


class Suspects:
    """Decides for each message of this process whether it may run, together with others or alone."""

    def __init__(self, bucket: KeyValue) -> None:
        self._marks = Marks(bucket)
        self._gate = Gate()
        self._run: _Running | None = None

    def begin(self, message: "JetStreamMessage") -> None:
        """Return when the message may run now. ``end`` must follow in any case.

        Raises GivenBack when it has to go back, with ``give_back_after`` set, and WorkerKilled when it must not run again.
        """
        if message.delivery.count < SUSPECT_FROM:
            if not self._gate.enter():
                raise _given_back(message, 0.0, "the worker stops")
            return
        try:
            self._begin_alone(message)
        except (BrokerUnavailable, KeyConflict) as error:
            raise _given_back(message, COME_AGAIN, str(error)) from error
        except WorkerKilled:
            raise
        except JetStreamError as error:
            logger.error("suspect message %s cannot be run: %s", message, error)  # noqa: TRY400
            raise _given_back(message, 10 * COME_AGAIN, str(error)) from error

    def end(self) -> None:
        """This thread's message is done with, in whatever way. Does no harm when there is none."""
        run = self._run
        if run is not None and run.thread == threading.get_ident():
            self._run = None
            self._remove_mark(run)
        self._gate.leave()

    def note_progress(self) -> None:
        """What this thread or task processes has got on since it began: earlier deaths of its workers do not count any more."""
        run = self._run
        if run is None or run.processing is not identity.current():
            return
        with run.lock, contextlib.suppress(BrokerUnavailable, JetStreamError):  # the next progress is as good
            if run.is_marked and run.mark.runs:
                self._store(run, replace(run.mark, runs=()))

    def worker_stops(self) -> None:
        """What is killed from now on is killed by a person or platform that lost its patience, not by the message."""
        self._gate.close()
        run = self._run
        if run is not None:
            self._remove_mark(run)

    def worker_starts(self) -> None:
        self._gate.open()

    @property
    def is_stopping(self) -> bool:
        """The worker was told to stop."""
        return self._gate.is_closed

    def _begin_alone(self, message: "JetStreamMessage") -> None:
        key = f"{message.queue_name}:{message.delivery.sequence}:{message.delivery.stored_ns}"
        mark = self._marks.read(key)
        if len(mark.runs) >= DEATHS:
            raise _killed(message, mark.runs)
        wait = self._gate.enter_alone()
        if wait > 0:
            raise _given_back(message, 0.0 if self._gate.is_closed else wait, "others are running")
        this_one = LoneRun(
            at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            worker=f"{socket.gethostname()}:{os.getpid()}",
            delivery=message.delivery.count,
        )
        run = _Running(key, threading.get_ident(), message.processing, mark, charged=(this_one,))
        self._store(run, mark)
        self._run = run
        if self._gate.is_closed:  # the worker began to stop meanwhile, and did not know of the mark
            self._run = None
            self._remove_mark(run)
            raise _given_back(message, 0.0, "the worker stops")
        self._admit_others_after(mark.loneliness, run)

    def _store(self, run: _Running, mark: Mark) -> None:
        revision = self._marks.write(run.key, replace(mark, runs=mark.runs + run.charged))
        run.mark = replace(mark, revision=revision)

    def _admit_others_after(self, seconds: float, run: _Running) -> None:
        run.timer = threading.Timer(seconds, self._admit_others, [run])
        run.timer.daemon = True
        run.timer.start()

    def _admit_others(self, run: _Running) -> None:
        """It has run for long without killing anybody: let others run, too, and charge it with nothing from now on.

        If it kills its worker later it gets a longer time alone, until that is long enough.
        """
        with run.lock:
            if not run.is_marked:
                return
            run.charged = ()
            try:
                self._store(run, replace(run.mark, outlived=run.mark.outlived + 1))
            except (BrokerUnavailable, JetStreamError):
                self._admit_others_after(COME_AGAIN, run)
                return
        self._gate.admit_others(run.thread)

    def _remove_mark(self, run: _Running) -> None:
        with run.lock:
            if not run.is_marked:
                return
            run.is_marked = False
        if run.timer is not None:
            run.timer.cancel()
        self._marks.remove(run.key)


def _given_back(message: "JetStreamMessage", seconds: float, reason: str) -> GivenBack:
    message.give_back_after = seconds
    return GivenBack(reason)


def _killed(message: "JetStreamMessage", runs: tuple[LoneRun, ...]) -> WorkerKilled:
    for run in runs:
        began = datetime.fromisoformat(run.at)
        sequence, count = message.delivery.sequence, run.delivery
        history.note_death(message.message, sequence=sequence, count=count, delivered=began, worker=run.worker)
    deaths = "; ".join(f"{run.at} in {run.worker}, delivery {run.delivery}" for run in runs)
    error = WorkerKilled(
        f"its worker was killed each of the last {len(runs)} times while this message ran in it alone "
        f"(delivered {message.delivery.count} times; {deaths})"
    )
    message.fail()
    logger.error("message %s becomes a dead letter: %s", message, error)
    return error
