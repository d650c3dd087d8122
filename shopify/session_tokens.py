"""Session tokens: what the page of an embedded app is given by Shopify to say whose shop it runs in. They live for a minute.

Source: Shopify's "Session tokens": a JWT (RFC 7519) signed with HMAC-SHA256 and one of the app's secrets.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from shopify.install import shop_domain
from shopify.oauth import App

#: Seconds by which Shopify's clock and ours may differ.
LEEWAY = 10
#: Characters: the true one has some five hundred.
MAX_LENGTH = 4096


class SessionTokenRefused(Exception):
    """It is none of Shopify's for our app, or it has ended. The reason repeats nothing of it."""


def shop_of(token: str, app: App, *, at: datetime) -> str:
    """The domain of the shop that a session token was issued for. Raises SessionTokenRefused."""
    claims = _claims(token, app.secrets)
    if not _number(claims, "nbf") - LEEWAY <= at.timestamp() < _number(claims, "exp") + LEEWAY:
        raise SessionTokenRefused("the session token has ended, or has not begun")
    if claims.get("aud") != app.client_id:
        raise SessionTokenRefused("the session token is for another app")
    destination = claims.get("dest")
    domain = shop_domain(destination.removeprefix("https://")) if isinstance(destination, str) else None
    if domain is None or destination != f"https://{domain}" or claims.get("iss") != f"https://{domain}/admin":
        raise SessionTokenRefused("the session token's shop cannot be told")
    return domain


def _claims(token: str, secrets: Iterable[str]) -> dict[str, Any]:
    """What a token says that one of ``secrets`` signed; nothing of it is believed before."""
    parts = token.split(".")
    if len(token) > MAX_LENGTH or len(parts) != 3 or not token.isascii():
        raise SessionTokenRefused("that is not a session token")
    signed = f"{parts[0]}.{parts[1]}".encode()
    matches = 0
    for secret in secrets:
        digest = base64.urlsafe_b64encode(hmac.digest(secret.encode(), signed, hashlib.sha256)).rstrip(b"=")
        matches += hmac.compare_digest(digest, parts[2].encode()) and bool(secret)
    # The algorithm is ours to say, not the token's: one that names another, or none, is not Shopify's.
    if not matches or _decoded(parts[0]).get("alg") != "HS256":
        raise SessionTokenRefused("the session token was not signed with the app's secret")
    return _decoded(parts[1])


def _decoded(part: str) -> dict[str, Any]:
    try:
        value = json.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise SessionTokenRefused("that is not a session token")
    return value


def _number(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if type(value) not in {int, float}:
        raise SessionTokenRefused("the session token does not say when it is good")
    return cast("float", value)
