"""What ingestion is made of: a history by bulk, a worker's memory while it reads one, and a burst of webhooks."""

import os
from collections.abc import Iterator, Mapping

from scripts.api import loopback_session
from scripts.benchmarks import burst, history
from scripts.benchmarks.stack import Stack, stack

#: Orders of the history, whose file has some three lines for each.
ORDERS = 20_000
#: Orders whose file has some 10,000 lines: what a worker's memory is compared with.
FEW_ORDERS = 3_500
_MEGABYTE = 1_000_000


def measure() -> Iterator[Mapping[str, object]]:
    """Bulk history beside COPY + merge, a worker's memory, and bursts of webhooks (INGEST_ORDERS: 20,000).

    A burst is compared with an empty route when it is accepted, and with a transaction for each when it is written.
    """
    orders = int(os.environ.get("INGEST_ORDERS", ORDERS))
    with stack(orders=orders) as shopstream:
        _wake_by_webhooks(shopstream)
        few = history.read(shopstream, shopstream.make_shop("few", orders=FEW_ORDERS), orders=FEW_ORDERS)
        many = history.read(shopstream, shopstream.shop, orders=orders)
        yield {"what": "bulk history", **many.beside_copy(shopstream)}
        yield {
            "what": "memory of a worker",
            "linesOfTheSmallFile": few.lines,
            "linesOfTheLargeFile": many.lines,
            "peakMegabytesOfTheSmallFile": round(few.peak_memory / _MEGABYTE, 1),
            "peakMegabytesOfTheLargeFile": round(many.peak_memory / _MEGABYTE, 1),
            "differenceMegabytes": round((many.peak_memory - few.peak_memory) / _MEGABYTE, 1),
        }
        yield {"what": "burst of webhooks", **burst.measured(shopstream)}


def _wake_by_webhooks(shopstream: Stack) -> None:
    """Have the simulated Shopify send webhooks, as an app's own subscriptions do: they tell that a bulk operation has ended."""
    with loopback_session() as session:
        settings = {"url": f"{shopstream.url}/api/webhooks"}
        session.patch(f"{shopstream.control_url}/webhooks", json=settings, timeout=30).raise_for_status()
