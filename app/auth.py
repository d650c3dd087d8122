"""Who asks: the administrator (Basic) or a shop (Bearer), and which shop a question is about."""

import functools
import hashlib
import hmac
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar, cast

from flask import g, request
from flask_httpauth import HTTPBasicAuth, HTTPTokenAuth, MultiAuth

import settings
from app import schemas
from app.failed_sign_ins import FailedSignIns
from app.problems import Refusal
from models import tenants
from models.database import transaction
from models.tenants import API_TOKEN_PREFIX, Tenant

#: OpenAPI's security schemes, and the two ways in which operations use them.
SECURITY_SCHEMES: dict[str, Any] = {
    "administrator": {"type": "http", "scheme": "basic"},
    "shop": {"type": "http", "scheme": "bearer", "description": "A tenant's API token."},
    "sessionToken": {
        "type": "http",
        "scheme": "bearer",
        "description": "What Shopify's App Bridge gives to the page of an embedded app.",
    },
    "metrics": {"type": "http", "scheme": "bearer", "description": "METRICS_TOKEN."},
}
FOR_ADMINISTRATOR: list[dict[str, list[Any]]] = [{"administrator": []}]
FOR_ANYONE_KNOWN: list[dict[str, list[Any]]] = [{"administrator": []}, {"shop": []}]


R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Administrator:
    username: str


class _Basic(HTTPBasicAuth):  # type: ignore[misc]  # untyped
    def is_compatible_auth(self, headers: Any) -> bool:  # noqa: ARG002
        return _scheme() == "basic"  # in any case of letters, RFC 9110


class _Bearer(HTTPTokenAuth):  # type: ignore[misc]  # untyped
    def is_compatible_auth(self, headers: Any) -> bool:  # noqa: ARG002
        return _scheme() == "bearer"


_basic, _bearer = _Basic(), _Bearer()
_either = MultiAuth(_bearer, _basic)
_failures = FailedSignIns()


def _scheme() -> str | None:
    return request.authorization.type if request.authorization else None


def _verify_password(username: str, password: str) -> Administrator | None:
    address = request.remote_addr or ""
    wait = _failures.seconds_to_wait(address)
    if wait > 0:
        headers = {"Retry-After": str(math.ceil(wait))}
        raise Refusal(429, "too many failed sign-ins; please wait", headers=headers)
    configured = settings.load()
    # Both are always compared, in constant time.
    is_name = same(username, configured.admin_username)
    is_password = same(password, configured.admin_password.get_secret_value())
    if is_name and is_password:
        return Administrator(username)
    if username or password:
        _failures.record(address)
    return None


def _verify_token(token: str) -> Tenant | None:
    # Nobody can guess one, so failures need no limit; but only what could be a token is worth asking Postgres.
    if not token.startswith(API_TOKEN_PREFIX) or len(token) > 100:
        return None
    with transaction() as session:
        return tenants.of_api_token(session, token)


def _role(user: Administrator | Tenant) -> str:
    return "administrator" if isinstance(user, Administrator) else "shop"


def _refuse(status: int) -> NoReturn:
    if status == 403:
        raise Refusal(403, "this is for the administrator alone")
    raise Refusal(401, "sign in with a valid password or API token", headers={"WWW-Authenticate": _challenge()})


def _challenge() -> str:
    """How to sign in. A page's own requests are not told of Basic: the browser would put up a dialog of its own."""
    is_fetch = request.headers.get("Sec-Fetch-Mode", "navigate") != "navigate"
    return 'Bearer realm="Shopstream"' if is_fetch else 'Basic realm="Shopstream", charset="UTF-8"'


_basic.verify_password(_verify_password)
_bearer.verify_token(_verify_token)
for _auth in (_basic, _bearer):
    _auth.get_user_roles(_role)
    _auth.error_handler(_refuse)


def same(given: str, expected: str) -> bool:
    """Whether two texts are equal, in a time that tells neither where they differ nor how long they are."""
    return hmac.compare_digest(
        *(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (given, expected))
    )


#: Before each request of a blueprint for the administrator, or for both. Raise Refusal 401, 403 or 429.
require_administrator = cast("Callable[[], None]", _either.login_required(role="administrator")(lambda: None))
require_sign_in = cast("Callable[[], None]", _either.login_required(lambda: None))


def of_shop(view: Callable[..., R]) -> Callable[..., R]:
    """Calls the view with the ``tenant`` that the request is about."""

    @functools.wraps(view)
    def with_tenant(**kwargs: Any) -> R:
        return view(tenant=_shop(), **kwargs)

    return with_tenant


def _shop() -> Tenant:
    user: Administrator | Tenant = g.flask_httpauth_user
    named = request.args.get("shop")
    domain = _domain(named) if named else None
    if isinstance(user, Tenant):
        if named and domain != user.shop_domain:
            raise Refusal(403, "this token is another shop's")
        return user
    if not named:
        raise Refusal(400, "shop: name the shop with ?shop=<its domain>")
    with transaction() as session:
        tenant = tenants.of_domain(session, domain) if domain else None
    if tenant is None:
        raise Refusal(404, "there is no such shop")
    return tenant


def _domain(named: str) -> str | None:
    try:
        return schemas.shop_domain(named)
    except ValueError:
        return None
