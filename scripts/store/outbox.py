"""From a change to its webhooks: who gets them, some twice, some late."""

import json
import random
import uuid
from dataclasses import dataclass
from typing import Any

from .deliveries import Delivery
from .shop import Shop
from .subscriptions import header_topic

#: A message is its topic (``orders/create``) and its payload.
Message = tuple[str, dict[str, Any]]


@dataclass
class Disorder:
    """Of a thousand deliveries, so many come twice (with the same Webhook-Id) or late; late means out of order."""

    twice_permille: int = 20
    late_permille: int = 30
    late_seconds: float = 3.0


class Outbox:
    """``default_url`` gets every topic of every shop, as the subscriptions of an app's TOML do."""

    def __init__(self, sender: Any, default_url: str | None = None) -> None:
        self.sender = sender
        self.default_url = default_url
        self.disorder = Disorder()
        self._random = random.Random()

    def publish(self, shop: Shop, messages: list[Message], *, at: int) -> int:
        """Queue the webhooks of one action (they share an Event-Id). Returns how many were queued."""
        event_id = str(uuid.uuid4())
        count = 0
        for topic, payload in messages:
            body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
            for delivery in self._deliveries(shop, topic, payload, body, event_id, at):
                self._queue(delivery)
                count += 1
        return count

    def _deliveries(  # noqa: PLR0917 - one caller
        self, shop: Shop, topic: str, payload: dict[str, Any], body: bytes, event_id: str, at: int
    ) -> list[Delivery]:
        secret = shop.settings.webhook_secret
        found = []
        if self.default_url:
            found.append(Delivery(shop.domain, topic, self.default_url, body, secret, event_id, at))
        for held in list(shop.subscriptions.values()):
            if header_topic(held.topic) != topic or not held.uri.startswith("http"):
                continue
            own = body
            if held.include_fields:
                chosen = {key: value for key, value in payload.items() if key in held.include_fields}
                own = json.dumps(chosen, ensure_ascii=False, separators=(",", ":")).encode()
            found.append(
                Delivery(
                    shop.domain, topic, held.uri, own, secret, event_id, at, subscription_id=held.id, name=held.name
                )
            )
        return found

    def _queue(self, delivery: Delivery) -> None:
        drawn = self._random.randrange(1000)
        if drawn < self.disorder.twice_permille:
            self.sender.send_twice(delivery, delay=self._random.uniform(0.0, self.disorder.late_seconds))
        elif drawn < self.disorder.twice_permille + self.disorder.late_permille:
            self.sender.send(delivery, delay=self._random.uniform(0.1, self.disorder.late_seconds))
        else:
            self.sender.send(delivery)
