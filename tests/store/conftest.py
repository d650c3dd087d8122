"""A store in this process: a small generated shop behind a real HTTP server, and a receiver for its webhooks."""

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from scripts.store.control import Control
from scripts.store.deliveries import Sender
from scripts.store.execution import Executor, Request
from scripts.store.market import Market
from scripts.store.outbox import Outbox
from scripts.store.server import Server, Site
from scripts.store.shop import Shop
from scripts.store.traffic import Traffic

from .queries import BULK_ORDERS, OPERATION, RUN_BULK

DOMAIN = "small.myshopify.com"


class Store:
    """A market with its server, and shortcuts to ask it."""

    def __init__(self, directory: Path) -> None:
        self.market = Market(directory)
        self.sender = Sender(threads=3, on_given_up=self.market.drop_subscription)
        self.outbox = Outbox(self.sender)
        self.outbox.disorder.twice_permille = self.outbox.disorder.late_permille = 0
        self.traffic = Traffic(self.market, self.outbox, seed=7)
        self.executor = Executor(self.outbox)
        self.server = Server(0, Site(self.market, Control(self.market, self.outbox, self.traffic)))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.session = requests.Session()

    def add(self, domain: str = DOMAIN, **chosen: Any) -> Shop:
        given = {"seed": 3, "orders": 120, "customers": 50, "products": 12, "days": 90, "plan": "Enterprise", **chosen}
        return self.market.add(domain, **given)

    def ask(self, shop: Shop, text: str, /, **variables: Any) -> dict[str, Any]:
        """The answer without HTTP."""
        return self.executor.answer(shop, Request(text, variables))

    def data(self, shop: Shop, text: str, /, **variables: Any) -> Any:
        answer = self.ask(shop, text, **variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def post(self, shop: Shop, query: str, *, token: str | None = None, **options: Any) -> requests.Response:
        token = shop.settings.access_token if token is None else token
        return self.session.post(
            f"{self.url}/{shop.domain}/admin/api/2026-10/graphql.json",
            json={"query": query},
            headers={"X-Shopify-Access-Token": token},
            timeout=10,
            **options,
        )

    def control(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.session.request(method, f"{self.url}/control{path}", json=body, timeout=40)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def act(self, shop: Shop, *deeds: dict[str, Any], webhooks: str = "return", **more: Any) -> dict[str, Any]:
        body = {"actions": list(deeds), "webhooks": webhooks, **more}
        return self.control("POST", f"/shops/{shop.domain}/actions", body)

    def close(self) -> None:
        self.session.close()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()
        self.traffic.stop()
        self.sender.stop()
        self.market.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path)
    yield store
    store.close()


@pytest.fixture
def shop(store: Store) -> Shop:
    return store.add()


class Receiver:
    """Takes webhooks as an application would; ``statuses`` says what to answer before it is 200 all along."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.statuses: list[int] = []
        self._arrived = threading.Condition()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = receiver.take(dict(self.headers), body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/webhooks"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        with self._arrived:
            status = self.statuses.pop(0) if self.statuses else 200
            self.received.append({"headers": headers, "body": body, "status": status})
            self._arrived.notify_all()
            return status

    def wait_for(self, count: int, timeout: float = 10.0) -> list[dict[str, Any]]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.received) >= count, timeout), len(self.received)
            return list(self.received)

    def topics(self) -> list[str]:
        return [item["headers"]["X-Shopify-Topic"] for item in self.received]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def is_signed(secret: str, body: bytes, signature: str) -> bool:
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode() == signature


def eventually(claim: Callable[[], bool], timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not claim():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.02)


def payloads(answer: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(topic, payload) of the webhooks that an action returned."""
    return [(item["topic"], json.loads(base64.b64decode(item["body"]))) for item in answer["webhooks"]]


class Bulk:
    """Shortcuts to a shop's bulk operations."""

    def __init__(self, store: Store, shop: Shop) -> None:
        self.store = store
        self.shop = shop
        self.path = f"/shops/{shop.domain}/bulk"
        self.change(createdSeconds=0)

    def change(self, **settings: Any) -> None:
        self.store.control("PATCH", self.path, settings)

    def break_(self, **faults: Any) -> None:
        self.store.control("PATCH", f"/shops/{self.shop.domain}", {"faults": faults})

    def ask(self, query: str, *, groups: bool = True) -> dict[str, Any]:
        """What the mutation answers."""
        text = RUN_BULK % ("true" if groups else "false")
        return self.store.data(self.shop, text, query=query)["bulkOperationRunQuery"]

    def begin(self, query: str = BULK_ORDERS, *, groups: bool = True) -> str:
        answer = self.ask(query, groups=groups)
        assert answer["userErrors"] == []
        assert answer["bulkOperation"]["status"] == "CREATED"
        return answer["bulkOperation"]["id"]

    def look(self, operation: str) -> dict[str, Any]:
        return self.store.post(self.shop, f'{{bulkOperation(id:"{operation}"){{{OPERATION}}}}}').json()["data"][
            "bulkOperation"
        ]

    def wait(self, operation: str, *statuses: str) -> dict[str, Any]:
        wanted = statuses or ("COMPLETED",)
        eventually(lambda: self.look(operation)["status"] in wanted)
        return self.look(operation)

    def finish(self, query: str = BULK_ORDERS, *, groups: bool = True) -> dict[str, Any]:
        return self.wait(self.begin(query, groups=groups))

    def result(self, query: str = BULK_ORDERS, *, groups: bool = True) -> list[dict[str, Any]]:
        """The nodes of a whole run."""
        return nodes(self.finish(query, groups=groups)["url"])

    def told(self) -> dict[str, Any]:
        return self.store.control("GET", self.path)

    def is_held(self, kind: str) -> bool:
        return any(item["isHeld"] for item in self.told()[kind])

    def release(self, lines: int | None = None) -> None:
        self.store.control("POST", self.path + "/release", {} if lines is None else {"lines": lines})


@pytest.fixture
def bulk(store: Store, shop: Shop) -> Bulk:
    return Bulk(store, shop)


def get(url: str, **headers: str) -> requests.Response:
    return requests.get(url, headers=headers, timeout=10)


def nodes(url: str) -> list[dict[str, Any]]:
    answer = get(url)
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.content.split(b"\n")[:-1]]
