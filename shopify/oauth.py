"""Access tokens from Shopify's OAuth endpoint: the client credentials grant, for an app and shops of one organization."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NotRequired

from pydantic import Field, StringConstraints, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from shopify import transport
from shopify.answers import retry_after
from shopify.errors import RateLimited429, ShopUnavailable, Unauthorized
from shopify.scalars import Text

#: Seconds of a token's life that are not counted on: it is renewed before it dies under a request.
MARGIN = 60


@dataclass(frozen=True, slots=True)
class AccessToken:
    token: str = field(repr=False)
    #: UTC. None: it does not expire.
    expires_at: datetime | None
    scopes: frozenset[str]


class _Grant(TypedDict):
    access_token: Annotated[str, StringConstraints(strict=True, pattern=r"^[\x21-\x7e]+$", max_length=4096)]
    scope: NotRequired[Text]
    expires_in: NotRequired[Annotated[int, Field(strict=True, gt=0, le=10 * 366 * 86400)] | None]


_GRANT: TypeAdapter[Any] = TypeAdapter(_Grant)


def client_credentials_token(
    shop_domain: str, client_id: str, client_secret: str, *, origin: str | None = None
) -> AccessToken:
    """A token by the client credentials grant, good for a day.

    Raises Unauthorized when the shop refuses the credentials, RateLimited429, ShopUnavailable and RunawayStop.
    """
    address = transport.shop_address(shop_domain, origin)
    asked_at = datetime.now(UTC)
    reply = transport.post(
        f"{address}/admin/oauth/access_token",
        address=address,
        payload={"client_id": client_id, "client_secret": client_secret, "grant_type": "client_credentials"},
        headers={"Accept": "application/json"},
    )
    if reply.status == 429:
        raise RateLimited429(f"{shop_domain} answered HTTP 429", wait_seconds=retry_after(reply.headers))
    if reply.status in {400, 401, 403}:
        raise Unauthorized(f"{shop_domain} refuses the client credentials (HTTP {reply.status}{_code(reply)})")
    if reply.status != 200:
        raise ShopUnavailable(f"{shop_domain} answered HTTP {reply.status} to the client credentials")
    try:
        grant = _GRANT.validate_python(reply.json())
    except ValidationError:
        grant = None
    if grant is None:
        raise ShopUnavailable(f"{shop_domain} answered the client credentials with something else than a token")
    life = grant.get("expires_in")
    return AccessToken(
        token=grant["access_token"],
        expires_at=None if life is None else asked_at + timedelta(seconds=max(0, life - MARGIN)),
        scopes=frozenset(scope for part in grant.get("scope", "").split(",") if (scope := part.strip())),
    )


def _code(reply: transport.Reply) -> str:
    """OAuth's error code, such as ``invalid_client``; nothing else of the answer, which may repeat what was sent."""
    answer = reply.json_or_none()
    code = answer.get("error") if isinstance(answer, dict) else None
    return f", {code}" if isinstance(code, str) and code.isidentifier() and len(code) < 50 else ""
