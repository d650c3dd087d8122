"""Counting many parts of a resource in one query: exactly, or not at all."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shopify import cost
from shopify.cost import Cost
from shopify.errors import QueryRefused
from shopify.resource import Resource

#: Counts of one query: 200 of the 1,000 points that it may cost.
MOST = 20


@dataclass(frozen=True, slots=True)
class Counts:
    #: In the order of the searches. None: the shop says only that there are at least so and so many.
    numbers: list[int | None]
    cost: Cost | None


def cost_of(number: int) -> int:
    """Requested points of so many counts."""
    return cost.COUNT * number


def query(resource: Resource, number: int) -> str:
    """A query of so many counts, at most MOST. Variables: s0, s1 and so on, their searches."""
    variables = ", ".join(f"$s{each}: String" for each in range(number))
    fields = "\n".join(
        f"  c{each}: {resource.connection}Count(query: $s{each}, limit: null) {{ count precision }}"
        for each in range(number)
    )
    return f"query Counts({variables}) {{\n{fields}\n}}"


def numbers_of(data: Mapping[str, Any], number: int) -> list[int | None]:
    """What an answer to ``query`` counted. Raises QueryRefused when it does not answer each of the counts."""
    return [_number(data.get(f"c{each}")) for each in range(number)]


def _number(count: Any) -> int | None:
    number = count.get("count") if isinstance(count, Mapping) else None
    if type(number) is not int or number < 0:
        raise QueryRefused("the shop does not answer several counts at once")
    return number if count.get("precision") == "EXACT" else None
