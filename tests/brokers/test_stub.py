"""Users' tests on Dramatiq's StubBroker: the same actors, without a server."""

from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker

from brokers import JetStreamBroker
from brokers.batches import BatchResultError
from brokers.stub import ACTOR_OPTIONS, JetStreamOptions
from tests.brokers.conftest import MakeBroker, MakeWorker

Messages = list[dramatiq.Message[Any]]


@pytest.fixture
def stub() -> StubBroker:
    broker = StubBroker()
    broker.add_middleware(JetStreamOptions())
    return broker


def work(broker: StubBroker) -> None:
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()
    try:
        broker.join("default", timeout=10000)
        worker.join()
    finally:
        worker.stop()


def test_it_knows_every_option_of_the_broker(broker: JetStreamBroker) -> None:
    assert broker.actor_options - StubBroker().actor_options == ACTOR_OPTIONS


def test_a_batch_actor_gets_one_message_at_a_time(stub: StubBroker) -> None:
    calls: list[list[int]] = []

    @dramatiq.actor(broker=stub, batch_size=10, lane="a", unique=True)
    def act(messages: Messages) -> list[int]:
        assert all(type(message) is dramatiq.Message for message in messages)
        calls.append([message.args[0] for message in messages])
        return [message.args[0] for message in messages]

    @dramatiq.actor(broker=stub)
    def single(number: int) -> None:
        assert act([act.message(number), act.message(number)]) == [number, number]

    act.send(1)
    act.send(2)
    single.send(3)
    work(stub)
    assert calls == [[1], [2], [3, 3]]
    # Called directly it is the function itself
    assert act([act.message(4), act.message(5)]) == [4, 5]


def test_a_result_that_cannot_be_told_apart_is_an_error_there_too(stub: StubBroker) -> None:
    @dramatiq.actor(broker=stub, batch_size=10, max_retries=0)
    def act(messages: Messages) -> int:
        return 1

    act.send()
    with pytest.raises(BatchResultError):
        work(stub)


def test_on_the_broker_itself_it_does_nothing(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    broker = make_broker(middleware=[JetStreamOptions()])
    calls: list[int] = []

    @dramatiq.actor(broker=broker, batch_size=2, batch_wait=2000)
    def act(messages: Messages) -> None:
        calls.append(len(messages))

    act.send()
    act.send()
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert calls == [2]
