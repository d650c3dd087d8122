"""Webhooks: who signed them and what their headers say. What their bodies mean is told by ``event_of``.

Only the body is signed; domain, topic, id and time are headers, and could be anybody's.
"""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from settings import SHOP_DOMAIN
from shopify.errors import PayloadRejected
from shopify.payloads import event_of, names_another_shop

__all__ = ["PayloadRejected", "WebhookHeaders", "event_of", "names_another_shop", "triggered_at", "verify_signature"]


# --- the signature ---------------------------------------------------------------------------------------------------


#: What else Shopify signs with the app's secret, and shows to whoever installs it: a session token's header and payload, and
#: the parameters of an installation.
_SHOWN_TO_BROWSERS = re.compile(rb"[\w-]+\.[\w-]+|\w+=[^&]*(?:&\w+=[^&]*)*")


def verify_signature(body: bytes, signature: str, secrets: Iterable[str]) -> bool:
    """Whether one of ``secrets`` signed ``body``: base64 of HMAC-SHA256. All are compared, each in constant time.

    No signature counts under what Shopify signs and is no webhook's body.
    """
    if _SHOWN_TO_BROWSERS.fullmatch(body) is not None:
        return False
    given = signature.encode("utf-8", "replace")
    matches = 0
    for secret in secrets:
        digest = base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256))
        # An empty secret is one that everybody knows.
        matches += hmac.compare_digest(digest, given) and bool(secret)
    return matches > 0


# --- the headers -----------------------------------------------------------------------------------------------------

_TRIGGERED_AT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(Z|[+-]\d\d:\d\d)\Z")


def _shop_domain(value: str) -> str:
    domain = value.lower()
    if len(domain) > 255 or not SHOP_DOMAIN.match(domain):
        raise ValueError("not a shop's domain such as my-store.myshopify.com")
    return domain


class WebhookHeaders(BaseModel):
    """Shopify's headers of one delivery. Nothing signs them."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    topic: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(/[a-z0-9_]+)+$", max_length=100)]
    signature: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(repr=False)
    shop_domain: Annotated[str, AfterValidator(_shop_domain)]
    #: Of this delivery and its repetitions. None when absent or absurd.
    webhook_id: str | None = None
    #: When it happened, never in the future; when it came, if it does not say.
    triggered_at: datetime
    #: Ties together the deliveries of one action.
    event_id: str | None = None
    api_version: str | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str], *, now: datetime | None = None) -> Self:
        """Read ``headers``, whatever the case of their names.

        Raises pydantic's ValidationError when topic, domain or signature are missing or malformed.
        """
        found = {name.lower(): value for name, value in headers.items()}

        def header(name: str) -> str | None:
            return found.get(f"x-shopify-{name}")

        return cls.model_validate(
            {
                "topic": header("topic"),
                "signature": header("hmac-sha256"),
                "shop_domain": header("shop-domain"),
                "webhook_id": _short(header("webhook-id")),
                "triggered_at": triggered_at(header("triggered-at"), now=now or datetime.now(UTC)),
                "event_id": _short(header("event-id")),
                "api_version": _short(header("api-version")),
            }
        )


def _short(value: str | None) -> str | None:
    return value if value and len(value) <= 255 and value.isprintable() else None


def triggered_at(value: str | None, *, now: datetime) -> datetime:
    """``X-Shopify-Triggered-At`` to the microsecond. Absent, malformed or in the future it is ``now``."""
    match = _TRIGGERED_AT.match(value or "")
    if match is None:
        return now
    seconds, fraction, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{seconds}.{(fraction or '0'):0<6}{offset}").astimezone(UTC)
    except (ValueError, OverflowError):
        return now
    return min(moment, now)
