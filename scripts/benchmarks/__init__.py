"""How fast Shopstream is, each figure beside a yardstick measured in the same run on the same machine.

A benchmark is a function that yields results; adding one is a module and its name in BENCHMARKS.
"""

from collections.abc import Callable, Iterator, Mapping

from scripts.benchmarks import ingest, queue, sync, webhooks

Benchmark = Callable[[], Iterator[Mapping[str, object]]]

#: By name. The first line of a benchmark's docstring is what ``--list`` says of it.
BENCHMARKS: Mapping[str, Benchmark] = {
    "ingest": ingest.measure,
    "webhooks": webhooks.measure,
    "sync": sync.measure,
    "queue": queue.measure,
}
#: What ``--peers`` makes of one.
WITH_PEERS: Mapping[str, Benchmark] = {"queue": queue.measure_with_peers}
