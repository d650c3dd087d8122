"""Batch actors: many messages in one call, each with an outcome of its own."""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import AsyncIO, CurrentMessage
from dramatiq.results import Results
from dramatiq.results.backends import StubBackend

from brokers import BrokerUnavailable, JetStreamBroker, poison
from brokers.batches import LARGEST, Gathering, Limits
from brokers.identity import Processing
from brokers.pauses import QueuePause
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until
from tests.brokers.test_failures import fail_once
from tests.brokers.test_poison import lend_out

Messages = list[dramatiq.Message[Any]]


class OurFault(Exception):
    """Stands for an outage of ours."""


class Recorder(dramatiq.Middleware):
    """Notes which signals came for which message."""

    def __init__(self) -> None:
        self.of: dict[str, list[str]] = {}

    def _note(self, signal: str, message: Any) -> None:
        self.of.setdefault(str(message.args[0]), []).append(signal)

    def before_process_message(self, broker: Any, message: Any) -> None:
        self._note("before", message)

    def after_process_message(self, broker: Any, message: Any, *, result: Any = None, exception: Any = None) -> None:
        self._note("failed" if exception else "after", message)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        self._note("skipped", message)

    def before_ack(self, broker: Any, message: Any) -> None:
        self._note("before ack", message)

    def after_ack(self, broker: Any, message: Any) -> None:
        self._note("ack", message)

    def after_nack(self, broker: Any, message: Any) -> None:
        self._note("nack", message)


def numbers(messages: Messages) -> list[Any]:
    return [message.args[0] for message in messages]


def test_a_batch_holds_up_to_its_size_however_small_the_prefetch(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    calls: list[list[int]] = []

    @dramatiq.actor(broker=broker, batch_size=50, batch_wait=300)
    def act(messages: Messages) -> None:
        assert all(type(message) is dramatiq.Message for message in messages)
        calls.append(numbers(messages))

    for number in range(120):
        act.send(number)
    start_worker(broker, worker_threads=1)
    broker.join("default", timeout=10000)
    assert sorted(number for call in calls for number in call) == list(range(120))
    assert [len(call) for call in calls] == [50, 50, 20]


def test_a_batch_waits_for_others_only_so_long(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    calls: list[list[int]] = []

    @dramatiq.actor(broker=broker, batch_size=1000, batch_wait=100)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))

    start_worker(broker)
    act.send(1)
    wait_until(lambda: calls == [[1]])
    act.send(2)
    act.send(3)
    broker.join("default", timeout=10000)
    assert sorted(number for call in calls for number in call) == [1, 2, 3]


def test_a_bad_message_harms_only_itself(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    calls: list[list[int]] = []
    recorder = Recorder()
    broker.add_middleware(recorder)

    @dramatiq.actor(broker=broker, batch_size=5, batch_wait=2000, max_retries=1, min_backoff=10, max_backoff=10)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))
        if 3 in calls[-1]:
            raise ValueError("three")

    sent = [act.send(number) for number in range(5)]
    start_worker(broker)
    wait_until(lambda: broker.dead_letters.count() == 1, timeout=20)
    broker.join("default", timeout=10000)
    # All together, then each alone, and at last the bad one's retry
    assert sorted(calls[0]) == [0, 1, 2, 3, 4]
    assert sorted(calls[1:6]) == [[0], [1], [2], [3], [4]]
    assert calls[6:] == [[3]]
    (letter,) = broker.dead_letters.list()
    assert (letter.message_id, letter.error) == (sent[3].message_id, "ValueError: three")
    assert "in act" in letter.traceback
    assert letter.message is not None
    assert "ValueError: three" in letter.message.options["traceback"]
    # To the middleware each was one message
    assert recorder.of["0"] == ["before", "after", "before ack", "ack"]
    once = ["before", "failed"]
    wait_until(lambda: recorder.of["3"] == [*once, "before ack", "ack", *once, "nack"])  # told after the server


