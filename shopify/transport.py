"""One bounded HTTP exchange with a shop: no redirects, no endless answers, nothing secret in an error."""

import json
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import requests
import urllib3
from ratelimit import RateLimitException, limits

from settings import SHOP_DOMAIN
from shopify.errors import RunawayStop, ShopUnavailable

#: Seconds to connect, and seconds without a byte. Shopify gives up on a query after about 25.
TIMEOUT = (3.05, 27.0)
#: Seconds for a whole exchange, however steadily it trickles.
DEADLINE = 60.0
#: Bytes of one answer, unpacked. 250 orders of 50 lines are about 5 MB.
MAX_ANSWER = 32 * 1024 * 1024
#: Requests a second of this process. Its own budget keeps a shop far below; this stops a loop gone wild.
RUNAWAY_CALLS = 60
#: Shops whose connections a thread keeps open.
SESSIONS_PER_THREAD = 8

_CHUNK = 64 * 1024
_HEADER_VALUE = re.compile(r"[\x21-\x7e]+\Z")


@limits(calls=RUNAWAY_CALLS, period=1)  # type: ignore[untyped-decorator]
def _admit() -> None:
    """One more request of this process."""


class _Sessions(threading.local):
    """This thread's sessions, the least recently used of which goes first."""

    def __init__(self) -> None:
        self.by_shop: OrderedDict[str, requests.Session] = OrderedDict()


_sessions = _Sessions()


def _forget_sessions() -> None:
    """A forked child must not share the connections of the thread that forked it."""
    _sessions.by_shop.clear()


os.register_at_fork(after_in_child=_forget_sessions)


def _session(address: str) -> requests.Session:
    session = _sessions.by_shop.pop(address, None)
    if session is None:
        session = requests.Session()
        session.auth = _no_netrc
        while len(_sessions.by_shop) >= SESSIONS_PER_THREAD:
            _sessions.by_shop.popitem(last=False)[1].close()
    _sessions.by_shop[address] = session
    return session


def _no_netrc(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Credentials are ours to give: without this, requests takes some from a ``.netrc``."""
    return request


def shop_address(shop_domain: str, origin: str | None) -> str:
    """The address before ``/admin``. Raises ValueError for what is not a shop's domain."""
    if not SHOP_DOMAIN.match(shop_domain):
        raise ValueError("not a shop's domain such as my-store.myshopify.com")
    return f"https://{shop_domain}" if origin is None else f"{origin.rstrip('/')}/{shop_domain}"


def checked_token(token: str) -> str:
    """A token that may stand in a header. The error of one that may not does not show it."""
    if not _HEADER_VALUE.match(token):
        raise ValueError("the access token is not one: it is empty or holds spaces or control characters")
    return token


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's JSON, decimals exact. Raises ShopUnavailable when it is none: an error page, an answer cut off."""
        try:
            return json.loads(self.body.decode("utf-8"), parse_float=exact, parse_constant=exact)
        except (ValueError, RecursionError):
            pass
        raise ShopUnavailable(f"HTTP {self.status}, and the body is not JSON: an error page, or an answer cut off")

    def json_or_none(self) -> Any:
        try:
            return self.json()
        except ShopUnavailable:
            return None


def exact(text: str) -> Decimal:
    """A JSON number as Decimal. What no Decimal can hold becomes NaN, which no amount may be."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


def post(
    url: str,
    *,
    address: str,
    payload: Mapping[str, Any],
    headers: Mapping[str, str],
    timeout: tuple[float, float] = TIMEOUT,
    deadline: float = DEADLINE,
) -> Reply:
    """POST ``payload`` as JSON on the session of the shop at ``address``.

    Raises RunawayStop, and ShopUnavailable when there is no complete answer of at most 32 MiB by the deadline
    (seconds). A status is no error here.
    """
    try:
        _admit()
    except RateLimitException as stop:
        raise RunawayStop(max(0.05, float(stop.period_remaining))) from None
    ends = time.monotonic() + deadline
    # Raised outside the except blocks: a requests exception refers to the request, and so to the token.
    try:
        with _session(address).post(
            url, json=payload, headers=dict(headers), timeout=timeout, stream=True, allow_redirects=False
        ) as response:
            body = _read(response, ends)
            if body is not None:
                return Reply(response.status_code, response.headers, body)
            failure = "the answer was too large or too slow"
    except (requests.Timeout, urllib3.exceptions.TimeoutError):
        failure = "no answer in time"
    except (requests.ConnectionError, urllib3.exceptions.ProtocolError):
        failure = "no connection, or one cut off"
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        failure = f"no answer ({type(error).__name__})"
    raise ShopUnavailable(failure)


def _read(response: requests.Response, ends: float) -> bytes | None:
    """The body, unpacked; None when it is over the bound or the time."""
    body = bytearray()
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > MAX_ANSWER or time.monotonic() > ends:
            return None
    return bytes(body)
