"""Messages of Dramatiq's own brokers are moved over: waiting, delayed and dead ones, once each, however often it is tried."""

import itertools
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import CurrentMessage, Retries

from brokers import BrokerUnavailable, JetStreamBroker, importing
from brokers.importing import ImportRefused, Moved, Source, move
from brokers.rabbitmq_source import RabbitmqSource
from brokers.redis_source import RedisSource
from scripts.benchmarks.queue_servers import RabbitMQ, Redis
from tests.brokers.conftest import MakeWorker, wait_until

HOUR = 3_600_000


class Origin:
    """A stock broker with its server, and how to read from it."""

    def __init__(self, make_broker: Callable[[], Any], make_source: Callable[..., Source]) -> None:
        self._make_broker = make_broker
        self._make_source = make_source
        self._sources: list[Source] = []
        self.broker = make_broker()

    def source(self, *queues: str) -> Source:
        source = self._make_source(queues or ("default",))
        self._sources.append(source)
        return source

    def counts(self) -> tuple[int, int, int]:
        found = self.source().count("default")
        return found.waiting, found.delayed, found.dead

    def kill(self, message: "dramatiq.Message[Any]") -> None:
        """Have a message fail for good."""
        broker = self._make_broker()
        dramatiq.actor(_fail, broker=broker, actor_name=message.actor_name, max_retries=1, min_backoff=1)
        self.broker.enqueue(message)
        worker = dramatiq.Worker(broker, queues={"default"}, worker_threads=1, worker_timeout=100)
        worker.start()
        wait_until(lambda: self.counts()[2] == 1)
        worker.stop()
        close(broker)

    def close(self) -> None:
        for source in self._sources:
            source.close()
        close(self.broker)


def close(broker: Any) -> None:
    broker.close()
    if isinstance(broker, RedisBroker):
        broker.client.connection_pool.disconnect()


def _fail(*args: object) -> None:
    raise ValueError("boom")


def _redis(url: str) -> Origin:
    return Origin(lambda: RedisBroker(url=url, middleware=[Retries()]), lambda queues: RedisSource(url))


def _rabbitmq(url: str) -> Origin:
    return Origin(
        lambda: RabbitmqBroker(url=url, middleware=[Retries()], confirm_delivery=True),
        lambda queues: RabbitmqSource(url, queues=queues),
    )


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not Redis.is_installed():
        pytest.skip("no redis-server (apt install redis-server)")
    with Redis(tmp_path_factory.mktemp("redis"), durable=False) as server:
        yield server.url


@pytest.fixture(scope="module")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not RabbitMQ.is_installed() or shutil.which("epmd") is None:
        pytest.skip("no rabbitmq-server (apt install rabbitmq-server)")
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq"), durable=False) as server:
        yield server.url


@pytest.fixture(params=["redis_url", "rabbitmq_url"])
def origin(request: pytest.FixtureRequest) -> Iterator[Origin]:
    made = (_rabbitmq if request.param == "rabbitmq_url" else _redis)(request.getfixturevalue(request.param))
    made.broker.declare_queue("default")
    made.broker.flush_all()
    yield made
    made.broker.flush_all()
    made.close()


def message(*args: object, **options: Any) -> "dramatiq.Message[Any]":
    return dramatiq.Message("default", "act", args, {}, options)


def moved(origin: Origin, broker: JetStreamBroker, **options: Any) -> list[Moved]:
    source = origin.source()
    try:
        return list(move(source, broker, **options))
    finally:
        source.close()  # as the end of the process would


def ids_of_work(broker: JetStreamBroker) -> list[str]:
    stored = broker._api.each(
        broker._names.work_stream, broker._names.all_of("default"), deadline=time.monotonic() + 20
    )
    return [dramatiq.Message.decode(each.body).message_id for each in stored]


