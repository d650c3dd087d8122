"""Which peers the queue benchmark compares the broker with, and how its goals are read."""

from collections.abc import Mapping
from pathlib import Path

from scripts.benchmarks.queue_contestants import Contestant, Survives
from scripts.benchmarks.queue_table import COLUMNS, ratios, table


def contestant(name: str, *, sent: Survives, kept: Survives, is_ours: bool = False) -> Contestant:
    return Contestant(
        name=name,
        sent=sent,
        kept=kept,
        durability="",
        python=Path("python"),
        module="",
        worker=[],
        environment={},
        columns=frozenset(),
        is_ours=is_ours,
    )


OURS = contestant("ours", sent=Survives.SERVER, kept=Survives.SERVER, is_ours=True)
EQUAL = contestant("equal", sent=Survives.SERVER, kept=Survives.SERVER)
UNCONFIRMED = contestant("unconfirmed", sent=Survives.NOTHING, kept=Survives.SERVER)
SYNCED = contestant("synced", sent=Survives.POWER, kept=Survives.POWER)


def best_of(results: Mapping[Contestant, Mapping[str, float]]) -> dict[str, tuple[str, float, bool]]:
    return {each.column.name: (each.peer, each.value, each.column.is_met(each.value)) for each in ratios(OURS, results)}


def test_who_promises_less_is_no_peer_in_that_column() -> None:
    results = {
        OURS: {"bulkPerSecond": 300.0, "drainPerSecond": 300.0},
        EQUAL: {"bulkPerSecond": 100.0, "drainPerSecond": 100.0},
        UNCONFIRMED: {"bulkPerSecond": 900.0, "drainPerSecond": 200.0},
        SYNCED: {"bulkPerSecond": 150.0},
    }
    # A sender that is not told is compared in draining alone; one that waits for the disk promises more
    assert best_of(results) == {"bulkPerSecond": ("synced", 2.0, True), "drainPerSecond": ("unconfirmed", 1.5, False)}
    assert "900*" in table(results)


def test_of_latencies_the_least_is_the_best() -> None:
    results = {
        OURS: {"latencyP50Milliseconds": 1.0},
        EQUAL: {"latencyP50Milliseconds": 2.0},
        UNCONFIRMED: {"latencyP50Milliseconds": 4.0},
    }
    assert best_of(results) == {"latencyP50Milliseconds": ("equal", 0.5, True)}


def test_the_goals_are_those_that_were_set() -> None:
    assert {column.name: column.goal for column in COLUMNS} == {
        "oneThreadPerSecond": 1.5,
        "eightThreadsPerSecond": 2.0,
        "bulkPerSecond": 2.0,
        "drainPerSecond": 2.0,
        "latencyP50Milliseconds": 0.6,
        "latencyP99Milliseconds": 0.8,
    }
