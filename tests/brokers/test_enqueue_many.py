"""Enqueueing many messages at once: complete, once each, or not at all; and a clear word on what was not stored."""

import threading
import time
from typing import Any

import dramatiq
import pytest
from dramatiq.errors import QueueNotFound

from brokers import BrokerUnavailable, JetStreamBroker, MessageTooLarge, NotStored, NotStoredYet, StorageFull
from brokers.api import refusal
from brokers.link import Link
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker


@pytest.fixture(params=[False, True], ids=["pipelined", "atomic"])
def atomic(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def stored_numbers(broker: JetStreamBroker) -> list[int]:
    """The first argument of each message in the stream, in its order."""
    names = broker._names
    deadline = time.monotonic() + 30
    found = broker._api.each(names.work_stream, names.work_of("default"), deadline=deadline)
    return [dramatiq.Message.decode(each.body).args[0] for each in found]


def test_all_are_stored_in_their_order_each_once(broker: JetStreamBroker, atomic: bool) -> None:
    act = actor_of(broker)
    messages = broker.enqueue_many((act.message(number) for number in range(500)), atomic=atomic)
    assert [message.args for message in messages] == [(number,) for number in range(500)]
    assert stored_numbers(broker) == list(range(500))


def actor_of(broker: JetStreamBroker, ran: list[Any] | None = None, **options: Any) -> "dramatiq.Actor[Any, Any]":
    @dramatiq.actor(broker=broker, **options)
    def act(number: int, text: str = "") -> None:
        if ran is not None:
            ran.append(number)

    return act


def test_more_than_can_be_under_way_at_once_are_all_stored(broker: JetStreamBroker) -> None:
    act = actor_of(broker)
    broker.enqueue_many([act.message(number) for number in range(5000)])
    assert broker.get_queue_message_counts("default") == (5000, 0, 0)


def test_large_messages_do_not_pile_up(broker: JetStreamBroker, atomic: bool) -> None:
    act = actor_of(broker)
    broker.enqueue_many([act.message(number, "x" * 500_000) for number in range(20)], atomic=atomic)
    assert broker.get_queue_message_counts("default") == (20, 0, 0)


def test_none_at_all_is_no_mistake(broker: JetStreamBroker, atomic: bool) -> None:
    assert broker.enqueue_many([], atomic=atomic) == []
    assert not broker._links.are_used


def test_delays_hold_for_all_and_each_can_be_cancelled(
    broker: JetStreamBroker, start_worker: MakeWorker, atomic: bool
) -> None:
    ran: list[int] = []
    act = actor_of(broker, ran)
    messages = broker.enqueue_many([act.message(number) for number in range(3)], delay=1500, atomic=atomic)
    broker.enqueue_many([act.message(number) for number in (10, 11)], delay=200, atomic=atomic)
    assert broker.get_queue_message_counts("default") == (2, 3, 0)
    assert broker.cancel(messages[1])
    start_worker(broker)
    broker.join("default", timeout=15_000)
    assert sorted(ran) == [0, 2, 10, 11]


def test_middleware_sees_each_message_before_and_after(broker: JetStreamBroker, atomic: bool) -> None:
    seen: list[tuple[str, int, int | None]] = []

    class Watching(dramatiq.Middleware):
        def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            message.options["mark"] = message.args[0] * 2
            seen.append(("before", message.args[0], delay))

        def after_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
            seen.append(("after", message.args[0], delay))

    broker.add_middleware(Watching())
    act = actor_of(broker)
    messages = broker.enqueue_many([act.message(number) for number in range(3)], delay=60_000, atomic=atomic)
    assert sorted(seen) == [(when, number, 60_000) for when in ("after", "before") for number in range(3)]
    assert [message.options["mark"] for message in messages] == [0, 2, 4]


def test_one_that_is_too_large_keeps_all_from_being_stored(broker: JetStreamBroker, atomic: bool) -> None:
    act = actor_of(broker)
    broker.ensure_streams()
    with pytest.raises(MessageTooLarge):
        broker.enqueue_many([act.message(1), act.message(2, "x" * 1_200_000), act.message(3)], atomic=atomic)
    assert stored_numbers(broker) == []


def test_a_queue_that_nobody_declared_keeps_all_from_being_stored(broker: JetStreamBroker) -> None:
    act = actor_of(broker)
    with pytest.raises(QueueNotFound):
        broker.enqueue_many([act.message(1), dramatiq.Message("unknown", "act", (), {}, {})])
    broker.ensure_streams()
    assert stored_numbers(broker) == []


def test_an_atomic_batch_is_bounded_and_takes_no_unique_messages(broker: JetStreamBroker) -> None:
    act = actor_of(broker)
    with pytest.raises(ValueError, match=r"at most 1,000 messages, not 1,001"):
        broker.enqueue_many([act.message(number) for number in range(1001)], atomic=True)
    with pytest.raises(ValueError, match="unique"):
        broker.enqueue_many([act.message_with_options(args=(1,), unique="a")], atomic=True)
    assert len(broker.enqueue_many([act.message(number) for number in range(1000)], atomic=True)) == 1000
    assert broker.get_queue_message_counts("default") == (1000, 0, 0)


def test_unique_messages_among_many_are_stored_once_a_key(broker: JetStreamBroker) -> None:
    act = actor_of(broker)
    first = act.message_with_options(args=(1,), unique="a")
    messages = broker.enqueue_many(
        [first, act.message(2), act.message_with_options(args=(3,), unique="a"), act.message(4)]
    )
    assert sorted(stored_numbers(broker)) == [1, 2, 4]
    assert messages[2].message_id == first.message_id


def test_without_a_server_all_are_named_in_time(make_broker: MakeBroker, atomic: bool) -> None:
    broker = make_broker("nats://user:secret@127.0.0.1:1")
    act = actor_of(broker)
    with pytest.raises(NotStoredYet, match="3 of 3 messages were not stored") as raised:
        broker.enqueue_many([act.message(number) for number in range(3)], atomic=atomic)
    assert [message.args for message in raised.value.messages] == [(0,), (1,), (2,)]
    assert isinstance(raised.value, BrokerUnavailable)
    assert "secret" not in str(raised.value)


def test_what_was_not_stored_when_the_server_died_is_named(
    own_nats: EmbeddedNats, make_broker: MakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = make_broker(own_nats.url, publish_timeout=1.0)
    act = actor_of(broker)
    broker.ensure_streams()
    deliver, answers = Link._deliver, []

    def kill_at_some_time(link: Link, answer: Any) -> None:
        answers.append(1)
        if len(answers) == 800:
            own_nats.kill()
        deliver(link, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Link, "_deliver", kill_at_some_time)
        with pytest.raises(NotStoredYet) as raised:
            broker.enqueue_many([act.message(number) for number in range(2000)])
    missing = {message.args[0] for message in raised.value.messages}
    assert 0 < len(missing) <= 1201
    # Whatever is not named is stored; what was under way may be, too
    own_nats.start()
    stored = set(stored_numbers(broker))
    assert stored >= set(range(2000)) - missing


def test_everything_is_stored_once_when_the_server_is_killed_meanwhile(
    own_nats: EmbeddedNats, make_broker: MakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker = make_broker(own_nats.url, publish_timeout=30.0)
    act = actor_of(broker)
    broker.ensure_streams()
    deliver, answers = Link._deliver, []
    moments = {300: threading.Event(), 1200: threading.Event()}
    is_back = {number: threading.Event() for number in moments}

    def wait_for_its_death(link: Link, answer: Any) -> None:
        answers.append(1)
        if (number := len(answers)) in moments:
            moments[number].set()
            is_back[number].wait(30)
        deliver(link, answer)

    monkeypatch.setattr(Link, "_deliver", wait_for_its_death)
    done: list[list[Any]] = []

    def enqueue(part: int) -> None:
        messages = [act.message(part * 700 + number) for number in range(700)]
        done.append(broker.enqueue_many(messages))

    threads = [threading.Thread(target=enqueue, args=[part]) for part in range(3)]
    for thread in threads:
        thread.start()
    for number, moment in moments.items():  # by this thread: the server ends with the one that started it
        assert moment.wait(30)
        own_nats.kill()
        own_nats.start()
        is_back[number].set()
    for thread in threads:
        thread.join(60)
    assert len(done) == 3
    assert broker.get_queue_message_counts("default") == (2100, 0, 0)


def test_a_batch_whose_confirmation_was_lost_is_not_stored_twice(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = actor_of(broker)
    broker.ensure_streams()
    wait, lost = Link.wait, []

    def lose_the_first(link: Link, waiter: Any, until: float) -> bool:
        ready = wait(link, waiter, until)
        if not lost and waiter.answers and b'"batch"' in waiter.answers[-1][1].data:
            lost.append(1)
            waiter.answers.clear()
            link.lose("the test wants it so")
            return wait(link, waiter, until)
        return ready

    monkeypatch.setattr(Link, "wait", lose_the_first)
    monkeypatch.setattr(Link, "_deliver", lose_when_committed(lost))
    messages = broker.enqueue_many([act.message(number) for number in range(50)], atomic=True)
    assert lost
    assert len(messages) == 50
    assert stored_numbers(broker) == list(range(50))


def lose_when_committed(lost: list[int]) -> Any:
    deliver = Link._deliver

    def lose(link: Link, answer: Any) -> None:
        if not lost and b'"batch"' in answer.data:
            lost.append(1)
            link.lose("the test wants it so")
        else:
            deliver(link, answer)

    return lose


def test_inside_an_actor_a_repeated_delivery_stores_nothing_twice(
    broker: JetStreamBroker, start_worker: MakeWorker, atomic: bool
) -> None:
    ran: list[int] = []
    act = actor_of(broker, ran, queue_name="children")
    runs: list[int] = []

    @dramatiq.actor(broker=broker, max_retries=0, infrastructure_errors=ConnectionError)
    def parent() -> None:
        broker.enqueue_many([act.message(number % 5) for number in range(10)], atomic=atomic)
        runs.append(1)
        if len(runs) == 1:
            raise ConnectionError("ours: the same delivery comes again")

    parent.send()
    start_worker(broker)
    broker.join("default", timeout=15_000)
    broker.join("children", timeout=15_000)
    assert len(runs) == 2
    assert sorted(ran) == sorted([0, 1, 2, 3, 4] * 2)


def test_a_full_store_refuses_the_rest_and_says_which(broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    act = actor_of(broker)
    broker.ensure_streams()
    deliver = Link._deliver
    answered: list[int] = []

    def fill_up(link: Link, answer: Any) -> None:
        if b'"seq"' in answer.data:
            answered.append(1)
            if len(answered) > 100:
                full = b'{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}'
                answer = answer._replace(data=full)
        deliver(link, answer)

    monkeypatch.setattr(Link, "_deliver", fill_up)
    with pytest.raises(NotStoredYet, match=r"of 3000 messages were not stored") as raised:
        broker.enqueue_many([act.message(number) for number in range(3000)])
    assert len(raised.value.messages) == 2900
    assert isinstance(raised.value.failures[0][1], StorageFull)
    assert raised.value.messages[0].args == (100,)


def test_a_refusal_of_some_does_not_concern_the_others(
    broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = actor_of(broker)
    broker.ensure_streams()
    error = {"code": 400, "err_code": 10999, "description": "no"}
    check = "brokers.bulk.check"
    calls: list[int] = []

    def refuse_some(answer: Any, subject: str) -> None:
        calls.append(1)
        if len(calls) % 10 == 0:
            raise refusal(error, what=subject)

    monkeypatch.setattr(check, refuse_some)
    with pytest.raises(NotStored, match="10 of 100") as raised:
        broker.enqueue_many([act.message(number) for number in range(100)])
    assert not isinstance(raised.value, BrokerUnavailable)
    assert len(raised.value.messages) == 10
