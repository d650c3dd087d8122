"""Shopify's OAuth side: the page that asks for consent, and the endpoint that hands out and refreshes tokens.

The merchant consents at once. Refresh tokens rotate as the platform's do: a new pair with every use, the access token before
is dead, and a refresh token works until its replacement is used.
"""

import base64
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from . import clock
from .market import Market
from .shop import Shop

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105
ID_TOKEN = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105
OFFLINE = "urn:shopify:params:oauth:token-type:offline-access-token"
DAY_TOKEN, HOUR_TOKEN = 86_399, 3600
REFRESH_TOKEN = 90 * 86_400
#: Seconds in which a code has to be exchanged.
CODE = 60

Given = dict[str, Any]


class OAuthError(Exception):
    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error}


@dataclass(frozen=True)
class Code:
    shop_domain: str
    scopes: tuple[str, ...]
    #: Seconds since 1970.
    expires_at: float


def parameters(headers: Any, body: bytes) -> Given:
    """What was sent, as JSON or as a form. Nothing when it is neither."""
    try:
        given = json.loads(body) if "json" in (headers.get("Content-Type") or "") else dict(parse_qsl(body.decode()))
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


class OAuth:
    """``asked`` counts the requests by shop and grant, the refused ones too."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._lock = threading.Lock()
        self._codes: dict[str, Code] = {}
        self.asked: dict[str, Counter[str]] = {}

    # --- consent -----------------------------------------------------------------------------------------------------

    def authorize(self, shop: Shop, query: dict[str, str]) -> str:
        """Where the merchant's browser goes next: back to the app, with a code. Raises OAuthError."""
        if query.get("client_id") != shop.settings.client_id or not query.get("redirect_uri"):
            raise OAuthError(400, "invalid_request")
        asked = {scope.strip() for scope in query.get("scope", "").split(",")}
        code = secrets.token_hex(16)
        with self._lock:
            granted = tuple(scope for scope in shop.settings.scopes if scope in asked)
            self._codes[code] = Code(shop.domain, granted, time.time() + CODE)
        sent = {
            "code": code,
            "host": base64.b64encode(f"admin.shopify.com/store/{shop.domain.partition('.')[0]}".encode()).decode(),
            "shop": shop.domain,
            "state": query.get("state", ""),
            "timestamp": str(int(time.time())),
        }
        # The oldest secret signs until it is revoked.
        signed = signature(sent, shop.settings.client_secrets[-1])
        return f"{query['redirect_uri']}?{urlencode({**sent, 'hmac': signed})}"

    # --- tokens ------------------------------------------------------------------------------------------------------

    def grant(self, shop: Shop, given: Given) -> Any:
        """The answer to a request for a token. Raises OAuthError."""
        kind = str(given.get("grant_type") or ("authorization_code" if "code" in given else ""))
        grants: dict[str, Callable[[Shop, Given], Any]] = {
            "client_credentials": self._client_credentials,
            "authorization_code": self._authorization_code,
            "refresh_token": self._refresh,
            TOKEN_EXCHANGE: self._exchange,
        }
        with self._lock:
            self.asked.setdefault(shop.domain, Counter())["token_exchange" if kind == TOKEN_EXCHANGE else kind] += 1
            if kind not in grants:
                raise OAuthError(400, "invalid_request")
            known = (given.get("client_id"), given.get("client_secret"))
            if known not in {(shop.settings.client_id, secret) for secret in shop.settings.client_secrets}:
                raise OAuthError(400, "invalid_client")
            return grants[kind](shop, given)

    def count_question(self, shop: Shop, *, is_refused: bool) -> None:
        """A request to the Admin API."""
        with self._lock:
            asked = self.asked.setdefault(shop.domain, Counter())
            asked["refused" if is_refused else "admin"] += 1

    def _client_credentials(self, shop: Shop, _: Given) -> Any:
        token = self._market.token_for(shop, seconds=DAY_TOKEN)
        return {"access_token": token, "scope": ",".join(shop.settings.scopes), "expires_in": DAY_TOKEN}

    def _authorization_code(self, shop: Shop, given: Given) -> Any:
        code = self._codes.pop(str(given["code"]), None)
        if code is None or code.shop_domain != shop.domain or code.expires_at < time.time():
            raise OAuthError(400, "invalid_request")
        return self._offline(shop, given, ",".join(code.scopes))

    def _exchange(self, shop: Shop, given: Given) -> Any:
        is_asked_well = (given.get("subject_token_type"), given.get("requested_token_type")) == (ID_TOKEN, OFFLINE)
        if not is_asked_well or not self._is_session_token(shop, str(given.get("subject_token"))):
            raise OAuthError(400, "invalid_subject_token")
        return self._offline(shop, given, ",".join(shop.settings.scopes))

    def _is_session_token(self, shop: Shop, token: str) -> bool:
        claims = claims_of(token, shop.settings.client_secrets)
        return (
            claims is not None
            and claims.get("dest") == f"https://{shop.domain}"
            and claims.get("aud") == shop.settings.client_id
            and claims.get("exp", 0) > time.time()
        )

    def _offline(self, shop: Shop, given: Given, scope: str) -> Any:
        if not given.get("expiring"):
            return {"access_token": self._market.replace_token(shop), "scope": scope}
        return self._pair(shop, given, scope, replaces=None)

    def _refresh(self, shop: Shop, given: Given) -> Any:
        token = str(given.get("refresh_token"))
        held = shop.settings.refresh_tokens.get(token)
        if held is None or held["expiresAt"] < clock.now() or held["secret"] != given["client_secret"]:
            raise OAuthError(401, "invalid_request")
        return self._pair(shop, given, held["scope"], replaces=token)

    def _pair(self, shop: Shop, given: Given, scope: str, *, replaces: str | None) -> Any:
        """A new access token and its refresh token, in place of all but the refresh token that they were got with."""
        settings, refresh_token = shop.settings, f"shprt_{secrets.token_hex(16)}"
        for each in settings.refresh_tokens.values():
            settings.tokens.pop(each["access"], None)
        settings.refresh_tokens = {name: each for name, each in settings.refresh_tokens.items() if name == replaces}
        access_token = self._market.token_for(shop, seconds=HOUR_TOKEN)
        settings.refresh_tokens[refresh_token] = {
            "access": access_token,
            "expiresAt": clock.now() + REFRESH_TOKEN * clock.SECOND,
            "secret": given["client_secret"],
            "scope": scope,
        }
        self._market.save()
        return {
            "access_token": access_token,
            "scope": scope,
            "expires_in": HOUR_TOKEN,
            "refresh_token": refresh_token,
            "refresh_token_expires_in": REFRESH_TOKEN,
        }


