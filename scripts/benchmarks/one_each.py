"""Webhook deliveries written with a transaction for each, by as many threads as a worker has.

``python -m scripts.benchmarks.one_each`` reads what to write from stdin (JSON: ``tenantId``, ``domain``, ``orders``, ``count``)
and prints how many a second it wrote. Settings come from the environment, as a worker's do.
"""

import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from scripts.benchmarks import payloads
from shopify.webhooks import WebhookHeaders
from tasks.deliveries import Delivery, write

#: As in the Procfile.
THREADS = 8


def measure(wanted: dict[str, Any]) -> dict[str, float]:
    tenant_id, count = uuid.UUID(wanted["tenantId"]), int(wanted["count"])
    deliveries = [
        Delivery.of(_headers(wanted["domain"], number), body)
        for number, body in enumerate(payloads.distinct(wanted["orders"], first=0, count=count))
    ]
    with ThreadPoolExecutor(THREADS) as threads:
        begun = time.perf_counter()
        for _ in threads.map(lambda delivery: write(tenant_id, [delivery]), deliveries):
            pass
        return {"perSecond": count / (time.perf_counter() - begun)}


def _headers(domain: str, number: int) -> WebhookHeaders:
    return WebhookHeaders.of(
        {
            "X-Shopify-Topic": "orders/updated",
            "X-Shopify-Hmac-Sha256": "verified",
            "X-Shopify-Shop-Domain": domain,
            "X-Shopify-Webhook-Id": f"one-each-{number}",
        }
    )


if __name__ == "__main__":
    print(json.dumps(measure(json.load(sys.stdin))))
