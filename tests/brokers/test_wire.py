"""The connection for requests: shared by threads, lost and made again, forked, refused, and never mixing up answers."""

import os
import random
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dramatiq
import psutil
import pytest
from dramatiq.threading import raise_thread_exception

from brokers import BrokerUnavailable, JetStreamBroker
from brokers.errors import NoAnswer, NoResponders, RequestRefused
from brokers.options import Options
from brokers.outages import Outage
from brokers.protocol import Control, Msg, Parser, encode_headers, encode_publish
from brokers.servers import Servers
from brokers.wire import Wire
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, wait_until
from tests.brokers.talking_server import TalkingServer, echo


@pytest.fixture
def make_wire(nats: EmbeddedNats) -> Iterator[Callable[..., Wire]]:
    wires: list[Wire] = []

    def make(url: str | None = None) -> Wire:
        servers = Servers.parse(url or nats.url)
        wire = Wire(Options(servers), Outage(servers.shown))
        wires.append(wire)
        return wire

    yield make
    for wire in wires:
        wire.close()


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def test_frames_are_the_same_however_the_bytes_arrive() -> None:
    status = b"NATS/1.0 404 Message Not Found\r\n\r\n"
    headers = encode_headers({"Nats-Sequence": "7", "Name": "caf\u00e9"})
    stream = b"PING\r\nMSG in.1 1 5\r\na\r\nbc\r\n-ERR 'Stale Connection'\r\n"
    stream += b"MSG in.4 2 $JS.ACK.1 3\r\nabc\r\n"
    stream += b"HMSG in.2 7 $JS.ACK.2 %d %d\r\n%sxyz\r\n" % (len(headers), len(headers) + 3, headers)
    stream += b"HMSG in.3 1 %d %d\r\n%s\r\n" % (len(status), len(status), status)
    expected = [
        Control("PING", ""),
        Msg("in.1", b"a\r\nbc", None, b"1"),
        Control("-ERR", "'Stale Connection'"),
        Msg("in.4", b"abc", None, b"2", "$JS.ACK.1"),
        Msg("in.2", b"xyz", {"Nats-Sequence": "7", "Name": "caf\u00e9"}, b"7", "$JS.ACK.2"),
        Msg("in.3", b"", {"Status": "404", "Description": "Message Not Found"}, b"1"),
    ]
    assert Parser().feed(stream) == expected
    for _ in range(50):
        parser, found, rest = Parser(), [], stream
        while rest:
            size = random.randint(1, 9)
            found += parser.feed(rest[:size])
            rest = rest[size:]
        assert found == expected


def test_a_header_cannot_smuggle_in_another() -> None:
    with pytest.raises(ValueError, match="line break"):
        encode_headers({"A": "1\r\nNats-Rollup: all"})
    assert encode_publish("s", "", encode_headers({}), b"") == b"PUB s 0\r\n\r\n"


def test_every_thread_gets_its_own_answer(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    server = talking(echo)
    wire = make_wire(server.url)

    def ask(number: int) -> bool:
        return all(
            wire.request(f"s.{number}.{turn}", deadline=soon(30)).data == f"s.{number}.{turn}".encode()
            for turn in range(100)
        )

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(ask, range(16)))
    # None waited in vain for somebody to read, and asked again
    assert len(server.requests) == 1600
    assert not wire.connected(soon())._waiting


def test_the_threads_share_one_connection_and_start_none(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    server = talking(echo)
    before = set(threading.enumerate())
    wire = make_wire(server.url)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: wire.request(f"s.{n}", deadline=soon()), range(64)))
    assert server.connections == 1
    assert not [each for each in set(threading.enumerate()) - before if each.name.startswith("jetstream")]


