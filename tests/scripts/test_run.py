"""``scripts/run`` as a person types it, without the simulated Shopify: everything starts, survives, and ends."""

import base64
import contextlib
import hashlib
import hmac
import json
import os
import random
import subprocess
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
import requests

import settings
from scripts.embedded import free_port
from tests.tasks.waiting import eventually

pytestmark = pytest.mark.long

ROOT = Path(__file__).parent.parent.parent
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Installation:
    def __init__(self, directory):
        ours = {name.upper() for name in settings.Settings.model_fields}
        self.directory = directory
        self.environment = {name: value for name, value in os.environ.items() if name not in ours} | {
            "DATA_DIR": str(directory),
            "PORT": str(free_port()),
        }
        self.told = {}

    def run(self, *arguments):
        return subprocess.run(
            [ROOT / "scripts" / "run", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=110,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def start(self):
        done = self.run("--detach", "--no-demo")
        assert done.returncode == 0, done.stderr
        self.told = json.loads(done.stdout.splitlines()[-1])
        return self.told

    def pids(self):
        return json.loads(self.run("--detach", "--no-demo").stdout.splitlines()[-1])["pids"]

    def new_shop(self):
        domain, secret = f"{uuid.uuid4().hex}.myshopify.com", uuid.uuid4().hex
        answer = requests.post(
            f"{self.told['url']}/api/tenants",
            json={"shopDomain": domain, "accessToken": "shpat_none", "webhookSecret": secret, "sync": False},
            auth=(self.told["adminUsername"], self.told["adminPassword"]),
            timeout=10,
        )
        assert answer.status_code == 201, answer.text
        return Shop(self.told["url"], domain, secret, answer.json()["apiToken"])


class Shop:
    def __init__(self, url, domain, secret, token):
        self.url, self.domain, self.secret, self.token = url, domain, secret, token

    def deliver(self, order, *, webhook_id=None):
        body = json.dumps(order).encode()
        return requests.post(
            f"{self.url}/api/webhooks",
            data=body,
            headers={
                "X-Shopify-Topic": "orders/updated",
                "X-Shopify-Shop-Domain": self.domain,
                "X-Shopify-Hmac-Sha256": base64.b64encode(
                    hmac.digest(self.secret.encode(), body, hashlib.sha256)
                ).decode(),
                "X-Shopify-Webhook-Id": webhook_id or str(uuid.uuid4()),
                "X-Shopify-Triggered-At": order["updated_at"],
            },
            timeout=10,
        )

    def stats(self):
        answer = requests.get(f"{self.url}/api/stats", headers={"Authorization": f"Bearer {self.token}"}, timeout=10)
        return (answer.json()["totalOrders"], answer.json()["totalRevenue"]) if answer.status_code == 200 else answer


def an_order(number, *, version=0, price="10.00"):
    at = (NOON + timedelta(seconds=version)).isoformat()
    return {
        "id": number,
        "name": f"#{number}",
        "updated_at": at,
        "created_at": NOON.isoformat(),
        "processed_at": NOON.isoformat(),
        "currency": "USD",
        "current_total_price": price,
        "total_price": price,
        "financial_status": "paid",
        "test": False,
        "cancelled_at": None,
        "customer": None,
        "line_items": [],
        "refunds": [],
    }


@pytest.fixture(scope="module")
def installation(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    installation = Installation(directory)
    installation.start()
    yield installation
    assert installation.run("stop").returncode == 0
    eventually(lambda: not [name for name, pid in installation.told["pids"].items() if _is_alive(pid)], timeout=5)


def test_a_second_start_tells_of_the_one_that_runs(installation):
    again = installation.run("--detach", "--no-demo")
    assert again.returncode == 0
    assert json.loads(again.stdout.splitlines()[-1])["url"] == installation.told["url"]
    assert installation.run("--no-demo").returncode != 0


def test_secrets_stay_with_their_owner(installation):
    for path in installation.directory.rglob("*"):
        if path.is_file() and "admin" in path.name.lower():
            assert path.stat().st_mode & 0o077 == 0
    logs = "".join(path.read_text(errors="replace") for path in installation.directory.glob("logs/*.log"))
    assert installation.told["adminPassword"] not in logs


def test_webhooks_shuffled_and_doubled_by_eight_clients_end_as_one_delivery_each(installation):
    chance = random.Random(5)
    shop = installation.new_shop()
    versions = [
        (str(uuid.uuid4()), an_order(number, version=version, price=f"{chance.randrange(10**5) / 100:.2f}"))
        for number in range(1, 41)
        for version in range(6)
    ]
    expected = sum(Decimal(order["current_total_price"]) for _, order in versions[5::6])
    arriving = versions + chance.sample(versions, len(versions) // 2)
    chance.shuffle(arriving)
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda each: shop.deliver(each[1], webhook_id=each[0]).status_code, arriving))
    assert set(answers) == {200}
    eventually(lambda: shop.stats() == (40, f"{expected:.2f}"), timeout=60)


def test_without_nats_webhooks_are_refused_in_time_and_taken_again_when_it_is_back(installation):
    shop = installation.new_shop()
    assert shop.deliver(an_order(1)).status_code == 200
    nats = psutil.Process(installation.pids()["nats"])
    nats.suspend()  # killed, it would be back before we could ask
    eventually(lambda: nats.status() == psutil.STATUS_STOPPED)
    try:
        begun = time.monotonic()
        refused = shop.deliver(an_order(2))
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert time.monotonic() - begun < 3
    finally:
        nats.resume()
    eventually(lambda: shop.deliver(an_order(2)).status_code == 200, timeout=3)
    eventually(lambda: shop.stats() == (2, "20.00"))


def test_without_postgres_webhooks_are_taken_and_written_when_it_is_back(installation):
    shop = installation.new_shop()
    assert shop.deliver(an_order(1)).status_code == 200
    psutil.Process(installation.pids()["postgres"]).kill()
    accepted = [shop.deliver(an_order(number)).status_code for number in range(2, 40)]
    assert set(accepted) == {200}
    eventually(lambda: shop.stats() == (39, "390.00"), timeout=60)


def test_a_start_after_everything_was_killed_finds_its_data(installation):
    shop = installation.new_shop()
    assert shop.deliver(an_order(1)).status_code == 200
    pids = installation.pids()
    for pid in sorted(pids.values(), key=lambda pid: pid != pids["runner"]):
        _kill_with_children(pid)
    eventually(lambda: not any(_is_alive(pid) for pid in pids.values()))
    installation.start()
    eventually(lambda: shop.stats() == (1, "10.00"))
    assert shop.deliver(an_order(2)).status_code == 200
    eventually(lambda: shop.stats() == (2, "20.00"))


def _kill_with_children(pid):
    with contextlib.suppress(psutil.NoSuchProcess):  # ended by the death of another
        parent = psutil.Process(pid)
        for process in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "abc"), ("ENCRYPTION_KEYS", "short"), ("NATS_URL", "somewhere"), ("DATABASE_URL", "x")]
)
def test_a_malformed_setting_stops_the_start_with_one_line_that_names_it(tmp_path, name, value):
    installation = Installation(tmp_path)
    installation.environment[name] = value
    done = installation.run("--detach", "--no-demo")
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert name in lines[0]
