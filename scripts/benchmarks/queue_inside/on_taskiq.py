"""taskiq on JetStream (taskiq-nats, its pulling broker): the tasks, which a worker imports, and their sender.

Its stream is a file like ours; how it fetches and runs tasks is what was fastest here. An
asyncio program has no threads that send: eight coroutines stand for eight threads.
"""

import asyncio
import os
import time

import noted
from driver import PAYLOAD
from taskiq_nats import PullBasedJetStreamBroker

#: A worker that is to drain fetches many at once; one whose latency is measured would wait for the rest of them.
_IS_DRAIN = os.environ.get("BENCH_COUNT", "0") != "0"
_FETCH = {"pull_consume_batch": 50, "pull_consume_timeout": 0.05} if _IS_DRAIN else {}

broker = PullBasedJetStreamBroker(
    [os.environ["BENCH_URL"]],
    stream_name="taskiq",
    subject="taskiq",
    durable="taskiq",
    pull_consume_batch=50,
    pull_consume_timeout=0.05,
)
#: Coroutines that send at once in bulk; more are slower.
_AT_ONCE = 500


@broker.task
async def work(_payload: str) -> None:
    noted.count()


@broker.task
async def stamp(sent: float) -> None:
    noted.arrived(sent)


class Sender:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(broker.startup())

    def one_by_one(self, *, seconds: float, threads: int) -> int:
        until = time.perf_counter() + seconds

        async def send() -> int:
            count = 0
            while time.perf_counter() < until:
                await work.kiq(PAYLOAD)
                count += 1
            return count

        async def all_of_them() -> int:
            return sum(await asyncio.gather(*(send() for _ in range(threads))))

        return self._loop.run_until_complete(all_of_them())

    def bulk(self, count: int) -> None:
        async def send() -> None:
            for begin in range(0, count, _AT_ONCE):
                size = min(_AT_ONCE, count - begin)
                await asyncio.gather(*(work.kiq(PAYLOAD) for _ in range(size)))

        self._loop.run_until_complete(send())

    def stamped(self) -> None:
        self._loop.run_until_complete(stamp.kiq(time.monotonic()))

    def delayed(self, count: int, *, seconds: float) -> None:
        raise NotImplementedError("taskiq-nats has no delays of its own")

    def clear(self) -> None:
        self._loop.run_until_complete(broker.js.purge_stream("taskiq"))
