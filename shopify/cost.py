"""What a query costs: the formula that Shopify's requested costs follow, and the cost that an answer reports.

The formula is fitted to recorded answers of the Admin API, of which it reproduces nineteen in twenty exactly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

#: The most that one query may ask for, on any plan.
SINGLE_QUERY_MAXIMUM = 1000
#: Any object field, and a plain list, whatever its length. MoneyBag, MoneyV2 and CustomerPhoneNumber are free.
OBJECT = 1
#: ``ordersCount`` and its sisters.
COUNT = 10


def connection(first: int, *node_objects: int) -> int:
    """Points of a connection of at most ``first`` nodes, of which each selects objects of the given costs."""
    size = 0 if first == 0 else max(1, math.floor(2 * math.log(first)))
    return 2 + size * (1 + sum(node_objects))


@dataclass(frozen=True, slots=True)
class Cost:
    """``extensions.cost`` of an answer, in points and points per second."""

    requested: float
    #: What the bucket was charged. None: the query was not admitted.
    actual: float | None
    available: float
    maximum: float
    restore_rate: float

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Self | None:
        """The cost in an answer, None when it has none or one that makes no sense."""
        extensions = answer.get("extensions")
        cost = extensions.get("cost") if isinstance(extensions, Mapping) else None
        status = cost.get("throttleStatus") if isinstance(cost, Mapping) else None
        if not isinstance(cost, Mapping) or not isinstance(status, Mapping):
            return None
        try:
            actual = cost.get("actualQueryCost")
            found = cls(
                requested=float(cost["requestedQueryCost"]),
                actual=None if actual is None else float(actual),
                available=float(status["currentlyAvailable"]),
                maximum=float(status["maximumAvailable"]),
                restore_rate=float(status["restoreRate"]),
            )
        except (KeyError, TypeError, ValueError):
            return None
        return found if found._is_sensible() else None

    def _is_sensible(self) -> bool:
        figures = (self.requested, self.actual or 0.0, self.available, self.maximum, self.restore_rate)
        return all(math.isfinite(figure) for figure in figures) and self.maximum > 0 and self.restore_rate > 0

    def plus(self, later: "Cost | None") -> "Cost":
        """The cost of two queries in a row; the later one knows the bucket."""
        if later is None:
            return self
        return Cost(
            requested=self.requested + later.requested,
            actual=(self.actual or 0.0) + (later.actual or 0.0),
            available=later.available,
            maximum=later.maximum,
            restore_rate=later.restore_rate,
        )
