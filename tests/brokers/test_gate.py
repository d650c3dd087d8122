"""The gate: everything together, or one alone; nobody waits for ever, and nobody makes others wait for ever."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from brokers import gate
from brokers.gate import Gate
from tests.brokers.conftest import wait_until


class Runner(threading.Thread):
    """A thread that enters, stays until told to leave, and tells what it got."""

    def __init__(self, enter: Callable[[], object], leave: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._enter, self._leave = enter, leave
        self.answer: object = None
        self.answered = threading.Event()
        self.may_leave = threading.Event()

    def run(self) -> None:
        self.answer = self._enter()
        self.answered.set()
        self.may_leave.wait(20)
        self._leave()

    def stop(self) -> None:
        self.may_leave.set()
        self.join(5)


Begin = Callable[[Callable[[], object]], Runner]


@pytest.fixture
def the_gate() -> Gate:
    return Gate()


@pytest.fixture
def begin(the_gate: Gate) -> Iterator[Begin]:
    runners: list[Runner] = []

    def start(enter: Callable[[], object]) -> Runner:
        runner = Runner(enter, the_gate.leave)
        runners.append(runner)
        runner.start()
        return runner

    yield start
    the_gate.close()
    for runner in runners:
        runner.stop()


def stands_in_line(the_gate: Gate, count: int) -> None:
    wait_until(lambda: len(the_gate._line) == count)


def test_many_run_together(the_gate: Gate, begin: Begin) -> None:
    runners = [begin(the_gate.enter) for _ in range(5)]
    for runner in runners:
        assert runner.answered.wait(5)
        assert runner.answer is True


def test_one_alone_waits_for_those_before_it_and_holds_back_those_behind_it(the_gate: Gate, begin: Begin) -> None:
    first = begin(the_gate.enter)
    assert first.answered.wait(5)
    suspect = begin(the_gate.enter_alone)
    stands_in_line(the_gate, 1)
    last = begin(the_gate.enter)
    stands_in_line(the_gate, 2)
    assert not suspect.answered.is_set()
    first.stop()
    assert suspect.answered.wait(5)
    assert suspect.answer == 0.0
    assert not last.answered.wait(0.1)
    suspect.stop()
    assert last.answered.wait(5)
    assert last.answer is True


def test_suspects_take_turns_with_others(the_gate: Gate, begin: Begin) -> None:
    suspect = begin(the_gate.enter_alone)
    assert suspect.answered.wait(5)
    waiting = [begin(the_gate.enter)]
    stands_in_line(the_gate, 1)
    waiting.append(begin(the_gate.enter_alone))
    stands_in_line(the_gate, 2)
    suspect.stop()
    # The one that came first runs first, though it is no suspect
    assert waiting[0].answered.wait(5)
    assert not waiting[1].answered.wait(0.1)
    waiting[0].stop()
    assert waiting[1].answered.wait(5)


def test_who_cannot_be_alone_goes_back_and_then_others_are_not_held_back_for_a_while(
    the_gate: Gate, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    the_gate._patience = 0.2
    long_one = begin(the_gate.enter)
    assert long_one.answered.wait(5)
    suspect = begin(the_gate.enter_alone)
    stands_in_line(the_gate, 1)
    held_back = begin(the_gate.enter)
    assert suspect.answered.wait(5)
    low, high = gate.TRY_AGAIN
    assert isinstance(suspect.answer, float)
    assert low <= suspect.answer <= high
    assert held_back.answered.wait(5)
    # The next one does not wait at all while the long task goes on
    began = time.monotonic()
    second = begin(the_gate.enter_alone)
    assert second.answered.wait(5)
    assert isinstance(second.answer, float)
    assert second.answer > low
    assert time.monotonic() - began < 4
    # It would wait for longer next time, so that it is alone at last
    assert the_gate._patience == 0.4
    # And is at once when nobody else is running
    for runner in (long_one, held_back, suspect, second):
        runner.stop()
    third = begin(the_gate.enter_alone)
    assert third.answered.wait(5)
    assert third.answer == 0.0
    assert the_gate._patience == gate.FIRST_PATIENCE


def test_patience_is_bounded(the_gate: Gate, begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LONGEST_PATIENCE", 0.05)
    the_gate._patience = 0.05
    assert begin(the_gate.enter).answered.wait(5)
    for _ in range(3):
        the_gate._rests_until = 0.0
        suspect = begin(the_gate.enter_alone)
        assert suspect.answered.wait(5)
    assert the_gate._patience == 0.05


def test_a_closing_gate_sends_away_all_who_wait(the_gate: Gate, begin: Begin) -> None:
    suspect = begin(the_gate.enter_alone)
    assert suspect.answered.wait(5)
    waiting, another = begin(the_gate.enter), begin(the_gate.enter_alone)
    stands_in_line(the_gate, 2)
    the_gate.close()
    assert waiting.answered.wait(5)
    assert waiting.answer is False
    assert another.answered.wait(5)
    assert another.answer != 0.0


def test_a_thread_that_could_not_leave_is_out_when_it_comes_again(the_gate: Gate) -> None:
    assert the_gate.enter_alone() == 0.0
    assert the_gate.enter()
    the_gate.leave()
    assert not the_gate._together
    assert the_gate._alone is None
