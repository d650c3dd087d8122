"""Recurring messages: on the server, once a tick, as the code declares them."""

import itertools
import time

import dramatiq
import pytest

from brokers import JetStreamBroker
from tests.brokers.conftest import MakeBroker, MakeWorker, wait_until


def schedules(broker: JetStreamBroker) -> dict[str, tuple[int, str]]:
    stored = broker._api.each(broker._names.work_stream, broker._names.crons_of("code"), deadline=time.monotonic() + 5)
    return {each.subject.rpartition(".")[2]: (each.sequence, each.headers["Nats-Schedule"]) for each in stored}


def test_each_tick_runs_once_however_many_workers_there_are(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    ticks: list[tuple[str, int]] = []
    for _ in range(2):
        broker = make_broker(
            middleware=[dramatiq.middleware.AgeLimit(max_age=5000), dramatiq.middleware.CurrentMessage()]
        )

        @dramatiq.actor(broker=broker)
        def tick() -> None:
            message = dramatiq.middleware.CurrentMessage.get_current_message()
            assert message is not None
            ticks.append((message.message_id, message.message_timestamp))

        broker.cron("tick", 1, tick.message())
        broker.ensure_streams()
        start_worker(broker)
    wait_until(lambda: len(ticks) >= 3, timeout=10)
    ids, times = zip(*ticks, strict=True)
    assert len(set(ids)) == len(ids)
    assert all(700 < later - earlier < 1500 for earlier, later in itertools.pairwise(times))


def test_release_adds_changes_and_removes_what_the_code_declares_and_leaves_the_rest(make_broker: MakeBroker) -> None:
    def declare(**crons: str) -> JetStreamBroker:
        broker = make_broker()

        @dramatiq.actor(broker=broker)
        def act() -> None: ...

        for name, every in crons.items():
            broker.cron(name, every, act.message())
        broker.ensure_streams()
        return broker

    before = schedules(declare(stays="1h", changes="1h", goes="0 30 2 * * *"))
    after = schedules(declare(stays="1h", changes="2h", comes="@every 10m"))
    assert after["stays"] == before["stays"]
    assert {name: every for name, (_, every) in after.items()} == {
        "stays": "@every 1h",
        "changes": "@every 2h",
        "comes": "@every 10m",
    }


@pytest.mark.parametrize("every", ["* * * * *", "hourly", "@every soon", ""])
def test_a_schedule_that_cannot_be_read_is_refused_where_it_is_declared(broker: JetStreamBroker, every: str) -> None:
    with pytest.raises(ValueError, match="six fields"):
        broker.cron("tick", every, dramatiq.Message("default", "act", (), {}, {}))
