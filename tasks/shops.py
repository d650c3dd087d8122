"""Asking a shop: within the budget that all workers share, and never longer than a worker can wait.

Whoever cannot be answered now is told when to come back, so that a shop at its limit, or away, delays itself alone.
"""

import functools
import logging
import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from pydantic import SecretStr

import settings
from brokers.errors import KeyConflict
from models import tenants
from models.database import transaction
from models.tenants import Tenant
from shopify.budget import Budget
from shopify.client import Client
from shopify.cost import Cost
from shopify.errors import RateLimited429, RunawayStop, ShopifyError, ShopUnavailable, Throttled, Unauthorized
from tasks import api_notices, tokens
from tasks.connection import broker
from tasks.waits import CredentialsRefused, Postponed, until_next_try

__all__ = ["CredentialsRefused", "Postponed", "ask", "load", "restore_rate"]

AnswerT = TypeVar("AnswerT")

logger = logging.getLogger(__name__)

#: Seconds that a worker's thread may sleep for a budget; for more it gives the thread back.
LONGEST_SLEEP = 0.2
#: Points kept back from syncs, so that a webhook's refetch, of an order at most, never waits behind them.
RESERVE = 120


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
    if tenant.unauthorized_since is not None:
        raise CredentialsRefused
    budget = _budget(tenant.shop_domain)
    # A shop that has fallen silent is asked by one thread at a time: the others' would wait for nothing, for 27 s each.
    _take(budget, cost, reserve=reserve, is_probe=tenant.unreachable_since is not None)
    try:
        answer = _answer(tenant, question)
    except (Postponed, CredentialsRefused):  # it was not asked: there is no token for it
        budget.release(cost)
        raise
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
        raise
    finally:
        api_notices.keep()
    budget.settle(cost, spent(answer))
    if tenant.unreachable_since is not None:
        tenants.set_reachability(tenant.id)
    return answer


def restore_rate(tenant: Tenant) -> float:
    """Points that the shop gives a second, as far as it has told."""
    return _budget(tenant.shop_domain).restore_rate()


def _answer(tenant: Tenant, question: Callable[[Client], AnswerT]) -> AnswerT:
    """The answer to a question that is asked once more when its token is refused and there is another."""
    token = tokens.usable(tenant)
    try:
        return question(_client(tenant, token))
    except Unauthorized as refusal:
        token = tokens.replacement(tenant, token, str(refusal))
    try:
        return question(_client(tenant, token))
    except Unauthorized as refusal:
        raise tokens.give_up(tenant, token, str(refusal)) from refusal


def _client(tenant: Tenant, token: SecretStr) -> Client:
    return Client(tenant.shop_domain, token.get_secret_value(), origin=settings.load().shopify_api_origin)


def _take(budget: Budget, cost: int, *, reserve: int, is_probe: bool) -> None:
    wait = budget.take(cost, reserve=reserve, is_probe=is_probe)
    if 0 < wait <= LONGEST_SLEEP:
        time.sleep(wait)
        wait = budget.take(cost, reserve=reserve, is_probe=is_probe)
    if wait > 0:
        raise Postponed(wait, "the shop's budget is used up, or it was away a moment ago")


def _away(tenant: Tenant, error: ShopUnavailable) -> Postponed:
    since = tenants.set_reachability(tenant.id, unreachable=True)
    if tenant.unreachable_since is None:  # said once, not at every try
        logger.warning("%s cannot be reached: %s", tenant.shop_domain, error)
    return Postponed(until_next_try(since), f"the shop cannot be reached: {error}")


def _budget(shop_domain: str) -> Budget:
    return Budget(_budgets(), shop_domain, conflict=KeyConflict)


def forget_budget(shop_domain: str) -> None:
    """What is known of a shop's budget, once the shop has left. What is under way may note it anew: it lapses in an hour."""
    _budgets().delete(shop_domain)


@functools.cache
def _budgets():  # type: ignore[no-untyped-def]
    return broker.key_value("budgets", ttl=3600, memory=True)


def load(tenant_id: uuid.UUID) -> Tenant | None:
    with transaction() as session:
        return tenants.get(session, tenant_id)
