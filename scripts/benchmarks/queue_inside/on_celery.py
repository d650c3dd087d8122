"""Celery on Redis: the tasks, which a worker imports, and their sender. Acknowledged late, as Dramatiq does; no results."""

import os
import threading
import time

import noted
from celery import Celery
from driver import PAYLOAD

app = Celery("bench", broker=os.environ["BENCH_URL"])
app.conf.update(
    task_acks_late=True, task_ignore_result=True, worker_prefetch_multiplier=4, worker_hijack_root_logger=False
)


@app.task
def work(_payload: str) -> None:
    noted.count()


@app.task
def stamp(sent: float) -> None:
    noted.arrived(sent)


class Sender:
    def one_by_one(self, *, seconds: float, threads: int) -> int:
        until = time.perf_counter() + seconds
        counts = [0] * threads

        def send(number: int) -> None:
            while time.perf_counter() < until:
                work.delay(PAYLOAD)
                counts[number] += 1

        senders = [threading.Thread(target=send, args=(number,)) for number in range(threads)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        return sum(counts)

    def bulk(self, count: int) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                work.apply_async((PAYLOAD,), producer=producer)

    def stamped(self) -> None:
        stamp.delay(time.monotonic())

    def delayed(self, count: int, *, seconds: float) -> None:
        with app.producer_pool.acquire(block=True) as producer:
            for _ in range(count):
                work.apply_async((PAYLOAD,), producer=producer, countdown=seconds)

    def clear(self) -> None:
        app.control.purge()
