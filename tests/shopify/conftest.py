"""A shop over real HTTP that answers what a test tells it to, however broken."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from shopify.client import Client

SHOP = "x.myshopify.com"
TOKEN = "shpat_0123456789abcdef"


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Shop:
    """Answers are taken in turn; the last one is repeated."""

    origin: str = ""
    answers: list[Callable[["Handler"], None]] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)

    def client(self, token: str = TOKEN) -> Client:
        return Client(SHOP, token, origin=self.origin, timeout=(1.0, 1.0))

    def answers_with(
        self, *answers: dict[str, Any] | bytes | Callable[["Handler"], None], status: int = 200, **headers: str
    ):
        """JSON, raw bytes, or something that writes to the connection itself."""
        self.answers = [
            answer if callable(answer) else lambda handler, answer=answer: handler.send(answer, status, headers)
            for answer in answers
        ]
        return self


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shop: Shop

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.shop.requests.append(Request(self.path, dict(self.headers), body))
        self.shop.answers[min(len(self.shop.requests), len(self.shop.answers)) - 1](self)

    def send(self, answer: dict[str, Any] | bytes, status: int, headers: dict[str, str]) -> None:
        raw = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(raw))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def shop(monkeypatch) -> Iterator[Shop]:
    monkeypatch.setattr("shopify.transport._admit", lambda: None)  # tests ask more often than the runaway stop allows
    shop = Shop()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ShopHandler", (Handler,), {"shop": shop}))
    server.daemon_threads = True
    shop.origin = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield shop
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def answering() -> Callable[..., Any]:
    """A server whose GETs are answered by ``answer(request) -> (status, headers, body)``; its address."""

    @contextmanager
    def serve(answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], bytes]]) -> Iterator[str]:
        class Files(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, headers, body = answer(self)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            yield f"http://127.0.0.1:{server.server_port}/file"
            server.shutdown()

    return serve
