"""Asking a shop what became of us: whether the app is still installed, and what our token may see.

The webhooks that tell of it prove little: app/uninstalled has shop/update's body and an unsigned topic, and an old
app/scopes_update looks like a new one. So the shop itself is asked, and believed.
"""

import uuid

import dramatiq

from models import tenants
from models.database import OUTAGES
from models.event_log import Level, record
from models.tenants import TenantInactive, TenantStatus
from shopify import shop
from shopify.resources import taken
from tasks import owners, shops, subscriptions
from tasks.shops import CredentialsRefused, Postponed
from tasks.sync_steps import store_shop


@dramatiq.actor(
    queue_name="fetches", dead_letter_lane=owners.of_first_argument, infrastructure_errors=OUTAGES, max_retries=8
)
def ask_shop(tenant_id: str) -> None:
    """Store what the shop says, and stop its work if it no longer knows us. Safe to run twice."""
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        return
    try:
        info = shops.ask(tenant, lambda client: client.shop(), cost=shop.QUERY_COST)
        with tenants.write(tenant.id) as write:
            store_shop(write, info)
        if taken(info.scopes or ()).keys() != taken(tenant.scopes).keys():
            subscriptions.check.send(tenant_id)
    except TenantInactive:
        return
    except Postponed as postponed:
        ask_shop.send_with_options(args=(tenant_id,), delay=postponed.milliseconds)
    except CredentialsRefused:
        _stop(tenant.id)


def _stop(tenant_id: uuid.UUID) -> None:
    try:
        with tenants.write(tenant_id) as write:
            if write.tenant.unauthorized_since is None:
                return  # it was installed again meanwhile
            record(write, Level.WARNING, "webhook", "the app was uninstalled: the shop's work stops")
            write.tenant.status = TenantStatus.UNINSTALLED
            write.tenant.access_token = write.tenant.refresh_token = None
    except TenantInactive:
        return  # stopped before
