"""A shop's webhook subscriptions: made before its history is read, looked after daily, removed when it leaves.

Only where PUBLIC_URL says how shops reach us. What a shop refuses to send is told, and hinders nothing else.
"""

import logging
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta

import dramatiq
from sqlmodel import Session, col, select

import settings
from models import encryption, tenants
from models.columns import now
from models.database import OUTAGES, transaction
from models.event_log import Level, record
from models.tenants import Tenant, TenantInactive, TenantStatus
from shopify.errors import AccessDenied, QueryRefused
from shopify.subscriptions import MUTATION_COST, QUERY_COST, enum_of, optional_topics, wanted_topics
from tasks import owners, shops
from tasks.connection import broker
from tasks.outbox import outbox
from tasks.shops import CredentialsRefused, Postponed
from tasks.waits import until_next_try

logger = logging.getLogger(__name__)

#: Milliseconds over which the daily looks of all shops are spread.
SPREAD = 3_600_000
#: For how long a shop that left is asked.
LONGEST_WAIT = timedelta(days=1)


def ensure(tenant: Tenant, *, scopes: Collection[str] | None = None) -> list[str]:
    """Subscribe to what is missing. Returns the ids of subscriptions that are not wanted any more.

    ``scopes`` are the token's, where more is known of them than the tenant tells.

    Raises Postponed, CredentialsRefused, TenantInactive.
    """
    uri = settings.load().webhook_uri
    if uri is None:
        return []
    held: dict[str, str] = {}
    try:
        held = shops.ask(tenant, lambda client: client.subscriptions(uri), cost=QUERY_COST)
        missing = [topic for topic in wanted_topics() if enum_of(topic) not in held]
        refused = _subscribe(tenant, missing, uri)
    except (AccessDenied, QueryRefused) as error:
        missing, refused = [], dict.fromkeys(wanted_topics(), str(error))
    _note(tenant, added=[topic for topic in missing if topic not in refused], refused=refused)
    optional = optional_topics(tenant.scopes if scopes is None else scopes)
    _subscribe_besides(tenant, [topic for topic in optional if enum_of(topic) not in held], uri)
    return [held[name] for name in held.keys() - {enum_of(topic) for topic in (*wanted_topics(), *optional)}]


def _subscribe(tenant: Tenant, topics: list[str], uri: str) -> dict[str, str]:
    if not topics:
        return {}
    return shops.ask(tenant, lambda client: client.subscribe(topics, uri), cost=MUTATION_COST * len(topics))


def _subscribe_besides(tenant: Tenant, topics: list[str], uri: str) -> None:
    """Subscribe to topics that are no lack where they are refused, and alone: a shop that does not know one refuses all."""
    try:
        refused = _subscribe(tenant, topics, uri)
    except (AccessDenied, QueryRefused) as error:
        refused = dict.fromkeys(topics, str(error))
    added = [topic for topic in topics if topic not in refused]
    told = [f"{topic} is not sent: {reason}" for topic, reason in sorted(refused.items())]
    if added:
        told.append(f"registered besides: {', '.join(added)}")
    if told:
        with tenants.write(tenant.id) as write:
            for each in told:
                record(write, Level.INFO, "webhook", each)


def _unsubscribe(tenant: Tenant, ids: list[str]) -> None:
    if ids:
        shops.ask(tenant, lambda client: client.unsubscribe(ids), cost=MUTATION_COST * len(ids))


def _note(tenant: Tenant, *, added: list[str], refused: dict[str, str]) -> None:
    with tenants.write(tenant.id) as write:
        is_first = write.tenant.webhooks_checked_at is None
        back = [topic for topic in added if not is_first and topic not in write.tenant.missing_topics]
        if back:
            record(write, Level.WARNING, "webhook", f"Shopify had dropped webhooks, which are back: {', '.join(back)}")
        elif added:
            record(write, Level.INFO, "webhook", f"{len(added)} webhook topics registered")
        if sorted(refused) != write.tenant.missing_topics:
            for topic, reason in sorted(refused.items()):
                record(write, Level.ERROR, "webhook", f"the shop refuses to send {topic}: {reason}")
        write.tenant.missing_topics = sorted(refused)
        write.tenant.webhooks_checked_at = now()


