"""A program under gevent's monkey-patching, as ``dramatiq-gevent`` does it: sends, works, waits for results. Run by a test."""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import sys

import dramatiq
import gevent
from dramatiq.results import Results

from brokers import JetStreamBroker, JetStreamResultBackend

broker = JetStreamBroker(sys.argv[1], namespace=sys.argv[2])
backend = JetStreamResultBackend(broker=broker)
broker.add_middleware(Results(backend=backend))


@dramatiq.actor(broker=broker, store_results=True)
def double(number: int) -> int:
    gevent.sleep(0.05)
    return number * 2


messages = [double.send_with_options(args=(number,), delay=600 * (number % 2)) for number in range(20)]
worker = dramatiq.Worker(broker, worker_threads=8, worker_timeout=100)
worker.start()
results = [message.get_result(backend=backend, block=True, timeout=20_000) for message in messages]
broker.join("default", timeout=10_000)
worker.stop()
broker.close()
print(results)  # noqa: T201
