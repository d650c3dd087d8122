"""The connection for consuming: answers find who asked, a loss all who wait, and what is handed over is done."""

import asyncio
from collections.abc import Callable, Iterator

import dramatiq
import pytest

from brokers import leases
from brokers.connection import Connection
from brokers.errors import ConnectionLost
from brokers.options import Options
from brokers.outages import Outage
from brokers.protocol import Msg
from brokers.servers import Servers
from brokers.session import Session
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until
from tests.brokers.talking_server import TalkingServer, echo

Connect = Callable[[str], Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    connections: list[Connection] = []

    def make(url: str) -> Connection:
        servers = Servers.parse(url)
        connections.append(Connection(Options(servers), Outage(servers.shown)))
        return connections[-1]

    yield make
    for connection in connections:
        connection.close()


def session_of(connection: Connection) -> Session:
    return connection.start_task(connection.session()).result(5)


def test_each_answer_finds_who_asked(talking: Callable[..., TalkingServer], connect: Connect) -> None:
    # Given a server that answers a first request only after a second one
    kept: list[bytes] = []

    def answer(subject: str, reply: str) -> bytes:
        if subject == "slow":
            kept.append(echo(subject, reply))
            return b""
        return echo(subject, reply) + b"".join(kept)

    connection = connect(talking(answer).url)
    session = session_of(connection)

    async def both() -> list[Msg]:
        return await asyncio.gather(session.ask("slow", timeout=5), session.ask("quick", timeout=5))

    assert [each.data for each in connection.start_task(both()).result(10)] == [b"slow", b"quick"]


def test_a_loss_is_told_to_all_who_wait_and_a_new_connection_follows(
    talking: Callable[..., TalkingServer], connect: Connect
) -> None:
    server = talking(lambda subject, reply: echo(subject, reply) if subject == "asked" else b"nonsense\r\n")
    connection = connect(server.url)
    session = session_of(connection)

    async def ask() -> tuple[BaseException | Msg, ...]:
        return tuple(
            await asyncio.gather(session.ask("what", timeout=5), session.pulse(timeout=5), return_exceptions=True)
        )

    first, second = connection.start_task(ask()).result(10)
    assert isinstance(first, ConnectionLost)
    assert second is None or isinstance(second, ConnectionLost)
    # Asking the lost one fails at once, and another takes its place
    with pytest.raises(ConnectionLost):
        connection.start_task(session.ask("asked", timeout=5)).result(1)
    wait_until(lambda: session_of(connection) is not session)
    assert connection.start_task(session_of(connection).ask("asked", timeout=5)).result(5).data == b"asked"


def test_a_server_that_does_not_answer_costs_the_time_that_one_waits(
    talking: Callable[..., TalkingServer], connect: Connect
) -> None:
    connection = connect(talking(lambda subject, reply: b"").url)
    session = session_of(connection)
    with pytest.raises(TimeoutError):
        connection.start_task(session.ask("nobody", timeout=0.1)).result(5)
    assert session._waiting == {}


def test_what_is_on_its_way_still_arrives_while_a_subscription_is_drained(nats: EmbeddedNats, connect: Connect) -> None:
    connection, other = connect(nats.url), connect(nats.url)  # the server sends nobody what he sent himself
    session, sender = session_of(connection), session_of(other)
    came: list[bytes] = []

    async def subscribe() -> int:
        sid = session.subscribe("news.*", lambda message: came.append(message.data))
        await session.pulse(timeout=5)
        return sid

    async def send() -> None:
        for number in range(100):
            sender.publish(f"news.{number}", b"%d" % number)
        await sender.pulse(timeout=5)

    async def send_and_drain(sid: int) -> None:
        await asyncio.wrap_future(other.start_task(send()))
        await session.drain(sid, timeout=5)

    connection.start_task(send_and_drain(connection.start_task(subscribe()).result(5))).result(10)
    assert came == [b"%d" % number for number in range(100)]


def test_what_fails_in_the_loop_stops_nothing_that_is_handed_over_later(nats: EmbeddedNats, connect: Connect) -> None:
    connection, done = connect(nats.url), []

    def fail() -> None:
        raise ValueError("a test wants it so")

    async def be_silent() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)

    connection.start_task(be_silent()).result(5)
    connection.soon(fail)
    connection.soon(lambda: done.append(1))
    wait_until(lambda: done == [1])
    wait_until(lambda: not connection._is_awake)
    connection.soon(lambda: done.append(2))
    wait_until(lambda: done == [1, 2])


def test_a_login_that_nobody_waits_for_any_more_is_undone(
    talking: Callable[..., TalkingServer], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a login that takes longer than the connection lives
    server = talking(lambda subject, reply: b"")
    connection = connect(server.url)
    session_of(connection)
    opened: list[object] = []
    log_in = connection._order.log_in

    def log_in_late(options: Options, deadline: float) -> object:
        login = log_in(options, deadline)
        opened.append(login)
        wait_until(connection._loop.is_closed)
        return login

    monkeypatch.setattr(connection._order, "log_in", log_in_late)
    connection.start_task(_lose(connection)).result(5)
    wait_until(lambda: opened)
    connection.close()
    wait_until(lambda: opened[0].socket._raw.fileno() == -1)  # type: ignore[attr-defined]


async def _lose(connection: Connection) -> None:
    (await connection.session()).lose()


@pytest.mark.parametrize("answer", [False, True], ids=["none", "nobody there"])
def test_acknowledgements_that_are_not_confirmed_are_sent_again(
    make_broker: MakeBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch, *, answer: bool
) -> None:
    # Given a connection on which the first confirmation never comes, or there is no leader to give it
    monkeypatch.setattr(leases, "REPEAT_AFTER", 0.3)
    broker, ran = make_broker(), []
    connection = broker._links.consuming().connection
    request, lost = connection.request, []

    def request_in_vain(subject: str, payload: bytes, take: Callable[[Msg | None], None]) -> None:
        if payload == leases.ACK and not lost:
            lost.append(subject)
            if answer:
                take(Msg("inbox.1", b"", {"Status": "503"}))
        else:
            request(subject, payload, take)

    monkeypatch.setattr(connection, "request", request_in_vain)
    actor = dramatiq.actor(ran.append, actor_name="act", broker=broker)
    for number in range(20):
        actor.send(number)
    start_worker(broker)
    # Then all is settled in the end, and nothing ran twice
    broker.join("default", timeout=10_000)
    held = broker._links.consuming().leases
    wait_until(lambda: not held._settling)
    assert lost
    assert sorted(ran) == list(range(20))


def test_a_thread_that_was_interrupted_before_it_could_wake_the_loop_stops_nothing(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker, ran = make_broker(), []
    actor = dramatiq.actor(ran.append, actor_name="act", broker=broker)
    actor.send(0)
    start_worker(broker)
    broker.join("default", timeout=10_000)
    # Given flags that were set by threads which were interrupted right after
    consuming = broker._links.consuming()
    (consumer,) = consuming.sweeper._consumers
    consuming.connection._is_awake = consuming.leases._will_send = consumer._puller._will_ask = True
    # When more comes, then it is run and acknowledged
    for number in range(1, 60):
        actor.send(number)
    broker.join("default", timeout=20_000)
    assert sorted(ran) == list(range(60))
