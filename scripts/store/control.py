"""The control endpoints: what the store holds, and what shall happen to it. README.md lists them."""

import re
from collections.abc import Callable
from typing import Any

from . import truth
from .market import Market
from .shop import Shop

Query = dict[str, str]
Body = dict[str, Any]
Route = Callable[[re.Match[str], Query, Body], Any]


class ControlError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Control:
    def __init__(self, market: Market) -> None:
        self.market = market
        self._routes: list[tuple[str, re.Pattern[str], Route]] = []
        for method, pattern, route in self._table():
            self._routes.append((method, re.compile(pattern.replace("{shop}", r"(?P<shop>[^/]+)") + r"\Z"), route))

    def _table(self) -> list[tuple[str, str, Route]]:
        return [
            ("GET", "/control/health", lambda *_: {"status": "ok"}),
            ("GET", "/control/shops", lambda *_: [describe(shop) for shop in self.market]),
            ("GET", "/control/shops/{shop}", self._show),
            ("PATCH", "/control/shops/{shop}", self._change),
        ]

    def answer(self, method: str, path: str, query: Query, body: Body) -> Any:
        """The JSON of the answer. Raises ControlError, or ValueError, KeyError and TypeError for a bad request."""
        allowed = False
        for verb, pattern, route in self._routes:
            match = pattern.match(path)
            if match and verb == method:
                return route(match, query, body)
            allowed = allowed or bool(match)
        raise ControlError(405 if allowed else 404, f"no {method} {path}")

    def _shop(self, match: re.Match[str]) -> Shop:
        shop = self.market.get(match["shop"])
        if shop is None:
            raise ControlError(404, f"no shop {match['shop']}")
        return shop

    def _show(self, match: re.Match[str], query: Query, _: Body) -> Any:
        shop = self._shop(match)
        answer = {**describe(shop), **truth.truth(shop)}
        answer["topCustomers"] = truth.top_customers(shop, int(query.get("topcustomers", "5")))
        if "ids" in query:
            answer["ids"] = truth.digest(shop, query["ids"])
        return answer

    def _change(self, match: re.Match[str], _: Query, body: Body) -> Any:
        shop = self._shop(match)
        if "faults" in body:
            shop.faults.configure(body["faults"])
        if "plan" in body:
            shop.set_plan(body["plan"])
            self.market.save()
        return describe(shop)


def describe(shop: Shop) -> dict[str, Any]:
    settings = shop.settings
    return {
        "shopDomain": shop.domain,
        "name": settings.name,
        "accessToken": settings.access_token,
        "webhookSecret": settings.webhook_secret,
        "clientId": settings.client_id,
        "clientSecret": settings.client_secret,
        "scopes": settings.scopes,
        "plan": settings.plan,
        "currency": settings.currency,
        "presentmentCurrency": settings.presentment_currency,
        "timezone": settings.timezone,
        "isLive": settings.is_live,
        "faults": shop.faults.describe(),
    }
