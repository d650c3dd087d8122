"""The application over real Postgres and NATS, and shops of the test's own."""

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

ADMIN = {"Authorization": "Basic " + base64.b64encode(b"admin:admin-password").decode()}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signature(body: bytes, secret: str) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


@dataclass
class Shop:
    """A tenant as its owner knows it."""

    id: str
    domain: str
    token: str
    sync_id: str | None
    headers: dict[str, str] = field(init=False)

    def __post_init__(self) -> None:
        self.headers = bearer(self.token)


@pytest.fixture(scope="session")
def app(migrated, nats):
    from app import create_app  # noqa: PLC0415  reads the settings
    from app.directory import directory  # noqa: PLC0415

    application = create_app()
    yield application
    directory.stop()


@pytest.fixture
def client(app) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def admin(client) -> Callable[..., TestResponse]:
    """A request of the administrator's: ``admin("POST", "/api/…", json={…})``."""

    def request(method: str, path: str, **options: Any) -> TestResponse:
        return client.open(path, method=method, headers=ADMIN | options.pop("headers", {}), **options)

    return request


@pytest.fixture
def new_domain() -> Callable[[], str]:
    return lambda: f"{uuid.uuid4().hex}.myshopify.com"


@pytest.fixture
def new_shop(admin, new_domain) -> Callable[..., Shop]:
    """Onboards a shop; without a sync, unless it is asked for."""

    def create(**body: Any) -> Shop:
        credentials = {} if "clientId" in body else {"accessToken": "shpat_of_a_test"}
        body = {"shopDomain": new_domain(), "sync": False} | credentials | body
        answer = admin("POST", "/api/tenants", json=body)
        assert answer.status_code == 201, answer.json
        return Shop(answer.json["id"], answer.json["shopDomain"], answer.json["apiToken"], answer.json["syncId"])

    return create


@pytest.fixture
def shop(new_shop) -> Shop:
    return new_shop()


@pytest.fixture
def accepted(monkeypatch) -> list[tuple[str, bytes]]:
    """What was handed to the workers: tenant id and body, in order."""
    import tasks.webhooks  # noqa: PLC0415

    taken = []
    accept = tasks.webhooks.accept

    def spy(tenant_id, headers, body):
        accept(tenant_id, headers, body)
        taken.append((str(tenant_id), body))

    monkeypatch.setattr(tasks.webhooks, "accept", spy)
    return taken


@pytest.fixture
def deliver(client) -> Callable[..., TestResponse]:
    """Sends a webhook, signed with ``secret`` (the app's, unless it is said)."""

    def send(
        domain: str, body: bytes | dict[str, Any] = b'{"id":1}', *, secret: str = "app-secret", **headers: str | None
    ) -> TestResponse:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual = {"Topic": "orders/delete", "Hmac-Sha256": signature(raw, secret), "Shop-Domain": domain}
        named = usual | {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {f"X-Shopify-{name}": value for name, value in named.items() if value is not None}
        return client.post("/api/webhooks", data=raw, headers={"Content-Type": "application/json"} | sent)

    return send


@pytest.fixture
def run(app):
    """Types a command behind ``flask``."""
    runner = app.test_cli_runner()
    return lambda *arguments, **options: runner.invoke(args=arguments, **options)
