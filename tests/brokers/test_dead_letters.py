"""Dead letters: found by queue, actor and lane, shown with their history, replayed once however often it is tried."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import dramatiq
import pytest
from dramatiq.middleware import Retries

from brokers import BrokerUnavailable, DeadLetterNotFound, JetStreamBroker, dead_letters, history
from brokers.leases import Delivery
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until

Bury = Callable[..., None]


@pytest.fixture
def bury(broker: JetStreamBroker) -> Bury:
    """Buries messages as a worker would."""
    broker.ensure_streams()
    sequences = iter(range(1, 1_000_000))

    def make(*, queue: str = "default", actor: str = "act", count: int = 1, **options: str) -> None:
        for _ in range(count):
            message = dramatiq.Message(queue, actor, (), {}, options)
            delivery = Delivery(queue, next(sequences), 1, 1, "", "", message.encode(), {}, 30.0)
            broker._bury(delivery, error=ValueError("boom"), message=message)

    return make


def test_dead_letters_are_chosen_by_queue_actor_and_lane(broker: JetStreamBroker, bury: Bury) -> None:
    # Given dead letters of two queues, two actors and two lanes
    bury(queue="first", actor="store", lane="shop a")
    bury(queue="first", actor="store.all", lane="shop.b", count=2)
    bury(queue="second", actor="store", count=4)
    letters = broker.dead_letters
    # Then each choice finds its own, and they narrow each other
    assert [letter.lane for letter in letters.list(actor="store")] == ["shop a", None, None, None, None]
    assert {letter.actor for letter in letters.list(lane="shop.b")} == {"store.all"}
    assert [letters.count(**chosen) for chosen in ({}, {"queue": "first"}, {"actor": "store"}, {"lane": "shop a"})] == [
        7,
        3,
        5,
        1,
    ]
    assert letters.count(queue="first", actor="store", lane="shop a") == 1
    assert letters.count(queue="second", lane="shop a") == 0
    # And so do purge and replay
    assert letters.purge(queue="second", lane="shop a") == 0
    assert letters.purge(lane="shop.b") == 2
    assert letters.replay_all(actor="store.all") == 0
    broker.declare_queue("second")
    assert letters.replay_all("second", actor="store") == 4
    assert broker.get_queue_message_counts("second") == (4, 0, 0)
    assert letters.count() == 1


def test_the_list_is_paged_and_never_cut_silently(broker: JetStreamBroker, bury: Bury) -> None:
    bury(count=120)
    seen, after = [], 0
    while page := broker.dead_letters.list(after=after, limit=50):
        seen += [letter.sequence for letter in page]
        after = page[-1].sequence
    assert len(seen) == 120
    assert all(one < two for one, two in pairwise(seen))
    assert len(broker.dead_letters.list(limit=500)) == 120


def test_many_dead_letters_take_the_time_they_take(
    broker: JetStreamBroker, bury: Bury, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given more dead letters than can be read in the time that one request may take
    bury(count=30)
    started = iter(range(1_000_000))
    deadlines = []
    monkeypatch.setattr(dead_letters, "_deadline", lambda: deadlines.append(next(started)) or 1e12)
    # When they are listed and replayed, then each request has a time of its own
    broker.dead_letters.list(limit=100)
    assert len(deadlines) >= 30
    assert broker.dead_letters.replay_all() == 30


def test_no_dead_letters_are_an_empty_list_and_no_error(broker: JetStreamBroker) -> None:
    assert broker.dead_letters.list() == []
    assert broker.dead_letters.count() == 0
    assert broker.dead_letters.replay_all() == 0
    assert broker.dead_letters.purge() == 0
    with pytest.raises(DeadLetterNotFound):
        broker.dead_letters.show(1)
    with pytest.raises(DeadLetterNotFound):
        broker.dead_letters.replay(1)


def test_a_dead_letter_tells_what_became_of_each_delivery(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    attempts = []

    @dramatiq.actor(broker=broker, max_retries=2, min_backoff=20, max_backoff=20)
    def act() -> None:
        attempts.append(1)
        raise ValueError(f"attempt {len(attempts)}\nä")

    before = datetime.now(UTC) - timedelta(seconds=1)
    act.send()
    start_worker(broker)
    broker.join("default", timeout=10_000)
    (letter,) = broker.dead_letters.list()
    assert (letter.retries, letter.deliveries) == (2, 1)
    assert [attempt.error.split("\n")[0] for attempt in letter.history] == [
        f"ValueError: attempt {number}" for number in (1, 2, 3)
    ]
    assert letter.enqueued_at is not None
    assert letter.stored_at is not None
    times = [before, letter.enqueued_at]
    for attempt in letter.history:
        assert attempt.count == 1
        assert attempt.worker.rpartition(":")[0]
        times += [attempt.delivered_at, attempt.failed_at]
    assert times == sorted(times)
    assert letter.enqueued_at < letter.stored_at <= letter.dead_at
    assert "attempt 3" in letter.traceback
    # And a replay's deliveries are told behind them
    broker.dead_letters.replay(letter.sequence)
    wait_until(broker.dead_letters.list)
    (again,) = broker.dead_letters.list()
    assert again.retries == 2
    assert [attempt.error.split("\n")[0][-1] for attempt in again.history] == list("123456")


def test_a_long_history_keeps_its_beginning_and_its_end(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    attempts = []

    @dramatiq.actor(broker=broker, max_retries=14, min_backoff=1, max_backoff=1)
    def act() -> None:
        attempts.append(1)
        raise ValueError(f"{len(attempts)} " + "x" * 10_000)

    act.send()
    start_worker(broker)
    broker.join("default", timeout=20_000)
    (letter,) = broker.dead_letters.list()
    assert [int(attempt.error.split()[1]) for attempt in letter.history] == [1, *range(7, 16)]
    assert max(len(attempt.error) for attempt in letter.history) <= 200


def test_an_error_that_cannot_say_what_it_is_loses_nothing(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    @dramatiq.actor(broker=broker, max_retries=1, min_backoff=1, max_backoff=1, throws=Mute)
    def act() -> None:
        raise Mute

    act.send()
    start_worker(broker)
    broker.join("default", timeout=10_000)
    (letter,) = broker.dead_letters.list()
    assert letter.error == "Mute: (RuntimeError in its __str__)"


def test_an_error_with_half_a_character_can_be_stored() -> None:
    assert history.described(ValueError("\ud800")) == "ValueError: \\ud800"


def test_death_replay_death_and_replay_again_within_the_duplicate_window(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran = []

    @dramatiq.actor(broker=broker, max_retries=0)
    def act() -> None:
        ran.append(1)
        if len(ran) < 4:
            raise ValueError("boom")

    act.send()
    start_worker(broker)
    # When a message dies and is replayed three times over
    for deaths in (1, 2, 3):
        (letter,) = wait_until(broker.dead_letters.list)
        assert len(ran) == deaths
        broker.dead_letters.replay(letter.sequence)
    # Then it ran each time: no replay was taken for the original, or for an earlier replay
    wait_until(lambda: len(ran) == 4)
    broker.join("default", timeout=10_000)
    assert broker.dead_letters.count() == 0


def test_two_operators_who_replay_all_at_once_replay_nothing_twice(
    make_broker: MakeBroker, bury: Bury, start_worker: MakeWorker
) -> None:
    bury(count=60)
    operators = [make_broker(), make_broker()]
    replayed: list[int] = []
    together = threading.Barrier(2)

    def replay(broker: JetStreamBroker) -> None:
        broker.ping()
        together.wait()
        replayed.append(broker.dead_letters.replay_all())

    # Given a worker that runs what is replayed at once, so that it is gone again while the other operator works
    ran = []
    worker_broker = make_broker()
    dramatiq.actor(lambda: ran.append(1), broker=worker_broker, actor_name="act")
    start_worker(worker_broker)
    # When two replay all at once
    threads = [threading.Thread(target=replay, args=[each]) for each in operators]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    worker_broker.join("default", timeout=20_000)
    # Then each message ran once, and the counts tell whose it was
    assert sum(replayed) == 60
    assert len(ran) == 60


def test_a_replay_that_ended_between_publish_and_removal_does_not_double(
    broker: JetStreamBroker, bury: Bury, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury()
    ran = []
    dramatiq.actor(lambda: ran.append(1), broker=broker, actor_name="act")
    start_worker(broker)

    # Given a replay that crashed before it removed the dead letter, whose message ran since
    def crash(sequence: int) -> bool:
        raise BrokerUnavailable("the power went")

    with monkeypatch.context() as crashing:
        crashing.setattr(broker.dead_letters, "_remove", crash)
        with pytest.raises(BrokerUnavailable):
            broker.dead_letters.replay_all()
    broker.join("default", timeout=10_000)
    assert broker.dead_letters.count() == 1
    # When it is repeated
    assert broker.dead_letters.replay_all() == 1
    broker.join("default", timeout=10_000)
    # Then the message did not run again
    assert len(ran) == 1
    assert broker.dead_letters.count() == 0


def test_a_replay_goes_where_its_lane_and_key_belong(broker: JetStreamBroker, bury: Bury) -> None:
    # Given a dead letter of a lane, and of a unique task
    bury(lane="shop a", unique="key")
    # When it is replayed, although another with its key is queued already
    other = dramatiq.Message("default", "act", (), {}, {"unique": "key"})
    broker.declare_queue("default")
    broker.enqueue(other)
    assert broker.dead_letters.replay_all() == 1
    # Then it waits in its lane, under its key: a person asked for it
    stored = broker._api.first(
        broker._names.work_stream, broker._names.lane("default", "shop a", 0), deadline=time.monotonic() + 5
    )
    assert stored is not None
    assert stored.subject.endswith(".act.key")
    assert broker.get_queue_message_counts("default") == (2, 0, 0)


def test_a_message_that_its_own_history_would_make_too_large_is_retried_without_it(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(middleware=[Retries(max_retries=1, min_backoff=1, max_backoff=1)])
    ran = []

    @dramatiq.actor(broker=broker)
    def act(text: str) -> None:
        ran.append(text)
        raise ValueError("x" * 1000)

    # Given a message that leaves room for what Retries counts, and not for a history
    message = act.send("x" * (1_048_576 - 4096 - 550))
    start_worker(broker)
    broker.join("default", timeout=20_000)
    assert len(ran) == 2
    (letter,) = broker.dead_letters.list()
    assert letter.message_id == message.message_id
