"""What an administrator may change about a tenant: its credentials, whether it is paused, that it ends.

All of these take the tenant's row as locked by ``tenants.get(for_update=True)``, so that they wait for its writers.
"""

from datetime import datetime

from pydantic import SecretStr

from models.renewals import ahead_of
from models.tenants import Tenant, TenantStatus


class CredentialsNeeded(Exception):
    """A shop that uninstalled the app comes back with new credentials only."""

    def __init__(self) -> None:
        super().__init__("the shop has uninstalled the app: it comes back with new credentials only")


def replace_credentials(
    tenant: Tenant,
    *,
    access_token: SecretStr | None = None,
    access_token_expires_at: datetime | None = None,
    refresh_token: SecretStr | None = None,
    refresh_token_expires_at: datetime | None = None,
    client_id: str | None = None,
    client_secret: SecretStr | None = None,
) -> None:
    """An access token, or a client's id and secret, in place of all former ones. An uninstalled shop is active again."""
    tenant.access_token, tenant.access_token_expires_at = access_token, access_token_expires_at
    tenant.refresh_token, tenant.refresh_token_expires_at = refresh_token, refresh_token_expires_at
    tenant.client_id, tenant.client_secret = client_id, client_secret
    tenant.token_renewal_at = ahead_of(access_token_expires_at)
    tenant.unauthorized_since = None
    if tenant.status == TenantStatus.UNINSTALLED:
        tenant.status = TenantStatus.ACTIVE


def set_status(tenant: Tenant, status: TenantStatus) -> None:
    """Pause or resume. Raises CredentialsNeeded."""
    if tenant.status == TenantStatus.UNINSTALLED:
        raise CredentialsNeeded
    tenant.status = status


def revoke(tenant: Tenant) -> None:
    """The beginning of its end: nobody signs in with its token, no secret of it is left, nothing writes for it."""
    tenant.status = TenantStatus.ERASING
    tenant.api_token_hash = None
    tenant.access_token = None
    tenant.access_token_expires_at = None
    tenant.refresh_token = None
    tenant.refresh_token_expires_at = None
    tenant.token_renewal_at = None
    tenant.client_id = None
    tenant.client_secret = None
    tenant.webhook_secret = None
