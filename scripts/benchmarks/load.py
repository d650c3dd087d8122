"""Signed webhooks as fast as they are answered, over connections that are kept: a process of its own beside the server.

``python -m scripts.benchmarks.load URL`` reads what to send from stdin (JSON: ``domain``, ``secret``, ``payload``,
``connections``, ``seconds``, ``run``) and prints what came of it.
"""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

#: Stand in the payload for what is different in every webhook.
_ID, _UPDATED_AT = 10**15 + 1, "2001-01-01T00:00:00Z"


class Load:
    def __init__(self, url: str, order: dict[str, Any]) -> None:
        self._address = urlsplit(url)
        self._secret = str(order["secret"]).encode()
        self._domain, self._run = order["domain"], order["run"]
        self._seconds, self._connections = float(order["seconds"]), int(order["connections"])
        self._template = json.dumps({**order["payload"], "id": _ID, "updated_at": _UPDATED_AT})
        self._numbers = itertools.count(1)
        self._start = datetime.now(UTC) - timedelta(days=1)
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}

    def run(self) -> dict[str, Any]:
        begun = time.perf_counter()
        asyncio.run(self._all())
        elapsed = time.perf_counter() - begun
        ordered = sorted(self.latencies)
        return {
            "requestsPerSecond": round(len(ordered) / elapsed, 1),
            "p50Milliseconds": round(ordered[len(ordered) // 2] * 1000, 2),
            "p99Milliseconds": round(ordered[int(len(ordered) * 0.99)] * 1000, 2),
            "requests": len(ordered),
            "statuses": self.statuses,
        }

    async def _all(self) -> None:
        until = time.perf_counter() + self._seconds
        await asyncio.gather(*(self._one_connection(until) for _ in range(self._connections)))

    async def _one_connection(self, until: float) -> None:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        while time.perf_counter() < until:
            request = self._request(next(self._numbers))
            sent = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_content_length(head))
            self.latencies.append(time.perf_counter() - sent)
            status = int(head.split(b" ", 2)[1])
            self.statuses[status] = self.statuses.get(status, 0) + 1
        writer.close()
        await writer.wait_closed()

    def _request(self, number: int) -> bytes:
        # Versions of 300 orders, each a second newer than the one before.
        updated_at = (self._start + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = self._template.replace(str(_ID), str(10**12 + number % 300)).replace(_UPDATED_AT, updated_at).encode()
        signature = base64.b64encode(hmac.digest(self._secret, body, hashlib.sha256)).decode()
        head = (
            f"POST {self._address.path} HTTP/1.1\r\nHost: {self._address.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Shopify-Topic: orders/updated\r\nX-Shopify-Shop-Domain: {self._domain}\r\n"
            f"X-Shopify-Hmac-Sha256: {signature}\r\nX-Shopify-Webhook-Id: {self._run}-{number}\r\n"
            f"X-Shopify-Event-Id: {self._run}-{number}\r\nX-Shopify-Triggered-At: {updated_at}\r\n"
            "X-Shopify-API-Version: 2026-10\r\n\r\n"
        )
        return head.encode() + body


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    print(json.dumps(Load(sys.argv[1], json.load(sys.stdin)).run()))
