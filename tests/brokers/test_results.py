"""Results: what any backend of Dramatiq's does, asked of ours and of its Redis one; and what only ours promises."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dramatiq
import fakeredis
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.encoder import PickleEncoder
from dramatiq.results import ResultBackend, ResultFailure, ResultMissing, Results, ResultTimeout
from dramatiq.results.backends import RedisBackend

from brokers import BrokerUnavailable, JetStreamBroker, JetStreamResultBackend, watches
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, requests_of, wait_until


@pytest.fixture(autouse=True)
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits must be told: the look that mends a lost word would hide that nobody told."""
    monkeypatch.setattr(watches, "LOOK_AGAIN", 3600.0)


@pytest.fixture
def backend(broker: JetStreamBroker) -> JetStreamResultBackend:
    return JetStreamResultBackend(broker=broker)


@pytest.fixture(params=["jetstream", "redis"])
def any_backend(request: pytest.FixtureRequest) -> Iterator[ResultBackend]:
    if request.param == "jetstream":
        yield request.getfixturevalue("backend")
    else:
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        yield RedisBackend(client=client)
        client.close()


def a_message(message_id: str = "one", queue: str = "default") -> "dramatiq.Message[Any]":
    return dramatiq.Message(queue, "act", (), {}, {}, message_id=message_id)


# What any backend does


def test_a_result_that_is_not_there_is_missing(any_backend: ResultBackend) -> None:
    with pytest.raises(ResultMissing):
        any_backend.get_result(a_message())


@pytest.mark.parametrize("result", [None, 0, "", "ä\x00", [1, {"a": None}], {"__t": "x"}, "x" * 100_000])
@pytest.mark.parametrize("block", [False, True])
def test_a_result_is_read_as_it_was_stored(any_backend: ResultBackend, result: object, block: bool) -> None:
    any_backend.store_result(a_message(), result, 60_000)
    for _ in range(2):
        assert any_backend.get_result(a_message(), block=block, timeout=5000) == result


def test_a_result_is_that_of_one_message(any_backend: ResultBackend) -> None:
    any_backend.store_result(a_message("one"), 1, 60_000)
    for other in (a_message("two"), a_message("one", queue="other")):
        with pytest.raises(ResultMissing):
            any_backend.get_result(other)


def test_the_newest_result_wins(any_backend: ResultBackend) -> None:
    any_backend.store_result(a_message(), 1, 60_000)
    any_backend.store_result(a_message(), 2, 60_000)
    assert any_backend.get_result(a_message()) == 2


def test_an_exception_is_raised_as_a_failure_that_names_it(any_backend: ResultBackend) -> None:
    any_backend.store_exception(a_message(), ValueError("böse"), 60_000)
    for block in (False, True):
        with pytest.raises(ResultFailure) as raised:
            any_backend.get_result(a_message(), block=block, timeout=5000)
        assert (raised.value.orig_exc_type, raised.value.orig_exc_msg) == ("ValueError", "böse")


def test_who_waits_gets_the_result_when_it_is_stored(any_backend: ResultBackend) -> None:
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(any_backend.get_result, a_message(), block=True, timeout=20_000)
        time.sleep(0.2)
        assert not waiting.done()
        any_backend.store_result(a_message(), 1, 60_000)
        assert waiting.result(10) == 1


def test_who_waits_in_vain_is_told_so(any_backend: ResultBackend) -> None:
    with pytest.raises(ResultTimeout):
        any_backend.get_result(a_message(), block=True, timeout=1000)


def test_without_time_to_wait_a_result_that_is_there_is_read(any_backend: ResultBackend) -> None:
    with pytest.raises(ResultTimeout):
        any_backend.get_result(a_message(), block=True, timeout=0)
    any_backend.store_result(a_message(), 1, 60_000)
    assert any_backend.get_result(a_message(), block=True, timeout=0) == 1


def test_a_result_expires(any_backend: ResultBackend) -> None:
    any_backend.store_result(a_message(), 1, 1000)
    assert any_backend.get_result(a_message()) == 1

    def is_missing() -> bool:
        try:
            any_backend.get_result(a_message())
        except ResultMissing:
            return True
        return False

    wait_until(is_missing)


