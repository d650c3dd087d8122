"""Dramatiq's StubBroker: no server, no network, no bytes kept. What the library's own worker can do at most.

``python ceiling.py COUNT`` drains so many no-ops with eight threads and prints how many that were a second.
"""

import os
import sys
from pathlib import Path

import dramatiq
import noted
from dramatiq.brokers.stub import StubBroker
from driver import PAYLOAD

broker = StubBroker()
broker.emit_after("process_boot")
dramatiq.set_broker(broker)


@dramatiq.actor
def work(_payload: str) -> None:
    noted.count()


def main(count: int) -> None:
    for _ in range(count):
        work.send(PAYLOAD)
    worker = dramatiq.Worker(broker, worker_threads=8)
    worker.start()
    broker.join("default")
    worker.stop()
    first, last = map(float, Path(os.environ["BENCH_NOTES"]).read_text().split())
    print((count - 1) / (last - first))


if __name__ == "__main__":
    main(int(sys.argv[1]))
