"""Shopify's token endpoint: the four grants by which an app gets an access token for a shop, and refreshes it.

Source: Shopify's "About app authentication": authorization code, token exchange, refresh of expiring offline tokens, and
client credentials (an app and shops of one organization).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NotRequired

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from shopify import transport
from shopify.answers import retry_after
from shopify.errors import InvalidClient, RateLimited429, ShopUnavailable, Unauthorized
from shopify.scalars import Text

#: Seconds to connect and without a byte, and for a whole exchange: a token comes at once, or something is wrong.
TIMEOUT = (3.05, 10.0)
DEADLINE = 20.0

_TOKEN_EXCHANGE = {
    "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
    "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
    "requested_token_type": "urn:shopify:params:oauth:token-type:offline-access-token",
}
#: Asks for a token of an hour that can be refreshed, as Shopify wants it of public apps.
_EXPIRING = {"expiring": 1}
_INVALID_CLIENT = "invalid_client"


@dataclass(frozen=True, slots=True)
class App:
    """An app as Shopify knows it. While its secret is rotated there are several, newest first.

    A token is pinned to the secret that minted it, so each is tried until one is accepted.
    """

    client_id: str
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class AccessToken:
    token: str = field(repr=False)
    #: UTC, by our clock, reckoned from before it was asked for. None: it does not expire.
    expires_at: datetime | None
    scopes: frozenset[str]
    #: What gets the next one. It has been replaced by the time that its successor is used, not before.
    refresh_token: str | None = field(default=None, repr=False)
    refresh_token_expires_at: datetime | None = None


_Credential = Annotated[str, StringConstraints(strict=True, pattern=r"^[\x21-\x7e]+$", max_length=4096)]
_Seconds = Annotated[int, Field(strict=True, gt=0, le=10 * 366 * 86400)]


class _Grant(TypedDict):
    access_token: _Credential
    scope: NotRequired[Text]
    expires_in: NotRequired[_Seconds | None]
    refresh_token: NotRequired[_Credential | None]
    refresh_token_expires_in: NotRequired[_Seconds | None]


_GRANT: TypeAdapter[Any] = TypeAdapter(_Grant)


# Each of these raises Unauthorized when the shop refuses what it is given (InvalidClient: us ourselves), RateLimited429,
# ShopUnavailable and RunawayStop. After ShopUnavailable the grant may have been made and its answer lost.


def client_credentials_token(shop_domain: str, app: App, *, origin: str | None = None) -> AccessToken:
    """A token by the client credentials grant, good for a day. It cannot be refreshed, only asked for anew."""
    return _granted(shop_domain, app, {"grant_type": "client_credentials"}, origin=origin)


def authorization_code_token(shop_domain: str, app: App, code: str, *, origin: str | None = None) -> AccessToken:
    """A token for the code of an authorization callback, which is good once."""
    return _granted(shop_domain, app, {"code": code, **_EXPIRING}, origin=origin)


def session_token_exchange(shop_domain: str, app: App, session_token: str, *, origin: str | None = None) -> AccessToken:
    """A token for the session token of an embedded app's page, which must have been verified."""
    return _granted(shop_domain, app, {**_TOKEN_EXCHANGE, "subject_token": session_token, **_EXPIRING}, origin=origin)


def refreshed_token(shop_domain: str, app: App, refresh_token: str, *, origin: str | None = None) -> AccessToken:
    """The next token and refresh token: a pair to be stored in one step.

    The one given works until its replacement is used, so an answer that was lost can be asked for again.
    """
    return _granted(shop_domain, app, {"grant_type": "refresh_token", "refresh_token": refresh_token}, origin=origin)


def _granted(shop_domain: str, app: App, asked: Mapping[str, Any], *, origin: str | None) -> AccessToken:
    refusal: Unauthorized | None = None
    for secret in app.secrets:
        try:
            return _ask(shop_domain, {"client_id": app.client_id, "client_secret": secret, **asked}, origin)
        except Unauthorized as error:
            # What is refused with a secret that is good tells more than that another one is not.
            if refusal is None or isinstance(refusal, InvalidClient):
                refusal = error
    if refusal is None:
        raise InvalidClient("the app has no client secret")
    raise refusal


def _ask(shop_domain: str, payload: Mapping[str, Any], origin: str | None) -> AccessToken:
    address = transport.shop_address(shop_domain, origin)
    asked_at = datetime.now(UTC)
    reply = transport.post(
        f"{address}/admin/oauth/access_token",
        address=address,
        payload=payload,
        headers={"Accept": "application/json"},
        timeout=TIMEOUT,
        deadline=DEADLINE,
    )
    if reply.status == 429:
        raise RateLimited429(f"{shop_domain} answered HTTP 429", wait_seconds=retry_after(reply.headers))
    code = _error_code(reply)
    if reply.status == 401 or (reply.status in {400, 403} and code):
        raise _refusal(reply.status, code, shop_domain, payload)
    if reply.status != 200:
        raise ShopUnavailable(f"{shop_domain} answered HTTP {reply.status} when asked for a token")
    try:
        grant = _GRANT.validate_python(reply.json())
    except ValidationError:
        grant = None
    if grant is None:
        raise ShopUnavailable(f"{shop_domain} answered with something else than a token")
    return AccessToken(
        token=grant["access_token"],
        expires_at=_end(asked_at, grant.get("expires_in")),
        scopes=frozenset(scope for part in grant.get("scope", "").split(",") if (scope := part.strip())),
        refresh_token=grant.get("refresh_token"),
        refresh_token_expires_at=_end(asked_at, grant.get("refresh_token_expires_in")),
    )


def _end(start: datetime, seconds: int | None) -> datetime | None:
    return None if seconds is None else start + timedelta(seconds=seconds)


def _error_code(reply: transport.Reply) -> str | None:
    """OAuth's word for what is wrong, such as ``invalid_client``. Without one a refusal may be some gateway's."""
    answer = reply.json_or_none()
    code = answer.get("error") if isinstance(answer, dict) else None
    return code if isinstance(code, str) and code.isidentifier() and len(code) < 50 else None


def _refusal(status: int, code: str | None, shop_domain: str, payload: Mapping[str, Any]) -> Unauthorized:
    """Nothing of the answer but its code: it may repeat what was sent."""
    what = {"refresh_token": "refresh token", "client_credentials": "client credentials"}.get(
        payload.get("grant_type", "code"), "code" if "code" in payload else "session token"
    )
    kind = InvalidClient if code == _INVALID_CLIENT else Unauthorized
    return kind(f"{shop_domain} refuses the {what} (HTTP {status}{f', {code}' if code else ''})")
