"""A bulk query as JSONL: a node a line, the nodes of its connections on lines of their own with ``__parentId``.

Everything else of a node, lists and objects, stays inside its line. Each root node is shown as it is when its turn comes,
so a result is no snapshot of one instant; ``first``, ``after`` and ``pageInfo`` are ignored, filters and sort keys kept.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from graphql import GraphQLObjectType, SelectionSetNode, get_named_type
from graphql.execution.values import get_argument_values

from scripts.store import fields
from scripts.store.cost import Price
from scripts.store.fields import lists
from scripts.store.paging import Slice
from scripts.store.projection import Compiler, Project, Spot
from scripts.store.run import Run
from scripts.store.search import Bounds
from scripts.store.selections import Selected
from scripts.store.shop import Shop
from scripts.store.validation import SCHEMA, coerced_variables

from .rules import bulk_query

if TYPE_CHECKING:
    from scripts.store.outbox import Outbox

#: Keys of a table that are taken at a time, so that its lock is held for a moment only.
STEP = 500
#: More than any connection holds.
EVERYTHING = 1 << 40
LISTINGS = {"orders": lists.ORDERS, "customers": lists.CUSTOMERS, "products": lists.PRODUCTS}

#: One line, and whether it is a root node's.
Line = tuple[bytes, bool]
encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class Denied(Exception):
    """The token may not read what the query asks for."""


@dataclass(frozen=True, slots=True)
class Children:
    """The nodes of one connection of one node. ``place`` is the connection's in the query."""

    place: int
    project: Project
    parent_id: str
    nodes: Sequence[Any]


class BulkRun(Run):
    """``children`` collects the connections of the node that is being shown."""

    __slots__ = ("children",)

    def __init__(self, shop: Shop, outbox: "Outbox", variables: Any) -> None:
        super().__init__(shop, outbox, variables)
        self.children: list[Children] = []

    def allows(self, scope: str, path: tuple[str, ...]) -> bool:  # noqa: ARG002 - the operation fails, wherever it is
        if not self.shop.allows(scope):
            raise Denied(scope)
        return True

    def warn_search(self, path: tuple[str, ...], query: str, warnings: list[dict[str, str]]) -> None:
        """A bulk operation has nowhere to say it."""


@dataclass(frozen=True)
class Root:
    """A connection at the root of the query."""

    field: str
    arguments: dict[str, Any]
    project: Project

    def nodes(self, run: BulkRun) -> Iterable[Any]:
        scope = fields.SCOPES.get(("QueryRoot", self.field))
        if scope:
            run.allows(scope, (self.field,))
        listing = LISTINGS.get(self.field)
        if listing:
            return _walk(listing, run, self.arguments)
        page: Slice | None = fields.CALLS["QueryRoot"][self.field](None, run, self.arguments)
        return page.items if page else ()


class Rendering:
    """A bulk query compiled. Raises rules.Invalid for one that Shopify refuses."""

    def __init__(self, query: str) -> None:
        document, self._operation = bulk_query(query)
        self._roots = LineCompiler(document, self._operation).roots()

    def lines(self, shop: Shop, outbox: "Outbox", *, is_grouped: bool, ungrouped_roots: int) -> Iterator[Line]:
        """The lines of the result. Children stand right behind their parent, or, ungrouped, behind as many root nodes.

        Raises Denied when the token may not read a field.
        """
        run = BulkRun(shop, outbox, coerced_variables(self._operation, {}))
        for root in self._roots:
            nodes = iter(root.nodes(run))
            if is_grouped:
                for node in nodes:
                    yield from _family(root.project, node, None, run, is_root=True)
                continue
            while batch := list(islice(nodes, ungrouped_roots)):
                yield from _generations(root.project, batch, run)


def _family(
    project: Project, node: Any, parent_id: str | None, run: BulkRun, *, is_root: bool = False
) -> Iterator[Line]:
    """A node's line and those of all below it."""
    text, below = _shown(project, node, parent_id, run)
    yield text, is_root
    for children in below:
        for child in children.nodes:
            yield from _family(children.project, child, children.parent_id, run)


