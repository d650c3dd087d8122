"""The bulk operations of one shop: their states, who waits for what, and where their files are."""

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scripts.store import clock
from scripts.store.identity import gid

#: At once per app and shop.
MOST_RUNNING = 5
ACTIVE = {"CREATED", "RUNNING", "CANCELING"}
#: A link is good for so long after the operation's end.
LINK_LIFE = 7 * clock.DAY
#: Nothing that a fault holds waits longer, should its test forget to release it.
LONGEST_HOLD_SECONDS = 600.0


class InProgress(Exception):
    """Five operations are running; ``operation`` is one of them."""

    def __init__(self, operation: "BulkOperation") -> None:
        super().__init__(f"A bulk query operation for this app and shop is already in progress: {operation.gid}")


class Stopped(Exception):
    """The store is closing; the operation begins anew at the next start."""


@dataclass(eq=False)
class BulkOperation:
    """Instants are microseconds; ``file_size`` bytes, None until it ended."""

    id: int
    query: str
    groups_objects: bool
    created_at: int
    status: str = "CREATED"
    error_code: str | None = None
    completed_at: int | None = None
    object_count: int = 0
    root_object_count: int = 0
    file_size: int | None = None
    link_expires_at: int = 0

    @property
    def gid(self) -> str:
        return gid("BulkOperation", self.id)

    @property
    def is_active(self) -> bool:
        return self.status in ACTIVE


@dataclass
class Pace:
    """How operations take their time: seconds until one starts, and lines a second (0: as they come)."""

    created_seconds: float = 0.2
    lines_per_second: float = 0.0
    #: Ungrouped output has the children of so many root objects behind them.
    ungrouped_roots: int = 200


class Gate:
    """What a fault holds until somebody lets it go on: at once, or by so many lines."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_closed = False
        self._held: dict[object, int | None] = {}  # lines that may pass, None for all

    def pass_by(self, what: object, is_over: Callable[[], bool] = lambda: False) -> int | None:
        """Wait until ``what`` is let go on; returns after how many lines it is to wait again, None for never.

        Raises Stopped when the store closes. Ends as well once ``is_over``, or after ten minutes.
        """
        deadline = time.monotonic() + LONGEST_HOLD_SECONDS
        with self._changed:
            self._held[what] = 0
            self._changed.notify_all()
            try:
                while self._held[what] == 0 and not is_over() and time.monotonic() < deadline:
                    if self._is_closed:
                        raise Stopped
                    self._changed.wait(1.0)
                return self._held[what] or None
            finally:
                del self._held[what]

    def sleep(self, seconds: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Wait so long, or until ``is_over``. Raises Stopped when the store closes."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not is_over():
                if self._is_closed:
                    raise Stopped
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._changed.wait(left)

    def release(self, lines: int | None = None) -> int:
        """Let all that is held go on, each by so many lines if given. Returns how many there were."""
        with self._changed:
            for what in self._held:
                self._held[what] = lines
            self._changed.notify_all()
            return len(self._held)

    def holds(self, what: object) -> bool:
        with self._changed:
            return self._held.get(what) == 0

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()


class BulkOperations:
    """``keep`` writes an operation's state to the shop's journal."""

    def __init__(self, directory: Path, first_id: int, keep: Callable[[int, dict[str, Any] | None], None]) -> None:
        self._directory = directory
        self._first_id = first_id
        self._keep = keep
        self._lock = threading.RLock()
        self._by_id: dict[int, BulkOperation] = {}
        self._threads: list[threading.Thread] = []
        self.pace = Pace()
        self.gate = Gate()

    def restore(self, stored: dict[str, Any]) -> None:
        operation = BulkOperation(**stored)
        self._by_id[operation.id] = operation

    def all(self) -> list[BulkOperation]:
        """Oldest first."""
        with self._lock:
            return sorted(self._by_id.values(), key=lambda item: item.id)

    def get(self, number: int) -> BulkOperation | None:
        return self._by_id.get(number)

    def path(self, operation: BulkOperation) -> Path:
        return self._directory / f"{operation.id}.jsonl"

    def create(self, query: str, *, groups_objects: bool) -> BulkOperation:
        """A new operation. Raises InProgress while five are running."""
        with self._lock:
            self._clear()
            running = [item for item in self.all() if item.is_active]
            if len(running) >= MOST_RUNNING:
                raise InProgress(running[0])
            number = max([self._first_id, *self._by_id]) + 1
            operation = BulkOperation(number, query, groups_objects, clock.now())
            self._by_id[number] = operation
            self._keep(number, asdict(operation))
        self._directory.mkdir(parents=True, exist_ok=True)
        return operation

    def _clear(self) -> None:
        """Files that no link opens any more go, so that a store that runs for weeks does not fill the disk."""
        for item in self._by_id.values():
            if not item.is_active and item.link_expires_at <= clock.now():
                self.path(item).unlink(missing_ok=True)

    def work(self, task: Callable[[], None], name: str) -> None:
        """Run an operation on a thread of its own."""
        thread = threading.Thread(target=task, daemon=True, name=name)
        with self._lock:
            self._threads = [item for item in self._threads if item.is_alive()] + [thread]
        thread.start()

    def begin(self, operation: BulkOperation) -> bool:
        """CREATED becomes RUNNING; False when it was canceled before."""
        with self._lock:
            if operation.status == "CREATED":
                operation.status = "RUNNING"
            return operation.status == "RUNNING"

    def cancel(self, operation: BulkOperation) -> bool:
        """Ask a running operation to end. False when it has ended already."""
        with self._lock:
            if not operation.is_active:
                return False
            operation.status = "CANCELING"
        self.gate.wake()
        return True

    def end(
        self,
        operation: BulkOperation,
        status: str,
        *,
        file_size: int,
        error_code: str | None = None,
        link_life: int = LINK_LIFE,
    ) -> None:
        """The operation's last state, kept over restarts."""
        with self._lock:
            operation.completed_at = clock.now()
            operation.link_expires_at = operation.completed_at + link_life
            operation.error_code = error_code
            operation.file_size = file_size
            operation.status = status
            self._keep(operation.id, asdict(operation))

    def expire_links(self, operation: BulkOperation | None = None) -> int:
        """Links end now: of one operation or of all. Returns how many operations that touched."""
        with self._lock:
            ended = [item for item in ([operation] if operation else self.all()) if not item.is_active]
            for item in ended:
                item.link_expires_at = clock.now()
                self._keep(item.id, asdict(item))
            return len(ended)

    def forget(self) -> int:
        """Ended operations and their files are gone, as after months. Returns how many."""
        with self._lock:
            ended = [item for item in self.all() if not item.is_active]
            for item in ended:
                self.path(item).unlink(missing_ok=True)
                del self._by_id[item.id]
                self._keep(item.id, None)
            return len(ended)

    def close(self) -> None:
        """Stop the threads; what they were at begins anew at the next start."""
        self.gate.close()
        for thread in list(self._threads):
            thread.join(timeout=10)