def test_results_of_actors_pipelines_and_groups_are_those_of_their_messages(
    any_backend: ResultBackend, start_worker: MakeWorker, request: pytest.FixtureRequest
) -> None:
    broker: dramatiq.Broker
    is_ours = isinstance(any_backend, JetStreamResultBackend)
    broker = request.getfixturevalue("broker") if is_ours else StubBroker()
    broker.add_middleware(Results(backend=any_backend))

    @dramatiq.actor(broker=broker, store_results=True)
    async def double(number: int) -> int:
        return number * 2

    @dramatiq.actor(broker=broker, store_results=True, max_retries=0)
    def fail() -> None:
        raise KeyError("no such thing")

    broker.add_middleware(dramatiq.middleware.AsyncIO())
    start_worker(broker)
    pipeline = dramatiq.pipeline([double.message(1), double.message(), double.message()], broker=broker).run()
    inner = dramatiq.group([double.message(10), double.message(20)], broker=broker)
    group = dramatiq.group([inner, double.message(30), pipeline], broker=broker).run()
    assert list(pipeline.get_results(block=True, timeout=10_000)) == [2, 4, 8]
    assert list(group.get_results(block=True, timeout=10_000)) == [[20, 40], 60, 8]
    with pytest.raises(ResultFailure, match="KeyError"):
        fail.send().get_result(backend=any_backend, block=True, timeout=10_000)


# What ours promises


def test_a_short_timeout_ends_in_time_also_while_nats_is_away(make_broker: MakeBroker) -> None:
    for broker in (make_broker(), make_broker("nats://127.0.0.1:1")):
        backend = JetStreamResultBackend(broker=broker)
        began = time.monotonic()
        with pytest.raises(ResultTimeout):
            backend.get_result(a_message(), block=True, timeout=100)
        assert 0.1 <= time.monotonic() - began < 1.5
    with pytest.raises(BrokerUnavailable):
        backend.get_result(a_message())


def test_who_waits_asks_the_server_once(broker: JetStreamBroker, backend: JetStreamResultBackend) -> None:
    backend.store_result(a_message("other"), 0, 60_000)
    before = requests_of(broker)
    with pytest.raises(ResultTimeout):
        backend.get_result(a_message(), block=True, timeout=1500)
    assert requests_of(broker) - before == 1


def test_many_who_wait_share_one_connection_and_all_are_told(
    make_broker: MakeBroker, backend: JetStreamResultBackend
) -> None:
    reading = JetStreamResultBackend(broker=make_broker())
    messages = [a_message(str(number)) for number in range(20)] * 3
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(reading.get_result, each, block=True, timeout=30_000) for each in messages]
        watches = reading._values._all_watches()
        wait_until(lambda: sum(len(watch.waiting) for watch in list(watches._watches.values())) == 60)
        assert len(watches._watches) == 20
        for number in range(20):
            backend.store_result(a_message(str(number)), number, 60_000)
        assert [each.result(20) for each in waiting] == list(range(20)) * 3
    wait_until(lambda: not watches._watches)


def test_a_result_that_came_while_the_connection_was_lost_is_found(
    own_nats: EmbeddedNats, make_broker: MakeBroker
) -> None:
    broker, writer = make_broker(own_nats.url), make_broker(own_nats.url)
    backend = JetStreamResultBackend(broker=broker)
    JetStreamResultBackend(broker=writer).store_result(a_message("other"), 0, 60_000)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(backend.get_result, a_message(), block=True, timeout=30_000)
        wait_until(lambda: backend._values._all_watches()._watches)
        # The waiter's connection goes away for a while, and the result is stored meanwhile
        client = suspend(broker)
        JetStreamResultBackend(broker=writer).store_result(a_message(), 1, 60_000)
        client.set()
        assert waiting.result(20) == 1


def suspend(broker: JetStreamBroker) -> threading.Event:
    """Cut the broker's connection, and let it connect again when the event is set."""
    connection, released = broker._links.consuming().connection, threading.Event()
    connect = connection._connect

    async def connect_later() -> Any:
        await asyncio.to_thread(released.wait)
        return await connect()

    async def lose() -> None:
        connection._connect = connect_later  # type: ignore[method-assign]
        (await connection.session()).lose()

    connection.start_task(lose()).result(5)
    wait_until(lambda: not connection.is_up)
    return released


