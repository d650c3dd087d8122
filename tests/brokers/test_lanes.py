"""Lanes: they get their turns, so that a long one delays no other, and cost little."""

import statistics
import time

import dramatiq
import pytest

from brokers import JetStreamBroker
from brokers.names import Names
from brokers.sources import MAIN, Source, Sources
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


@pytest.mark.parametrize("hot", ["long", None], ids=["a lane", "the main line"])
def test_a_message_of_another_lane_does_not_wait_for_a_long_one(
    broker: JetStreamBroker, start_worker: MakeWorker, hot: str | None
) -> None:
    ran: list[str | None] = []

    @dramatiq.actor(broker=broker)
    def act(lane: str | None) -> None:
        ran.append(lane)
        time.sleep(0.01)

    def send(lane: str | None) -> None:
        act.send_with_options(args=(lane,), lane=lane)

    # Given a long lane, and one message of another lane behind it before there is a worker
    for _ in range(400):
        send(hot)
    send("early")
    start_worker(broker, worker_threads=4)
    wait_until(lambda: len(ran) > 30)
    # When a message of a lane comes that nobody knew
    came_at = len(ran)
    send("late")
    # Then both ran while the long one had hardly begun
    wait_until(lambda: "late" in ran)
    assert ran.index("early") < 30
    assert ran.index("late") - came_at < 60
    assert len(ran) < 300
    broker.join("default", timeout=30_000)
    assert len(ran) == 402


