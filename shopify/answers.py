"""What an HTTP answer of the GraphQL Admin API means: complete data, or the one error that says what to do.

Shopify reports most failures with HTTP 200, some of them beside partial data.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from shopify import version
from shopify.cost import Cost
from shopify.errors import (
    AccessDenied,
    QueryRefused,
    RateLimited429,
    ShopUnavailable,
    Throttled,
    Unauthorized,
)
from shopify.transport import Reply

#: Seconds to wait after a 429 that does not say for how long, and the longest that is believed.
DEFAULT_RETRY_AFTER = 2.0
MAX_RETRY_AFTER = 300.0
#: Seconds to wait when a THROTTLED answer does not tell the bucket.
DEFAULT_THROTTLE_WAIT = 2.0

_SCOPE = re.compile(r"\b(?:read|write)_[a-z_]+")
#: Statuses that say that the request itself is wrong.
_OUR_MISTAKES = frozenset({400, 405, 406, 411, 413, 414, 415, 422})
_UNAVAILABLE = frozenset({"INTERNAL_SERVER_ERROR", "SHOP_INACTIVE", "TIMEOUT", "SERVICE_UNAVAILABLE"})
_STATUS_TEXTS = {
    402: "the shop is frozen: its plan is not paid",
    404: "there is no such shop",
    423: "the shop is locked",
}
#: Characters of Shopify's own words that go into our errors.
_QUOTE = 300


@dataclass(frozen=True, slots=True)
class Answer:
    data: dict[str, Any]
    cost: Cost | None


def answer_of(reply: Reply, *, shop_domain: str) -> Answer:
    """The data of an answer, complete. Raises what ``Client`` promises."""
    version.check(reply.headers)
    if reply.status != 200:
        _raise_for_status(reply, shop_domain)
    answer = reply.json()
    if not isinstance(answer, dict):
        raise ShopUnavailable(f"{shop_domain} answered with something else than GraphQL")
    cost = Cost.of(answer)
    errors = answer.get("errors")
    if errors:
        _raise_for_errors(errors if isinstance(errors, list) else [errors], cost, shop_domain)
    _refuse_ignored_filters(answer)
    data = answer.get("data")
    if not isinstance(data, dict):
        raise ShopUnavailable(f"{shop_domain} answered without data")
    return Answer(data, cost)


def _raise_for_status(reply: Reply, shop_domain: str) -> NoReturn:
    status, words = reply.status, _words(reply.json_or_none())
    text = f"{shop_domain} answered HTTP {status}" + (f": {words}" if words else "")
    if status == 429:
        raise RateLimited429(text, wait_seconds=retry_after(reply.headers))
    if status == 401:
        raise Unauthorized(text)
    if status == 403:
        raise AccessDenied(text, scopes=_SCOPE.findall(words))
    if status in _OUR_MISTAKES:
        raise QueryRefused(text)
    if 300 <= status < 400:
        raise ShopUnavailable(f"{shop_domain} redirects elsewhere (HTTP {status}), which is not followed")
    raise ShopUnavailable(f"{text} ({_STATUS_TEXTS[status]})" if status in _STATUS_TEXTS else text)


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds of a ``Retry-After``, which Shopify writes as a decimal ("2.0")."""
    try:
        seconds = float(headers.get("Retry-After", ""))
    except ValueError:
        return DEFAULT_RETRY_AFTER
    return min(seconds, MAX_RETRY_AFTER) if math.isfinite(seconds) and seconds >= 0 else DEFAULT_RETRY_AFTER


def _words(answer: Any) -> str:
    """Shopify's own words in an error body, cut short."""
    words = answer.get("errors") if isinstance(answer, dict) else None
    return words[:_QUOTE] if isinstance(words, str) else ""


def _raise_for_errors(errors: Sequence[Any], cost: Cost | None, shop_domain: str) -> NoReturn:
    found = [_Error.of(error) for error in errors]
    codes = {error.code for error in found}
    text = f"{shop_domain}: " + "; ".join(error.text for error in found[:3])
    if "THROTTLED" in codes:
        raise Throttled(text, wait_seconds=_throttle_wait(cost), cost=cost)
    if codes & _UNAVAILABLE:
        raise ShopUnavailable(text)
    if codes == {"ACCESS_DENIED"}:
        raise AccessDenied(
            text,
            fields=sorted({error.path for error in found if error.path}),
            scopes=sorted({scope for error in found for scope in error.scopes}),
        )
    raise QueryRefused(text)


def _throttle_wait(cost: Cost | None) -> float:
    if cost is None:
        return DEFAULT_THROTTLE_WAIT
    return max(0.0, cost.requested - cost.available) / cost.restore_rate


@dataclass(frozen=True, slots=True)
class _Error:
    """One of ``errors``."""

    code: str
    message: str
    #: Dotted, such as ``orders.nodes.0.customer``; positions of a list are of no use and left out.
    path: str
    scopes: tuple[str, ...]

    @classmethod
    def of(cls, error: Any) -> "_Error":
        if not isinstance(error, dict):
            return cls("", str(error)[:_QUOTE], "", ())
        extensions = error.get("extensions")
        extensions = extensions if isinstance(extensions, dict) else {}
        message, path = str(error.get("message", ""))[:_QUOTE], error.get("path")
        required = f"{extensions.get('requiredAccess', '')} {message}"
        request = error.get("requestId") or extensions.get("requestId")
        return cls(
            code=str(extensions.get("code", "")),
            message=f"{message} (request {request})" if request else message,
            path=".".join(step for step in path if isinstance(step, str)) if isinstance(path, list) else "",
            scopes=tuple(_SCOPE.findall(required)),
        )

    @property
    def text(self) -> str:
        return " ".join(part for part in (self.code, self.message, self.path and f"at {self.path}") if part)


def _refuse_ignored_filters(answer: Mapping[str, Any]) -> None:
    """A filter that Shopify does not know is ignored and everything comes: only a warning tells."""
    extensions = answer.get("extensions")
    searches = extensions.get("search") if isinstance(extensions, dict) else None
    for search in searches if isinstance(searches, list) else ():
        warnings = search.get("warnings") if isinstance(search, dict) else None
        if warnings:
            raise QueryRefused(f"a filter was not applied as meant: {str(warnings)[:_QUOTE]}")
