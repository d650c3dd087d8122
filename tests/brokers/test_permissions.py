"""A server that enforces permissions: web, worker and release, each with no more than brokers/README.md gives them."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import dramatiq
import pytest
from dramatiq.results import Results

from brokers import BrokerUnavailable, JetStreamBroker, JetStreamResultBackend, RequestRefused
from scripts.bootstrap import ROOT
from tests.brokers.clusters import ConfiguredNats
from tests.brokers.conftest import MakeWorker, wait_until

PASSWORD = "correct-horse"
As = Callable[..., JetStreamBroker]


def documented_permissions() -> str:
    """The block of the README, with passwords that the server needs not look for in its environment."""
    block = re.search(r"```hocon\n(authorization .*?)```", (ROOT / "brokers" / "README.md").read_text(), re.DOTALL)
    assert block
    return re.sub(r"password: \$\w+", f"password: {PASSWORD}", block[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConfiguredNats]:
    with ConfiguredNats(tmp_path_factory.mktemp("nats"), documented_permissions()) as nats:
        yield nats


@pytest.fixture
def as_user(server: ConfiguredNats) -> Iterator[As]:
    """Makes brokers that sign in as a user of the README's."""
    brokers: list[JetStreamBroker] = []

    def make(user: str) -> JetStreamBroker:
        url = server.url_of(user, PASSWORD)
        broker = JetStreamBroker(url, inbox_prefix=f"_INBOX_{user}", ack_wait=1.5, publish_timeout=5)
        broker.declare_queue("default")
        broker.add_middleware(Results(backend=JetStreamResultBackend(broker=broker), store_results=True))
        brokers.append(broker)
        return broker

    yield make
    for broker in brokers:
        broker.close()


@pytest.fixture
def released(as_user: As) -> JetStreamBroker:
    broker = as_user("release")
    declare(broker, lambda *_: None)
    broker.ensure_streams()
    return broker


def declare(broker: JetStreamBroker, run: Callable[..., object]) -> dict[str, "dramatiq.Actor[..., object]"]:
    """The same actors for each process."""
    options = {
        "plain": {},
        "laned": {"lane": "a tenant", "broker_priority": 3},
        "limited": {"lane": "a tenant", "lane_limit": 1},
        "alone": {"unique": True},
        "failing": {"max_retries": 1, "min_backoff": 600, "max_backoff": 600},
    }
    return {
        name: dramatiq.actor(lambda *args, name=name: run(name, *args), actor_name=name, broker=broker, **each)
        for name, each in options.items()
    }


