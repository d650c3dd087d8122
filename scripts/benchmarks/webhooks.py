"""Webhooks a second, from the signed request to the answer that follows JetStream's."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from scripts.api import loopback_session
from scripts.benchmarks import payloads
from scripts.benchmarks.stack import Stack, stack
from scripts.bootstrap import ROOT
from scripts.embedded import free_port
from scripts.processes import Child, shell, with_our_programs

CONNECTIONS = 16
#: Requests of each measurement; of the warm-up before it; and how often the two servers take turns.
REQUESTS, WARM_UP, ROUNDS = 3_000, 300, 3
#: Orders of the simulated shop whose payloads are sent, under new ids each time.
SAMPLES = 100
_START_TIMEOUT = 60.0


def measure() -> Iterator[Mapping[str, object]]:
    """Webhook requests/s and p99, beside an empty Flask route under the same gunicorn.

    They take turns on the same machine with the same requests; the worker runs, as it would.
    """
    with stack(orders=300) as shopstream, empty_server(shopstream) as empty_url:
        shopstream.onboard(shopstream.shop, sync=False)
        sender = Sender(shopstream, shopstream.shop)
        targets = {"webhook": f"{shopstream.url}/api/webhooks", "emptyFlaskRoute": empty_url}
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
        for url in targets.values():
            sender.send(url, WARM_UP)
        for _ in range(ROUNDS):
            for name, url in targets.items():
                results[name].append(sender.send(url, REQUESTS))
        best = {name: max(rounds, key=lambda result: result["requestsPerSecond"]) for name, rounds in results.items()}
        ratio = best["webhook"]["requestsPerSecond"] / best["emptyFlaskRoute"]["requestsPerSecond"]
        yield {
            **best,
            "ratio": round(ratio, 3),
            "connections": CONNECTIONS,
            "bodyBytes": sender.body_bytes,
            "rounds": ROUNDS,
        }


class Sender:
    """Sends webhooks of distinct orders of a shop, no two of one order however often it is asked."""

    def __init__(self, shopstream: Stack, shop: Mapping[str, Any], orders: list[dict[str, Any]] | None = None) -> None:
        self.orders = orders or payloads.of_shop(shopstream.control_url, shop["shopDomain"], count=SAMPLES)
        self._shop = shop
        self._sent = 0

    @property
    def body_bytes(self) -> int:
        return sum(len(json.dumps(each)) for each in self.orders) // len(self.orders)

    def send(self, url: str, count: int) -> dict[str, Any]:
        """As fast as they are answered. Returns the load generator's result."""
        wanted = {
            "domain": self._shop["shopDomain"],
            "secret": self._shop["webhookSecret"],
            "orders": self.orders,
            "first": self._sent,
            "count": count,
            "connections": CONNECTIONS,
            "run": f"run-{self._sent}",
        }
        self._sent += count
        command = [sys.executable, "-m", "scripts.benchmarks.load", url]
        done = subprocess.run(
            command, cwd=ROOT, input=json.dumps(wanted), stdout=subprocess.PIPE, text=True, check=True
        )
        result: dict[str, Any] = json.loads(done.stdout)
        return result


@contextlib.contextmanager
def empty_server(shopstream: Stack) -> Iterator[str]:
    port = free_port()
    environment = with_our_programs(os.environ) | {
        # gunicorn.conf.py reads the settings; this application uses none of them.
        "DATABASE_URL": shopstream.postgres.url,
        "NATS_URL": "nats://127.0.0.1:4222",
        "ENCRYPTION_KEYS": "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=",
        "ADMIN_USERNAME": "admin",
        "ADMIN_PASSWORD": "unused",
        "GUNICORN_CMD_ARGS": f"--bind 127.0.0.1:{port}",
    }
    command = shell("gunicorn scripts.benchmarks.empty:app")
    server = Child("empty", command, env=environment, cwd=ROOT, log_path=shopstream.directory / "empty.log")
    server.start()
    try:
        url = f"http://127.0.0.1:{port}/empty"
        _wait_for(url)
        yield url
    finally:
        server.stop(5.0)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    with loopback_session() as session:
        while True:
            try:
                session.post(url, timeout=5).raise_for_status()
            except requests.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return
