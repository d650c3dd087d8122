"""Worker processes as the command line starts them: killed, stopped, forked."""

import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import dramatiq
import pytest

from brokers import JetStreamBroker
from scripts.services import EmbeddedNats
from tests.brokers.conftest import MakeBroker, wait_until

Start = Callable[..., "subprocess.Popen[bytes]"]
Ran = Callable[[], list[str]]


@pytest.fixture
def broker(make_broker: MakeBroker) -> JetStreamBroker:
    return make_broker(ack_wait=1.5)  # as the processes' own: whoever comes first makes the consumer


def send(broker: JetStreamBroker, actor: str, *args: object, **options: object) -> None:
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", actor, args, {}, dict(options)))


def test_a_task_whose_process_is_killed_runs_again_to_its_end(
    nats: EmbeddedNats, broker: JetStreamBroker, start_process: Start, ran: Ran
) -> None:
    worker = start_process(nats.url, "--processes", "1")
    send(broker, "slow", "a", 1.0)
    wait_until(lambda: "begin-a" in ran(), timeout=20)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(5)
    assert ran() == ["begin-a"]
    start_process(nats.url, "--processes", "1")
    broker.join("default", timeout=20000)
    assert ran() == ["begin-a", "begin-a", "end-a"]


def test_a_successor_enqueued_before_a_crash_is_not_doubled(
    nats: EmbeddedNats, broker: JetStreamBroker, start_process: Start, ran: Ran, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    # One thread: with two, the successor might run and die with the process before it is acknowledged, too
    start_process(nats.url, "--processes", "1", "--threads", "1")
    send(broker, "die_after_enqueueing_the_next", "a", str(marker))
    wait_until(marker.exists, timeout=20)
    start_process(nats.url, "--processes", "1")
    broker.join("default", timeout=20000)
    assert sorted(ran()) == ["done-a", "next-a"]


def test_a_crash_between_a_retrys_enqueue_and_the_acknowledgement_does_not_double_it(
    nats: EmbeddedNats, broker: JetStreamBroker, start_process: Start, ran: Ran, tmp_path: Path
) -> None:
    marker = tmp_path / "died"
    start_process(nats.url, "--processes", "1")
    send(broker, "fail_once", "a", marker=str(marker))
    wait_until(marker.exists, timeout=20)
    start_process(nats.url, "--processes", "1")
    broker.join("default", timeout=20000)
    # The first try was repeated, its retry was not
    assert sorted(ran()) == ["try-a-0", "try-a-0", "try-a-1"]


def test_sigterm_finishes_what_runs_and_gives_back_the_rest(
    nats: EmbeddedNats, broker: JetStreamBroker, start_process: Start, ran: Ran
) -> None:
    worker = start_process(nats.url, "--processes", "2")
    for number in range(20):
        send(broker, "slow", str(number), 0.5)
    wait_until(lambda: len(ran()) >= 4, timeout=20)
    began = time.monotonic()
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(25) == 0
    assert time.monotonic() - began < 25
    notes = ran()
    assert len([note for note in notes if note.startswith("begin")]) == len(
        [note for note in notes if note.startswith("end")]
    )
    # The rest waits for nobody's lease
    (stats,) = broker.queue_stats()
    assert stats.ready + stats.outstanding == 20 - len(notes) // 2
    start_process(nats.url, "--processes", "2")
    broker.join("default", timeout=20000)
    assert len(ran()) == 40
    assert len(set(ran())) == 40


def _send_in_child(broker: JetStreamBroker, answers: "SimpleQueue[str]") -> None:
    try:
        send(broker, "act", "child")
        answers.put("sent")
    finally:
        broker.close()


def test_a_broker_in_use_may_be_forked(make_broker: MakeBroker) -> None:
    broker = make_broker()
    send(broker, "act", "parent")
    context = multiprocessing.get_context("fork")
    answers: SimpleQueue[str] = context.SimpleQueue()
    children = [context.Process(target=_send_in_child, args=(broker, answers)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    # The parent's connection was not disturbed
    send(broker, "act", "parent")
    assert broker.get_queue_message_counts("default") == (5, 0, 0)
