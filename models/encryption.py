"""Secrets at rest: a column type that encrypts what it stores, and the rotation of its keys."""

import functools
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr
from sqlalchemy import Dialect, Text
from sqlalchemy.types import TypeDecorator

import settings


class UndecryptableSecret(Exception):
    """No key of ENCRYPTION_KEYS opens a stored secret: the key that closed it was removed too early."""

    def __init__(self) -> None:
        super().__init__("a stored secret cannot be decrypted: put the key that encrypted it back into ENCRYPTION_KEYS")


@functools.cache
def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(key.get_secret_value()) for key in settings.load().encryption_keys])


class EncryptedText(TypeDecorator[SecretStr]):
    """Text that is encrypted with the first of ENCRYPTION_KEYS and decrypted with any of them."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: SecretStr | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else encrypted(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> SecretStr | None:  # noqa: ARG002
        return None if value is None else decrypted(value)


def encrypted(secret: SecretStr) -> str:
    """A secret under the first key, for where it has to rest."""
    return _fernet().encrypt(secret.get_secret_value().encode()).decode()


def decrypted(stored: str) -> SecretStr:
    """Raises UndecryptableSecret."""
    try:
        return SecretStr(_fernet().decrypt(stored.encode()).decode())
    except InvalidToken:
        raise UndecryptableSecret from None


def reencrypted(stored: str) -> str:
    """A stored secret under the first key. Raises UndecryptableSecret."""
    try:
        return _fernet().rotate(stored.encode()).decode()
    except InvalidToken:
        raise UndecryptableSecret from None
