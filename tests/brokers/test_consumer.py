"""Consuming: bounded, kept under lease, settled from any thread, given back on close."""

import threading
import time
from unittest.mock import Mock

import dramatiq

from brokers import JetStreamBroker
from brokers.consumer import JetStreamConsumer, JetStreamMessage
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


def take(consumer: JetStreamConsumer, count: int) -> list[JetStreamMessage]:
    messages: list[JetStreamMessage] = []
    deadline = time.monotonic() + 5
    while len(messages) < count and time.monotonic() < deadline:
        message = next(consumer)
        if message is not None:
            messages.append(message)
    return messages


def outstanding(broker: JetStreamBroker) -> int:
    return broker.queue_stats()[0].outstanding


def enqueue(broker: JetStreamBroker, count: int) -> None:
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    for _ in range(count):
        act.send()


def test_no_more_messages_are_out_than_the_prefetch(broker: JetStreamBroker) -> None:
    enqueue(broker, 20)
    consumer = broker.consume("default", prefetch=4, timeout=200)
    messages = take(consumer, 4)
    assert next(consumer) is None
    assert outstanding(broker) == 4
    # When one is done, one more comes
    consumer.ack(messages.pop())
    messages += take(consumer, 1)
    assert next(consumer) is None
    assert outstanding(broker) == 4
    consumer.requeue(messages)
    consumer.close()


def test_an_acknowledged_message_is_gone_and_one_given_back_comes_again(broker: JetStreamBroker) -> None:
    enqueue(broker, 2)
    consumer = broker.consume("default", prefetch=2, timeout=200)
    first, second = take(consumer, 2)
    consumer.ack(first)
    consumer.requeue([second])
    again = take(consumer, 1)
    assert [message.delivery.sequence for message in again] == [second.delivery.sequence]
    assert again[0].delivery.count == 2
    consumer.ack(again[0])
    broker.join("default", timeout=2000)
    consumer.close()


def test_unstarted_messages_are_given_back_on_close_without_waiting_for_their_lease(make_broker: MakeBroker) -> None:
    broker = make_broker(ack_wait=60)
    enqueue(broker, 10)
    consumer = broker.consume("default", prefetch=10, timeout=200)
    (handed,) = take(consumer, 1)
    wait_until(lambda: outstanding(broker) == 10)
    consumer.close()
    consumer.close()
    other = broker.consume("default", prefetch=10, timeout=200)
    began = time.monotonic()
    messages = take(other, 9)
    assert len(messages) == 9
    assert time.monotonic() - began < 5
    # What a worker's thread still has can be acknowledged through the new consumer
    other.ack(handed)
    for message in messages:
        other.ack(message)
    broker.join("default", timeout=2000)
    other.close()


def test_acknowledgements_may_come_from_many_threads(broker: JetStreamBroker) -> None:
    enqueue(broker, 64)
    consumer = broker.consume("default", prefetch=64, timeout=200)
    messages = take(consumer, 64)
    threads = [
        threading.Thread(target=lambda part: [consumer.ack(each) for each in part], args=[messages[start::8]])
        for start in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    broker.join("default", timeout=5000)
    consumer.close()


def test_messages_of_strangers_are_ignored(broker: JetStreamBroker) -> None:
    consumer = broker.consume("default", timeout=10)
    consumer.ack(Mock())
    consumer.nack(Mock())
    consumer.requeue([Mock()])
    consumer.close()


def test_a_message_acknowledged_twice_does_no_harm(broker: JetStreamBroker) -> None:
    enqueue(broker, 2)
    consumer = broker.consume("default", prefetch=1, timeout=200)
    (message,) = take(consumer, 1)
    consumer.ack(message)
    consumer.ack(message)
    (other,) = take(consumer, 1)
    assert other.delivery.sequence != message.delivery.sequence
    assert outstanding(broker) == 1
    consumer.ack(other)
    consumer.close()


def test_long_tasks_and_their_prefetched_neighbours_run_once(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    ran = []

    def act(number: int) -> None:
        ran.append(number)
        time.sleep(1.6)

    busy, idle = make_broker(ack_wait=1.0), make_broker(ack_wait=1.0)
    for broker in (busy, idle):
        dramatiq.actor(act, broker=broker)
    for number in range(2):
        busy.enqueue(dramatiq.Message("default", "act", (number,), {}, {}))
    # One thread: the second message waits, prefetched, for longer than its lease
    start_worker(busy, worker_threads=1)
    wait_until(lambda: outstanding(busy) == 2)
    # Another worker would take whatever is lent out no longer
    start_worker(idle)
    busy.join("default", timeout=10000)
    assert sorted(ran) == [0, 1]


def test_a_message_that_nobody_can_settle_any_more_goes_to_another_after_its_lease(make_broker: MakeBroker) -> None:
    broker = make_broker(ack_wait=1.0)
    enqueue(broker, 1)
    consumer = broker.consume("default", prefetch=1, timeout=200)
    (message,) = take(consumer, 1)
    sequence = message.delivery.sequence
    del message
    other = broker.consume("default", prefetch=1, timeout=200)
    (again,) = take(other, 1)
    assert again.delivery.sequence == sequence
    other.ack(again)
    consumer.close()
    other.close()


def test_a_consumer_whose_queue_is_deleted_makes_it_again(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    ran = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    start_worker(broker)
    act.send()
    wait_until(lambda: len(ran) == 1)
    broker._api.ask(f"STREAM.DELETE.{broker._names.work_stream}", deadline=time.monotonic() + 5)
    act.send()
    wait_until(lambda: len(ran) == 2)


def test_stats_tell_what_a_queue_holds(broker: JetStreamBroker) -> None:
    enqueue(broker, 5)
    broker.enqueue(dramatiq.Message("default", "act", (), {}, {}), delay=60_000)
    consumer = broker.consume("default", prefetch=2, timeout=200)
    messages = take(consumer, 2)
    time.sleep(0.1)
    (stats,) = broker.queue_stats()
    assert (stats.queue, stats.ready, stats.outstanding, stats.delayed, stats.dead) == ("default", 3, 2, 1, 0)
    assert 0.1 <= stats.oldest_seconds < 10
    consumer.requeue(messages)
    consumer.close()
    broker.flush("default")
    (stats,) = broker.queue_stats()
    assert (stats.ready, stats.outstanding, stats.delayed, stats.oldest_seconds) == (0, 0, 0, 0.0)
