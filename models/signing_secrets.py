"""The secrets that sign each shop's webhooks, read for the web process's directory: nothing else of a tenant is decrypted."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy
from pydantic import SecretStr
from sqlalchemy import type_coerce
from sqlalchemy.dialects import postgresql
from sqlmodel import Session, col, select

from models.encryption import EncryptedText, UndecryptableSecret
from models.tenants import Tenant, TenantStatus

_ENCRYPTED, _DIALECT = EncryptedText(), postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """A live tenant and its own secrets. ``None`` secrets: they exist and cannot be decrypted, so nothing can be verified."""

    tenant_id: uuid.UUID
    shop_domain: str
    own_secrets: tuple[str, ...] | None = field(repr=False)


def of(tenant: Tenant) -> SigningSecrets:
    own = (tenant.webhook_secret, tenant.client_secret)
    return SigningSecrets(tenant.id, tenant.shop_domain, tuple(each.get_secret_value() for each in own if each))


def of_all(session: Session) -> Sequence[SigningSecrets]:
    """Every live tenant's. One that cannot be decrypted does not keep the others from being read."""
    return [_read(*row) for row in session.execute(_query())]


def of_domain(session: Session, shop_domain: str) -> SigningSecrets | None:
    row = session.execute(_query().where(col(Tenant.shop_domain) == shop_domain)).one_or_none()
    return None if row is None else _read(*row)


def _query() -> Any:
    return select(
        col(Tenant.id),
        col(Tenant.shop_domain),
        # As they are stored: a column that decrypts itself would fail the whole query for one row.
        type_coerce(col(Tenant.webhook_secret), sqlalchemy.Text),
        type_coerce(col(Tenant.client_secret), sqlalchemy.Text),
    ).where(col(Tenant.status) != TenantStatus.ERASING)


def _read(tenant_id: uuid.UUID, shop_domain: str, *stored: str | None) -> SigningSecrets:
    try:
        own: tuple[str, ...] | None = tuple(_decrypted(each) for each in stored if each is not None)
    except UndecryptableSecret:
        own = None
    return SigningSecrets(tenant_id, shop_domain, own)


def _decrypted(stored: str) -> str:
    secret: SecretStr | None = _ENCRYPTED.process_result_value(stored, _DIALECT)
    assert secret is not None
    return secret.get_secret_value()
