"""Dramatiq on the broker that BENCH_BROKER names: the tasks, which a worker imports, and their sender."""

import os
import threading
import time
from collections.abc import Callable

import dramatiq
import noted
from driver import PAYLOAD

URL = os.environ["BENCH_URL"]


def _broker() -> dramatiq.Broker:
    match os.environ["BENCH_BROKER"]:
        case "jetstream":
            from brokers import JetStreamBroker  # noqa: PLC0415  only this one's library is there

            return JetStreamBroker(URL, namespace=os.environ.get("BENCH_NAMESPACE", "bench"), publish_timeout=30)
        case "redis":
            from dramatiq.brokers.redis import RedisBroker  # noqa: PLC0415  only this one's library is there

            return RedisBroker(url=URL)
        case "rabbitmq":
            from dramatiq.brokers.rabbitmq import RabbitmqBroker  # noqa: PLC0415  only this one's library is there

            return RabbitmqBroker(url=URL, confirm_delivery=os.environ.get("BENCH_CONFIRM", "1") == "1")
        case other:
            raise ValueError(f"no broker is called {other}")


broker = _broker()
dramatiq.set_broker(broker)

_LANE = {"lane": "one"} if os.environ.get("BENCH_LANE") else {}
_BATCH = 1000


@dramatiq.actor
def work(_payload: str) -> None:
    noted.count()


@dramatiq.actor
def stamp(sent: float) -> None:
    noted.arrived(sent)


class Sender:
    def __init__(self) -> None:
        if _LANE and "lane" not in broker.actor_options:
            raise SystemExit("this broker has no lanes")
        work.send_with_options(args=(PAYLOAD,), **_LANE)  # makes the queue where it is not there yet
        self.clear()

    def one_by_one(self, *, seconds: float, threads: int) -> int:
        until = time.perf_counter() + seconds
        counts = [0] * threads

        def send(number: int) -> None:
            while time.perf_counter() < until:
                work.send_with_options(args=(PAYLOAD,), **_LANE)
                counts[number] += 1

        _in_threads(send, threads)
        return sum(counts)

    def bulk(self, count: int) -> None:
        self._bulk(count, delay=None)

    def stamped(self) -> None:
        stamp.send(time.monotonic())

    def delayed(self, count: int, *, seconds: float) -> None:
        delay = int(seconds * 1000)
        if hasattr(broker, "enqueue_many"):
            self._bulk(count, delay=delay)
            return
        threads = 8

        def send(number: int) -> None:
            for _ in range(number, count, threads):
                work.send_with_options(args=(PAYLOAD,), delay=delay)

        _in_threads(send, threads)

    def clear(self) -> None:
        broker.flush_all()

    def _bulk(self, count: int, *, delay: int | None) -> None:
        if not hasattr(broker, "enqueue_many"):
            for _ in range(count):
                work.send_with_options(args=(PAYLOAD,), delay=delay, **_LANE)
            return
        for begin in range(0, count, _BATCH):
            size = min(_BATCH, count - begin)
            messages = [work.message_with_options(args=(PAYLOAD,), **_LANE) for _ in range(size)]
            broker.enqueue_many(messages, **({} if delay is None else {"delay": delay}))


def _in_threads(send: Callable[[int], None], threads: int) -> None:
    if threads == 1:
        send(0)
        return
    senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
