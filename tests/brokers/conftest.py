"""A broker on a namespace of its own for each test, workers that stop, and servers that may be killed."""

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest

from brokers import JetStreamBroker
from scripts.services import EmbeddedNats
from tests.brokers.talking_server import TalkingServer

MakeBroker = Callable[..., JetStreamBroker]
MakeWorker = Callable[..., dramatiq.Worker]
WORKER_APP = Path(__file__).parent


def wait_until(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Wait for a condition and return its value."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
    return value


def requests_of(broker: JetStreamBroker) -> int:
    """Messages that the broker sent over both its connections."""
    connection = broker._links.consuming().connection

    async def count() -> int:
        return (await connection.session()).published

    tokens = broker._links.wire().connected(time.monotonic() + 5)._tokens
    return connection.start_task(count()).result(5) + int(re.sub(r"\D", "", repr(tokens)))


@pytest.fixture
def namespace() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_broker(nats: EmbeddedNats, namespace: str) -> Iterator[MakeBroker]:
    """Makes brokers on the test's namespace, and removes what they stored."""
    brokers: list[JetStreamBroker] = []

    def make(url: str | None = None, **options: Any) -> JetStreamBroker:
        broker = JetStreamBroker(url or nats.url, **{"namespace": namespace, **options})
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        broker.close()
    _remove_streams(nats.url, namespace)


def _remove_streams(url: str, namespace: str) -> None:
    janitor = JetStreamBroker(url, namespace=namespace)
    try:
        listing = janitor._api.ask("STREAM.NAMES", deadline=time.monotonic() + 5)
        for stream in listing.get("streams") or []:
            if stream.removeprefix("KV_").startswith(namespace):
                janitor._api.ask(f"STREAM.DELETE.{stream}", deadline=time.monotonic() + 5)
    finally:
        janitor.close()


@pytest.fixture
def broker(make_broker: MakeBroker) -> JetStreamBroker:
    return make_broker()


@pytest.fixture
def start_worker() -> Iterator[MakeWorker]:
    """Starts workers in this process."""
    workers: list[dramatiq.Worker] = []

    def start(broker: JetStreamBroker, **options: Any) -> dramatiq.Worker:
        worker = dramatiq.Worker(broker, **{"worker_timeout": 50, "worker_threads": 2, **options})
        workers.append(worker)
        worker.start()
        return worker

    yield start
    for worker in workers:
        worker.stop(timeout=5000)


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[EmbeddedNats]:
    """A server for this test alone, which may be killed."""
    server = EmbeddedNats(tmp_path / "nats", durable=False)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def start_process(tmp_path: Path, namespace: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts worker processes on ``worker_app``, as the command line does."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(url: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "dramatiq",
            "worker_app",
            "--path",
            str(WORKER_APP),
            "--threads",
            "2",
            *arguments,
        ]
        environment = os.environ | {
            "WORKER_NATS_URL": url,
            "WORKER_NAMESPACE": namespace,
            "WORKER_LOG": str(tmp_path / "ran.log"),
            "PYTHONPATH": str(WORKER_APP.parent.parent),
        }
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(command, env=environment, stderr=log, start_new_session=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, 9)
        process.wait(10)


@pytest.fixture
def ran(tmp_path: Path) -> Callable[[], list[str]]:
    """What the worker processes noted."""
    log = tmp_path / "ran.log"
    return lambda: log.read_text().split() if log.exists() else []


@pytest.fixture
def talking() -> Iterator[Callable[..., TalkingServer]]:
    servers: list[TalkingServer] = []

    def start(answer: Callable[[str, str], bytes], **info: object) -> TalkingServer:
        servers.append(TalkingServer(answer, **info))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
