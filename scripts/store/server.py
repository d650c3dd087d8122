"""The HTTP side: Shopify's paths for every shop, and /control/ for whoever runs the simulation."""

import contextlib
import json
import re
import socket
import sys
import time
import uuid
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlsplit

from . import clock
from .answers import internal
from .bulk import links, running
from .bulk.downloads import Download
from .bulk.operations import Stopped
from .control import Control, ControlError
from .execution import Executor, Request
from .faults import HEADERS, REQUESTS, Fault
from .fields.shops import VERSIONS
from .market import Market
from .oauth import OAuthError, parameters
from .shop import Shop

SHOP_PATH = re.compile(r"/(?P<domain>[A-Za-z0-9][A-Za-z0-9-]*\.myshopify\.com)/admin/(?P<rest>.+)\Z")
GRAPHQL = re.compile(r"api/(?P<version>[^/]+)/graphql\.json\Z")
UNRECOGNIZED = "[API] Invalid API key or access token (unrecognized login or wrong password)"
RATE_LIMITED = "Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service."
STATES = {
    "frozen": (402, "Unavailable Shop"),
    "locked": (423, "Locked"),
    "gone": (404, "Not Found"),
}
MOST_BODY = 64 * 1024 * 1024


@dataclass
class Answer:
    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        return json.dumps(self.body, ensure_ascii=False, separators=(",", ":")).encode()


NOT_FOUND = Answer(404, {"errors": "Not Found"})


class Dropped(Exception):
    """A fault closes the connection without an answer."""


class Site:
    """Answers requests; knows nothing of sockets."""

    def __init__(self, market: Market, control: Control) -> None:
        self.market = market
        self.control = control
        self.executor = Executor(control.outbox)
        for shop in market:
            running.resume(shop, control.outbox)

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> Answer | Download:
        parts = urlsplit(path)
        link = links.PATH.match(parts.path)
        if link and method == "GET":
            return self.control.downloads.answer(self.market.get(link["domain"]), parts.path, parts.query, headers)
        if parts.path.startswith("/control/"):
            return self._control(method, parts.path, dict(parse_qsl(parts.query)), body)
        return self._shopify(method, parts, headers, body)

    def _shopify(self, method: str, parts: SplitResult, headers: Any, body: bytes) -> Answer:
        """A path of one shop's admin."""
        match = SHOP_PATH.match(parts.path)
        shop = self.market.get(match["domain"]) if match else None
        if match is None or shop is None:
            return NOT_FOUND
        if shop.faults.state:
            status, message = STATES[shop.faults.state]
            return Answer(status, {"errors": message})
        if (method, match["rest"]) in {("POST", "oauth/access_token"), ("GET", "oauth/authorize")}:
            return self._authorize(shop, parts.query) if method == "GET" else self._access_token(shop, headers, body)
        is_valid = is_valid_token(shop, headers.get("X-Shopify-Access-Token") or "")
        self.control.oauth.count_question(shop, is_refused=not is_valid)
        if not is_valid:
            return Answer(401, {"errors": UNRECOGNIZED})
        return self._admin(shop, method, match["rest"], headers, body)

    def _admin(self, shop: Shop, method: str, rest: str, headers: Any, body: bytes) -> Answer:
        """What a valid token opens."""
        if rest == "oauth/access_scopes.json" and method == "GET":
            return Answer(200, {"access_scopes": [{"handle": scope} for scope in shop.settings.scopes]})
        graphql = GRAPHQL.match(rest)
        if graphql is None:
            return NOT_FOUND
        if method != "POST":
            return Answer(405, {"errors": "Method Not Allowed"}, {"Allow": "POST"})
        own = {"X-Shopify-API-Version": served_version(graphql["version"]), "X-Request-Id": str(uuid.uuid4())}
        for fault in shop.faults.strike(HEADERS):
            own["X-Shopify-API-Deprecated-Reason"] = fault.reason
        faults = shop.faults.strike(REQUESTS)
        failure = struck(faults, own)
        if failure:
            return failure
        if any(fault.kind == "cut" for fault in faults):
            own["X-Cut"] = "1"
        return self._graphql(shop, own, headers, body)

    def _control(self, method: str, path: str, query: dict[str, str], body: bytes) -> Answer:
        try:
            given = json.loads(body) if body else {}
            return Answer(200, self.control.answer(method, path, query, given))
        except ControlError as problem:
            return Answer(problem.status, {"error": str(problem)})
        except (ValueError, TypeError, KeyError) as problem:
            return Answer(400, {"error": f"{type(problem).__name__}: {problem}"})

    def _authorize(self, shop: Shop, query: str) -> Answer:
        try:
            return Answer(302, {}, {"Location": self.control.oauth.authorize(shop, dict(parse_qsl(query)))})
        except OAuthError as error:
            return Answer(error.status, error.body)

    def _access_token(self, shop: Shop, headers: Any, body: bytes) -> Answer:
        faults = shop.oauth_faults.strike(REQUESTS)
        lost = [fault for fault in faults if fault.kind in {"cut", "drop"}]
        failure = struck([fault for fault in faults if fault not in lost], {"X-Request-Id": str(uuid.uuid4())})
        if failure:
            return failure
        try:
            answer = Answer(200, self.control.oauth.grant(shop, parameters(headers, body)))
        except OAuthError as error:
            answer = Answer(error.status, error.body)
        if any(fault.kind == "drop" for fault in lost):  # granted, and the answer is lost
            raise Dropped
        return Answer(answer.status, answer.body, {"X-Cut": "1"}) if lost else answer

    def _graphql(self, shop: Shop, own: dict[str, str], headers: Any, body: bytes) -> Answer:
        if "json" not in (headers.get("Content-Type") or ""):
            return Answer(415, {"errors": "Unsupported Media Type"}, own)
        try:
            request = json.loads(body)
            query, variables = str(request["query"]), dict(request.get("variables") or {})
        except (ValueError, KeyError, TypeError):
            return Answer(400, {"errors": {"query": "Required parameter missing or invalid"}}, own)
        origin = f"http://{headers.get('Host')}"
        answer = self.executor.answer(shop, Request(query, variables, request.get("operationName"), origin))
        return Answer(200, answer, own)


