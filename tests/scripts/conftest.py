"""What the tests of scripts/ share: waiting for a condition, and services in a folder of the test's own."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.services import EmbeddedNats, EmbeddedPostgres

WaitUntil = Callable[[Callable[[], object]], None]


@pytest.fixture
def wait_until() -> WaitUntil:
    """Wait until a condition holds; fails after 20 s."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true within 20 s"
            time.sleep(0.02)

    return wait


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A Postgres of this test alone, not yet started."""
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    yield server
    server.remove()


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[EmbeddedNats]:
    """A NATS of this test alone, not yet started."""
    server = EmbeddedNats(tmp_path / "nats", durable=False)
    yield server
    server.remove()
