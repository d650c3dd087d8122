"""What a resource of Shopify's is to us: how it is asked for, what it costs, what its webhooks mean."""

import enum
import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from shopify.nodes import Lines, Node, Shape
from shopify.row import Row, RowRejected
from shopify.scalars import gid_of

#: The most nodes that a connection gives at once.
PAGE_SIZE = 250


class TopicKind(enum.Enum):
    """What a webhook of a topic carries."""

    #: The resource as it is now.
    WHOLE = "whole"
    #: Nothing but the id of what is gone.
    DELETE = "delete"
    #: A part of the resource, or a note that it changed: it has to be fetched by id.
    FETCH = "fetch"
    #: The ids of two customers that became one.
    MERGE = "merge"


@dataclass(frozen=True)
class Part:
    """The payload of a FETCH topic: what tells of a resource without being it."""

    #: Where the resource's own id stands.
    id_path: tuple[str, ...]
    #: The payload holds at least one of these, and no other topic's does.
    marks: frozenset[str]
    #: The kind of its own global id, if it has one.
    gid_kind: str | None = None


@dataclass(frozen=True)
class Nested:
    """A connection inside the resource that may be longer than one page."""

    #: Its field in a node, such as ``lineItems``.
    field: str
    #: Query of its next page, with variables ``id`` and ``after``; selects the resource's ``updatedAt`` beside it.
    query: str
    cost: int
    #: The field at the root of the schema that the query asks for.
    root: str
    #: The plain list of the resource in whose every item the connection is, such as ``refunds``. None: in the resource.
    inside: str | None = None


@dataclass(frozen=True)
class Bulk:
    """How a bulk operation asks for a resource: its connections as edges, and none inside a list."""

    selection: str
    #: The kind of a child's global id to the connection that it is of, as in ``LineItem`` of ``lineItems``.
    connections: Mapping[str, str] = field(default_factory=dict)
    #: The connection of a child to which Shopify gave no id.
    unnamed: str | None = None


@dataclass(frozen=True)
class Resource:
    """One resource, complete: adding another is a file with one of these, and its name in ``resources.RESOURCES``."""

    #: Its table; in camel case its connection at the root of the schema.
    name: str
    #: As in ``gid://shopify/Order/1``.
    gid_kind: str
    #: Its field at the root of the schema for one of them.
    node_field: str
    #: The access scope without which nothing of it is seen.
    scope: str

    #: Variables: first (at most 250), after, sortKey (ID or UPDATED_AT), search. Cost in requested points, at 250.
    #: Without a sortKey, where Shopify knows none, it is sorted by id.
    page_query: str
    page_cost: int
    #: Variable: id.
    node_query: str
    node_cost: int
    #: Variable: ids. Costs what one does.
    nodes_query: str
    #: Variable: search. Exact, without a limit. None: Shopify does not count them, and a sync reads the list twice.
    count_query: str | None
    count_cost: int
    bulk: Bulk

    node: type[Node]
    #: Raises ValueError for what cannot be stored.
    to_row: Callable[[Any], Row]
    #: What the payloads of its webhooks become. Raises RowRejected.
    from_payload: Callable[[Mapping[str, Any]], Row]

    topics: Mapping[str, TopicKind]
    #: A payload of a WHOLE topic holds at least one of these, and no other resource's payload holds any.
    payload_marks: frozenset[str]
    #: Keys that a delete may carry beside the ids.
    delete_extras: frozenset[str] = frozenset()
    #: FETCH topic to what its payload looks like.
    parts: Mapping[str, Part] = field(default_factory=dict)
    nested: tuple[Nested, ...] = ()
    #: Selections of its queries that a shop's version of the API may not have, and without which the rest is worth having.
    dispensable: tuple[str, ...] = ()
    #: Taken only of shops whose token has the scope; not to have it is no lack there.
    is_optional: bool = False
    #: Of most of its webhooks another follows soon: its fetches wait for those, and for all other work of the shop.
    changes_often: bool = False
    is_sortable: bool = True

    @property
    def connection(self) -> str:
        """Its list at the root of the schema."""
        return to_camel(self.name)

    def gid(self, shopify_id: int) -> str:
        return gid_of(self.gid_kind, shopify_id)

    @functools.cached_property
    def shape(self) -> Shape[Any]:
        return Shape(self.node, self.to_row, resource=self.name, gid_kind=self.gid_kind)

    def rows(self, nodes: Iterable[object]) -> tuple[list[Row], list[RowRejected]]:
        """Every node's row, and the refusals: a bad node costs itself alone."""
        return _rows(self.shape.from_node, nodes)

    def rows_of_file(self, resources: Iterable[Lines]) -> tuple[list[Row], list[RowRejected]]:
        """The same of what a bulk file tells."""
        return _rows(self.shape.from_lines, resources)


_Told = TypeVar("_Told")


def _rows(to_row: Callable[[_Told], Row], resources: Iterable[_Told]) -> tuple[list[Row], list[RowRejected]]:
    rows: list[Row] = []
    refused: list[RowRejected] = []
    for each in resources:
        try:
            rows.append(to_row(each))
        except RowRejected as refusal:
            refused.append(refusal)
    return rows, refused


def page_query(connection: str, sort_keys: str | None, selection: str) -> str:
    """``sort_keys`` is the enumeration of them, None where Shopify has none."""
    declared, sorted_by = (f", $sortKey: {sort_keys}!", ", sortKey: $sortKey") if sort_keys else ("", "")
    return f"""query Page($first: Int!, $after: String{declared}, $search: String) {{
  {connection}(first: $first, after: $after{sorted_by}, query: $search) {{
    pageInfo {{ hasNextPage endCursor }}
    nodes {{ {selection} }}
  }}
}}"""


def node_query(field: str, selection: str) -> str:
    return f"""query Node($id: ID!) {{ {field}(id: $id) {{ {selection} }} }}"""


def nodes_query(gid_kind: str, selection: str) -> str:
    return f"""query Nodes($ids: [ID!]!) {{ nodes(ids: $ids) {{ ... on {gid_kind} {{ {selection} }} }} }}"""


def nested_query(field: str, connection: str, selection: str, *, arguments: str = "", parent: str | None = None) -> str:
    """``parent`` is where the resource stands in what is asked for, if that is a part of it."""
    version = "updatedAt" if parent is None else f"{parent} {{ updatedAt }}"
    further = f", {arguments}" if arguments else ""
    return f"""query Rest($id: ID!, $after: String!) {{
  {field}(id: $id) {{
    {version}
    {connection}(first: {PAGE_SIZE}, after: $after{further}) {{
      pageInfo {{ hasNextPage endCursor }} nodes {{ {selection} }}
    }}
  }}
}}"""


def count_query(field: str) -> str:
    return f"""query Count($search: String) {{ {field}(query: $search, limit: null) {{ count precision }} }}"""