def test_many_lanes_that_nobody_knew_are_all_worked_off_in_turn(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran: list[str] = []

    @dramatiq.actor(broker=broker, lane=lambda message: message.args[0])
    def act(lane: str) -> None:
        ran.append(lane)
        time.sleep(0.02)

    names = [f"shop-{number}.example *>" for number in range(60)]
    for name in names:
        for _ in range(3):
            act.send(name)
    start_worker(broker, worker_threads=4)
    broker.join("default", timeout=30_000)
    assert sorted(ran) == sorted(names * 3)
    # First turns came early: lane after lane would make their mean 88, and making a lane's consumer may cost it one turn
    assert statistics.mean(ran.index(name) for name in names) < 75


def test_counts_and_flush_include_lanes(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    act.send()
    act.send_with_options(lane="a")
    act.send_with_options(lane="b", broker_priority=4)
    act.send_with_options(broker_priority=4)
    act.send_with_options(lane="a", delay=60_000)
    assert broker.get_queue_message_counts("default") == (4, 1, 0)
    consumer = broker.consume("default", prefetch=4, timeout=200)
    held = []
    wait_until(lambda: held.append(next(consumer)) or len([each for each in held if each is not None]) == 4)
    (stats,) = broker.queue_stats()
    assert (stats.ready, stats.outstanding, stats.delayed) == (0, 4, 1)
    consumer.requeue(message for message in held if message is not None)
    consumer.close()
    with pytest.raises(dramatiq.errors.QueueJoinTimeout):
        broker.join("default", timeout=100)
    broker.flush("default")
    assert broker.get_queue_message_counts("default") == (0, 0, 0)
    broker.join("default", timeout=1000)


def test_a_delayed_message_of_a_lane_runs_though_no_bell_tells_of_it(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran: list[float] = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(time.monotonic())

    start_worker(broker)
    act.send()
    wait_until(lambda: len(ran) == 1)
    began = time.monotonic()
    act.send_with_options(lane="a", delay=700)
    wait_until(lambda: len(ran) == 2)
    assert 0.7 <= ran[1] - began < 5


def test_a_bell_that_was_lost_costs_a_second_or_so(
    make_broker: MakeBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaf, broker = make_broker(), make_broker()
    monkeypatch.setattr(broker._bells, "ring", lambda _message: None)
    ran: list[int] = []
    for each in (deaf, broker):
        dramatiq.actor(lambda: ran.append(1), broker=each, actor_name="act")
    start_worker(deaf)
    broker.get_actor("act").send()
    wait_until(lambda: len(ran) == 1)
    broker.get_actor("act").send_with_options(lane="a")
    wait_until(lambda: len(ran) == 2, timeout=5)


def test_messages_that_follow_within_one_bell_do_not_wait_for_a_look(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokers.looks.SHORTEST", 60.0)
    monkeypatch.setattr("brokers.looks.LONGEST", 60.0)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    start_worker(broker)
    act.send()
    wait_until(lambda: len(ran) == 1)
    for number in range(2, 6):
        act.send_with_options(lane="a")
        act.send_with_options(lane="b")
        wait_until(lambda wanted=2 * number - 2: len(ran) >= wanted)  # type: ignore[misc]
    broker.join("default", timeout=5000)


def test_lanes_and_their_workers_come_back_when_the_stream_was_deleted(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=broker, lane=lambda _message: "a")
    def act() -> None:
        ran.append(1)

    start_worker(broker)
    act.send()
    wait_until(lambda: len(ran) == 1)
    broker._api.ask(f"STREAM.DELETE.{broker._names.work_stream}", deadline=time.monotonic() + 5)
    act.send()
    wait_until(lambda: len(ran) == 2)


def test_a_lanes_consumer_that_vanished_is_made_again(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=broker, lane=lambda _message: "a")
    def act() -> None:
        ran.append(1)

    start_worker(broker)
    act.send()
    wait_until(lambda: len(ran) == 1)
    names = broker._names
    name = f"{names.work_stream}.{names.lane_consumer('default', 'a', 0)}"
    broker.join("default", timeout=5000)
    broker._api.ask(f"CONSUMER.DELETE.{name}", deadline=time.monotonic() + 5)
    act.send()
    wait_until(lambda: len(ran) == 2)


def test_there_may_be_more_lanes_than_the_thousand_consumers_that_a_stream_has_by_default(
    broker: JetStreamBroker,
) -> None:
    broker.ensure_streams()
    info = broker._api.ask(f"STREAM.INFO.{broker._names.work_stream}", deadline=time.monotonic() + 5)
    assert info["config"]["max_consumers"] >= 50_000


@pytest.mark.parametrize("lane", [5, "x" * 129, b"x"])
def test_a_lane_that_cannot_be_kept_is_refused_at_once(broker: JetStreamBroker, lane: object) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    with pytest.raises(ValueError, match="lane"):
        act.send_with_options(lane=lane)


# Whom to ask, without a server


@pytest.fixture
def sources() -> Sources:
    return Sources(Names("ns"), "q")


def any_number(_lane: str) -> int | None:
    return None


def ask(
    sources: Sources, room: int, waiting: dict[str, int] | None = None, now: float = 1.0
) -> list[tuple[Source, int]]:
    plan = sources.plan(room=room, worthwhile=4, waiting=waiting or {}, allowance=any_number, now=now)
    for source, batch in plan:
        sources.asked_for(source, batch, now)
    return plan


def places(plan: list[tuple[Source, int]]) -> list[tuple[str, int, int]]:
    return [(source.lane, source.priority, batch) for source, batch in plan]


def test_without_lanes_all_free_places_are_asked_of_the_main_line_once(sources: Sources) -> None:
    assert places(ask(sources, 16)) == [("", 0, 16)]
    assert ask(sources, 16) == []
    sources.main.asked = 13
    assert ask(sources, 16) == []  # three places are not worth a request


def test_free_places_are_shared_by_the_lanes_in_turn(sources: Sources) -> None:
    for lane in "abc":
        sources.tell((lane, 0), 0.5)
    assert places(ask(sources, 2)) == [("", 0, 1), ("a", 0, 1), ("b", 0, 1)]
    for source in sources.asked():
        source.asked = 0
    assert ("c", 0, 1) in places(ask(sources, 2))


def test_a_source_said_to_be_empty_is_not_asked_until_a_bell_rings(sources: Sources) -> None:
    sources.tell(("a", 0), 0.5)
    ((_, _), (source, _)) = ask(sources, 4)
    source.asked = 0
    sources.emptied(source)
    assert sources.is_single
    sources.tell(("a", 0), 2.0)
    assert ("a", 0, 4) in places(ask(sources, 4, now=3.0))
    # A bell that rang after it was asked outweighs the answer
    sources.tell(("a", 0), 4.0)
    source.asked = 0
    sources.emptied(source)
    assert not sources.is_single


def test_in_a_lane_only_the_highest_priority_is_asked_and_outranks_what_waits(sources: Sources) -> None:
    sources.tell(("a", 1), 0.5)
    sources.tell(("a", 5), 0.5)
    assert places(ask(sources, 8))[1:] == [("a", 5, 4)]
    assert sources.is_outranked("a", 1)
    assert not sources.is_outranked("a", 5)
    assert not sources.is_outranked("b", 0)


def test_what_outranks_the_waiting_is_asked_for_without_room_but_once(sources: Sources) -> None:
    sources.tell(("", 9), 0.5)
    sources.asked_for(sources.main, 1, 0.5)
    assert places(ask(sources, 0, waiting={"": 0})) == [("", 9, 1)]
    assert ask(sources, 0, waiting={"": 0}) == []
    for source in sources.asked():
        source.asked = 0
    assert ask(sources, 0, waiting={"": 9}) == []


def test_what_a_look_does_not_find_is_forgotten(sources: Sources) -> None:
    sources.found({("a", 0), ("b", 2)}, asked_at=1.0)
    assert len(sources._by_number) == 3
    sources.tell(("c", 0), 3.0)
    sources.found({("b", 2)}, asked_at=2.0)
    assert {(source.lane, source.priority) for source in sources._by_number.values()} == {MAIN, ("b", 2), ("c", 0)}
