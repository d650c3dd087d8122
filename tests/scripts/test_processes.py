"""The supervisor brings back what dies, with all that belonged to it, and stops in reverse order."""

import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from scripts import processes
from scripts.bootstrap import ROOT
from scripts.processes import MARK, Child, Supervisor, end_leftovers, procfile, shell, with_our_programs

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def said():
    return []


@pytest.fixture
def supervisor(said):
    supervisor = Supervisor(say=said.append)
    yield supervisor
    supervisor.kill()
    supervisor.stop()


@pytest.fixture
def child(tmp_path):
    def make(name: str, command: list[str], **env: str) -> Child:
        return Child(name, command, env={**os.environ, **env}, cwd=tmp_path, log_path=tmp_path / f"{name}.log")

    return make


def test_a_killed_child_is_started_again_and_it_is_said(supervisor, child, said, wait_until):
    worker = child("worker", SLEEPER)
    supervisor.start(worker)
    first = worker.pid
    os.kill(first, signal.SIGKILL)
    wait_until(supervisor.revive)
    assert worker.is_running
    assert worker.pid != first
    assert said == ["worker ended unexpectedly; it is started again in 0.5 s"]
    assert supervisor.pids == {"worker": worker.pid}


def test_what_a_killed_child_had_forked_does_not_work_on_beside_its_successor(supervisor, child, tmp_path, wait_until):
    # Given a process with a worker process of its own, as dramatiq's
    program = "import os, time; pid = os.fork(); pid and open('forked', 'w').write(str(pid)); time.sleep(600)"
    worker = child("worker", [sys.executable, "-c", program])
    supervisor.start(worker)
    note = tmp_path / "forked"
    wait_until(lambda: note.exists() and note.read_text())
    forked = psutil.Process(int(note.read_text()))
    # When the first of the two is killed and started again
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(supervisor.revive)
    # Then the other one is gone, too
    wait_until(lambda: not forked.is_running() or forked.status() == psutil.STATUS_ZOMBIE)


def test_a_child_that_keeps_dying_is_started_ever_more_rarely(supervisor, child, said, wait_until, monkeypatch):
    monkeypatch.setattr(processes, "FIRST_BACKOFF", 0.01)
    supervisor.start(child("worker", ["/bin/false"]))
    wait_until(lambda: supervisor.revive() and len(said) >= 4)
    assert [text.rpartition(" in ")[2] for text in said[:4]] == ["0.0 s", "0.0 s", "0.0 s", "0.1 s"]


def test_a_stop_ends_the_last_started_first(supervisor, child, tmp_path, wait_until):
    order = tmp_path / "order"
    program = "trap 'echo $0 >> order; exit 0' TERM; touch $0.ready; while :; do sleep 0.02; done"
    for name in ("first", "second", "third"):
        supervisor.start(child(name, ["/bin/sh", "-c", program, name]))
        wait_until((tmp_path / f"{name}.ready").exists)
    supervisor.stop()
    assert order.read_text().split() == ["third", "second", "first"]


def test_what_ignores_the_request_to_stop_is_killed_after_the_grace(
    supervisor, child, tmp_path, wait_until, monkeypatch
):
    monkeypatch.setattr(processes, "GRACE", 0.2)
    monkeypatch.setattr(processes, "_RESERVE", 0.1)
    stubborn = child("stubborn", ["/bin/sh", "-c", "trap '' TERM; touch ready; while :; do sleep 0.02; done"])
    supervisor.start(stubborn)
    wait_until((tmp_path / "ready").exists)
    begun = time.monotonic()
    supervisor.stop()
    assert not stubborn.is_running
    assert time.monotonic() - begun < 5


def test_the_grace_is_below_the_promised_25_seconds():
    assert processes.GRACE < 25


def test_leftovers_of_this_directory_are_ended_and_no_others(child, tmp_path):
    ours = child("ours", SLEEPER, **{MARK: str(tmp_path)})
    others = child("others", SLEEPER, **{MARK: str(tmp_path / "other")})
    for each in (ours, others):
        each.start()
    try:
        assert end_leftovers(tmp_path) == 1
        assert not ours.is_running
        assert others.is_running
    finally:
        others.kill()


def test_a_childs_output_is_in_its_log(child, wait_until):
    talker = child("talker", ["/bin/sh", "-c", "echo one; echo two >&2"])
    talker.start()
    wait_until(lambda: not talker.is_running)
    assert talker.last_words().split() == ["one", "two"]


def test_a_log_that_has_grown_too_long_makes_way(child, tmp_path, wait_until, monkeypatch):
    monkeypatch.setattr("scripts.embedded._LOG_LIMIT", 10)
    (tmp_path / "talker.log").write_text("x" * 11)
    talker = child("talker", ["/bin/echo", "new"])
    talker.start()
    wait_until(lambda: not talker.is_running)
    assert talker.last_words() == "new"
    assert (tmp_path / "talker.log.1").read_text() == "x" * 11


def test_the_procfile_names_what_a_platform_runs():
    commands = procfile(ROOT / "Procfile")
    assert set(commands) == {"release", "web", "worker"}
    assert shell(commands["web"]) == ["/bin/sh", "-c", "exec gunicorn wsgi:app"]


def test_programs_of_this_environment_come_first():
    path = with_our_programs({"PATH": "/elsewhere"})["PATH"].split(os.pathsep)
    assert path == [str(Path(sys.executable).parent), "/elsewhere"]