def test_each_message_has_its_own_result(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    backend = StubBackend()
    broker.add_middleware(Results(backend=backend, store_results=True))

    @dramatiq.actor(broker=broker, batch_size=4, batch_wait=500)
    def double(messages: Messages) -> list[int]:
        return [2 * message.args[0] for message in messages]

    @dramatiq.actor(broker=broker, batch_size=2, batch_wait=1)
    def nothing(messages: Messages) -> None: ...

    group = dramatiq.group([double.message(number) for number in range(4)], broker=broker).run()
    pipeline = dramatiq.pipeline([double.message(5), double.message()], broker=broker).run()
    none = nothing.send()
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert [message.get_result(backend=backend) for message in group.children] == [0, 2, 4, 6]  # type: ignore[union-attr]
    assert pipeline.messages[1].get_result(backend=backend) == 20
    assert none.get_result(backend=backend) is None


def test_results_that_cannot_be_told_apart_are_an_error_that_says_so(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    calls = []

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=2000, max_retries=0)
    def act(messages: Messages) -> list[int]:
        calls.append(len(messages))
        return [1, 2]

    for number in range(3):
        act.send(number)
    start_worker(broker)
    broker.join("default", timeout=10000)
    # It ran, and running it one by one would do its work twice
    assert calls == [3]
    errors = {letter.error for letter in broker.dead_letters.list()}
    assert len(errors) == 1
    assert errors.pop().startswith("BatchResultError: act returned 2 results for 3 messages: ")


def test_a_message_that_is_too_old_leaves_the_others(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    calls: list[list[int]] = []
    recorder = Recorder()
    broker.add_middleware(recorder)

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=2000)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))

    act.send(1)
    act.send_with_options(args=(2,), max_age=1)
    act.send(3)
    time.sleep(0.01)
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert [sorted(call) for call in calls] == [[1, 3]]
    assert [letter.error for letter in broker.dead_letters.list()] == ["SkipMessage: Message age limit exceeded"]
    assert recorder.of["1"] == ["before", "after", "before ack", "ack"]
    assert recorder.of["2"] == ["skipped", "nack"]


def test_a_batch_of_nothing_but_too_old_messages_is_not_run(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    calls: list[list[int]] = []

    @dramatiq.actor(broker=broker, batch_size=2, batch_wait=2000, max_age=1)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))

    act.send(1)
    act.send(2)
    time.sleep(0.01)
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert calls == []
    assert broker.dead_letters.count() == 2


def test_a_failure_of_ours_gives_back_the_whole_batch_and_consumes_no_retry(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    calls: list[Messages] = []

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000, max_retries=0, infrastructure_errors=OurFault)
    def act(messages: Messages) -> None:
        calls.append(messages)
        if len(calls) == 1:
            raise OurFault

    for number in range(3):
        act.send(number)
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert [len(call) for call in calls] == [3, 3]
    assert not any("retries" in message.options for message in calls[1])
    assert broker.dead_letters.count() == 0


def test_a_failure_of_ours_while_each_is_run_alone_gives_back_the_rest(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    calls: list[list[int]] = []

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000, max_retries=0, infrastructure_errors=OurFault)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))
        if len(calls) == 1:
            raise ValueError
        if len(calls) == 3:
            raise OurFault

    for number in range(3):
        act.send(number)
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert [len(call) for call in calls] == [3, 1, 1, 2]
    assert sorted(calls[3]) == sorted(set(calls[0]) - set(calls[1]))
    assert broker.dead_letters.count() == 0


def test_a_retry_that_cannot_be_enqueued_leaves_only_its_own_message_unacknowledged(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []

    @dramatiq.actor(broker=broker, batch_size=2, batch_wait=1000, min_backoff=10, max_backoff=10)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))
        if 1 in calls[-1] and len(calls) < 4:
            raise ValueError("not yet")

    act.send(1)
    act.send(2)
    fail_once(broker, monkeypatch, BrokerUnavailable("gone"))
    start_worker(broker)
    broker.join("default", timeout=15000)
    # Together, each alone, and the message again whose retry was refused
    assert [sorted(call) for call in calls[:3]] in ([[1, 2], [1], [2]], [[1, 2], [2], [1]])
    assert calls[3:] == [[1]]
    assert broker.dead_letters.count() == 0


