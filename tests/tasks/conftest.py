"""A simulated Shopify, shops in it that are tenants here, and a worker."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import dramatiq
import pytest
import requests
from pydantic import SecretStr

import settings
from models import analytics, event_log, sync_runs, tenants
from models.columns import now
from models.database import transaction
from models.sync_runs import SyncRun
from models.tenants import Tenant, TenantStatus
from shopify.webhooks import WebhookHeaders
from tests.tasks.waiting import eventually


@dataclass(frozen=True)
class Store:
    """The simulated Shopify's control endpoint."""

    url: str

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = requests.request(method, f"{self.url}/control/{path}", json=body, timeout=30)
        answer.raise_for_status()
        return answer.json()


@dataclass(frozen=True)
class Shop:
    """A shop of the store's and the tenant that it is here."""

    store: Store
    domain: str
    tenant_id: uuid.UUID
    webhook_secret: str

    def truth(self) -> dict[str, Any]:
        return self.store.control("GET", f"shops/{self.domain}")

    def ids(self, kind: str) -> list[dict[str, Any]]:
        return self.store.control("GET", f"shops/{self.domain}?ids={kind}")["ids"]

    def configure(self, **changes: Any) -> None:
        self.store.control("PATCH", f"shops/{self.domain}", changes)

    def act(self, *actions: dict[str, Any], webhooks: str = "none", same_second: bool = False) -> dict[str, Any]:
        body = {"actions": list(actions), "webhooks": webhooks, "sameSecond": same_second}
        return self.store.control("POST", f"shops/{self.domain}/actions", body)

    def tenant(self) -> Tenant:
        with transaction() as session:
            found = tenants.get(session, self.tenant_id)
            assert found is not None
            return found

    def figures(self) -> dict[str, Any]:
        """What the store's truth says, as we see it."""
        with transaction() as session:
            tenant = tenants.get(session, self.tenant_id)
            stats, trend = analytics.stats(session, tenant), analytics.trend(session, tenant)
        return {
            "countingOrders": stats.orders,
            "customers": stats.customers,
            "products": stats.products,
            "revenue": analytics.exact(stats.own.revenue, stats.currency),
            "days": {
                day.date.isoformat(): (day.orders, analytics.exact(day.revenue, trend.currency))
                for day in trend.days
                if day.orders
            },
        }

    def expected(self) -> dict[str, Any]:
        truth = self.truth()
        expected = {name: truth[name] for name in ("countingOrders", "customers", "products", "revenue")}
        return expected | {"days": {day["date"]: (day["orders"], day["revenue"]) for day in truth["days"]}}

    def coverage(self) -> analytics.Coverage:
        with transaction() as session:
            return analytics.coverage(session, self.tenant())

    def run(self, run_id: uuid.UUID) -> SyncRun:
        with transaction() as session:
            found = sync_runs.get(session, run_id)
            assert found is not None
            return found

    def events(self) -> list[str]:
        with transaction() as session:
            found = event_log.read(session, self.tenant_id, after=None, level=None, limit=1000)
            return [f"{event.level} {event.source}: {event.message}" for event in found]

    def sync(self, timeout: float = 60, **options: Any) -> SyncRun:
        """Sync and wait for the run's end."""
        from tasks import sync  # noqa: PLC0415  the actors need the settings

        run_id = sync.begin(self.tenant_id, **options)
        eventually(lambda: self.run(run_id).status != "running", timeout=timeout)
        return self.run(run_id)


@pytest.fixture(autouse=True)
def without_runaway_stop(monkeypatch):
    """Tests ask more often than the runaway stop allows."""
    monkeypatch.setattr("shopify.transport._admit", lambda: None)


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Iterator[Store]:
    directory = tmp_path_factory.mktemp("store")
    command = [sys.executable, "-m", "scripts.store", "--directory", str(directory), "--empty", "--no-faults"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        store = Store(json.loads(process.stdout.readline())["url"])
        os.environ["SHOPIFY_API_ORIGIN"] = store.url
        settings.load.cache_clear()
        yield store
    finally:
        os.environ.pop("SHOPIFY_API_ORIGIN", None)
        settings.load.cache_clear()
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def open_shop(store, migrated, nats) -> Iterator[Callable[..., Shop]]:
    """Opens shops, which rest once the test has ended: what is still queued for them would ask in the midst of other tests."""
    opened: list[uuid.UUID] = []

    def open_one(*, orders: int = 60, customers: int = 30, products: int = 10, **options: Any) -> Shop:
        domain = f"{uuid.uuid4().hex}.myshopify.com"
        choice = {"domain": domain, "orders": orders, "customers": customers, "products": products, "plan": "Plus"}
        made = store.control("POST", "shops", {"seed": 7, "isLive": False} | choice | options)
        with transaction() as session:
            tenant, _ = tenants.create(
                session,
                shop_domain=domain,
                access_token=SecretStr(made["accessToken"]),
                webhook_secret=SecretStr(made["webhookSecret"]),
            )
        opened.append(tenant.id)
        return Shop(store, domain, tenant.id, made["webhookSecret"])

    yield open_one
    with transaction() as session:
        for tenant_id in opened:
            tenant = tenants.get(session, tenant_id, for_update=True)
            if tenant is not None and tenant.status == TenantStatus.ACTIVE:
                tenant.status = TenantStatus.PAUSED


@pytest.fixture
def shop(open_shop) -> Shop:
    return open_shop()


@pytest.fixture(autouse=True)
def prove_all(monkeypatch, store, migrated, nats):
    """What the cron does every minute, which here would look at shops in the middle of their tests."""
    from tasks import proving  # noqa: PLC0415

    prove_all = proving.prove_all.fn
    monkeypatch.setattr(proving.prove_all, "fn", lambda: None)
    return prove_all


@pytest.fixture(autouse=True)
def catch_up_all(monkeypatch, store, migrated, nats):
    """As ``prove_all``."""
    from tasks import catching_up  # noqa: PLC0415

    catch_up_all = catching_up.catch_up_all.fn
    monkeypatch.setattr(catching_up.catch_up_all, "fn", lambda: None)
    return catch_up_all


@pytest.fixture(scope="module")
def worker(store, migrated, nats) -> Iterator[dramatiq.Worker]:
    from tasks import broker  # noqa: PLC0415

    broker.ensure_streams()
    worker = dramatiq.Worker(broker, worker_threads=4)
    worker.start()
    yield worker
    worker.stop(20_000)


@pytest.fixture
def tell(store, migrated, nats) -> Callable[..., None]:
    """Hands a webhook of the test's own making to the workers, as the web process does."""
    from tasks import webhooks  # noqa: PLC0415

    def hand_over(shop: Shop, topic: str, body: dict[str, Any] | bytes) -> None:
        headers = {
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": "checked before",
            "X-Shopify-Shop-Domain": shop.domain,
            "X-Shopify-Webhook-Id": str(uuid.uuid4()),
            "X-Shopify-Triggered-At": now().isoformat(),
        }
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        webhooks.accept(shop.tenant_id, WebhookHeaders.of(headers), sent)

    return hand_over
