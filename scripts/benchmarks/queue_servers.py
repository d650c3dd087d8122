"""The servers that the contestants of the queue benchmark talk to: on loopback, in folders of their own.

Redis and RabbitMQ are not dependencies of the project; whoever wants them compared installs them (Debian: redis-server,
rabbitmq-server).
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import IO, Literal

import psutil

from scripts.embedded import EmbeddedService, free_port, processes_where, spawn

_RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


class Redis(EmbeddedService):
    """redis-server with its append-only file, so that what it confirmed survives its own death, as NATS's files do."""

    name = "Redis"
    stop_signal = signal.SIGTERM

    @staticmethod
    def is_installed() -> bool:
        return shutil.which("redis-server") is not None

    @staticmethod
    def version() -> str:
        said = subprocess.run(["redis-server", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout
        return said.partition("v=")[2].split()[0]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        pass

    def _launch(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        sync: Literal["always", "everysec"] = "always" if self.durable else "everysec"
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "yes", "--appendfsync", sync]
        return spawn(command, log=log, death_signal=self.stop_signal)

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    def _leftovers(self) -> list[psutil.Process]:
        folder = str(self.directory)
        return processes_where(lambda process: process.name() == "redis-server" and process.cwd() == folder)


class RabbitMQ(EmbeddedService):
    """rabbitmq-server as Debian configures it, with Erlang's registry of nodes (epmd) of its own."""

    name = "RabbitMQ"
    stop_signal = signal.SIGTERM

    @staticmethod
    def is_installed() -> bool:
        return _RABBITMQ.exists()

    @staticmethod
    def version() -> str:
        return next(_RABBITMQ.parent.parent.glob("lib/rabbitmq_server-*")).name.partition("-")[2]

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        self._registry_port, self._distribution_port = free_port(), free_port()

    def _launch(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        folder = self.directory
        env = os.environ | {
            "HOME": str(folder),  # of Erlang's cookie
            "RABBITMQ_NODENAME": f"bench{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "rabbitmq-env.conf"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(folder / "config"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
            # Has its start script become the server; else the script goes on beside it and takes our signals.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": str(self._registry_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        # Started by us, for the one that Erlang starts would outlive everything.
        self._registry = spawn(["epmd"], log=log, death_signal=signal.SIGKILL, env=env)
        return spawn([str(_RABBITMQ)], log=log, death_signal=self.stop_signal, env=env)

    def stop(self, timeout: float = 15.0) -> None:
        super().stop(timeout)
        if hasattr(self, "_registry"):
            self._registry.kill()
            self._registry.wait()

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"AMQP\x00\x00\x09\x01")
            return len(connection.recv(8)) == 8
        return False

    def _leftovers(self) -> list[psutil.Process]:
        folder = str(self.directory)
        return processes_where(lambda process: process.name() == "beam.smp" and folder in process.environ()["HOME"])
