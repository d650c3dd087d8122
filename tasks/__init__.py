"""The work that Shopstream does outside of requests: Dramatiq's actors. ``dramatiq tasks`` runs them.

An actor is glue from a message to the floors below, and says what happens when it runs twice.
"""

import gc

from tasks import (
    catching_up,
    compliance,
    fetches,
    offboarding,
    proving,
    standing,
    subscriptions,
    sync,
    tending,
    tokens,
    webhooks,
)  # isort: skip
from tasks.connection import broker  # first: actors need their broker

__all__ = [
    "broker",
    "catching_up",
    "compliance",
    "fetches",
    "offboarding",
    "proving",
    "standing",
    "subscriptions",
    "sync",
    "tending",
    "tokens",
    "webhooks",
]

#: Objects made before the collector looks for cycles, instead of 700. Nodes and rows come by the ten thousand and hold none:
#: looking through them takes a third of the time in which a history is read.
gc.set_threshold(100_000, 10, 10)
