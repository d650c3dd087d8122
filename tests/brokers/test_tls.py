"""Who we are, and whom we trust: passwords, tokens, NKEYs, .creds and TLS, for sending and for consuming."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dramatiq
import nkeys
import pytest

from brokers import BrokerUnavailable, JetStreamBroker
from tests.brokers.clusters import ConfiguredNats
from tests.brokers.conftest import MakeWorker, wait_until
from tests.brokers.credentials import Authority, Key, Operator
from tests.brokers.fake_server import FakeServer

Connect = Callable[..., JetStreamBroker]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], ConfiguredNats]]:
    with ExitStack() as cleanup:
        yield lambda settings: cleanup.enter_context(ConfiguredNats(tmp_path / "nats", settings))


@pytest.fixture
def connect() -> Iterator[Connect]:
    with ExitStack() as cleanup:

        def make(url: str, **options: Any) -> JetStreamBroker:
            broker = JetStreamBroker(url, **{"publish_timeout": 5, **options})
            cleanup.callback(broker.close)
            return broker

        yield make


def tls_settings(authority: Authority, *, verify: bool = False) -> str:
    certificate, key = authority.issue("server")
    return f'tls {{ cert_file: "{certificate}", key_file: "{key}", ca_file: "{authority.path}", verify: {str(verify).lower()} }}'


def assert_sends_and_consumes(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    ran: list[str] = []
    actor = dramatiq.actor(ran.append, actor_name="noted", broker=broker)
    broker.ensure_streams()
    actor.send("a")
    start_worker(broker)
    wait_until(lambda: ran == ["a"])
    broker.join("default", timeout=10_000)


def assert_is_turned_away(broker: JetStreamBroker, *, reason: str, secret: str = "") -> None:
    with pytest.raises(BrokerUnavailable, match=reason) as refused:
        broker.enqueue(dramatiq.Message("default", "noted", ("a",), {}, {}))
    assert "\n" not in str(refused.value)
    assert not secret or secret not in str(refused.value)


def test_a_user_and_password_in_the_address(
    serve: Callable[[str], ConfiguredNats], connect: Connect, start_worker: MakeWorker
) -> None:
    server = serve("authorization { user: me, password: correct-horse }")
    assert_sends_and_consumes(connect(server.url_of("me", "correct-horse")), start_worker)
    wrong = connect(server.url_of("me", "wrong-horse"), publish_timeout=1)
    assert_is_turned_away(wrong, reason=r"(?i)authorization violation", secret="wrong-horse")


def test_a_token_in_the_address(
    serve: Callable[[str], ConfiguredNats], connect: Connect, start_worker: MakeWorker
) -> None:
    server = serve("authorization { token: correct-horse }")
    assert_sends_and_consumes(connect(f"nats://correct-horse@127.0.0.1:{server.port}"), start_worker)
    wrong = connect(f"nats://wrong-horse@127.0.0.1:{server.port}", publish_timeout=1)
    assert_is_turned_away(wrong, reason=r"(?i)authorization violation", secret="wrong-horse")


def test_an_nkey(serve: Callable[[str], ConfiguredNats], connect: Connect, start_worker: MakeWorker) -> None:
    key, other = Key.of(nkeys.PREFIX_BYTE_USER), Key.of(nkeys.PREFIX_BYTE_USER)
    server = serve(f"authorization {{ users: [ {{ nkey: {key.public} }} ] }}")
    assert_sends_and_consumes(connect(server.url, credentials=key.seed), start_worker)
    wrong = connect(server.url, credentials=other.seed, publish_timeout=1)
    assert_is_turned_away(wrong, reason=r"(?i)authorization violation", secret=other.seed)


@pytest.mark.parametrize("is_file", [True, False], ids=["file", "text"])
def test_creds(
    serve: Callable[[str], ConfiguredNats], connect: Connect, start_worker: MakeWorker, tmp_path: Path, *, is_file: bool
) -> None:
    operator, stranger = Operator(), Operator()
    server = serve(operator.settings)
    creds = operator.user()
    if is_file:
        (tmp_path / "me.creds").write_text(creds)
    assert_sends_and_consumes(
        connect(server.url, credentials=tmp_path / "me.creds" if is_file else creds), start_worker
    )
    wrong = connect(server.url, credentials=stranger.user(), publish_timeout=1)
    assert_is_turned_away(wrong, reason=r"(?i)authorization violation")


def test_tls_with_a_ca_of_ones_own(
    serve: Callable[[str], ConfiguredNats], connect: Connect, start_worker: MakeWorker, tmp_path: Path
) -> None:
    ours, foreign = Authority(tmp_path, name="ours"), Authority(tmp_path, name="foreign")
    server = serve(tls_settings(ours) + "\nauthorization { user: me, password: correct-horse }")
    url = f"tls://me:correct-horse@127.0.0.1:{server.port}"
    assert_sends_and_consumes(connect(url, tls=ours.trusted()), start_worker)
    # A server that somebody else vouches for gets no password
    assert_is_turned_away(connect(url, tls=foreign.trusted(), publish_timeout=1), reason=r"(?i)certificate")
    # Nor does one that the system does not know, whoever asks without a context
    assert_is_turned_away(connect(url, publish_timeout=1), reason=r"(?i)certificate")


def test_a_server_that_wants_our_certificate(
    serve: Callable[[str], ConfiguredNats], connect: Connect, start_worker: MakeWorker, tmp_path: Path
) -> None:
    authority = Authority(tmp_path, name="ours")
    server = serve(tls_settings(authority, verify=True))
    with_certificate = authority.trusted()
    with_certificate.load_cert_chain(*authority.issue("client"))
    url = f"tls://127.0.0.1:{server.port}"
    assert_sends_and_consumes(connect(url, tls=with_certificate), start_worker)
    with pytest.raises(BrokerUnavailable):
        connect(url, tls=authority.trusted(), publish_timeout=1).ping(timeout=2)


def test_tls_that_the_server_does_not_offer_is_not_done_without(
    serve: Callable[[str], ConfiguredNats], connect: Connect
) -> None:
    server = serve("authorization { user: me, password: correct-horse }")
    broker = connect(server.url_of("me", "correct-horse"), tls=ssl.create_default_context(), publish_timeout=1)
    assert_is_turned_away(broker, reason=r"(?i)tls|ssl", secret="correct-horse")


@pytest.mark.parametrize("scheme", ["nats", "tls"])
def test_a_server_that_offers_no_tls_is_told_nothing_by_workers_either(
    connect: Connect, start_worker: MakeWorker, scheme: str
) -> None:
    with FakeServer(version="2.15.1") as server:
        url = f"{scheme}://me:correct-horse@{server.url.removeprefix('nats://')}"
        broker = connect(url, tls=ssl.create_default_context())
        broker.declare_queue("default")
        start_worker(broker)
        wait_until(lambda: len(server.received) >= 5)  # of the connection that asks and of the one that consumes
        broker.close()
        assert not any(server.received)
