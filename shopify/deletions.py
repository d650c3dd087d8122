"""What a shop says was deleted: its ``events``, kept for a year and told some minutes late.

A help, no proof: whether deletions of orders are among them is not certain, so what is named here is looked up by its id.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shopify import cost, search
from shopify.cost import Cost
from shopify.resource import PAGE_SIZE, Resource
from shopify.scalars import gid, time

#: Kinds of which events tell what was deleted.
KINDS = frozenset({"Order", "Customer", "Product"})
#: Points of QUERY.
PAGE_COST = cost.connection(PAGE_SIZE)

#: Variables: after, search.
QUERY = f"""query Deletions($after: String, $search: String) {{
  events(first: {PAGE_SIZE}, after: $after, sortKey: CREATED_AT, query: $search) {{
    pageInfo {{ hasNextPage endCursor }}
    nodes {{ createdAt ... on BasicEvent {{ subjectId subjectType }} }}
  }}
}}"""


@dataclass(frozen=True, slots=True)
class Deletions:
    """A page of ids, with the time at which each was deleted."""

    deleted_at: dict[int, datetime]
    end_cursor: str | None
    has_next: bool
    cost: Cost | None


def search_of(resource: Resource, since: datetime) -> str:
    created = search.created(since=since)
    return f"action:destroy subject_type:{resource.gid_kind.upper()} {created}"


def deleted_in(resource: Resource, nodes: Iterable[Mapping[str, Any]]) -> dict[int, datetime]:
    """Ids of the resource that the events name. What is no event of a deletion of its kind is left out."""
    parse = gid(resource.gid_kind)
    found: dict[int, datetime] = {}
    for node in nodes:
        try:
            found[parse(node.get("subjectId"))] = time(node.get("createdAt"))
        except ValueError:
            continue
    return found
