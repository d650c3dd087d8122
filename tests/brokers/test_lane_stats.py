"""What lanes hold, how old their oldest message is, and how many dead letters there are in each."""

import threading
import time

import dramatiq
import pytest
from dramatiq.middleware import Retries

from brokers import BrokerUnavailable, JetStreamBroker, lane_stats
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, requests_of, wait_until


def stats_of(broker: JetStreamBroker) -> dict[str, lane_stats.LaneStats]:
    return {each.lane: each for each in broker.lane_stats("default")}


@pytest.fixture
def enqueue(broker: JetStreamBroker):
    """Enqueues a message of a lane that its sender made ``age`` seconds ago."""
    broker.declare_queue("default")

    def send(lane: str, *, age: float = 0.0, delay: int | None = None, **options: int) -> None:
        made_at = int((time.time() - age) * 1000)
        message = dramatiq.Message("default", "act", (), {}, {"lane": lane, **options}, message_timestamp=made_at)
        broker.enqueue(message, delay=delay)

    return send


def test_each_lane_tells_how_much_it_holds_and_how_old_that_is(broker: JetStreamBroker, enqueue) -> None:
    # Given lanes with dots in their names, of several priorities, and messages without a lane
    enqueue("shop.a", age=90)
    enqueue("shop.a", age=10)
    enqueue("shop.b", age=30, broker_priority=3)
    enqueue("", broker_priority=3)
    enqueue("")
    found = stats_of(broker)
    assert {lane: each.messages for lane, each in found.items()} == {"shop.a": 2, "shop.b": 1}
    assert 90 <= found["shop.a"].oldest_seconds < 100
    assert 30 <= found["shop.b"].oldest_seconds < 40


def test_what_waits_for_a_retry_is_as_old_as_its_first_try(broker: JetStreamBroker, enqueue) -> None:
    enqueue("a", age=600, delay=60_000)
    enqueue("a", age=5)
    enqueue("b", age=300, delay=60_000)
    found = stats_of(broker)
    assert {lane: each.messages for lane, each in found.items()} == {"a": 2, "b": 1}
    assert 600 <= found["a"].oldest_seconds < 610
    assert 300 <= found["b"].oldest_seconds < 310


def test_a_message_at_work_is_in_its_lane_until_it_has_ended(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @dramatiq.actor(broker=broker)
    def act() -> None:
        begun.set()
        assert go_on.wait(10)

    act.send_with_options(lane="a")
    start_worker(broker)
    assert begun.wait(10)
    assert stats_of(broker)["a"].messages == 1
    go_on.set()
    wait_until(lambda: stats_of(broker) == {})


def test_of_many_lanes_the_fullest_are_read_and_the_others_age_is_unknown(
    broker: JetStreamBroker, enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_stats, "LANES_READ", 2)
    for number in range(20):
        enqueue(f"lane {number}")
    for lane in ("lane 7", "lane 11"):
        enqueue(lane)
    before = requests_of(broker)
    found = stats_of(broker)
    # One for the lanes, one each for two of them, and one for what is delayed
    assert requests_of(broker) - before == 4
    assert len(found) == 20
    assert {lane for lane, each in found.items() if each.oldest_seconds is not None} == {"lane 7", "lane 11"}


def test_a_delayed_message_does_not_stand_for_a_lane_that_was_not_read(
    broker: JetStreamBroker, enqueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_stats, "LANES_READ", 0)
    enqueue("a", age=600)
    enqueue("a", age=10, delay=60_000)
    assert stats_of(broker)["a"] == lane_stats.LaneStats("a", 2, None)


def test_reading_ends_in_time_for_an_answer(broker: JetStreamBroker, enqueue, monkeypatch: pytest.MonkeyPatch) -> None:
    for lane in "abcdefgh":
        enqueue(lane)
    for lane in "ijkl":
        enqueue(lane, delay=60_000)
    # Given a server that takes its time
    first = broker._api.first

    def first_slowly(*arguments, **options):
        time.sleep(0.3)
        return first(*arguments, **options)

    monkeypatch.setattr(broker._api, "first", first_slowly)
    found = broker.lane_stats("default", timeout=1.0)
    told = {each.lane for each in found}
    assert set("abcdefgh") < told < set("abcdefghijkl")
    assert 1 <= len([each for each in found if each.oldest_seconds is not None and each.lane in "abcdefgh"]) <= 2


def test_before_anything_was_sent_there_are_no_lanes(broker: JetStreamBroker) -> None:
    broker.declare_queue("default")
    assert broker.lane_stats("default") == []
    assert broker.dead_letters.by_lane() == {}


def test_without_nats_the_answer_is_an_error_in_time(make_broker: MakeBroker, own_nats: EmbeddedNats) -> None:
    broker = make_broker(own_nats.url)
    broker.declare_queue("default")
    broker.ping()
    own_nats.stop()
    began = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        broker.lane_stats("default", timeout=1.0)
    assert time.monotonic() - began < 3.0


def test_dead_letters_are_found_in_the_lane_that_their_actor_names(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(middleware=[Retries(max_retries=0)])

    def fail(_: str) -> None:
        raise ValueError("boom")

    def declare(name: str, **options: object) -> dramatiq.Actor:
        return dramatiq.actor(fail, broker=broker, actor_name=name, **options)

    # Given actors whose messages have no lane, one of which cannot say whose they are
    of_shop = declare("of_shop", dead_letter_lane=lambda message: message.args[0])
    unnamed = declare("unnamed", dead_letter_lane=lambda message: message.args[7])
    too_long = declare("too_long", dead_letter_lane=lambda message: message.args[0] * 1000)
    plain = declare("plain")
    for actor in (of_shop, of_shop, unnamed, too_long, plain):
        actor.send("shop.a")
    # And a message with a lane of its own
    of_shop.send_with_options(args=("shop.a",), lane="shop.b")
    start_worker(broker)
    wait_until(lambda: broker.dead_letters.count() == 6)
    # Then all are buried, each where it is looked for
    assert broker.dead_letters.by_lane() == {"shop.a": 2, "shop.b": 1, "": 3}
    assert [letter.actor for letter in broker.dead_letters.list(lane="shop.a")] == ["of_shop", "of_shop"]


def test_a_replay_has_no_lane_that_only_its_dead_letter_had(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    broker = make_broker(middleware=[Retries(max_retries=0)])

    @dramatiq.actor(broker=broker, dead_letter_lane="a")
    def act() -> None:
        raise ValueError("boom")

    act.send()
    worker = start_worker(broker)
    wait_until(lambda: broker.dead_letters.count(lane="a") == 1)
    worker.stop(timeout=5000)
    assert broker.dead_letters.replay_all(lane="a") == 1
    assert broker.get_queue_message_counts("default")[0] == 1
    assert broker.lane_stats("default") == []


@pytest.mark.parametrize("lane", [7, "x" * 129], ids=str)
def test_a_lane_of_dead_letters_that_cannot_be_is_refused(broker: JetStreamBroker, lane: object) -> None:
    with pytest.raises(ValueError, match="a lane must be a text"):
        dramatiq.actor(lambda: None, broker=broker, actor_name="act", dead_letter_lane=lane)
