"""One execution of a query: whose shop, with which variables, and what came up on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphql.execution.values import VariableValues

from .actions import Actions
from .answers import access_denied
from .cost import Tally

if TYPE_CHECKING:
    from .outbox import Outbox
    from .shop import Shop


class Run:
    __slots__ = (
        "arguments",
        "denied",
        "errors",
        "origin",
        "outbox",
        "searches",
        "shop",
        "tally",
        "values",
        "variables",
    )

    def __init__(self, shop: Shop, outbox: Outbox, variables: VariableValues, *, origin: str = "") -> None:
        self.shop = shop
        self.outbox = outbox
        #: Where this store is reached, for the links in answers.
        self.origin = origin
        #: What graphql-core makes of the request's variables, and the plain dict of it.
        self.variables = variables
        self.values: dict[str, Any] = variables.coerced
        self.errors: list[dict[str, Any]] = []
        self.searches: list[dict[str, Any]] = []
        self.tally: Tally = {}
        #: Arguments that hold variables, worked out once a place.
        self.arguments: dict[int, dict[str, Any]] = {}
        self.denied: set[tuple[str, ...]] = set()

    def actions(self) -> Actions:
        """What mutations do, with the webhooks that it sends."""
        return Actions(self.shop, self.outbox)

    def count(self, place: int, came: int) -> None:
        tally = self.tally.get(place)
        if tally is None:
            self.tally[place] = [1, came]
        else:
            tally[0] += 1
            tally[1] += came

    def allows(self, scope: str, path: tuple[str, ...]) -> bool:
        """Whether the token may read this; if not, an ACCESS_DENIED error stands in the answer, once a place."""
        if self.shop.allows(scope):
            return True
        if path not in self.denied:
            self.denied.add(path)
            self.errors.append(access_denied(path[-1], scope, path))
        return False

    def warn_search(self, path: tuple[str, ...], query: str, warnings: list[dict[str, str]]) -> None:
        if warnings:
            self.searches.append({"path": list(path), "query": query, "parsed": None, "warnings": warnings})
