"""Webhook deliveries: signed, sent within Shopify's deadlines, retried until they are taken.

A delivery has one second to connect and five in all; anything but 2xx is a failure. Shopify retries eight times over four
hours; here the pauses are seconds, and what is left after the eighth is tried on at the longest pause unless ``give_up``.
"""

import base64
import hashlib
import heapq
import hmac
import http.client
import itertools
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from . import clock

CONNECT_SECONDS = 1.0
TOTAL_SECONDS = 5.0
RETRIES = 8


@dataclass(frozen=True)
class Delivery:
    """One POST to one address. ``body`` is what was true when the change happened; retries send the same."""

    shop_domain: str
    topic: str
    url: str
    body: bytes
    secret: str
    event_id: str
    triggered_at: int
    webhook_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    subscription_id: int | None = None
    name: str | None = None
    attempt: int = 0

    def headers(self) -> dict[str, str]:
        seconds = (clock.utc(self.triggered_at) or "")[:-1]
        return {
            "Content-Type": "application/json",
            "User-Agent": "Shopify-Captain-Hook",
            "X-Shopify-Topic": self.topic,
            "X-Shopify-Hmac-Sha256": sign(self.secret, self.body),
            "X-Shopify-Shop-Domain": self.shop_domain,
            "X-Shopify-API-Version": "2026-10",
            "X-Shopify-Webhook-Id": self.webhook_id,
            "X-Shopify-Triggered-At": f"{seconds}.{self.triggered_at % clock.SECOND:06d}{random.randrange(1000):03d}Z",
            "X-Shopify-Event-Id": self.event_id,
            **({"X-Shopify-Name": self.name} if self.name else {}),
        }


def sign(secret: str, body: bytes) -> str:
    """Base64 of the HMAC-SHA256 of the body."""
    return base64.b64encode(hmac.new(secret.encode(), body, hashlib.sha256).digest()).decode()


@dataclass
class Policy:
    """How failures are repeated: pauses of ``first_pause`` seconds, doubled up to ``longest_pause``."""

    retries: int = RETRIES
    first_pause: float = 0.5
    longest_pause: float = 30.0
    give_up: bool = False
    total_seconds: float = TOTAL_SECONDS

    def pause(self, attempt: int) -> float:
        return min(self.longest_pause, self.first_pause * 2.0 ** min(attempt, 30))


@dataclass
class Stats:
    sent: int = 0
    failed_attempts: int = 0
    given_up: int = 0
    duplicates: int = 0
    by_topic: dict[str, int] = field(default_factory=dict)
    last_error: str | None = None


