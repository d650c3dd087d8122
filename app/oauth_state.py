"""The state of an installation under way: a secret that the browser keeps in a signed cookie, for one shop and ten minutes.

Only the browser that began comes back with it, so nobody can have another's browser finish an installation of theirs.
"""

import hashlib
import secrets

from flask import Response, after_this_request, request
from itsdangerous import BadSignature, URLSafeTimedSerializer

import settings
from app.auth import same
from shopify.install import LIFE

COOKIE = "shopstream_oauth"
#: Under which alone the browser sends it.
PATH = "/api/oauth"


def begin(response: Response, shop_domain: str, state: str) -> None:
    """Have the browser keep the state. What it kept of an installation before is over."""
    response.set_cookie(
        COOKIE,
        _serializer().dumps([shop_domain, state]),
        max_age=LIFE,
        path=PATH,
        httponly=True,
        samesite="Lax",
        secure=(settings.load().public_url or "").startswith("https:"),
    )


def new_state() -> str:
    return secrets.token_urlsafe(32)


def is_own(shop_domain: str, state: str) -> bool:
    """Whether this browser began an installation for the shop with this state. If so it is over with this answer."""
    try:
        kept = _serializer().loads(request.cookies.get(COOKIE, ""), max_age=LIFE)
    except BadSignature:  # or it is too old
        return False
    kept_shop, kept_state = kept
    if not (same(state, kept_state) and same(shop_domain, kept_shop)):
        return False

    @after_this_request
    def forget(response: Response) -> Response:
        response.delete_cookie(COOKIE, path=PATH)
        return response

    return True


def _serializer() -> URLSafeTimedSerializer:
    """Signed with the keys that encrypt; the last is the one that signs, the others are still believed."""
    keys = [key.get_secret_value() for key in reversed(settings.load().encryption_keys)]
    signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
    return URLSafeTimedSerializer(keys, salt="oauth-state", signer_kwargs=signing)