def test_a_next_step_that_cannot_be_enqueued_leaves_only_its_own_message_unacknowledged(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[int]] = []
    steps: list[int] = []

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000)
    def act(messages: Messages) -> list[int]:
        calls.append(numbers(messages))
        return numbers(messages)

    step = dramatiq.actor(steps.append, broker=broker, actor_name="step")
    for number in range(3):
        dramatiq.pipeline([act.message(number), step.message()], broker=broker).run()
    fail_once(broker, monkeypatch, BrokerUnavailable("gone"))
    start_worker(broker)
    broker.join("default", timeout=15000)
    # Together, and the one alone whose step was refused
    assert [len(call) for call in calls] == [3, 1]
    assert sorted(steps) == [0, 1, 2]
    assert broker.dead_letters.count() == 0


def test_a_result_that_cannot_be_stored_leaves_only_its_own_message_unacknowledged(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    calls: list[list[int]] = []
    refused: list[int] = []

    class Backend(StubBackend):
        def store_result(self, message: Any, result: Any, ttl: int) -> None:
            if result == 2 and not refused:
                refused.append(result)
                raise BrokerUnavailable("gone")
            super().store_result(message, result, ttl)

    backend = Backend()
    broker.add_middleware(Results(backend=backend, store_results=True))

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000)
    def act(messages: Messages) -> list[int]:
        calls.append(numbers(messages))
        return numbers(messages)

    sent = [act.send(number) for number in range(3)]
    start_worker(broker)
    broker.join("default", timeout=15000)
    assert [len(call) for call in calls] == [3, 1]
    assert calls[1] == [2]
    assert [message.get_result(backend=backend) for message in sent] == [0, 1, 2]


def test_a_dead_letter_that_cannot_be_stored_at_once_doubles_nothing(
    broker: JetStreamBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dramatiq.worker.POST_PROCESS_MESSAGE_RETRY_DELAY_SECS", 0.1)
    calls: list[list[int]] = []
    recorder = Recorder()
    broker.add_middleware(recorder)

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000, max_retries=0)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))
        if 1 in calls[-1]:
            raise ValueError

    for number in range(3):
        act.send(number)
    fail_once(broker, monkeypatch, BrokerUnavailable("gone"))
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert [len(call) for call in calls] == [3, 1, 1, 1]
    assert broker.dead_letters.count() == 1
    wait_until(lambda: recorder.of["2"][-1] == "ack")
    assert recorder.of["1"] == ["before", "failed", "nack"]
    assert recorder.of["0"].count("before ack") == 1
    assert recorder.of["2"].count("ack") == 1


def test_one_slow_message_exceeds_the_time_limit_alone(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    calls: list[list[int]] = []

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000, max_retries=0, time_limit=300)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))
        deadline = time.monotonic() + 20
        while 1 in calls[-1] and time.monotonic() < deadline:
            time.sleep(0.01)

    for number in range(3):
        act.send(number)
    broker.emit_after("process_boot")  # the command line's processes do
    start_worker(broker)
    broker.join("default", timeout=20000)
    assert [len(call) for call in calls] == [3, 1, 1, 1]
    assert [letter.error.partition(":")[0] for letter in broker.dead_letters.list()] == ["TimeLimitExceeded"]


