"""Asks a shop from several threads of a process of its own: ``python -m tests.tasks.asking TENANT THREADS``.

Waits for a line on its standard input, so that several processes begin together.
"""

import sys
import threading
import time
import uuid

from shopify import shop
from tasks import shops


def ask_until_answered(tenant_id: uuid.UUID) -> None:
    """As an actor does, whose message comes again."""
    ends = time.monotonic() + 30
    while True:
        try:
            shops.ask(shops.load(tenant_id), lambda client: client.shop(), cost=shop.QUERY_COST)
        except shops.Postponed as postponed:
            if time.monotonic() > ends:
                raise
            time.sleep(min(postponed.seconds, 0.2))
        else:
            return


def ask_at_once(tenant_id: uuid.UUID, threads: int) -> int:
    """How many were answered."""
    answered: list[None] = []
    waiting = threading.Barrier(threads)

    def ask() -> None:
        waiting.wait()
        ask_until_answered(tenant_id)
        answered.append(None)

    asking = [threading.Thread(target=ask) for _ in range(threads)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    return len(answered)


if __name__ == "__main__":
    sys.stdin.readline()
    sys.stdout.write(str(ask_at_once(uuid.UUID(sys.argv[1]), int(sys.argv[2]))))
