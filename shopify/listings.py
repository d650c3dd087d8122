"""Which ids a resource has, without the rest of it: for comparing with ours. A page of 250 costs 13 points."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shopify import cost
from shopify.cost import Cost
from shopify.resource import PAGE_SIZE, Resource
from shopify.scalars import gid, time

PAGE_COST = cost.connection(PAGE_SIZE)


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of ids with their ``updatedAt``, None where that makes no sense."""

    versions: dict[int, datetime | None]
    end_cursor: str | None
    has_next: bool
    cost: Cost | None


def query(resource: Resource) -> str:
    """Variables: after, search."""
    return f"""query Ids($after: String, $search: String) {{
  {resource.connection}(first: {PAGE_SIZE}, after: $after, sortKey: ID, query: $search) {{
    pageInfo {{ hasNextPage endCursor }}
    nodes {{ id updatedAt }}
  }}
}}"""


def versions_of(resource: Resource, nodes: Iterable[Mapping[str, Any]]) -> dict[int, datetime | None]:
    """By id. A node whose id is none is left out."""
    parse = gid(resource.gid_kind)
    found: dict[int, datetime | None] = {}
    for node in nodes:
        try:
            shopify_id = parse(node.get("id"))
        except ValueError:
            continue
        try:
            found[shopify_id] = time(node.get("updatedAt"))
        except ValueError:
            found[shopify_id] = None
    return found