def test_waiting_delayed_and_dead_messages_are_moved_with_their_ids_and_due_times(
    origin: Origin, broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    # Given messages of each kind, one of them due in an hour and one overdue
    dead = message("dead")
    origin.kill(dead)
    waiting = [origin.broker.enqueue(message(number)) for number in range(5)]
    overdue = origin.broker.enqueue(message("overdue"), delay=1)
    due = time.time() + HOUR / 1000
    later = origin.broker.enqueue(message("later"), delay=HOUR)
    wait_until(lambda: origin.counts() == (5, 2, 1))
    # When they are moved
    assert moved(origin, broker) == [Moved("default", waiting=5, delayed=2, dead=1)]
    # Then nothing is left behind, and each is in its place
    assert origin.counts() == (0, 0, 0)
    (letter,) = broker.dead_letters.list()
    assert (letter.message_id, letter.queue, letter.actor) == (dead.message_id, "default", "act")
    assert letter.error == "ValueError: boom"
    assert "in _fail" in letter.traceback
    assert abs(letter.dead_at.timestamp() - time.time()) < 600
    wait_until(lambda: broker.get_queue_message_counts("default") == (6, 1, 1))
    (schedule,) = broker._api.each(
        broker._names.work_stream, broker._names.schedules_of("default"), deadline=time.monotonic() + 5
    )
    assert dramatiq.Message.decode(schedule.body).message_id == later.message_id
    assert abs(datetime.fromisoformat(schedule.headers["Nats-Schedule"][4:]).timestamp() - due) < 60
    # And what can run does so, with its own id
    ran: set[tuple[object, str]] = set()
    broker.add_middleware(CurrentMessage())

    @dramatiq.actor(broker=broker)
    def act(name: object) -> None:
        current = CurrentMessage.get_current_message()
        assert current is not None
        ran.add((name, current.message_id))

    start_worker(broker)
    wait_until(lambda: ran == {(each.args[0], each.message_id) for each in [*waiting, overdue]})


@pytest.mark.parametrize("crash_at", ["store", "remove", "after remove"])
def test_a_crash_at_any_point_loses_nothing_and_doubles_nothing(
    origin: Origin, broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch, crash_at: str
) -> None:
    monkeypatch.setattr(importing, "BLOCK", 3)
    # Given seven messages, one of them enqueued three times on purpose
    thrice = message("thrice")
    sent = [message(1), thrice, thrice, message(2), message(3), message(4), thrice]
    for each in sent:
        origin.broker.enqueue(each)
    wait_until(lambda: origin.counts() == (7, 0, 0))
    # When the import crashes once at each step of its way
    for step in range(1, 8):
        source = origin.source()
        _crash(monkeypatch, broker if crash_at == "store" else source, crash_at, step)
        try:
            list(move(source, broker))
        except BrokerUnavailable:
            source.close()
        else:
            break
        finally:
            monkeypatch.undo()
            monkeypatch.setattr(importing, "BLOCK", 3)
    moved(origin, broker, queues=["default"])
    # Then each is stored as often as it was sent
    assert Counter(ids_of_work(broker)) == Counter(each.message_id for each in sent)
    assert origin.counts() == (0, 0, 0)
    assert broker.key_value("imports").get(f"{origin.source().name}:default:waiting") is None


def _crash(monkeypatch: pytest.MonkeyPatch, victim: Any, crash_at: str, step: int) -> None:
    name = "enqueue_prepared" if crash_at == "store" else "remove"
    original, calls = getattr(victim, name), itertools.count(1)

    def crash(*args: Any, **options: Any) -> None:
        is_now = next(calls) >= min(step, 7 if crash_at == "store" else 2)
        if is_now and crash_at == "remove":
            raise BrokerUnavailable("the power went")
        original(*args, **options)
        if is_now:
            raise BrokerUnavailable("the power went")

    monkeypatch.setattr(victim, name, crash)


def test_a_repetition_that_comes_too_late_is_refused(
    origin: Origin, broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an import that crashed between storing and removing
    origin.broker.enqueue(message(1))
    wait_until(lambda: origin.counts() == (1, 0, 0))
    source = origin.source()
    _crash(monkeypatch, source, "remove", 1)
    monkeypatch.setattr(source, "remove", lambda *_: _refuse())
    with pytest.raises(BrokerUnavailable):
        list(move(source, broker))
    source.close()
    monkeypatch.undo()
    # When it is repeated after the server forgot
    broker.duplicate_window = importing.MARGIN
    with pytest.raises(ImportRefused, match="--accept-doubles"):
        moved(origin, broker)
    # Then nothing was moved, until a person says so
    assert len(ids_of_work(broker)) == 1
    assert [each.waiting for each in moved(origin, broker, accept_doubles=True)] == [1]
    assert origin.counts() == (0, 0, 0)


def _refuse() -> None:
    raise BrokerUnavailable("the power went")


def test_a_body_that_cannot_be_decoded_becomes_a_dead_letter(origin: Origin, broker: JetStreamBroker) -> None:
    if isinstance(origin.broker, RedisBroker):
        origin.broker.do_enqueue("default", "some-id", b"\xff")
    else:
        origin.broker.enqueue(message())
        origin.broker.flush("default")
        origin.broker.channel.basic_publish("", "default", b"\xff")
    wait_until(lambda: origin.counts() == (1, 0, 0))
    moved(origin, broker)
    (letter,) = broker.dead_letters.list()
    assert (letter.body, letter.message) == (b"\xff", None)
    assert letter.error.startswith("DecodeError")
    assert origin.counts() == (0, 0, 0)


def test_all_queues_of_redis_are_found_and_chosen_ones_alone_are_moved(redis_url: str, broker: JetStreamBroker) -> None:
    stock = RedisBroker(url=redis_url, middleware=[], namespace="odd*[ns]")
    for queue in ("first", "second.one"):
        stock.declare_queue(queue)
        stock.enqueue(dramatiq.Message(queue, "act", (), {}, {}), delay=HOUR)
    source = RedisSource(redis_url, namespace="odd*[ns]")
    assert source.queues() == ["first", "second.one"]
    assert list(move(source, broker, queues=["second.one"])) == [Moved("second.one", 0, 1, 0)]
    assert list(move(source, broker)) == [Moved("first", 0, 1, 0)]
    assert source.queues() == []
    source.close()
    close(stock)


def test_what_a_living_redis_worker_holds_is_left_to_it_and_what_a_dead_one_held_is_moved(
    redis_url: str, broker: JetStreamBroker
) -> None:
    # Given two messages that a worker has taken, and one that waits
    stock = RedisBroker(url=redis_url, middleware=[], namespace="held")
    stock.declare_queue("default")
    for number in range(3):
        stock.enqueue(message(number))
    worker = RedisBroker(url=redis_url, middleware=[], namespace="held")
    consumer = worker.consume("default", prefetch=2)
    next(consumer)
    source = RedisSource(redis_url, namespace="held")
    # When the worker lives, then its messages stay
    assert source.count("default") == Moved("default", 1, 0, 0, held=2)
    assert list(move(source, broker)) == [Moved("default", 1, 0, 0, held=2)]
    # When it has been silent for longer than Dramatiq waits, then they are moved
    source._client.zadd("held:__heartbeats__", {worker.broker_id: (time.time() - 61) * 1000})
    assert list(move(source, broker)) == [Moved("default", 2, 0, 0)]
    assert len(ids_of_work(broker)) == 3
    source.close()
    close(worker)
    close(stock)


def test_queues_of_rabbitmq_have_to_be_named_and_idle(rabbitmq_url: str, broker: JetStreamBroker) -> None:
    with pytest.raises(ImportRefused, match="--queue"):
        RabbitmqSource(rabbitmq_url, queues=[])
    stock = RabbitmqBroker(url=rabbitmq_url, middleware=[], confirm_delivery=True)
    stock.declare_queue("busy", ensure=True)
    consumer = stock.consume("busy", timeout=10)
    next(consumer)
    source = RabbitmqSource(rabbitmq_url, queues=["busy", "unknown"])
    with pytest.raises(ImportRefused, match="queue busy has 1 consumers: stop its workers first"):
        list(move(source, broker))
    consumer.close()
    wait_until(lambda: not source._declared("busy").consumer_count)
    assert list(move(source, broker)) == [Moved("busy", 0, 0, 0), Moved("unknown", 0, 0, 0)]
    source.close()
    close(stock)
