"""The renewal of a shop's access token: by one at a time, and stored only in place of what it was got with.

No transaction of a shop's writers waits for the exchange with Shopify: who renews holds a lock of its own meanwhile.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import SecretStr
from sqlalchemy import text
from sqlmodel import Session, col, select

from models import tenants
from models.columns import now
from models.tenants import Tenant, TenantStatus

#: How long before its end a token is renewed; of one that lives for less than ten times that, the last tenth of its life.
AHEAD = timedelta(minutes=5)
#: A refresh token with so little left is used although nobody asks the shop: it lives for 90 days, and lapses with a shop
#: that is paused or not synced.
IDLE = timedelta(days=45)


@dataclass(frozen=True, slots=True)
class Means:
    """What a token is renewed with. While these are the same, nobody has given the shop other credentials."""

    refresh_token: SecretStr | None
    client_id: str | None
    client_secret: SecretStr | None

    @property
    def are_there(self) -> bool:
        return self.refresh_token is not None or (self.client_id is not None and self.client_secret is not None)


def means(tenant: Tenant) -> Means:
    return Means(tenant.refresh_token, tenant.client_id, tenant.client_secret)


def due_at(tenant: Tenant) -> datetime | None:
    """From when on the token may be renewed. None: it does not end, or there is none, and one may be asked for at once."""
    return tenant.token_renewal_at or tenant.access_token_expires_at


def ahead_of(expires_at: datetime | None) -> datetime | None:
    """When a token that was got now is to be renewed."""
    return None if expires_at is None else expires_at - min(AHEAD, max(expires_at - now(), timedelta(0)) / 10)


def is_mine(session: Session, tenant_id: uuid.UUID) -> bool:
    """Whether this transaction is now the one that renews the shop's token. Waits for nobody."""
    query = text("select pg_try_advisory_xact_lock(hashtextextended(:id, 2))")
    return bool(session.execute(query, {"id": str(tenant_id)}).scalar_one())


def changeable(session: Session, tenant_id: uuid.UUID) -> Tenant | None:
    """The tenant as it is now, locked. Waits in the line of its writers, for one that only waits for the row may starve."""
    session.execute(text("select pg_advisory_xact_lock(hashtextextended(:id, 0))"), {"id": str(tenant_id)})
    return tenants.get(session, tenant_id, for_update=True)


def store(
    tenant: Tenant,
    *,
    access_token: SecretStr,
    expires_at: datetime | None,
    refresh_token: SecretStr | None,
    refresh_token_expires_at: datetime | None,
    scopes: Sequence[str],
) -> None:
    """A new token, and with it the refresh token that replaces the one it was got with."""
    tenant.access_token, tenant.access_token_expires_at = access_token, expires_at
    tenant.token_renewal_at = ahead_of(expires_at)
    if refresh_token is not None:
        tenant.refresh_token, tenant.refresh_token_expires_at = refresh_token, refresh_token_expires_at
    if scopes:
        tenant.scopes = sorted(scopes)


def idle(session: Session) -> Sequence[uuid.UUID]:
    """Shops whose refresh token would lapse if nobody asked for them."""
    return session.exec(
        select(Tenant.id).where(
            col(Tenant.status).in_([TenantStatus.ACTIVE, TenantStatus.PAUSED]),
            col(Tenant.unauthorized_since).is_(None),
            col(Tenant.refresh_token).is_not(None),
            col(Tenant.refresh_token_expires_at) < now() + IDLE,
            # A token that is still good was renewed within the hour, and so was what renews it.
            col(Tenant.token_renewal_at).is_(None) | (col(Tenant.token_renewal_at) < now()),
        )
    ).all()
