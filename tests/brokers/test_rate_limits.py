"""Rate limits: what any backend of Dramatiq's does, asked of ours and of its Redis one; and what only ours promises."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import fakeredis
import pytest
from dramatiq import RateLimitExceeded
from dramatiq.rate_limits import (
    Barrier,
    BucketRateLimiter,
    ConcurrentRateLimiter,
    RateLimiterBackend,
    WindowRateLimiter,
)
from dramatiq.rate_limits.backends import RedisBackend

from brokers import BrokerUnavailable, JetStreamBroker, JetStreamRateLimiterBackend, KeyConflict, rate_limits
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, requests_of, wait_until

pytestmark = pytest.mark.long

MINUTE, DAY = 60_000, 86_400_000
Make = Callable[[], RateLimiterBackend]


@pytest.fixture(params=["jetstream", "jetstream-memory", "redis"])
def make_backend(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes backends of the same counters, as other processes have them."""
    if request.param == "redis":
        server = fakeredis.FakeServer()
        clients: list[fakeredis.FakeRedis] = []

        def make() -> RateLimiterBackend:
            clients.append(fakeredis.FakeRedis(server=server))
            return RedisBackend(client=clients[-1])

        yield make
        for client in clients:
            client.close()
    else:
        make_broker: MakeBroker = request.getfixturevalue("make_broker")
        is_memory = request.param == "jetstream-memory"
        yield lambda: JetStreamRateLimiterBackend(broker=make_broker(), windows_in_memory=is_memory)


@pytest.fixture
def backend(make_backend: Make) -> RateLimiterBackend:
    return make_backend()


@pytest.fixture
def ours(broker: JetStreamBroker) -> JetStreamRateLimiterBackend:
    return JetStreamRateLimiterBackend(broker=broker)


