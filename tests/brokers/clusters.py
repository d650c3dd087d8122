"""Servers of the broker's tests beyond the plain one: with settings of their own, and three of them as a cluster."""

import json
import urllib.error
import urllib.request
from pathlib import Path

from scripts.embedded import free_port
from scripts.services import EmbeddedNats
from tests.brokers.conftest import wait_until


class ConfiguredNats(EmbeddedNats):
    """nats-server with JetStream and whatever ``settings`` (the text of a configuration file) says beside that."""

    def __init__(self, directory: Path, settings: str, *, name: str = "alone") -> None:
        super().__init__(directory, durable=False)
        self._server_name = name
        self._settings = settings

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    def url_of(self, user: str, password: str) -> str:
        return f"nats://{user}:{password}@127.0.0.1:{self.port}"

    def _prepare(self) -> None:
        self._monitor_port = free_port()
        self._config.write_text(
            f"server_name: {self._server_name}\n"
            f"listen: 127.0.0.1:{self.port}\n"
            f"http: 127.0.0.1:{self._monitor_port}\n"
            f"jetstream {{ store_dir: {json.dumps(str(self.directory / 'jetstream'))} }}\n"
            f"{self._settings}\n"
        )

    def _is_ready(self) -> bool:
        # Not its health: one of three is not well alone.
        return self._answers("varz")

    @property
    def is_healthy(self) -> bool:
        return self._answers("healthz")

    def _answers(self, page: str) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor_port}/{page}", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


class Cluster:
    """Three servers that keep three copies of everything."""

    def __init__(self, directory: Path) -> None:
        ports = [free_port() for _ in range(3)]
        routes = ", ".join(f"nats-route://127.0.0.1:{port}" for port in ports)
        self.nodes = {
            f"n{number}": ConfiguredNats(
                directory / f"n{number}",
                f"cluster {{ name: C, listen: 127.0.0.1:{port}, routes: [{routes}] }}",
                name=f"n{number}",
            )
            for number, port in enumerate(ports, 1)
        }

    @property
    def url(self) -> str:
        return ",".join(node.url for node in self.nodes.values())

    def start(self) -> None:
        for node in self.nodes.values():
            node.start()
        wait_until(lambda: all(node.is_healthy for node in self.nodes.values()), timeout=60)

    def stop(self) -> None:
        for node in self.nodes.values():
            node.stop()
