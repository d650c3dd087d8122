"""The column types that every table shares: aware UTC times, exact money, Shopify's 64-bit ids."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Numeric, text
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlmodel import Field


def now() -> datetime:
    return datetime.now(UTC)


def time_field(**options: Any) -> Any:
    """A point in time, aware and in UTC."""
    return Field(default=None, sa_type=DateTime(timezone=True), **options)


def now_field() -> Any:
    """The time at which the row is made."""
    return Field(default_factory=now, sa_type=DateTime(timezone=True), nullable=False)


def money_field() -> Any:
    """An exact amount, of any scale, so that nothing is ever rounded on its way in."""
    return Field(default=None, sa_type=Numeric)


def shopify_id_field(**options: Any) -> Any:
    """One of Shopify's ids, ``legacyResourceId``: a positive 64-bit number."""
    return Field(sa_type=BigInteger, **options)


def json_field() -> Any:
    return Field(default=None, sa_type=JSONB)


def uuid_field(**options: Any) -> Any:
    return Field(sa_type=UUID(as_uuid=True), **options)


def id_field() -> Any:
    """Our own id of a row."""
    return Field(
        default_factory=uuid.uuid4,
        primary_key=True,
        sa_type=UUID(as_uuid=True),
        sa_column_kwargs={"server_default": text("gen_random_uuid()")},
    )
