"""One shop's budget, shared: used to its rate, never beyond it."""

import threading

import pytest

from shopify.budget import PROBE_PAUSE, RESERVATION_LIFE, Budget
from shopify.cost import Cost
from tests.shopify.budget_simulation import Conflict, MemoryStore, RealBucket, Simulation

SHOP = "x.myshopify.com"


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def budget(store, clock) -> Budget:
    return Budget(store, SHOP, conflict=Conflict, clock=clock)


def answered(actual: float | None, available: float, *, requested: float = 288, maximum=2000.0, rate=100.0) -> Cost:
    return Cost(requested, actual, available, maximum, rate)


def test_an_unknown_shop_is_taken_for_one_on_the_smallest_plan(budget):
    # Given that 2000 points are taken at once
    for _ in range(10):
        assert budget.take(200) == 0.0
    # Then the next has to wait for them at 100 a second, and a little more so that not all come at once
    assert 2.0 <= budget.take(200) <= 2.2


def test_what_was_reserved_beyond_the_charge_is_free_again_after_the_answer(budget):
    for _ in range(10):
        budget.take(200)
    budget.settle(200, answered(10, available=1990, requested=200))
    assert budget.take(190) == 0.0
    assert budget.take(1) > 0


def test_the_first_answer_tells_the_plan(budget):
    budget.take(288)
    budget.settle(288, answered(100, available=19_900, maximum=20_000, rate=1000))
    # Then what a Plus shop has is there at once
    for _ in range(19):
        assert budget.take(1000) == 0.0
    assert 0.1 <= budget.take(1000) <= 0.11


def test_points_kept_in_reserve_are_there_for_the_one_who_asks_without(budget):
    while budget.take(100, reserve=300) == 0.0:
        pass
    assert budget.take(300) == 0.0
    assert budget.take(100) > 0


def test_a_throttled_answer_lowers_the_level_to_what_it_says(budget):
    # Given another program of the same app that emptied the bucket
    budget.take(288)
    budget.settle(288, answered(None, available=0))
    assert 2.88 <= budget.take(288) <= 2.88 * 1.1


def test_a_bucket_that_others_empty_later_is_followed_down_too(budget):
    # Given a bucket known to be nearly full
    budget.take(288)
    budget.settle(288, answered(10, available=1990))
    # When an answer reports that it is empty
    budget.take(288)
    budget.settle(288, answered(None, available=0))
    assert 2.88 <= budget.take(288) <= 2.88 * 1.1


def test_after_a_429_nobody_asks_until_the_wait_is_over(store, clock, budget):
    budget.penalize(2.0)
    other = Budget(store, SHOP, conflict=Conflict, clock=clock)
    assert 2.0 <= other.take(1) <= 2.2
    clock.now += 2.0
    assert other.take(1) == 0.0


def test_the_reservation_of_a_killed_worker_expires(budget, clock):
    for _ in range(2):
        budget.take(1000)
    assert budget.take(1000) > 0
    clock.now += RESERVATION_LIFE
    assert budget.take(1000) == 0.0


def test_a_probe_waits_while_a_query_is_out_and_not_after_its_answer(budget):
    assert budget.take(10, is_probe=True) == 0.0
    assert budget.take(10, is_probe=True) >= PROBE_PAUSE
    budget.settle(10, None)
    assert budget.take(10, is_probe=True) == 0.0


def test_a_released_reservation_costs_nothing(budget):
    budget.take(1000)
    budget.take(1000)
    budget.release(1000)
    assert budget.take(1000) == 0.0


def test_an_unanswered_query_counts_as_charged_until_an_answer_tells_better(budget):
    budget.take(1000)
    budget.settle(1000, None)
    assert budget.take(1001) > 0
    assert budget.take(1000) == 0.0
    budget.settle(1000, answered(10, available=1990, requested=1000))
    assert budget.take(1900) == 0.0


def test_an_answer_overtaken_by_a_later_one_does_not_raise_the_level(budget):
    # Given two queries, of which the first to be admitted is the last to be answered
    budget.take(1000)
    budget.take(900)
    budget.settle(900, answered(900, available=100, requested=900))
    budget.settle(1000, answered(1000, available=1000, requested=1000))
    # Then the charge that the late answer did not know of still stands
    assert budget.take(200) > 0
    assert budget.take(100) == 0.0


def test_a_clock_that_runs_behind_restores_nothing_twice(store, clock):
    late = Clock()
    late.now = clock.now - 3600
    ahead, behind = (Budget(store, SHOP, conflict=Conflict, clock=c) for c in (clock, late))
    ahead.take(2000)
    assert behind.take(100) > 0
    ahead.settle(2000, answered(2000, available=0, requested=2000))
    behind.penalize(0)
    assert ahead.take(100) > 0


def test_a_cost_that_no_wait_makes_fit_is_refused(budget):
    with pytest.raises(ValueError, match="never fit"):
        budget.take(2001)


def test_a_lost_race_is_run_again(store, budget):
    store.lose = 5
    assert budget.take(100) == 0.0
    assert store.conflicts == 5


def test_losing_every_race_ends_in_a_short_wait_and_reserves_nothing(store, budget, monkeypatch):
    monkeypatch.setattr("shopify.budget.CONTENTION_TAKE", 0.05)
    store.lose = 10**9
    assert 0 < budget.take(100) < 0.2
    store.lose = 0
    assert budget.take(2000) == 0.0


def test_shops_do_not_share_a_bucket(store, clock, budget):
    budget.take(2000)
    assert Budget(store, "y.myshopify.com", conflict=Conflict, clock=clock).take(2000) == 0.0


def test_threads_that_race_for_the_points_never_get_more_than_there_are(store, clock):
    # Given eight threads with a budget each, at a time that stands still
    granted: list[float] = []

    def hammer() -> None:
        budget = Budget(store, SHOP, conflict=Conflict, clock=clock)
        while (wait := budget.take(20)) < 0.2:  # a lost race asks to come again soon; a lack of points later
            if wait == 0.0:
                granted.append(20)

    threads = [threading.Thread(target=hammer) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    # Then exactly the bucket was given away
    assert sum(granted) == 2000


@pytest.mark.parametrize(
    ("plan", "workers", "latency", "requested", "actual"),
    [
        ((2000, 100), 1, 0.05, 288, 123),
        ((2000, 100), 8, 0.5, 288, 123),
        ((2000, 100), 8, 2.0, 288, 288),
        ((2000, 100), 12, 0.5, 38, 10),
        ((4000, 200), 8, 0.5, 288, 123),
        ((20_000, 1000), 8, 0.5, 288, 288),
    ],
)
def test_the_allowed_rate_is_used_and_next_to_nothing_is_throttled(plan, workers, latency, requested, actual):
    maximum, rate = plan
    bucket = RealBucket(maximum, rate, level=maximum)
    Simulation(bucket, workers, latency, requested, actual).run(seconds=60)
    assert bucket.charged >= 0.9 * (maximum + 60 * rate)
    assert bucket.throttled <= 0.01 * bucket.admitted


def test_a_bucket_that_others_drain_too_is_followed_down():
    # Given a bucket whose true level is far below what a fresh budget assumes
    bucket = RealBucket(2000, 100, level=0.0)
    Simulation(bucket, workers=4, latency=0.2, requested=200, actual=200).run(seconds=60)
    # Then only the first queries are throttled, before an answer told
    assert bucket.throttled <= 4
    assert bucket.charged >= 0.85 * 60 * 100