def struck(faults: list[Fault], own: dict[str, str]) -> Answer | None:
    """The answer that a fault gives instead of the true one; a slow answer is only slow. Raises Dropped."""
    for fault in faults:
        if fault.kind == "slow":
            time.sleep(fault.seconds)
        elif fault.kind == "drop":
            raise Dropped
        elif fault.kind == "rate_limited":
            return Answer(429, {"errors": RATE_LIMITED}, {**own, "Retry-After": fault.retry_after})
        elif fault.kind == "server_error":
            return Answer(fault.status, {"errors": HTTPStatus(fault.status).phrase}, own)
        elif fault.kind == "unauthorized":
            return Answer(401, {"errors": UNRECOGNIZED}, own)
        elif fault.kind == "internal":
            return Answer(200, {"data": None, "errors": [internal(own["X-Request-Id"])]}, own)
    return None


def is_valid_token(shop: Shop, token: str) -> bool:
    if token not in shop.settings.tokens:
        return False
    expires_at = shop.settings.tokens[token]
    return expires_at is None or expires_at > clock.now()


def served_version(asked: str) -> str:
    """An expired version falls forward to the oldest supported one."""
    return (
        asked if asked in VERSIONS or asked == "unstable" else max(VERSIONS) if asked > max(VERSIONS) else min(VERSIONS)
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 256 * 1024
    timeout = 120
    server: "Server"

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_PATCH = do_DELETE = do_PUT = do_GET  # noqa: N815 - the names that http.server looks for

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if length > MOST_BODY:
            self.close_connection = True
            self._send(Answer(413, {"errors": "Request Entity Too Large"}))
            return
        body = self.rfile.read(length) if length else b""
        try:
            answer = self.server.site.answer(self.command, self.path, self.headers, body)
            self._send_download(answer) if isinstance(answer, Download) else self._send(answer)
        except (Dropped, Stopped):
            self._drop()

    def _drop(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client may have gone first
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send(self, answer: Answer) -> None:
        body = answer.encoded()
        is_cut = "X-Cut" in answer.headers
        self._send_head(answer.status, len(body), {"Content-Type": "application/json; charset=utf-8", **answer.headers})
        self.wfile.write(body[: len(body) // 2] if is_cut else body)
        self.wfile.flush()
        if is_cut:
            self._drop()

    def _send_download(self, download: Download) -> None:
        self._send_head(download.status, download.length, download.headers)
        download.send(self.wfile)
        self.wfile.flush()
        if download.is_cut:
            self._drop()

    def _send_head(self, status: int, length: int, headers: dict[str, str]) -> None:
        lines = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            f"Date: {formatdate(usegmt=True)}",
            f"Content-Length: {length}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        self.wfile.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")


class Server(ThreadingHTTPServer):
    """A thread a connection; stops without waiting for idle clients."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, port: int, site: Site) -> None:
        self.site = site
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no event; anything else is shown by the parent."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)