def test_the_current_message_is_the_one_that_runs_alone(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    broker.add_middleware(CurrentMessage())
    seen = []

    @dramatiq.actor(broker=broker, batch_size=2, batch_wait=1000, max_retries=0)
    def act(messages: Messages) -> None:
        if len(messages) > 1:
            raise ValueError
        current = CurrentMessage.get_current_message()
        assert current is not None
        seen.append(current.message_id == messages[0].message_id)

    act.send()
    act.send()
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert seen == [True, True]


def test_a_stopping_worker_gives_back_what_it_would_run_alone(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    calls: list[list[int]] = []
    may_go_on = threading.Event()

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000, max_retries=0)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))
        if len(calls) == 1:
            raise ValueError
        may_go_on.wait(20)

    for number in range(3):
        act.send(number)
    worker = start_worker(broker)
    wait_until(lambda: len(calls) == 2)
    stopping = threading.Thread(target=worker.stop, kwargs={"timeout": 20000})
    stopping.start()
    wait_until(broker.is_stopping)
    may_go_on.set()
    stopping.join(20)
    assert [len(call) for call in calls] == [3, 1]
    assert broker._streams.unfinished("default") == 2
    assert broker.dead_letters.count() == 0


def test_suspects_are_run_alone(broker: JetStreamBroker, make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    calls: list[list[Any]] = []

    @dramatiq.actor(broker=broker, batch_size=10, batch_wait=300)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))

    act.send("suspect-1")
    act.send("suspect-2")
    stranger = make_broker()  # which gathers nothing
    stranger.declare_queue("default")
    lend_out(stranger, 2)
    for number in range(4):
        act.send(number)
    start_worker(broker)
    broker.join("default", timeout=20000)
    assert ["suspect-1"] in calls
    assert ["suspect-2"] in calls
    assert any(len(call) > 1 for call in calls)


def test_a_half_gathered_batch_keeps_its_lease_and_blocks_no_other_actor(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    calls: list[Any] = []
    one, another = make_broker(ack_wait=1.0), make_broker(ack_wait=1.0)
    for broker in (one, another):

        @dramatiq.actor(broker=broker, batch_size=10, batch_wait=2500)
        def act(messages: Messages) -> None:
            calls.append([message.args[0] for message in messages])

        @dramatiq.actor(broker=broker)
        def single(number: int) -> None:
            calls.append(number)

    start_worker(one, worker_threads=1)
    for number in range(3):
        one.enqueue(dramatiq.Message("default", "act", (number,), {}, {}))
    wait_until(lambda: one.queue_stats()[0].outstanding == 3)
    # Another worker would take whatever is lent out no longer
    start_worker(another, worker_threads=1)
    for number in range(5):
        one.enqueue(dramatiq.Message("default", "single", (number,), {}, {}))
    wait_until(lambda: [call for call in calls if isinstance(call, int)] == [0, 1, 2, 3, 4] or len(calls) == 5)
    assert not any(isinstance(call, list) for call in calls)
    one.join("default", timeout=10000)
    assert [call for call in calls if isinstance(call, list)] == [[0, 1, 2]]


def test_what_is_half_gathered_is_given_back_on_close(make_broker: MakeBroker) -> None:
    broker = make_broker(ack_wait=60)

    @dramatiq.actor(broker=broker, batch_size=10, batch_wait=60_000)
    def act(messages: Messages) -> None: ...

    act.send(1)
    consumer = broker.consume("default", prefetch=1, timeout=100)
    wait_until(lambda: next(consumer) or consumer._gathering.wanted == 9)
    consumer.close()
    other = broker.consume("default", prefetch=1, timeout=100)
    wait_until(lambda: next(other) or other._gathering.wanted == 9)
    other.close()


def test_batches_are_gathered_for_each_lane(broker: JetStreamBroker, start_worker: MakeWorker) -> None:
    calls: list[list[str]] = []

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=500)
    def act(messages: Messages) -> None:
        calls.append(numbers(messages))

    for number in range(6):
        lane = "ab"[number % 2]
        act.send_with_options(args=(lane,), lane=lane)
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert sorted(calls) == [["a", "a", "a"], ["b", "b", "b"]]