def test_a_wait_outlasts_a_server_that_is_killed(own_nats: EmbeddedNats, make_broker: MakeBroker) -> None:
    backend = JetStreamResultBackend(broker=make_broker(own_nats.url))
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(backend.get_result, a_message(), block=True, timeout=60_000)
        wait_until(lambda: backend._values._all_watches()._watches)
        own_nats.kill()
        own_nats.start()

        def store() -> bool:
            try:
                backend.store_result(a_message(), 1, 60_000)
            except BrokerUnavailable:
                return False
            return True

        wait_until(store)
        assert waiting.result(20) == 1


def test_a_result_can_be_awaited(backend: JetStreamResultBackend) -> None:
    async def wait_for_both() -> Any:
        first = asyncio.ensure_future(backend.get_result_async(a_message(), timeout=20_000))
        await asyncio.sleep(0.1)
        await asyncio.to_thread(backend.store_result, a_message(), 1, 60_000)
        with pytest.raises(ResultTimeout):
            await backend.get_result_async(a_message("two"), timeout=100)
        return await first

    assert asyncio.run(wait_for_both()) == 1


def test_a_forgotten_result_is_missing(backend: JetStreamResultBackend) -> None:
    backend.store_result(a_message(), 1, 60_000)
    backend.forget(a_message())
    with pytest.raises(ResultMissing):
        backend.get_result(a_message())
    with pytest.raises(ResultTimeout):
        backend.get_result(a_message(), block=True, timeout=100)
    backend.store_result(a_message(), 2, 60_000)
    assert backend.get_result(a_message(), block=True) == 2


def test_namespaces_and_encoders_are_kept_apart_and_readable_keys_are_the_namespaces(broker: JetStreamBroker) -> None:
    backend = JetStreamResultBackend(
        broker=broker, namespace="a.b >", encoder=PickleEncoder(), use_namespace_prefix_keys=True
    )
    assert backend.build_message_key(a_message()) == "a.b >:default:act:one"
    backend.store_result(a_message(), {1, 2}, 60_000)
    assert backend.get_result(a_message()) == {1, 2}
    with pytest.raises(ResultMissing):
        JetStreamResultBackend(broker=broker).get_result(a_message())


def test_a_backend_of_its_own_connection_reads_what_others_stored(nats: EmbeddedNats) -> None:
    with pytest.raises(TypeError, match="either"):
        JetStreamResultBackend(broker=JetStreamBroker(nats.url), url=nats.url)
    one, two = JetStreamResultBackend(url=nats.url), JetStreamResultBackend(url=nats.url, publish_timeout=5.0)
    try:
        one.store_result(a_message("urls"), 1, 1000)
        assert two.get_result(a_message("urls"), block=True) == 1
    finally:
        one.close()
        two.close()


def test_a_message_given_back_has_no_result_yet(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    backend = JetStreamResultBackend(broker=broker)
    broker.add_middleware(Results(backend=backend))
    attempts: list[int] = []

    @dramatiq.actor(broker=broker, store_results=True, infrastructure_errors=OSError)
    def act() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no route to host")
        return len(attempts)

    message = act.send()
    start_worker(broker)
    assert message.get_result(backend=backend, block=True) == 2


def test_a_result_that_cannot_be_stored_is_not_lost(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = JetStreamResultBackend(broker=broker)
    broker.add_middleware(Results(backend=backend))

    @dramatiq.actor(broker=broker, store_results=True)
    def act() -> int:
        return 1

    message = act.send()
    put, errors = backend._values.put, [BrokerUnavailable("gone")]

    def failing(*arguments: Any, **options: Any) -> int:
        if errors:
            raise errors.pop()
        return put(*arguments, **options)

    monkeypatch.setattr(backend._values, "put", failing)
    start_worker(broker)
    assert message.get_result(backend=backend, block=True) == 1


def test_a_result_too_large_fails_for_whoever_waits_and_for_the_operator(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    backend = JetStreamResultBackend(broker=broker)
    broker.add_middleware(Results(backend=backend))

    @dramatiq.actor(broker=broker, store_results=True)
    def act() -> str:
        return "x" * 2_000_000

    message = act.send()
    start_worker(broker)
    with pytest.raises(ResultFailure, match="MessageTooLarge"):
        message.get_result(backend=backend, block=True)
    broker.join("default", timeout=5000)
    (letter,) = broker.dead_letters.list()
    assert letter.error.startswith("MessageTooLarge")
