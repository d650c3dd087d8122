"""The real thing for a browser to open: gunicorn and a worker as the Procfile starts them, and shops whose webhooks a test sends."""

import base64
import hashlib
import hmac
import itertools
import json
import os
import secrets
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page

import settings
from scripts.bootstrap import ROOT
from scripts.embedded import EmbeddedService, free_port
from scripts.processes import Child, procfile, shell, with_our_programs

#: Seconds within which a process of ours has to be up.
START_TIMEOUT = 30.0


@dataclass
class Shop:
    """A tenant of a test's own. Its Shopify cannot be reached: all it has came by webhook."""

    url: str
    domain: str
    id: str
    api_token: str
    webhook_secret: str
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(secrets.randbelow(10**9) * 1000))

    def deliver(self, topic: str, payload: dict[str, Any]) -> None:
        body = json.dumps(payload).encode()
        signature = base64.b64encode(hmac.digest(self.webhook_secret.encode(), body, hashlib.sha256)).decode()
        headers = {
            "Content-Type": "application/json",
            "X-Shopify-Topic": topic,
            "X-Shopify-Hmac-Sha256": signature,
            "X-Shopify-Shop-Domain": self.domain,
            "X-Shopify-Webhook-Id": str(uuid.uuid4()),
            "X-Shopify-Triggered-At": datetime.now(UTC).isoformat(),
            "X-Shopify-API-Version": "2026-10",
        }
        requests.post(f"{self.url}/api/webhooks", data=body, headers=headers, timeout=10).raise_for_status()

    def customer(self, first_name: str = "Freya", last_name: str = "Lindqvist", email: str | None = None) -> int:
        """Deliver a new customer. Returns its id."""
        customer_id = next(self._ids)
        self.deliver(
            "customers/create",
            {
                "id": customer_id,
                "created_at": _seconds_ago(60),
                "updated_at": _seconds_ago(60),
                "first_name": first_name,
                "last_name": last_name,
                "email": email,
                "phone": None,
                "state": "enabled",
                "note": None,
                "verified_email": True,
            },
        )
        return customer_id

    def order(self, total: str, *, customer_id: int | None = None, days_ago: int = 0, note: str | None = None) -> None:
        """Deliver a new order of ``total`` euros."""
        order_id = next(self._ids)
        at = _seconds_ago(days_ago * 86_400 + 30)
        self.deliver(
            "orders/create",
            {
                "id": order_id,
                "name": f"#{order_id % 1000 + 1}",
                "created_at": at,
                "updated_at": at,
                "processed_at": at,
                "cancelled_at": None,
                "closed_at": None,
                "cancel_reason": None,
                "currency": "EUR",
                "presentment_currency": "EUR",
                "total_price": total,
                "current_total_price": total,
                "subtotal_price": total,
                "total_tax": "0.00",
                "total_discounts": "0.00",
                "financial_status": "paid",
                "fulfillment_status": None,
                "test": False,
                "confirmed": True,
                "email": None,
                "note": note,
                "tags": "",
                "source_name": "web",
                "customer": {"id": customer_id} if customer_id is not None else None,
                "line_items": [],
                "refunds": [],
            },
        )


def _seconds_ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds")


@pytest.fixture(scope="module")
def live_server(
    migrated: EmbeddedService, nats: EmbeddedService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a running Shopstream: the web process and the worker of the Procfile.

    Its scope is the module: the worker takes whatever other modules send, too.
    """
    directory = tmp_path_factory.mktemp("page")
    port = free_port()
    # Nobody listens there: whatever the worker would ask Shopify for stays on this machine, and unanswered.
    env = with_our_programs(os.environ | {"PORT": str(port), "SHOPIFY_API_ORIGIN": "http://127.0.0.1:9"})
    commands = procfile(ROOT / "Procfile")
    children = [
        Child(name, shell(command), env=env, cwd=ROOT, log_path=directory / f"{name}.log")
        for name, command in (
            ("web", f"{commands['web']} --bind 127.0.0.1:{port}"),
            ("worker", commands["worker"]),
        )
    ]
    for child in children:
        child.start()
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, children)
        yield url
    finally:
        for child in reversed(children):
            child.stop(20)


def _wait_until_ready(url: str, children: list[Child]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        for child in children:
            assert child.is_running, f"{child.name} has ended: {child.last_words()}"
        try:
            if requests.get(f"{url}/readyz", timeout=5).ok:
                return
        except (requests.ConnectionError, requests.Timeout):
            pass
        time.sleep(0.05)
    pytest.fail(f"not ready within {START_TIMEOUT:.0f} s: {children[0].last_words()}")


@pytest.fixture
def open_shop(live_server: str) -> Callable[[], Shop]:
    """Onboards a shop of the test's own, trading in euros and Berlin's days."""

    def onboard() -> Shop:
        configured = settings.load()
        domain, secret = f"page-{uuid.uuid4().hex[:12]}.myshopify.com", secrets.token_hex(16)
        answer = requests.post(
            f"{live_server}/api/tenants",
            json={"shopDomain": domain, "accessToken": "shpat_unused", "webhookSecret": secret, "sync": False},
            auth=(configured.admin_username, configured.admin_password.get_secret_value()),
            timeout=10,
        )
        answer.raise_for_status()
        created = answer.json()
        shop = Shop(live_server, domain, created["id"], created["apiToken"], secret)
        shop.deliver(
            "shop/update",
            {
                "id": 1,
                "name": "Nordlicht",
                "domain": domain,
                "myshopify_domain": domain,
                "currency": "EUR",
                "iana_timezone": "Europe/Berlin",
                "plan_name": "basic",
                "updated_at": _seconds_ago(0),
            },
        )
        return shop

    return onboard


@pytest.fixture
def shop(open_shop: Callable[[], Shop]) -> Shop:
    return open_shop()


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages in browser contexts of their own, each of which notes whatever the policy had to stop."""
    contexts = []

    def open_page(*, width: int = 1440, height: int = 900, **options: Any) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, locale="en-US", **options)
        context.add_init_script(
            "window.violations = [];"
            "addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective));"
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        return page

    yield open_page
    for context in contexts:
        context.close()
