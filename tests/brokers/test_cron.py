"""Recurring messages: on the server, once a tick, as the code declares them."""

import dataclasses
import itertools
import threading
import time
from datetime import UTC, datetime
from typing import Any
from unittest.mock import ANY
from zoneinfo import ZoneInfo

import dramatiq
import pytest

from brokers import JetStreamBroker
from brokers.api import Stored
from brokers.cron_lines import Line, check, next_tick
from brokers.ticks import Mark, Marks, next_due
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


def test_what_workers_declare_is_there_also_where_no_release_ran(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    ran: list[int] = []
    broker = make_broker()

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    broker.cron("tick", 1, act.message())
    start_worker(broker)
    wait_until(lambda: ran, timeout=15)
    assert set(schedules(broker)) == {"tick"}


def test_a_worker_does_not_bring_back_what_a_release_removed(make_broker: MakeBroker, start_worker: MakeWorker) -> None:
    # Given a release that no longer has what an older one declared
    make_broker().ensure_streams()
    old = make_broker()

    @dramatiq.actor(broker=old)
    def act() -> None: ...

    old.cron("removed", "1h", act.message())
    # When a worker of the older one starts
    old._crons.bring_back(timeout=5)
    # Then it stays removed
    assert schedules(old) == {}


def test_a_stream_made_anew_has_what_the_code_declares(
    make_broker: MakeBroker, start_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("brokers.sweep.PERIOD", 0.3)
    broker, other = make_broker(), make_broker()

    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    broker.cron("tick", "1h", act.message())
    broker.ensure_streams()

    def lose_the_volume() -> None:
        broker._api.ask(f"STREAM.DELETE.{broker._names.work_stream}", deadline=time.monotonic() + 5)

    # By the process that makes it anew, when it knows them
    lose_the_volume()
    act.send()
    assert set(schedules(broker)) == {"tick"}
    # By a worker, when another process makes it that knows of none
    worker = start_worker(broker)
    broker.join("default", timeout=5000)
    lose_the_volume()
    other.declare_queue("other")
    other.enqueue(dramatiq.Message("other", "unknown", (), {}, {}))
    wait_until(lambda: set(schedules(other)) == {"tick"}, timeout=10)
    worker.stop(timeout=5000)


def test_two_releases_at_once_do_no_harm(make_broker: MakeBroker) -> None:
    brokers = [make_broker() for _ in range(4)]
    for broker in brokers:

        @dramatiq.actor(broker=broker)
        def act(number: int) -> None: ...

        for number in range(5):
            broker.cron(f"tick-{number}", "1h", act.message(number))
    failures: list[Exception] = []

    def release(broker: JetStreamBroker) -> None:
        try:
            broker.ensure_streams()
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=release, args=(broker,)) for broker in brokers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    first = schedules(brokers[0])
    assert len(first) == 5
    brokers[1].ensure_streams()
    assert schedules(brokers[0]) == first


def test_schedules_are_made_and_removed_at_run_time_and_no_release_touches_them(
    make_broker: MakeBroker, start_worker: MakeWorker
) -> None:
    broker = make_broker()
    ran: list[str] = []

    @dramatiq.actor(broker=broker)
    def sync(tenant: str) -> None:
        ran.append(tenant)

    broker.cron("declared", "1h", sync.message("code"))
    # Without a release before
    broker.schedules.put("tenant a.b/*", 1, sync.message("a"))
    broker.schedules.put("tenant b", "0 30 2 * * *", sync.message("b"), time_zone="Europe/Berlin")
    broker.schedules.put("declared", "2h", sync.message("of another owner"))
    broker.ensure_streams()
    make_broker().ensure_streams()  # of code that declares nothing
    assert [schedule.name for schedule in broker.schedules.list()] == ["declared", "tenant a.b/*", "tenant b"]
    assert broker.schedules.list(owner="code") == []
    found = broker.schedules.get("tenant b")
    assert found is not None
    assert (found.every, found.time_zone, found.message.args) == ("0 30 2 * * *", "Europe/Berlin", ("b",))
    assert broker.schedules.get("tenant c") is None
    # The same again keeps its ticks, another replaces it
    broker.schedules.put("tenant b", "0 30 2 * * *", sync.message("b"), time_zone="Europe/Berlin")
    assert broker.schedules.get("tenant b") == dataclasses.replace(found, message=ANY)
    broker.schedules.put("tenant b", "0 30 3 * * *", sync.message("b"))
    changed = broker.schedules.get("tenant b")
    assert changed is not None
    assert (changed.every, changed.time_zone) == ("0 30 3 * * *", None)
    # They tick, and stop when they are removed
    start_worker(broker)
    wait_until(lambda: ran.count("a") >= 2)
    assert broker.schedules.remove("tenant a.b/*") is True
    assert broker.schedules.remove("tenant a.b/*") is False
    broker.join("default", timeout=5000)
    count = ran.count("a")
    time.sleep(1.5)
    assert ran.count("a") == count
    assert [schedule.name for schedule in broker.schedules.list()] == ["declared", "tenant b"]


def test_a_schedule_that_cannot_be_read_is_refused_at_run_time_too(broker: JetStreamBroker) -> None:
    message: dramatiq.Message[Any] = dramatiq.Message("default", "act", (), {}, {})
    for every, time_zone in (("hourly", None), (0.5, None), ("30s", "Europe/Berlin"), ("@daily", "Nowhere/Town")):
        with pytest.raises(ValueError, match=r"cron 'tick'"):
            broker.schedules.put("tick", every, message, time_zone=time_zone)


def test_ticks_of_a_unique_task_with_a_lane_go_where_its_messages_go(
    broker: JetStreamBroker, start_worker: MakeWorker
) -> None:
    ran: list[str] = []

    @dramatiq.actor(broker=broker, unique=True, lane=lambda message: message.args[0])
    def act(tenant: str) -> None:
        ran.append(tenant)

    broker.schedules.put("tick", 1, act.message("a"))
    wait_until(lambda: broker._streams.unfinished("default") == 1)
    assert "already_queued" in act.send("a").options
    start_worker(broker)
    wait_until(lambda: ran == ["a"])


@pytest.mark.parametrize(
    ("line", "time_zone"),
    [
        ("*/7 * * * * *", None),
        ("10-20/5,50 1,31 */6 * * *", "Asia/Kolkata"),
        ("0 30 2 * * *", "Europe/Berlin"),
        ("0 0 12 ? JAN-MAR,dec MON-FRI", "America/New_York"),
        ("0 0 0 13 * 5", None),
        ("0 0 0 29 2 *", None),
        ("@weekly", None),
        ("@monthly", "Pacific/Auckland"),
        ("@every 90m", None),
    ],
)
def test_lines_that_the_server_takes_are_read_too(broker: JetStreamBroker, line: str, time_zone: str | None) -> None:
    broker.ensure_streams()
    names = broker._names
    headers = {"Nats-Schedule": line, "Nats-Schedule-Target": names.work("default", "act")}
    if time_zone:
        headers["Nats-Schedule-Time-Zone"] = time_zone
    check(line, time_zone)
    broker._publisher.publish(names.cron("tick"), b"{}", publish_id="once", headers=headers)  # the server takes it
    ticks = [datetime(2026, 3, 28, 23, 59, 59, tzinfo=UTC)]
    for _ in range(8):
        tick = next_tick(line, time_zone, ticks[-1])
        assert tick is not None
        ticks.append(tick)
    assert ticks == sorted(set(ticks))
    if not line.startswith("@"):
        line_ = Line.parse(line)
        local = [tick.astimezone(ZoneInfo(time_zone or "UTC")) for tick in ticks[1:]]
        assert all(each.second in line_.seconds and each.minute in line_.minutes for each in local)
        assert all(each.hour in line_.hours and each.month in line_.months for each in local)


def test_an_hour_that_the_clock_skips_has_no_tick_and_one_that_it_repeats_has_two() -> None:
    def ticks(begin: datetime, count: int) -> list[str]:
        found = []
        for _ in range(count):
            begin = next_tick("0 30 2 * * *", "Europe/Berlin", begin) or begin
            found.append(f"{begin:%d %H:%M}")
        return found

    assert ticks(datetime(2026, 3, 28, 12, tzinfo=UTC), 2) == ["30 00:30", "31 00:30"]
    assert ticks(datetime(2026, 10, 24, 12, tzinfo=UTC), 3) == ["25 00:30", "25 01:30", "26 01:30"]


def test_the_server_reckons_the_same(broker: JetStreamBroker) -> None:
    broker.ensure_streams()
    names = broker._names
    lines = ["* * * * * *", "*/3 * * * * *", "1-59/2 * * * * ?", "@every 1s"]
    for number, line in enumerate(lines):
        target = names.work("default", f"act-{number}")
        headers = {"Nats-Schedule": line, "Nats-Schedule-Target": target}
        broker._publisher.publish(names.cron(f"{number}"), b"{}", publish_id=f"{number}", headers=headers)

    def tick_of(number: int) -> Stored | None:
        subject = names.work("default", f"act-{number}")
        return broker._api.first(names.work_stream, subject, deadline=time.monotonic() + 5)

    for number, line in enumerate(lines):
        tick = wait_until(lambda number=number: tick_of(number))
        due = next_due(tick.headers)
        expected = next_tick(line, None, tick.stored_at)
        assert expected is not None
        assert due == expected.timestamp()


def test_marks_never_go_back(broker: JetStreamBroker) -> None:
    broker.ensure_streams()
    marks = Marks(broker.key_value("ticks"))
    marks.ticked("cron", Mark(due=20.0, tick_ns=2))
    marks.ticked("cron", Mark(due=10.0, tick_ns=1))
    assert marks.of("cron") == Mark(due=20.0, tick_ns=2)
    marks.forget("cron")
    assert marks.of("cron") is None
    marks.ticked("cron", Mark(due=30.0, tick_ns=3))
    assert marks.of("cron") == Mark(due=30.0, tick_ns=3)
