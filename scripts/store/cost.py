"""What a query costs: the formula that reproduced 1,251 of 1,321 recorded requested costs.

A connection costs ``2 + s(n) * (1 + the costs of its node's object fields)`` with ``s(n) = max(1, floor(2 ln n))`` and
``s(0) = 0``; any other object field 1 (a plain list once); money and phone numbers 0; any ``*Count`` field 10; a mutation
10; scalars 0. The actual cost is the same sum over the edges that came.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

COUNT_COST = 10
MUTATION_COST = 10
MAX_COST = 1000
#: Objects that cost nothing.
FREE_TYPES = {"MoneyBag", "MoneyV2", "CustomerPhoneNumber", "PageInfo", "Count", "PricingPercentageValue"}

#: How often a place of the query was reached and how many edges or objects it gave, by the place's number.
Tally = dict[int, list[int]]


@lru_cache(maxsize=1024)
def size_factor(edges: float) -> int:
    if edges <= 0:
        return 0
    return max(1, math.floor(2 * math.log(edges))) if edges > 1 else 1


@dataclass
class Price:
    """The cost of one object field with what is selected below it."""

    own: int = 1
    children: list["Price"] = field(default_factory=list)
    #: Set for a connection: how many edges the arguments ask for.
    asked: Callable[[Mapping[str, Any]], int] | None = None
    #: The place whose tally says how many came; 0 for fields that are not counted.
    place: int = 0
    #: Whether an @include or @skip lets it be.
    is_selected: Callable[[Mapping[str, Any]], bool] | None = None

    def requested(self, variables: Mapping[str, Any]) -> int:
        if self.is_selected and not self.is_selected(variables):
            return 0
        below = sum(child.requested(variables) for child in self.children)
        if self.asked is None:
            return self.own + below
        return 2 + size_factor(self.asked(variables)) * (1 + below)

    def actual(self, tally: Tally, variables: Mapping[str, Any]) -> float:
        if self.is_selected and not self.is_selected(variables):
            return 0
        calls, came = tally.get(self.place, (0, 0)) if self.place else (1, 1)
        below = sum(child.actual(tally, variables) for child in self.children)
        if self.asked is None:
            return self.own + (below * came / calls if calls else 0)
        return 2 + size_factor(came / calls if calls else 0) * (1 + below)


def requested_cost(prices: list[Price], variables: Mapping[str, Any]) -> int:
    return sum(price.requested(variables) for price in prices)


def actual_cost(prices: list[Price], tally: Tally, variables: Mapping[str, Any]) -> int:
    return math.ceil(sum(price.actual(tally, variables) for price in prices))
