"""Tenants: the shops that Shopstream serves, their credentials, and who may still write for them."""

import hashlib
import secrets
import uuid
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import sqlalchemy
from pydantic import SecretStr
from sqlalchemy import Index, text
from sqlmodel import Field, Session, SQLModel, col, select

from models.columns import id_field, now, now_field, time_field
from models.database import transaction
from models.encryption import EncryptedText

#: Random bytes of an API token: 256 bits cannot be guessed, so a plain hash of it suffices.
API_TOKEN_BYTES = 32
API_TOKEN_PREFIX = "sst_"  # noqa: S105  # tells a leaked token's owner where it belongs


class TenantStatus(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    UNINSTALLED = "uninstalled"
    ERASING = "erasing"


class Tenant(SQLModel, table=True):
    """A shop. ``timezone`` and ``currency`` are the shop's own, unknown until its first read."""

    __tablename__ = "tenants"
    __table_args__ = (
        # The same domain after an offboarding is a new tenant.
        Index("tenants_shop_domain", "shop_domain", unique=True, postgresql_where=text("status <> 'erasing'")),
    )

    id: uuid.UUID = id_field()
    shop_domain: str
    status: TenantStatus = Field(default=TenantStatus.ACTIVE, sa_type=sqlalchemy.Text)
    api_token_hash: str | None = Field(default=None, unique=True)

    access_token: SecretStr | None = Field(default=None, sa_type=EncryptedText)
    access_token_expires_at: datetime | None = time_field()
    #: Gets the next access token, and is replaced with it.
    refresh_token: SecretStr | None = Field(default=None, sa_type=EncryptedText)
    refresh_token_expires_at: datetime | None = time_field()
    #: When the access token is to be renewed: ahead of its end, or after a pause when that failed. Nobody asks before.
    token_renewal_at: datetime | None = time_field()
    client_id: str | None = None
    client_secret: SecretStr | None = Field(default=None, sa_type=EncryptedText)
    webhook_secret: SecretStr | None = Field(default=None, sa_type=EncryptedText)

    name: str | None = None
    currency: str | None = None
    timezone: str = "UTC"
    plan: str | None = None
    #: The version of what the shop says of itself.
    shop_updated_at: datetime | None = time_field()
    scopes: list[str] = Field(default_factory=list, sa_type=sqlalchemy.ARRAY(sqlalchemy.Text), nullable=False)

    #: When the shop's webhook subscriptions were last compared with what we want.
    webhooks_checked_at: datetime | None = time_field()
    #: Topics that the shop refuses to send.
    missing_topics: list[str] = Field(default_factory=list, sa_type=sqlalchemy.ARRAY(sqlalchemy.Text), nullable=False)

    #: Since when Shopify has refused the token; such a shop's fetches wait for new credentials.
    unauthorized_since: datetime | None = time_field()
    #: Since when the shop has not answered; its fetches are delayed meanwhile.
    unreachable_since: datetime | None = time_field()
    created_at: datetime = now_field()


#: Columns that hold secrets, for the rotation of keys.
SECRET_COLUMNS = ("access_token", "refresh_token", "client_secret", "webhook_secret")


class TenantInactive(Exception):
    """The tenant may not be written for: it is unknown, paused, uninstalled or being erased."""

    def __init__(self, status: TenantStatus | None) -> None:
        super().__init__(f"the shop is {status or 'unknown'}")
        self.status = status


class ShopAlreadyExists(Exception):
    """A tenant of this domain exists."""


@dataclass(frozen=True, slots=True)
class Write:
    """An open transaction in which a tenant's rows may be written, alone among the tenant's writers."""

    session: Session
    tenant: Tenant
    at: datetime


#: Of a shop that rests nothing is written, but its people can be forgotten.
RESTING = frozenset({TenantStatus.PAUSED, TenantStatus.UNINSTALLED})


@contextmanager
def write(tenant_id: uuid.UUID, *, also: Set[TenantStatus] = frozenset()) -> Iterator[Write]:
    """A transaction that may write the tenant's rows: committed at the end of the block, or not at all.

    The tenant's row is locked ``for share``, so that an offboarding waits for it and nothing is written after; and the
    tenant's writers go one at a time, so that totals and upserts of one shop can neither deadlock nor interleave.
    ``also``: states other than active in which this may be written.

    Raises TenantInactive.
    """
    with transaction() as session:
        # First of all, so that whoever holds the row can also change it without waiting for those that wait here.
        session.execute(text("select pg_advisory_xact_lock(hashtextextended(:id, 0))"), {"id": str(tenant_id)})
        tenant = session.exec(
            select(Tenant).where(col(Tenant.id) == tenant_id).with_for_update(read=True)
        ).one_or_none()
        if tenant is None or tenant.status not in {TenantStatus.ACTIVE, *also}:
            raise TenantInactive(tenant.status if tenant else None)
        yield Write(session=session, tenant=tenant, at=now())


def create(
    session: Session,
    *,
    shop_domain: str,
    access_token: SecretStr | None = None,
    client_id: str | None = None,
    client_secret: SecretStr | None = None,
    webhook_secret: SecretStr | None = None,
) -> tuple[Tenant, str]:
    """A new tenant and its API token, which is kept nowhere: only its hash is.

    Raises ShopAlreadyExists.
    """
    token = new_api_token()
    tenant = Tenant(
        shop_domain=shop_domain,
        access_token=access_token,
        client_id=client_id,
        client_secret=client_secret,
        webhook_secret=webhook_secret,
        api_token_hash=token_hash(token),
    )
    session.add(tenant)
    try:
        session.flush()
    except sqlalchemy.exc.IntegrityError:
        raise ShopAlreadyExists(shop_domain) from None
    return tenant, token


def rotate_api_token(session: Session, tenant: Tenant) -> str:
    """A new API token; the old one is refused from the commit on."""
    token = new_api_token()
    tenant.api_token_hash = token_hash(token)
    session.add(tenant)
    return token


def new_api_token() -> str:
    return API_TOKEN_PREFIX + secrets.token_urlsafe(API_TOKEN_BYTES)


def token_hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def of_api_token(session: Session, token: str) -> Tenant | None:
    return session.exec(
        select(Tenant).where(
            col(Tenant.api_token_hash) == token_hash(token), col(Tenant.status) != TenantStatus.ERASING
        )
    ).one_or_none()


def of_domain(session: Session, shop_domain: str) -> Tenant | None:
    return session.exec(
        select(Tenant).where(col(Tenant.shop_domain) == shop_domain, col(Tenant.status) != TenantStatus.ERASING)
    ).one_or_none()


def get(session: Session, tenant_id: uuid.UUID, *, for_update: bool = False) -> Tenant | None:
    """``for_update``: locked, and as it is by then, whatever the session knew of it before."""
    query = select(Tenant).where(col(Tenant.id) == tenant_id)
    if for_update:
        query = query.with_for_update().execution_options(populate_existing=True)
    return session.exec(query).one_or_none()


def last_of_domain(session: Session, shop_domain: str) -> Tenant | None:
    """The tenant of a domain; without one, one that is being erased."""
    return session.exec(
        select(Tenant)
        .where(col(Tenant.shop_domain) == shop_domain)
        .order_by(col(Tenant.status) == TenantStatus.ERASING, col(Tenant.created_at).desc())
        .limit(1)
    ).one_or_none()


def every_id(session: Session) -> Sequence[uuid.UUID]:
    return session.exec(select(Tenant.id)).all()


def being_erased(session: Session) -> Sequence[uuid.UUID]:
    return session.exec(select(Tenant.id).where(col(Tenant.status) == TenantStatus.ERASING)).all()


def set_reachability(tenant_id: uuid.UUID, *, unreachable: bool = False) -> datetime | None:
    """Remember how the shop's last answer came. Returns since when it has not answered; None if it has."""
    with transaction() as session:
        tenant = get(session, tenant_id, for_update=True)
        if tenant is None:
            return None
        tenant.unreachable_since = (tenant.unreachable_since or now()) if unreachable else None
        return tenant.unreachable_since