class Sender:
    """Threads that send what is due. Nothing is lost while the process lives (but by ``give_up``)."""

    def __init__(
        self, *, threads: int = 6, policy: Policy | None = None, on_given_up: Callable[[Delivery], None] | None = None
    ) -> None:
        self.policy = policy or Policy()
        self.stats = Stats()
        self._on_given_up = on_given_up
        self._condition = threading.Condition()
        self._due: list[tuple[float, int, Delivery]] = []
        self._counter = itertools.count()
        self._sending = 0
        self._is_paused = False
        self._is_stopped = False
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"sender-{n}") for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def send(self, delivery: Delivery, *, delay: float = 0.0) -> None:
        with self._condition:
            heapq.heappush(self._due, (time.monotonic() + delay, next(self._counter), delivery))
            self._condition.notify()

    def send_twice(self, delivery: Delivery, *, delay: float) -> None:
        """The same delivery (and Webhook-Id) again after a while."""
        self.stats.duplicates += 1
        self.send(delivery)
        self.send(delivery, delay=delay)

    @property
    def pending(self) -> int:
        with self._condition:
            return len(self._due) + self._sending

    def pause(self, *, is_paused: bool) -> None:
        with self._condition:
            self._is_paused = is_paused
            self._condition.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is pending; what waits for a retry is tried at once. False when the time is over."""
        deadline = time.monotonic() + timeout
        with self._condition:
            self._hurry()
            while self._due or self._sending:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._condition.wait(min(left, 0.25))
                self._hurry(beyond=1.0)
            return True

    def _hurry(self, beyond: float = 0.0) -> None:
        now = time.monotonic()
        self._due = [(now if due > now + beyond else due, count, delivery) for due, count, delivery in self._due]
        heapq.heapify(self._due)
        self._condition.notify_all()

    def clear(self) -> int:
        """Forget what is pending, as if it had been lost on the way. Returns how many."""
        with self._condition:
            lost, self._due = len(self._due), []
            self._condition.notify_all()
            return lost

    def stop(self) -> None:
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()
        deadline = time.monotonic() + TOTAL_SECONDS + 1
        for thread in self._threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def describe(self) -> dict[str, Any]:
        with self._condition:
            return {
                "sent": self.stats.sent,
                "pending": len(self._due) + self._sending,
                "failedAttempts": self.stats.failed_attempts,
                "failed": self.stats.given_up,
                "duplicates": self.stats.duplicates,
                "byTopic": dict(sorted(self.stats.by_topic.items())),
                "lastError": self.stats.last_error,
                "isPaused": self._is_paused,
            }

    # The threads

    def _work(self) -> None:
        connections = Connections()
        while True:
            delivery = self._next()
            if delivery is None:
                connections.close()
                return
            problem = connections.post(delivery, self.policy.total_seconds)
            self._finish(delivery, problem)

    def _next(self) -> Delivery | None:
        with self._condition:
            while not self._is_stopped:
                now = time.monotonic()
                if self._due and not self._is_paused and self._due[0][0] <= now:
                    self._sending += 1
                    return heapq.heappop(self._due)[2]
                wait = self._due[0][0] - now if self._due and not self._is_paused else None
                self._condition.wait(wait)
            return None

    def _finish(self, delivery: Delivery, problem: str | None) -> None:
        is_given_up = False
        with self._condition:
            self._sending -= 1
            if problem is None:
                self.stats.sent += 1
                self.stats.by_topic[delivery.topic] = self.stats.by_topic.get(delivery.topic, 0) + 1
            else:
                self.stats.failed_attempts += 1
                self.stats.last_error = problem
                is_given_up = self.policy.give_up and delivery.attempt >= self.policy.retries
                if is_given_up:
                    self.stats.given_up += 1
                else:
                    again = Delivery(**{**vars(delivery), "attempt": delivery.attempt + 1})
                    due = time.monotonic() + self.policy.pause(delivery.attempt)
                    heapq.heappush(self._due, (due, next(self._counter), again))
            self._condition.notify_all()
        if is_given_up and self._on_given_up:
            self._on_given_up(delivery)


class Connections:
    """One thread's open connections, by address."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], http.client.HTTPConnection] = {}

    def post(self, delivery: Delivery, seconds: float) -> str | None:
        """Send it; returns what went wrong, None for a 2xx within the time."""
        deadline = time.monotonic() + seconds
        parts = urlsplit(delivery.url)
        key = (parts.scheme, parts.netloc)
        for is_fresh in (False, True):
            connection = None if is_fresh else self._open.pop(key, None)
            if connection is None and not is_fresh:
                continue
            try:
                if connection is None:
                    connection = _connect(parts.scheme, parts.hostname or "", parts.port)
                status = _exchange(connection, parts, delivery, deadline)
            except (OSError, http.client.HTTPException) as problem:
                if connection is not None:
                    connection.close()
                if not is_fresh and not isinstance(problem, TimeoutError):
                    continue  # the kept connection had gone stale
                return f"{type(problem).__name__}: {problem}"
            self._open[key] = connection
            return None if 200 <= status < 300 else f"HTTP {status}"
        return "not reached"

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()


def _connect(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    kind = http.client.HTTPSConnection if scheme == "https" else http.client.HTTPConnection
    connection = kind(host, port, timeout=CONNECT_SECONDS)
    connection.connect()
    assert connection.sock is not None
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _exchange(connection: http.client.HTTPConnection, parts: Any, delivery: Delivery, deadline: float) -> int:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if connection.sock is None:
        raise http.client.NotConnected
    connection.sock.settimeout(max(0.001, deadline - time.monotonic()))
    connection.request("POST", path, body=delivery.body, headers=delivery.headers())
    response = connection.getresponse()
    connection.sock.settimeout(max(0.001, deadline - time.monotonic())) if connection.sock else None
    response.read()
    return response.status