def test_batch_actors_may_be_async(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    broker = make_broker(middleware=[AsyncIO(), dramatiq.middleware.Retries()])
    calls: list[list[int]] = []
    followed = []

    @dramatiq.actor(broker=broker)
    async def follow(number: int) -> None:
        followed.append(number)

    @dramatiq.actor(broker=broker, batch_size=3, batch_wait=1000, max_retries=0)
    async def act(messages: Messages) -> None:
        await asyncio.sleep(0.01)
        calls.append(numbers(messages))
        if len(messages) > 1:
            raise ValueError
        follow.send(messages[0].args[0])

    for number in range(3):
        act.send(number)
    start_worker(broker)
    broker.join("default", timeout=10000)
    assert [len(call) for call in calls] == [3, 1, 1, 1]
    assert sorted(followed) == [0, 1, 2]


def test_called_directly_it_is_the_function_itself(broker: JetStreamBroker) -> None:
    @dramatiq.actor(broker=broker, batch_size=3)
    def total(messages: Messages) -> int:
        return sum(message.args[0] for message in messages)

    assert total([total.message(1), total.message(2)]) == 3


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"batch_size": 1}, "batch_size must be a whole number from 2 to 1000, not 1"),
        ({"batch_size": LARGEST + 1}, "batch_size must be"),
        ({"batch_size": True}, "batch_size must be"),
        ({"batch_size": "5"}, "batch_size must be"),
        ({"batch_size": 5, "batch_wait": -1}, "batch_wait must be milliseconds, not -1"),
        ({"batch_size": 5, "batch_wait": float("inf")}, "batch_wait must be milliseconds"),
        ({"batch_wait": 5}, "batch_wait needs batch_size"),
    ],
)
def test_options_that_cannot_be_kept_are_refused_at_once(
    broker: JetStreamBroker, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        dramatiq.actor(lambda messages: None, broker=broker, actor_name="act", **options)


class _Delivered:
    """As much of a message as gathering looks at."""

    def __init__(self, lane: str) -> None:
        self.actor_name, self.lane, self.queue_name, self.message_id = "act", lane, "default", lane
        self.delivery = self
        self.count = 1
        self.consumer = self.processing = None


def test_a_thousand_lanes_do_not_gather_without_bound() -> None:
    gathering = Gathering(lambda actor: Limits(size=10, wait=60.0))
    complete = [gathering.add(_Delivered(str(number))) for number in range(1000)]  # type: ignore[arg-type]
    handed = [batch for batch in complete if batch is not None]
    assert len(gathering.drain()) < 200
    # The oldest went first
    assert [batch.message_id for batch in handed] == [str(number) for number in range(len(handed))]
    assert gathering.wanted == 0


def test_what_a_batch_enqueues_is_recognised_when_the_same_batch_comes_again() -> None:
    def ids(*sequences: int) -> list[str]:
        pause = QueuePause("default")
        members = [
            Processing("stream", sequence, dramatiq.Message("default", "act", (), {}, {}), pause)
            for sequence in sequences
        ]
        batch = Processing.of_all(members)
        return [batch.next_id(dramatiq.Message("default", "next", (), {}, {})) for _ in range(2)]

    assert ids(1, 2, 3) == ids(3, 1, 2)
    assert len({*ids(1, 2, 3), *ids(1, 2), *ids(1, 23), *ids(1), *ids(2)}) == 10
    assert ids(1)[0].startswith("stream:1:")  # that of the message itself


def test_a_batch_whose_worker_is_killed_runs_again_and_its_successors_are_not_doubled(
    nats: EmbeddedNats,
    make_broker: MakeBroker,
    start_process: Callable[..., "subprocess.Popen[bytes]"],
    ran: Callable[[], list[str]],
    tmp_path: Path,
) -> None:
    broker = make_broker(ack_wait=1.5)  # as the processes' own
    broker.declare_queue("default")
    marker = tmp_path / "died"
    for number in range(3):
        broker.enqueue(dramatiq.Message("default", "die_after_enqueueing_for_all", (str(number), str(marker)), {}, {}))
    worker = start_process(nats.url, "--processes", "1", "--threads", "1")
    wait_until(marker.exists, timeout=20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    start_process(nats.url, "--processes", "1")
    broker.join("default", timeout=20000)
    assert sorted(ran()) == ["done-0", "done-1", "done-2", "next-0", "next-1", "next-2"]
    assert poison.SUSPECT_FROM > 2  # else they would have come alone
