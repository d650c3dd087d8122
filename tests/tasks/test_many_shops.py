"""Many shops are added at once, one with a dead token, one enormous and at its limit: the others wait for neither.

``SHOPS=300`` makes it as long as the promise; the default keeps the suite short.
"""

import csv
import os
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.plant import Plant, plant
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long

SHOPS = int(os.environ.get("SHOPS", "24"))
#: Of an ordinary shop.
SMALL = {"orders": 12, "customers": 6, "products": 3, "days": 30, "plan": "Standard", "isLive": False}
ENORMOUS = {"orders": 400 * SHOPS, "customers": 40 * SHOPS, "products": 50, "plan": "Standard", "isLive": False}
#: At so many points a second a page of the enormous shop takes a quarter of a minute, and its bulk file comes by so many lines
#: a second: either way it is at it long after the others are done.
RESTORE_RATE, BUCKET_SIZE, LINES_PER_SECOND = 25, 2000, 20
#: Histories that are read at once: few, so that a shop which kept its turn would be felt.
AT_ONCE = max(3, SHOPS // 15)
#: Seconds in which one of the others always ends: none waits for a shop that is dead or at its limit.
LONGEST_GAP = 30.0
#: Seconds for all of them, on a busy machine.
PATIENCE = 60 + 2 * SHOPS


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Plant]:
    with plant(tmp_path, durable=False, MAX_FIRST_SYNCS=str(AT_ONCE)) as made:
        yield made


@pytest.mark.timeout(2 * PATIENCE + 60)
def test_the_others_are_complete_and_none_waited_for_a_dead_or_an_enormous_shop(installation, capsys):
    # Given a file of shops, of which the first two are an enormous one and one whose token is dead
    enormous, dead, *others = [f"shop-{number}.myshopify.com" for number in range(SHOPS)]
    made = [installation.control("POST", "shops", {"domain": enormous, "seed": 1, **ENORMOUS})]
    made += [
        installation.control("POST", "shops", {"domain": domain, "seed": number, **SMALL})
        for number, domain in enumerate([dead, *others], start=2)
    ]
    installation.control("PATCH", f"shops/{enormous}", {"restoreRate": RESTORE_RATE, "bucketSize": BUCKET_SIZE})
    installation.control("PATCH", f"shops/{enormous}/bulk", {"linesPerSecond": LINES_PER_SECOND})
    installation.control("DELETE", f"shops/{dead}/tokens")
    file = installation.postgres.directory.parent / "shops.csv"
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["shop_domain", "access_token", "webhook_secret"])
        rows.writerows([shop["shopDomain"], shop["accessToken"], shop["webhookSecret"]] for shop in made)
    # When one command adds them
    told = installation.flask("tenants", "apply", str(file))
    assert sum("added" in line for line in told.splitlines()) == SHOPS
    # Then all others are complete while the enormous one is still being read
    eventually(lambda: all(runs(installation)[domain]["status"] != "running" for domain in others), timeout=PATIENCE)
    found = runs(installation)
    assert {found[domain]["status"] for domain in others} == {"completed"}
    assert (found[enormous]["status"], found[enormous]["is_prepared"]) == ("running", True)
    assert found[enormous]["done"] < found[enormous]["total"]
    # And the dead one is told of, and held nobody up
    assert (found[dead]["status"], found[dead]["is_prepared"]) == ("failed", False)
    assert "credentials" in found[dead]["error"]
    begun = min(run["started_at"] for run in found.values())
    ends = sorted(seconds(begun, found[domain]["finished_at"]) for domain in others)
    with capsys.disabled():
        print(  # noqa: T201
            f"\n{SHOPS} shops: the first complete after {ends[0]:.1f} s, half after {ends[len(ends) // 2]:.1f} s,"
            f" all {len(others)} others after {ends[-1]:.1f} s, never {max(gaps(ends)):.1f} s without one;"
            f" dead after {seconds(begun, found[dead]['finished_at']):.1f} s;"
            f" the enormous one had {found[enormous]['done']} of {found[enormous]['total']}"
        )
    assert max(gaps(ends)) < LONGEST_GAP
    # And what they hold is what the store holds
    for domain in others:
        truth = installation.control("GET", f"shops/{domain}")
        expected = {name: truth[name] for name in ("orders", "customers", "products")}
        assert found[domain]["counts"] == expected, domain


def seconds(begun: datetime, ended: datetime) -> float:
    return (ended - begun).total_seconds()


def gaps(ends: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise([0.0, *ends])]


def runs(installation: Plant) -> dict[str, dict[str, Any]]:
    """Each shop's run by its domain, with how far its orders are and what is stored."""
    found = installation.rows(
        """
        select shop_domain, run.status, run.error, run.is_prepared, run.started_at, run.finished_at, done, total,
               (select jsonb_object_agg(totals.resource, live) from resource_totals as totals
                where totals.tenant_id = tenants.id) as counts
        from tenants
        join sync_runs as run on run.tenant_id = tenants.id
        join sync_checkpoints as checkpoint on checkpoint.run_id = run.id and checkpoint.resource = 'orders'
        """
    )
    return {run["shop_domain"]: run for run in found}
