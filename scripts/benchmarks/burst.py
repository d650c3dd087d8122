"""A burst of webhooks: how fast it is accepted beside an empty route, and written beside a transaction for each."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2

from scripts.benchmarks.stack import Stack
from scripts.benchmarks.webhooks import Sender, empty_server
from scripts.bootstrap import ROOT
from scripts.processes import with_our_programs

#: Webhooks, and the parts in which they are sent: the empty route has its turn after each.
WEBHOOKS, PARTS = 20_000, 5
#: Of them, what is written once more with a transaction for each.
ONE_EACH = 2_000
#: Orders of the shop whose webhooks come.
_SHOP = 300
_DRAIN_TIMEOUT = 600.0
_LOOK = 0.1


def measured(shopstream: Stack) -> Mapping[str, object]:
    """Signed webhooks of distinct orders. The worker rests while they are accepted, so that writing is measured alone."""
    shop = shopstream.make_shop("burst", orders=_SHOP)
    tenant = shopstream.onboard(shop, sync=False)
    sender = Sender(shopstream, shop)
    with empty_server(shopstream) as empty_url:
        with _resting(shopstream):
            accepted, empty = _accept(shopstream, sender, empty_url)
            begun = time.perf_counter()
        statuses = _drained(shopstream, tenant["id"])
        written = WEBHOOKS / (time.perf_counter() - begun)
    one_each = _one_each(shopstream, sender.orders)
    return {
        "acceptedPerSecond": round(accepted, 1),
        "emptyFlaskRoutePerSecond": round(empty, 1),
        "acceptedRatio": round(accepted / empty, 3),
        "writtenPerSecond": round(written, 1),
        "transactionEachPerSecond": round(one_each, 1),
        "writtenRatio": round(written / one_each, 2),
        "webhooks": WEBHOOKS,
        "statuses": statuses,
        "bodyBytes": sender.body_bytes,
    }


@contextlib.contextmanager
def _resting(shopstream: Stack) -> Iterator[None]:
    worker = shopstream.worker
    for process in worker:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in worker:
            process.send_signal(signal.SIGCONT)


def _accept(shopstream: Stack, sender: Sender, empty_url: str) -> tuple[float, float]:
    """Webhooks a second, and requests a second of the empty route. Raises ValueError when one was not accepted."""
    seconds = {f"{shopstream.url}/api/webhooks": 0.0, empty_url: 0.0}
    part = WEBHOOKS // PARTS
    for _ in range(PARTS):
        for url in seconds:
            result = sender.send(url, part)
            if result["statuses"] != {"200": part}:
                raise ValueError(f"not all were accepted: {result['statuses']}")
            seconds[url] += result["seconds"]
    accepted, empty = (WEBHOOKS / each for each in seconds.values())
    return accepted, empty


def _drained(shopstream: Stack, tenant_id: str) -> dict[str, int]:
    """What became of the webhooks, once all are in the tables. Raises TimeoutError."""
    deadline = time.monotonic() + _DRAIN_TIMEOUT
    with contextlib.closing(psycopg2.connect(shopstream.postgres.url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            while True:
                cursor.execute(
                    "select status, count(*) from webhook_deliveries where tenant_id = %s group by 1", [tenant_id]
                )
                statuses = dict(cursor.fetchall())
                if sum(statuses.values()) >= WEBHOOKS:
                    return statuses
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the webhooks were not written in {_DRAIN_TIMEOUT:.0f} s: {statuses}")
                time.sleep(_LOOK)


def _one_each(shopstream: Stack, orders: list[dict[str, Any]]) -> float:
    """The same deliveries a second for a shop that has none of them, each in a transaction of its own."""
    shop = shopstream.make_shop("one-each", orders=_SHOP)
    tenant = shopstream.onboard(shop, sync=False)
    wanted = {"tenantId": tenant["id"], "domain": shop["shopDomain"], "orders": orders, "count": ONE_EACH}
    environment = shopstream.directory / "shopstream" / "environment"
    done = subprocess.run(
        ["/bin/sh", "-c", f". {shlex.quote(str(environment))} && exec python -m scripts.benchmarks.one_each"],
        cwd=ROOT,
        env=with_our_programs(os.environ),
        input=json.dumps(wanted),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(json.loads(done.stdout)["perSecond"])
