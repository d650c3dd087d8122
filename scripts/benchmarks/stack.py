"""A whole Shopstream for one measurement: durable Postgres and NATS, web, worker, and a simulated shop of a given size."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from scripts.api import Api, loopback_session
from scripts.bootstrap import ROOT
from scripts.embedded import free_port
from scripts.processes import Child
from scripts.services import EmbeddedPostgres

#: Seconds that a simulated shop may take to be made, and more for each order.
_STORE_TIMEOUT, _STORE_TIMEOUT_OF_AN_ORDER = 120.0, 0.005
_POLL = 0.05


@dataclass(frozen=True)
class Stack:
    url: str
    api: Api
    postgres: EmbeddedPostgres
    #: The shop as the store's control endpoint describes it, and that endpoint's address.
    shop: dict[str, Any]
    control_url: str
    pids: dict[str, int]
    directory: Path

    def make_shop(self, name: str, *, orders: int) -> dict[str, Any]:
        """One more simulated shop, with the domain that begins with ``name``."""
        return _make_shop(self.control_url, name, orders)

    def onboard(self, shop: Mapping[str, Any], *, sync: bool) -> Any:
        credentials = {name: shop[name] for name in ("shopDomain", "accessToken", "webhookSecret")}
        return self.api.post("/api/tenants", {**credentials, "sync": sync})

    def finished(self, shop: Mapping[str, Any], sync_id: str, *, timeout: float) -> Any:
        """A sync as it is once it has ended. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        while True:
            run = self.api.get(f"/api/sync/{sync_id}", shop=shop["shopDomain"])
            if run["status"] != "running":
                return run
            if time.monotonic() > deadline:
                raise TimeoutError(f"the sync has not ended after {timeout:.0f} s: {run}")
            time.sleep(0.25)

    @property
    def worker(self) -> list[psutil.Process]:
        """The worker's processes: Dramatiq's own and those that it forked."""
        process = psutil.Process(self.pids["worker"])
        return [process, *process.children(recursive=True)]


@contextlib.contextmanager
def stack(*, orders: int) -> Iterator[Stack]:
    """Start everything in a folder of its own, and stop and delete it afterwards."""
    with tempfile.TemporaryDirectory(prefix="shopstream-bench-") as name, contextlib.ExitStack() as cleanup:
        directory = Path(name)
        directory.chmod(0o711)  # root's Postgres runs as nobody, who has to pass through
        postgres = EmbeddedPostgres(directory / "postgres")
        cleanup.callback(postgres.remove)
        postgres.start()
        store_url = _start_store(directory, cleanup)
        shop = _make_shop(f"{store_url}/control", "bench", orders)
        announcement = _start_shopstream(directory, postgres.url, store_url, cleanup)
        api = Api(announcement["url"], username=announcement["adminUsername"], password=announcement["adminPassword"])
        yield Stack(
            url=announcement["url"],
            api=api,
            postgres=postgres,
            shop=shop,
            control_url=f"{store_url}/control",
            pids=announcement["pids"],
            directory=directory,
        )


def _start_store(directory: Path, cleanup: contextlib.ExitStack) -> str:
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "scripts.store",
        "--empty",
        "--port",
        str(port),
        "--directory",
        str(directory / "store"),
    ]
    store = Child("store", command, env=os.environ, cwd=ROOT, log_path=directory / "store.log")
    cleanup.callback(store.stop, 5.0)
    store.start()
    return f"http://127.0.0.1:{port}"


def _make_shop(control_url: str, name: str, orders: int) -> dict[str, Any]:
    timeout = _STORE_TIMEOUT + orders * _STORE_TIMEOUT_OF_AN_ORDER
    deadline = time.monotonic() + timeout
    wanted = {"domain": f"{name}.myshopify.com", "seed": 7}
    size = {"orders": orders, "customers": orders // 3, "products": max(orders // 30, 1)}
    with loopback_session() as session:
        while True:
            try:
                answer = session.post(f"{control_url}/shops", json={**wanted, **size}, timeout=timeout)
                break
            except requests.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_POLL)
        answer.raise_for_status()
        shop: dict[str, Any] = answer.json()
        # Our own speed is measured, not the limits that Shopify sets.
        limits = {"bucketSize": 1_000_000, "restoreRate": 1_000_000}
        session.patch(f"{control_url}/shops/{shop['shopDomain']}", json=limits, timeout=30).raise_for_status()
    return shop


def _start_shopstream(directory: Path, database_url: str, store_url: str, cleanup: contextlib.ExitStack) -> Any:
    runner = [sys.executable, "-m", "scripts.runner"]
    environment = os.environ | {
        "DATA_DIR": str(directory / "shopstream"),
        "DATABASE_URL": database_url,
        "PORT": "0",
        "SHOPIFY_API_ORIGIN": store_url,
        "SHOPSTREAM_SIMULATED": "1",
    }
    cleanup.callback(subprocess.run, [*runner, "stop"], env=environment, check=True, stderr=subprocess.DEVNULL)
    started = subprocess.run(
        [*runner, "--detach", "--no-demo"], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return json.loads(started.stdout.splitlines()[-1])
