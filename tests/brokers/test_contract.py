"""What any Dramatiq broker does, asked of ours on a real server and of Dramatiq's RedisBroker on fakeredis."""

from collections.abc import Iterator

import dramatiq
import fakeredis
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import QueueJoinTimeout

from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


@pytest.fixture(params=["jetstream", "redis"])
def any_broker(request: pytest.FixtureRequest) -> Iterator[dramatiq.Broker]:
    if request.param == "jetstream":
        make_broker: MakeBroker = request.getfixturevalue("make_broker")
        yield make_broker()
    else:
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        broker = RedisBroker(client=client)
        yield broker
        broker.close()
        client.close()


def take(consumer: dramatiq.Consumer) -> dramatiq.MessageProxy:
    message: dramatiq.MessageProxy = wait_until(lambda: next(consumer))
    return message


@pytest.fixture
def actor(any_broker: dramatiq.Broker) -> "dramatiq.Actor[[int], None]":
    @dramatiq.actor(broker=any_broker, actor_name="act")
    def act(number: int) -> None: ...

    return act


def test_what_is_enqueued_can_be_consumed_and_acknowledged(
    any_broker: dramatiq.Broker, actor: "dramatiq.Actor[[int], None]"
) -> None:
    sent = actor.send(1)
    consumer = any_broker.consume("default", timeout=100)
    message = take(consumer)
    assert (message.message_id, message.args, message.queue_name) == (sent.message_id, (1,), "default")
    consumer.ack(message)
    any_broker.join("default", timeout=5000)
    assert next(consumer) is None
    consumer.close()


def test_messages_come_in_the_order_in_which_they_were_enqueued(
    any_broker: dramatiq.Broker, actor: "dramatiq.Actor[[int], None]"
) -> None:
    for number in range(5):
        actor.send(number)
    consumer = any_broker.consume("default", prefetch=5, timeout=100)
    messages = [take(consumer) for _ in range(5)]
    assert [message.args[0] for message in messages] == [0, 1, 2, 3, 4]
    for message in messages:
        consumer.ack(message)
    consumer.close()


def test_a_rejected_message_does_not_come_again(
    any_broker: dramatiq.Broker, actor: "dramatiq.Actor[[int], None]"
) -> None:
    actor.send(1)
    consumer = any_broker.consume("default", timeout=100)
    consumer.nack(take(consumer))
    any_broker.join("default", timeout=5000)
    assert next(consumer) is None
    consumer.close()


def test_a_requeued_message_comes_again(any_broker: dramatiq.Broker, actor: "dramatiq.Actor[[int], None]") -> None:
    sent = actor.send(1)
    consumer = any_broker.consume("default", timeout=100)
    consumer.requeue([take(consumer)])
    consumer.close()
    other = any_broker.consume("default", timeout=100)
    message = take(other)
    assert message.message_id == sent.message_id
    other.ack(message)
    other.close()


def test_join_waits_for_what_is_delayed_and_gives_up_in_time(
    any_broker: dramatiq.Broker, actor: "dramatiq.Actor[[int], None]"
) -> None:
    actor.send_with_options(args=(1,), delay=600_000)
    with pytest.raises(QueueJoinTimeout):
        any_broker.join("default", timeout=200)


def test_a_flushed_queue_holds_nothing(any_broker: dramatiq.Broker, actor: "dramatiq.Actor[[int], None]") -> None:
    actor.send(1)
    actor.send_with_options(args=(2,), delay=600_000)
    any_broker.flush("default")
    any_broker.join("default", timeout=2000)
    consumer = any_broker.consume("default", timeout=100)
    assert next(consumer) is None
    consumer.close()


def test_a_worker_runs_immediate_and_delayed_messages(any_broker: dramatiq.Broker, start_worker: MakeWorker) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=any_broker)
    def act(number: int) -> None:
        ran.append(number)

    act.send_with_options(args=(2,), delay=300)
    act.send(1)
    start_worker(any_broker)
    wait_until(lambda: len(ran) == 2)
    assert ran == [1, 2]


def test_a_failing_actor_is_retried(any_broker: dramatiq.Broker, start_worker: MakeWorker) -> None:
    ran: list[int] = []

    @dramatiq.actor(broker=any_broker, min_backoff=20, max_backoff=20)
    def act() -> None:
        ran.append(1)
        if len(ran) < 3:
            raise ValueError("not yet")

    act.send()
    start_worker(any_broker)
    wait_until(lambda: len(ran) == 3)
    any_broker.join("default", timeout=5000)