def _generations(project: Project, roots: list[Any], run: BulkRun) -> Iterator[Line]:
    """All roots, then their children connection by connection, no two of one parent side by side; then theirs."""
    below: list[Children] = []
    for node in roots:
        text, own = _shown(project, node, None, run)
        below += own
        yield text, True
    while below:
        parents, below = below, []
        for place in sorted({item.place for item in parents}):
            group = [item for item in parents if item.place == place]
            for turn in range(max(len(item.nodes) for item in group)):
                for item in group:
                    if turn < len(item.nodes):
                        text, own = _shown(item.project, item.nodes[turn], item.parent_id, run)
                        below += own
                        yield text, False


def _shown(project: Project, node: Any, parent_id: str | None, run: BulkRun) -> tuple[bytes, list[Children]]:
    """A node's own line, and the connections below it."""
    run.children = below = []
    shown = project(node, run)
    if parent_id is not None:
        shown["__parentId"] = parent_id
    return encode(shown).encode() + b"\n", below


def _walk(listing: lists.Listing, run: BulkRun, arguments: dict[str, Any]) -> Iterator[Any]:
    """The records of a list in its order, each as it is when it is taken; what is deleted before its turn is left out."""
    sort, search, hidden = listing.sort(arguments), listing.search(run, arguments), listing.hidden(run)
    is_reverse = bool(arguments.get("reverse"))
    bounds = Bounds()
    given = search.bounds.get(sort.column)
    if given:
        bounds.narrow(given.low, given.high)
    tests = [test for test in (search.test_beside(sort.column), hidden) if test]
    wanted = (lambda row: all(test(row) for test in tests)) if tests else None
    table = listing.table(run.shop)
    while True:
        with run.shop.lock:
            scan = table.scan(sort.column, low=bounds.low, high=bounds.high, reverse=is_reverse, wanted=wanted)
            keys = [(table.rows[number][sort.column], number) for number in islice(scan, STEP)]
        if not keys:
            return
        for _, number in keys:
            record = table.get(number)
            if record is not None:
                yield record
        bounds.narrow(*((None, keys[-1]) if is_reverse else (keys[-1], None)))


class LineCompiler(Compiler):
    """Compiles connections to lines of their own."""

    def roots(self) -> list[Root]:
        root = SCHEMA.query_type
        assert root is not None
        found = []
        for key, item in self._selections.of(root, [self._operation.selection_set]).items():
            spot = Spot(root, item.nodes[0], root.fields[item.name], item.sets, {}, "root", (key,))
            arguments = self._checked(get_argument_values(spot.definition, spot.node), spot)
            found.append(Root(item.name, arguments, self._node(spot)))
        return found

    def _is_apart(self, kind: GraphQLObjectType, item: Selected) -> bool:
        definition = kind.fields.get(item.name)
        return definition is not None and get_named_type(definition.type).name.endswith("Connection")

    def _connection(self, spot: Spot) -> tuple[str, Price]:
        spot.names[spot.name + "c"] = _collector(self._place(), self._node(spot))
        return f"{spot.name}c(d['id'], {self._value(spot)}, r)", Price(0)

    def _node(self, spot: Spot) -> Project:
        """The projection of a connection's nodes."""
        edge = get_named_type(spot.below.fields["edges"].type)
        pages = self._selections.of(spot.below, spot.sets)
        edges: list[SelectionSetNode] = [part for item in pages.values() if item.name == "edges" for part in item.sets]
        inner = self._selections.of(edge, edges)
        sets = [part for item in inner.values() if item.name == "node" for part in item.sets]
        return self._any_object(get_named_type(edge.fields["node"].type), sets, (*spot.path, "edges", "node"))[0]

    def _checked(self, arguments: dict[str, Any], spot: Spot) -> dict[str, Any]:
        fields.check_ids(arguments, spot.path)
        if spot.below.name.endswith("Connection"):
            arguments = {name: value for name, value in arguments.items() if name not in {"after", "before", "last"}}
            arguments["first"] = EVERYTHING
        return {**arguments, "path": spot.path}


def _collector(place: int, project: Project) -> Callable[[str, Slice | None, BulkRun], None]:
    def collect(parent_id: str, page: Slice | None, run: BulkRun) -> None:
        if page is not None and page.items:
            run.children.append(Children(place, project, parent_id, page.items))

    return collect
