"""What a delivery enqueues is recognised when the delivery is repeated."""

import dramatiq
import pytest

from brokers import JetStreamBroker, identity
from brokers.identity import Processing
from brokers.pauses import QueuePause
from tests.brokers.conftest import MakeWorker


def processing(sequence: int = 7) -> Processing:
    return Processing("stream", sequence, message(message_id="the-message"), QueuePause("default"))


def message(*args: object, actor: str = "act", message_id: str | None = None) -> "dramatiq.Message[None]":
    made: dramatiq.Message[None] = dramatiq.Message("default", actor, args, {}, {})
    return made if message_id is None else made.copy(message_id=message_id)


def test_a_repeated_delivery_gives_the_same_ids() -> None:
    first, second = processing(), processing()
    assert [first.next_id(message(1)), first.next_id(message(2))] == [
        second.next_id(message(1)),
        second.next_id(message(2)),
    ]


def test_another_delivery_gives_other_ids() -> None:
    assert processing(7).next_id(message(1)) != processing(8).next_id(message(1))


def test_equal_enqueues_within_one_delivery_differ() -> None:
    once = processing()
    assert once.next_id(message(1)) != once.next_id(message(1))


def test_another_branch_on_the_second_run_is_not_taken_for_the_first() -> None:
    assert processing().next_id(message("a")) != processing().next_id(message("b"))


def test_a_retry_is_not_taken_for_a_new_message_with_the_same_arguments() -> None:
    assert processing().next_id(message(1, message_id="the-message")) != processing().next_id(message(1))


def test_a_callback_is_recognised_though_it_carries_a_time() -> None:
    first, second = processing(), processing()
    first.is_after_actor = second.is_after_actor = True
    assert first.next_id(message("at 10:00")) == second.next_id(message("at 10:01"))


def test_outside_of_a_delivery_every_id_is_new() -> None:
    assert identity.publish_id(message(1)) != identity.publish_id(message(1))


@pytest.mark.parametrize("is_async", [False, True])
def test_what_an_actor_enqueues_derives_from_its_delivery(
    broker: JetStreamBroker, start_worker: MakeWorker, is_async: bool
) -> None:
    seen = []

    if is_async:
        broker.add_middleware(dramatiq.middleware.AsyncIO())

        @dramatiq.actor(broker=broker, actor_name="act")
        async def act_async() -> None:
            seen.append(identity.current())

        act_async.send()
    else:

        @dramatiq.actor(broker=broker)
        def act() -> None:
            seen.append(identity.current())

        act.send()
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert isinstance(seen[0], Processing)
    assert seen[0].is_over
    assert identity.current() is None