@pytest.fixture
def refusals(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    return lambda: [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]


def test_web_enqueues_and_a_worker_works_with_what_they_may(
    as_user: As, released: JetStreamBroker, start_worker: MakeWorker, refusals: Callable[[], list[str]]
) -> None:
    # Given streams that the release made, and a worker
    ran: list[str] = []

    def run(name: str, *_: object) -> str:
        ran.append(name)
        if name == "failing":
            raise ValueError("as it was told to")
        if name == "plain":
            time.sleep(3)  # its lease has to be renewed meanwhile
        return name

    worker = as_user("worker")
    declare(worker, run)
    start_worker(worker, worker_threads=4)
    # When the web process enqueues in every way
    web = as_user("web")
    actors = declare(web, run)
    web.ping()
    plain = actors["plain"].send()
    actors["laned"].send()
    actors["limited"].send()
    actors["limited"].send()
    actors["alone"].send_with_options(args=(1,), delay=1500)
    actors["alone"].send_with_options(args=(1,), delay=1500)
    actors["failing"].send()
    # Then it gets the result, and everything ran as often as it should
    assert plain.get_result(backend=web.middleware[-1].backend, block=True, timeout=20_000) == "plain"
    wait_until(lambda: len(ran) == 7, timeout=20)
    assert sorted(ran) == ["alone", "failing", "failing", "laned", "limited", "limited", "plain"]
    # And the message that failed for good lies with the dead letters
    operator = as_user("operator")
    wait_until(lambda: operator.dead_letters.count("default") == 1, timeout=20)
    # And nobody was refused anything
    assert refusals() == []


def test_recurring_messages_need_no_more_than_that(
    as_user: As, released: JetStreamBroker, start_worker: MakeWorker, refusals: Callable[[], list[str]]
) -> None:
    ran: list[str] = []
    release, web, worker = as_user("release"), as_user("web"), as_user("worker")
    actors = [declare(broker, lambda *names: ran.append(str(names[-1]))) for broker in (release, web, worker)]
    release.cron("declared", 1, actors[0]["plain"].message("code"))
    release.ensure_streams()
    web.schedules.put("made", 1, actors[1]["laned"].message("runtime"))
    start_worker(worker)
    wait_until(lambda: min(ran.count("code"), ran.count("runtime")) >= 2, timeout=20)
    assert worker._marks.of(worker._names.cron("declared")) is not None
    assert worker._marks.of(worker._names.cron("made", owner="runtime")) is not None
    assert web.cancel(actors[1]["plain"].send_with_options(delay=60_000))
    assert web.schedules.remove("made")
    declare(as_user("release"), lambda *_: None)
    as_user("release").ensure_streams()
    assert web.schedules.list(owner="code") == []
    assert refusals() == []


def test_a_request_beyond_the_permissions_is_refused_at_once_and_says_what_is_missing(
    as_user: As, released: JetStreamBroker
) -> None:
    actor = declare(as_user("release"), lambda *_: None)["plain"]
    began = time.monotonic()
    with pytest.raises(RequestRefused, match=r'"dramatiq\.q\.default\..*"') as refused:
        actor.send()
    assert time.monotonic() - began < 3
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("user", ["web", "worker"])
def test_only_the_release_may_change_streams(as_user: As, released: JetStreamBroker, user: str) -> None:
    broker = as_user(user)
    began = time.monotonic()
    with pytest.raises(RequestRefused, match=r"STREAM\.CREATE"):
        broker.ensure_streams(timeout=10)
    assert time.monotonic() - began < 5


def test_web_may_not_consume_and_the_log_says_so(
    as_user: As, released: JetStreamBroker, start_worker: MakeWorker, refusals: Callable[[], list[str]]
) -> None:
    broker = as_user("web")
    declare(broker, lambda *_: None)
    start_worker(broker)
    wait_until(lambda: any(text.startswith("cannot consume queue default: NATS refused") for text in refusals()))
    assert all("\n" not in text for text in refusals())


def test_a_wrong_password_is_named_as_the_reason_and_not_shown(server: ConfiguredNats, namespace: str) -> None:
    broker = JetStreamBroker(server.url_of("web", "wrong-horse"), namespace=namespace, publish_timeout=1)
    try:
        with pytest.raises(BrokerUnavailable, match=r"(?i)authorization violation") as refused:
            broker.ping(timeout=2)
        assert "wrong-horse" not in str(refused.value)
    finally:
        broker.close()


def test_a_worker_that_could_not_see_a_pause_takes_nothing_and_says_why(
    tmp_path: Path, namespace: str, start_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a server that lets workers do everything but ask what a stream holds
    settings = """authorization { users: [
        { user: release, password: correct-horse }
        { user: worker, password: correct-horse, permissions: { publish: { deny: "$JS.API.STREAM.INFO.>" } } }
    ] }"""
    with ConfiguredNats(tmp_path / "nats", settings) as nats:
        release = JetStreamBroker(nats.url_of("release", PASSWORD), namespace=namespace)
        release.declare_queue("default")
        release.ensure_streams()
        worker = JetStreamBroker(nats.url_of("worker", PASSWORD), namespace=namespace)
        ran: list[int] = []
        dramatiq.actor(ran.append, actor_name="act", broker=worker)
        # When it works
        release.enqueue(dramatiq.Message("default", "act", (1,), {}, {}))
        running = start_worker(worker)
        # Then the message waits, and the log names the permission
        wait_until(lambda: "cannot consume queue default" in caplog.text, timeout=20)
        assert "$JS.API.STREAM.INFO" in caplog.text
        assert ran == []
        assert release.get_queue_message_counts("default") == (1, 0, 0)
        running.stop()
        worker.close()
        release.close()
