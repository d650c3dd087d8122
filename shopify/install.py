"""Installing our app in a shop: the address of Shopify's page of consent, and the signed way back from it.

Source: Shopify's "Authorization code grant".
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import parse_qsl, quote_plus, urlencode

from shopify import transport

#: Seconds for which the way back is open.
LIFE = 600

#: Shopify's own rule for a shop's name, which it writes in any case of letters.
_SHOP = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9\-]*\.myshopify\.com\Z")
_HMAC = re.compile(r"[0-9a-f]{64}\Z")
_CODE = re.compile(r"[\x21-\x7e]{1,1000}\Z")
_TIMESTAMP = re.compile(r"[0-9]{1,12}\Z")
_NEEDED = ("code", "hmac", "shop", "state", "timestamp")
#: Bytes and parameters: the true one has six, in some three hundred bytes.
_MAX_QUERY, _MAX_PARAMETERS = 4096, 30

Pairs = Sequence[tuple[str, str]]


class CallbackRefused(Exception):
    """A callback is not what Shopify would send. The reason repeats nothing of it."""


class BadSignature(CallbackRefused):
    """None of our secrets signed it."""

    def __init__(self) -> None:
        super().__init__("hmac: the address was not signed with the app's secret")


@dataclass(frozen=True, slots=True)
class Callback:
    shop_domain: str
    code: str = field(repr=False)
    state: str = field(repr=False)


def shop_domain(name: str) -> str | None:
    """The domain of a shop as we keep it, of exactly what Shopify calls a shop's name; else None."""
    return name.lower() if len(name) <= 255 and _SHOP.match(name) else None


def authorize_url(
    shop: str, *, client_id: str, scopes: Sequence[str], redirect_uri: str, state: str, origin: str | None = None
) -> str:
    """Shopify's page that asks the merchant for consent, and sends the browser to ``redirect_uri`` then."""
    query = {"client_id": client_id, "scope": ",".join(scopes), "redirect_uri": redirect_uri, "state": state}
    return f"{transport.shop_address(shop, origin)}/admin/oauth/authorize?{urlencode(query)}"


def read_callback(query: bytes, secrets: Iterable[str], *, at: datetime) -> Callback:
    """A callback's query string, as it came, verified but for its state. Raises CallbackRefused."""
    pairs = _pairs(query)
    given = dict(pairs)
    missing = [name for name in _NEEDED if not given.get(name)]
    if missing:
        raise CallbackRefused(f"missing: {', '.join(missing)}")
    if not is_signed(pairs, secrets):
        raise BadSignature
    if not _TIMESTAMP.match(given["timestamp"]) or abs(at.timestamp() - int(given["timestamp"])) > LIFE:
        raise CallbackRefused("timestamp: it is too old; please begin again")
    shop = shop_domain(given["shop"])
    if shop is None:
        raise CallbackRefused("shop: it is not a shop's domain such as my-store.myshopify.com")
    if not _CODE.match(given["code"]):
        raise CallbackRefused("code: it is not one")
    return Callback(shop_domain=shop, code=given["code"], state=given["state"])


def _pairs(query: bytes) -> Pairs:
    """Every parameter, each once: of two, whoever checks might look at one and whoever acts at the other."""
    if len(query) > _MAX_QUERY:
        raise CallbackRefused("the query is too long")
    try:
        text = query.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except ValueError:
        raise CallbackRefused("the query cannot be read") from None
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise CallbackRefused("a parameter stands twice in the query")
    return pairs


def is_signed(pairs: Pairs, secrets: Iterable[str]) -> bool:
    """Whether one of ``secrets`` signed the parameters: all but ``hmac``, sorted, as a form. Each in constant time."""
    given = dict(pairs).get("hmac", "")
    message = "&".join(f"{_form(name)}={_form(value)}" for name, value in sorted(pairs) if name != "hmac").encode()
    matches = 0
    for secret in secrets:
        digest = hmac.digest(secret.encode(), message, hashlib.sha256).hex()
        # An empty secret is one that everybody knows.
        matches += hmac.compare_digest(digest, given if _HMAC.match(given) else "") and bool(secret)
    return matches > 0


def _form(text: str) -> str:
    """As forms are encoded (WHATWG): Python's own encoding treats two characters otherwise."""
    return quote_plus(text, safe="*").replace("~", "%7E")