def at_once(count: int, call: Callable[[int], Any]) -> list[Any]:
    """What ``call`` returns to so many threads that begin together."""
    ready = threading.Barrier(count)

    def run(number: int) -> Any:
        ready.wait(30)
        return call(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# What any backend does

KEYS = ["key", "key@1700000000", "shop@example.com:1 *>.", "ä", "x" * 200]


@pytest.mark.parametrize("key", KEYS)
def test_a_counter_is_added_once(backend: RateLimiterBackend, key: str) -> None:
    assert backend.add(key, 1, MINUTE)
    assert not backend.add(key, 5, MINUTE)
    assert backend.add(key + "2", 1, MINUTE)


@pytest.mark.parametrize("key", KEYS)
def test_a_counter_stays_within_its_bounds(backend: RateLimiterBackend, key: str) -> None:
    assert backend.incr(key, 2, 3, MINUTE)
    assert not backend.incr(key, 2, 3, MINUTE)
    assert backend.incr(key, 1, 3, MINUTE)
    assert not backend.decr(key, 4, 0, MINUTE)
    assert backend.decr(key, 3, 0, MINUTE)
    assert not backend.decr(key, 1, 0, MINUTE)


def test_a_counter_that_is_not_there_counts_as_zero(backend: RateLimiterBackend) -> None:
    assert not backend.decr("key", 1, 0, MINUTE)
    assert backend.decr("key", 1, -1, MINUTE)
    assert not backend.incr("other", 2, 1, MINUTE)
    assert backend.add("other", 1, MINUTE)


@pytest.mark.parametrize("stem", ["key@170000000", "key"])
def test_a_counter_is_raised_while_the_sum_allows_it(backend: RateLimiterBackend, stem: str) -> None:
    one, two, three = (f"{stem}{number}" for number in (1, 2, 3))
    assert backend.incr_and_sum(one, lambda: [one, two], 2, 4, MINUTE)
    assert backend.incr_and_sum(two, lambda: [one, two], 1, 4, MINUTE)
    assert not backend.incr_and_sum(two, lambda: [one, two], 2, 4, MINUTE)
    assert backend.incr_and_sum(two, lambda: [one, two], 1, 4, MINUTE)
    assert not backend.incr_and_sum(one, lambda: [one, two], 1, 4, MINUTE)
    assert not backend.incr_and_sum(one, lambda: [two], 3, 4, MINUTE)
    assert backend.incr_and_sum(three, lambda: [three], 4, 4, MINUTE)


@pytest.mark.parametrize("key", ["key", "key@1700000000"])
def test_a_counter_expires(backend: RateLimiterBackend, key: str) -> None:
    assert backend.add(key, 1, 200)
    assert backend.add(key + "0", 1, MINUTE)
    time.sleep(0.25)
    assert backend.add(key, 1, 200)
    assert not backend.add(key + "0", 1, MINUTE)
    time.sleep(0.25)
    assert backend.incr(key, 1, 1, 200)


def test_a_change_prolongs_a_counter(backend: RateLimiterBackend) -> None:
    assert backend.add("key", 1, 1000)
    assert backend.incr("key", 1, 9, MINUTE)
    time.sleep(2.5)  # the server looks for what has expired about once a second
    assert not backend.add("key", 1, 1000)
    assert backend.decr("key", 2, 0, MINUTE)


def test_of_many_changes_at_once_none_is_lost_and_none_exceeds_a_bound(make_backend: Make) -> None:
    backends = [make_backend() for _ in range(4)]
    assert sum(at_once(16, lambda number: backends[number % 4].add("new", 1, MINUTE))) == 1
    assert sum(at_once(16, lambda number: backends[number % 4].incr("key", 1, 10, MINUTE))) == 10
    assert sum(at_once(16, lambda number: backends[number % 4].decr("key", 1, 3, MINUTE))) == 7


# Not the one whose server is a fake: it lets threads count past each other.
@pytest.mark.parametrize("make_backend", ["jetstream", "jetstream-memory"], indirect=True)
@pytest.mark.parametrize("stem", ["key@170000000", "key"])
def test_of_many_sums_at_once_none_exceeds_its_bound(make_backend: Make, stem: str) -> None:
    backends = [make_backend() for _ in range(4)]
    keys = [f"{stem}{number}" for number in range(4)]
    assert sum(at_once(16, lambda n: backends[n % 4].incr_and_sum(keys[n % 4], lambda: keys, 1, 10, MINUTE))) == 10


def test_a_notification_wakes_those_who_wait_and_those_who_come_later(make_backend: Make) -> None:
    waiting, notifying = make_backend(), make_backend()
    with ThreadPoolExecutor() as pool:
        waits = [pool.submit(waiting.wait, "key@events", 20_000) for _ in range(4)]
        time.sleep(0.2)
        assert not any(each.done() for each in waits)
        notifying.wait_notify("key@events", MINUTE)
        assert [each.result(10) for each in waits] == [True] * 4
    assert waiting.wait("key@events", 1000)
    assert not waiting.wait("other@events", 1000)


def test_no_more_than_the_limit_run_at_once(make_backend: Make) -> None:
    limiters = [ConcurrentRateLimiter(make_backend(), "key", limit=3) for _ in range(4)]
    lock, running, most, refused = threading.Lock(), [0], [0], [0]

    def work(number: int) -> None:
        for _ in range(5):
            try:
                with limiters[number % 4].acquire():
                    with lock:
                        running[0] += 1
                        most[0] = max(most[0], running[0])
                    time.sleep(0.01)
                    with lock:
                        running[0] -= 1
            except RateLimitExceeded:
                refused[0] += 1

    at_once(16, work)
    assert 1 <= most[0] <= 3
    assert refused[0] > 0
    # And every place was given back
    with limiters[0].acquire(), limiters[1].acquire(), limiters[2].acquire():
        pass


def test_a_bucket_lets_its_limit_through(make_backend: Make) -> None:
    limiters = [BucketRateLimiter(make_backend(), "key", limit=5, bucket=DAY) for _ in range(4)]
    assert sum(at_once(16, lambda number: acquires(limiters[number % 4]))) == 5


def test_a_window_lets_its_limit_through_and_then_no_more_until_it_has_moved_on(make_backend: Make) -> None:
    limiters = [WindowRateLimiter(make_backend(), "key", limit=5, window=4) for _ in range(4)]
    began = time.monotonic()
    assert sum(sum(at_once(8, lambda number: acquires(limiters[number % 4]))) for _ in range(3)) == 5
    wait_until(lambda: acquires(limiters[0]))
    assert time.monotonic() - began > 2.9  # four seconds, less the one that had begun


def acquires(limiter: Any) -> bool:
    with limiter.acquire(raise_on_failure=False) as acquired:
        return bool(acquired)


def test_a_barrier_opens_for_all_when_the_last_party_came(make_backend: Make) -> None:
    barriers = [Barrier(make_backend(), "key", ttl=MINUTE) for _ in range(4)]
    assert sum(at_once(4, lambda number: barriers[number].create(parties=8))) == 1
    assert all(at_once(8, lambda number: barriers[number % 4].wait(timeout=20_000)))


def test_a_barrier_that_nobody_waits_at_opens_for_the_last_party_alone(backend: RateLimiterBackend) -> None:
    barrier = Barrier(backend, "key", ttl=MINUTE)
    barrier.create(parties=3)
    assert [barrier.wait(block=False) for _ in range(3)] == [False, False, True]


# What ours promises


def test_windows_may_live_in_memory_and_nothing_else(make_broker: MakeBroker, namespace: str) -> None:
    broker = make_broker()
    backend = JetStreamRateLimiterBackend(broker=broker, windows_in_memory=True)
    barrier = Barrier(backend, "barrier", ttl=MINUTE)
    barrier.create(parties=1)
    assert barrier.wait(timeout=1000)
    held = ConcurrentRateLimiter(backend, "mutex")
    with held.acquire(), WindowRateLimiter(backend, "window").acquire(), BucketRateLimiter(backend, "bucket").acquire():
        stored = {name: stream(broker, f"KV_{namespace}-{name}") for name in ("limits", "windows-memory")}
    assert (stored["limits"]["config"]["storage"], stored["limits"]["state"]["messages"]) == ("file", 3)
    assert (stored["windows-memory"]["config"]["storage"], stored["windows-memory"]["state"]["messages"]) == (
        "memory",
        2,
    )


def stream(broker: JetStreamBroker, name: str) -> dict[str, Any]:
    return broker._api.ask(f"STREAM.INFO.{name}", deadline=time.monotonic() + 5)


def test_counters_are_removed_by_the_server_when_they_expired(
    broker: JetStreamBroker, ours: JetStreamRateLimiterBackend, namespace: str
) -> None:
    for number in range(10):
        ours.add(f"key-{number}", 1, 100)
        ours.add(f"key@{1_700_000_000 + number}", 1, 100)
    for bucket in ("limits", "windows"):
        wait_until(lambda: stream(broker, f"KV_{namespace}-{bucket}")["state"]["messages"] == 0)  # noqa: B023


def test_counters_of_barriers_outlast_a_server_that_is_killed(own_nats: EmbeddedNats, make_broker: MakeBroker) -> None:
    backend = JetStreamRateLimiterBackend(broker=make_broker(own_nats.url), windows_in_memory=True)
    barrier = Barrier(backend, "key", ttl=MINUTE)
    barrier.create(parties=2)
    assert not barrier.wait(block=False)
    own_nats.kill()
    own_nats.start()

    def arrives() -> bool:
        try:
            return barrier.wait(block=False)
        except BrokerUnavailable:
            return False

    assert wait_until(arrives)


def test_a_race_that_is_always_lost_ends(ours: JetStreamRateLimiterBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def lose(*arguments: object, **options: object) -> int:
        tries.append(time.monotonic())
        raise KeyConflict("changed")

    monkeypatch.setattr(rate_limits, "PATIENCE", 0.5)
    monkeypatch.setattr(ours._counts, "create", lose)
    with pytest.raises(BrokerUnavailable, match="too many"):
        ours.add("key", 1, MINUTE)
    # It slowed down meanwhile
    assert 3 < len(tries) < 60


def test_a_wait_asks_the_server_once(broker: JetStreamBroker, ours: JetStreamRateLimiterBackend) -> None:
    ours.wait_notify("other", MINUTE)
    before = requests_of(broker)
    began = time.monotonic()
    assert not ours.wait("key", 1200)
    assert time.monotonic() - began >= 1.2
    assert requests_of(broker) - before == 1
