"""NATS goes away and comes back: callers learn it in time, nothing stored is lost, and all goes on by itself."""

import json
import logging
import subprocess
import sysconfig
import time
from pathlib import Path

import dramatiq
import psutil
import pytest

from brokers import BrokerUnavailable, JetStreamBroker, ServerTooOld, StorageFull
from brokers.servers import Servers
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until
from tests.brokers.fake_server import FakeServer


def test_enqueueing_without_a_server_fails_in_time_from_the_first_try_on(make_broker: MakeBroker) -> None:
    broker = make_broker("nats://user:secret@127.0.0.1:1")
    broker.declare_queue("default")
    for _ in range(3):
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable) as raised:
            broker.enqueue(dramatiq.Message("default", "act", (), {}, {}))
        assert time.monotonic() - began < 2.5
        assert "secret" not in str(raised.value)
    # Once the outage is known nobody waits it out
    assert time.monotonic() - began < 0.6


def test_enqueueing_fails_in_time_when_the_server_dies_and_works_again_after_its_return(
    own_nats: EmbeddedNats, make_broker: MakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="brokers")
    broker = make_broker(own_nats.url)
    broker.declare_queue("default")
    message = dramatiq.Message("default", "act", (), {}, {})
    broker.enqueue(message)
    own_nats.kill()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        broker.enqueue(message)
    assert time.monotonic() - began < 2.5
    with pytest.raises(BrokerUnavailable):
        broker.ping()
    own_nats.start()
    began = time.monotonic()
    wait_until(lambda: _can_enqueue(broker, message), timeout=3)
    assert time.monotonic() - began < 3
    # One line for the loss, one for the return, whatever the number of attempts
    lines = [record.getMessage() for record in caplog.records if record.name == "brokers.outages"]
    assert [line.split()[0] for line in lines] == ["lost", "connected"]
    assert not any(record.exc_info for record in caplog.records)


def _can_enqueue(broker: JetStreamBroker, message: "dramatiq.Message[None]") -> bool:
    try:
        broker.enqueue(message)
    except BrokerUnavailable:
        return False
    return True


def test_a_worker_started_without_a_server_works_once_there_is_one(
    own_nats: EmbeddedNats, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(own_nats.url)
    ran = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    own_nats.kill()
    start_worker(broker)
    own_nats.start()
    wait_until(lambda: _can_enqueue(broker, act.message()), timeout=5)
    wait_until(lambda: ran == [1], timeout=5)


def test_stored_and_delayed_messages_survive_the_servers_sigkill(
    own_nats: EmbeddedNats, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(own_nats.url)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act(number: int) -> None:
        ran.append(number)

    for number in range(50):
        act.send(number)
        act.send_with_options(args=(100 + number,), delay=1500)
    own_nats.kill()
    own_nats.start()
    start_worker(broker)
    broker.join("default", timeout=15000)
    assert sorted(ran) == [*range(50), *range(100, 150)]


def test_a_worker_survives_the_servers_sigkill_and_runs_every_message(
    own_nats: EmbeddedNats, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(own_nats.url)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act(number: int) -> None:
        ran.append(number)
        time.sleep(0.005)

    for number in range(200):
        act.send(number)
    start_worker(broker)
    wait_until(lambda: len(ran) > 20)
    own_nats.kill()
    own_nats.start()
    broker.join("default", timeout=15000)
    # Acknowledgements that were under way are repeated, so nothing runs twice while this process lives
    assert sorted(ran) == list(range(200))


def test_a_task_that_outlasts_an_outage_longer_than_its_lease_runs_once(
    own_nats: EmbeddedNats, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(own_nats.url, ack_wait=1.0)
    ran = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)
        time.sleep(3)

    act.send()
    start_worker(broker)
    wait_until(lambda: ran)
    own_nats.kill()
    time.sleep(1.2)  # the lease lapses while nobody can renew it
    own_nats.start()
    broker.join("default", timeout=10000)
    assert ran == [1]


def test_an_old_server_is_refused_in_one_line() -> None:
    with FakeServer(version="2.11.4") as server:
        broker = JetStreamBroker(server.url)
        try:
            with pytest.raises(ServerTooOld) as raised:
                broker.ensure_streams(timeout=1)
            expected = f"NATS 2.11 at {server.url} is too old: schedules need 2.12 or newer"
            assert str(raised.value) == expected
        finally:
            broker.close()


def test_cron_on_a_server_that_lacks_it_is_refused_in_one_line(broker: JetStreamBroker) -> None:
    with pytest.raises(ServerTooOld, match=r"NATS 2.15 at \S+ is too old: cron needs 3.0 or newer"):
        broker._streams.require((3, 0), "cron needs", time.monotonic() + 2)


def test_credentials_stay_out_of_representations() -> None:
    servers = Servers.parse("nats://me:hunter2@a:4222, nats://me:hunter2@b:4222")
    assert servers.user == "me"
    assert servers.password == "hunter2"
    assert "hunter2" not in repr(servers) + servers.shown
    assert servers.mask("bad login me:hunter2") == "bad login me:…"


def test_a_server_that_hangs_is_noticed_in_time_and_used_again(own_nats: EmbeddedNats, make_broker: MakeBroker) -> None:
    broker = make_broker(own_nats.url)
    broker.declare_queue("default")
    message = dramatiq.Message("default", "act", (), {}, {})
    broker.enqueue(message)
    server = psutil.Process(own_nats.pid)
    server.suspend()
    try:
        wait_until(lambda: server.status() == psutil.STATUS_STOPPED)
        began = time.monotonic()
        with pytest.raises(BrokerUnavailable):
            broker.enqueue(message)
        assert time.monotonic() - began < 2.5
    finally:
        server.resume()
    wait_until(lambda: _can_enqueue(broker, message), timeout=3)


def test_a_full_server_refuses_with_an_error_of_its_own_and_loses_nothing(
    tmp_path: Path, make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    config = tmp_path / "small.conf"
    ports = tmp_path / "ports"
    ports.mkdir()
    store = f'store_dir: "{tmp_path / "store"}", max_file: 4MB'
    config.write_text(f'listen: "127.0.0.1:-1"\nports_file_dir: "{ports}"\njetstream {{ {store} }}\n')
    program = Path(sysconfig.get_path("scripts")) / "nats-server"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen([program, "--config", config], stdout=log, stderr=log)
    try:
        file = wait_until(lambda: next(ports.glob("*.ports"), None))
        address = wait_until(lambda: json.loads(file.read_text() or "{}").get("nats"))
        broker = make_broker(address[0])
        ran: list[int] = []

        @dramatiq.actor(broker=broker)
        def act(number: int, text: str) -> None:
            ran.append(number)

        stored: list[int] = []

        def fill() -> None:
            while True:
                act.send(len(stored), "x" * 500_000)
                stored.append(len(stored))

        with pytest.raises(StorageFull):
            fill()
        assert stored
        start_worker(broker)
        broker.join("default", timeout=10000)
        assert sorted(ran) == stored
        act.send(100, "there is room again")
        broker.join("default", timeout=10000)
        broker.close()
    finally:
        server.kill()
        server.wait(5)
