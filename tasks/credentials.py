"""New credentials of a shop, and what they set going again: the sync that died with the old ones, webhooks, catching up."""

from pydantic import SecretStr
from sqlmodel import Session

from models import sync_runs, tenant_changes
from models.tenants import Tenant, TenantStatus
from shopify.oauth import AccessToken
from tasks import catching_up, subscriptions, sync
from tasks.outbox import outbox


def replace(
    session: Session,
    tenant: Tenant,
    *,
    access_token: SecretStr | None = None,
    client_id: str | None = None,
    client_secret: SecretStr | None = None,
) -> None:
    """An access token, or a client's id and secret, in place of all former credentials of a tenant locked for update."""
    stopped = _Stopped(tenant)
    tenant_changes.replace_credentials(
        tenant, access_token=access_token, client_id=client_id, client_secret=client_secret
    )
    stopped.go_on(session, tenant)


def install(session: Session, tenant: Tenant, granted: AccessToken) -> None:
    """What Shopify granted our app, in place of all former credentials of a tenant locked for update.

    Its webhooks are signed by our app from now on: a secret of its own would refuse them.
    """
    stopped = _Stopped(tenant)
    set_granted(tenant, granted)
    stopped.go_on(session, tenant)


def set_granted(tenant: Tenant, granted: AccessToken) -> None:
    tenant_changes.replace_credentials(
        tenant,
        access_token=SecretStr(granted.token),
        access_token_expires_at=granted.expires_at,
        refresh_token=SecretStr(granted.refresh_token) if granted.refresh_token else None,
        refresh_token_expires_at=granted.refresh_token_expires_at,
    )
    tenant.webhook_secret = None
    tenant.scopes = sorted(granted.scopes)


class _Stopped:
    """What the former credentials' end had stopped, remembered before they are replaced."""

    def __init__(self, tenant: Tenant) -> None:
        self._is_back = tenant.status == TenantStatus.UNINSTALLED
        self._unauthorized_since = tenant.unauthorized_since
        self._scopes = frozenset(tenant.scopes)

    def go_on(self, session: Session, tenant: Tenant) -> None:
        """Fetches that waited are found by the sweep (``tasks.tending``)."""
        sees_more = bool(self._scopes) and not self._scopes.issuperset(tenant.scopes)
        if self._is_back or sees_more:
            sync.begin_again(session, tenant)  # what dropped webhooks would have told, what could not be seen
        else:
            failed = sync_runs.to_begin_again(session, tenant.id, failed_since=self._unauthorized_since)
            if failed is not None:
                sync.begin_again(session, tenant, failed)
        # They may be another app's, which has no subscriptions yet.
        outbox.send(session, subscriptions.check, str(tenant.id))
        outbox.send(session, catching_up.catch_up, str(tenant.id))
