"""Failures of the message consume retries and end in the dead letters; failures of ours pause the queue."""

import logging
import time
from typing import Any

import dramatiq
import pytest

from brokers import BrokerUnavailable, DeadLetterNotFound, JetStreamBroker, MessageTooLarge, StorageFull
from brokers.pauses import QueuePause
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


class DatabaseDown(Exception):
    """Stands for an outage of ours."""


def test_a_failure_of_ours_consumes_no_retry_and_goes_on_by_itself(
    broker: JetStreamBroker, start_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    attempts: list[Any] = []

    @dramatiq.actor(broker=broker, max_retries=0, infrastructure_errors=DatabaseDown)
    def act() -> None:
        message = dramatiq.middleware.CurrentMessage.get_current_message()
        assert message is not None
        attempts.append((time.monotonic(), message.options.get("retries")))
        if len(attempts) < 3:
            raise DatabaseDown("no route to host")

    broker.add_middleware(dramatiq.middleware.CurrentMessage())
    act.send()
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert [retries for _, retries in attempts] == [None, None, None]
    assert attempts[1][0] - attempts[0][0] >= 0.35  # the first pause is 0.5 s, less its jitter
    assert attempts[2][0] - attempts[1][0] >= 0.7
    assert broker.dead_letters.count() == 0
    # One line for each pause, and no traceback
    lines = [record for record in caplog.records if "pauses for" in record.getMessage()]
    assert len(lines) == 2
    assert not any(record.exc_info for record in caplog.records)


def test_a_pausing_queue_starts_nothing(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    attempts: list[float] = []

    @dramatiq.actor(broker=broker, infrastructure_errors=(DatabaseDown,))
    def act() -> None:
        attempts.append(time.monotonic())
        if attempts[-1] - attempts[0] < 0.3:
            raise DatabaseDown

    for _ in range(30):
        act.send()
    start_worker(broker, worker_threads=2)
    broker.join("default", timeout=15000)
    # Only what both threads had begun failed before the pause
    assert len([at for at in attempts if at - attempts[0] < 0.3]) <= 2
    assert len(attempts) <= 32


def test_pauses_grow_to_thirty_seconds_and_a_success_ends_them() -> None:
    pause = QueuePause("default")
    lengths = []
    for _ in range(10):
        lengths.append(pause.failed(DatabaseDown()))
        # A failure during the pause belongs to the same outage
        assert pause.failed(DatabaseDown()) <= lengths[-1]
        pause._until = 0.0
    assert 0.375 <= lengths[0] <= 0.5
    assert 22.5 <= lengths[-1] <= 30
    pause.succeeded()
    assert pause.failed(DatabaseDown()) <= 0.5


def test_an_actor_whose_own_send_fails_for_nats_is_given_back_and_not_retried(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = []

    @dramatiq.actor(broker=broker)
    def child() -> None:
        ran.append("child")

    @dramatiq.actor(broker=broker, max_retries=0)
    def parent() -> None:
        ran.append("parent")
        child.send()

    parent.send()
    fail_once(broker, monkeypatch, BrokerUnavailable("gone"))
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert ran == ["parent", "parent", "child"]
    assert broker.dead_letters.count() == 0


def fail_once(broker: JetStreamBroker, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Let the next publish of a message fail."""
    publish, errors = broker._publisher.publish, [error]

    def failing(*arguments: Any, **options: Any) -> int:
        if errors:
            raise errors.pop()
        return publish(*arguments, **options)

    monkeypatch.setattr(broker._publisher, "publish", failing)


def test_a_retry_that_cannot_be_enqueued_is_not_lost(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []

    @dramatiq.actor(broker=broker, min_backoff=50, max_backoff=50)
    def act() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise ValueError("not yet")

    act.send()
    fail_once(broker, monkeypatch, BrokerUnavailable("gone"))
    start_worker(broker)
    broker.join("default", timeout=10000)
    # The first attempt's retry was refused, so the message itself came again
    assert len(attempts) == 3


def test_a_pipelines_next_step_that_cannot_be_enqueued_is_not_lost(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []

    @dramatiq.actor(broker=broker)
    def double(number: int) -> int:
        results.append(number)
        return number * 2

    pipeline = double.message(1) | double.message()
    pipeline.broker = broker
    pipeline.run()
    fail_once(broker, monkeypatch, StorageFull("full"))
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert results == [1, 1, 2]


def test_a_next_step_that_can_never_be_enqueued_makes_a_dead_letter(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    @dramatiq.actor(broker=broker)
    def grow(text: str) -> str:
        return text * 2

    pipeline = grow.message("x" * 600_000) | grow.message()
    pipeline.broker = broker
    pipeline.run()
    start_worker(broker)
    broker.join("default", timeout=10000)
    (letter,) = broker.dead_letters.list()
    assert letter.error.startswith(MessageTooLarge.__name__)


def test_a_retry_grown_too_large_by_its_traceback_goes_without_it(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    attempts = []

    @dramatiq.actor(broker=broker, min_backoff=50, max_backoff=50)
    def act(text: str) -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError("not yet")

    act.send("x" * (1_048_576 - 4096 - 500))
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert len(attempts) == 2


def test_a_message_that_fails_for_good_is_a_dead_letter_with_its_error(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    @dramatiq.actor(broker=broker, max_retries=1, min_backoff=50, max_backoff=50)
    def act(text: str) -> None:
        raise ValueError(f"boom\n{text}")

    message = act.send("ä\x00")
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert broker.get_queue_message_counts("default") == (0, 0, 1)
    (letter,) = broker.dead_letters.list()
    assert (letter.queue, letter.actor, letter.message_id) == ("default", "act", message.message_id)
    assert letter.error == "ValueError: boom\nä\x00"
    assert "in act" in letter.traceback
    assert letter.message is not None
    assert letter.message.args == ("ä\x00",)
    assert broker.dead_letters.show(letter.sequence) == letter
    with pytest.raises(DeadLetterNotFound):
        broker.dead_letters.show(letter.sequence + 1)


def test_a_replayed_dead_letter_runs_once_with_all_its_retries(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    attempts: list[int] = []

    @dramatiq.actor(broker=broker, max_retries=1, min_backoff=20, max_backoff=20, max_age=60_000)
    def act() -> None:
        attempts.append(1)
        if len(attempts) < 4:
            raise ValueError("boom")

    act.send()
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert len(attempts) == 2
    (letter,) = broker.dead_letters.list()
    broker.dead_letters.replay(letter.sequence)
    broker.join("default", timeout=5000)
    # It failed for good once more, and is a dead letter of its own that can be replayed, too
    assert len(attempts) == 4
    assert broker.dead_letters.count() == 0
    with pytest.raises(DeadLetterNotFound):
        broker.dead_letters.replay(letter.sequence)


def test_two_operators_at_once_replay_nothing_twice(
    make_broker: MakeBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, other = make_broker(), make_broker()
    ran: list[int] = []

    @dramatiq.actor(broker=broker, max_retries=0)
    def act() -> None:
        ran.append(1)
        if len(ran) == 1:
            raise ValueError("boom")

    other.declare_queue("default")
    act.send()
    worker = start_worker(broker)
    broker.join("default", timeout=5000)
    (letter,) = other.dead_letters.list()
    # Both have read the dead letter before either removed it
    assert broker.dead_letters._replay(letter)
    assert not other.dead_letters._replay(letter)
    broker.join("default", timeout=5000)
    worker.join()
    assert len(ran) == 2


def test_all_dead_letters_of_a_queue_are_replayed_or_purged(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    is_mended = False
    ran: list[str] = []

    def act(name: str) -> None:
        if not is_mended:
            raise ValueError("boom")
        ran.append(name)

    first = dramatiq.actor(act, broker=broker, actor_name="first", queue_name="first", max_retries=0)
    second = dramatiq.actor(act, broker=broker, actor_name="second", queue_name="second", max_retries=0)
    for number in range(3):
        first.send(f"first-{number}")
        second.send(f"second-{number}")
    start_worker(broker)
    wait_until(lambda: broker.dead_letters.count() == 6)
    assert len(broker.dead_letters.list(limit=2)) == 2
    assert broker.dead_letters.list(after=broker.dead_letters.list()[-1].sequence) == []
    is_mended = True
    assert broker.dead_letters.replay_all(queue="first") == 3
    broker.join("first", timeout=5000)
    assert sorted(ran) == ["first-0", "first-1", "first-2"]
    assert broker.dead_letters.count() == 3
    assert broker.dead_letters.purge(sequence=broker.dead_letters.list()[0].sequence) == 1
    assert broker.dead_letters.purge(queue="first") == 0
    assert broker.dead_letters.purge() == 2


def test_a_body_that_cannot_be_decoded_is_a_dead_letter(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    broker.declare_queue("default")
    broker._publisher.publish(broker._names.work("default", "act"), b"\xffnot a message", publish_id="raw")
    start_worker(broker)
    broker.join("default", timeout=5000)
    (letter,) = broker.dead_letters.list()
    assert letter.body == b"\xffnot a message"
    assert letter.message is None
    assert letter.error.startswith("DecodeError")


def test_a_message_of_an_unknown_actor_is_a_dead_letter(
    broker: JetStreamBroker, start_worker: MakeWorker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "nobody", (), {}, {}))
    start_worker(broker)
    broker.join("default", timeout=5000)
    assert [letter.error for letter in broker.dead_letters.list()] == ["ActorNotFound: nobody"]


def test_an_actor_called_directly_raises_what_it_raises(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker, infrastructure_errors=DatabaseDown)
    def act() -> None:
        raise DatabaseDown

    with pytest.raises(DatabaseDown):
        act()
