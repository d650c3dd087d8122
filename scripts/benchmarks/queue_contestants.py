"""Who takes part in the queue benchmark, what each promises of a message, and how its sender and its worker are run."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import psutil

from scripts.bootstrap import ROOT
from scripts.processes import Child

INSIDE = Path(__file__).with_name("queue_inside")
THREADS = 8
#: Seconds until a worker has to have done what it was started for, and until a sender has to have answered.
_PATIENCE = 120.0


class Survives(IntEnum):
    """What a message survives, weakest first. Only a peer that promises as much or more is a peer."""

    NOTHING = 0  # the sender is not told whether it arrived
    SERVER = 1  # the server's own death (SIGKILL): written, not synced
    POWER = 2  # the machine's: synced before the sender is told


class Failed(Exception):
    """A contestant did not do what it was told to. The message says what it said last."""


@dataclass(frozen=True, eq=False)
class Contestant:
    name: str
    #: What its messages survive once the sender was told so, and once a worker has them; in words of its own.
    sent: Survives
    kept: Survives
    durability: str
    python: Path
    #: Of ``queue_inside``.
    module: str
    #: The worker's command line after ``python -m``.
    worker: Sequence[str]
    environment: Mapping[str, str]
    columns: frozenset[str]
    is_ours: bool = False
    #: How many messages a drain has, and how many delayed ones its idle worker is measured with.
    drained: int = 5_000
    delayed: int = 20_000

    def takes_part(self, column: str) -> bool:
        return column in self.columns


def dramatiq_worker() -> list[str]:
    return ["dramatiq", "on_dramatiq", "--processes", "1", "--threads", str(THREADS)]


def taskiq_worker() -> list[str]:
    return [
        "taskiq",
        "worker",
        "on_taskiq:broker",
        "--workers",
        "1",
        "--log-level",
        "WARNING",
        "--max-threadpool-threads",
        str(THREADS),
    ]


def celery_worker() -> list[str]:
    only_work = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]
    return ["celery", "-A", "on_celery", "worker", "--pool", "threads", "--concurrency", str(THREADS), *only_work]


def environment_of(contestant: Contestant) -> dict[str, str]:
    # The repository itself comes last: ``brokers`` is what a peer's environment has no other copy of.
    return {**os.environ, "PYTHONPATH": f"{INSIDE}{os.pathsep}{ROOT}", **contestant.environment}


class Sender:
    """A contestant's sending process."""

    def __init__(self, contestant: Contestant, log_path: Path) -> None:
        self._name, self._log_path = contestant.name, log_path
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(contestant.python), str(INSIDE / "driver.py"), contestant.module],
                env=environment_of(contestant),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=INSIDE,
            )

    def tell(self, do: str, **order: object) -> float | None:
        """Have it do something; returns what it measured, None when it cannot do that at all. Raises Failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"{self._name}: {last_line(self._log_path)}")
        value = json.loads(line).get("value")
        return None if value is None else float(value)

    def stop(self) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()  # the end of its orders ends it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass
class Worker:
    """A contestant's worker process of eight threads, and what its tasks noted."""

    contestant: Contestant
    directory: Path
    count: int = 0
    _child: Child = field(init=False)
    _notes: Path = field(init=False)

    def __post_init__(self) -> None:
        self._notes = self.directory / f"{self.contestant.name}-{time.monotonic_ns()}.notes"
        environment = environment_of(self.contestant) | {
            "BENCH_NOTES": str(self._notes),
            "BENCH_COUNT": str(self.count),
        }
        command = [str(self.contestant.python), "-m", *self.contestant.worker]
        log_path = self.directory / f"{self.contestant.name}.log"
        self._child = Child(self.contestant.name, command, env=environment, cwd=INSIDE, log_path=log_path)
        self._child.start()

    def notes(self, count: int) -> list[float]:
        """Wait for so many. Raises Failed."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            noted = self._notes.read_text().splitlines() if self._notes.exists() else []
            if len(noted) >= count:
                return [float(each) for each in noted]
            if not self._child.is_running or time.monotonic() > deadline:
                raise Failed(f"{self.contestant.name}: {self._child.last_words(1)}")
            time.sleep(0.02)

    def memory(self) -> int:
        """Bytes that it and what it forked have to themselves."""
        parent = psutil.Process(self._child.pid)
        total = 0
        for process in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().uss
        return total

    def stop(self) -> None:
        self._child.stop(15.0)


def last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def ceiling(count: int, directory: Path) -> float:
    """No-ops a second of Dramatiq's own worker on its broker without a server."""
    notes = directory / f"ceiling-{time.monotonic_ns()}.notes"
    environment = {"BENCH_NOTES": str(notes), "BENCH_COUNT": str(count), "PYTHONPATH": str(INSIDE)}
    command = [sys.executable, str(INSIDE / "ceiling.py"), str(count)]
    result = subprocess.run(command, env=os.environ | environment, stdout=subprocess.PIPE, check=True, cwd=INSIDE)
    return float(result.stdout)


def as_json(contestant: Contestant) -> dict[str, Any]:
    return {"contestant": contestant.name, "durability": contestant.durability}
