"""Several worker processes and one shop's bucket: used to its rate, never beyond it, and no other shop waits for it.

A measurement of real seconds, which a busy machine spoils: ``SHARED_BUDGET=1`` runs it. The suite has the same in simulated
time (``tests/shopify/test_budget.py``).
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from shopify.resources import RESOURCES
from tests.plant import Plant, plant
from tests.tasks.waiting import eventually

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif("SHARED_BUDGET" not in os.environ, reason="measures real seconds: SHARED_BUDGET=1"),
]

WORKERS = 3
#: The smallest plan's points a second, and what its bucket holds.
RATE, BUCKET = 100, 2000
#: Seconds over which its use is measured, once what the bucket held at first is gone.
WINDOW = 25.0
#: What the other shop is given at most while the first is at its limit, in seconds.
PATIENCE = 20.0


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path, workers=WORKERS, durable=False) as made:
        yield made


def begin_sync(installation: Plant, domain: str, *, orders: int) -> None:
    """A new shop that is read by pages."""
    shop = {
        "domain": domain,
        "orders": orders,
        "customers": 2 * orders,
        "products": 50,
        "plan": "Standard",
        "isLive": False,
    }
    made = installation.control("POST", "shops", shop)
    admin = ("admin", "admin-password")
    credentials = {"accessToken": made["accessToken"], "webhookSecret": made["webhookSecret"], "sync": False}
    new = {"shopDomain": domain, **credentials}
    requests.post(f"{installation.url}/api/tenants", json=new, auth=admin, timeout=10).raise_for_status()
    run = {"mode": "pages"}
    started = requests.post(f"{installation.url}/api/sync?shop={domain}", json=run, auth=admin, timeout=10)
    started.raise_for_status()


def spending(installation: Plant, domain: str) -> dict[str, Any]:
    return dict(installation.control("GET", f"shops/{domain}")["budget"])


def next_charge(installation: Plant, domain: str) -> tuple[dict[str, Any], float]:
    """What was spent up to a charge that is just made, and the moment: a page is charged at once, and restored over seconds."""
    charged = spending(installation, domain)["charged"]
    eventually(lambda: spending(installation, domain)["charged"] != charged, timeout=PATIENCE)
    return spending(installation, domain), time.monotonic()


def test_workers_of_several_processes_use_a_shops_rate_and_no_other_shop_waits(installation, capsys):
    from tasks.shops import RESERVE  # noqa: PLC0415

    # Given a shop at its limit
    begin_sync(installation, "large.myshopify.com", orders=9000)
    eventually(lambda: spending(installation, "large.myshopify.com")["charged"] > 1.2 * BUCKET, timeout=60)
    # When its use is measured, and another shop is added meanwhile
    before, begun = next_charge(installation, "large.myshopify.com")
    begin_sync(installation, "small.myshopify.com", orders=30)
    eventually(lambda: states(installation)["small.myshopify.com"] == "completed", timeout=PATIENCE)
    other = time.monotonic() - begun
    time.sleep(max(0.0, begun + WINDOW - time.monotonic()))
    after, ended = next_charge(installation, "large.myshopify.com")
    lasted = ended - begun
    assert states(installation)["large.myshopify.com"] == "running"
    # Then what the shop allows is used, and next to nothing was asked in vain
    kept = after["available"] - before["available"]
    use = (after["charged"] - before["charged"] + kept) / (RATE * lasted)
    with capsys.disabled():
        print(f"\n{use:.0%} of the rate in {lasted:.0f} s, {after}; the other was complete after {other:.1f} s")  # noqa: T201
    assert use >= 0.9
    # And no more is left than the next page waits for: a page of orders may cost much, and most cost little
    assert after["available"] < RESOURCES["orders"].page_cost + RESERVE + 3 * RATE
    assert after["throttled"] <= 0.01 * after["granted"]


def states(installation: Plant) -> dict[str, str]:
    found = installation.rows(
        "select shop_domain, run.status from sync_runs as run join tenants on tenants.id = run.tenant_id"
    )
    return {run["shop_domain"]: run["status"] for run in found}
