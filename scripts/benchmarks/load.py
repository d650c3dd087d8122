"""Signed webhooks as fast as they are answered, over connections that are kept: a process of its own beside the server.

``python -m scripts.benchmarks.load URL`` reads what to send from stdin (JSON: ``domain``, ``secret``, ``orders``, ``first``,
``count``, ``connections``, ``run``) and prints what came of it. The requests are made before the first is sent: what signing
costs is Shopify's.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from scripts.benchmarks import payloads


class Load:
    def __init__(self, url: str, wanted: dict[str, Any]) -> None:
        self._address = urlsplit(url)
        self._connections = int(wanted["connections"])
        self._requests = requests(url, wanted)
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
            "seconds": round(elapsed, 4),
            "statuses": self.statuses,
        }

    async def _all(self) -> None:
        waiting = iter(self._requests)
        await asyncio.gather(*(self._one_connection(waiting) for _ in range(self._connections)))

    async def _one_connection(self, waiting: Iterator[bytes]) -> None:
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        for request in waiting:
            sent = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_content_length(head))
            self.latencies.append(time.perf_counter() - sent)
            status = int(head.split(b" ", 2)[1])
            self.statuses[status] = self.statuses.get(status, 0) + 1
        writer.close()
        await writer.wait_closed()


def requests(url: str, wanted: dict[str, Any]) -> list[bytes]:
    """``count`` webhooks of distinct orders, with ids of their own, as they go over the wire."""
    address, secret = urlsplit(url), str(wanted["secret"]).encode()
    first, count = int(wanted["first"]), int(wanted["count"])
    triggered_at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    made = []
    for number, body in enumerate(payloads.distinct(wanted["orders"], first=first, count=count)):
        signature = base64.b64encode(hmac.digest(secret, body, hashlib.sha256)).decode()
        webhook_id = f"{wanted['run']}-{number}"
        head = (
            f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            f"X-Shopify-Topic: orders/updated\r\nX-Shopify-Shop-Domain: {wanted['domain']}\r\n"
            f"X-Shopify-Hmac-Sha256: {signature}\r\nX-Shopify-Webhook-Id: {webhook_id}\r\n"
            f"X-Shopify-Event-Id: {webhook_id}\r\nX-Shopify-Triggered-At: {triggered_at}\r\n"
            "X-Shopify-API-Version: 2026-10\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


if __name__ == "__main__":
    print(json.dumps(Load(sys.argv[1], json.load(sys.stdin)).run()))
