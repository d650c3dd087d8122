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
from scripts.benchmarks.stack import Stack, stack
from scripts.bootstrap import ROOT
from scripts.embedded import free_port
from scripts.processes import Child, shell, with_our_programs

CONNECTIONS = 16
#: Seconds of each measurement; of the warm-up before it; and how often the two servers take turns.
SECONDS, WARM_UP, ROUNDS = 5.0, 1.0, 2
_START_TIMEOUT = 60.0


def measure() -> Iterator[Mapping[str, object]]:
    """Webhook requests/s and p99, beside an empty Flask route under the same gunicorn.

    They take turns on the same machine with the same requests; the worker runs, as it would.
    """
    with stack(orders=300) as shopstream, _empty_server(shopstream) as empty_url:
        shopstream.onboard(sync=False)
        order = _order(shopstream)
        targets = {"webhook": f"{shopstream.url}/api/webhooks", "emptyFlaskRoute": empty_url}
        results: dict[str, list[dict[str, Any]]] = {name: [] for name in targets}
        for name, url in targets.items():
            _load(url, {**order, "seconds": WARM_UP, "run": f"warm-up-{name}"})
        for round_number in range(ROUNDS):
            for name, url in targets.items():
                results[name].append(_load(url, {**order, "seconds": SECONDS, "run": f"{name}-{round_number}"}))
        best = {name: max(rounds, key=lambda result: result["requestsPerSecond"]) for name, rounds in results.items()}
        ratio = best["webhook"]["requestsPerSecond"] / best["emptyFlaskRoute"]["requestsPerSecond"]
        yield {
            **best,
            "ratio": round(ratio, 3),
            "connections": CONNECTIONS,
            "bodyBytes": len(json.dumps(order["payload"])),
            "rounds": ROUNDS,
        }


@contextlib.contextmanager
def _empty_server(shopstream: Stack) -> Iterator[str]:
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


def _order(shopstream: Stack) -> dict[str, Any]:
    """What the load generator sends: the payload of a real order of the simulated shop, and how to sign it."""
    domain = shopstream.shop["shopDomain"]
    with loopback_session() as session:
        shop = session.get(f"{shopstream.control_url}/shops/{domain}", params={"ids": "orders"}, timeout=30).json()
        query = {"kind": "orders", "id": shop["ids"][0]["id"]}
        payload = session.get(f"{shopstream.control_url}/shops/{domain}/payload", params=query, timeout=30).json()
    return {
        "domain": domain,
        "secret": shopstream.shop["webhookSecret"],
        "payload": payload,
        "connections": CONNECTIONS,
    }


def _load(url: str, order: Mapping[str, object]) -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.benchmarks.load", url]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
