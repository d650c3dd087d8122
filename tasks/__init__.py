"""The work that Shopstream does outside of requests: Dramatiq's actors. ``dramatiq tasks`` runs them.

An actor is glue from a message to the floors below, and says what happens when it runs twice.
"""

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
from tasks.tuning import tune

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

tune()
