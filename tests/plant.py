"""A whole installation of a test's own, in real processes that can be killed: services, the simulated store, web, workers."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extras
import requests
from cryptography.fernet import Fernet

import settings
from scripts.bootstrap import ROOT
from scripts.embedded import free_port
from scripts.processes import Child, procfile, shell, with_our_programs
from scripts.services import EmbeddedNats, EmbeddedPostgres

#: Seconds in which a process has to come up, on a busy machine.
PATIENCE = 60.0


class Plant:
    """Everything that an installation consists of, by name in ``parts``. ``workers`` worker processes as the Procfile has them.

    Started in the thread that made it, which has to live as long as they.
    """

    def __init__(self, directory: Path, *, workers: int = 1, durable: bool = True, **environment: str) -> None:
        self.postgres = EmbeddedPostgres(directory / "postgres", durable=durable)
        self.nats = EmbeddedNats(directory / "nats", durable=durable)
        self.url = f"http://127.0.0.1:{free_port()}"
        self.store_url = f"http://127.0.0.1:{free_port()}"
        ours = {name.upper() for name in settings.Settings.model_fields}
        self.environment = with_our_programs(
            {name: value for name, value in os.environ.items() if name not in ours}
            | {
                "DATABASE_URL": self.postgres.url,
                "NATS_URL": self.nats.url,
                "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
                "ADMIN_USERNAME": "admin",
                "ADMIN_PASSWORD": "admin-password",
                "PUBLIC_URL": self.url,
                "PORT": self.url.rpartition(":")[2],
                "SHOPIFY_API_ORIGIN": self.store_url,
                "SHOPSTREAM_SIMULATED": "1",
                "PYTHONUNBUFFERED": "1",
                "PYTHONWARNINGS": "default",
            }
            | environment
        )
        self._directory = directory
        commands = procfile(ROOT / "Procfile")
        self._release = self._child("release", shell(commands["release"]))
        store = [sys.executable, "-m", "scripts.store", "--port", self.store_url.rpartition(":")[2], "--empty"]
        self.store = self._child("store", [*store, "--no-faults", "--directory", str(directory / "store")])
        self.web = self._child("web", shell(commands["web"]))
        self.workers = [self._child(f"worker-{number}", shell(commands["worker"])) for number in range(workers)]

    @property
    def parts(self) -> Mapping[str, Any]:
        return {"web": self.web, "worker": self.workers[0], "NATS": self.nats, "Postgres": self.postgres}

    def _child(self, name: str, command: list[str]) -> Child:
        return Child(name, command, env=self.environment, cwd=ROOT, log_path=self._directory / f"{name}.log")

    def start(self) -> None:
        self.postgres.start()
        self.nats.start()
        self.store.start()
        self._release.start()
        ends = time.monotonic() + PATIENCE
        while self._release.is_running:
            assert time.monotonic() < ends, self._release.last_words()
            time.sleep(0.05)
        assert self._release.exit_status == 0, self._release.last_words()
        for process in (self.web, *self.workers):
            process.start()
        for url in (f"{self.store_url}/control/health", f"{self.url}/healthz"):
            while not _answers(url):
                assert time.monotonic() < ends, url
                time.sleep(0.05)

    def stop(self) -> None:
        for process in (self.web, *self.workers, self.store):
            process.stop(20)
        self.nats.stop()
        self.postgres.remove()

    # Asking

    def control(self, method: str, path: str, body: dict[str, Any] | None = None, *, timeout: float = 60) -> Any:
        """The simulated store's control endpoint."""
        answer = requests.request(method, f"{self.store_url}/control/{path}", json=body, timeout=timeout)
        answer.raise_for_status()
        return answer.json()

    def flask(self, *arguments: str) -> str:
        """What the operator's command line says."""
        command = [sys.executable, "-m", "flask", "--app", "wsgi", *arguments]
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def rows(self, query: str, *values: Any) -> list[dict[str, Any]]:
        """What Postgres holds. Raises psycopg2.OperationalError while it is away."""
        connection = psycopg2.connect(self.postgres.url, connect_timeout=5)
        try:
            with connection, connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
                cursor.execute(query, values)
                return [dict(row) for row in cursor.fetchall()]
        finally:
            connection.close()


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


@contextmanager
def plant(directory: Path, **options: Any) -> Iterator[Plant]:
    """A plant that runs until the block ends."""
    directory.chmod(0o711)  # root's Postgres runs as nobody, who has to pass through
    made = Plant(directory, **options)
    try:
        made.start()
        yield made
    finally:
        made.stop()
