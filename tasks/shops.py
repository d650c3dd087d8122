"""Asking a shop: within the budget that all workers share, and never longer than a worker can wait.

Whoever cannot be answered now is told when to come back, so that a shop at its limit, or away, delays itself alone.
"""

import functools
import logging
import random
import time
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from pydantic import SecretStr

import settings
from brokers.errors import KeyConflict
from models import tenants
from models.columns import now
from models.database import transaction
from models.tenants import Tenant
from shopify import oauth
from shopify.budget import Budget
from shopify.client import Client
from shopify.cost import Cost
from shopify.errors import RateLimited429, RunawayStop, ShopifyError, ShopUnavailable, Throttled, Unauthorized
from tasks import api_notices
from tasks.connection import broker

AnswerT = TypeVar("AnswerT")

logger = logging.getLogger(__name__)

#: Seconds that a worker's thread may sleep for a budget; for more it gives the thread back.
LONGEST_SLEEP = 0.2
#: Points kept back from syncs, so that a webhook's refetch never waits behind them.
RESERVE = 100
#: Seconds between two tries to reach a shop: half of the time that it has been away, within these bounds.
SHORTEST_ABSENCE, LONGEST_ABSENCE = 3.0, 900.0


class Postponed(Exception):
    """The shop cannot be asked before ``seconds`` have passed."""

    def __init__(self, seconds: float, reason: str) -> None:
        super().__init__(reason)
        self.seconds = seconds

    @property
    def milliseconds(self) -> int:
        """With jitter, so that what was put off together does not come back together."""
        return int(self.seconds * 1000 * random.uniform(1.0, 1.2))  # noqa: S311  not a secret


class CredentialsRefused(Exception):
    """Shopify refuses the shop's credentials: its work rests until it has new ones."""

    def __init__(self) -> None:
        super().__init__("Shopify refuses the shop's credentials: replace them with PATCH /api/tenants/{id}")


def ask(
    tenant: Tenant,
    question: Callable[[Client], AnswerT],
    *,
    cost: int,
    spent: Callable[[AnswerT], Cost | None] = lambda _: None,
    reserve: int = 0,
) -> AnswerT:
    """Put a question of ``cost`` requested points to the shop; ``spent`` reads what the answer says that it cost.

    Raises Postponed, CredentialsRefused, and shopify's AccessDenied, QueryRefused, CountNotExact.
    """
    client = _client(tenant)
    budget = _budget(tenant.shop_domain)
    _take(budget, cost, reserve=reserve)
    try:
        answer = question(client)
    except RunawayStop as error:
        budget.release(cost)
        raise Postponed(error.wait_seconds, "this process asks Shopify too often") from error
    except RateLimited429 as error:
        budget.release(cost)
        budget.penalize(error.wait_seconds)
        raise Postponed(error.wait_seconds, "Shopify throttles the shop") from error
    except Throttled as error:
        budget.settle(cost, error.cost)
        raise Postponed(error.wait_seconds, "Shopify throttles the shop") from error
    except ShopifyError as error:
        budget.settle(cost, None)
        if isinstance(error, ShopUnavailable):
            postponed = _away(tenant, error)
            budget.penalize(postponed.seconds)  # nobody else needs to wait for the same silence
            raise postponed from error
        if isinstance(error, Unauthorized):
            tenants.set_reachability(tenant.id, unauthorized=True)
            raise CredentialsRefused from error
        raise
    finally:
        api_notices.keep()
    budget.settle(cost, spent(answer))
    if tenant.unreachable_since is not None or tenant.unauthorized_since is not None:
        tenants.set_reachability(tenant.id)
    return answer


def restore_rate(tenant: Tenant) -> float:
    """Points that the shop gives a second, as far as it has told."""
    return _budget(tenant.shop_domain).restore_rate()


def _take(budget: Budget, cost: int, *, reserve: int) -> None:
    wait = budget.take(cost, reserve=reserve)
    if 0 < wait <= LONGEST_SLEEP:
        time.sleep(wait)
        wait = budget.take(cost, reserve=reserve)
    if wait > 0:
        raise Postponed(wait, "the shop's budget is used up, or it was away a moment ago")


def _away(tenant: Tenant, error: ShopUnavailable) -> Postponed:
    since = tenants.set_reachability(tenant.id, unreachable=True)
    absence = (now() - since).total_seconds() if since else 0.0
    if tenant.unreachable_since is None:  # said once, not at every try
        logger.warning("%s cannot be reached: %s", tenant.shop_domain, error)
    return Postponed(min(max(absence / 2, SHORTEST_ABSENCE), LONGEST_ABSENCE), f"the shop cannot be reached: {error}")


def _budget(shop_domain: str) -> Budget:
    return Budget(_budgets(), shop_domain, conflict=KeyConflict)


def forget_budget(shop_domain: str) -> None:
    """What is known of a shop's budget, once the shop has left."""
    _budgets().delete(shop_domain)


@functools.cache
def _budgets():  # type: ignore[no-untyped-def]
    return broker.key_value("budgets", ttl=3600, memory=True)


def _client(tenant: Tenant) -> Client:
    token = tenant.access_token
    if tenant.client_id is not None and (token is None or _has_ended(tenant.access_token_expires_at)):
        token = _exchanged(tenant)
    if token is None:
        raise CredentialsRefused
    return Client(tenant.shop_domain, token.get_secret_value(), origin=settings.load().shopify_api_origin)


def _has_ended(expires_at: datetime | None) -> bool:
    """``oauth`` takes its margin off before a time is stored."""
    return expires_at is not None and expires_at < now()


def _exchanged(tenant: Tenant) -> SecretStr:
    """A new token for the client credentials, kept for the other workers."""
    assert tenant.client_id is not None
    if tenant.client_secret is None:
        raise CredentialsRefused
    try:
        granted = oauth.client_credentials_token(
            tenant.shop_domain,
            tenant.client_id,
            tenant.client_secret.get_secret_value(),
            origin=settings.load().shopify_api_origin,
        )
    except Unauthorized as error:
        tenants.set_reachability(tenant.id, unauthorized=True)
        raise CredentialsRefused from error
    except Throttled as error:
        raise Postponed(error.wait_seconds, "Shopify throttles the shop") from error
    except (ShopUnavailable, RunawayStop) as error:
        raise Postponed(SHORTEST_ABSENCE, f"the shop cannot be reached: {error}") from error
    token = SecretStr(granted.token)
    with transaction() as session:
        stored = tenants.get(session, tenant.id, for_update=True)
        if stored is not None and stored.client_id == tenant.client_id:
            stored.access_token, stored.access_token_expires_at = token, granted.expires_at
    return token


def load(tenant_id: uuid.UUID) -> Tenant | None:
    with transaction() as session:
        return tenants.get(session, tenant_id)
