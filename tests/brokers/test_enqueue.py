"""Enqueueing: stored when it returns, once for each call, refused in time and with a reason."""

import asyncio
import threading
import time

import dramatiq
import pytest
from dramatiq.errors import QueueNotFound
from dramatiq.middleware import AsyncIO, Retries

from brokers import BrokerUnavailable, JetStreamBroker, MessageTooLarge
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


def test_what_send_returned_for_is_in_the_stream(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    act.send()
    assert broker.get_queue_message_counts("default") == (1, 0, 0)


def test_making_a_broker_and_declaring_actors_does_no_io() -> None:
    broker = JetStreamBroker("nats://127.0.0.1:1")

    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    broker.cron("tick", "30s", act.message())
    assert broker.get_declared_queues() == {"default"}
    assert not broker._links.are_used


def test_the_same_message_enqueued_twice_on_purpose_runs_twice(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran = []

    @dramatiq.actor(broker=broker)
    def act(number: int) -> None:
        ran.append(number)

    message = act.message(1)
    broker.enqueue(message)
    broker.enqueue(message)
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert ran == [1, 1]


def test_the_same_message_enqueued_twice_inside_an_actor_runs_twice(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran = []

    @dramatiq.actor(broker=broker)
    def child() -> None:
        ran.append(1)

    @dramatiq.actor(broker=broker)
    def parent() -> None:
        message = child.message()
        broker.enqueue(message)
        broker.enqueue(message)

    parent.send()
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert ran == [1, 1]


def test_a_publish_repeated_with_its_id_is_stored_once(broker: JetStreamBroker) -> None:
    broker.declare_queue("default")
    for _ in range(3):
        broker._publisher.publish(broker._names.work("default", "act"), b"{}", publish_id="one")
    assert broker.get_queue_message_counts("default") == (1, 0, 0)


def test_a_message_that_the_server_would_not_take_is_refused_with_both_sizes(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker)
    def act(text: str) -> None: ...

    with pytest.raises(MessageTooLarge, match=r"1,2\d\d,\d\d\d bytes.* 1,048,576"):
        act.send("x" * 1_200_000)
    act.send("x" * 1_040_000)


def test_a_queue_that_nobody_declared_is_refused(broker: JetStreamBroker) -> None:
    message = dramatiq.Message(queue_name="unknown", actor_name="act", args=(), kwargs={}, options={})
    with pytest.raises(QueueNotFound):
        broker.enqueue(message)


def test_queues_with_dots_are_queues_of_their_own(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    ran = []

    @dramatiq.actor(broker=broker, queue_name="a.b")
    def dotted() -> None:
        ran.append("a.b")

    @dramatiq.actor(broker=broker, queue_name="a")
    def plain() -> None:
        ran.append("a")

    dotted.send_with_options(delay=600)
    dotted.send()
    plain.send()
    assert broker.get_queue_message_counts("a.b") == (1, 1, 0)
    assert broker.get_queue_message_counts("a") == (1, 0, 0)
    start_worker(broker)
    broker.join("a.b", timeout=5000)
    broker.join("a", timeout=5000)
    assert sorted(ran) == ["a", "a.b", "a.b"]


def test_a_list_of_middleware_replaces_dramatiqs_own(make_broker: MakeBroker) -> None:
    assert make_broker(middleware=[]).middleware == []
    assert [type(each).__name__ for each in make_broker().middleware] == [
        each.__name__ for each in dramatiq.middleware.default_middleware
    ]


def test_declaring_a_delay_queue_declares_its_queue(broker: JetStreamBroker) -> None:
    broker.declare_queue("c.DQ")
    broker.declare_queue("c")
    assert broker.get_declared_queues() == {"c"}
    assert broker.get_declared_delay_queues() == set()


def test_enqueueing_from_an_event_loop_lets_it_go_on(own_nats: EmbeddedNats, make_broker: MakeBroker) -> None:
    broker = make_broker(own_nats.url)

    @dramatiq.actor(broker=broker)
    def act(number: int) -> None: ...

    async def many() -> None:
        messages = await asyncio.gather(*(broker.enqueue_async(act.message(number)) for number in range(50)))
        assert [message.args for message in messages] == [(number,) for number in range(50)]
        await broker.enqueue_many_async([act.message(number) for number in range(50)])
        await broker.enqueue_async(act.message(0), delay=60_000)

    for _ in range(2):  # any loop will do
        asyncio.run(many())
    assert broker.get_queue_message_counts("default") == (200, 2, 0)

    async def ticks_while_waiting() -> int:
        waiting = asyncio.ensure_future(broker.enqueue_async(act.message(1)))
        ticks = 0
        while not waiting.done():
            await asyncio.sleep(0.01)
            ticks += 1
        with pytest.raises(BrokerUnavailable):
            await waiting
        return ticks

    own_nats.kill()
    assert asyncio.run(ticks_while_waiting()) > 5


def test_an_async_actor_that_is_repeated_enqueues_nothing_twice(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker(middleware=[AsyncIO(), Retries(min_backoff=10)])
    ran: list[int] = []
    runs: list[int] = []

    @dramatiq.actor(broker=broker)
    def child(number: int) -> None:
        ran.append(number)

    @dramatiq.actor(broker=broker, infrastructure_errors=ConnectionError)
    async def parent() -> None:
        await broker.enqueue_async(child.message(1))
        await broker.enqueue_many_async([child.message(2), child.message(2)])
        runs.append(1)
        if len(runs) == 1:
            raise ConnectionError("ours: the same delivery comes again")

    parent.send()
    start_worker(broker)
    broker.join("default", timeout=15_000)
    assert len(runs) == 2
    assert sorted(ran) == [1, 2, 2]


def test_many_threads_lose_and_double_nothing_while_the_server_is_killed(
    own_nats: EmbeddedNats, make_broker: MakeBroker
) -> None:
    broker = make_broker(own_nats.url)

    @dramatiq.actor(broker=broker)
    def act(number: int) -> None: ...

    broker.ensure_streams()
    stop = threading.Event()
    acknowledged: list[int] = []
    unsure: list[int] = []

    def enqueue(start: int) -> None:
        number = start
        while not stop.is_set():
            number += 8
            try:
                act.send(number)
            except BrokerUnavailable:
                unsure.append(number)
            else:
                acknowledged.append(number)

    threads = [threading.Thread(target=enqueue, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        known = len(acknowledged)
        wait_until(lambda known=known: len(acknowledged) > known + 200, timeout=30)
        own_nats.kill()
        own_nats.start()
    known = len(acknowledged)
    wait_until(lambda: len(acknowledged) > known + 200, timeout=30)
    stop.set()
    for thread in threads:
        thread.join(10)
    names, deadline = broker._names, time.monotonic() + 60
    found = broker._api.each(names.work_stream, names.work_of("default"), deadline=deadline)
    stored = [dramatiq.Message.decode(each.body).args[0] for each in found]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored) <= {*acknowledged, *unsure}
