"""An app that was uninstalled: the shop's work stops once Shopify itself says that our token is dead.

The webhook's body is the same as shop/update's and its topic is not signed, so it alone must not stop a shop.
"""

import uuid

import dramatiq

from models import tenants
from models.database import OUTAGES
from models.event_log import Level, record
from models.tenants import TenantInactive, TenantStatus
from shopify import shop
from tasks import shops
from tasks.shops import CredentialsRefused, Postponed


@dramatiq.actor(queue_name="fetches", infrastructure_errors=OUTAGES, max_retries=8)
def confirm_uninstall(tenant_id: str) -> None:
    """Ask the shop, and stop its work if it no longer knows us. Safe to run twice."""
    tenant = shops.load(uuid.UUID(tenant_id))
    if tenant is None or tenant.status != TenantStatus.ACTIVE:
        return
    try:
        shops.ask(tenant, lambda client: client.shop(), cost=shop.QUERY_COST)
    except Postponed as postponed:
        confirm_uninstall.send_with_options(args=(tenant_id,), delay=postponed.milliseconds)
    except CredentialsRefused:
        _stop(tenant.id)


def _stop(tenant_id: uuid.UUID) -> None:
    try:
        with tenants.write(tenant_id) as write:
            record(write, Level.WARNING, "webhook", "the app was uninstalled: the shop's work stops")
            write.tenant.status = TenantStatus.UNINSTALLED
            write.tenant.access_token = None
    except TenantInactive:
        return  # stopped before