def test_an_answer_that_comes_too_late_reaches_nobody(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    held: list[bytes] = []

    def answer(subject: str, reply: str) -> bytes:
        if subject == "slow":
            held.append(echo("late", reply))
            return b"PONG\r\n"  # alive, but without an answer
        return b"".join(held) + echo(subject, reply)

    wire = make_wire(talking(answer).url)
    with pytest.raises(NoAnswer):
        wire.request("slow", deadline=soon(0.3))
    assert wire.request("quick", deadline=soon()).data == b"quick"
    assert wire.request("again", deadline=soon()).data == b"again"


def test_a_slow_answer_does_not_cost_the_connection_while_pings_are_answered(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    server = talking(lambda subject, reply: b"")
    with pytest.raises(NoAnswer):
        make_wire(server.url).request("x", deadline=soon(1.5))
    assert server.requests == ["x", "x"]
    assert server.connections == 1


def test_a_silent_server_is_left_for_another_within_the_deadline(
    own_nats: EmbeddedNats, talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    second = talking(echo)
    wire = make_wire(own_nats.url)
    wire.connected(soon())
    wire._order._urls.append(second.url)
    frozen = psutil.Process(own_nats.pid)
    frozen.suspend()
    try:
        wait_until(lambda: frozen.status() == psutil.STATUS_STOPPED)
        assert wire.request("x", deadline=soon(10)).data == b"x"
    finally:
        frozen.resume()


def test_all_who_wait_fail_at_once_when_the_connection_is_lost(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    server = talking(lambda subject, reply: b"")
    wire = make_wire(server.url)
    link = wire.connected(soon())
    failed_at: list[float] = []

    def ask() -> None:
        with pytest.raises(BrokerUnavailable):
            link.ask("x", b"", b"", until=soon(20))
        failed_at.append(time.monotonic())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(server.requests) == 8)
    began = time.monotonic()
    link.lose("the test wants it so")
    for thread in threads:
        thread.join(10)
    assert len(failed_at) == 8
    assert max(failed_at) - began < 5


def test_a_thread_that_is_interrupted_while_it_reads_for_all_harms_nobody(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    server = talking(lambda subject, reply: echo(subject, reply) if subject != "never" else b"")
    wire = make_wire(server.url)
    interrupted = threading.Event()

    class Interruption(BaseException):
        pass

    def wait_in_vain() -> None:
        try:
            wire.request("never", deadline=soon(30), attempt=30)
        except Interruption:
            interrupted.set()

    thread = threading.Thread(target=wait_in_vain)
    thread.start()
    wait_until(lambda: "never" in server.requests)
    raise_thread_exception(thread.ident, Interruption)
    assert interrupted.wait(5)
    thread.join(5)
    for number in range(20):
        assert wire.request(f"s{number}", deadline=soon()).data == f"s{number}".encode()


def test_an_idle_connection_that_the_server_ended_is_made_anew_without_a_word(
    own_nats: EmbeddedNats, make_wire: Callable[..., Wire], caplog: pytest.LogCaptureFixture
) -> None:
    wire = make_wire(own_nats.url)
    wire.request("$JS.API.INFO", deadline=soon())
    own_nats.kill()
    own_nats.start()
    time.sleep(1.1)  # what counts as idle
    assert wire.request("$JS.API.INFO", deadline=soon()).data
    assert not [record for record in caplog.records if record.name.startswith("brokers")]


def test_a_server_that_hangs_up_at_once_is_not_tried_without_a_pause(make_wire: Callable[..., Wire]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepted = []

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                accepted.append(1)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        wire = make_wire(f"nats://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(BrokerUnavailable):
            wire.request("x", deadline=soon(1))
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    assert 1 < len(accepted) < 12


def test_another_server_is_used_when_the_first_is_gone(nats: EmbeddedNats, make_wire: Callable[..., Wire]) -> None:
    wire = make_wire(f"nats://127.0.0.1:1,{nats.url},nats://127.0.0.1:2")
    assert wire.request("$JS.API.INFO", deadline=soon()).data


def test_servers_that_the_cluster_tells_of_are_used(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    second = talking(echo)
    first = talking(echo, connect_urls=[second.url.removeprefix("nats://")])
    wire = make_wire(first.url)
    link = wire.connected(soon())
    first.close()
    link.lose("the test wants it so")
    assert wire.request("x", deadline=soon()).data == b"x"
    assert second.connections == 1


def test_what_nobody_serves_is_told_from_what_is_slow(nats: EmbeddedNats, make_wire: Callable[..., Wire]) -> None:
    with pytest.raises(NoResponders):
        make_wire().request("nobody.is.here", deadline=soon())


def test_a_denied_permission_fails_at_once_and_says_which(
    talking: Callable[..., TalkingServer], make_wire: Callable[..., Wire]
) -> None:
    denial = b"-ERR 'Permissions Violation for Publish to \"secret\"'\r\n"
    server = talking(lambda subject, reply: denial if subject == "secret" else echo(subject, reply))
    wire = make_wire(server.url)
    began = time.monotonic()
    with pytest.raises(RequestRefused, match='Publish to "secret"'):
        wire.request("secret", deadline=soon(20))
    assert time.monotonic() - began < 10
    assert wire.request("open", deadline=soon()).data == b"open"
    assert server.connections == 1


def test_a_wrong_password_is_shown_to_nobody(nats: EmbeddedNats, make_wire: Callable[..., Wire]) -> None:
    address = nats.url.rpartition("@")[2]
    with pytest.raises(BrokerUnavailable, match=r"(?i)authorization violation") as raised:
        make_wire(f"nats://shopstream:hunter2@{address}").request("x", deadline=soon(0.5))
    assert "hunter2" not in str(raised.value)


def test_something_else_than_nats_is_recognised(make_wire: Callable[..., Wire]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"220 mail.example ESMTP\r\n")
                    connection.recv(1)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(BrokerUnavailable, match="not NATS"):
            make_wire(f"nats://127.0.0.1:{listener.getsockname()[1]}").request("x", deadline=soon(1))
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_websockets_are_refused_in_one_line() -> None:
    with pytest.raises(ValueError, match=r"^NATS is spoken over TCP here, not over WebSockets: use nats:// or tls://$"):
        JetStreamBroker("wss://127.0.0.1:443")


def test_a_forked_child_uses_a_connection_of_its_own_and_leaves_the_parents_alone(
    nats: EmbeddedNats, namespace: str, make_broker: MakeBroker
) -> None:
    script = textwrap.dedent("""
        import os, sys, threading, time
        import dramatiq
        from brokers import JetStreamBroker
        broker = JetStreamBroker(sys.argv[1], namespace=sys.argv[2])
        broker.declare_queue("default")
        message = dramatiq.Message("default", "act", (), {}, {})
        stop = threading.Event()
        def publish():
            while not stop.is_set():
                broker.enqueue(message)
        broker.enqueue(message)
        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads: thread.start()
        children = []
        for _ in range(5):
            child = os.fork()
            if child == 0:
                try:
                    for _ in range(20): broker.enqueue(message)
                    os._exit(0)
                except BaseException as error:
                    print("child:", repr(error), file=sys.stderr, flush=True)
                    os._exit(1)
            children.append(child)
        statuses = [os.waitpid(child, 0)[1] for child in children]
        stop.set()
        for thread in threads: thread.join()
        broker.enqueue(message)
        assert statuses == [0] * 5, statuses
        broker.close()
    """)
    command = [sys.executable, "-c", script, nats.url, namespace]
    done = subprocess.run(
        command, capture_output=True, timeout=60, check=False, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    assert done.returncode == 0, done.stderr.decode()
    broker = make_broker()
    broker.declare_queue("default")
    assert broker.get_queue_message_counts("default")[0] > 100


def test_a_process_that_only_enqueues_starts_no_thread(broker: JetStreamBroker) -> None:
    before = set(threading.enumerate())
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "act", (), {}, {}))
    broker.enqueue(dramatiq.Message("default", "act", (), {}, {}), delay=60_000)
    assert broker.get_queue_message_counts("default") == (1, 1, 0)
    assert set(threading.enumerate()) <= before
