"""Our processes: started in order, watched, started again when they die, stopped in reverse order."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import psutil

from scripts.embedded import ServiceError, end_processes, open_log, processes_where, spawn

#: Seconds in which everything has to be down after a signal: we promise 25.
GRACE = 24.0
#: Seconds of them kept for each of those whose turn has yet to come.
_RESERVE = 1.0
#: Seconds before a process that died is started again, doubled each time up to the second value.
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 30.0
#: A process that has lived for so many seconds begins at the first backoff again.
_SETTLED = 20.0
#: Set in everything that we start, to know it again after we were killed.
MARK = "SHOPSTREAM_RUN_DIRECTORY"


class StartFailed(Exception):
    """A process did not come up. The message is for the person at the terminal."""


class Runnable(Protocol):
    """A process of ours, or an embedded service."""

    @property
    def name(self) -> str: ...
    @property
    def pid(self) -> int: ...
    @property
    def is_running(self) -> bool: ...
    def start(self) -> None: ...
    def stop(self, timeout: float) -> None: ...


class Child:
    """A program that we start, in a process group of its own, with its output in ``log_path``."""

    def __init__(self, name: str, command: Sequence[str], *, env: Mapping[str, str], cwd: Path, log_path: Path) -> None:
        self.name = name
        self.log_path = log_path
        self._command, self._env, self._cwd = command, env, cwd
        self._process: subprocess.Popen[bytes] | None = None
        self._log_began = 0

    @property
    def pid(self) -> int:
        if self._process is None:
            raise StartFailed(f"{self.name} has not been started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        if self.is_running:
            return
        self.kill()  # of the whole group: what a killed process had forked works on without it
        with open_log(self.log_path) as log:
            self._log_began = self.log_path.stat().st_size
            self._process = spawn(self._command, log=log, death_signal=signal.SIGTERM, env=self._env, cwd=self._cwd)

    def stop(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL for the whole group after ``timeout`` seconds."""
        if self._process is not None and self.is_running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(
                ProcessLookupError, PermissionError
            ):  # macOS: not permitted when only zombies are left
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def last_words(self, lines: int = 5) -> str:
        """The last lines that it logged since its latest start: earlier ones tell of earlier troubles."""
        said = self.log_path.read_bytes()[self._log_began :].decode(errors="replace")
        return "\n".join(said.strip().splitlines()[-lines:])


class Supervisor:
    """Keeps what it was given running until it is told to stop.

    Everything is started from the thread that calls, which has to live until the end: on Linux the processes end with it.
    """

    def __init__(self, *, say: Callable[[str], None]) -> None:
        self._say = say
        self._members: list[Runnable] = []
        self._backoffs: dict[str, _Backoff] = {}

    @property
    def pids(self) -> dict[str, int]:
        return {member.name.lower(): member.pid for member in self._members}

    def start(self, member: Runnable) -> None:
        """Start it now, and again whenever it dies. Raises what its start raises."""
        self._members.append(member)
        self._backoffs[member.name] = _Backoff()
        member.start()

    def revive(self) -> bool:
        """Start again what has died and whose backoff is over. Says whether anything was; to be called in a loop."""
        revived = [self._revive(member) for member in self._members]
        return any(revived)

    def stop(self) -> None:
        """Stop everything, last started first, within GRACE seconds; what has not stopped by then is killed."""
        deadline = time.monotonic() + GRACE
        while self._members:
            member = self._members[-1]
            reserve = _RESERVE * (len(self._members) - 1)
            member.stop(max(deadline - time.monotonic() - reserve, _RESERVE))
            self._members.pop()

    def kill(self) -> None:
        """End everything at once. May be called by a signal handler while ``stop`` waits."""
        for member in self._members:
            if member.is_running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(member.pid, signal.SIGKILL)

    def _revive(self, member: Runnable) -> bool:
        backoff = self._backoffs[member.name]
        if member.is_running:
            backoff.note_alive()
            return False
        if not backoff.has_begun:
            self._say(f"{member.name} ended unexpectedly; it is started again in {backoff.begin():.1f} s")
        if not backoff.is_over:
            return False
        try:
            member.start()
        except ServiceError as error:
            self._say(f"{error}; the next try is in {backoff.begin():.1f} s")
            return False
        backoff.end()
        return True


class _Backoff:
    def __init__(self) -> None:
        self._seconds = FIRST_BACKOFF
        self._until: float | None = None
        self._alive_since: float | None = None

    @property
    def has_begun(self) -> bool:
        return self._until is not None

    @property
    def is_over(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until

    def begin(self) -> float:
        seconds = self._seconds
        self._until = time.monotonic() + seconds
        self._seconds = min(self._seconds * 2, LAST_BACKOFF)
        return seconds

    def end(self) -> None:
        self._until, self._alive_since = None, time.monotonic()

    def note_alive(self) -> None:
        if self._alive_since is not None and time.monotonic() - self._alive_since > _SETTLED:
            self._seconds, self._alive_since = FIRST_BACKOFF, None


def procfile(path: Path) -> dict[str, str]:
    """The commands of a Procfile by the name of their process."""
    lines = (line.partition(":") for line in path.read_text().splitlines() if line.strip() and not line.startswith("#"))
    return {name.strip(): command.strip() for name, _, command in lines}


def shell(command: str) -> list[str]:
    """A Procfile's command as an argument list: run by a shell, as platforms do, which the program then replaces."""
    return ["/bin/sh", "-c", f"exec {command}"]


def with_our_programs(env: Mapping[str, str]) -> dict[str, str]:
    """The environment with the programs of this virtual environment first on the PATH."""
    return {**env, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"}


def end_leftovers(directory: Path) -> int:
    """End the processes that an earlier runner of this directory left when it was killed. Returns how many."""
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    leftovers = processes_where(
        lambda process: process.pid not in ours and process.environ().get(MARK) == str(directory)
    )
    end_processes(leftovers, signal.SIGKILL, timeout=10)
    return len(leftovers)
