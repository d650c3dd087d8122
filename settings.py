"""Every setting of Shopstream, read from the environment once, typed and validated.

Lists (``NATS_URL``, ``SHOPIFY_API_SECRET``, ``SHOPIFY_SCOPES``, ``ENCRYPTION_KEYS``, ``CORS_ORIGINS``) are comma separated. A ``.env`` file is
read in development; the environment wins over it.
"""

import functools
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from cryptography.fernet import Fernet
from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

#: Shopify's own rule for a shop's name ("Authorization code grant"): a subdomain of myshopify.com.
SHOP_DOMAIN = re.compile(r"[a-z0-9][a-z0-9\-]*\.myshopify\.com\Z")
_ORIGIN = re.compile(r"https?://[^/\s?#@]+\Z")


class SettingsError(Exception):
    """The environment cannot be used. The message is one line and names the setting, never its value."""


def _comma_list(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, hide_input_in_errors=True, env_ignore_empty=True
    )

    database_url: SecretStr
    nats_url: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_comma_list), Field(min_length=1)]
    #: A path to a ``.creds`` file, or the text of one (hosted NATS on a platform without files).
    nats_creds: SecretStr | None = None
    #: Prefix of every stream and bucket, so that several installations can share one NATS.
    nats_namespace: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")] = "shopstream"
    jetstream_replicas: Literal[1, 3, 5] = 1

    port: Annotated[int, Field(ge=0, le=65535)] = 4000
    #: Processes of the web server, and threads of each.
    web_concurrency: Annotated[int, Field(ge=1, le=64)] = 1
    web_threads: Annotated[int, Field(ge=1, le=256)] = 8
    public_url: str | None = None
    #: Whole histories that are read at once, over all shops: a hundred shops added together would crowd out the others.
    max_first_syncs: Annotated[int, Field(ge=1, le=1000)] = 20
    #: Days for which webhooks' payloads are kept as they were received, for ``payloads replay``; 0 for none.
    payloads_kept_days: Annotated[int, Field(ge=0, le=3650)] = 30
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = ()

    shopify_api_key: str | None = None
    #: The app's client secrets, all accepted, for rotation.
    shopify_api_secret: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_comma_list)] = ()
    #: What the app asks shops for when it is installed. Empty: what everything that is synced needs.
    shopify_scopes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_comma_list)] = ()
    shopify_access_token: SecretStr | None = None
    shop_domain: str | None = None
    #: Points the client at a simulated Shopify. Refused unless SHOPSTREAM_SIMULATED says that scripts/run or a test set it.
    shopify_api_origin: str | None = None
    shopstream_simulated: bool = False

    encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_comma_list), Field(min_length=1)]
    admin_username: Annotated[str, Field(min_length=1)]
    admin_password: SecretStr
    metrics_token: SecretStr | None = None

    @field_validator("database_url")
    @classmethod
    def _psycopg2_dialect(cls, value: SecretStr) -> SecretStr:
        # SQLAlchemy 2.1 takes psycopg 3 for a bare postgresql:// address; Heroku hands out postgres://.
        scheme, separator, rest = value.get_secret_value().partition("://")
        if not separator or scheme not in {"postgres", "postgresql", "postgresql+psycopg2"}:
            raise ValueError("must be an address such as postgresql://user:password@host/database")
        return SecretStr(f"postgresql+psycopg2://{rest}")

    @field_validator("nats_url")
    @classmethod
    def _nats_addresses(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for url in value:
            if not re.match(r"(nats|tls|ws|wss)://[^\s/]", url.get_secret_value()):
                raise ValueError("must be addresses such as nats://host:4222, separated by commas")
        return value

    @field_validator("encryption_keys")
    @classmethod
    def _fernet_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in value:
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                raise ValueError("must be Fernet keys: 32 bytes in URL-safe base64, separated by commas") from None
        return value

    @field_validator("admin_password")
    @classmethod
    def _not_empty(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value():
            raise ValueError("must not be empty")
        return value

    @field_validator("shop_domain")
    @classmethod
    def _shop(cls, value: str | None) -> str | None:
        if value is not None and not SHOP_DOMAIN.match(value):
            raise ValueError("must be a shop's name such as my-store.myshopify.com")
        return value

    @field_validator("public_url", "shopify_api_origin")
    @classmethod
    def _origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        value = value.rstrip("/")
        if not _ORIGIN.match(value):
            raise ValueError("must be an origin such as https://shopstream.example.com")
        return value

    @field_validator("shopify_scopes")
    @classmethod
    def _scope_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for scope in value:
            if not re.match(r"[a-z][a-z_]*\Z", scope):
                raise ValueError("must be access scopes such as read_orders, separated by commas")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            if not _ORIGIN.match(origin):
                raise ValueError("must be origins such as https://dashboard.example.com, separated by commas")
        return value

    @model_validator(mode="after")
    def _pairs(self) -> Self:
        if (self.shopify_access_token is None) != (self.shop_domain is None):
            raise ValueError("SHOPIFY_ACCESS_TOKEN and SHOP_DOMAIN go together: set both or neither")
        if self.shopify_api_origin is not None and not self.shopstream_simulated:
            raise ValueError("SHOPIFY_API_ORIGIN is for scripts/run and tests: unset it to talk to Shopify")
        return self

    @property
    def app_secrets(self) -> tuple[str, ...]:
        """The app's client secrets in plain text, newest first as configured."""
        return tuple(secret.get_secret_value() for secret in self.shopify_api_secret)

    @property
    def webhook_uri(self) -> str | None:
        """Where shops are to send webhooks; None when nothing says where we can be reached."""
        return None if self.public_url is None else f"{self.public_url}/api/webhooks"

    @property
    def nats_servers(self) -> list[str]:
        return [url.get_secret_value() for url in self.nats_url]


@functools.cache
def load() -> Settings:
    """The settings of this process.

    Raises SettingsError with one line that names what is missing or malformed.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    problems = []
    for item in error.errors(include_url=False, include_input=False):
        message = str(item["msg"]).removeprefix("Value error, ")
        name = str(item["loc"][0]).upper() if item["loc"] else ""
        if item["type"] == "missing":
            message = "must be set"
        problems.append(f"{name} {message[:1].lower() + message[1:]}" if name else message)
    return "; ".join(problems)


def creds_file_or_text(value: str) -> Path | str:
    """``NATS_CREDS`` as the broker wants it: a path when such a file exists, otherwise the text itself."""
    return value if "\n" in value or value.startswith("-----") else Path(value)
