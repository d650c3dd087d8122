"""What embedded Postgres and embedded NATS have in common: one directory, one process, one owner at a time."""

import contextlib
import errno
import fcntl
import functools
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

import psutil

#: Seconds a server may take until it answers: after a crash it first replays its log.
START_TIMEOUT = 60.0
#: Seconds a server gets to stop by itself.
STOP_TIMEOUT = 15.0
#: Seconds between two looks at whether a server answers.
_POLL = 0.02
#: A log is begun anew at a start when it has grown beyond this many bytes.
_LOG_LIMIT = 5_000_000
#: The ports that this process was given.
_reserved: set[int] = set()
_TETHER = Path(__file__).with_name("tether.py")


class ServiceError(Exception):
    """An embedded service cannot be started. The message is for the person at the terminal."""


def spawn(
    command: Sequence[str],
    *,
    log: IO[bytes] | int | None,
    death_signal: signal.Signals,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    user: int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own that gets ``death_signal`` when the calling *thread* ends (Linux)."""
    tether = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), str(int(death_signal)), str(user or "-")]
    return subprocess.Popen(
        [*tether, *command],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        env=env,
        cwd=cwd,
        start_new_session=True,
    )


def free_port() -> int:
    """A free TCP port of 127.0.0.1, below the range that systems take for outgoing connections.

    A port from that range (what binding port 0 gives) may be taken by any connection before the server binds it. Nor does
    any other process get it from here while this one lives: a server that is killed finds it free when it comes back.
    """
    choose = secrets.SystemRandom()
    while True:
        port = choose.randrange(15_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            _reserve(port)
            probe.bind(("127.0.0.1", port))
            return port


def _reserve(port: int) -> None:
    """Lock the byte of this number in a file that all processes of this user share. Raises OSError when it is another's."""
    if port in _reserved:
        raise OSError(errno.EADDRINUSE, f"port {port} is reserved")
    fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    _reserved.add(port)


@functools.cache
def _reservations() -> int:
    """The file, which stays open: the system forgets a process's locks when it closes one."""
    path = Path(tempfile.gettempdir(), f"shopstream-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def secret_in(path: Path) -> str:
    """The secret kept in this file, made on first use; only its owner may read it."""
    if not path.exists():
        fresh = path.with_suffix(f".{os.getpid()}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(24))
        fresh.replace(path)
    return path.read_text()


def open_log(path: Path) -> IO[bytes]:
    """A log to append to. One that has grown too long makes way and is kept as ``….1``, in place of the one before."""
    if path.exists() and path.stat().st_size > _LOG_LIMIT:
        path.replace(f"{path}.1")
    return path.open("ab")


def end_processes(processes: Iterable[psutil.Process], stop_signal: signal.Signals, *, timeout: float) -> None:
    """Ask processes to end, and kill those that have not within ``timeout`` seconds."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(stop_signal)
    _, alive = psutil.wait_procs(processes, timeout=timeout)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=timeout)


class DirectoryLock:
    """Held by the one process that uses a directory; the system releases it when that process ends, however it ends."""

    #: Seconds to try: whoever asks for the holder has the lock for a moment, and a new holder has yet to write its number.
    _PATIENCE = 0.5

    def __init__(self, directory: Path) -> None:
        self._path = directory / "lock"
        self._file: IO[str] | None = None

    def acquire(self, refusal: Callable[[str], Exception]) -> None:
        """Take the lock, or raise ``refusal(process id of the holder)``."""
        file = self._path.open("a+")
        deadline = time.monotonic() + self._PATIENCE
        while not _locks(file, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                file.close()
                raise refusal(self._path.read_text() or "unknown")
            time.sleep(_POLL)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        self._file = file

    def holder(self) -> int | None:
        """The id of the process that holds the lock, if one does."""
        deadline = time.monotonic() + self._PATIENCE
        with self._path.open("a+") as file:
            while not _locks(file, fcntl.LOCK_SH):
                number = self._path.read_text()
                if number:
                    return int(number)
                if time.monotonic() > deadline:
                    raise ServiceError(f"{self._path} is locked, and does not say by whom")
                time.sleep(_POLL)
        return None

    def release(self) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None


def _locks(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class EmbeddedService:
    """A server that keeps its data in ``directory``, listens on 127.0.0.1 and lives no longer than this process.

    ``port`` 0 takes a free one, which the object keeps over its restarts; so ``url`` is valid before the first start.
    ``durable=False`` trades what a power loss would take for speed: for tests only.
    Start it in a thread that lives as long as the server shall.
    """

    name: str
    stop_signal = signal.SIGINT

    def __init__(self, directory: Path, *, port: int = 0, durable: bool = True) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.durable = durable
        self._password = secret_in(self.directory / "password")
        self._lock = DirectoryLock(self.directory)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.name.lower()}.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServiceError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the server and return once it answers. What a killed owner left behind is ended and recovered from.

        Raises ServiceError when another process uses the directory, or the server does not come up.
        """
        if self.is_running:
            return
        if self._process is None:
            self._lock.acquire(self._refusal)
        try:
            end_processes(self._leftovers(), self.stop_signal, timeout=STOP_TIMEOUT)
            self._prepare()
            with open_log(self.log_path) as log:
                self._process = self._launch(log)
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop the server, within ``timeout`` seconds or by force. Does nothing when it is not running."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None
        self._lock.release()

    def kill(self) -> None:
        """End the server with SIGKILL. ``start`` brings it back with all that it had confirmed."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _refusal(self, holder: str) -> ServiceError:
        return ServiceError(
            f"{self.name} in {self.directory} is already in use by process {holder}: stop that one first"
        )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_ready():
            if not self.is_running:
                raise ServiceError(
                    f"{self.name} ended while it started: {self._last_log_line()} (all of it: {self.log_path})"
                )
            if time.monotonic() > deadline:
                raise ServiceError(f"{self.name} does not answer after {START_TIMEOUT:.0f} s: see {self.log_path}")
            time.sleep(_POLL)

    def _last_log_line(self) -> str:
        lines = self.log_path.read_text(errors="replace").strip().splitlines()
        fatal = [line for line in lines[-20:] if "FATAL" in line or "[FTL]" in line]
        return (fatal or lines or ["it said nothing"])[-1]

    def _prepare(self) -> None:
        """Make what the server needs before it starts; called with the directory's lock held."""
        raise NotImplementedError

    def _launch(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _leftovers(self) -> list[psutil.Process]:
        """Processes of an earlier owner that still use the directory."""
        raise NotImplementedError


def processes_where(is_match: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Every process that matches; those that end meanwhile or that we may not look at do not."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if is_match(process):
                found.append(process)
    return found