def signature(sent: dict[str, str], secret: str) -> str:
    """Of a callback's query: sorted, as a form, hexadecimal."""
    return hmac.new(secret.encode(), urlencode(sorted(sent.items())).encode(), hashlib.sha256).hexdigest()


def session_token(shop: Shop, **changed: Any) -> str:
    """What App Bridge gives to the page of an embedded app, good for a minute."""
    now = int(time.time())
    claims = {
        "iss": f"https://{shop.domain}/admin",
        "dest": f"https://{shop.domain}",
        "aud": shop.settings.client_id,
        "sub": "42",
        "exp": now + 60,
        "nbf": now,
        "iat": now,
        "jti": secrets.token_hex(8),
        "sid": secrets.token_hex(8),
        **changed,
    }
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_encoded(hmac.digest(shop.settings.client_secrets[-1].encode(), signed.encode(), 'sha256'))}"


def claims_of(token: str, known: list[str]) -> dict[str, Any] | None:
    """What a session token says; None when none of the secrets signed it."""
    signed, _, signature = token.rpartition(".")
    if signature not in {_encoded(hmac.digest(secret.encode(), signed.encode(), "sha256")) for secret in known}:
        return None
    payload = signed.partition(".")[2]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims if isinstance(claims, dict) else None


def _part(value: dict[str, Any]) -> str:
    return _encoded(json.dumps(value).encode())


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