@dramatiq.actor(
    queue_name="fetches", dead_letter_lane=owners.of_first_argument, infrastructure_errors=OUTAGES, max_retries=8
)
def check(tenant_id: str) -> None:
    """Look after one shop's subscriptions. Safe to run twice: what is there is left alone."""
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        return
    try:
        _unsubscribe(tenant, ensure(tenant))
    except Postponed as postponed:
        check.send_with_options(args=(tenant_id,), delay=postponed.milliseconds)
    except (TenantInactive, CredentialsRefused, AccessDenied, QueryRefused):
        return  # looked after again when the shop goes on, or with new credentials


@dramatiq.actor(queue_name="maintenance", infrastructure_errors=OUTAGES, max_retries=3)
def check_all() -> None:
    """Have every shop looked after within the hour, not all at once. Safe to run twice."""
    with transaction() as session:
        ids = session.exec(select(Tenant.id).where(col(Tenant.status) == TenantStatus.ACTIVE)).all()
    for tenant_id in ids:
        check.send_with_options(args=(str(tenant_id),), delay=tenant_id.int % SPREAD)


def remove_when_committed(session: Session, tenant: Tenant) -> None:
    """Have a shop that leaves stop sending, if the transaction commits: its credentials are about to go from its row."""
    if tenant.webhooks_checked_at is None:
        return
    token, secret, refresh = tenant.access_token, tenant.client_secret, tenant.refresh_token
    # A token of theirs may have ended: what gets another goes with it.
    if tenant.client_id is not None and secret is not None:
        outbox.send(session, remove, tenant.shop_domain, tenant.client_id, encryption.encrypted(secret))
    elif token is not None or refresh is not None:
        kept = [None if each is None else encryption.encrypted(each) for each in (token, refresh)]
        outbox.send(session, remove, tenant.shop_domain, None, *kept)


@dramatiq.actor(queue_name="fetches", infrastructure_errors=OUTAGES, max_retries=8)
def remove(
    shop_domain: str,
    client_id: str | None,
    encrypted: str | None,
    refresh: str | None = None,
    postponed_since: str | None = None,
) -> None:
    """Delete our subscriptions of a shop that left, with the credentials that it had. Safe to run twice.

    Named by its domain, since its row is gone by then. ``encrypted``: its client's secret, or without a client its token;
    ``refresh``: its refresh token, encrypted likewise; ``postponed_since``: when the shop was first put off. One that does
    not answer for LONGEST_WAIT keeps sending to nobody.
    """
    uri = settings.load().webhook_uri
    with transaction() as session:
        is_back = tenants.of_domain(session, shop_domain) is not None
    if uri is None or is_back:  # they are the new tenant's now
        return
    secret, refresh_token = (None if each is None else encryption.decrypted(each) for each in (encrypted, refresh))
    former = (
        Tenant(shop_domain=shop_domain, access_token=secret, refresh_token=refresh_token)
        if client_id is None
        else Tenant(shop_domain=shop_domain, client_id=client_id, client_secret=secret)
    )
    try:
        held = shops.ask(former, lambda client: client.subscriptions(uri), cost=QUERY_COST)
        _unsubscribe(former, list(held.values()))
    except Postponed as postponed:
        since = now() if postponed_since is None else datetime.fromisoformat(postponed_since)
        if since < now() - LONGEST_WAIT:
            logger.warning("the subscriptions of %s, which left, were not removed: %s", shop_domain, postponed)
            return
        later = Postponed(max(postponed.seconds, until_next_try(since)), str(postponed))
        again = (shop_domain, client_id, encrypted, refresh, since.isoformat())
        remove.send_with_options(args=again, delay=later.milliseconds)
    except (CredentialsRefused, AccessDenied, QueryRefused):
        return  # the app is gone from the shop, and its subscriptions with it


broker.cron("check-webhooks", "0 23 3 * * *", check_all.message())
