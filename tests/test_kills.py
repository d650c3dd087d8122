"""Web, worker, NATS and Postgres are killed in turn while a history is read, page by page or from a bulk operation's file, and
webhooks come: nothing is lost, doubled or torn.

``KILLS=50`` makes it as long as the promise; the default keeps the suite short. ``KILLS_SEED`` chooses the moments.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from brokers import JetStreamBroker
from tests.plant import Plant, plant
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("KILLS", "6"))
SEED = int(os.environ.get("KILLS_SEED", random.randrange(10**6) if "KILLS" in os.environ else 1))
#: Orders for each kill, seconds that the store takes to answer, and the file's bytes a second: the history outlasts the killing.
ORDERS = {"pages": 400, "bulk": 1_500}
SLOWNESS, BYTES_PER_SECOND = 0.15, 1_500_000
#: Seconds between a kill's repair and the next.
SHORTEST, LONGEST = 0.1, 1.5
#: Seconds of a lease: what a killed worker held comes again soon.
ACK_WAIT = 3.0
WEBHOOKS_PER_SECOND = 5
#: Seconds for everything to come to rest.
PATIENCE = 120 + 6 * KILLS
#: Seconds until a fetch was made whose message died before it was sent, which the worker looks for.
FETCHED_AFTER = 180


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path) as made:
        yield made


def lend_shortly(installation: Plant) -> None:
    from tasks import broker  # noqa: PLC0415  for its queues

    hasty = JetStreamBroker(installation.nats.url, namespace="shopstream", ack_wait=ACK_WAIT)
    hasty._streams.ensure(broker.queues, timeout=10)
    hasty.close()


@pytest.mark.timeout(PATIENCE + FETCHED_AFTER + 180)
@pytest.mark.parametrize("mode", ["pages", "bulk"])
def test_a_sync_killed_again_and_again_ends_with_exactly_the_stores_rows(installation, mode, capsys):
    chance = random.Random(SEED)
    domain = "killed.myshopify.com"
    # Given a shop whose history is read slowly, and in which much happens
    shop = {"domain": domain, "seed": SEED, "orders": ORDERS[mode] * KILLS, "customers": 150 * KILLS, "products": 40}
    made = installation.control("POST", "shops", {**shop, "isLive": True, "plan": "Plus"})
    slow = {
        "slow": {"every": 1, "seconds": SLOWNESS},
        "download_slow": {"every": 1, "bytes_per_second": BYTES_PER_SECOND},
    }
    installation.control("PATCH", f"shops/{domain}", {"faults": slow})
    lend_shortly(installation)
    file = installation.postgres.directory.parent / "shops.csv"
    file.write_text(
        f"shop_domain,access_token,webhook_secret,sync\n{domain},{made['accessToken']},{made['webhookSecret']},false\n"
    )
    installation.flask("tenants", "apply", str(file))
    installation.flask("sync", "start", domain, "--mode", mode)
    eventually(lambda: read(installation) > 0, timeout=120)  # the file has to be made
    installation.control("PATCH", "webhooks", {"webhooksPerSecond": WEBHOOKS_PER_SECOND, "longestPauseSeconds": 2})
    # When one after the other is killed
    told = []
    names = list(installation.parts)
    for number in range(KILLS):
        time.sleep(chance.uniform(SHORTEST, LONGEST))
        name = names[number % len(names)]
        told.append(f"{name} ({state(installation)}, {read(installation)} read)")
        installation.parts[name].kill()
        installation.parts[name].start()
    with capsys.disabled():
        print(f"\nseed {SEED}, killed: {'; '.join(told)}")  # noqa: T201
    # Then the sync still ends, complete
    installation.control("PATCH", f"shops/{domain}", {"faults": None})
    installation.control("PATCH", "webhooks", {"webhooksPerSecond": 0})
    eventually(lambda: state(installation) not in {"running", "away"}, timeout=PATIENCE / 2)
    assert [(run["status"], run["error"]) for run in runs(installation)] == [("completed", None)]
    # And exactly the store's rows and figures are here, once all webhooks have come
    flushed = installation.control("POST", "webhooks/flush?timeout=30")
    assert flushed["flushed"], flushed
    eventually(lambda: not unlike(installation, domain), timeout=PATIENCE / 2)
    eventually(lambda: not installation.rows("select * from refetches"), timeout=FETCHED_AFTER)
    assert installation.flask("dead-letters", "list").strip() == "no dead letters"


def runs(installation: Plant) -> list[dict[str, Any]]:
    return installation.rows("select * from sync_runs order by started_at")


def state(installation: Plant) -> str:
    """The run's status, or that nobody can tell."""
    try:
        return runs(installation)[0]["status"]
    except psycopg2.OperationalError:
        return "away"


def read(installation: Plant) -> int:
    """Orders read so far; -1: nobody can tell."""
    try:
        checkpoints = installation.rows("select done from sync_checkpoints where resource = 'orders'")
    except psycopg2.OperationalError:
        return -1
    return checkpoints[0]["done"] if checkpoints else 0


def unlike(installation: Plant, domain: str) -> list[str]:
    """Where the tables differ from the store's rows and figures."""
    found = []
    truth: dict[str, Any] = {}
    for kind in ("orders", "customers", "products"):
        truth = installation.control("GET", f"shops/{domain}?ids={kind}")
        theirs = {version(each, kind) for each in truth["ids"] if not each["deleted"]}
        ours = {version(told(row), kind) for row in alive(installation, kind)}
        found += [f"{kind}: {each} is not the store's" for each in ours - theirs]
        found += [f"{kind}: {each} is missing" for each in theirs - ours]
    days = installation.rows("select day, orders, revenue from daily_sales where orders > 0 order by day")
    ours = [(f"{row['day']}", row["orders"], f"{row['revenue']:.2f}") for row in days]
    if ours != [(day["date"], day["orders"], day["revenue"]) for day in truth["days"]]:
        found.append("the days' sales differ")
    return found


def alive(installation: Plant, kind: str) -> list[dict[str, Any]]:
    return installation.rows(f"select * from {kind} where deleted_at is null and updated_at is not null")


def told(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ours as the store's digest tells one."""
    return {
        "id": str(row["shopify_id"]),
        "updatedAt": f"{row['updated_at']:%Y-%m-%dT%H:%M:%SZ}",
        "currentTotalPrice": f"{row.get('current_total_price') or 0:.2f}",
        "cancelled": row.get("cancelled_at") is not None,
        "test": row.get("test"),
        "customerId": str(row["customer_shopify_id"]) if row.get("customer_shopify_id") else None,
    }


def version(digest: dict[str, Any], kind: str) -> tuple[Any, ...]:
    names = ["id", "updatedAt"]
    names += ["currentTotalPrice", "cancelled", "test", "customerId"] if kind == "orders" else []
    return tuple(digest[name] for name in names)
